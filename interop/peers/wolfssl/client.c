/* wolfSSL. Debian's build has no early data. */
#include <wolfssl/options.h>

#include "peer.h"

#include <stdio.h>
#include <string.h>
#include <wolfssl/error-ssl.h>
#include <wolfssl/openssl/ssl.h>
#include <wolfssl/ssl.h>

static WOLFSSL_CTX *context;
static WOLFSSL_SESSION *kept;

static const struct {
    const char *name;
    int id;
} GROUPS[] = {{"X25519", WOLFSSL_ECC_X25519}, {"P-256", WOLFSSL_ECC_SECP256R1}, {"P-384", WOLFSSL_ECC_SECP384R1}, {"P-521", WOLFSSL_ECC_SECP521R1}};

const char *stack_name(void) {
    static char name[64];
    snprintf(name, sizeof name, "wolfSSL %s", wolfSSL_lib_version());
    return name;
}

const char *stack_lacks(const struct options *o) {
    if (o->mode == EARLY) return "Debian's wolfSSL is built without early data";
    if (listed(o->groups, "X25519MLKEM768")) return "Debian's wolfSSL is built without ML-KEM";
    return NULL;
}

static int on_recv(WOLFSSL *ssl, char *to, int size, void *pointer) {
    (void)ssl;
    struct connection *c = pointer;
    long n = transport_read(&c->transport, to, size);
    return n > 0 ? n : n == 0 ? WOLFSSL_CBIO_ERR_CONN_CLOSE : !strcmp(c->transport.ended, "timeout") ? WOLFSSL_CBIO_ERR_GENERAL : WOLFSSL_CBIO_ERR_CONN_RST;
}

static int on_send(WOLFSSL *ssl, char *from, int size, void *pointer) {
    (void)ssl;
    struct connection *c = pointer;
    long n = transport_write(&c->transport, from, size);
    return n < 0 ? WOLFSSL_CBIO_ERR_CONN_RST : n;
}

static int on_ticket(WOLFSSL *ssl, const unsigned char *ticket, int size, void *pointer) {
    (void)ssl, (void)ticket, (void)size;
    ((struct connection *)pointer)->tickets++;
    return 0;
}

void stack_setup(const struct options *o) {
    wolfSSL_Init();
    context = wolfSSL_CTX_new(o->version == 12 ? wolfTLSv1_2_client_method() : wolfTLSv1_3_client_method());
    if (!context || wolfSSL_CTX_load_verify_locations(context, o->ca, NULL) != WOLFSSL_SUCCESS) die("%s: no authority in it", o->ca);
    wolfSSL_CTX_set_verify(context, WOLFSSL_VERIFY_PEER, NULL);
    wolfSSL_CTX_SetIORecv(context, on_recv);
    wolfSSL_CTX_SetIOSend(context, on_send);
    if (o->status == ASK) {
        wolfSSL_CTX_EnableOCSPStapling(context);
        wolfSSL_CTX_EnableOCSPMustStaple(context);
    }
    /* Signature algorithms alone would leave it without suites. */
    if (o->signatures && o->version == 13) wolfSSL_CTX_set_cipher_list(context, "TLS13-AES128-GCM-SHA256:TLS13-AES256-GCM-SHA384:TLS13-CHACHA20-POLY1305-SHA256");
    if (o->suites[0]) {
        char list[256] = "";
        for (int i = 0; o->suites[i]; i++) {
            if (i) strcat(list, ":");
            strcat(list, strstr(o->suites[i], "CHACHA20") ? "TLS13-CHACHA20-POLY1305-SHA256" : strstr(o->suites[i], "256_GCM") ? "TLS13-AES256-GCM-SHA384" : "TLS13-AES128-GCM-SHA256");
        }
        if (wolfSSL_CTX_set_cipher_list(context, list) != WOLFSSL_SUCCESS) die("no such suites: %s", list);
    }
    if (o->signatures && wolfSSL_CTX_set1_sigalgs_list(context, !strcmp(o->signatures, "rsa") ? "RSA-PSS+SHA256:RSA-PSS+SHA384:RSA-PSS+SHA512:RSA+SHA256:RSA+SHA384:RSA+SHA512"
                                                                                           : "ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512") != WOLFSSL_SUCCESS)
        die("no such signature algorithms");
}

