mod again;
mod faults;

use std::collections::HashMap;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream};
use http::HeaderMap;
use http_body::Frame;
use tokio::sync::{Notify, watch};

use super::streaming::fed;
use super::*;
use crate::telemetry::labels::OriginConnection;

type Asked = Request<RecvStream>;
type Answer = SendResponse<Bytes>;

/// An origin that speaks HTTP/2 with prior knowledge.
struct H2c {
    address: SocketAddr,
    open: watch::Receiver<usize>,
    accepted: Arc<AtomicUsize>,
}

impl H2c {
    /// Runs `answer` for each request, in a task of its own; its first argument is the number of the
    /// connection.
    async fn new<F, A>(streams: u32, answer: F) -> Self
    where
        F: Fn(usize, Asked, Answer) -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        Self::closing(streams, usize::MAX, answer).await
    }

    /// Announces the end of each connection after so many requests.
    async fn closing<F, A>(streams: u32, requests: usize, answer: F) -> Self
    where
        F: Fn(usize, Asked, Answer) -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (counts, open) = watch::channel(0);
        let accepted = Arc::new(AtomicUsize::new(0));
        let total = Arc::clone(&accepted);
        let answer = Arc::new(answer);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = total.fetch_add(1, Ordering::SeqCst);
                let (answer, counts) = (Arc::clone(&answer), counts.clone());
                tokio::spawn(async move {
                    counts.send_modify(|open| *open += 1);
                    let mut builder = server::Builder::new();
                    builder.max_concurrent_streams(streams);
                    if let Ok(mut connection) = builder.handshake(stream).await {
                        let mut seen = 0;
                        while let Some(Ok((request, respond))) = connection.accept().await {
                            tokio::spawn(answer(number, request, respond));
                            seen += 1;
                            if seen == requests {
                                connection.graceful_shutdown();
                            }
                        }
                    }
                    counts.send_modify(|open| *open -= 1);
                });
            }
        });
        Self {
            address,
            open,
            accepted,
        }
    }

    fn spec(&self) -> Arc<OriginSpec> {
        h2c(self.address)
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    async fn until_open(&self, count: usize) {
        let mut open = self.open.clone();
        open.wait_for(|open| *open == count).await.unwrap();
    }
}

pub(super) fn h2c(address: SocketAddr) -> Arc<OriginSpec> {
    Arc::new(OriginSpec {
        name: "h2c".into(),
        servers: vec![OriginServer {
            weight: 1,
            protocol: OriginProtocol::Http2,
            host: OriginHost::Address(address.ip()),
            port: address.port(),
        }],
        early_data_aware: true,
        host: HostHeader::default(),
        forwarded: Default::default(),
        proxy_protocol: None,
        tls: None,
        pool: PoolSpec::default(),
    })
}

fn head(status: u16) -> Response<()> {
    Response::builder().status(status).body(()).unwrap()
}

pub(super) fn hello(mut respond: Answer) {
    let mut stream = respond.send_response(head(200), false).unwrap();
    stream.send_data("hello".into(), true).unwrap();
}

/// All of a body, and its trailers.
async fn read(body: &mut RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        all.extend_from_slice(&data);
    }
    Ok((all, body.trailers().await?))
}

fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pairs = pairs.iter().map(|(name, value)| {
        let name = http::HeaderName::from_static(name);
        (name, HeaderValue::from_static(value))
    });
    pairs.collect()
}

