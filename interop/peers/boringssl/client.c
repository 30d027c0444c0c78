/* BoringSSL, as Debian has it from Android */
#include "peer.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>

static SSL_CTX *context;
static SSL_SESSION *kept;
static BIO_METHOD *method;
static bool early_sent;

const char *stack_name(void) { return "BoringSSL (Android 14)"; }

const char *stack_lacks(const struct options *o) {
    if (listed(o->groups, "X25519MLKEM768")) return "this BoringSSL is older than ML-KEM";
    if (o->suites[0]) return "BoringSSL does not let its user choose the suites of TLS 1.3";
    return NULL;
}

static int bio_read(BIO *bio, char *to, int size) { return transport_read(BIO_get_data(bio), to, size); }

static int bio_write(BIO *bio, const char *from, int size) { return transport_write(BIO_get_data(bio), from, size); }

static long bio_ctrl(BIO *bio, int command, long number, void *pointer) {
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *bio) {
    BIO_set_init(bio, 1);
    return 1;
}

static void on_info(const SSL *ssl, int where, int value) {
    struct connection *c = SSL_get_app_data(ssl);
    if (where == SSL_CB_READ_ALERT && value >> 8 == SSL3_AL_FATAL) c->alert = value & 0xff;
}

static int on_session(SSL *ssl, SSL_SESSION *session) {
    struct connection *c = SSL_get_app_data(ssl);
    c->tickets++;
    SSL_SESSION_free(kept);
    kept = session;
    return 1;
}

void stack_setup(const struct options *o) {
    method = BIO_meth_new(0, "transport");
    BIO_meth_set_read(method, bio_read);
    BIO_meth_set_write(method, bio_write);
    BIO_meth_set_ctrl(method, bio_ctrl);
    BIO_meth_set_create(method, bio_create);

    context = SSL_CTX_new(TLS_method());
    int version = o->version == 12 ? TLS1_2_VERSION : TLS1_3_VERSION;
    SSL_CTX_set_min_proto_version(context, version);
    SSL_CTX_set_max_proto_version(context, version);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    if (!SSL_CTX_load_verify_locations(context, o->ca, NULL)) die("%s: no authority in it", o->ca);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, on_session);
    SSL_CTX_set_info_callback(context, on_info);
    SSL_CTX_set_early_data_enabled(context, o->mode == EARLY);
    if (o->status == ASK) SSL_CTX_enable_ocsp_stapling(context);

    /* A key share is sent for the first one only. */
    char groups[256] = "";
    for (int i = 0; o->groups[i]; i++) {
        if (i) strcat(groups, ":");
        strcat(groups, o->groups[i]);
    }
    if (*groups && !SSL_CTX_set1_curves_list(context, groups)) die("no such groups: %s", groups);
    if (o->signatures) {
        const char *list = !strcmp(o->signatures, "rsa") ? "rsa_pss_rsae_sha256:rsa_pss_rsae_sha384:rsa_pss_rsae_sha512:rsa_pkcs1_sha256:rsa_pkcs1_sha384:rsa_pkcs1_sha512"
                                                         : "ecdsa_secp256r1_sha256:ecdsa_secp384r1_sha384:ecdsa_secp521r1_sha512";
        if (!SSL_CTX_set1_sigalgs_list(context, list)) die("no such signature algorithms");
    }
    unsigned char protocols[256];
    size_t size = alpn_wire(o, protocols, sizeof protocols);
    if (size) SSL_CTX_set_alpn_protos(context, protocols, size);
}

bool stack_open(struct connection *c, bool offer) {
    SSL *ssl = c->tls = SSL_new(context);
    SSL_set_app_data(ssl, c);
    c->tickets = 0;
    early_sent = false;
    BIO *bio = BIO_new(method);
    BIO_set_data(bio, &c->transport);
    SSL_set_bio(ssl, bio, bio);
    if (c->name) {
        SSL_set_tlsext_host_name(ssl, c->name);
        X509_VERIFY_PARAM_set1_host(SSL_get0_param(ssl), c->name, strlen(c->name));
    }
    SSL_set_connect_state(ssl);
    if (offer) {
        if (!kept) {
            fail(c, "no session to offer");
            return false;
        }
        SSL_set_session(ssl, kept);
    }
    return true;
}

static void failed(struct connection *c, const char *what) {
    uint32_t code = ERR_get_error();
    long verified = SSL_get_verify_result(c->tls);
    if (ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED) fail(c, "%s: %s", what, X509_verify_cert_error_string(verified));
    fail(c, "%s: %s", what, code ? ERR_reason_error_string(code) : c->transport.ended ? c->transport.ended : "failed");
    ERR_clear_error();
}

