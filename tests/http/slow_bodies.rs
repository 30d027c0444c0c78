//! Large bodies cost bounded memory, however slow who takes them is.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use h2::server::SendResponse;
use http::{Method, Request, Response};
use rustix::process::{Resource, getrlimit, setrlimit};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::http::stand::{NAME, Stand, get, route};
use crate::support::client::Client;
use crate::support::within;

/// Clients at once.
const CLIENTS: usize = 1000;

/// The body of each answer and each upload.
const BODY: usize = 10_000_000;

/// What one of them may cost: a write buffer (two pieces), what hyper holds of an answer (two or
/// three), what an origin's link has read (two), and what the allocator rounds up. Seen: 370 KB.
const EACH: usize = 440 * 1024;

/// The window of a stream of an origin over HTTP/2: what has come of it waits in memory, where
/// HTTP/1.1 leaves it in the socket.
const WINDOW: usize = 128 * 1024;

/// An origin of large answers, which counts what it got rid of.
struct Large {
    url: String,
    moved: Arc<AtomicUsize>,
}

impl Large {
    async fn start(scheme: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let http2 = scheme == "h2c";
        let moved = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&moved);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let counter = Arc::clone(&counter);
                tokio::spawn(async move {
                    match http2 {
                        false => serve(socket, counter).await,
                        true => serve_http2(socket, counter).await,
                    }
                });
            }
        });
        Self { url, moved }
    }

    /// Waits until nothing has moved for a second: all that can be taken is taken.
    async fn until_stuck(&self) {
        let mut before = 0;
        let mut quiet = 0;
        while quiet < 10 {
            #[expect(
                clippy::disallowed_methods,
                reason = "two programs, and nothing tells that a byte will not come"
            )]
            let pause = tokio::time::sleep(Duration::from_millis(100));
            pause.await;
            let now = self.moved.load(Ordering::Relaxed);
            quiet = if now == before { quiet + 1 } else { 0 };
            before = now;
        }
    }
}

/// Answers a GET with a large body; never reads the body of anything else.
async fn serve(mut socket: TcpStream, moved: Arc<AtomicUsize>) {
    // The kernel has a bound of its own for what all sockets hold.
    SockRef::from(&socket)
        .set_send_buffer_size(64 * 1024)
        .unwrap();
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match socket.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        moved.fetch_add(1, Ordering::Relaxed);
        if !head.starts_with(b"GET") {
            std::future::pending::<()>().await;
        }
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {BODY}\r\n\r\n");
        if socket.write_all(head.as_bytes()).await.is_err() {
            return;
        }
        let piece = [7; 50_000];
        for _ in 0..BODY / piece.len() {
            if socket.write_all(&piece).await.is_err() {
                return;
            }
            moved.fetch_add(piece.len(), Ordering::Relaxed);
        }
    }
}

/// The same over HTTP/2, each stream on its own.
async fn serve_http2(socket: TcpStream, moved: Arc<AtomicUsize>) {
    SockRef::from(&socket)
        .set_send_buffer_size(64 * 1024)
        .unwrap();
    let mut builder = h2::server::Builder::new();
    // What h2 itself would hold of an answer is of this program.
    builder.max_send_buffer_size(64 * 1024);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(socket).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(answer(request, respond, Arc::clone(&moved)));
    }
}

async fn answer<B>(
    request: Request<B>,
    mut respond: SendResponse<Bytes>,
    moved: Arc<AtomicUsize>,
) -> Option<()> {
    moved.fetch_add(1, Ordering::Relaxed);
    if request.method() != Method::GET {
        // Its body is neither read nor given up.
        std::future::pending::<()>().await;
    }
    let head = Response::builder().header("content-length", BODY);
    let head = head.body(()).unwrap();
    let mut stream: SendStream<Bytes> = respond.send_response(head, false).ok()?;
    let mut left = BODY;
    while left > 0 {
        stream.reserve_capacity(left.min(50_000));
        let room = poll_fn(|cx| stream.poll_capacity(cx)).await?.ok()?;
        let piece = room.min(left);
        left -= piece;
        stream
            .send_data(Bytes::from(vec![7; piece]), left == 0)
            .ok()?;
        moved.fetch_add(piece, Ordering::Relaxed);
    }
    Some(())
}

/// A thousand clients, their origin's side and the edge's two take more than many shells allow.
fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

async fn clients(stand: &Stand, count: usize, request: &[u8]) -> Vec<Client> {
    let setup = stand.setup1();
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = Client::open(stand.edge.address(), NAME, &setup).await;
        client.send(request).await;
        clients.push(client);
    }
    clients
}

async fn stand(scheme: &str) -> (Large, Stand) {
    raise_descriptors();
    let origin = Large::start(scheme).await;
    let keys = format!(
        "origin = [{:?}]\ntimeouts = {{ write_idle = \"off\", response_headers = \"300s\" }}",
        origin.url
    );
    let stand = Stand::start(&route("/", &keys)).await;
    (origin, stand)
}

/// What one of them may have under way altogether, in the kernel's buffers too, of which the
/// origin's connection has most. Seen: 1.5 to 1.6 MB; 2 MB more without `TCP_NOTSENT_LOWAT`.
const UNDER_WAY: usize = 1_800_000;

/// Memory grows by at most `bound` for each of a thousand clients that do `request`, and another one
/// gets its answer.
async fn costs_little(origin: &Large, stand: &Stand, request: &[u8], bound: usize) {
    // What the first ones cost is the worker's.
    let warm = clients(stand, 20, request).await;
    origin.until_stuck().await;
    let before = stand.edge.memory();
    let moved = origin.moved.load(Ordering::Relaxed);
    let slow = clients(stand, CLIENTS, request).await;
    origin.until_stuck().await;
    let each = stand.edge.memory().saturating_sub(before) / slow.len();
    assert!(each <= bound, "{each} bytes for each client");
    let moved = (origin.moved.load(Ordering::Relaxed) - moved) / slow.len();
    assert!(moved <= UNDER_WAY, "{moved} bytes of each answer");
    let mut quick = stand.http1().await;
    quick.send(get("/").as_bytes()).await;
    let answer = within("the quick client's answer", quick.response()).await;
    assert_eq!((answer.status, answer.body.len()), (200, BODY));
    drop((warm, slow));
}

async fn cost_little_both_ways(scheme: &str, bound: usize) {
    let (origin, stand) = stand(scheme).await;
    costs_little(&origin, &stand, get("/").as_bytes(), bound).await;
    // Another edge: what the first one has once had it may use again.
    let (origin, stand) = self::stand(scheme).await;
    // As much as may be under way: sending more would wait for ever.
    let head = format!("POST / HTTP/1.1\r\nhost: {NAME}\r\ncontent-length: {BODY}\r\n\r\n");
    let request = [head.as_bytes(), &[7; 200_000]].concat();
    costs_little(&origin, &stand, &request, bound).await;
}

#[tokio::test]
async fn a_thousand_slow_clients_cost_bounded_memory_whichever_way_their_bodies_go() {
    cost_little_both_ways("http", EACH).await;
}

/// The windows of its connections have room for all their streams, and a thousand streams are at
/// most what their own windows let in.
#[tokio::test]
async fn they_cost_no_more_before_an_origin_over_http2() {
    cost_little_both_ways("h2c", EACH + WINDOW).await;
}
