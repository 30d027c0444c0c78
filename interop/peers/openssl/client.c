/* libssl 3.5 */
#include "peer.h"

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static SSL_CTX *context;
static SSL_SESSION *kept;
static BIO_METHOD *method;

const char *stack_name(void) { return OpenSSL_version(OPENSSL_VERSION_STRING) ? "OpenSSL " OPENSSL_VERSION_STR : NULL; }

const char *stack_lacks(const struct options *o) {
    (void)o;
    return NULL;
}

static int bio_read(BIO *bio, char *to, int size) {
    long n = transport_read(BIO_get_data(bio), to, size);
    if (n == 0) BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    return n;
}

static int bio_write(BIO *bio, const char *from, int size) { return transport_write(BIO_get_data(bio), from, size); }

static long bio_ctrl(BIO *bio, int command, long number, void *pointer) {
    (void)number, (void)pointer;
    if (command == BIO_CTRL_EOF) return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
    return command == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *bio) {
    BIO_set_init(bio, 1);
    return 1;
}

static void on_message(int sent, int version, int type, const void *bytes, size_t size, SSL *ssl, void *unused) {
    (void)version, (void)unused;
    struct connection *c = SSL_get_app_data(ssl);
    if (!sent && type == 22 && size && *(const unsigned char *)bytes == SSL3_MT_NEWSESSION_TICKET) c->tickets++;
}

static void on_info(const SSL *ssl, int where, int value) {
    struct connection *c = SSL_get_app_data(ssl);
    if (where == SSL_CB_READ_ALERT && value >> 8 == SSL3_AL_FATAL) c->alert = value & 0xff;
}

static int on_session(SSL *ssl, SSL_SESSION *session) {
    (void)ssl;
    SSL_SESSION_free(kept);
    kept = session;
    return 1;
}

/* libssl hands the response out; libcrypto verifies it. What is not good ends the handshake, with an alert. */
static int on_status(SSL *ssl, void *unused) {
    (void)unused;
    if (SSL_session_reused(ssl)) return 1; /* no certificate, and so no response */
    const unsigned char *bytes;
    long size = SSL_get_tlsext_status_ocsp_resp(ssl, &bytes);
    STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
    if (size <= 0 || sk_X509_num(chain) < 2) return 0;
    OCSP_RESPONSE *response = d2i_OCSP_RESPONSE(NULL, &bytes, size);
    OCSP_BASICRESP *basic = response ? OCSP_response_get1_basic(response) : NULL;
    OCSP_CERTID *id = OCSP_cert_to_id(NULL, sk_X509_value(chain, 0), sk_X509_value(chain, 1));
    ASN1_GENERALIZEDTIME *since, *until;
    int status = -1;
    int good = basic && OCSP_basic_verify(basic, chain, SSL_CTX_get_cert_store(context), 0) > 0 &&
               OCSP_resp_find_status(basic, id, &status, NULL, NULL, &since, &until) && OCSP_check_validity(since, until, 300, -1) &&
               status == V_OCSP_CERTSTATUS_GOOD;
    fprintf(stderr, "staple: %s, %s\n", OCSP_cert_status_str(status), good ? "verified" : "refused");
    OCSP_CERTID_free(id);
    OCSP_BASICRESP_free(basic);
    OCSP_RESPONSE_free(response);
    return good;
}

void stack_setup(const struct options *o) {
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "transport");
    BIO_meth_set_read(method, bio_read);
    BIO_meth_set_write(method, bio_write);
    BIO_meth_set_ctrl(method, bio_ctrl);
    BIO_meth_set_create(method, bio_create);

    context = SSL_CTX_new(TLS_client_method());
    int version = o->version == 12 ? TLS1_2_VERSION : TLS1_3_VERSION;
    SSL_CTX_set_min_proto_version(context, version);
    SSL_CTX_set_max_proto_version(context, version);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    if (!SSL_CTX_load_verify_file(context, o->ca)) die("%s: no authority in it", o->ca);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, on_session);
    SSL_CTX_set_msg_callback(context, on_message);
    SSL_CTX_set_info_callback(context, on_info);
    if (o->status == ASK) {
        SSL_CTX_set_tlsext_status_type(context, TLSEXT_STATUSTYPE_ocsp);
        SSL_CTX_set_tlsext_status_cb(context, on_status);
    }

    if (o->groups[0]) {
        /* The asterisk: a key share is sent for this one, and so for no other. */
        char list[256] = "*";
        for (int i = 0; o->groups[i]; i++) {
            if (i) strcat(list, ":");
            strcat(list, o->groups[i]);
        }
        if (!SSL_CTX_set1_groups_list(context, list)) die("no such groups: %s", list);
    }
    if (o->suites[0]) {
        char list[256] = "";
        for (int i = 0; o->suites[i]; i++) {
            if (i) strcat(list, ":");
            strcat(list, o->suites[i]);
        }
        if (!SSL_CTX_set_ciphersuites(context, list)) die("no such suites: %s", list);
    }
    if (o->signatures) {
        const char *list = !strcmp(o->signatures, "rsa") ? "rsa_pss_rsae_sha256:rsa_pss_rsae_sha384:rsa_pss_rsae_sha512:rsa_pkcs1_sha256:rsa_pkcs1_sha384:rsa_pkcs1_sha512"
                                                         : "ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512";
        SSL_CTX_set1_sigalgs_list(context, list);
    }
    unsigned char protocols[256];
    size_t size = alpn_wire(o, protocols, sizeof protocols);
    if (size) SSL_CTX_set_alpn_protos(context, protocols, size);
}

