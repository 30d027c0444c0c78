/* The program of every C client: arguments, connections, HTTP/1.1, and the line of JSON. PROTOCOL.md is the contract. */
#include "peer.h"
#include "transport.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static const struct {
    const char *name;
    int id;
} GROUPS[] = {{"X25519", 0x001d}, {"P-256", 0x0017}, {"P-384", 0x0018}, {"P-521", 0x0019}, {"X25519MLKEM768", 0x11ec}},
  SUITES[] = {{"TLS_AES_128_GCM_SHA256", 0x1301}, {"TLS_AES_256_GCM_SHA384", 0x1302}, {"TLS_CHACHA20_POLY1305_SHA256", 0x1303}};
#define COUNT(array) (sizeof(array) / sizeof *(array))

/* RFC 8446 §6 */
static const char *alert_name(int alert) {
    switch (alert) {
    case 10: return "unexpected_message";
    case 20: return "bad_record_mac";
    case 22: return "record_overflow";
    case 40: return "handshake_failure";
    case 42: return "bad_certificate";
    case 43: return "unsupported_certificate";
    case 44: return "certificate_revoked";
    case 45: return "certificate_expired";
    case 46: return "certificate_unknown";
    case 47: return "illegal_parameter";
    case 48: return "unknown_ca";
    case 49: return "access_denied";
    case 50: return "decode_error";
    case 51: return "decrypt_error";
    case 70: return "protocol_version";
    case 71: return "insufficient_security";
    case 80: return "internal_error";
    case 86: return "inappropriate_fallback";
    case 90: return "user_canceled";
    case 109: return "missing_extension";
    case 110: return "unsupported_extension";
    case 112: return "unrecognized_name";
    case 113: return "bad_certificate_status_response";
    case 115: return "unknown_psk_identity";
    case 116: return "certificate_required";
    case 120: return "no_application_protocol";
    default: return "unknown";
    }
}

/* --- arguments --- */

static void split(char *text, const char **to) {
    int n = 0;
    for (char *item = strtok(text, ","); item; item = strtok(NULL, ",")) {
        if (n == LIST - 1) die("too many in a list");
        to[n++] = item;
    }
}

static const char *server_name(const char *name) { return strcmp(name, "-") ? name : NULL; }

static struct options parse(int count, char **argument) {
    struct options o = {.mode = FULL, .version = 13, .method = "GET", .path = "/", .requests = 1, .timeout = 10, .alpn = {"http/1.1"}};
    const char *second_connect = NULL, *second_name = NULL, *first_name = NULL;
    int headers = 0;
    for (int i = 1; i < count; i++) {
        const char *key = argument[i];
        if (!strcmp(key, "--key-update")) { o.key_update = true; continue; }
        if (!strcmp(key, "--retry-425")) { o.retry_425 = true; continue; }
        if (++i == count) die("%s needs a value", key);
        char *value = argument[i];
        if (!strcmp(key, "--connect")) o.connect[0] = value;
        else if (!strcmp(key, "--second-connect")) second_connect = value;
        else if (!strcmp(key, "--name")) first_name = value;
        else if (!strcmp(key, "--second-name")) second_name = value;
        else if (!strcmp(key, "--ca")) o.ca = value;
        else if (!strcmp(key, "--mode"))
            o.mode = !strcmp(value, "resume") ? RESUME : !strcmp(value, "early") ? EARLY : !strcmp(value, "full") ? FULL : (die("no such mode: %s", value), FULL);
        else if (!strcmp(key, "--version"))
            o.version = !strcmp(value, "1.2") ? 12 : !strcmp(value, "1.3") ? 13 : (die("no such version: %s", value), 0);
        else if (!strcmp(key, "--alpn")) {
            memset(o.alpn, 0, sizeof o.alpn);
            if (strcmp(value, "-")) split(value, o.alpn);
        } else if (!strcmp(key, "--groups")) {
            split(value, o.groups);
            for (int n = 0; o.groups[n]; n++) if (!group_id(o.groups[n])) die("no such group: %s", o.groups[n]);
        } else if (!strcmp(key, "--suites")) split(value, o.suites);
        else if (!strcmp(key, "--signatures")) o.signatures = value;
        else if (!strcmp(key, "--status"))
            o.status = !strcmp(value, "yes") ? ASK : !strcmp(value, "no") ? ASK_NOT : (die("yes or no: %s", value), 0);
        else if (!strcmp(key, "--method")) o.method = value;
        else if (!strcmp(key, "--path")) o.path = value;
        else if (!strcmp(key, "--header")) {
            if (headers == COUNT(o.headers) - 1) die("too many fields");
            o.headers[headers++] = value;
        } else if (!strcmp(key, "--header-bytes")) o.header_bytes = strtoul(value, NULL, 10);
        else if (!strcmp(key, "--body-bytes")) o.body_bytes = strtoul(value, NULL, 10);
        else if (!strcmp(key, "--requests")) o.requests = atoi(value);
        else if (!strcmp(key, "--end")) o.wait_for_end = !strcmp(value, "wait");
        else if (!strcmp(key, "--timeout")) o.timeout = atof(value);
        else if (!strcmp(key, "--hold-finished")) o.hold_finished = atoi(value);
        else die("no such argument: %s", key);
    }
    if (!o.connect[0] || !first_name || !o.ca) die("--connect, --name and --ca are required");
    if (o.requests < 1 || (size_t)o.requests > COUNT(((struct connection *)0)->responses) - 2) die("so many requests are not supported");
    o.connect[1] = second_connect ? second_connect : o.connect[0];
    o.name[0] = server_name(first_name);
    o.name[1] = server_name(second_name ? second_name : first_name);
    return o;
}

