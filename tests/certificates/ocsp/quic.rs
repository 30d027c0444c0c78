//! The same over QUIC.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ConnectionError, Endpoint};

use super::authority::{Answer, Authority, Leaf, Status};
use super::responder::{Does, Responder};
use super::stage::{Looker, NAME, config, site};
use crate::support::edge::Edge;
use crate::support::within;

/// bad_certificate_status_response as an error of QUIC (RFC 9001 §4.8).
const REFUSED: u64 = 0x100 + 113;

/// A QUIC handshake, and with `tickets` a ticket after it: the staple, or the error's code.
async fn look(
    looker: &Looker,
    address: SocketAddr,
    tickets: bool,
) -> Result<Option<(Status, u8)>, u64> {
    let crypto = QuicClientConfig::try_from(looker.quic()).unwrap();
    let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
    let connecting = endpoint.connect(address, NAME).unwrap();
    match within("a QUIC handshake", connecting).await {
        Ok(connection) => {
            if tickets {
                let come = async {
                    while looker.tickets.left(NAME) == 0 {
                        tokio::task::yield_now().await;
                    }
                };
                within("a ticket", come).await;
            }
            connection.close(0u32.into(), b"");
            endpoint.wait_idle().await;
            Ok(looker.staple())
        }
        Err(ConnectionError::ConnectionClosed(close)) => Err(close.error_code.into()),
        Err(error) => panic!("{error}"),
    }
}

async fn edge(authority: &Authority, responder: &Responder) -> Edge {
    Edge::start(&text(authority, responder)).await
}

fn text(authority: &Authority, responder: &Responder) -> String {
    let leaf = Leaf {
        serial: 1,
        responder: Some(&responder.url()),
        ..Leaf::default()
    };
    let certificate = authority.leaf(NAME, leaf).toml("");
    let text = config("", &[site(NAME, &certificate, "ocsp = \"required\"")]);
    let quic = "name = \"public\"\nquic = true";
    text.replace("name = \"public\"", quic)
}

#[tokio::test]
async fn quic_is_refused_without_a_staple_that_is_required() {
    let authority = Arc::new(Authority::new());
    let responder = Responder::start(&authority, Does::Http(503)).await;
    let edge = edge(&authority, &responder).await;
    let looker = Looker::new(&authority);
    assert_eq!(look(&looker, edge.address(), false).await, Err(REFUSED));
    let refused = edge.metric(
        "cutwater_client_hello_errors_total",
        &["error=\"no_staple\""],
    );
    assert_eq!(refused.await, 1.0);
}

/// A full handshake after a HelloRetryRequest: what it offered to resume is not known.
#[tokio::test]
async fn quic_brings_no_bare_certificate_behind_a_ticket_that_opens_nothing() {
    for looker in [Looker::new, Looker::retried] {
        let authority = Arc::new(Authority::new());
        let responder = Responder::start(&authority, Does::Http(503)).await;
        let looker = looker(&authority);
        let text = text(&authority, &responder);
        let lenient = Edge::start(&text.replace("\"required\"", "\"auto\"")).await;
        assert_eq!(look(&looker, lenient.address(), true).await, Ok(None));
        drop(lenient);
        // Another process: it knows none of the tickets.
        let edge = Edge::start(&text).await;
        assert_eq!(look(&looker, edge.address(), false).await, Err(REFUSED));
        let refused = edge.metric(
            "cutwater_client_hello_errors_total",
            &["error=\"no_staple\""],
        );
        assert_eq!(refused.await, 1.0);
    }
}

#[tokio::test]
async fn quic_shows_the_staple_and_resumes_without() {
    for looker in [Looker::new, Looker::retried] {
        resumes_without(looker).await;
    }
}

async fn resumes_without(looker: fn(&Authority) -> Looker) {
    let authority = Arc::new(Authority::new());
    let short = Answer {
        lasts: Duration::from_secs(4),
        ..Answer::GOOD
    };
    let responder = Responder::start(&authority, Does::Answer(short)).await;
    let edge = edge(&authority, &responder).await;
    let looker = looker(&authority);
    looker.until(&edge, NAME, Result::is_ok).await.unwrap();
    let shown = look(&looker, edge.address(), true).await;
    assert_eq!(shown, Ok(Some((Status::Good, 1))));
    responder.does(Does::Http(503));
    within("its end", async {
        while look(&looker.fresh(), edge.address(), false).await != Err(REFUSED) {}
    })
    .await;
    // With the ticket: no certificate, and so no staple.
    assert_eq!(look(&looker, edge.address(), false).await, Ok(None));
}
