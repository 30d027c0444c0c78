//! QUIC and HTTP/3 over real sockets, against the compiled program.

mod support;

mod quic {
    mod addresses;
    mod client;
    mod datagrams;
    mod early;
    mod failed;
    mod flight;
    mod floods;
    mod forger;
    mod goodbye;
    mod handshakes;
    mod hellos;
    mod http;
    mod http09;
    mod limits;
    mod lines;
    mod names;
    mod priorities;
    mod proofs;
    mod raw;
    mod refused;
    mod reload;
    mod replays;
    mod rules;
    mod scene;
    mod selector;
    mod sessions;
    mod sites;
    mod takers;
    mod timeouts;
    mod tokens;
    mod unidirectional;
    mod uploads;
    mod vanish;
    mod wire;
    mod workers;
}
