/* BoringSSL as a server. (`bssl-tool server` ends without close_notify.) */
#include "server.h"

#include <openssl/bytestring.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static SSL_CTX *context;

const char *server_lacks(const struct served *o) {
    (void)o;
    return NULL;
}

static int choose(SSL *ssl, const uint8_t **out, uint8_t *size, const uint8_t *in, unsigned in_size, void *unused) {
    (void)ssl, (void)unused;
    static const uint8_t ours[] = "\x08http/1.1";
    return SSL_select_next_proto((uint8_t **)out, size, ours, sizeof ours - 1, in, in_size) == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static void on_message(int written, int version, int kind, const void *message, size_t size, SSL *ssl, void *unused) {
    (void)version, (void)ssl, (void)unused;
    if (kind != SSL3_RT_HANDSHAKE || !size) return;
    const uint8_t *of = message;
    if (!written && of[0] == SSL3_MT_KEY_UPDATE) fputs("key update received\n", stderr);
    if (written && of[0] == SSL3_MT_COMPRESSED_CERTIFICATE && size > 5) fprintf(stderr, "compressed certificate sent, algorithm %d\n", of[4] << 8 | of[5]);
}

/* BoringSSL has the protocol, and leaves the algorithm to its user. */
static int pack(SSL *ssl, CBB *out, const uint8_t *in, size_t size) {
    (void)ssl;
    uLongf n = compressBound(size);
    uint8_t *to;
    return CBB_reserve(out, &to, n) && compress2(to, &n, in, size, 9) == Z_OK && CBB_did_write(out, n);
}

void server_setup(const struct served *o) {
    context = SSL_CTX_new(TLS_method());
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION);
    SSL_CTX_set_alpn_select_cb(context, choose, NULL);
    SSL_CTX_set_session_id_context(context, (const uint8_t *)"peer", 4);
    SSL_CTX_set_early_data_enabled(context, o->early);
    SSL_CTX_set_msg_callback(context, on_message);
    SSL_CTX_add_cert_compression_alg(context, TLSEXT_cert_compression_zlib, pack, NULL);
    /* Whoever sent another share is asked for this one, and that ends early data. */
    char *groups = o->refuse_early ? strdup("P-256") : o->groups ? strdup(o->groups) : NULL;
    for (char *p = groups; p && *p; p++) if (*p == ',') *p = ':';
    if (SSL_CTX_use_certificate_chain_file(context, o->chain) == 1 && SSL_CTX_use_PrivateKey_file(context, o->key, SSL_FILETYPE_PEM) == 1 &&
        (!groups || SSL_CTX_set1_curves_list(context, groups)))
        return;
    ERR_print_errors_fp(stderr);
    exit(1);
}

void *server_open(int fd) {
    SSL *ssl = SSL_new(context);
    SSL_set_fd(ssl, fd);
    /* It keeps its tickets back until it writes something: it is for clients to cope with that. */
    if (SSL_accept(ssl) == 1) return ssl;
    ERR_print_errors_fp(stderr);
    SSL_free(ssl);
    return NULL;
}

long server_read(void *ssl, void *to, size_t size) { return SSL_read(ssl, to, (int)size); }

bool server_write(void *ssl, const void *from, size_t size) { return SSL_write(ssl, from, (int)size) == (int)size; }

/* It leaves with what is written next. */
bool server_update(void *ssl) { return SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) == 1; }

void server_describe(void *ssl, char *to, size_t size) {
    const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl);
    const char *group = SSL_get_curve_name(SSL_get_curve_id(ssl));
    snprintf(to, size, "%s %s group=%s %s early=%s", SSL_get_version(ssl), SSL_CIPHER_standard_name(cipher), group ? group : "", SSL_session_reused(ssl) ? "resumed" : "full",
             SSL_early_data_accepted(ssl) || SSL_in_early_data(ssl) ? "accepted" : "none");
}

void server_close(void *ssl) {
    /* The handshake is completed first. */
    char rest[1024];
    while (SSL_in_early_data(ssl) && SSL_read(ssl, rest, sizeof rest) > 0) {}
    SSL_shutdown(ssl);
    SSL_free(ssl);
}
