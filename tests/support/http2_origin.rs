//! An HTTP/2 origin, in the clear or over TLS, each of whose streams does as it is told.

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::BOUND;
use super::origin::When;
use super::pki::Leaf;
use super::secure::acceptor;

/// A running origin; it and its connections end when this is dropped.
pub struct Http2Origin {
    address: SocketAddr,
    tls: bool,
    state: Arc<State>,
    task: JoinHandle<()>,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The number of the connection, from 0.
    pub connection: usize,
    pub method: Method,
    /// Path and query.
    pub target: String,
    pub fields: HeaderMap,
    /// What came of the body.
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

impl Asked {
    /// The only value of a field. Panics if there are several.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.get_all(name).iter();
        let value = values.next().map(|value| value.to_str().unwrap());
        assert!(values.next().is_none(), "several {name}");
        value
    }
}

/// What a stream does: steps, in order. A head that was sent ends with END_STREAM, unless a step
/// ends the stream otherwise.
#[derive(Debug, Clone, Default)]
pub struct Play {
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    Held,
    Head(u16, HeaderMap),
    Data(Bytes),
    Trailers(HeaderMap),
    Reset(Reason),
    Silence,
    Close,
}

/// Fields, in order; a name may come several times.
pub fn fields(fields: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        map.append(name, value.parse().unwrap());
    }
    map
}

impl Play {
    /// 200 with this body.
    pub fn ok(body: impl Into<Bytes>) -> Self {
        Self::status(200, body)
    }

    /// This status and body.
    pub fn status(status: u16, body: impl Into<Bytes>) -> Self {
        Self::default().head(status, HeaderMap::new()).data(body)
    }

    /// Then waits for [`Http2Origin::release`].
    pub fn held(self) -> Self {
        self.then(Step::Held)
    }

    /// Then sends the head of an answer.
    pub fn head(self, status: u16, fields: HeaderMap) -> Self {
        self.then(Step::Head(status, fields))
    }

    /// Then sends this of the body.
    pub fn data(self, data: impl Into<Bytes>) -> Self {
        self.then(Step::Data(data.into()))
    }

    /// Then ends with trailers.
    pub fn trailers(self, trailers: HeaderMap) -> Self {
        self.then(Step::Trailers(trailers))
    }

    /// Then does what another one says.
    pub fn and(mut self, other: Self) -> Self {
        self.steps.extend(other.steps);
        self
    }

    /// Then resets the stream.
    pub fn then_reset(self, reason: Reason) -> Self {
        self.then(Step::Reset(reason))
    }

    /// Then does nothing until the edge resets the stream.
    pub fn then_silence(self) -> Self {
        self.then(Step::Silence)
    }

    /// Then closes the connection, with all its streams.
    pub fn then_close(self) -> Self {
        self.then(Step::Close)
    }

    fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

type Answer = dyn Fn(&Asked) -> Play + Send + Sync;

struct State {
    answer: Box<Answer>,
    when: When,
    seen: watch::Sender<Seen>,
    released: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Seen {
    connections: usize,
    /// Heads as they came, before any body.
    heads: Vec<Asked>,
    /// Requests as they ended, whole. With [`When::AfterHead`] after what was done about them.
    requests: Vec<Asked>,
    /// Targets of streams that the edge reset, and why; `None` if their connection ended.
    resets: Vec<(String, Option<Reason>)>,
}

impl Http2Origin {
    /// An origin in the clear that does with each request, once it is whole, what `answer` says.
    pub async fn start(answer: impl Fn(&Asked) -> Play + Send + Sync + 'static) -> Self {
        Self::run(None, When::AfterBody, answer).await
    }

    /// One that chooses what to do at this moment.
    pub async fn start_when(
        when: When,
        answer: impl Fn(&Asked) -> Play + Send + Sync + 'static,
    ) -> Self {
        Self::run(None, when, answer).await
    }

    /// The same over TLS with this certificate.
    pub async fn start_tls(
        leaf: &Leaf,
        answer: impl Fn(&Asked) -> Play + Send + Sync + 'static,
    ) -> Self {
        Self::start_tls_when(leaf, When::AfterBody, answer).await
    }

    /// The same over TLS, and one that chooses what to do at this moment.
    pub async fn start_tls_when(
        leaf: &Leaf,
        when: When,
        answer: impl Fn(&Asked) -> Play + Send + Sync + 'static,
    ) -> Self {
        let acceptor = acceptor(leaf, &["h2"], None);
        Self::run(Some(acceptor), when, answer).await
    }

    async fn run(
        acceptor: Option<TlsAcceptor>,
        when: When,
        answer: impl Fn(&Asked) -> Play + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            answer: Box::new(answer),
            when,
            seen: watch::Sender::default(),
            released: watch::Sender::default(),
        });
        let tls = acceptor.is_some();
        let task = tokio::spawn(accept(listener, acceptor, Arc::clone(&state)));
        Self {
            address,
            tls,
            state,
            task,
        }
    }

