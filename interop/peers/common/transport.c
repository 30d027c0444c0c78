/* Carries bytes between a stack and its socket, within the deadline, and watches the records that pass: they tell of every stack
 * alike whether there was a HelloRetryRequest, and what had arrived when the client's second flight left. */
#include "peer.h"
#include "transport.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static double deadline;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

void transport_deadline(double seconds) { deadline = now() + seconds; }

/* False: the deadline, or `limit` seconds, passed first. */
static bool await(int fd, short events, double limit, short *got) {
    for (;;) {
        double left = deadline - now();
        if (limit < left) left = limit;
        if (left < 0) left = 0;
        struct pollfd p = {.fd = fd, .events = events};
        int n = poll(&p, 1, (int)(left * 1000 + 0.999));
        if (n < 0 && errno == EINTR) continue;
        if (got) *got = p.revents;
        return n > 0;
    }
}

/* Takes what the kernel has. False: nothing, or the end. */
static bool take(struct transport *t) {
    if (t->in_start == t->in_end) t->in_start = t->in_end = 0;
    if (t->in_size - t->in_end < 65536) {
        t->in_size = t->in_end + 262144;
        t->in = realloc(t->in, t->in_size);
        if (!t->in) abort();
    }
    ssize_t n = recv(t->fd, t->in + t->in_end, t->in_size - t->in_end, MSG_DONTWAIT);
    if (n > 0) {
        t->in_end += n;
        t->received += n;
        return true;
    }
    if (n == 0)
        t->ended = "eof";
    else if (errno != EAGAIN && errno != EINTR)
        t->ended = "reset";
    return false;
}

/* Waits until so many bytes are there that were not delivered. */
static bool have(struct transport *t, size_t bytes) {
    while (t->in_end - t->in_start < bytes) {
        if (t->ended) return false;
        if (take(t) || t->ended) continue;
        if (!await(t->fd, POLLIN, 1e9, NULL)) t->ended = "timeout";
    }
    return true;
}

/* RFC 8446 §4.1.3 */
static const unsigned char RETRY[32] = {0xCF, 0x21, 0xAD, 0x74, 0xE5, 0x9A, 0x61, 0x11, 0xBE, 0x1D, 0x8C, 0x02, 0x1E, 0x65, 0xB8, 0x91,
                                        0xC2, 0xA2, 0x11, 0x16, 0x7A, 0xBB, 0x8C, 0x5E, 0x07, 0x9E, 0x09, 0xE2, 0xC8, 0xA8, 0x33, 0x9C};

/* The cell's log shows the first records of either side. */
static void note(struct transport *t, char direction, const unsigned char *header) {
    if (t->noted++ < 40) fprintf(stderr, "%c type %d, %d bytes\n", direction, header[0], header[3] << 8 | header[4]);
}

/* What a ServerHello tells of TLS 1.3, for stacks that do not say it. */
static void hello(struct transport *t, const unsigned char *p, size_t size) {
    size_t at = 4 + 2 + 32;
    at += 1 + p[at] + 3;
    bool psk = false, tls13 = false;
    for (at += 2; at + 4 <= size;) {
        unsigned type = p[at] << 8 | p[at + 1], length = p[at + 2] << 8 | p[at + 3];
        if (at + 4 + length > size) return;
        if (type == 41) psk = true;
        if (type == 43) tls13 = true;
        if (type == 51 && length >= 2) t->group = p[at + 4] << 8 | p[at + 5];
        at += 4 + length;
    }
    if (tls13) t->resumed = psk;
}

