//! Interim answers (1xx) of an origin, on their way to a client that can have them.
//!
//! Over HTTP/3 they are passed on, as RFC 9110 §15.2 asks of proxies. hyper has no way to send them,
//! so clients of HTTP/1.1 and 2 get none but the edge's own 100.

use std::fmt;

use http::{HeaderMap, StatusCode};

/// Where those of one request go.
pub trait Interims: fmt::Debug + Send + Sync {
    /// One has come. Its fields are for the client: what is about the connection to the origin is
    /// gone.
    fn pass(&self, status: StatusCode, fields: &HeaderMap);
}
