//! What integration tests share. Each binary says `mod support;` and uses a part of it.
#![allow(dead_code)]