/* --- requests --- */

struct request {
    char *bytes;
    size_t size, body;
};

static struct request request(const struct connection *c, bool first, bool close) {
    const struct options *o = c->options;
    char *head;
    size_t size;
    FILE *f = open_memstream(&head, &size);
    if (!f) abort();
    const char *host = c->name ? c->name : o->connect[first ? 0 : 1];
    fprintf(f, "%s %s HTTP/1.1\r\nHost: %s\r\n", first ? "GET" : o->method, first ? "/" : o->path, host);
    size_t body = first ? 0 : o->body_bytes;
    if (!first) {
        for (int i = 0; o->headers[i]; i++) {
            const char *colon = strchr(o->headers[i], ':');
            if (!colon) die("a field is NAME:VALUE");
            fprintf(f, "%.*s: %s\r\n", (int)(colon - o->headers[i]), o->headers[i], colon + 1 + strspn(colon + 1, " "));
        }
        if (o->header_bytes) {
            fputs("X-Padding: ", f);
            for (size_t i = 0; i < o->header_bytes; i++) fputc('p', f);
            fputs("\r\n", f);
        }
    }
    if (body) fprintf(f, "Content-Length: %zu\r\n", body);
    if (close) fputs("Connection: close\r\n", f);
    fputs("\r\n", f);
    for (size_t i = 0; i < body; i++) fputc('x', f);
    fclose(f);
    return (struct request){.bytes = head, .size = size, .body = body};
}

/* --- answers --- */

struct reader {
    struct connection *c;
    unsigned char buffer[65536];
    size_t start, end;
    bool over;
};

static bool fill(struct reader *r) {
    if (r->start < r->end) return true;
    if (r->over) return false;
    long n = stack_read(r->c, r->buffer, sizeof r->buffer);
    if (n <= 0) {
        r->over = true;
        if (n == 0) r->c->ended = "close_notify";
        return false;
    }
    r->start = 0;
    r->end = n;
    return true;
}

static bool line(struct reader *r, char *to, size_t size) {
    size_t n = 0;
    for (;;) {
        if (!fill(r)) return false;
        char byte = r->buffer[r->start++];
        if (byte == '\n') break;
        if (n < size - 1) to[n++] = byte;
    }
    if (n && to[n - 1] == '\r') n--;
    to[n] = 0;
    return true;
}

/* Adds up to `bytes` bytes of content. */
static bool content(struct reader *r, uint64_t bytes, struct response *to) {
    while (bytes) {
        if (!fill(r)) return false;
        size_t n = r->end - r->start;
        if (n > bytes) n = bytes;
        r->start += n;
        bytes -= n;
        if (to) to->bytes += n;
    }
    return true;
}

static bool chunks(struct reader *r, struct response *to) {
    char text[4096];
    for (;;) {
        if (!line(r, text, sizeof text)) return false;
        uint64_t size = strtoull(text, NULL, 16);
        if (size == 0) break;
        if (!content(r, size, to) || !line(r, text, sizeof text)) return false;
    }
    do {
        if (!line(r, text, sizeof text)) return false;
    } while (*text);
    return true;
}

