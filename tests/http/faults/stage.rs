//! The stage: a healthy origin and a faulty one behind one worker, and clients of both.

use bytes::Bytes;
use http::Request;
use serde_json::Value;
use tokio::sync::watch;

use crate::http::stand::{NAME, Stand, forward, get, post, route};
use crate::support::h2::{H2, request};
use crate::support::http2_origin::Http2Origin;
use crate::support::origin::{Origin, Reply};
use crate::support::within;

/// Requests to the healthy origin, in each of the two acts.
const REQUESTS: usize = 1000;
/// Clients that ask the healthy origin while the faults happen.
const CLIENTS: usize = 10;
/// Faulty requests under way at once, over each version of HTTP.
const FAULTY: usize = 8;

/// A faulty origin.
pub struct Fault<'a> {
    /// The keys of its `origin` table.
    keys: String,
    /// Holds its fault until it is released.
    origin: Option<Holder<'a>>,
    /// Requests are pending without being held.
    pending: bool,
    body: usize,
    timeouts: &'static str,
}

/// An origin that holds its replies.
#[derive(Clone, Copy)]
enum Holder<'a> {
    Http1(&'a Origin),
    Http2(&'a Http2Origin),
}

impl Holder<'_> {
    async fn until_heads(self, count: usize) {
        match self {
            Self::Http1(origin) => drop(origin.until_heads(count).await),
            Self::Http2(origin) => drop(origin.until_heads(count).await),
        }
    }

    fn release(self) {
        match self {
            Self::Http1(origin) => origin.release(),
            Self::Http2(origin) => origin.release(),
        }
    }
}

impl<'a> Fault<'a> {
    /// An origin that holds its replies.
    pub fn of(origin: &'a Origin) -> Self {
        Self {
            origin: Some(Holder::Http1(origin)),
            pending: true,
            ..Self::at(&origin.url())
        }
    }

    /// One over HTTP/2.
    pub fn of_http2(origin: &'a Http2Origin) -> Self {
        Self {
            origin: Some(Holder::Http2(origin)),
            pending: true,
            ..Self::at(&origin.url())
        }
    }

    /// Over TLS, with these keys of its `tls` table.
    pub fn tls(mut self, keys: &str) -> Self {
        self.keys += &format!(", tls = {{ {keys} }}");
        self
    }

