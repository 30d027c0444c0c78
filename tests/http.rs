//! HTTP and TLS behaviour of the program over real sockets.

mod support;

mod http {
    mod admission;
    mod authority;
    mod bodies;
    mod desync;
    mod error_pages;
    mod expect;
    mod faults;
    mod fields;
    mod framing;
    mod h2load;
    mod hello;
    mod http2;
    mod keepalive;
    mod limits;
    mod methods;
    mod names;
    mod neighbours;
    mod origin_peers;
    mod origin_tls;
    mod origins;
    mod paths;
    mod pipelining;
    mod redirect;
    mod rewrite;
    mod secrets;
    mod slow_bodies;
    mod stand;
    mod tools;
}