static bool answer(struct reader *r, const char *method) {
    struct connection *c = r->c;
    struct response *to = &c->responses[c->answered];
    memset(to, 0, sizeof *to);
    if (!fill(r)) {
        fail(c, "the connection ended before an answer");
        return false;
    }
    to->before_finished = c->early == EARLY_ACCEPTED && c->transport.finished_sent && c->transport.delivered <= c->transport.received_at_finished;
    uint64_t length = 0;
    bool chunked, has_length;
    do {
        char text[16384];
        chunked = has_length = false;
        if (!line(r, text, sizeof text) || sscanf(text, "HTTP/1.%*c %d", &to->status) != 1) {
            fail(c, "not an HTTP/1.1 answer");
            return false;
        }
        for (;;) {
            if (!line(r, text, sizeof text)) {
                fail(c, "the connection ended in an answer's head");
                return false;
            }
            if (!*text) break;
            if (!strncasecmp(text, "content-length:", 15)) has_length = true, length = strtoull(text + 15, NULL, 10);
            if (!strncasecmp(text, "transfer-encoding:", 18) && strcasestr(text, "chunked")) chunked = true;
        }
    } while (to->status / 100 == 1);
    c->answered++;
    bool whole = true;
    if (!strcmp(method, "HEAD") || to->status == 204 || to->status == 304) {
    } else if (chunked) {
        whole = chunks(r, to);
    } else if (has_length) {
        whole = content(r, length, to);
    } else {
        while (content(r, 1, to)) {}
        whole = c->ended && !strcmp(c->ended, "close_notify");
    }
    if (!whole) fail(c, "the answer is truncated");
    return whole;
}

/* --- connections --- */

static void end(struct connection *c) {
    if (c->ended) return;
    static char alert[64];
    if (c->alert >= 0) {
        snprintf(alert, sizeof alert, "alert:%s", alert_name(c->alert));
        c->ended = strdup(alert);
    } else {
        c->ended = c->transport.ended ? c->transport.ended : "local";
    }
}

/* A server that refuses a request may answer before it has read it all: a failed write is no reason not to read. */
static bool ask(struct connection *c, const struct request *q, size_t from, struct reader *r, const char *method) {
    bool written = from == q->size || stack_write(c, q->bytes + from, q->size - from);
    if (written) c->sent += q->body;
    if (answer(r, method)) return true;
    if (!written) fail(c, "a request could not be sent");
    return false;
}

/* False: not everything happened that was asked for. */
static bool run(struct connection *c, bool first, bool offer) {
    const struct options *o = c->options;
    const char *where = o->connect[first ? 0 : 1];
    bool early = offer && o->mode == EARLY;
    int count = first ? 1 : o->requests + (o->key_update ? 1 : 0);
    bool may_close = first || !o->wait_for_end;

    if (!transport_open(&c->transport, where, c->error, sizeof c->error)) return false;
    c->transport.hold_finished = early ? o->hold_finished : 0;
    if (!stack_open(c, offer)) return false;

    /* Whether there will be another request after the early one is only known when that is answered: so it cannot ask to close. */
    bool closing = may_close && count == 1 && !(early && o->retry_425);
    struct request q = request(c, first, closing);
    size_t taken = 0;
    if (early) {
        taken = stack_early_limit(c);
        if (taken > q.size) taken = q.size;
        if (taken && !stack_write_early(c, q.bytes, taken)) taken = 0;
    }
    c->handshake = stack_handshake(c);
    stack_describe(c);
    if (!c->handshake) return false;
    if (o->status == ASK && c->resumed != 1 && (!c->staple || strcmp(c->staple, "good"))) {
        /* Where the stack leaves it to its user: that is who this is. */
        fail(c, "the staple: %s", c->staple ? c->staple : "not told");
        return false;
    }
    if (!strcmp(c->alpn, "h2")) {
        c->ended = "local";
        stack_close_notify(c);
        return true;
    }
    if (c->early != EARLY_ACCEPTED) taken = 0;

    static struct reader r;
    r = (struct reader){.c = c};
    const char *method = first ? "GET" : o->method;
    bool ok = ask(c, &q, taken, &r, method);
    if (ok && taken && o->retry_425 && c->responses[0].status == 425) {
        closing = may_close && count == 1;
        q = request(c, first, closing);
        ok = ask(c, &q, 0, &r, method);
    }
    for (int i = 1; ok && i < count; i++) {
        if (o->key_update && !first && i == 1 && !stack_key_update(c)) {
            fail(c, "no key update");
            return false;
        }
        closing = may_close && i == count - 1;
        q = request(c, first, closing);
        ok = ask(c, &q, 0, &r, method);
    }
    if (ok && !closing && may_close) stack_close_notify(c);
    if (ok && !content(&r, UINT64_MAX, NULL)) end(c);
    return ok && strcmp(c->ended, "timeout");
}

static void json_text(const char *text) {
    if (!text || !*text) {
        printf("null");
        return;
    }
    putchar('"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') printf("\\%c", *text);
        else if ((unsigned char)*text < 32) printf("\\u%04x", *text);
        else putchar(*text);
    }
    putchar('"');
}

static const char *json_bool(int value) { return value < 0 ? "null" : value ? "true" : "false"; }

