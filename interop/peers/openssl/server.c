/* OpenSSL as a server. (`openssl s_server` cannot answer HTTP and accept early data at once.) */
#include "server.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static SSL_CTX *context;
static bool early;

struct line {
    SSL *ssl;
    bool in_early;
};

const char *server_lacks(const struct served *o) {
    (void)o;
    return NULL;
}

static int choose(SSL *ssl, const unsigned char **out, unsigned char *size, const unsigned char *in, unsigned in_size, void *unused) {
    (void)ssl, (void)unused;
    static const unsigned char ours[] = "\x08http/1.1";
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, size, ours, sizeof ours - 1, in, in_size) != OPENSSL_NPN_NEGOTIATED) return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static void on_message(int written, int version, int kind, const void *message, size_t size, SSL *ssl, void *unused) {
    (void)version, (void)ssl, (void)unused;
    if (kind != SSL3_RT_HANDSHAKE || !size) return;
    const unsigned char *of = message;
    if (!written && of[0] == SSL3_MT_KEY_UPDATE) fputs("key update received\n", stderr);
    if (written && of[0] == SSL3_MT_COMPRESSED_CERTIFICATE && size > 5) fprintf(stderr, "compressed certificate sent, algorithm %d\n", of[4] << 8 | of[5]);
}

void server_setup(const struct served *o) {
    context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_alpn_select_cb(context, choose, NULL);
    SSL_CTX_set_session_id_context(context, (const unsigned char *)"peer", 4);
    early = o->early;
    if (early) SSL_CTX_set_max_early_data(context, 16384);
    /* Whoever sent another share is asked for this one, and that ends early data. */
    char *groups = o->refuse_early ? strdup("P-256") : o->groups ? strdup(o->groups) : NULL;
    for (char *p = groups; p && *p; p++) if (*p == ',') *p = ':';
    if (SSL_CTX_use_certificate_chain_file(context, o->chain) == 1 && SSL_CTX_use_PrivateKey_file(context, o->key, SSL_FILETYPE_PEM) == 1 &&
        (!groups || SSL_CTX_set1_groups_list(context, groups)) && SSL_CTX_compress_certs(context, 0))
        return;
    ERR_print_errors_fp(stderr);
    exit(1);
}

static void release(struct line *line) {
    ERR_print_errors_fp(stderr);
    SSL_free(line->ssl);
    free(line);
}

void *server_open(int fd) {
    struct line *line = calloc(1, sizeof *line);
    line->ssl = SSL_new(context);
    line->in_early = early;
    SSL_set_fd(line->ssl, fd);
    SSL_set_accept_state(line->ssl);
    SSL_set_msg_callback(line->ssl, on_message);
    /* With early data the handshake goes on as it is read. */
    if (early || SSL_accept(line->ssl) == 1) return line;
    release(line);
    return NULL;
}

/* Early data first, then the rest. */
long server_read(void *of, void *to, size_t size) {
    struct line *line = of;
    while (line->in_early) {
        size_t n = 0;
        switch (SSL_read_early_data(line->ssl, to, size, &n)) {
        case SSL_READ_EARLY_DATA_SUCCESS:
            if (n) return n;
            break;
        case SSL_READ_EARLY_DATA_FINISH: line->in_early = false; break;
        default: return -1;
        }
    }
    return SSL_read(line->ssl, to, size);
}

/* The answer to an early request may leave before the handshake is finished. */
bool server_write(void *of, const void *from, size_t size) {
    struct line *line = of;
    size_t n;
    return line->in_early ? SSL_write_early_data(line->ssl, from, size, &n) : SSL_write_ex(line->ssl, from, size, &n);
}

bool server_update(void *of) {
    SSL *ssl = ((struct line *)of)->ssl;
    return SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) == 1 && SSL_do_handshake(ssl) == 1;
}

void server_describe(void *of, char *to, size_t size) {
    SSL *ssl = ((struct line *)of)->ssl;
    int state = SSL_get_early_data_status(ssl);
    snprintf(to, size, "%s %s %s early=%s group=%s", SSL_get_version(ssl), SSL_get_cipher(ssl), SSL_session_reused(ssl) ? "resumed" : "full",
             state == SSL_EARLY_DATA_ACCEPTED ? "accepted" : state == SSL_EARLY_DATA_REJECTED ? "rejected" : "none", SSL_get0_group_name(ssl));
}

void server_close(void *of) {
    struct line *line = of;
    /* The handshake is completed before the connection is closed, or a client would wait for its end in vain. */
    if (line->in_early) {
        char rest[1024];
        size_t n;
        while (SSL_read_early_data(line->ssl, rest, sizeof rest, &n) == SSL_READ_EARLY_DATA_SUCCESS) {}
        SSL_accept(line->ssl);
    }
    SSL_shutdown(line->ssl);
    release(line);
}
