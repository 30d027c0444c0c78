/* A server on GnuTLS that answers requests in early data, which gnutls-serv does not. One thread a connection. */
#include <gnutls/gnutls.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

static gnutls_certificate_credentials_t credentials;
static gnutls_anti_replay_t anti_replay;
static gnutls_datum_t ticket_key;
static const char *priority;

/* What GnuTLS wants to remember of early data that it took: it comes once. */
static int remember(void *unused, time_t until, const gnutls_datum_t *key, const gnutls_datum_t *data) {
    (void)unused, (void)until, (void)data;
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct {
        unsigned char key[64];
        size_t size;
    } seen[4096];
    static size_t count;
    int code = 0;
    if (key->size > sizeof seen->key) return GNUTLS_E_DB_ENTRY_EXISTS;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < count; i++)
        if (seen[i].size == key->size && !memcmp(seen[i].key, key->data, key->size)) code = GNUTLS_E_DB_ENTRY_EXISTS;
    if (code == 0 && count == sizeof seen / sizeof *seen) code = GNUTLS_E_DB_ENTRY_EXISTS; /* full: refuse */
    if (code == 0) {
        memcpy(seen[count].key, key->data, key->size);
        seen[count++].size = key->size;
    }
    pthread_mutex_unlock(&lock);
    return code;
}

static void *serve(void *argument) {
    int fd = (int)(long)argument, code;
    gnutls_session_t session;
    gnutls_init(&session, GNUTLS_SERVER | GNUTLS_ENABLE_EARLY_DATA);
    gnutls_priority_set_direct(session, priority, NULL);
    gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials);
    gnutls_session_ticket_enable_server(session, &ticket_key);
    gnutls_record_set_max_early_data_size(session, 16384);
    gnutls_anti_replay_enable(session, anti_replay);
    gnutls_datum_t protocol = {(unsigned char *)"http/1.1", 8};
    gnutls_alpn_set_protocols(session, &protocol, 1, 0);
    gnutls_transport_set_int(session, fd);
    do {
        code = gnutls_handshake(session);
    } while (code < 0 && !gnutls_error_is_fatal(code));
    char *head = calloc(1, 65536);
    size_t size = 0;
    if (code < 0) {
        int taken = (gnutls_session_get_flags(session) & GNUTLS_SFLAGS_EARLY_DATA) != 0;
        fprintf(stderr, "handshake: %s early=%s\n", gnutls_strerror(code), taken ? "accepted" : "none");
        goto done;
    }
    int early = (gnutls_session_get_flags(session) & GNUTLS_SFLAGS_EARLY_DATA) != 0;
    for (ssize_t n; early && (n = gnutls_record_recv_early_data(session, head + size, 65535 - size)) > 0;) size += n;
    for (int open = 1; open;) {
        char *end;
        while (!(end = strstr(head, "\r\n\r\n")) && size < 65535) {
            ssize_t n = gnutls_record_recv(session, head + size, 65535 - size);
            if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED) continue;
            if (n <= 0) goto done;
            size += n;
            head[size] = 0;
        }
        if (!end) break;
        open = !strcasestr(head, "\r\nconnection: close");
        size_t used = end + 4 - head;
        memmove(head, head + used, size - used);
        size -= used;
        head[size] = 0;
        char body[128], text[256];
        int n = snprintf(body, sizeof body, "%s early=%s\n", gnutls_session_is_resumed(session) ? "resumed" : "full", early ? "accepted" : "none");
        /* As gnutls-serv tells it. */
        fprintf(stderr, "%sUsing curve: %s\n", body, gnutls_group_get_name(gnutls_group_get(session)));
        n = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s", n, open ? "" : "Connection: close\r\n", body);
        if (gnutls_record_send(session, text, n) < 0) goto done;
    }
    gnutls_bye(session, GNUTLS_SHUT_WR);
done:
    gnutls_deinit(session);
    shutdown(fd, SHUT_WR);
    char rest[1024];
    while (read(fd, rest, sizeof rest) > 0) {}
    close(fd);
    free(head);
    return NULL;
}

/* early PORT CHAIN KEY PRIORITY */
int main(int count, char **argument) {
    if (count != 5) return fprintf(stderr, "early PORT CHAIN KEY PRIORITY\n"), 1;
    priority = argument[4];
    signal(SIGPIPE, SIG_IGN);
    gnutls_certificate_allocate_credentials(&credentials);
    int code = gnutls_certificate_set_x509_key_file(credentials, argument[2], argument[3], GNUTLS_X509_FMT_PEM);
    if (code < 0) return fprintf(stderr, "%s\n", gnutls_strerror(code)), 1;
    gnutls_session_ticket_key_generate(&ticket_key);
    gnutls_anti_replay_init(&anti_replay);
    gnutls_anti_replay_set_add_function(anti_replay, remember);
    int listener = socket(AF_INET6, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &(int){0}, sizeof(int));
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(atoi(argument[1]))};
    if (bind(listener, (struct sockaddr *)&any, sizeof any) || listen(listener, 128)) return perror("listen"), 1;
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        pthread_t thread;
        if (fd < 0) continue;
        if (pthread_create(&thread, NULL, serve, (void *)(long)fd)) close(fd);
        else pthread_detach(thread);
    }
}
