//! A plain service: an axum router. It never sees a request that may be a replay, so it needs to
//! know nothing of 0-RTT; early requests wait until the handshake is finished.
//!
//! `cargo run --example axum_service`, with `-- --once` to check itself and end.

mod support;

use std::sync::Arc;

use axum::routing::get;
use axum::{Extension, Router};
use cutwater::{ConnectionState, Edge, Site, handler};

#[tokio::main(flavor = "current_thread")]
async fn main() -> support::Outcome {
    let router = Router::new()
        .route("/", get(|| async { "hello\n" }))
        .route("/connection", get(connection));

    let identity = support::identity("localhost")?;
    let site = Site::new("localhost")
        .certificate(identity.chain.as_bytes(), identity.key.as_bytes())
        .early_data(true)
        .handler(handler::plain(router));
    let edge = Edge::builder()
        .listen(([127, 0, 0, 1], 0).into())
        .workers(1)
        .site(site)
        .build()?;

    support::run(edge, move |address| {
        let client = support::Client::new(&identity)?;
        let first = client.request(address, "localhost", "GET /")?;
        assert_eq!(
            (first.status.as_str(), first.body.as_str()),
            ("200", "hello\n")
        );
        // Sent with the first flight, taken as early data, held until it was proved.
        let second = client.request(address, "localhost", "GET /connection")?;
        print!("{}", second.body);
        assert!(second.early && second.resumed);
        assert_eq!(second.body, "http/1.1 for localhost, resumed: true\n");
        Ok(())
    })
    .await
}

/// What is known of the connection is an extension of every request.
async fn connection(Extension(state): Extension<Arc<ConnectionState>>) -> String {
    format!(
        "{} for {}, resumed: {}\n",
        String::from_utf8_lossy(state.alpn.as_deref().unwrap_or(b"-")),
        state.server_name.as_deref().unwrap_or("-"),
        state.resumed
    )
}
