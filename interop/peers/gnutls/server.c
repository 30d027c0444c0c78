/* GnuTLS as a server that answers requests in early data, which gnutls-serv does not, and updates its keys. */
#include "server.h"

#include <gnutls/gnutls.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static gnutls_certificate_credentials_t credentials;
static gnutls_anti_replay_t anti_replay;
static gnutls_datum_t ticket_key;
static char priority[512] = "NORMAL";
static bool early, refuse_early;

struct line {
    gnutls_session_t session;
    bool offered, taken;
};

const char *server_lacks(const struct served *o) {
    /* It counts early data as accepted before it asks for another share, and then cannot read the second ClientHello, unless it finds the ticket stale. */
    return o->early && o->groups ? "GnuTLS 3.8.9 cannot have early data and ask for another share" : NULL;
}

/* What GnuTLS wants to remember of early data that it took: it comes once. What is there already is refused as a replay. */
static int remember(void *unused, time_t until, const gnutls_datum_t *key, const gnutls_datum_t *data) {
    (void)unused, (void)until, (void)data;
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct {
        unsigned char key[64];
        size_t size;
    } seen[4096];
    static size_t count;
    int code = refuse_early || key->size > sizeof seen->key ? GNUTLS_E_DB_ENTRY_EXISTS : 0;
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

void server_setup(const struct served *o) {
    early = o->early;
    refuse_early = o->refuse_early;
    if (o->groups) {
        strcat(priority, ":-GROUP-ALL");
        char *list = strdup(o->groups), *rest = list;
        for (char *name; (name = strsep(&rest, ",")) && strlen(priority) < sizeof priority - 64;) {
            char group[32];
            if (!strncmp(name, "P-", 2)) snprintf(group, sizeof group, "SECP%sR1", name + 2);
            else snprintf(group, sizeof group, "%s", name);
            sprintf(priority + strlen(priority), ":+GROUP-%s", group);
        }
    }
    gnutls_certificate_allocate_credentials(&credentials);
    int code = gnutls_certificate_set_x509_key_file(credentials, o->chain, o->key, GNUTLS_X509_FMT_PEM);
    if (code < 0) {
        fprintf(stderr, "%s\n", gnutls_strerror(code));
        exit(1);
    }
    gnutls_session_ticket_key_generate(&ticket_key);
    gnutls_anti_replay_init(&anti_replay);
    gnutls_anti_replay_set_add_function(anti_replay, remember);
}

static int on_extension(void *line, unsigned type, const unsigned char *data, unsigned size) {
    (void)data, (void)size;
    if (type == 42) ((struct line *)line)->offered = true; /* early_data */
    return 0;
}

/* There is one hook for all messages. That early data was refused can be seen by its offer alone: GnuTLS has more reasons than a replay, and tells none.
 * A client that counts its ticket's age in whole seconds is refused now and then because it seems older than the ticket is. */
static int on_message(gnutls_session_t session, unsigned type, unsigned when, unsigned incoming, const gnutls_datum_t *message) {
    (void)when;
    if (incoming && type == GNUTLS_HANDSHAKE_KEY_UPDATE) fputs("key update received\n", stderr);
    if (incoming && type == GNUTLS_HANDSHAKE_CLIENT_HELLO)
        gnutls_ext_raw_parse(gnutls_session_get_ptr(session), on_extension, message, GNUTLS_EXT_RAW_FLAG_TLS_CLIENT_HELLO);
    return 0;
}

void *server_open(int fd) {
    struct line *line = calloc(1, sizeof *line);
    gnutls_session_t session;
    gnutls_init(&session, GNUTLS_SERVER | (early ? GNUTLS_ENABLE_EARLY_DATA : 0));
    line->session = session;
    gnutls_priority_set_direct(session, priority, NULL);
    gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials);
    gnutls_session_ticket_enable_server(session, &ticket_key);
    if (early) {
        gnutls_record_set_max_early_data_size(session, 16384);
        gnutls_anti_replay_enable(session, anti_replay);
    }
    gnutls_datum_t protocol = {(unsigned char *)"http/1.1", 8};
    gnutls_alpn_set_protocols(session, &protocol, 1, GNUTLS_ALPN_MANDATORY);
    gnutls_session_set_ptr(session, line);
    gnutls_handshake_set_hook_function(session, GNUTLS_HANDSHAKE_ANY, GNUTLS_HOOK_POST, on_message);
    gnutls_transport_set_int(session, fd);
    int code;
    do {
        code = gnutls_handshake(session);
    } while (code < 0 && !gnutls_error_is_fatal(code));
    line->taken = (gnutls_session_get_flags(session) & GNUTLS_SFLAGS_EARLY_DATA) != 0;
    if (code >= 0) return line;
    fprintf(stderr, "handshake: %s early=%s\n", gnutls_strerror(code), line->taken ? "accepted" : line->offered ? "refused" : "none");
    gnutls_deinit(session);
    free(line);
    return NULL;
}

long server_read(void *of, void *to, size_t size) {
    struct line *line = of;
    ssize_t n = line->taken ? gnutls_record_recv_early_data(line->session, to, size) : 0;
    if (n > 0) return n;
    do {
        n = gnutls_record_recv(line->session, to, size);
    } while (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED);
    return n;
}

bool server_write(void *of, const void *from, size_t size) {
    for (const char *at = from; size;) {
        ssize_t n = gnutls_record_send(((struct line *)of)->session, at, size);
        if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED) continue;
        if (n < 0) return false;
        at += n;
        size -= n;
    }
    return true;
}

bool server_update(void *of) { return gnutls_session_key_update(((struct line *)of)->session, GNUTLS_KU_PEER) == 0; }

void server_describe(void *of, char *to, size_t size) {
    struct line *line = of;
    /* The group as gnutls-serv tells it. */
    snprintf(to, size, "%s early=%s Using curve: %s", gnutls_session_is_resumed(line->session) ? "resumed" : "full",
             line->taken ? "accepted" : line->offered ? "refused" : "none", gnutls_group_get_name(gnutls_group_get(line->session)));
}

void server_close(void *of) {
    struct line *line = of;
    gnutls_bye(line->session, GNUTLS_SHUT_WR);
    gnutls_deinit(line->session);
    free(line);
}
