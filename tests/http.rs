//! HTTP and TLS behaviour of the program over real sockets.

mod support;

mod http {
    mod bodies;
    mod expect;
    mod framing;
    mod keepalive;
    mod limits;
    mod methods;
    mod pipelining;
    mod stand;
}
