//! The load generator, against our program and other people's.

mod support;

mod load {
    mod others;
    mod replay;
}
