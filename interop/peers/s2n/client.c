/* s2n-tls. It knows policies by name only, of which none offers just what is asked for: so one is made here from its own lists. */
#include "peer.h"

#include <errno.h>
#include <s2n.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tls/s2n_config.h>
#include <tls/s2n_kem.h>
#include <tls/s2n_security_policies.h>

static struct s2n_config *config;
static uint8_t kept[16384];
static size_t kept_size;
static bool early_sent, only_writing;

const char *stack_name(void) { return "s2n-tls " S2N; }

const char *stack_lacks(const struct options *o) {
    if (o->key_update) return "s2n-tls updates its own key only";
    return NULL;
}

static const struct s2n_ecc_named_curve *curve(const char *name) {
    if (!strcmp(name, "X25519")) return &s2n_ecc_curve_x25519;
    if (!strcmp(name, "P-256")) return &s2n_ecc_curve_secp256r1;
    if (!strcmp(name, "P-384")) return &s2n_ecc_curve_secp384r1;
    if (!strcmp(name, "P-521")) return &s2n_ecc_curve_secp521r1;
    return NULL;
}

static struct s2n_cipher_suite *suite(const char *name) {
    return strstr(name, "CHACHA20") ? &s2n_tls13_chacha20_poly1305_sha256 : strstr(name, "256_GCM") ? &s2n_tls13_aes_256_gcm_sha384 : &s2n_tls13_aes_128_gcm_sha256;
}

/* Only the first curve's and the first KEM's shares are sent. */
static const struct s2n_security_policy *policy(const struct options *o) {
    static const struct s2n_ecc_named_curve *curves[LIST] = {&s2n_ecc_curve_x25519, &s2n_ecc_curve_secp256r1, &s2n_ecc_curve_secp384r1};
    static struct s2n_ecc_preferences ecc = {3, curves};
    static const struct s2n_kem_group *groups[] = {&s2n_x25519_mlkem_768};
    static const struct s2n_kem_preferences hybrid = {.tls13_kem_group_count = 1, .tls13_kem_groups = groups, .tls13_pq_hybrid_draft_revision = 5};
    if (o->groups[0]) {
        ecc.count = 0;
        for (int i = 0; o->groups[i]; i++)
            if (curve(o->groups[i])) curves[ecc.count++] = curve(o->groups[i]);
    }

    static struct s2n_cipher_suite *suites[LIST] = {&s2n_tls13_aes_128_gcm_sha256, &s2n_tls13_aes_256_gcm_sha384, &s2n_tls13_chacha20_poly1305_sha256},
        *old[] = {&s2n_ecdhe_ecdsa_with_aes_128_gcm_sha256, &s2n_ecdhe_rsa_with_aes_128_gcm_sha256};
    static struct s2n_cipher_preferences ciphers = {3, suites, false};
    if (o->version == 12) ciphers = (struct s2n_cipher_preferences){2, old, false};
    else if (o->suites[0])
        for (ciphers.count = 0; o->suites[ciphers.count]; ciphers.count++) suites[ciphers.count] = suite(o->suites[ciphers.count]);

    static const struct s2n_signature_scheme *const schemes[] = {&s2n_ecdsa_sha256, &s2n_ecdsa_sha384, &s2n_ecdsa_sha512, &s2n_rsa_pss_rsae_sha256, &s2n_rsa_pss_rsae_sha384,
                                                                 &s2n_rsa_pss_rsae_sha512, &s2n_rsa_pkcs1_sha256, &s2n_rsa_pkcs1_sha384, &s2n_rsa_pkcs1_sha512};
    static struct s2n_signature_preferences signatures = {9, schemes};
    if (o->signatures) signatures = !strcmp(o->signatures, "ecdsa") ? (struct s2n_signature_preferences){3, schemes} : (struct s2n_signature_preferences){6, schemes + 3};

    static struct s2n_security_policy made;
    made = (struct s2n_security_policy){
        .minimum_protocol_version = o->version == 12 ? S2N_TLS12 : S2N_TLS13,
        .cipher_preferences = &ciphers,
        .kem_preferences = !o->groups[0] || listed(o->groups, "X25519MLKEM768") ? &hybrid : &kem_preferences_null,
        .signature_preferences = &signatures,
        .ecc_preferences = &ecc,
    };
    if (o->version == 12) made.kem_preferences = &kem_preferences_null;
    return &made;
}

