//! The rules of the house: who may know whom, how long a file may be, what the documents promise.
//!
//! The arrows stand in ARCHITECTURE.md; a new room gets its line in `house/arrows.rs`.

mod house {
    mod arrows;
    mod documents;
    mod readme;
    mod source;
    mod tidy;
}