    /// A URL where there is no origin.
    pub fn at(url: &str) -> Self {
        Self {
            keys: format!("servers = [{url:?}]"),
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

    fn request1(&self, path: &str) -> Vec<u8> {
        match self.body {
            0 => get(path).into_bytes(),
            size => post(path, &vec![b'x'; size]),
        }
    }

    fn request2(&self, path: &str) -> Request<Bytes> {
        let uri = format!("https://{NAME}{path}");
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
    beside_all(&[(fault, outcomes)]).await;
}

/// Plays both acts with several faults at once.
pub async fn beside_all(faults: &[(Fault<'_>, &[Outcome])]) {
    let healthy = Origin::start(|_| Reply::ok("healthy")).await;
    let mut routes = String::new();
    for (number, (fault, _)) in faults.iter().enumerate() {
        let origin = format!(
            "origin = {{ {} }}\ntimeouts = {{ {} }}",
            fault.keys, fault.timeouts
        );
        routes += &route(&path(number), &origin);
    }
    let stand = Stand::start(&(routes + &forward("/", &healthy))).await;
    let mut acts = 0;
    if faults.iter().all(|(fault, _)| fault.pending) {
        held(&stand, faults).await;
        acts += 1;
    }
    if faults
        .iter()
        .all(|(fault, _)| fault.origin.is_some() || !fault.pending)
    {
        freely(&stand, faults).await;
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

fn path(number: usize) -> String {
    format!("/faulty/{number}")
}

/// Faulty requests of each fault under way at once, over each version of HTTP.
fn each(faults: &[(Fault<'_>, &[Outcome])]) -> usize {
    (FAULTY / faults.len()).max(2)
}

fn is_healthy(line: &Value) -> bool {
    line["path"] == "/healthy"
}

/// The faults wait at their worst moment while a thousand requests go by.
async fn held(stand: &Stand, faults: &[(Fault<'_>, &[Outcome])]) {
    let mut h2 = stand.http2().await;
    let mut clients = Vec::new();
    let each = each(faults);
    for (number, (fault, outcomes)) in faults.iter().enumerate() {
        let path = path(number);
        for _ in 0..each {
            h2.begin_request(fault.request2(&path)).await;
        }
        for _ in 0..each {
            let mut client = stand.http1().await;
            client.queue(&fault.request1(&path));
            // What an origin does not take stays with the client.
            client
                .send_pending_for(std::time::Duration::from_millis(50))
                .await;
            clients.push((client, number, outcomes));
        }
        if let Some(origin) = fault.origin {
            origin.until_heads(2 * each).await;
        }
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
    for (fault, _) in faults {
        if let Some(origin) = fault.origin {
            origin.release();
        }
    }
    for (number, (_, outcomes)) in faults.iter().enumerate() {
        for _ in 0..each {
            let outcome = match h2.next().await {
                Ok(answer) => Outcome::Status(answer.status.as_u16()),
                Err(_) => Outcome::Cut,
            };
            assert!(outcomes.contains(&outcome), "HTTP/2, {number}: {outcome:?}");
        }
    }
    let count = clients.len();
    for (mut client, number, outcomes) in clients {
        let outcome = match client.try_response(false).await {
            Ok(answer) => Outcome::Status(answer.status),
            Err(_) => Outcome::Cut,
        };
        assert!(
            outcomes.contains(&outcome),
            "HTTP/1.1, {number}: {outcome:?}"
        );
    }
    // A line is written when its request has ended: all others had, before the first faulty one.
    let lines = stand.edge.until_accesses(REQUESTS + 2 * count, |_| true);
    let lines = lines.await;
    let first = lines.iter().position(|line| !is_healthy(line));
    assert!(
        first >= Some(REQUESTS),
        "a faulty request ended before: {first:?}"
    );
}

/// The faults happen all the time while a thousand requests go by.
async fn freely(stand: &Stand, faults: &[(Fault<'_>, &[Outcome])]) {
    let (end, ended) = watch::channel(false);
    let faulty = async {
        let mut running = Vec::new();
        for (number, (fault, outcomes)) in faults.iter().enumerate() {
            for _ in 0..each(faults) / 2 {
                let h2 = stand.http2().await;
                let request = fault.request2(&path(number));
                let again = again(h2, request, outcomes.to_vec(), ended.clone());
                running.push(tokio::spawn(again));
            }
        }
        for running in running {
            running.await.unwrap();
        }
    };
    let healthy = async {
        let mut running = Vec::new();
        for _ in 0..CLIENTS {
            let mut h2 = stand.http2().await;
            running.push(tokio::spawn(async move {
                for _ in 0..REQUESTS / CLIENTS {
                    let answer = h2.fetch(healthy2()).await.unwrap();
                    assert_eq!((answer.status.as_u16(), answer.text()), (200, "healthy"));
                }
            }));
        }
        for running in running {
            running.await.unwrap();
        }
        end.send_replace(true);
    };
    tokio::join!(faulty, healthy);
}

/// Asks again and again: once at least, however soon the others are done.
async fn again(
    mut h2: H2,
    request: Request<Bytes>,
    outcomes: Vec<Outcome>,
    mut ended: watch::Receiver<bool>,
) {
    let mut came = false;
    loop {
        let fetched = tokio::select! {
            fetched = h2.fetch(request.clone()) => fetched,
            _ = ended.wait_for(|ended| *ended), if came => return,
        };
        let outcome = match fetched {
            Ok(answer) => Outcome::Status(answer.status.as_u16()),
            Err(_) => Outcome::Cut,
        };
        assert!(
            outcomes.contains(&outcome),
            "{}: {outcome:?}",
            request.uri()
        );
        came = true;
    }
}
