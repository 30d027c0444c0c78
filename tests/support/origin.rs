//! An HTTP/1.1 origin, in the clear or over TLS, that does as it is told, and remembers what it was
//! asked.

mod wire;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use self::wire::Wire;
use super::BOUND;
use super::pki::Leaf;
use super::secure::acceptor;

/// A running origin; it and its connections end when this is dropped.
pub struct Origin {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The number of the connection, from 0.
    pub connection: usize,
    /// The number of the request on it, from 0: above 0 it is a reused one.
    pub nth: usize,
    /// The head, byte for byte, with its empty line.
    pub head: String,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// The trailer section of a chunked body.
    pub trailers: String,
    /// The body ended before its framing said so.
    pub cut_short: bool,
}

impl Asked {
    /// The method.
    pub fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    /// The request target.
    pub fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// All values of a field, in order.
    pub fn fields(&self, name: &str) -> Vec<&str> {
        let lines = self.head.split("\r\n").skip(1);
        let fields = lines.filter_map(|line| line.split_once(':'));
        fields
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }

    /// The only value of a field. Panics if there are several.
    pub fn field(&self, name: &str) -> Option<&str> {
        let fields = self.fields(name);
        assert!(fields.len() < 2, "several {name}: {fields:?}");
        fields.first().copied()
    }
}

/// What the origin does with a request: steps, in order. Unless the last closes, the connection
/// stays open for another request.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    Send(Vec<u8>),
    Wait(Duration),
    Held,
    Close,
    Cut,
    Reset,
    Silence,
}

impl Reply {
    /// 200 with this body.
    pub fn ok(body: impl AsRef<[u8]>) -> Self {
        Self::status(200, body)
    }

    /// This status and body.
    pub fn status(status: u16, body: impl AsRef<[u8]>) -> Self {
        Self::full(status, &[], body)
    }

    /// 425 Too Early.
    pub fn too_early() -> Self {
        Self::status(425, "too early")
    }

    /// Status, fields and a body with its Content-Length.
    pub fn full(status: u16, fields: &[(&str, &str)], body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let mut head = format!(
            "HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n",
            body.len()
        );
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        Self::raw([head.as_bytes(), body].concat())
    }

    /// 200 with a chunked body of these chunks and a trailer section.
    pub fn chunked(chunks: &[&[u8]], trailers: &[(&str, &str)]) -> Self {
        let mut bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for chunk in chunks {
            bytes.extend(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\n");
        for (name, value) in trailers {
            bytes.extend(format!("{name}: {value}\r\n").as_bytes());
        }
        bytes.extend(b"\r\n");
        Self::raw(bytes)
    }

    /// These bytes as they are.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self::default().send(bytes)
    }

    /// Closes before any byte of an answer.
    pub fn close() -> Self {
        Self::default().then_close()
    }

    /// Never answers and never closes.
    pub fn silence() -> Self {
        Self::default().then_silence()
    }

    /// Then sends these bytes.
    pub fn send(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.steps.push(Step::Send(bytes.into()));
        self
    }

    /// Then waits.
    pub fn wait(mut self, time: Duration) -> Self {
        self.steps.push(Step::Wait(time));
        self
    }

    /// Then waits for [`Origin::release`]. To hold a reply from its start:
    /// `Reply::default().held().and(Reply::ok(…))`.
    pub fn held(mut self) -> Self {
        self.steps.push(Step::Held);
        self
    }

    /// Then does what another reply says.
    pub fn and(mut self, other: Self) -> Self {
        self.steps.extend(other.steps);
        self
    }

    /// Then closes.
    pub fn then_close(mut self) -> Self {
        self.steps.push(Step::Close);
        self
    }

    /// Then closes the socket, without TLS's close_notify.
    pub fn then_cut(mut self) -> Self {
        self.steps.push(Step::Cut);
        self
    }

    /// Then resets.
    pub fn then_reset(mut self) -> Self {
        self.steps.push(Step::Reset);
        self
    }

    /// Then does nothing for ever, the connection open.
    pub fn then_silence(mut self) -> Self {
        self.steps.push(Step::Silence);
        self
    }
}

/// When the reply is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// After the whole body.
    AfterBody,
    /// After the head. The body is read when the reply is done.
    AfterHead,
}

type Answer = dyn Fn(&Asked) -> Reply + Send + Sync;

struct State {
    answer: Box<Answer>,
    when: When,
    acceptor: Option<TlsAcceptor>,
    seen: watch::Sender<Seen>,
    released: watch::Sender<bool>,
    close: Notify,
}

