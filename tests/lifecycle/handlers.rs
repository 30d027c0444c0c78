//! Deadlines and panics of a library user's handlers.

use std::future::pending;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use cutwater::body::{Body, BoxError};
use cutwater::config::spec::{RouteSpec, TargetSpec};
use cutwater::edge::{Edge, EdgeHandle, Site};
use cutwater::handler::{EarlyRequest, HandlerError, early};
use cutwater::telemetry::labels::TimeoutKind;
use http::{Request, Response};
use http_body::{Body as _, Frame};
use tokio::sync::{Notify, oneshot};

use super::house::{NAME, get, get2, pause};
use crate::support::client::Client;
use crate::support::h2::H2;
use crate::support::pki::Pki;
use crate::support::within;

type Answered = Result<Response<Body>, HandlerError>;

/// A running edge; it drains when this is dropped.
struct Running {
    pki: Pki,
    address: SocketAddr,
    handle: EdgeHandle,
    _stop: oneshot::Sender<()>,
}

fn start(
    total: Option<Duration>,
    idle: Duration,
    handler: impl cutwater::handler::Handler,
) -> Running {
    let pki = Pki::new();
    let leaf = pki.leaf(&[NAME]);
    let mut route = RouteSpec::new("/", TargetSpec::Handler(Arc::new(handler)));
    route.timeouts.total = total;
    route.timeouts.request_body_idle = idle;
    let site = Site::new(NAME)
        .certificate(leaf.chain_pem.as_bytes(), leaf.key_pem.as_bytes())
        .route(route);
    let edge = Edge::builder()
        .listen("127.0.0.1:0".parse().unwrap())
        .workers(1)
        .drain_timeout(Duration::from_millis(100))
        .site(site)
        .build()
        .unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = Running {
        pki,
        address: edge.addresses()[0],
        handle: edge.handle(),
        _stop: stop,
    };
    tokio::spawn(async move {
        edge.run(async {
            let _ = stopped.await;
        })
        .await
        .unwrap();
    });
    running
}

impl Running {
    async fn open(&self) -> Client {
        let setup = self.pki.client().alpn(&["http/1.1"]);
        Client::open(self.address, NAME, &setup).await
    }

    async fn open_h2(&self) -> H2 {
        let setup = self.pki.client().alpn(&["h2"]);
        H2::start(Client::open(self.address, NAME, &setup).await).await
    }

    fn timeouts(&self, kind: TimeoutKind) -> u64 {
        self.handle.metrics().timeouts.get(kind)
    }
}

const LONG: Duration = Duration::from_secs(30);

fn said(text: &'static str) -> Answered {
    Ok(Response::new(Body::from(Bytes::from_static(
        text.as_bytes(),
    ))))
}

#[tokio::test]
async fn a_handler_that_does_not_answer_is_504() {
    let edge = start(
        Some(Duration::from_millis(300)),
        LONG,
        early(async |_: EarlyRequest| pending::<Answered>().await),
    );
    let mut client = edge.open().await;
    client.send(&get("/")).await;
    assert_eq!(client.response().await.status, 504);
    let answer = edge.open_h2().await.fetch(get2("/")).await.unwrap();
    assert_eq!(answer.status, 504);
    assert_eq!(edge.timeouts(TimeoutKind::Total), 2);
    // The connection is well.
    client.send(&get("/")).await;
    assert_eq!(client.response().await.status, 504);
}

#[tokio::test]
async fn a_handler_may_extend_its_deadline() {
    let edge = start(
        Some(Duration::from_millis(300)),
        LONG,
        early(async |request: EarlyRequest| {
            request.deadline().set(Some(LONG));
            pause(Duration::from_millis(900)).await;
            said("late")
        }),
    );
    let mut client = edge.open().await;
    client.send(&get("/")).await;
    assert_eq!(client.response().await.text(), "late");
    assert_eq!(edge.timeouts(TimeoutKind::Total), 0);
}

#[tokio::test]
async fn a_handler_may_shorten_its_deadline() {
    let edge = start(
        None,
        LONG,
        early(async |request: EarlyRequest| {
            request.deadline().set(Some(Duration::from_millis(200)));
            pending::<Answered>().await
        }),
    );
    let mut client = edge.open().await;
    client.send(&get("/")).await;
    assert_eq!(client.response().await.status, 504);
}