bool stack_open(struct connection *c, bool offer) {
    const struct options *o = c->options;
    WOLFSSL *ssl = c->tls = wolfSSL_new(context);
    c->tickets = 0;
    wolfSSL_SetIOReadCtx(ssl, c);
    wolfSSL_SetIOWriteCtx(ssl, c);
    wolfSSL_set_SessionTicket_cb(ssl, on_ticket, c);
    wolfSSL_UseSessionTicket(ssl);
    if (o->status == ASK) wolfSSL_UseOCSPStapling(ssl, WOLFSSL_CSR_OCSP, 0);
    if (c->name) {
        wolfSSL_UseSNI(ssl, WOLFSSL_SNI_HOST_NAME, c->name, strlen(c->name));
        wolfSSL_check_domain_name(ssl, c->name);
    }
    if (o->groups[0]) {
        int groups[LIST], n = 0;
        for (; o->groups[n]; n++)
            for (size_t k = 0; k < sizeof GROUPS / sizeof *GROUPS; k++)
                if (!strcmp(GROUPS[k].name, o->groups[n])) groups[n] = GROUPS[k].id;
        wolfSSL_set_groups(ssl, groups, n);
        wolfSSL_UseKeyShare(ssl, groups[0]);
    }
    char list[256] = "";
    for (int i = 0; o->alpn[i]; i++) {
        if (i) strcat(list, ",");
        strcat(list, o->alpn[i]);
    }
    if (*list) wolfSSL_UseALPN(ssl, list, strlen(list), WOLFSSL_ALPN_CONTINUE_ON_MISMATCH);
    if (offer) {
        if (!kept) {
            fail(c, "no session to offer");
            return false;
        }
        wolfSSL_set_session(ssl, kept);
    }
    return true;
}

static void failed(struct connection *c, const char *what, int result) {
    WOLFSSL_ALERT_HISTORY history;
    if (wolfSSL_get_alert_history(c->tls, &history) == WOLFSSL_SUCCESS && history.last_rx.level == 2) c->alert = history.last_rx.code;
    switch (wolfSSL_get_error(c->tls, result)) {
    case OCSP_CERT_REVOKED: c->staple = "revoked"; break;
    case OCSP_CERT_UNKNOWN: c->staple = "unknown"; break;
    }
    char text[WOLFSSL_MAX_ERROR_SZ];
    fail(c, "%s: %s", what, wolfSSL_ERR_error_string(wolfSSL_get_error(c->tls, result), text));
}

size_t stack_early_limit(struct connection *c) {
    (void)c;
    return 0;
}

bool stack_write_early(struct connection *c, const void *from, size_t size) {
    (void)c, (void)from, (void)size;
    return false;
}

bool stack_handshake(struct connection *c) {
    int result = wolfSSL_connect(c->tls);
    if (result == WOLFSSL_SUCCESS) return true;
    failed(c, "handshake", result);
    return false;
}

bool stack_write(struct connection *c, const void *from, size_t size) {
    const char *p = from;
    while (size) {
        int n = wolfSSL_write(c->tls, p, size < 16384 ? size : 16384);
        if (n <= 0) return false;
        p += n;
        size -= n;
    }
    return true;
}

long stack_read(struct connection *c, void *to, size_t size) {
    for (;;) {
        int n = wolfSSL_read(c->tls, to, size);
        if (n > 0) return n;
        int error = wolfSSL_get_error(c->tls, n);
        if (error == WOLFSSL_ERROR_ZERO_RETURN) return 0;
        if (error == WOLFSSL_ERROR_WANT_READ) continue; /* after a message that is not data */
        if (!c->transport.ended) failed(c, "read", n);
        return -1;
    }
}

bool stack_key_update(struct connection *c) { return wolfSSL_update_keys(c->tls) == WOLFSSL_SUCCESS; }

void stack_describe(struct connection *c) {
    WOLFSSL *ssl = c->tls;
    if (!ssl || !c->handshake) return;
    c->version = wolfSSL_version(ssl) == TLS1_3_VERSION ? 13 : 12;
    c->resumed = wolfSSL_session_reused(ssl) != 0;
    const char *group = c->version == 13 ? group_of_id(c->transport.group) : NULL, *curve = wolfSSL_get_curve_name(ssl);
    for (size_t k = 0; !group && curve && k < 4; k++)
        if (!strcmp(curve, ((const char *[]){"X25519", "SECP256R1", "SECP384R1", "SECP521R1"})[k])) group = GROUPS[k].name;
    if (group) snprintf(c->group, sizeof c->group, "%s", group);
    int id = wolfSSL_get_current_cipher_suite(ssl);
    const char *suite = wolfSSL_get_cipher_name_iana_from_suite(id >> 8, id & 0xff);
    if (suite) snprintf(c->suite, sizeof c->suite, "%s", suite);
    char *alpn;
    unsigned short size;
    if (wolfSSL_ALPN_GetProtocol(ssl, &alpn, &size) == WOLFSSL_SUCCESS) snprintf(c->alpn, sizeof c->alpn, "%.*s", size, alpn);
    /* It has demanded one, and verified it. */
    if (!c->resumed) c->staple = c->options->status == ASK ? "good" : "none";
    WOLFSSL_X509 *leaf = wolfSSL_get_peer_certificate(ssl);
    if (leaf && !c->resumed) {
        int kind = wolfSSL_X509_get_pubkey_type(leaf);
        c->certificate = kind == ECDSAk ? "ecdsa" : kind == RSAk ? "rsa" : kind == ED25519k ? "ed25519" : NULL;
    }
}

void stack_close_notify(struct connection *c) { wolfSSL_shutdown(c->tls); }

void stack_free(struct connection *c) {
    if (!c->tls) return;
    if (c->handshake) kept = wolfSSL_get1_session(c->tls);
    wolfSSL_free(c->tls);
    c->tls = NULL;
}
