/* NSS. A layer of our own below its TLS carries the bytes. */
#include "peer.h"

#include <cert.h>
#include <keyhi.h>
#include <nss.h>
#include <ocsp.h>
#include <pk11pub.h>
#include <prerror.h>
#include <prinit.h>
#include <prio.h>
#include <prnetdb.h>
#include <secerr.h>
#include <ssl.h>
#include <sslexp.h>
#include <sslproto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static CERTCertDBHandle *database;
static PRDescIdentity identity;
static PRIOMethods methods;
static unsigned char kept[16384];
static unsigned kept_size;

/* While early data is written a read would wait for the server: it has to say that nothing is there. */
static bool nothing_to_read;
static bool early_sent, close_notify;

static const struct {
    const char *name;
    SSLNamedGroup id;
} GROUPS[] = {{"X25519", ssl_grp_ec_curve25519},
              {"P-256", ssl_grp_ec_secp256r1},
              {"P-384", ssl_grp_ec_secp384r1},
              {"P-521", ssl_grp_ec_secp521r1},
              {"X25519MLKEM768", ssl_grp_kem_mlkem768x25519}};

static const SSLSignatureScheme RSA[] = {ssl_sig_rsa_pss_rsae_sha256, ssl_sig_rsa_pss_rsae_sha384, ssl_sig_rsa_pss_rsae_sha512,
                                         ssl_sig_rsa_pkcs1_sha256,    ssl_sig_rsa_pkcs1_sha384,    ssl_sig_rsa_pkcs1_sha512},
                                ECDSA[] = {ssl_sig_ecdsa_secp256r1_sha256, ssl_sig_ecdsa_secp384r1_sha384, ssl_sig_ecdsa_secp521r1_sha512};

const char *stack_name(void) {
    static char name[64];
    snprintf(name, sizeof name, "NSS %s", NSS_GetVersion());
    return name;
}

const char *stack_lacks(const struct options *o) {
    (void)o;
    return NULL;
}

static PRInt32 layer_recv(PRFileDesc *fd, void *to, PRInt32 size, PRIntn flags, PRIntervalTime timeout) {
    (void)flags, (void)timeout;
    if (nothing_to_read) {
        PR_SetError(PR_WOULD_BLOCK_ERROR, 0);
        return -1;
    }
    struct connection *c = (struct connection *)fd->secret;
    long n = transport_read(&c->transport, to, size);
    if (n < 0) PR_SetError(!strcmp(c->transport.ended, "timeout") ? PR_IO_TIMEOUT_ERROR : PR_CONNECT_RESET_ERROR, 0);
    return n;
}

static PRInt32 layer_send(PRFileDesc *fd, const void *from, PRInt32 size, PRIntn flags, PRIntervalTime timeout) {
    (void)flags, (void)timeout;
    struct connection *c = (struct connection *)fd->secret;
    long n = transport_write(&c->transport, from, size);
    if (n < 0) PR_SetError(PR_CONNECT_RESET_ERROR, 0);
    return n;
}

/* Part of the session cache's key: alike for all, since it is for us to say where a session is offered. */
static PRStatus layer_peer(PRFileDesc *fd, PRNetAddr *address) {
    (void)fd;
    PR_InitializeNetAddr(PR_IpAddrLoopback, 443, address);
    return PR_SUCCESS;
}

static PRStatus layer_option(PRFileDesc *fd, PRSocketOptionData *data) {
    (void)fd;
    if (data->option != PR_SockOpt_Nonblocking) return PR_FAILURE;
    data->value.non_blocking = nothing_to_read;
    return PR_SUCCESS;
}

static PRStatus layer_set_option(PRFileDesc *fd, const PRSocketOptionData *data) {
    (void)fd, (void)data;
    return PR_SUCCESS;
}

static PRStatus layer_shutdown(PRFileDesc *fd, PRIntn how) {
    (void)fd, (void)how;
    return PR_SUCCESS;
}

static PRStatus layer_close(PRFileDesc *fd) {
    fd->secret = NULL;
    fd->dtor(fd);
    return PR_SUCCESS;
}

