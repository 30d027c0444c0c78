//! Early data over real sockets, against the compiled program: the rules of replay safety and what
//! a client sees of them.

mod support;

mod early {
    mod answers;
    mod forged;
    mod refused;
    mod replay;
    mod scene;
    mod tickets;
}