static void json(const struct connection *c) {
    static const char *EARLY[] = {"none", "accepted", "refused"};
    printf("{\"handshake\": %s, \"version\": %s, \"resumed\": %s, \"early\": \"%s\", \"hrr\": %s, \"group\": ", json_bool(c->handshake),
           c->version == 13 ? "\"1.3\"" : c->version == 12 ? "\"1.2\"" : "null", json_bool(c->resumed), EARLY[c->early],
           json_bool(c->transport.retried));
    /* TLS 1.2 resumes without a key exchange; some stacks remember the former one. */
    json_text(c->version == 12 && c->resumed == 1 ? NULL : c->group);
    printf(", \"suite\": ");
    json_text(c->suite);
    printf(", \"alpn\": ");
    json_text(c->alpn);
    printf(", \"certificate\": ");
    json_text(c->certificate);
    printf(", \"staple\": ");
    json_text(c->staple);
    if (c->tickets < 0) printf(", \"tickets\": null");
    else printf(", \"tickets\": %d", c->tickets);
    if (c->version == 13) printf(", \"key_updates\": %d", c->transport.key_updates);
    else printf(", \"key_updates\": null");
    printf(", \"responses\": [");
    for (int i = 0; i < c->answered; i++)
        printf("%s{\"status\": %d, \"bytes\": %llu, \"before_finished\": %s}", i ? ", " : "", c->responses[i].status,
               (unsigned long long)c->responses[i].bytes, json_bool(c->responses[i].before_finished));
    printf("], \"sent\": %llu, \"ended\": ", (unsigned long long)c->sent);
    json_text(c->ended);
    printf(", \"error\": ");
    json_text(c->error);
    putchar('}');
}

/* A stack that does not come back is ended here, with the line that was true before. */
static void too_late(int signal) {
    (void)signal;
    static const char text[] = "{\"stack\": null, \"connections\": []}\n";
    if (write(1, text, sizeof text - 1)) {}
    _exit(1);
}

int main(int count, char **argument) {
    static struct connection connections[2];
    struct options o = parse(count, argument);
    const char *why = stack_lacks(&o);
    if (why) {
        printf("{\"unsupported\": ");
        json_text(why);
        puts("}");
        return 127;
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGALRM, too_late);
    alarm((unsigned)o.timeout + 2);
    transport_deadline(o.timeout);
    stack_setup(&o);

    bool ok = true;
    int n = 0;
    for (int i = o.mode == FULL ? 1 : 0; ok && i < 2; i++, n++) {
        struct connection *c = &connections[n];
        bool first = i == 0;
        int which = o.mode == FULL ? 0 : i;
        *c = (struct connection){.options = &o, .name = o.name[which], .resumed = -1, .tickets = -1, .alert = -1};
        ok = run(c, first, o.mode != FULL && !first);
        end(c);
        stack_describe(c);
        stack_free(c);
        if (!strcmp(c->alpn, "h2")) c->tickets = -1; /* none was waited for */
        transport_close(&c->transport);
    }

    printf("{\"stack\": ");
    json_text(stack_name());
    printf(", \"connections\": [");
    for (int i = 0; i < n; i++) {
        if (i) printf(", ");
        json(&connections[i]);
    }
    puts("]}");
    return ok ? 0 : 1;
}

/* --- what stacks use --- */

void fail(struct connection *c, const char *format, ...) {
    if (*c->error) return; /* the first one is the cause */
    va_list list;
    va_start(list, format);
    vsnprintf(c->error, sizeof c->error, format, list);
    va_end(list);
}

void die(const char *format, ...) {
    va_list list;
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    exit(1);
}

bool listed(const char *const *list, const char *item) {
    for (; *list; list++) if (!strcmp(*list, item)) return true;
    return false;
}

size_t alpn_wire(const struct options *o, unsigned char *to, size_t size) {
    size_t n = 0;
    for (int i = 0; o->alpn[i]; i++) {
        size_t length = strlen(o->alpn[i]);
        if (n + 1 + length > size) die("too much ALPN");
        to[n++] = length;
        memcpy(to + n, o->alpn[i], length);
        n += length;
    }
    return n;
}

const char *group_of_id(int id) {
    for (size_t i = 0; i < COUNT(GROUPS); i++) if (GROUPS[i].id == id) return GROUPS[i].name;
    return NULL;
}

int group_id(const char *name) {
    for (size_t i = 0; i < COUNT(GROUPS); i++) if (!strcmp(GROUPS[i].name, name)) return GROUPS[i].id;
    return 0;
}

const char *suite_of_id(int id) {
    for (size_t i = 0; i < COUNT(SUITES); i++) if (SUITES[i].id == id) return SUITES[i].name;
    return NULL;
}
