//! What a server speaks and shows, seen from outside.

pub mod arguments;
mod certificates;
mod chains;
mod client;
pub mod command;
mod compression;
mod early;
mod line;
mod names;
mod quic;
mod raw;
pub mod report;
mod resumption;
mod run;
mod shelf;
mod suites;
mod target;
mod text;
mod wire;
mod witness;