#[tokio::test]
async fn a_request_goes_and_its_answer_comes_whole_with_trailers_both_ways() {
    let (tell, mut told) = mpsc::channel(1);
    let origin = H2c::new(100, move |_, mut request, mut respond| {
        let tell = tell.clone();
        async move {
            let (body, trailers) = read(request.body_mut()).await.unwrap();
            let (parts, _) = request.into_parts();
            tell.try_send((parts, body, trailers)).unwrap();
            let mut stream = respond.send_response(head(200), false).unwrap();
            stream.send_data("hel".into(), false).unwrap();
            stream.send_data("lo".into(), false).unwrap();
            let trailers = fields(&[("grpc-status", "0"), ("early-data", "1")]);
            stream.send_trailers(trailers).unwrap();
        }
    })
    .await;
    let worker = Worker::new();
    let frames = [
        Ok::<_, crate::body::BoxError>(Frame::data(Bytes::from("some"))),
        Ok(Frame::data(Bytes::from("thing"))),
        Ok(Frame::trailers(fields(&[("x-sum", "9"), ("host", "no")]))),
    ];
    let body = Body::new(http_body_util::StreamBody::new(iter(frames)));
    let request = Request::post("/a?b=c")
        .header("te", "trailers")
        .header("connection", "x-hop, te")
        .header("x-hop", "1")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(body)
        .unwrap();
    let forwarded = worker.send(forward(&origin.spec(), request)).await.unwrap();
    assert_eq!(forwarded.address, Some(origin.address.into()));
    assert_eq!(forwarded.response.status(), 200);
    let collected = forwarded.response.into_body().collect().await.unwrap();
    assert_eq!(
        collected.trailers().cloned(),
        Some(fields(&[("grpc-status", "0")]))
    );
    assert_eq!(collected.to_bytes(), "hello");

    let (parts, body, trailers) = told.recv().await.unwrap();
    assert_eq!(body, b"something");
    assert_eq!(trailers, Some(fields(&[("x-sum", "9")])));
    assert_eq!(parts.method, "POST");
    // RFC 9113 §8.3.1: the scheme is that of this hop.
    assert_eq!(parts.uri, "http://site.example/a?b=c");
    let field = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap());
    assert_eq!(field("te"), Some("trailers"));
    assert_eq!(field("cookie"), Some("a=1; b=2"));
    assert_eq!(field("x-forwarded-proto"), Some("https"));
    assert_eq!(field("x-forwarded-host"), Some("site.example"));
    for gone in [
        "connection",
        "host",
        "transfer-encoding",
        "x-hop",
        "early-data",
    ] {
        assert_eq!(field(gone), None, "{gone}");
    }
}

/// A stream of what is there.
fn iter<T: Unpin>(items: impl IntoIterator<Item = T>) -> impl futures_core::Stream<Item = T> {
    struct Iter<I>(I);
    impl<I: Iterator + Unpin> futures_core::Stream for Iter<I> {
        type Item = I::Item;
        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<I::Item>> {
            std::task::Poll::Ready(self.0.next())
        }
    }
    Iter(items.into_iter().collect::<Vec<_>>().into_iter())
}

#[tokio::test]
async fn requests_share_one_connection_up_to_what_the_origin_allows() {
    let go = Arc::new(Notify::new());
    let seen = Arc::new(std::sync::Mutex::new(HashMap::<usize, usize>::new()));
    let (waits, counts) = (Arc::clone(&go), Arc::clone(&seen));
    let all = watch::Sender::new(0);
    let mut arrived = all.subscribe();
    let origin = H2c::new(10, move |connection, _, respond| {
        let (waits, counts, all) = (Arc::clone(&waits), Arc::clone(&counts), all.clone());
        async move {
            *counts.lock().unwrap().entry(connection).or_default() += 1;
            let go = waits.notified();
            all.send_modify(|count| *count += 1);
            go.await;
            hello(respond);
        }
    })
    .await;
    let worker = Worker::new();
    let spec = origin.spec();
    // What the origin allows is known once its SETTINGS are here.
    let first = tokio::spawn(ask(&worker, &spec));
    arrived.wait_for(|count| *count == 1).await.unwrap();
    let others: Vec<_> = (0..24).map(|_| tokio::spawn(ask(&worker, &spec))).collect();
    arrived.wait_for(|count| *count == 25).await.unwrap();
    go.notify_waiters();
    for task in others.into_iter().chain([first]) {
        assert_eq!(task.await.unwrap(), (200, "hello".to_owned()));
    }
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert!(seen.values().all(|count| *count <= 10), "{seen:?}");
    let connections = &worker.metrics.origins.connections;
    assert_eq!(connections.get(OriginConnection::Opened), 3);
    assert_eq!(connections.get(OriginConnection::Reused), 22);
    // At rest there are places enough for the next ones.
    assert_eq!(origin.accepted(), 3);
}