static void trust(const char *file) {
    FILE *f = fopen(file, "r");
    static char text[65536];
    size_t size = f ? fread(text, 1, sizeof text, f) : 0;
    if (f) fclose(f);
    CERTCertificate *authority = CERT_DecodeCertFromPackage(text, size);
    PK11SlotInfo *slot = PK11_GetInternalKeySlot();
    if (PK11_NeedUserInit(slot)) PK11_InitPin(slot, NULL, "");
    CERTCertTrust flags = {0};
    if (!authority || PK11_ImportCert(slot, authority, CK_INVALID_HANDLE, "authority", PR_FALSE) != SECSuccess ||
        CERT_DecodeTrustString(&flags, "C,,") != SECSuccess || CERT_ChangeCertTrust(database, authority, &flags) != SECSuccess)
        die("%s: no authority in it: %s", file, PORT_ErrorToName(PORT_GetError()));
}

void stack_setup(const struct options *o) {
    static char folder[64] = "/tmp/nss-XXXXXX", where[80];
    if (!mkdtemp(folder)) die("no folder for the certificates");
    snprintf(where, sizeof where, "sql:%s", folder);
    if (NSS_InitReadWrite(where) != SECSuccess) die("NSS does not start: %s", PORT_ErrorToName(PORT_GetError()));
    NSS_SetDomesticPolicy();
    database = CERT_GetDefaultCertDB();
    trust(o->ca);
    /* It asks no responder: certificates name none. */
    if (o->status == ASK) CERT_EnableOCSPChecking(database);

    identity = PR_GetUniqueIdentity("transport");
    methods = *PR_GetDefaultIOMethods();
    methods.recv = layer_recv;
    methods.send = layer_send;
    methods.getpeername = layer_peer;
    methods.getsocketoption = layer_option;
    methods.setsocketoption = layer_set_option;
    methods.shutdown = layer_shutdown;
    methods.close = layer_close;
}

static SECStatus on_certificate(void *argument, PRFileDesc *fd, PRBool check_signature, PRBool is_server) {
    (void)is_server;
    struct connection *c = argument;
    if (c->name) return SSL_AuthCertificate(database, fd, check_signature, PR_FALSE);
    CERTCertificate *leaf = SSL_PeerCertificate(fd);
    SECStatus status = CERT_VerifyCertificateNow(database, leaf, check_signature, certificateUsageSSLServer, NULL, NULL);
    CERT_DestroyCertificate(leaf);
    return status;
}

static void on_alert(const PRFileDesc *fd, void *argument, const SSLAlert *alert) {
    (void)fd;
    struct connection *c = argument;
    if (alert->description == 0) close_notify = true;
    else if (alert->level == 2) c->alert = alert->description;
}

static SECStatus on_token(PRFileDesc *fd, const PRUint8 *token, unsigned size, void *argument) {
    (void)fd;
    struct connection *c = argument;
    c->tickets++;
    if (size <= sizeof kept) {
        memcpy(kept, token, size);
        kept_size = size;
    }
    return SECSuccess;
}

static void suites(PRFileDesc *fd, const struct options *o) {
    static const struct {
        const char *name;
        PRInt32 id;
    } SUITES[] = {{"TLS_AES_128_GCM_SHA256", TLS_AES_128_GCM_SHA256},
                  {"TLS_AES_256_GCM_SHA384", TLS_AES_256_GCM_SHA384},
                  {"TLS_CHACHA20_POLY1305_SHA256", TLS_CHACHA20_POLY1305_SHA256}};
    for (size_t k = 0; k < sizeof SUITES / sizeof *SUITES; k++) SSL_CipherPrefSet(fd, SUITES[k].id, !o->suites[0] || listed(o->suites, SUITES[k].name));
}

