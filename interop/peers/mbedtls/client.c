/* Mbed TLS 3.6. Debian's build has no early data, and the library no key update. */
#define MBEDTLS_ALLOW_PRIVATE_ACCESS /* the alert that was received is told nowhere else */
#include "peer.h"

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <mbedtls/ssl.h>
#include <mbedtls/version.h>
#include <psa/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mbedtls_ssl_config config;
static mbedtls_x509_crt authority;
static mbedtls_ssl_session kept;
static bool have_session;

const char *stack_name(void) {
    static char name[64];
    mbedtls_version_get_string_full(name);
    return name;
}

const char *stack_lacks(const struct options *o) {
    if (o->mode == EARLY) return "Debian's Mbed TLS is built without early data";
    if (o->key_update) return "Mbed TLS has no key update";
    if (o->status != AS_IT_DOES) return "Mbed TLS has no OCSP stapling";
    if (listed(o->groups, "X25519MLKEM768")) return "Mbed TLS has no ML-KEM in TLS";
    if (o->mode == RESUME && o->name[0] && o->name[1] && strcmp(o->name[0], o->name[1])) return "Mbed TLS offers a session only to the name that it is from";
    return NULL;
}

void stack_setup(const struct options *o) {
    static mbedtls_entropy_context entropy;
    static mbedtls_ctr_drbg_context random;
    psa_crypto_init();
    mbedtls_entropy_init(&entropy);
    mbedtls_ctr_drbg_init(&random);
    mbedtls_ctr_drbg_seed(&random, mbedtls_entropy_func, &entropy, NULL, 0);
    mbedtls_x509_crt_init(&authority);
    if (mbedtls_x509_crt_parse_file(&authority, o->ca)) die("%s: no authority in it", o->ca);
    mbedtls_ssl_config_init(&config);
    mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT);
    mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &random);
    mbedtls_ssl_conf_authmode(&config, MBEDTLS_SSL_VERIFY_REQUIRED);
    mbedtls_ssl_conf_ca_chain(&config, &authority, NULL);
    mbedtls_ssl_protocol_version version = o->version == 12 ? MBEDTLS_SSL_VERSION_TLS1_2 : MBEDTLS_SSL_VERSION_TLS1_3;
    mbedtls_ssl_conf_min_tls_version(&config, version);
    mbedtls_ssl_conf_max_tls_version(&config, version);
    mbedtls_ssl_conf_tls13_enable_signal_new_session_tickets(&config, MBEDTLS_SSL_TLS1_3_SIGNAL_NEW_SESSION_TICKETS_ENABLED);
    if (o->alpn[0]) mbedtls_ssl_conf_alpn_protocols(&config, (const char **)o->alpn);

    static uint16_t groups[LIST];
    for (int i = 0; o->groups[i]; i++) groups[i] = group_id(o->groups[i]);
    if (o->groups[0]) mbedtls_ssl_conf_groups(&config, groups);
    static int suites[LIST];
    int n = 0;
    for (int i = 0x1301; i <= 0x1303; i++)
        if (listed(o->suites, suite_of_id(i))) suites[n++] = i;
    if (n) mbedtls_ssl_conf_ciphersuites(&config, suites);
    static const uint16_t RSA[] = {0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0}, ECDSA[] = {0x0403, 0x0503, 0x0603, 0};
    if (o->signatures) mbedtls_ssl_conf_sig_algs(&config, !strcmp(o->signatures, "rsa") ? RSA : ECDSA);
}

static int on_recv(void *pointer, unsigned char *to, size_t size) {
    struct connection *c = pointer;
    long n = transport_read(&c->transport, to, size);
    return n >= 0 ? n : -1;
}

static int on_send(void *pointer, const unsigned char *from, size_t size) {
    struct connection *c = pointer;
    return transport_write(&c->transport, from, size);
}