/* Never delivers beyond a record's end: so `delivered` says in which record a byte of an answer was. */
long transport_read(struct transport *t, void *to, size_t size) {
    if (!t->in_record) {
        if (have(t, 5)) {
            const unsigned char *record = t->in + t->in_start;
            t->in_record = 5 + (record[3] << 8 | record[4]);
            if (have(t, t->in_record)) {
                record = t->in + t->in_start;
                note(t, '<', record);
                /* Five bytes of KeyUpdate, one of type, sixteen of tag. */
                if (record[0] == 23 && t->finished_sent && t->in_record == 5 + 22) t->key_updates++;
                if (!t->server_hello && record[0] == 22 && t->in_record > 43 && record[5] == 2) {
                    t->server_hello = memcmp(record + 11, RETRY, 32) != 0;
                    if (t->server_hello) hello(t, record + 5, t->in_record - 5);
                    else t->retried = true;
                }
            }
        } else {
            t->in_record = t->in_end - t->in_start;
        }
    }
    size_t n = t->in_end - t->in_start;
    if (n > t->in_record) n = t->in_record;
    if (n > size) n = size;
    if (n == 0) return t->ended && !strcmp(t->ended, "eof") ? 0 : -1;
    memcpy(to, t->in + t->in_start, n);
    t->in_start += n;
    t->in_record -= n;
    t->delivered += n;
    return n;
}

/* The client's Finished is in the first protected record after the ServerHello: early data leaves before that is read. */
static void before_finished(struct transport *t) {
    t->finished_sent = true;
    while (take(t)) {}
    double until = now() + t->hold_finished / 1000.0;
    while (t->in_start == t->in_end && !t->ended && now() < until) {
        if (!await(t->fd, POLLIN, until - now(), NULL)) break;
        while (take(t)) {}
    }
    t->received_at_finished = t->received;
}

static void watch(struct transport *t, const unsigned char *p, size_t n) {
    while (n) {
        if (t->out_left == 0) {
            t->out_header[t->out_have++] = *p++;
            n--;
            if (t->out_have < 5) continue;
            t->out_have = 0;
            note(t, '>', t->out_header);
            t->out_left = t->out_header[3] << 8 | t->out_header[4];
            if (t->out_header[0] == 23 && t->server_hello && !t->finished_sent) before_finished(t);
        } else {
            size_t k = n < t->out_left ? n : t->out_left;
            p += k;
            n -= k;
            t->out_left -= k;
        }
    }
}

long transport_write(struct transport *t, const void *from, size_t size) {
    watch(t, from, size);
    size_t done = 0;
    while (done < size) {
        ssize_t n = send(t->fd, (const char *)from + done, size - done, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            done += n;
        } else if (errno == EAGAIN || errno == EINTR) {
            /* Reads meanwhile: a server that answers while it is written to must not wait for us. */
            short got = 0;
            if (!await(t->fd, POLLOUT | (t->ended ? 0 : POLLIN), 1e9, &got)) {
                t->ended = "timeout";
                return -1;
            }
            if (got & POLLIN) take(t);
        } else {
            /* What the server said before it closed may still be read. */
            while (!t->ended && take(t)) {}
            if (!t->ended) t->ended = "reset";
            return -1;
        }
    }
    return size;
}

bool transport_open(struct transport *t, const char *where, char *error, size_t size) {
    char host[256];
    const char *colon = strrchr(where, ':');
    const char *from = where;
    size_t length = colon ? (size_t)(colon - where) : 0;
    if (length > 1 && where[0] == '[') from++, length -= 2;
    if (!colon || length >= sizeof host) {
        snprintf(error, size, "not an address and a port: %s", where);
        return false;
    }
    memcpy(host, from, length);
    host[length] = 0;

    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
    int code = getaddrinfo(host, colon + 1, &hints, &list);
    if (code) {
        snprintf(error, size, "%s: %s", host, gai_strerror(code));
        return false;
    }
    *t = (struct transport){.resumed = -1};
    t->fd = socket(list->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int code2 = connect(t->fd, list->ai_addr, list->ai_addrlen) ? errno : 0;
    freeaddrinfo(list);
    if (code2 == EINPROGRESS) {
        if (!await(t->fd, POLLOUT, 1e9, NULL)) {
            t->ended = "timeout";
            snprintf(error, size, "connect: timed out");
            return false;
        }
        socklen_t n = sizeof code2;
        getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &code2, &n);
    }
    if (code2) {
        t->ended = code2 == ECONNREFUSED || code2 == ECONNRESET ? "reset" : "local";
        snprintf(error, size, "connect: %s", strerror(code2));
        return false;
    }
    setsockopt(t->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    return true;
}

void transport_close(struct transport *t) {
    if (t->fd >= 0) close(t->fd);
    t->fd = -1;
    free(t->in);
    t->in = NULL;
}
