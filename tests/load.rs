//! The load generator, against our program and other people's.

mod support;

mod load {
    mod cli;
    mod engine;
    mod failures;
    mod http3;
    mod http3_failures;
    mod others;
    mod programs;
    mod replay;
    mod replay_quic;
    mod rogue;
    mod stand;
    mod tickets;
}
