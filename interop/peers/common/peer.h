/* What the C clients share. `client.c` is the program: it reads the arguments, drives the connections and writes the line of JSON
 * (PROTOCOL.md). `transport.c` carries bytes and watches records. A stack implements the `stack_…` functions below, nothing else. */
#ifndef PEER_H
#define PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIST 16

enum mode { FULL, RESUME, EARLY };
enum status { AS_IT_DOES, ASK, ASK_NOT }; /* for an OCSP staple */

struct options {
    const char *connect[2], *name[2]; /* of the first and the second connection; a name may be NULL: no SNI, not verified */
    const char *ca;
    enum mode mode;
    int version; /* 12 or 13 */
    const char *alpn[LIST], *groups[LIST], *suites[LIST]; /* each ends with NULL; empty: the stack's own choice */
    const char *signatures;                               /* "ecdsa", "rsa" or NULL */
    enum status status;
    const char *method, *path, *headers[64];
    size_t header_bytes, body_bytes;
    int requests;
    bool key_update, retry_425, wait_for_end;
    int hold_finished; /* milliseconds */
    double timeout;
};

struct transport {
    int fd;
    unsigned char *in;
    size_t in_start, in_end, in_size;
    size_t in_record;             /* bytes of the record being delivered that the stack has not asked for yet */
    uint64_t received, delivered; /* bytes from the kernel, bytes to the stack */
    unsigned char out_header[5];
    size_t out_have, out_left;
    bool retried;      /* by a HelloRetryRequest */
    bool server_hello; /* the real one */
    int resumed;       /* TLS 1.3: whether the ServerHello took a pre-shared key; else -1 */
    int group;         /* TLS 1.3: of the ServerHello's key share; else 0 */
    int key_updates; /* TLS 1.3: protected records of the size of a KeyUpdate, which no answer of a case has */
    bool finished_sent;
    uint64_t received_at_finished;
    int hold_finished;
    int noted;
    const char *ended; /* "eof", "reset" or "timeout" once the transport saw it */
};

struct response {
    int status;
    uint64_t bytes;
    bool before_finished;
};

enum early { EARLY_NONE, EARLY_ACCEPTED, EARLY_REFUSED };

struct connection {
    const struct options *options;
    const char *name;
    struct transport transport;
    void *tls; /* the stack's */

    /* `stack_describe` fills these; what a stack cannot tell it leaves as it is: NULL or -1 */
    bool handshake;
    int version;
    int resumed;
    enum early early;
    char group[32], suite[64], alpn[32];
    const char *certificate;
    const char *staple; /* of a handshake that failed, too */
    int tickets;

    int alert; /* a fatal alert that was received, or -1 */
    struct response responses[LIST * 4];
    int answered;
    uint64_t sent;
    const char *ended;
    char error[256];
};

/* What a stack implements. */
const char *stack_name(void);
const char *stack_lacks(const struct options *); /* why it cannot do that, or NULL */
void stack_setup(const struct options *);
/* Prepares a connection; `offer`: with the session kept from the former one. */
bool stack_open(struct connection *, bool offer);
size_t stack_early_limit(struct connection *);
bool stack_write_early(struct connection *, const void *, size_t);
bool stack_handshake(struct connection *);
bool stack_write(struct connection *, const void *, size_t);
long stack_read(struct connection *, void *, size_t); /* 0: close_notify; -1: anything else */
bool stack_key_update(struct connection *);
void stack_describe(struct connection *);
void stack_close_notify(struct connection *);
void stack_free(struct connection *); /* and keeps the session */

/* What a stack may use. */
long transport_read(struct transport *, void *, size_t); /* 0: end of file; -1: reset or timeout */
long transport_write(struct transport *, const void *, size_t);
void fail(struct connection *, const char *format, ...) __attribute__((format(printf, 2, 3)));
void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
bool listed(const char *const *list, const char *item);
size_t alpn_wire(const struct options *, unsigned char *to, size_t size);
const char *group_of_id(int iana); /* NULL if it is none of the protocol's */
int group_id(const char *name);
const char *suite_of_id(int iana);
/* What an OCSP response says of the leaf, both in DER; "none" of no response. */
const char *staple_says(const unsigned char *response, size_t size, const unsigned char *leaf, size_t leaf_size);

#endif
