//! A handler that knows what 0-RTT means: it answers at once what may run twice, and lets the rest
//! wait for the client's Finished.
//!
//! `cargo run --example early_handler`, with `-- --once` to check itself and end.

mod support;

use cutwater::handler::{self, HandlerError};
use cutwater::{Body, EarlyDataPolicy, EarlyRequest, Edge, Site};
use http::{Method, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> support::Outcome {
    let identity = support::identity("localhost")?;
    let site = Site::new("localhost")
        .certificate(identity.chain.as_bytes(), identity.key.as_bytes())
        .early_data(true)
        // Without it the handler would see confirmed requests only: the policy is the upper bound.
        .early_data_policy(EarlyDataPolicy::Allow)
        .handler(handler::early(counter));
    let edge = Edge::builder()
        .listen(([127, 0, 0, 1], 0).into())
        .workers(1)
        .site(site)
        .build()?;

    support::run(edge, move |address| {
        let client = support::Client::new(&identity)?;
        for (line, expected) in [
            // No ticket yet.
            ("GET /", "200 read, confirmed\n"),
            // From here on each request is in the first flight.
            ("GET /", "200 read, early\n"),
            ("POST /", "200 changed, confirmed\n"),
            ("DELETE /", "425 "),
        ] {
            let answer = client.request(address, "localhost", line)?;
            let got = format!("{} {}", answer.status, answer.body);
            println!("{line}: {}", got.trim_end());
            assert_eq!(got, expected, "{line}: {answer:?}");
        }
        Ok(())
    })
    .await
}

async fn counter(request: EarlyRequest) -> Result<Response<Body>, HandlerError> {
    // Said before it is awaited: afterwards it is not early any more.
    let when = |early| if early { "early" } else { "confirmed" };
    match *request.method() {
        Method::GET => {
            let early = request.is_early();
            // To read has no effect: whoever sends the flight again learns nothing and changes nothing.
            let _request = request.replay_safe();
            Ok(Response::new(format!("read, {}\n", when(early)).into()))
        }
        Method::POST => {
            let _request = request.confirmed().await?;
            Ok(Response::new("changed, confirmed\n".into()))
        }
        // The client sends it again when the handshake is finished.
        _ if request.is_early() => Ok(request.too_early()),
        _ => Ok(Response::new("deleted, confirmed\n".into())),
    }
}
