//! The rules of the house: who may know whom, how long a file may be, what the documents promise.
//! And tests of the tools that the other tests stand on: the relay and `support`.
//!
//! The arrows stand in ARCHITECTURE.md; a new room gets its line in `house/arrows.rs`.

mod support;

mod harness;

mod house {
    mod arrows;
    mod documents;
    mod readme;
    mod source;
    mod tidy;
}
