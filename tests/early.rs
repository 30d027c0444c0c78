//! Early data over real sockets, against the compiled program: the rules of replay safety and what
//! a client sees of them.

mod support;

mod early {
    mod answers;
    mod bodies;
    mod confirmation;
    mod ends;
    mod figures;
    mod forged;
    mod fragments;
    mod garbage;
    mod http2_origins;
    mod policy;
    mod refused;
    mod replay;
    mod scene;
    mod split;
    mod tickets;
    mod tools;
    mod vanish;
}
