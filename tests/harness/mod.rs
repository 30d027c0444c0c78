//! The tools that the other tests stand on.

mod client;
mod datagrams;
mod h2;
mod origin;
mod relay;
mod server;
mod tools;