    /// Its URL, for a config.
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "h2c" };
        format!("{scheme}://{}", self.address)
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.state.seen.borrow().connections
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
        self.state.seen.borrow().requests.clone()
    }

    /// Waits until the edge has reset the stream of this target; why it did, or `None` if the
    /// whole connection ended.
    pub async fn until_reset(&self, target: &str) -> Option<Reason> {
        let is = |(reset, _): &&(String, Option<Reason>)| reset == target;
        self.until("reset", |seen| seen.resets.iter().any(|reset| is(&reset)))
            .await;
        let seen = self.state.seen.borrow();
        seen.resets.iter().find(is).unwrap().1
    }

    /// How many streams the edge has reset.
    pub fn resets(&self) -> usize {
        self.state.seen.borrow().resets.len()
    }

    /// Lets held streams go on, now and from now on.
    pub fn release(&self) {
        self.state.released.send_replace(true);
    }

    /// Undoes [`Http2Origin::release`].
    pub fn hold(&self) {
        self.state.released.send_replace(false);
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

impl Drop for Http2Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, state: Arc<State>) {
    let mut running = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let _ = socket.set_nodelay(true);
        let mut connection = 0;
        state.seen.send_modify(|seen| {
            connection = seen.connections;
            seen.connections += 1;
        });
        let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
        running.spawn(async move {
            match acceptor {
                None => serve(socket, state, connection).await,
                Some(acceptor) => tls(acceptor, socket, state, connection).await,
            }
        });
    }
}

async fn tls(acceptor: TlsAcceptor, socket: TcpStream, state: Arc<State>, connection: usize) {
    if let Ok(stream) = acceptor.accept(socket).await {
        serve(stream, state, connection).await;
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(socket: S, state: Arc<State>, connection: usize) {
    let Ok(mut http2) = h2::server::handshake(socket).await else {
        return;
    };
    let closes = Arc::new(Notify::new());
    let mut streams = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = http2.accept() => accepted,
            () = closes.notified() => return,
        };
        let Some(Ok((request, respond))) = accepted else {
            // Each stream learns it from h2, and notes it.
            while streams.join_next().await.is_some() {}
            return;
        };
        let stream = Stream {
            respond,
            sends: None,
            state: Arc::clone(&state),
            closes: Arc::clone(&closes),
        };
        streams.spawn(stream.run(request, connection));
    }
}

struct Stream {
    respond: SendResponse<Bytes>,
    /// Where the rest of the answer goes, once its head is sent.
    sends: Option<SendStream<Bytes>>,
    state: Arc<State>,
    closes: Arc<Notify>,
}

impl Stream {
    async fn run(mut self, request: Request<RecvStream>, connection: usize) {
        let (parts, body) = request.into_parts();
        let target = parts.uri.path_and_query().unwrap().to_string();
        let mut asked = Asked {
            connection,
            method: parts.method,
            target: target.clone(),
            fields: parts.headers,
            body: Vec::new(),
            trailers: None,
        };
        let seen = &self.state.seen;
        seen.send_modify(|seen| seen.heads.push(asked.clone()));
        let mut body = Some(body);
        if self.state.when == When::AfterBody && !self.finish(body.take(), &mut asked).await {
            return;
        }
        let play = (self.state.answer)(&asked);
        for step in play.steps {
            if let Some(reset) = self.step(step).await {
                let seen = &self.state.seen;
                seen.send_modify(|seen| seen.resets.push((target, reset)));
                return;
            }
        }
        if self.state.when == When::AfterHead && !self.finish(body, &mut asked).await {
            return;
        }
        if let Some(mut sends) = self.sends {
            let _ = sends.send_data(Bytes::new(), true);
        }
    }

    /// Reads the body and notes the request; whether it came whole.
    async fn finish(&self, body: Option<RecvStream>, asked: &mut Asked) -> bool {
        let read = match body {
            Some(body) => read(body, asked).await,
            None => Ok(()),
        };
        self.state.seen.send_modify(|seen| match &read {
            Ok(()) => seen.requests.push(asked.clone()),
            Err(error) => seen.resets.push((asked.target.clone(), error.reason())),
        });
        read.is_ok()
    }

    /// Does one step. With the reason, if the edge resets the stream meanwhile.
    async fn step(&mut self, step: Step) -> Option<Option<Reason>> {
        match step {
            Step::Held => {
                let mut released = self.state.released.subscribe();
                tokio::select! {
                    _ = released.wait_for(|open| *open) => {}
                    reason = self.reset() => return Some(reason),
                }
            }
            Step::Silence => return Some(self.reset().await),
            Step::Head(status, fields) => {
                let mut head = Response::new(());
                *head.status_mut() = status.try_into().unwrap();
                *head.headers_mut() = fields;
                self.sends = self.respond.send_response(head, false).ok();
            }
            Step::Data(data) => {
                if let Some(sends) = &mut self.sends {
                    let _ = sends.send_data(data, false);
                }
            }
            Step::Trailers(trailers) => {
                if let Some(mut sends) = self.sends.take() {
                    let _ = sends.send_trailers(trailers);
                }
            }
            Step::Reset(reason) => {
                // A reset takes back what has not been written; the connection's task writes it.
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                match self.sends.take() {
                    Some(mut sends) => sends.send_reset(reason),
                    None => self.respond.send_reset(reason),
                }
            }
            Step::Close => self.closes.notify_one(),
        }
        None
    }

    /// Waits until the edge resets the stream.
    async fn reset(&mut self) -> Option<Reason> {
        let reset = poll_fn(|cx| match &mut self.sends {
            Some(sends) => sends.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        });
        reset.await.ok()
    }
}

async fn read(mut body: RecvStream, asked: &mut Asked) -> Result<(), h2::Error> {
    while let Some(data) = body.data().await {
        let data = data?;
        let _ = body.flow_control().release_capacity(data.len());
        asked.body.extend_from_slice(&data);
    }
    asked.trailers = body.trailers().await?;
    Ok(())
}
