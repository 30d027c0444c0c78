/* GnuTLS 3.8 */
#include "peer.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/ocsp.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static gnutls_certificate_credentials_t credentials;
static gnutls_datum_t kept;
static char priority[1024];
static bool early_sent;

static const struct {
    const char *name, *priority;
    gnutls_group_t id;
} GROUPS[] = {{"X25519", "X25519", GNUTLS_GROUP_X25519},
              {"P-256", "SECP256R1", GNUTLS_GROUP_SECP256R1},
              {"P-384", "SECP384R1", GNUTLS_GROUP_SECP384R1},
              {"P-521", "SECP521R1", GNUTLS_GROUP_SECP521R1}};

static const struct {
    const char *name, *priority;
    gnutls_cipher_algorithm_t id;
} SUITES[] = {{"TLS_AES_128_GCM_SHA256", "AES-128-GCM", GNUTLS_CIPHER_AES_128_GCM},
              {"TLS_AES_256_GCM_SHA384", "AES-256-GCM", GNUTLS_CIPHER_AES_256_GCM},
              {"TLS_CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305", GNUTLS_CIPHER_CHACHA20_POLY1305}};

const char *stack_name(void) {
    static char name[64];
    snprintf(name, sizeof name, "GnuTLS %s", gnutls_check_version(NULL));
    return name;
}

const char *stack_lacks(const struct options *o) {
    if (listed(o->groups, "X25519MLKEM768")) return "Debian's GnuTLS is built without ML-KEM";
    return NULL;
}

static void add(const char *format, const char *value) {
    size_t n = strlen(priority);
    snprintf(priority + n, sizeof priority - n, format, value);
}

void stack_setup(const struct options *o) {
    add("NORMAL:-VERS-ALL:+VERS-TLS%s", o->version == 12 ? "1.2" : "1.3");
    if (o->groups[0]) add("%s", ":-GROUP-ALL");
    for (int i = 0; o->groups[i]; i++)
        for (size_t k = 0; k < sizeof GROUPS / sizeof *GROUPS; k++)
            if (!strcmp(GROUPS[k].name, o->groups[i])) add(":+GROUP-%s", GROUPS[k].priority);
    if (o->suites[0]) add("%s", ":-CIPHER-ALL");
    for (int i = 0; o->suites[i]; i++)
        for (size_t k = 0; k < sizeof SUITES / sizeof *SUITES; k++)
            if (!strcmp(SUITES[k].name, o->suites[i])) add(":+%s", SUITES[k].priority);
    if (o->signatures)
        add(":-SIGN-ALL%s", !strcmp(o->signatures, "rsa") ? ":+SIGN-RSA-PSS-RSAE-SHA256:+SIGN-RSA-PSS-RSAE-SHA384:+SIGN-RSA-PSS-RSAE-SHA512:+SIGN-RSA-SHA256:+SIGN-RSA-SHA384:+SIGN-RSA-SHA512"
                                                          : ":+SIGN-ECDSA-SECP256R1-SHA256:+SIGN-ECDSA-SECP384R1-SHA384:+SIGN-ECDSA-SHA256:+SIGN-ECDSA-SHA384");
    gnutls_certificate_allocate_credentials(&credentials);
    if (gnutls_certificate_set_x509_trust_file(credentials, o->ca, GNUTLS_X509_FMT_PEM) < 1) die("%s: no authority in it", o->ca);
}

static ssize_t pull(gnutls_transport_ptr_t pointer, void *to, size_t size) {
    struct connection *c = pointer;
    long n = transport_read(&c->transport, to, size);
    if (n < 0) gnutls_transport_set_errno(c->tls, !strcmp(c->transport.ended, "timeout") ? ETIMEDOUT : ECONNRESET);
    return n;
}

static ssize_t push(gnutls_transport_ptr_t pointer, const void *from, size_t size) {
    struct connection *c = pointer;
    long n = transport_write(&c->transport, from, size);
    if (n < 0) gnutls_transport_set_errno(c->tls, ECONNRESET);
    return n;
}

