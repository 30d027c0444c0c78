//! What integration tests share. Each binary says `mod support;` and uses a part of it.
//!
//! - [`pki`]: an authority, leaves good and bad, as PEM files
//! - [`client`]: a TLS client whose every step is a call of its own
//! - [`setup`], [`tickets`]: what that client offers, and the tickets it keeps
//! - [`hello`]: a ClientHello's bytes, found and garbled
//! - [`http1`], [`h2`]: reading answers; a whole h2 client over [`client`]
//! - [`edge`]: the compiled program with a config file, its logs and signals
//! - [`figures`]: waiting for its metrics
//! - [`origin`]: an HTTP/1.1 origin that does as it is told
//! - [`http2_origin`]: the same over HTTP/2, in the clear or over TLS
//! - [`daemon`]: nginx and HAProxy with configurations of the test's, nghttpd, `s_server`,
//!   `gnutls-serv`
//! - [`secure`]: an origin over TLS
//! - [`tool`]: programs that may be missing
#![allow(dead_code)]

pub mod client;
pub mod daemon;
pub mod edge;
pub mod figures;
pub mod h2;
pub mod hello;
pub mod http1;
pub mod http2_origin;
pub mod origin;
pub mod pki;
pub mod secure;
pub mod setup;
pub mod tickets;
pub mod tool;

use std::time::Duration;

/// How often [`poll`] asks.
const POLL: Duration = Duration::from_millis(10);

/// The longest that a test waits for one thing that is sure to come.
pub const BOUND: Duration = Duration::from_secs(10);

/// Asks until there is an answer: of what another process does, which cannot wake us, and has no
/// line in a log.
pub async fn poll<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "another process cannot be awaited"
        )]
        tokio::time::sleep(POLL).await;
    }
}

/// The same, at most [`BOUND`].
#[track_caller]
pub fn polled<T>(
    what: &'static str,
    ask: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = T> {
    within(what, poll(ask))
}

/// Waits for `what`, at most [`BOUND`].
#[track_caller]
pub fn within<F: Future>(what: &'static str, future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(BOUND, future).await {
            Ok(output) => output,
            Err(_) => panic!("{caller}: {what}: not within {BOUND:?}"),
        }
    }
}
