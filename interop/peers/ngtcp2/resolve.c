/* gtlsclient puts the name that it resolves into its ClientHello, whatever --sni says. So that a name can be asked for at any address,
 * every name is resolved to that of the environment; what is an address stays one. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <stdlib.h>

static int is_address(const char *name)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

int getaddrinfo(const char *restrict name, const char *restrict service, const struct addrinfo *restrict hints, struct addrinfo **restrict found)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = dlsym(RTLD_NEXT, "getaddrinfo");
    const char *address = getenv("PEER_ADDRESS");
    return real(name && address && !is_address(name) ? address : name, service, hints, found);
}
