/* The program of the servers of ours: every request is answered 200 with what the stack says of its connection. */
#include "server.h"

#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

struct request {
    char head[65536];
    size_t size;
    bool answered; /* one before it */
};

static struct served o;

/* The answer of `/large`. */
#define LARGE 10000000

static bool large(void *line) {
    static const char part[16000];
    for (long left = LARGE, n; left; left -= n) {
        n = left < (long)sizeof part ? left : (long)sizeof part;
        if (!server_write(line, part, n)) return false;
    }
    return true;
}

/* Answers one request. False: it was the last one. */
static bool answer(void *line, struct request *r) {
    char *end;
    while (!(end = strstr(r->head, "\r\n\r\n"))) {
        if (r->size == sizeof r->head - 1) return false;
        long n = server_read(line, r->head + r->size, sizeof r->head - 1 - r->size);
        if (n <= 0) return false;
        r->size += n;
        r->head[r->size] = 0;
    }
    size_t used = end + 4 - r->head;
    *end = 0;
    bool open = !strcasestr(r->head, "\r\nconnection: close");
    bool head_only = !strncmp(r->head, "HEAD ", 5), whole = !strncmp(r->head, "GET /large ", 11);
    const char *length = strcasestr(r->head, "\r\ncontent-length:");
    size_t left = length ? strtoul(length + 17, NULL, 10) : 0, body_size = left;
    size_t have = r->size - used < left ? r->size - used : left;
    memmove(r->head, r->head + used + have, r->size - used - have);
    r->size -= used + have;
    r->head[r->size] = 0;
    for (left -= have; left;) {
        char body[16384];
        long n = server_read(line, body, left < sizeof body ? left : sizeof body);
        if (n <= 0) return false;
        left -= n;
    }
    char body[512], text[1024];
    server_describe(line, body, sizeof body - 1);
    /* `sent=` is told before it is: our client counts what it got. */
    fprintf(stderr, "%s received=%zu sent=%zu\n", body, body_size, whole ? (size_t)LARGE : strlen(body) + 1);
    strcat(body, "\n");
    int n = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n%s\r\n%s", whole ? (size_t)LARGE : strlen(body),
                     open ? "" : "Connection: close\r\n", head_only || whole ? "" : body);
    if (!server_write(line, text, n) || (whole && !large(line))) return false;
    bool first = !r->answered;
    r->answered = true;
    return open && (!o.key_update || !first || server_update(line));
}

static void *serve(void *argument) {
    int fd = (int)(intptr_t)argument;
    void *line = server_open(fd);
    if (line) {
        struct request *r = calloc(1, sizeof *r);
        while (answer(line, r)) {}
        free(r);
        server_close(line);
    }
    shutdown(fd, SHUT_WR);
    char rest[1024];
    while (read(fd, rest, sizeof rest) > 0) {}
    close(fd);
    return NULL;
}

int main(int count, char **argument) {
    for (int i = 1; i < count; i++) {
        if (!strcmp(argument[i], "--early")) o.early = true;
        else if (!strcmp(argument[i], "--refuse-early")) o.early = o.refuse_early = true;
        else if (!strcmp(argument[i], "--key-update")) o.key_update = true;
        else if (i + 1 == count) return 1;
        else if (!strcmp(argument[i], "--port")) o.port = atoi(argument[++i]);
        else if (!strcmp(argument[i], "--chain")) o.chain = argument[++i];
        else if (!strcmp(argument[i], "--key")) o.key = argument[++i];
        else if (!strcmp(argument[i], "--groups")) o.groups = argument[++i];
        else if (!strcmp(argument[i], "--origin")) ++i; /* it answers by itself */
        else return fprintf(stderr, "no such argument: %s\n", argument[i]), 1;
    }
    if (!o.port || !o.chain || !o.key) return fprintf(stderr, "--port, --chain and --key are required\n"), 1;
    const char *why = server_lacks(&o);
    if (why) return printf("{\"unsupported\": \"%s\"}\n", why), 127;
    signal(SIGPIPE, SIG_IGN);
    server_setup(&o);
    int listener = socket(AF_INET6, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &(int){0}, sizeof(int));
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(o.port)};
    if (bind(listener, (struct sockaddr *)&any, sizeof any) || listen(listener, 128)) return perror("listen"), 1;
    puts("ready");
    fflush(stdout);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        pthread_t thread;
        if (fd < 0) continue;
        if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd)) close(fd);
        else pthread_detach(thread);
    }
}