bool stack_open(struct connection *c, bool offer) {
    const struct options *o = c->options;
    PRFileDesc *below = PR_CreateIOLayerStub(identity, &methods);
    below->secret = (PRFilePrivate *)c;
    PRFileDesc *fd = c->tls = SSL_ImportFD(NULL, below);
    c->tickets = 0;
    early_sent = close_notify = nothing_to_read = false;
    SSL_OptionSet(fd, SSL_SECURITY, PR_TRUE);
    SSL_OptionSet(fd, SSL_HANDSHAKE_AS_CLIENT, PR_TRUE);
    SSL_OptionSet(fd, SSL_ENABLE_SESSION_TICKETS, PR_TRUE);
    SSL_OptionSet(fd, SSL_ENABLE_0RTT_DATA, o->mode == EARLY);
    SSL_OptionSet(fd, SSL_ENABLE_OCSP_STAPLING, o->status == ASK);
    SSLVersionRange range = {o->version == 12 ? SSL_LIBRARY_VERSION_TLS_1_2 : SSL_LIBRARY_VERSION_TLS_1_3, 0};
    range.max = range.min;
    SSL_VersionRangeSet(fd, &range);
    SSL_AuthCertificateHook(fd, on_certificate, c);
    SSL_AlertReceivedCallback(fd, on_alert, c);
    SSL_SetResumptionTokenCallback(fd, on_token, c);
    if (c->name) SSL_SetURL(fd, c->name);
    suites(fd, o);

    if (o->groups[0]) {
        SSLNamedGroup groups[LIST];
        unsigned n = 0;
        for (; o->groups[n]; n++)
            for (size_t k = 0; k < sizeof GROUPS / sizeof *GROUPS; k++)
                if (!strcmp(GROUPS[k].name, o->groups[n])) groups[n] = GROUPS[k].id;
        SSL_NamedGroupConfig(fd, groups, n);
        SSL_SendAdditionalKeyShares(fd, 0);
    }
    if (o->signatures && !strcmp(o->signatures, "rsa")) SSL_SignatureSchemePrefSet(fd, RSA, sizeof RSA / sizeof *RSA);
    if (o->signatures && !strcmp(o->signatures, "ecdsa")) SSL_SignatureSchemePrefSet(fd, ECDSA, sizeof ECDSA / sizeof *ECDSA);

    /* NSS moves the first protocol to the end of the list, so the last one is put first. */
    unsigned char protocols[256], rotated[256];
    size_t size = alpn_wire(o, protocols, sizeof protocols), last = 0;
    for (size_t at = 0; at < size; at += 1 + protocols[at]) last = at;
    if (size) {
        memcpy(rotated, protocols + last, size - last);
        memcpy(rotated + size - last, protocols, last);
        SSL_SetNextProtoNego(fd, rotated, size);
    }
    SSL_ResetHandshake(fd, PR_FALSE);
    if (offer) {
        if (!kept_size) {
            fail(c, "no session to offer");
            return false;
        }
        /* NSS takes a session only beside the name that it was made with; the name may change afterwards. */
        if (o->name[0]) SSL_SetURL(fd, o->name[0]);
        SECStatus taken = SSL_SetResumptionToken(fd, kept, kept_size);
        if (c->name) SSL_SetURL(fd, c->name);
        if (taken != SECSuccess) {
            fail(c, "the session: %s", PORT_ErrorToName(PORT_GetError()));
            return false;
        }
    }
    return true;
}

static void failed(struct connection *c, const char *what) { fail(c, "%s: %s", what, PORT_ErrorToName(PORT_GetError())); }

/* The ClientHello leaves, then it is known. */
size_t stack_early_limit(struct connection *c) {
    SSLPreliminaryChannelInfo info;
    nothing_to_read = true;
    SSL_ForceHandshake(c->tls);
    nothing_to_read = false;
    if (SSL_GetPreliminaryChannelInfo(c->tls, &info, sizeof info) != SECSuccess || !info.canSendEarlyData) return 0;
    return info.maxEarlyDataSize;
}

bool stack_write_early(struct connection *c, const void *from, size_t size) {
    const char *p = from;
    nothing_to_read = true;
    while (size) {
        PRInt32 n = PR_Write(c->tls, p, size);
        if (n <= 0) {
            failed(c, "early data");
            break;
        }
        early_sent = true;
        p += n;
        size -= n;
    }
    nothing_to_read = false;
    return size == 0;
}