static int always(gnutls_transport_ptr_t pointer, unsigned milliseconds) {
    (void)pointer, (void)milliseconds;
    return 1;
}

static int on_ticket(gnutls_session_t session, unsigned type, unsigned when, unsigned incoming, const gnutls_datum_t *message) {
    (void)type, (void)when, (void)message;
    if (incoming) ((struct connection *)gnutls_session_get_ptr(session))->tickets++;
    return 0;
}

bool stack_open(struct connection *c, bool offer) {
    gnutls_session_t session;
    /* The flag: a key share of the first group only. */
    gnutls_init(&session, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL | (c->options->groups[0] ? GNUTLS_KEY_SHARE_TOP : 0) |
                              (c->options->status == ASK_NOT ? GNUTLS_NO_STATUS_REQUEST : 0));
    c->tls = session;
    c->tickets = 0;
    early_sent = false;
    gnutls_session_set_ptr(session, c);
    const char *error;
    int code = gnutls_priority_set_direct(session, priority, &error);
    if (code) die("%s: %s", gnutls_strerror(code), error);
    gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials);
    gnutls_session_set_verify_cert(session, c->name, 0);
    if (c->name) gnutls_server_name_set(session, GNUTLS_NAME_DNS, c->name, strlen(c->name));
    gnutls_datum_t alpn[LIST];
    unsigned n = 0;
    for (; c->options->alpn[n]; n++) alpn[n] = (gnutls_datum_t){(unsigned char *)c->options->alpn[n], strlen(c->options->alpn[n])};
    if (n) gnutls_alpn_set_protocols(session, alpn, n, 0);
    gnutls_handshake_set_hook_function(session, GNUTLS_HANDSHAKE_NEW_SESSION_TICKET, GNUTLS_HOOK_POST, on_ticket);
    gnutls_transport_set_ptr(session, c);
    gnutls_transport_set_pull_function(session, pull);
    gnutls_transport_set_push_function(session, push);
    gnutls_transport_set_pull_timeout_function(session, always);
    gnutls_handshake_set_timeout(session, GNUTLS_INDEFINITE_TIMEOUT);
    if (offer) {
        if (!kept.data) {
            fail(c, "no session to offer");
            return false;
        }
        gnutls_session_set_data(session, kept.data, kept.size);
    }
    return true;
}

static void failed(struct connection *c, const char *what, int code) {
    if (code == GNUTLS_E_FATAL_ALERT_RECEIVED) c->alert = gnutls_alert_get(c->tls);
    if (code == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR) {
        gnutls_datum_t why;
        gnutls_certificate_verification_status_print(gnutls_session_get_verify_cert_status(c->tls), GNUTLS_CRT_X509, &why, 0);
        fail(c, "%s: %s", what, why.data);
    }
    fail(c, "%s: %s", what, gnutls_strerror(code));
}

size_t stack_early_limit(struct connection *c) { return gnutls_record_get_max_early_data_size(c->tls); }

/* Buffered: it leaves behind the ClientHello. */
bool stack_write_early(struct connection *c, const void *from, size_t size) {
    ssize_t n = gnutls_record_send_early_data(c->tls, from, size);
    if (n < 0) failed(c, "early data", n);
    return early_sent = n >= 0;
}

bool stack_handshake(struct connection *c) {
    int code;
    do {
        code = gnutls_handshake(c->tls);
    } while (code < 0 && !gnutls_error_is_fatal(code));
    /* It has verified the response with the chain; whether it was able to is another question. */
    if (code == 0 && c->options->status == ASK && !gnutls_session_is_resumed(c->tls) && !gnutls_ocsp_status_request_is_checked(c->tls, 0)) {
        fail(c, "the staple was not checked");
        return false;
    }
    if (code == 0) return true;
    failed(c, "handshake", code);
    return false;
}

