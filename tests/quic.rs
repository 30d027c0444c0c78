//! QUIC and HTTP/3 over real sockets, against the compiled program.

mod support;

mod quic {
    mod client;
    mod early;
    mod http;
    mod limits;
    mod names;
    mod raw;
    mod scene;
    mod vanish;
    mod wire;
    mod workers;
}