/* The ticket's own limit is not told; most servers allow 16384 bytes. */
size_t stack_early_limit(struct connection *c) { return SSL_SESSION_early_data_capable(SSL_get_session(c->tls)) ? 16000 : 0; }

/* With early data the handshake "returns" when the ClientHello has left. */
bool stack_write_early(struct connection *c, const void *from, size_t size) {
    if (SSL_do_handshake(c->tls) != 1) {
        failed(c, "early data");
        return false;
    }
    const char *p = from;
    while (size && SSL_in_early_data(c->tls)) {
        int n = SSL_write(c->tls, p, size);
        if (n <= 0) {
            failed(c, "early data");
            return false;
        }
        early_sent = true;
        p += n;
        size -= n;
    }
    return early_sent && !size;
}

bool stack_handshake(struct connection *c) {
    int n = SSL_do_handshake(c->tls);
    /* Still within early data: it was the ClientHello that left, or it goes on from there. */
    while (n == 1 && SSL_in_early_data(c->tls)) n = SSL_do_handshake(c->tls);
    if (n != 1 && SSL_get_error(c->tls, n) == SSL_ERROR_EARLY_DATA_REJECTED) {
        SSL_reset_early_data_reject(c->tls);
        ERR_clear_error();
        n = SSL_do_handshake(c->tls);
    }
    if (n == 1) return true;
    failed(c, "handshake");
    return false;
}

bool stack_write(struct connection *c, const void *from, size_t size) {
    const char *p = from;
    while (size) {
        int n = SSL_write(c->tls, p, size < 16384 ? size : 16384);
        if (n <= 0) return false;
        p += n;
        size -= n;
    }
    return true;
}

long stack_read(struct connection *c, void *to, size_t size) {
    int n = SSL_read(c->tls, to, size);
    if (n > 0) return n;
    if (SSL_get_error(c->tls, n) == SSL_ERROR_ZERO_RETURN) return 0;
    if (!c->transport.ended && c->alert < 0) failed(c, "read");
    return -1;
}

/* Sent with the next write. */
bool stack_key_update(struct connection *c) { return SSL_key_update(c->tls, SSL_KEY_UPDATE_REQUESTED) == 1; }

static void staple(struct connection *c) {
    const STACK_OF(CRYPTO_BUFFER) *chain = SSL_get0_peer_certificates(c->tls);
    if (!chain || !sk_CRYPTO_BUFFER_num(chain) || SSL_session_reused(c->tls)) return;
    const CRYPTO_BUFFER *leaf = sk_CRYPTO_BUFFER_value(chain, 0);
    const uint8_t *response;
    size_t size;
    SSL_get0_ocsp_response(c->tls, &response, &size);
    c->staple = staple_says(response, size, CRYPTO_BUFFER_data(leaf), CRYPTO_BUFFER_len(leaf));
}

void stack_describe(struct connection *c) {
    SSL *ssl = c->tls;
    if (ssl) staple(c);
    if (!ssl || !c->handshake) return;
    c->version = SSL_version(ssl) == TLS1_3_VERSION ? 13 : 12;
    c->resumed = SSL_session_reused(ssl);
    if (early_sent) c->early = SSL_early_data_accepted(ssl) ? EARLY_ACCEPTED : EARLY_REFUSED;
    const char *group = group_of_id(SSL_get_curve_id(ssl));
    if (group) snprintf(c->group, sizeof c->group, "%s", group);
    snprintf(c->suite, sizeof c->suite, "%s", SSL_CIPHER_standard_name(SSL_get_current_cipher(ssl)));
    const uint8_t *alpn;
    unsigned size;
    SSL_get0_alpn_selected(ssl, &alpn, &size);
    snprintf(c->alpn, sizeof c->alpn, "%.*s", (int)size, alpn ? (const char *)alpn : "");
    X509 *leaf = SSL_get_peer_certificate(ssl);
    if (leaf && !c->resumed) {
        EVP_PKEY *key = X509_get_pubkey(leaf);
        int kind = EVP_PKEY_id(key);
        EVP_PKEY_free(key);
        c->certificate = kind == EVP_PKEY_EC ? "ecdsa" : kind == EVP_PKEY_RSA ? "rsa" : kind == EVP_PKEY_ED25519 ? "ed25519" : NULL;
    }
    X509_free(leaf);
}

/* From then on no ticket is read. */
void stack_close_notify(struct connection *c) {
    SSL_shutdown(c->tls);
    if (c->tickets == 0) c->tickets = -1;
}

void stack_free(struct connection *c) {
    SSL_free(c->tls);
    c->tls = NULL;
}
