/* A server on libssl: one thread a connection, every request answered 200 with what became of its early data.
 * (`openssl s_server` cannot answer HTTP and accept early data at once.) */
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

static SSL_CTX *context;
static bool early;

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *size, const unsigned char *in, unsigned in_size, void *unused) {
    (void)ssl, (void)unused;
    static const unsigned char ours[] = "\x08http/1.1";
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, size, ours, sizeof ours - 1, in, in_size) != OPENSSL_NPN_NEGOTIATED) return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

struct request {
    char head[65536];
    size_t size;
};

/* Early data first, then the rest; the answer to an early request may leave before the handshake is finished. */
static long receive(SSL *ssl, bool *in_early, char *to, size_t size) {
    while (*in_early) {
        size_t n = 0;
        switch (SSL_read_early_data(ssl, to, size, &n)) {
        case SSL_READ_EARLY_DATA_SUCCESS:
            if (n) return n;
            break;
        case SSL_READ_EARLY_DATA_FINISH: *in_early = false; break;
        default: return -1;
        }
    }
    return SSL_read(ssl, to, size);
}

static bool reply(SSL *ssl, bool in_early, const char *text, size_t size) {
    size_t n;
    return in_early ? SSL_write_early_data(ssl, text, size, &n) : SSL_write_ex(ssl, text, size, &n);
}

static void *serve(void *argument) {
    SSL *ssl = argument;
    bool in_early = early;
    struct request *r = calloc(1, sizeof *r);
    for (bool open = true; open;) {
        char *end;
        while (!(end = strstr(r->head, "\r\n\r\n")) && r->size < sizeof r->head - 1) {
            long n = receive(ssl, &in_early, r->head + r->size, sizeof r->head - 1 - r->size);
            if (n <= 0) goto done;
            r->size += n;
            r->head[r->size] = 0;
        }
        if (!end) break;
        size_t used = end + 4 - r->head;
        bool head_only = !strncmp(r->head, "HEAD ", 5);
        *end = 0;
        open = !strcasestr(r->head, "\r\nconnection: close");
        const char *length = strcasestr(r->head, "\r\ncontent-length:");
        size_t left = length ? strtoul(length + 17, NULL, 10) : 0;
        size_t have = r->size - used < left ? r->size - used : left;
        memmove(r->head, r->head + used + have, r->size - used - have);
        r->size -= used + have;
        r->head[r->size] = 0;
        left -= have;
        while (left) {
            char body[16384];
            long n = receive(ssl, &in_early, body, left < sizeof body ? left : sizeof body);
            if (n <= 0) goto done;
            left -= n;
        }
        int state = SSL_get_early_data_status(ssl);
        char body[256], text[512];
        snprintf(body, sizeof body, "%s %s %s early=%s group=%s\n", SSL_get_version(ssl), SSL_get_cipher(ssl), SSL_session_reused(ssl) ? "resumed" : "full",
                 state == SSL_EARLY_DATA_ACCEPTED ? "accepted" : state == SSL_EARLY_DATA_REJECTED ? "rejected" : "none", SSL_get0_group_name(ssl));
        fprintf(stderr, "%s", body);
        int n = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n%s\r\n%s", strlen(body), open ? "" : "Connection: close\r\n",
                         head_only ? "" : body);
        if (!reply(ssl, in_early, text, n)) goto done;
    }
    /* The handshake is completed before the connection is closed, or a client would wait for its end in vain. */
    if (in_early) {
        char rest[1024];
        size_t n;
        while (SSL_read_early_data(ssl, rest, sizeof rest, &n) == SSL_READ_EARLY_DATA_SUCCESS) {}
        SSL_accept(ssl);
    }
    SSL_shutdown(ssl);
done:
    ERR_print_errors_fp(stderr);
    int fd = SSL_get_fd(ssl);
    shutdown(fd, SHUT_WR);
    char rest[1024];
    while (read(fd, rest, sizeof rest) > 0) {}
    SSL_free(ssl);
    close(fd);
    free(r);
    return NULL;
}

int main(int count, char **argument) {
    int port = 0;
    const char *chain = NULL, *key = NULL, *groups = NULL;
    for (int i = 1; i < count; i++) {
        if (!strcmp(argument[i], "--early")) early = true;
        else if (i + 1 == count) return 1;
        else if (!strcmp(argument[i], "--port")) port = atoi(argument[++i]);
        else if (!strcmp(argument[i], "--chain")) chain = argument[++i];
        else if (!strcmp(argument[i], "--key")) key = argument[++i];
        else if (!strcmp(argument[i], "--groups")) groups = argument[++i];
        else return fprintf(stderr, "no such argument: %s\n", argument[i]), 1;
    }
    if (!port || !chain || !key) return fprintf(stderr, "--port, --chain and --key are required\n"), 1;
    signal(SIGPIPE, SIG_IGN);
    context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
    SSL_CTX_set_session_id_context(context, (const unsigned char *)"peer", 4);
    if (SSL_CTX_use_certificate_chain_file(context, chain) != 1 || SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) {
        ERR_print_errors_fp(stderr);
        return 1;
    }
    if (early) SSL_CTX_set_max_early_data(context, 16384);
    if (groups) {
        char *list = strdup(groups);
        for (char *p = list; *p; p++) if (*p == ',') *p = ':';
        if (!SSL_CTX_set1_groups_list(context, list)) return fprintf(stderr, "no such groups: %s\n", list), 1;
    }
    int listener = socket(AF_INET6, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &(int){0}, sizeof(int));
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    if (bind(listener, (struct sockaddr *)&any, sizeof any) || listen(listener, 128)) return perror("listen"), 1;
    puts("ready");
    fflush(stdout);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) continue;
        SSL *ssl = SSL_new(context);
        SSL_set_fd(ssl, fd);
        SSL_set_accept_state(ssl);
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve, ssl)) SSL_free(ssl), close(fd);
        else pthread_detach(thread);
    }
}