bool stack_open(struct connection *c, bool offer) {
    SSL *ssl = c->tls = SSL_new(context);
    SSL_set_app_data(ssl, c);
    c->tickets = 0;
    BIO *bio = BIO_new(method);
    BIO_set_data(bio, &c->transport);
    SSL_set_bio(ssl, bio, bio);
    if (c->name) {
        SSL_set_tlsext_host_name(ssl, c->name);
        SSL_set1_host(ssl, c->name);
    }
    SSL_set_connect_state(ssl);
    if (offer) {
        if (!kept) {
            fail(c, "no session to offer");
            return false;
        }
        /* libssl sends early data only to the name that the session was made with. */
        SSL_SESSION *offered = SSL_SESSION_dup(kept);
        if (c->name) SSL_SESSION_set1_hostname(offered, c->name);
        SSL_set_session(ssl, offered);
        SSL_SESSION_free(offered);
    }
    return true;
}

static void failed(struct connection *c, const char *what) {
    unsigned long code = ERR_get_error();
    long verified = SSL_get_verify_result(c->tls);
    if (verified != X509_V_OK && !c->handshake)
        fail(c, "%s: %s", what, X509_verify_cert_error_string(verified));
    else
        fail(c, "%s: %s", what, code ? ERR_reason_error_string(code) : c->transport.ended ? c->transport.ended : "failed");
    ERR_clear_error();
}

size_t stack_early_limit(struct connection *c) { return SSL_SESSION_get_max_early_data(SSL_get0_session(c->tls)); }

bool stack_write_early(struct connection *c, const void *from, size_t size) {
    const char *p = from;
    while (size) {
        size_t n = size < 16384 ? size : 16384, written;
        if (!SSL_write_early_data(c->tls, p, n, &written)) {
            failed(c, "early data");
            return false;
        }
        p += written;
        size -= written;
    }
    return true;
}

bool stack_handshake(struct connection *c) {
    if (SSL_connect(c->tls) == 1) return true;
    failed(c, "handshake");
    return false;
}

bool stack_write(struct connection *c, const void *from, size_t size) {
    const char *p = from;
    while (size) {
        size_t written;
        if (!SSL_write_ex(c->tls, p, size < 16384 ? size : 16384, &written)) return false;
        p += written;
        size -= written;
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
    X509 *leaf = SSL_get0_peer_certificate(c->tls);
    if (!leaf || SSL_session_reused(c->tls)) return;
    const unsigned char *response;
    long size = SSL_get_tlsext_status_ocsp_resp(c->tls, &response);
    unsigned char *der = NULL;
    int length = i2d_X509(leaf, &der);
    c->staple = staple_says(response, size > 0 ? size : 0, der, length);
    OPENSSL_free(der);
}

void stack_describe(struct connection *c) {
    SSL *ssl = c->tls;
    if (ssl) staple(c);
    if (!ssl || !c->handshake) return;
    c->version = SSL_version(ssl) == TLS1_3_VERSION ? 13 : 12;
    c->resumed = SSL_session_reused(ssl);
    c->early = (enum early[]){[SSL_EARLY_DATA_NOT_SENT] = EARLY_NONE, [SSL_EARLY_DATA_REJECTED] = EARLY_REFUSED, [SSL_EARLY_DATA_ACCEPTED] = EARLY_ACCEPTED}
        [SSL_get_early_data_status(ssl)];
    int nid = SSL_get_negotiated_group(ssl);
    const char *group = nid == NID_X25519                ? "X25519"
                        : nid == NID_X9_62_prime256v1    ? "P-256"
                        : nid == NID_secp384r1           ? "P-384"
                        : nid == NID_secp521r1           ? "P-521"
                                                         : SSL_get0_group_name(ssl);
    if (group) snprintf(c->group, sizeof c->group, "%s", group);
    snprintf(c->suite, sizeof c->suite, "%s", SSL_CIPHER_standard_name(SSL_get_current_cipher(ssl)));
    const unsigned char *alpn;
    unsigned size;
    SSL_get0_alpn_selected(ssl, &alpn, &size);
    snprintf(c->alpn, sizeof c->alpn, "%.*s", (int)size, alpn ? (const char *)alpn : "");
    /* On resumption the session brings the former certificate along: that was not shown. */
    X509 *leaf = SSL_get0_peer_certificate(ssl);
    if (leaf && !c->resumed) {
        EVP_PKEY *key = X509_get0_pubkey(leaf);
        c->certificate = EVP_PKEY_is_a(key, "EC") ? "ecdsa" : EVP_PKEY_is_a(key, "RSA") ? "rsa" : EVP_PKEY_is_a(key, "ED25519") ? "ed25519" : NULL;
    }
}

void stack_close_notify(struct connection *c) { SSL_shutdown(c->tls); }

/* Without a shutdown OpenSSL takes the session for broken. */
void stack_free(struct connection *c) {
    if (!c->tls) return;
    SSL_set_shutdown(c->tls, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(c->tls);
    c->tls = NULL;
}
