//! EARLY-DATA R11, R12, R14 and P4: handlers and what they are told.

use std::sync::{Arc, Mutex};

use cutwater::body::Body;
use cutwater::deadline::Deadline;
use cutwater::early::EarlyDataPolicy;
use cutwater::edge::{Edge, EdgeError, Site};
use cutwater::handler::{EarlyRequest, Handler, HandlerError, early};
use cutwater::state::{ConnectionState, Protocol};
use cutwater::telemetry::labels::{EarlyState, TooEarlyBy};
use http::{Method, Response};
use rustls::{NamedGroup, ProtocolVersion};

use super::stage::{EARLY, Stage};
use crate::support::client::Client;
use crate::support::pki::Pki;
use crate::support::setup::ClientSetup;
use crate::support::within;

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {EARLY}\r\n\r\n")
}

struct Alone {
    edge: Edge,
    pki: Pki,
}

/// An edge with one site and one handler.
fn alone(policy: Option<EarlyDataPolicy>, handler: impl Handler) -> Result<Alone, EdgeError> {
    let pki = Pki::new();
    let leaf = pki.leaf(&[EARLY]);
    let site = Site::new(EARLY)
        .certificate(leaf.chain_pem.as_bytes(), leaf.key_pem.as_bytes())
        .early_data(true);
    let site = match policy {
        Some(policy) => site.early_data_policy(policy),
        None => site,
    };
    let edge = Edge::builder()
        .listen(([127, 0, 0, 1], 0).into())
        .workers(1)
        .site(site.handler(handler))
        .build()?;
    Ok(Alone { edge, pki })
}

impl Alone {
    async fn returning(&self) -> ClientSetup {
        let setup = self.pki.client().alpn(&["http/1.1"]);
        Client::fetch_ticket(self.edge.addresses()[0], EARLY, &setup).await;
        setup
    }

    async fn early(&self, setup: &ClientSetup, request: &str) -> Client {
        let mut client = Client::connect(self.edge.addresses()[0], EARLY, setup).await;
        client.early(request.as_bytes());
        client.hold_finished();
        client.send_pending().await;
        client.server_flight().await.unwrap();
        client
    }
}