static int on_ticket(struct s2n_connection *tls, void *unused, struct s2n_session_ticket *ticket) {
    struct connection *c = s2n_connection_get_ctx(tls);
    c->tickets++;
    if (s2n_session_ticket_get_data_len(ticket, &kept_size) || s2n_session_ticket_get_data(ticket, sizeof kept, kept)) kept_size = 0;
    return S2N_SUCCESS;
}

static const char *said(void) { return s2n_strerror(s2n_errno, "EN"); }

void stack_setup(const struct options *o) {
    if (s2n_init()) die("s2n_init: %s", said());
    config = s2n_config_new_minimal();
    if (!config || s2n_config_set_verification_ca_location(config, o->ca, NULL)) die("%s: %s", o->ca, said());
    s2n_config_set_cipher_preferences(config, "default_tls13");
    config->security_policy = policy(o);
    if (o->status == ASK && s2n_config_set_status_request_type(config, S2N_STATUS_REQUEST_OCSP)) die("the staple: %s", said());
    s2n_config_set_session_tickets_onoff(config, 1);
    s2n_config_set_session_ticket_cb(config, on_ticket, NULL);
    int count = 0;
    /* With early data there is no ALPN: a ticket keeps the protocol without an ending zero, and when the server accepts, it is compared with one. */
    while (o->mode != EARLY && o->alpn[count]) count++;
    if (count && s2n_config_set_protocol_preferences(config, o->alpn, count)) die("ALPN: %s", said());
}

static int take(void *c, uint8_t *to, uint32_t size) {
    if (only_writing) {
        errno = EAGAIN;
        return -1;
    }
    return transport_read(&((struct connection *)c)->transport, to, size);
}

static int give(void *c, const uint8_t *from, uint32_t size) { return transport_write(&((struct connection *)c)->transport, from, size); }

static uint8_t any_name(const char *name, size_t size, void *unused) { return 1; }

bool stack_open(struct connection *c, bool offer) {
    struct s2n_connection *tls = c->tls = s2n_connection_new(S2N_CLIENT);
    c->tickets = 0;
    early_sent = false;
    s2n_connection_set_config(tls, config);
    s2n_connection_set_ctx(tls, c);
    s2n_connection_set_blinding(tls, S2N_SELF_SERVICE_BLINDING);
    s2n_connection_set_recv_cb(tls, take);
    s2n_connection_set_recv_ctx(tls, c);
    s2n_connection_set_send_cb(tls, give);
    s2n_connection_set_send_ctx(tls, c);
    if (c->name) s2n_set_server_name(tls, c->name);
    else s2n_connection_set_verify_host_callback(tls, any_name, NULL);
    if (offer && (!kept_size || s2n_connection_set_session(tls, kept, kept_size))) {
        fail(c, "no session to offer: %s", kept_size ? said() : "no ticket came");
        return false;
    }
    return true;
}

size_t stack_early_limit(struct connection *c) {
    uint32_t limit = 0;
    return s2n_connection_get_remaining_early_data_size(c->tls, &limit) ? 0 : limit;
}

/* It would wait for the server's answer before it sends, if it could read. */
bool stack_write_early(struct connection *c, const void *from, size_t size) {
    s2n_blocked_status blocked;
    ssize_t n = 0;
    only_writing = true;
    int code = s2n_send_early_data(c->tls, from, size, &n, &blocked);
    only_writing = false;
    if (code && s2n_error_get_type(s2n_errno) != S2N_ERR_T_BLOCKED) fail(c, "early data: %s", said());
    return early_sent = n == (ssize_t)size;
}

static void failed(struct connection *c, const char *what) {
    int type = s2n_error_get_type(s2n_errno);
    if (type == S2N_ERR_T_ALERT) c->alert = s2n_connection_get_alert(c->tls);
    fail(c, "%s: %s", what, said());
}

