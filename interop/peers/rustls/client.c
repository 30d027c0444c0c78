/* rustls, by the functions of src/lib.rs */
#include "peer.h"

#include <stdio.h>
#include <string.h>

struct facts {
    int version, resumed, early, group, tickets;
    char suite[64], alpn[32];
    const unsigned char *leaf, *staple;
    size_t leaf_size, staple_size;
};

void *rs_setup(const char *ca, int version, const char *alpn, const char *groups, const char *suites, const char *signatures);
void *rs_open(void *setup, const char *name, bool offer, bool early);
size_t rs_take(void *line, void *to, size_t size);
int rs_give(void *line, const void *from, size_t size);
const char *rs_error(const void *line);
size_t rs_early_limit(void *line);
size_t rs_early(void *line, const void *from, size_t size);
bool rs_handshaking(const void *line);
size_t rs_write(void *line, const void *from, size_t size);
long rs_read(void *line, void *to, size_t size);
bool rs_key_update(void *line);
void rs_close_notify(void *line);
void rs_facts(void *line, struct facts *);

static void *setup;

const char *stack_name(void) { return "rustls " RUSTLS; }

const char *stack_lacks(const struct options *o) {
    if (listed(o->groups, "P-521")) return "rustls has no P-521";
    if (o->status == ASK_NOT) return "rustls always asks for a staple";
    return NULL;
}

static const char *join(const char *const *list, char *to) {
    *to = 0;
    for (int i = 0; list[i]; i++) {
        if (i) strcat(to, ",");
        strcat(to, list[i]);
    }
    return to;
}

void stack_setup(const struct options *o) {
    char alpn[256], groups[256], suites[256];
    setup = rs_setup(o->ca, o->version, join(o->alpn, alpn), join(o->groups, groups), join(o->suites, suites), o->signatures);
    if (!setup) die("%s: no authority in it", o->ca);
}

bool stack_open(struct connection *c, bool offer) {
    c->tls = rs_open(setup, c->name, offer, c->options->mode == EARLY);
    if (!c->tls) fail(c, "no connection could be made");
    return c->tls;
}

static bool flush(struct connection *c) {
    char bytes[65536];
    for (size_t n; (n = rs_take(c->tls, bytes, sizeof bytes));)
        if (transport_write(&c->transport, bytes, n) < 0) return false;
    return true;
}

/* One read from the wire. */
static bool take(struct connection *c) {
    char bytes[32768];
    long n = transport_read(&c->transport, bytes, sizeof bytes);
    if (n <= 0) return false;
    int code = rs_give(c->tls, bytes, n);
    if (code < -1) c->alert = -2 - code;
    if (code < 0) fail(c, "%s", rs_error(c->tls));
    return flush(c) && code == 0; /* the alert that says why leaves in any case */
}

size_t stack_early_limit(struct connection *c) { return rs_early_limit(c->tls); }

bool stack_write_early(struct connection *c, const void *from, size_t size) { return rs_early(c->tls, from, size) == size && flush(c); }

bool stack_handshake(struct connection *c) {
    if (!flush(c)) return false;
    while (rs_handshaking(c->tls))
        if (!take(c)) {
            fail(c, "handshake: the connection ended");
            return false;
        }
    return true;
}

bool stack_write(struct connection *c, const void *from, size_t size) {
    const char *p = from;
    while (size) {
        size_t n = rs_write(c->tls, p, size < 16384 ? size : 16384);
        if (!flush(c)) return false;
        p += n;
        size -= n;
    }
    return true;
}

long stack_read(struct connection *c, void *to, size_t size) {
    for (;;) {
        long n = rs_read(c->tls, to, size);
        if (n > 0) return n;
        if (n < 0) return 0;
        if (!take(c)) return -1;
    }
}

bool stack_key_update(struct connection *c) { return rs_key_update(c->tls) && flush(c); }

/* By the identifier of the key's algorithm, which the certificate spells out. */
static const char *kind(const unsigned char *der, size_t size) {
    if (memmem(der, size, "\x06\x07\x2a\x86\x48\xce\x3d\x02\x01", 9)) return "ecdsa";
    if (memmem(der, size, "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01", 11)) return "rsa";
    return NULL;
}

void stack_describe(struct connection *c) {
    if (!c->tls || !c->handshake) return;
    struct facts f;
    rs_facts(c->tls, &f);
    c->version = f.version;
    c->resumed = f.resumed;
    c->early = f.early;
    c->tickets = f.tickets;
    if (group_of_id(f.group)) snprintf(c->group, sizeof c->group, "%s", group_of_id(f.group));
    snprintf(c->suite, sizeof c->suite, "%s", f.suite);
    snprintf(c->alpn, sizeof c->alpn, "%s", f.alpn);
    if (!c->resumed && f.leaf) {
        c->certificate = kind(f.leaf, f.leaf_size);
        c->staple = staple_says(f.staple, f.staple_size, f.leaf, f.leaf_size);
    }
}

void stack_close_notify(struct connection *c) {
    rs_close_notify(c->tls);
    flush(c);
}

void stack_free(struct connection *c) {
    if (c->tls && c->handshake) stack_close_notify(c);
    c->tls = NULL;
}