bool stack_open(struct connection *c, bool offer) {
    mbedtls_ssl_context *ssl = c->tls = calloc(1, sizeof *ssl);
    c->tickets = 0;
    mbedtls_ssl_init(ssl);
    if (mbedtls_ssl_setup(ssl, &config)) die("no memory");
    mbedtls_ssl_set_hostname(ssl, c->name);
    mbedtls_ssl_set_bio(ssl, c, on_send, on_recv, NULL);
    if (offer) {
        if (!have_session) {
            fail(c, "no session to offer");
            return false;
        }
        int code = mbedtls_ssl_set_session(ssl, &kept);
        if (code) {
            fail(c, "the session: -0x%04x", -code);
            return false;
        }
    }
    return true;
}

static void failed(struct connection *c, const char *what, int code) {
    mbedtls_ssl_context *ssl = c->tls;
    char text[128];
    if (code == MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE) c->alert = ssl->in_msg[1];
    mbedtls_strerror(code, text, sizeof text);
    fail(c, "%s: %s", what, text);
}

size_t stack_early_limit(struct connection *c) {
    (void)c;
    return 0;
}

bool stack_write_early(struct connection *c, const void *from, size_t size) {
    (void)c, (void)from, (void)size;
    return false;
}

static void keep(struct connection *c) {
    mbedtls_ssl_session_free(&kept);
    mbedtls_ssl_session_init(&kept);
    have_session = mbedtls_ssl_get_session(c->tls, &kept) == 0;
}

bool stack_handshake(struct connection *c) {
    int code = mbedtls_ssl_handshake(c->tls);
    if (code) failed(c, "handshake", code);
    return code == 0;
}

bool stack_write(struct connection *c, const void *from, size_t size) {
    const char *p = from;
    while (size) {
        int n = mbedtls_ssl_write(c->tls, (const unsigned char *)p, size);
        if (n <= 0) return false;
        p += n;
        size -= n;
    }
    return true;
}

long stack_read(struct connection *c, void *to, size_t size) {
    for (;;) {
        int n = mbedtls_ssl_read(c->tls, to, size);
        if (n > 0) return n;
        if (n == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET) {
            c->tickets++;
            keep(c);
            continue;
        }
        if (n == MBEDTLS_ERR_SSL_WANT_READ) continue;
        if (n == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY) return 0;
        if (!c->transport.ended) failed(c, "read", n);
        return -1;
    }
}

bool stack_key_update(struct connection *c) {
    (void)c;
    return false;
}

void stack_describe(struct connection *c) {
    mbedtls_ssl_context *ssl = c->tls;
    if (!ssl || !c->handshake) return;
    c->version = mbedtls_ssl_get_version_number(ssl) == MBEDTLS_SSL_VERSION_TLS1_3 ? 13 : 12;
    c->resumed = c->transport.resumed;
    if (c->version == 12) {
        c->tickets = -1;
        if (!have_session) keep(c);
    }
    const char *group = group_of_id(c->transport.group);
    if (group) snprintf(c->group, sizeof c->group, "%s", group);
    const char *suite = suite_of_id(mbedtls_ssl_get_ciphersuite_id_from_ssl(ssl)), *alpn = mbedtls_ssl_get_alpn_protocol(ssl);
    if (suite) {
        snprintf(c->suite, sizeof c->suite, "%s", suite);
    } else { /* TLS-ECDHE-… here, TLS_ECDHE_… elsewhere */
        snprintf(c->suite, sizeof c->suite, "%s", mbedtls_ssl_get_ciphersuite(ssl));
        for (char *p = c->suite; *p; p++) if (*p == '-') *p = '_';
    }
    if (alpn) snprintf(c->alpn, sizeof c->alpn, "%s", alpn);
    const mbedtls_x509_crt *leaf = mbedtls_ssl_get_peer_cert(ssl);
    if (leaf && c->resumed == 0) {
        mbedtls_pk_type_t kind = mbedtls_pk_get_type(&leaf->pk);
        c->certificate = kind == MBEDTLS_PK_ECKEY || kind == MBEDTLS_PK_ECDSA ? "ecdsa" : kind == MBEDTLS_PK_RSA ? "rsa" : NULL;
    }
}

void stack_close_notify(struct connection *c) { mbedtls_ssl_close_notify(c->tls); }

void stack_free(struct connection *c) {
    if (!c->tls) return;
    if (c->handshake) mbedtls_ssl_close_notify(c->tls);
    mbedtls_ssl_free(c->tls);
    free(c->tls);
    c->tls = NULL;
}