#[derive(Debug, Default)]
struct Seen {
    connections: usize,
    open: usize,
    /// Heads as they came, before any body or reply.
    heads: Vec<Asked>,
    requests: Vec<Asked>,
}

impl Origin {
    /// An origin that answers each request, once it is whole, as `answer` says.
    pub async fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_when(When::AfterBody, answer).await
    }

    /// An origin that echoes: 200, with the request's head and body as the body.
    pub async fn echo() -> Self {
        Self::start(|asked| Reply::ok([asked.head.as_bytes(), &asked.body].concat())).await
    }

    /// An origin that chooses its reply at this moment.
    pub async fn start_when(
        when: When,
        answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::run(None, when, answer).await
    }

    /// The same over TLS with this certificate.
    pub async fn start_tls(
        leaf: &Leaf,
        when: When,
        answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let acceptor = acceptor(leaf, &["http/1.1"], None);
        Self::run(Some(acceptor), when, answer).await
    }

    async fn run(
        acceptor: Option<TlsAcceptor>,
        when: When,
        answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            answer: Box::new(answer),
            when,
            acceptor,
            seen: watch::Sender::default(),
            released: watch::Sender::default(),
            close: Notify::new(),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&state)));
        Self {
            address,
            state,
            task,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL, for a config.
    pub fn url(&self) -> String {
        let scheme = match self.state.acceptor {
            None => "http",
            Some(_) => "https",
        };
        format!("{scheme}://{}", self.address)
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.state.seen.borrow().connections
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.state.seen.borrow().open
    }

    /// Whole requests so far (and those cut short), in order of their ends.
    pub fn requests(&self) -> Vec<Asked> {
        self.state.seen.borrow().requests.clone()
    }

    /// Heads so far, in order: what came, whether or not its body did.
    pub fn heads(&self) -> Vec<Asked> {
        self.state.seen.borrow().heads.clone()
    }

    /// Waits until so many heads have come.
    pub async fn until_heads(&self, count: usize) -> Vec<Asked> {
        self.until("heads", |seen| seen.heads.len() >= count).await;
        self.heads()
    }

    /// Waits until so many requests have come whole.
    pub async fn until_requests(&self, count: usize) -> Vec<Asked> {
        let enough = |seen: &Seen| seen.requests.len() >= count;
        self.until("requests", enough).await;
        self.requests()
    }

    /// Waits until so many connections are open.
    pub async fn until_open(&self, count: usize) {
        self.until("open connections", |seen| seen.open == count)
            .await;
    }

    /// Lets held replies go on, now and from now on.
    pub fn release(&self) {
        self.state.released.send_replace(true);
    }

    /// Undoes [`Origin::release`].
    pub fn hold(&self) {
        self.state.released.send_replace(false);
    }

    /// Closes the connections that wait for a request: pooled ones, from the other side.
    pub fn close_idle(&self) {
        self.state.close.notify_waiters();
    }

    async fn until(&self, what: &str, enough: impl Fn(&Seen) -> bool) {
        let mut seen = self.state.seen.subscribe();
        let waited = tokio::time::timeout(BOUND, seen.wait_for(|seen| enough(seen))).await;
        if waited.is_err() {
            panic!(
                "no {what} within {BOUND:?}; {:#?}",
                self.state.seen.borrow()
            );
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut running = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let mut connection = 0;
        state.seen.send_modify(|seen| {
            connection = seen.connections;
            seen.connections += 1;
            seen.open += 1;
        });
        let state = Arc::clone(&state);
        running.spawn(async move {
            let _ = stream.set_nodelay(true);
            let wire = match &state.acceptor {
                None => Some(Wire::new(stream)),
                Some(acceptor) => acceptor.accept(stream).await.ok().map(Wire::new),
            };
            if let Some(wire) = wire {
                serve(wire, &state, connection).await;
            }
            state.seen.send_modify(|seen| seen.open -= 1);
        });
    }
}

async fn serve(mut wire: Wire, state: &State, connection: usize) {
    for nth in 0.. {
        let head = tokio::select! {
            head = wire.head() => head,
            () = state.close.notified() => return,
        };
        let Some(head) = head else { return };
        let mut asked = Asked {
            connection,
            nth,
            head,
            ..Asked::default()
        };
        state
            .seen
            .send_modify(|seen| seen.heads.push(asked.clone()));
        if state.when == When::AfterBody && !wire.finish(&mut asked, state).await {
            return;
        }
        let reply = (state.answer)(&asked);
        if !wire.play(reply, state).await {
            return;
        }
        if state.when == When::AfterHead && !wire.finish(&mut asked, state).await {
            return;
        }
    }
}