fn ask(
    worker: &Worker,
    spec: &Arc<OriginSpec>,
) -> impl Future<Output = (u16, String)> + Send + 'static {
    let (origins, forward) = (Arc::clone(&worker.origins), get(spec));
    async move { whole(origins.forward(forward).await.unwrap()).await }
}

#[tokio::test]
async fn who_comes_late_to_the_connection_it_began_goes_over_no_full_one() {
    let go = Arc::new(Notify::new());
    let waits = Arc::clone(&go);
    let (tell, mut arrived) = mpsc::channel(4);
    let origin = H2c::new(1, move |_, _, respond| {
        let (waits, tell) = (Arc::clone(&waits), tell.clone());
        async move {
            let go = waits.notified();
            tell.send(()).await.unwrap();
            go.await;
            hello(respond);
        }
    })
    .await;
    let worker = Worker::new();
    let spec = origin.spec();
    let mut leads = Box::pin(ask(&worker, &spec));
    // It begins to connect, and is not polled for a while then.
    let once = |cx: &mut Context<'_>| Poll::Ready(leads.as_mut().poll(cx).is_pending());
    assert!(std::future::poll_fn(once).await);
    let follows = tokio::spawn(ask(&worker, &spec));
    arrived.recv().await.unwrap();
    let leads = tokio::spawn(leads);
    arrived.recv().await.unwrap();
    assert_eq!(origin.accepted(), 2);
    go.notify_waiters();
    for task in [leads, follows] {
        assert_eq!(task.await.unwrap().0, 200);
    }
}

#[tokio::test]
async fn connections_that_idled_long_are_closed() {
    let origin = H2c::new(100, |_, _, respond| async move { hello(respond) }).await;
    let worker = Worker::new();
    assert_eq!(worker.fetch(get(&origin.spec())).await.0, 200);
    assert_eq!(*origin.open.borrow(), 1);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(62)).await;
    settle().await;
    worker.origins.sweep();
    tokio::time::resume();
    origin.until_open(0).await;
}

#[tokio::test]
async fn what_may_not_be_repeated_goes_over_no_connection_that_idled_long() {
    let origin = H2c::new(100, |_, _, respond| async move { hello(respond) }).await;
    let worker = Worker::new();
    let spec = origin.spec();
    let post = || post(&spec, "x");
    assert_eq!(worker.fetch(post()).await.0, 200);
    assert_eq!(worker.fetch(post()).await.0, 200);
    assert_eq!(origin.accepted(), 1);
    tokio::time::pause();
    worker.until(4).await;
    tokio::time::resume();
    // A GET would be sent again if the connection has ended meanwhile; and it shows that it has not.
    assert_eq!(worker.fetch(get(&spec)).await.0, 200);
    assert_eq!(worker.fetch(post()).await.0, 200);
    assert_eq!(origin.accepted(), 1);
    tokio::time::pause();
    worker.until(4).await;
    tokio::time::resume();
    assert_eq!(worker.fetch(post()).await.0, 200);
    assert_eq!(origin.accepted(), 2);
}

#[tokio::test]
async fn a_reader_that_stops_stops_its_own_stream_alone() {
    const LARGE: usize = 8_000_000;
    let sent = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&sent);
    let origin = H2c::new(100, move |_, request, mut respond| {
        let counts = Arc::clone(&counts);
        async move {
            if request.uri().path() != "/large" {
                return hello(respond);
            }
            let mut stream = respond.send_response(head(200), false).unwrap();
            let mut left = LARGE;
            while left > 0 {
                stream.reserve_capacity(left.min(16_384));
                let capacity = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
                let Some(Ok(count)) = capacity else { return };
                left -= count;
                counts.fetch_add(count, Ordering::SeqCst);
                stream.send_data(vec![7; count].into(), left == 0).unwrap();
            }
        }
    })
    .await;
    let worker = Worker::new();
    let spec = origin.spec();
    let large = || forward(&spec, Request::get("/large").body(Body::empty()).unwrap());
    let mut stopped = Vec::new();
    for _ in 0..20 {
        stopped.push(worker.send(large()).await.unwrap());
    }
    for _ in 0..50 {
        assert_eq!(worker.fetch(get(&spec)).await.0, 200);
    }
    assert_eq!(origin.accepted(), 1);
    let held = sent.load(Ordering::SeqCst);
    assert!(
        held <= 20 * 200_000,
        "{held} bytes for those who do not read"
    );
    // They go on where they stopped.
    let last = stopped.pop().unwrap();
    let body = last.response.into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes().len(), LARGE);
}

