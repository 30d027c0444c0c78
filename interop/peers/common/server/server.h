/* What the servers of ours share. `server.c` is the program (PROTOCOL.md): arguments, connections, HTTP/1.1. A stack implements the `server_…`
 * functions below; each connection has a thread of its own. */
#ifndef SERVER_H
#define SERVER_H

#include <stdbool.h>
#include <stddef.h>

struct served {
    int port;
    const char *chain, *key;
    bool early;        /* early data is taken, or at least offered: */
    bool refuse_early; /* and refused when it comes */
    bool key_update;
    char *groups; /* as they were given, or NULL */
};

const char *server_lacks(const struct served *); /* why it cannot do that, or NULL */
void server_setup(const struct served *);        /* ends the program if it cannot */
void *server_open(int fd);                       /* shakes hands; NULL: in vain, and it has said why */
long server_read(void *, void *, size_t);
bool server_write(void *, const void *, size_t);
bool server_update(void *);                          /* a KeyUpdate that asks for one in return, at once or with what is written next; who can logs what comes */
void server_describe(void *, char *to, size_t size); /* what it says of the connection, in the answer and in the log */
void server_close(void *);                           /* with close_notify; the socket is the program's */

#endif
