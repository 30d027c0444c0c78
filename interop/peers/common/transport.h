/* Between `client.c` and `transport.c`. */
#ifndef TRANSPORT_H
#define TRANSPORT_H

#include "peer.h"

void transport_deadline(double seconds); /* of everything that follows */
bool transport_open(struct transport *, const char *where, char *error, size_t size);
void transport_close(struct transport *);

#endif