bool stack_handshake(struct connection *c) {
    if (SSL_ForceHandshake(c->tls) == SECSuccess) return true;
    failed(c, "handshake");
    return false;
}

bool stack_write(struct connection *c, const void *from, size_t size) {
    const char *p = from;
    while (size) {
        PRInt32 n = PR_Write(c->tls, p, size < 1000000 ? size : 1000000);
        if (n <= 0) return false;
        p += n;
        size -= n;
    }
    return true;
}

/* NSS reads the end of the stream alike, with close_notify and without. */
long stack_read(struct connection *c, void *to, size_t size) {
    PRInt32 n = PR_Read(c->tls, to, size);
    if (n > 0) return n;
    if (n == 0) return close_notify ? 0 : -1;
    if (!c->transport.ended && c->alert < 0) failed(c, "read");
    return -1;
}

bool stack_key_update(struct connection *c) { return SSL_KeyUpdate(c->tls, PR_TRUE) == SECSuccess; }

static const char *leaf(PRFileDesc *fd) {
    CERTCertificate *certificate = SSL_PeerCertificate(fd);
    if (!certificate) return NULL;
    SECKEYPublicKey *key = CERT_ExtractPublicKey(certificate);
    KeyType kind = key ? SECKEY_GetPublicKeyType(key) : nullKey;
    SECKEY_DestroyPublicKey(key);
    CERT_DestroyCertificate(certificate);
    return kind == ecKey ? "ecdsa" : kind == rsaKey ? "rsa" : kind == edKey ? "ed25519" : NULL;
}

static void staple(struct connection *c) {
    SSLChannelInfo info;
    CERTCertificate *leaf = SSL_PeerCertificate(c->tls);
    /* A ticket makes another session of it, which knows no response. */
    if (!leaf || c->staple) return;
    const SECItemArray *responses = SSL_PeerStapledOCSPResponses(c->tls);
    SECItem none = {0}, *response = responses && responses->len ? responses->items : &none;
    bool resumed = SSL_GetChannelInfo(c->tls, &info, sizeof info) == SECSuccess && info.resumed;
    if (!resumed) c->staple = staple_says(response->data, response->len, leaf->derCert.data, leaf->derCert.len);
    CERT_DestroyCertificate(leaf);
}

void stack_describe(struct connection *c) {
    PRFileDesc *fd = c->tls;
    SSLChannelInfo info;
    if (fd) staple(c);
    if (!fd || !c->handshake || SSL_GetChannelInfo(fd, &info, sizeof info) != SECSuccess) return;
    c->version = info.protocolVersion == SSL_LIBRARY_VERSION_TLS_1_3 ? 13 : 12;
    c->resumed = info.resumed;
    if (c->version == 12 && c->resumed) c->tickets = -1; /* the callback is not called there */
    if (early_sent) c->early = info.earlyDataAccepted ? EARLY_ACCEPTED : EARLY_REFUSED;
    for (size_t k = 0; k < sizeof GROUPS / sizeof *GROUPS; k++)
        if (GROUPS[k].id == info.keaGroup) snprintf(c->group, sizeof c->group, "%s", GROUPS[k].name);
    SSLCipherSuiteInfo suite;
    if (SSL_GetCipherSuiteInfo(info.cipherSuite, &suite, sizeof suite) == SECSuccess) snprintf(c->suite, sizeof c->suite, "%s", suite.cipherSuiteName);
    SSLNextProtoState state;
    unsigned char alpn[32];
    unsigned size = 0;
    if (SSL_GetNextProto(fd, &state, alpn, &size, sizeof alpn) == SECSuccess && (state == SSL_NEXT_PROTO_SELECTED || state == SSL_NEXT_PROTO_NEGOTIATED))
        snprintf(c->alpn, sizeof c->alpn, "%.*s", (int)size, alpn);
    if (!c->resumed) c->certificate = leaf(fd);
}

void stack_close_notify(struct connection *c) { PR_Shutdown(c->tls, PR_SHUTDOWN_SEND); }

void stack_free(struct connection *c) {
    if (c->tls) PR_Close(c->tls);
    c->tls = NULL;
}