#[tokio::test]
async fn an_answer_before_the_requests_end_is_passed_on() {
    let origin = H2c::new(100, |_, _, mut respond| async move {
        let mut stream = respond.send_response(head(413), false).unwrap();
        // h2 resets the stream with NO_ERROR when the request is dropped here.
        stream.send_data("too large".into(), true).unwrap();
    })
    .await;
    let worker = Worker::new();
    let (feed, body) = fed();
    feed.try_send(Ok(Bytes::from("begins"))).unwrap();
    let answer = worker.fetch(post(&origin.spec(), body)).await;
    assert_eq!(answer, (413, "too large".to_owned()));
    // The connection serves on.
    assert_eq!(worker.fetch(get(&origin.spec())).await.0, 413);
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn bidirectional_streams_flow_while_both_are_open() {
    let origin = H2c::new(100, |_, mut request, mut respond| async move {
        let mut stream = respond.send_response(head(200), false).unwrap();
        while let Some(Ok(data)) = request.body_mut().data().await {
            let _ = request
                .body_mut()
                .flow_control()
                .release_capacity(data.len());
            stream.send_data(data, false).unwrap();
        }
        stream
            .send_trailers(fields(&[("grpc-status", "0")]))
            .unwrap();
    })
    .await;
    let worker = Worker::new();
    let (feed, body) = fed();
    let forwarded = worker.send(post(&origin.spec(), body)).await.unwrap();
    let mut body = forwarded.response.into_body();
    for word in ["one", "two", "three"] {
        feed.try_send(Ok(Bytes::from(word))).unwrap();
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), word);
    }
    drop(feed);
    let last = body.frame().await.unwrap().unwrap();
    assert_eq!(
        last.into_trailers().unwrap(),
        fields(&[("grpc-status", "0")])
    );
}

#[tokio::test]
async fn who_leaves_resets_his_stream_alone() {
    let (tell, mut told) = mpsc::channel(4);
    let origin = H2c::new(100, move |_, request, mut respond| {
        let tell = tell.clone();
        async move {
            if request.uri().path() == "/" {
                return hello(respond);
            }
            tell.try_send(None).unwrap();
            let reset = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            tell.try_send(Some(reset.unwrap())).unwrap();
        }
    })
    .await;
    let worker = Worker::new();
    let spec = origin.spec();
    let request = Request::get("/waits").body(Body::empty()).unwrap();
    let (origins, waits) = (Arc::clone(&worker.origins), forward(&spec, request));
    let task = tokio::spawn(async move { origins.forward(waits).await.map(drop) });
    assert_eq!(told.recv().await.unwrap(), None);
    task.abort();
    assert_eq!(told.recv().await.unwrap(), Some(Reason::CANCEL));
    assert_eq!(worker.fetch(get(&spec)).await.0, 200);
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn a_425_to_an_early_request_is_repeated_on_the_same_connection() {
    let origin = H2c::new(100, |_, request, mut respond| async move {
        match request.headers().contains_key("early-data") {
            true => drop(respond.send_response(head(425), true)),
            false => hello(respond),
        }
    })
    .await;
    let worker = Worker::new();
    let (forward, settler) = early(get(&origin.spec()));
    settler.confirm();
    assert_eq!(worker.fetch(forward).await, (200, "hello".to_owned()));
    assert_eq!(worker.metrics.origins.too_early.get(), 1);
    assert_eq!(origin.accepted(), 1);
}
