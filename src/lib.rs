//! Cutwater: a TLS 1.3 edge terminator with replay-safe 0-RTT.

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