bool stack_write(struct connection *c, const void *from, size_t size) {
    const char *p = from;
    while (size) {
        ssize_t n = gnutls_record_send(c->tls, p, size);
        if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED) continue;
        if (n < 0) return false;
        p += n;
        size -= n;
    }
    return true;
}

long stack_read(struct connection *c, void *to, size_t size) {
    for (;;) {
        ssize_t n = gnutls_record_recv(c->tls, to, size);
        if (n >= 0) return n;
        if (gnutls_error_is_fatal(n)) {
            if (n == GNUTLS_E_FATAL_ALERT_RECEIVED) c->alert = gnutls_alert_get(c->tls);
            else if (!c->transport.ended) failed(c, "read", n);
            return -1;
        }
    }
}

bool stack_key_update(struct connection *c) { return gnutls_session_key_update(c->tls, GNUTLS_KU_PEER) == 0; }

static const char *leaf(gnutls_session_t session) {
    unsigned count;
    const gnutls_datum_t *list = gnutls_certificate_get_peers(session, &count);
    gnutls_x509_crt_t certificate;
    if (!list || !count || gnutls_x509_crt_init(&certificate)) return NULL;
    gnutls_x509_crt_import(certificate, list, GNUTLS_X509_FMT_DER);
    int kind = gnutls_x509_crt_get_pk_algorithm(certificate, NULL);
    gnutls_x509_crt_deinit(certificate);
    return kind == GNUTLS_PK_ECDSA ? "ecdsa" : kind == GNUTLS_PK_RSA ? "rsa" : kind == GNUTLS_PK_EDDSA_ED25519 ? "ed25519" : NULL;
}

static void staple(struct connection *c) {
    unsigned count;
    const gnutls_datum_t *list = gnutls_certificate_get_peers(c->tls, &count);
    gnutls_datum_t response = {0};
    if (!list || !count || gnutls_session_is_resumed(c->tls)) return;
    gnutls_ocsp_status_request_get2(c->tls, 0, &response);
    c->staple = staple_says(response.data, response.size, list->data, list->size);
}

void stack_describe(struct connection *c) {
    gnutls_session_t session = c->tls;
    if (session) staple(c);
    if (!session || !c->handshake) return;
    c->version = gnutls_protocol_get_version(session) == GNUTLS_TLS1_3 ? 13 : 12;
    c->resumed = gnutls_session_is_resumed(session) != 0;
    if (early_sent) c->early = gnutls_session_get_flags(session) & GNUTLS_SFLAGS_EARLY_DATA ? EARLY_ACCEPTED : EARLY_REFUSED;
    for (size_t k = 0; k < sizeof GROUPS / sizeof *GROUPS; k++)
        if (GROUPS[k].id == gnutls_group_get(session)) snprintf(c->group, sizeof c->group, "%s", GROUPS[k].name);
    if (c->version == 13) {
        for (size_t k = 0; k < sizeof SUITES / sizeof *SUITES; k++)
            if (SUITES[k].id == gnutls_cipher_get(session)) snprintf(c->suite, sizeof c->suite, "%s", SUITES[k].name);
    } else {
        const char *suite = gnutls_ciphersuite_get(session);
        if (suite) snprintf(c->suite, sizeof c->suite, "%s", suite);
    }
    gnutls_datum_t alpn;
    if (gnutls_alpn_get_selected_protocol(session, &alpn) == 0) snprintf(c->alpn, sizeof c->alpn, "%.*s", (int)alpn.size, (char *)alpn.data);
    if (!c->resumed) c->certificate = leaf(session);
}

void stack_close_notify(struct connection *c) { gnutls_bye(c->tls, GNUTLS_SHUT_WR); }

void stack_free(struct connection *c) {
    if (!c->tls) return;
    /* In TLS 1.3 there is a session once a ticket came; without one the call gives data that resume nothing. */
    if (c->handshake && c->tickets > 0) gnutls_session_get_data2(c->tls, &kept);
    gnutls_deinit(c->tls);
    c->tls = NULL;
}