bool stack_handshake(struct connection *c) {
    s2n_blocked_status blocked;
    if (s2n_negotiate(c->tls, &blocked) == S2N_SUCCESS) return true;
    failed(c, "handshake");
    return false;
}

bool stack_write(struct connection *c, const void *from, size_t size) {
    s2n_blocked_status blocked;
    const uint8_t *p = from;
    while (size) {
        ssize_t n = s2n_send(c->tls, p, size, &blocked);
        if (n <= 0) return false;
        p += n;
        size -= n;
    }
    return true;
}

long stack_read(struct connection *c, void *to, size_t size) {
    s2n_blocked_status blocked;
    ssize_t n = s2n_recv(c->tls, to, size, &blocked);
    if (n < 0 && !c->transport.ended) failed(c, "read");
    return n;
}

bool stack_key_update(struct connection *c) { return false; }

static void staple(struct connection *c) {
    uint32_t size = 0, leaf_size = 0;
    const uint8_t *leaf, *response = s2n_connection_get_ocsp_response(c->tls, &size);
    struct s2n_cert_chain_and_key *chain = s2n_cert_chain_and_key_new();
    struct s2n_cert *first;
    if (s2n_connection_get_peer_cert_chain(c->tls, chain) == S2N_SUCCESS && s2n_cert_chain_get_cert(chain, &first, 0) == S2N_SUCCESS &&
        s2n_cert_get_der(first, &leaf, &leaf_size) == S2N_SUCCESS)
        c->staple = staple_says(response, size, leaf, leaf_size);
    s2n_cert_chain_and_key_free(chain);
}

void stack_describe(struct connection *c) {
    struct s2n_connection *tls = c->tls;
    if (tls && s2n_connection_is_session_resumed(tls) != 1) staple(c);
    if (!tls || !c->handshake) return;
    c->version = s2n_connection_get_actual_protocol_version(tls) == S2N_TLS13 ? 13 : 12;
    c->resumed = s2n_connection_is_session_resumed(tls) == 1;
    s2n_early_data_status_t status;
    if (early_sent && s2n_connection_get_early_data_status(tls, &status) == S2N_SUCCESS)
        c->early = status == S2N_EARLY_DATA_STATUS_OK || status == S2N_EARLY_DATA_STATUS_END ? EARLY_ACCEPTED : EARLY_REFUSED;
    const char *name = NULL;
    if (s2n_connection_get_key_exchange_group(tls, &name) == S2N_SUCCESS && name) {
        static const char *const names[][2] = {{"x25519", "X25519"}, {"secp256r1", "P-256"}, {"secp384r1", "P-384"}, {"secp521r1", "P-521"}};
        for (int i = 0; i < 4; i++) if (!strcmp(name, names[i][0])) name = names[i][1];
        snprintf(c->group, sizeof c->group, "%s", name);
    }
    uint8_t first, second;
    if (s2n_connection_get_cipher_iana_value(tls, &first, &second) == S2N_SUCCESS) {
        name = suite_of_id(first << 8 | second);
        snprintf(c->suite, sizeof c->suite, "%s", name ? name : "");
    }
    name = s2n_get_application_protocol(tls);
    if (name) snprintf(c->alpn, sizeof c->alpn, "%s", name);
    s2n_tls_signature_algorithm kind;
    if (!c->resumed && s2n_connection_get_selected_signature_algorithm(tls, &kind) == S2N_SUCCESS)
        c->certificate = kind == S2N_TLS_SIGNATURE_ECDSA ? "ecdsa" : kind == S2N_TLS_SIGNATURE_RSA || kind == S2N_TLS_SIGNATURE_RSA_PSS_RSAE ? "rsa" : NULL;
}

void stack_close_notify(struct connection *c) {
    s2n_blocked_status blocked;
    s2n_shutdown_send(c->tls, &blocked);
}

void stack_free(struct connection *c) {
    if (!c->tls) return;
    if (c->handshake) stack_close_notify(c);
    s2n_connection_free(c->tls);
    c->tls = NULL;
}