#[tokio::test]
async fn a_handler_awaits_finished_and_answers_then() {
    let handler = early(|request: EarlyRequest| async {
        assert!(request.is_early());
        let request = request.confirmed().await?;
        assert!(request.extensions().get::<Deadline>().is_some());
        Ok(Response::new(Body::from("confirmed")))
    });
    let alone = alone(Some(EarlyDataPolicy::Allow), handler).unwrap();
    let setup = alone.returning().await;
    let mut client = alone.early(&setup, &get("/")).await;
    let handle = alone.edge.handle();
    let early = &handle.metrics().early;
    within("the handler's wait", async {
        while early.delayed.get() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(client.take_plain(), b"");
    client.finish().await;
    assert_eq!(client.response().await.text(), "confirmed");
    let waited = || early.requests.get(EarlyState::Waited) == 1;
    within("the count", async {
        while !waited() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(early.confirmations_awaited.get(), 1);
    assert_eq!(early.requests.get(EarlyState::Served), 0);
}

#[tokio::test]
async fn a_handler_may_answer_425_itself() {
    let handler = early(|request: EarlyRequest| async {
        if request.is_early() {
            return Ok(request.too_early());
        }
        Ok(Response::new(Body::from("later")))
    });
    let alone = alone(Some(EarlyDataPolicy::Allow), handler).unwrap();
    let setup = alone.returning().await;
    let mut client = alone.early(&setup, &get("/")).await;
    assert_eq!(client.response().await.status, 425);
    client.finish().await;
    client.send(get("/").as_bytes()).await;
    assert_eq!(client.response().await.text(), "later");
    let handle = alone.edge.handle();
    let early = &handle.metrics().early;
    assert_eq!(early.too_early.get(TooEarlyBy::Edge), 1);
    assert_eq!(early.requests.get(EarlyState::Refused), 1);
}

#[tokio::test]
async fn a_handler_without_a_policy_sees_confirmed_requests_only() {
    let handler = early(|request: EarlyRequest| async move {
        let body = if request.is_early() { "early" } else { "late" };
        Ok(Response::new(Body::from(body)))
    });
    let alone = alone(None, handler).unwrap();
    let setup = alone.returning().await;
    let mut client = alone.early(&setup, &get("/")).await;
    client.finish().await;
    assert_eq!(client.response().await.text(), "late");
}

#[tokio::test]
async fn a_handler_whose_client_vanishes_never_gets_its_request() {
    let got = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&got);
    let handler = early(move |request: EarlyRequest| {
        let seen = Arc::clone(&seen);
        async move {
            let outcome = request.confirmed().await;
            seen.lock().unwrap().push(outcome.is_ok());
            outcome.map(|_| Response::new(Body::empty()))
        }
    });
    let alone = alone(Some(EarlyDataPolicy::Allow), handler).unwrap();
    let setup = alone.returning().await;
    let client = alone.early(&setup, &get("/")).await;
    client.reset();
    let handle = alone.edge.handle();
    let early = &handle.metrics().early;
    within("the count", async {
        while early.aborted.get() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!got.lock().unwrap().contains(&true));
}

#[tokio::test]
async fn a_handler_is_told_about_its_connection() {
    let told = Arc::new(Mutex::new(Vec::<ConnectionState>::new()));
    let tells = Arc::clone(&told);
    let handler = early(move |request: EarlyRequest| {
        tells.lock().unwrap().push(request.connection().clone());
        async move {
            let request = request.confirmed().await?;
            let state = request.extensions().get::<Arc<ConnectionState>>();
            assert_eq!(state.map(|state| state.worker), Some(0));
            Ok::<_, HandlerError>(Response::new(Body::empty()))
        }
    });
    let alone = alone(Some(EarlyDataPolicy::Allow), handler).unwrap();
    let address = alone.edge.addresses()[0];
    let setup = alone.returning().await;
    let mut client = alone.early(&setup, &get("/")).await;
    client.finish().await;
    client.response().await;
    let h2 = alone.pki.client().alpn(&["h2"]);
    let mut second = crate::support::h2::H2::start(Client::open(address, EARLY, &h2).await).await;
    let request = crate::support::h2::request("GET", "https://EARLY.test/", "");
    assert_eq!(second.fetch(request).await.unwrap().status, 200);
    let told = told.lock().unwrap();
    let [first, second] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!(first.client, client.local_address());
    assert_eq!(first.local, address);
    assert_eq!(first.server_name.as_deref(), Some(EARLY));
    assert_eq!(first.protocol, Protocol::Http1);
    assert_eq!(first.alpn.as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!(first.version, ProtocolVersion::TLSv1_3);
    assert_eq!(first.group, Some(NamedGroup::X25519));
    assert!(first.resumed && first.early_data);
    assert_eq!(second.protocol, Protocol::Http2);
    assert!(!second.resumed && !second.early_data);
}

#[tokio::test]
async fn metrics_tell_what_became_of_early_requests() {
    let stage = Stage::start().await;
    let setup = stage.returning(&["http/1.1"]).await;
    let post = format!("POST /aware/wait HTTP/1.1\r\nhost: {EARLY}\r\ncontent-length: 2\r\n\r\nhi");
    for request in [
        get("/aware/safe"),
        post.clone(),
        post.replace("wait", "refuse"),
        get("/nowhere"),
    ] {
        let mut client = stage.early(&setup, &request).await;
        client.finish().await;
        client.response().await;
        let ticket = |_: &mut Client| (setup.tickets().left(EARLY) > 0).then_some(());
        client.until("the next ticket", ticket).await.unwrap();
    }
    let early = &stage.metrics().early;
    stage
        .until("four requests", |metrics| {
            let states = [EarlyState::None, EarlyState::Served, EarlyState::Waited];
            let ended: u64 = states.map(|s| metrics.early.requests.get(s)).iter().sum();
            ended + metrics.early.requests.get(EarlyState::Refused) == 4
        })
        .await;
    assert_eq!(early.offered.get(), 4);
    assert_eq!(early.accepted.get(), 4);
    assert_eq!(early.delayed.get(), 1);
    assert_eq!(early.confirmations_awaited.get(), 1);
    assert_eq!(early.too_early.get(TooEarlyBy::Edge), 1);
    assert_eq!(early.aborted.get(), 0);
    for state in [EarlyState::Served, EarlyState::Waited, EarlyState::Refused] {
        assert_eq!(early.requests.get(state), 1, "{state:?}");
    }
}

#[tokio::test]
async fn early_policies_need_a_site_that_takes_early_data() {
    let pki = Pki::new();
    let leaf = pki.leaf(&[EARLY]);
    let handler = early(|request: EarlyRequest| async {
        assert_eq!(request.method(), Method::GET);
        Ok(request.too_early())
    });
    let built = Edge::builder()
        .listen(([127, 0, 0, 1], 0).into())
        .site(
            Site::new(EARLY)
                .certificate(leaf.chain_pem.as_bytes(), leaf.key_pem.as_bytes())
                .early_data_policy(EarlyDataPolicy::Safe)
                .handler(handler),
        )
        .build();
    match built {
        Err(EdgeError::Configuration(errors)) => assert_eq!(errors.len(), 1, "{errors:?}"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was built"),
    }
}

#[tokio::test]
async fn what_the_edge_answers_before_routing_goes_at_once() {
    let stage = Stage::start().await;
    let setup = stage.returning(&["http/1.1"]).await;
    for (request, status) in [
        (get("/nowhere"), 404),
        (get("/%2F"), 400),
        (get("/aware/wait").replace(EARLY, "late.test"), 421),
        (
            get("/aware/wait").replace("\r\n\r\n", "\r\nexpect: x\r\n\r\n"),
            417,
        ),
    ] {
        let mut client = stage.early(&setup, &request).await;
        assert_eq!(client.response().await.status, status, "{request}");
        client.finish().await;
        let ticket = |_: &mut Client| (setup.tickets().left(EARLY) > 0).then_some(());
        client.until("the next ticket", ticket).await.unwrap();
    }
    assert_eq!(stage.metrics().early.delayed.get(), 0);
}
