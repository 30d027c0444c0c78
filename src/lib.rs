//! A TLS 1.3 edge terminator with replay-safe 0-RTT, inside your program.
//!
//! It accepts connections for many sites, chooses one by the ClientHello, resumes sessions, takes
//! early data where a route allows it, answers it before the handshake is finished, and calls a
//! handler or forwards to an origin. A recorded first flight gets in once, not twice.
//!
//! **What it is not.** It does not cache, run scripts, filter applications or speak TLS below 1.2.
//! It installs no global logger, metrics registry or crypto provider. Linux only.
//!
//! # Serving
//!
//! ```no_run
//! use cutwater::{Edge, Origin, Site, plain};
//!
//! # async fn serve(chain: &[u8], key: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
//! let router = axum::Router::new().route("/", axum::routing::get(|| async { "hello\n" }));
//! let edge = Edge::builder()
//!     .listen("127.0.0.1:8443".parse()?)
//!     .site(
//!         Site::new("example.com")
//!             .certificate(chain, key)
//!             .early_data(true)
//!             .origin("/app", Origin::new("127.0.0.1:8080".parse()?))
//!             .handler(plain(router)),
//!     )
//!     .build()?;
//! // Workers are threads of their own: any tokio runtime will do.
//! edge.run(async { drop(tokio::signal::ctrl_c().await) }).await?;
//! # Ok(()) }
//! ```
//!
//! # What 0-RTT means for a handler
//!
//! A request that comes before the client's Finished may be a replay: whoever recorded it can send
//! it again. A handler made with [`plain`] is an ordinary [`tower_service::Service`] and never sees
//! one: early requests wait until they are proved. One made with [`early`](fn@early) gets an
//! [`EarlyRequest`], a type that shows the head and nothing else, and has to say how it goes on:
//!
//! ```
//! use cutwater::{Body, EarlyDataPolicy, EarlyRequest, Site, early};
//! use http::{Method, Response};
//!
//! # async fn show(_: http::Request<Body>) -> Response<Body> { Response::default() }
//! # async fn change(_: http::Request<Body>) -> Response<Body> { Response::default() }
//! let shop = early(|request: EarlyRequest| async {
//!     match *request.method() {
//!         // It may run twice.
//!         Method::GET => Ok(show(request.replay_safe()).await),
//!         // Waits for the client's Finished.
//!         Method::POST => Ok(change(request.confirmed().await?).await),
//!         // The client sends it again after the handshake.
//!         _ => Ok(request.too_early()),
//!     }
//! });
//! let site = Site::new("shop.example")
//!     .early_data(true)
//!     // The upper bound: without it the handler would see confirmed requests only.
//!     .early_data_policy(EarlyDataPolicy::Allow)
//!     .handler(shop);
//! ```
//!
//! The single use of a flight bounds the flight, not the request: a client whose answer was lost
//! sends it again. Only what may run twice goes before completion.
//!
//! # Further
//!
//! - [`ConnectionState`] and [`Deadline`] come with every request: what its connection is, and how
//!   long it may take.
//! - A [`Selector`] chooses a site, or a whole TLS side ([`SiteTls`]), by the [`ClientHello`].
//! - [`EdgeHandle`] replaces sites while they serve and has the [`Metrics`].
//! - Types of [`rustls`] stand in the interface, so it is re-exported.
//!
//! The rules of early data stand in `docs/EARLY-DATA.md` and are cited as `EARLY-DATA R7`.
//! The modules that make up the program are public too, for the tests, the benches and the curious;
//! those that are not shown here may change at any time.

#![warn(missing_docs)]

#[doc(hidden)]
pub mod admission;
pub mod body;
pub mod certs;
pub mod config;
pub mod confirm;
#[doc(hidden)]
pub mod connection;
pub mod deadline;
#[doc(hidden)]
pub mod demo;
pub mod early;
pub mod edge;
#[doc(hidden)]
pub mod forwarded;
#[doc(hidden)]
pub mod gate;
pub mod handler;
#[doc(hidden)]
pub mod http;
#[doc(hidden)]
pub mod inspect;
#[doc(hidden)]
pub mod interim;
#[doc(hidden)]
pub mod listen;
pub mod load;
#[doc(hidden)]
pub mod origin;
#[doc(hidden)]
pub mod proxy_protocol;
pub mod request_id;
#[doc(hidden)]
pub mod route;
#[doc(hidden)]
pub mod serve;
#[doc(hidden)]
pub mod server;
pub mod state;
pub mod tags;
pub mod telemetry;
pub mod tls;

pub use body::Body;
pub use config::site_tls::SiteTls;
pub use deadline::Deadline;
pub use early::EarlyDataPolicy;
pub use edge::{Edge, EdgeError, EdgeHandle, Origin, Site};
pub use handler::{EarlyRequest, Handler, HandlerError, early, plain};
pub use rustls;
pub use state::ConnectionState;
pub use telemetry::metrics::Metrics;
pub use tls::hello::ClientHello;
pub use tls::selector::{Selection, Selector};

/// The README's programs compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
