//! Cutwater: a TLS 1.3 edge terminator with replay-safe 0-RTT.
//!
//! It does not cache, run scripts, filter applications or speak TLS below 1.2, and installs no
//! global logger, registry or crypto provider.
//!
//! An [`Edge`] listens and holds [`Site`]s; a site's routes have [`Handler`]s. A handler made with
//! [`handler::plain`] is an ordinary service and sees confirmed requests only. One made with
//! [`handler::early`] gets an [`EarlyRequest`], which may still be a replay: it looks at the head,
//! and then declares the request replay-safe, awaits the client's Finished, or answers 425. What a
//! site lets a handler see is its [`EarlyDataPolicy`].
//!
//! The rules of early data stand in `docs/EARLY-DATA.md` and are cited as `EARLY-DATA R7`.

#![warn(missing_docs)]

pub mod body;
pub mod certs;
pub mod config;
pub mod confirm;
pub mod connection;
pub mod deadline;
pub mod demo;
pub mod early;
pub mod edge;
pub mod gate;
pub mod handler;
pub mod http;
pub mod listen;
pub mod load;
pub mod origin;
pub mod route;
pub mod serve;
pub mod server;
pub mod state;
pub mod tags;
pub mod telemetry;
pub mod tls;

pub use body::Body;
pub use deadline::Deadline;
pub use early::EarlyDataPolicy;
pub use edge::{Edge, EdgeError, EdgeHandle, Site};
pub use handler::{EarlyRequest, Handler};
pub use rustls;
pub use state::ConnectionState;

/// The README's programs compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
