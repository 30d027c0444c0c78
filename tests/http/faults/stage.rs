//! The stage: a healthy origin and a faulty one behind one worker, and clients of both.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use serde_json::Value;
use tokio::sync::watch;

use crate::http::stand::{NAME, Stand, forward, get, post, route};
use crate::support::h2::{H2, request};
use crate::support::origin::{Origin, Reply};
use crate::support::within;

/// Requests to the healthy origin, in each of the two acts.
const REQUESTS: usize = 1000;
/// Faulty requests under way at once, over each version of HTTP.
const FAULTY: usize = 8;

/// A faulty origin.
pub struct Fault<'a> {
    address: SocketAddr,
    /// Holds its fault until it is released.
    origin: Option<&'a Origin>,
    /// Requests are pending without being held.
    pending: bool,
    body: usize,
    timeouts: &'static str,
}

impl<'a> Fault<'a> {
    /// An origin that holds its replies.
    pub fn of(origin: &'a Origin) -> Self {
        Self {
            origin: Some(origin),
            pending: true,
            ..Self::at(origin.address())
        }
    }

    /// An address where there is no origin.
    pub fn at(address: SocketAddr) -> Self {
        Self {
            address,
            origin: None,
            pending: false,
            body: 0,
            timeouts: "",
        }
    }

    /// Requests have bodies of this size.
    pub fn with_body(self, body: usize) -> Self {
        Self { body, ..self }
    }

    /// With these timeouts of its route.
    pub fn timeouts(self, timeouts: &'static str) -> Self {
        Self { timeouts, ..self }
    }

    /// Its requests stay under way for long.
    pub fn pending(self) -> Self {
        Self {
            pending: true,
            ..self
        }
    }

    fn request1(&self) -> Vec<u8> {
        match self.body {
            0 => get("/faulty").into_bytes(),
            size => post("/faulty", &vec![b'x'; size]),
        }
    }

    fn request2(&self) -> Request<Bytes> {
        let uri = format!("https://{NAME}/faulty");
        match self.body {
            0 => request("GET", &uri, ""),
            size => request("POST", &uri, vec![b'x'; size]),
        }
    }
}

/// What a faulty request gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An answer.
    Status(u16),
    /// An answer that breaks off, or none.
    Cut,
}

fn healthy2() -> Request<Bytes> {
    request("GET", &format!("https://{NAME}/healthy"), "")
}

/// Plays both acts. Faulty requests may have these outcomes and no others.
pub async fn beside(fault: Fault<'_>, outcomes: &[Outcome]) {
    let healthy = Origin::start(|_| Reply::ok("healthy")).await;
    let origin = format!(
        "origin = [\"http://{}\"]\ntimeouts = {{ {} }}",
        fault.address, fault.timeouts
    );
    let stand = Stand::start(&(route("/faulty", &origin) + &forward("/", &healthy))).await;
    let mut acts = 0;
    if fault.pending {
        held(&stand, &fault, outcomes).await;
        acts += 1;
    }
    if fault.origin.is_some() || !fault.pending {
        freely(&stand, &fault, outcomes).await;
        acts += 1;
    }
    let all = stand.edge.until_accesses(acts * REQUESTS, is_healthy);
    for line in all.await {
        assert_eq!(
            (&line["status"], &line["end"]),
            (&200.into(), &"complete".into())
        );
        assert_eq!(line["origin_tries"], 1, "sent again: {line}");
    }
}

fn is_healthy(line: &Value) -> bool {
    line["path"] == "/healthy"
}

/// The fault waits at its worst moment while a thousand requests go by.
async fn held(stand: &Stand, fault: &Fault<'_>, outcomes: &[Outcome]) {
    let mut h2 = stand.http2().await;
    for _ in 0..FAULTY {
        h2.begin_request(fault.request2()).await;
    }
    let mut clients = Vec::new();
    for _ in 0..FAULTY {
        let mut client = stand.http1().await;
        client.queue(&fault.request1());
        // What an origin does not take stays with the client.
        client
            .send_pending_for(std::time::Duration::from_millis(50))
            .await;
        clients.push(client);
    }
    if let Some(origin) = fault.origin {
        origin.until_heads(2 * FAULTY).await;
    }
    // On the connection that the faulty streams are on, and beside it.
    let mut http1 = stand.http1().await;
    for number in 0..REQUESTS {
        if number % 2 == 0 {
            let answer = h2.send.clone().ready();
            h2.send = within("a free stream", answer).await.unwrap();
            let (answer, _) = h2.send.send_request(healthy2().map(|_| ()), true).unwrap();
            let answer = within("an answer", crate::support::h2::whole(answer)).await;
            assert_eq!(answer.unwrap().text(), "healthy");
        } else {
            http1.send(get("/healthy").as_bytes()).await;
            assert_eq!(http1.response().await.text(), "healthy");
        }
    }
    if let Some(origin) = fault.origin {
        origin.release();
    }
    for _ in 0..FAULTY {
        let outcome = match h2.next().await {
            Ok(answer) => Outcome::Status(answer.status.as_u16()),
            Err(_) => Outcome::Cut,
        };
        assert!(outcomes.contains(&outcome), "HTTP/2: {outcome:?}");
    }
    for mut client in clients {
        let outcome = match client.try_response(false).await {
            Ok(answer) => Outcome::Status(answer.status),
            Err(_) => Outcome::Cut,
        };
        assert!(outcomes.contains(&outcome), "HTTP/1.1: {outcome:?}");
    }
    // A line is written when its request has ended: all others had, before the first faulty one.
    let lines = stand.edge.until_accesses(REQUESTS + 2 * FAULTY, |_| true);
    let lines = lines.await;
    let first = lines.iter().position(|line| line["path"] == "/faulty");
    assert!(
        first >= Some(REQUESTS),
        "a faulty request ended before: {first:?}"
    );
}

/// The fault happens all the time while a thousand requests go by.
async fn freely(stand: &Stand, fault: &Fault<'_>, outcomes: &[Outcome]) {
    let (end, ended) = watch::channel(false);
    let faulty = async {
        let mut clients = Vec::new();
        for _ in 0..FAULTY / 2 {
            let h2 = stand.http2().await;
            clients.push(again(
                h2,
                fault.request2(),
                outcomes.to_vec(),
                ended.clone(),
            ));
        }
        let running: Vec<_> = clients.into_iter().map(tokio::spawn).collect();
        let mut count = 0;
        for running in running {
            count += running.await.unwrap();
        }
        count
    };
    let healthy = async {
        let mut h2 = stand.http2().await;
        for _ in 0..REQUESTS {
            let answer = h2.fetch(healthy2()).await.unwrap();
            assert_eq!((answer.status.as_u16(), answer.text()), (200, "healthy"));
        }
        end.send_replace(true);
    };
    let (count, ()) = tokio::join!(faulty, healthy);
    assert!(count >= FAULTY / 2, "{count} faulty requests");
}

/// Asks again and again; how often.
async fn again(
    mut h2: H2,
    request: Request<Bytes>,
    outcomes: Vec<Outcome>,
    mut ended: watch::Receiver<bool>,
) -> usize {
    let mut count = 0;
    loop {
        let fetched = tokio::select! {
            fetched = h2.fetch(request.clone()) => fetched,
            _ = ended.wait_for(|ended| *ended) => return count.max(1),
        };
        let outcome = match fetched {
            Ok(answer) => Outcome::Status(answer.status.as_u16()),
            Err(_) => Outcome::Cut,
        };
        assert!(outcomes.contains(&outcome), "{outcome:?}");
        count += 1;
    }
}