#[tokio::test]
async fn a_deadline_set_while_the_answer_streams_cuts_it() {
    let edge = start(
        None,
        LONG,
        early(async |request: EarlyRequest| {
            let deadline = request.deadline().clone();
            tokio::spawn(async move {
                pause(Duration::from_millis(200)).await;
                deadline.set(Some(Duration::from_millis(200)));
            });
            Ok(Response::new(Body::new(Chunks(1))))
        }),
    );
    let mut client = edge.open().await;
    client.send(&get("/")).await;
    let (plain, _) = client.read_to_end().await;
    assert!(plain.ends_with(b"chunk\r\n"), "no final chunk");
    let error = edge.open_h2().await.fetch(get2("/")).await.unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR));
    assert_eq!(edge.timeouts(TimeoutKind::Total), 2);
}

/// So many chunks, then nothing for ever.
struct Chunks(usize);

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.0.checked_sub(1) {
            Some(left) => self.0 = left,
            None => return Poll::Pending,
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"chunk")))))
    }
}

#[tokio::test]
async fn total_ends_an_answer_that_never_pauses() {
    let edge = start(
        Some(Duration::from_millis(300)),
        LONG,
        early(async |_: EarlyRequest| Ok(Response::new(Body::new(Chunks(usize::MAX))))),
    );
    let mut client = edge.open().await;
    client.send(&get("/")).await;
    let mut ended = None;
    for _ in 0..100_000 {
        if let Err(ending) = client.read(1 << 14).await {
            ended = Some(ending);
            break;
        }
    }
    assert!(ended.is_some());
    assert_eq!(edge.timeouts(TimeoutKind::Total), 1);
}

#[tokio::test]
async fn a_handler_that_reads_late_is_not_its_clients_fault() {
    let ready = Arc::new(Notify::new());
    let reads = Arc::clone(&ready);
    let edge = start(
        None,
        Duration::from_millis(600),
        early(move |request: EarlyRequest| {
            let reads = Arc::clone(&reads);
            async move {
                let mut body = request.confirmed().await?.into_body();
                let first = next(&mut body).await;
                pause(Duration::from_millis(1200)).await;
                reads.notify_one();
                let second = next(&mut body).await;
                let all = [first, second].concat();
                Ok(Response::new(Body::from(Bytes::from(all))))
            }
        }),
    );
    let mut client = edge.open().await;
    let post = format!("POST / HTTP/1.1\r\nhost: {NAME}\r\ncontent-length: 2\r\n\r\na");
    client.send(post.as_bytes()).await;
    within("the handler", ready.notified()).await;
    client.send(b"b").await;
    let answer = client.response().await;
    assert_eq!((answer.status, answer.text()), (200, "ab"));
}

async fn next(body: &mut Body) -> Vec<u8> {
    let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
    match frame {
        Some(Ok(frame)) => frame.into_data().unwrap_or_default().to_vec(),
        other => panic!("no data: {other:?}"),
    }
}

#[tokio::test]
async fn a_panic_in_a_handler_ends_its_connection_only() {
    let edge = start(
        None,
        LONG,
        early(async |request: EarlyRequest| {
            assert_ne!(request.uri().path(), "/panic", "asked to");
            said("well")
        }),
    );
    let mut bystander = edge.open().await;
    bystander.send(&get("/")).await;
    assert_eq!(bystander.response().await.text(), "well");
    let mut victim = edge.open().await;
    victim.send(&get("/panic")).await;
    assert!(victim.try_response(false).await.is_err());
    let mut h2 = edge.open_h2().await;
    let panic: Request<Bytes> = get2("/panic");
    assert!(h2.fetch(panic).await.is_err());
    bystander.send(&get("/")).await;
    assert_eq!(bystander.response().await.text(), "well");
    let mut after = edge.open().await;
    after.send(&get("/")).await;
    assert_eq!(after.response().await.text(), "well");
    let open = || edge.handle.metrics().connections.open.get();
    within("the end of what panicked", async {
        while open() > 3 {
            pause(Duration::from_millis(10)).await;
        }
    })
    .await;
    let unfinished = edge.handle.metrics().handshakes.unfinished.get();
    assert_eq!(unfinished, 0);
}
