//! An HTTP/2 client over the test client: the `h2` crate speaks to a task that owns the TLS side.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Method, Request, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::client::Client;
use super::within;

/// What may be under way between h2 and TLS.
const ROOM: usize = 1 << 20;

/// An HTTP/2 connection.
pub struct H2 {
    /// For what has no call here: bodies in pieces, trailers, resets.
    pub send: SendRequest<Bytes>,
    released: watch::Sender<bool>,
    driver: JoinHandle<Client>,
    answers: VecDeque<ResponseFuture>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// A request: `request("POST", "https://example.com/x", "body")`.
pub fn request(method: &str, uri: &str, body: impl Into<Bytes>) -> Request<Bytes> {
    let method: Method = method.parse().unwrap();
    let request = Request::builder().method(method).uri(uri);
    request.body(body.into()).unwrap()
}

impl H2 {
    /// Speaks HTTP/2 on a client whose handshake is done.
    pub async fn start(client: Client) -> Self {
        Self::begin(client, Vec::new(), false).await
    }

    /// Sends the preface and these requests as early data in one first flight; take the answers
    /// with [`H2::next`]. After [`Client::hold_finished`] the Finished waits for
    /// [`H2::finish`].
    pub async fn start_early(client: Client, requests: Vec<Request<Bytes>>) -> Self {
        Self::begin(client, requests, true).await
    }

    async fn begin(mut client: Client, requests: Vec<Request<Bytes>>, early: bool) -> Self {
        let (ours, mut theirs) = duplex(ROOM);
        let handshake = h2::client::handshake(ours);
        let (mut send, mut connection) = within("preface", handshake).await.unwrap();
        let answers: VecDeque<_> = requests
            .into_iter()
            .map(|request| queue(&mut send, request))
            .collect();
        if early {
            // One poll writes every queued frame, so the whole flight is known before it is sent.
            let once = |cx: &mut std::task::Context<'_>| {
                let poll = Pin::new(&mut connection).poll(cx);
                assert!(poll.is_pending(), "h2 ended at once: {poll:?}");
                Poll::Ready(())
            };
            poll_fn(once).await;
            for record in written(&mut theirs).await.chunks(16_384) {
                client.early(record);
            }
            client.send_pending().await;
        }
        tokio::spawn(async move {
            // How it ends is seen by the requests.
            let _ = connection.await;
        });
        let (released, watch) = watch::channel(false);
        Self {
            send,
            released,
            driver: tokio::spawn(drive(client, theirs, watch)),
            answers,
        }
    }

    /// The next answer to the requests given to [`H2::start_early`] or [`H2::begin_request`].
    ///
    /// # Errors
    /// The stream or the connection ended before.
    pub async fn next(&mut self) -> Result<Answer, h2::Error> {
        let answer = self.answers.pop_front().expect("a request under way");
        within("an answer", whole(answer)).await
    }

    /// Whether nothing of the next answer comes in this time. If it does, it is lost.
    pub async fn silent_for(&mut self, time: Duration) -> bool {
        let answer = self.answers.front_mut().expect("a request under way");
        tokio::time::timeout(time, answer).await.is_err()
    }

    /// Sends a request; its answer is taken with [`H2::next`].
    pub async fn begin_request(&mut self, request: Request<Bytes>) {
        let ready = self.send.clone().ready();
        self.send = within("a free stream", ready).await.unwrap();
        let answer = queue(&mut self.send, request);
        self.answers.push_back(answer);
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// The stream or the connection ended before.
    pub async fn fetch(&mut self, request: Request<Bytes>) -> Result<Answer, h2::Error> {
        let ready = self.send.clone().ready();
        self.send = within("a free stream", ready).await?;
        let answer = queue(&mut self.send, request);
        within("an answer", whole(answer)).await
    }

    /// Lets the Finished go that was held.
    pub fn finish(&self) {
        self.released.send_replace(true);
    }

    /// Ends HTTP/2 with a GOAWAY and TLS with close_notify; the client, to look at its end.
    pub async fn close(self) -> Client {
        drop(self.send);
        drop(self.answers);
        within("the end of h2", self.driver).await.unwrap()
    }

    /// Waits for the server to end the connection; the client, to look at its end.
    pub async fn ended(self) -> Client {
        within("the server's end", self.driver).await.unwrap()
    }
}

fn queue(send: &mut SendRequest<Bytes>, request: Request<Bytes>) -> ResponseFuture {
    let (parts, body) = request.into_parts();
    let request = Request::from_parts(parts, ());
    let (answer, mut stream) = send.send_request(request, body.is_empty()).unwrap();
    if !body.is_empty() {
        stream.send_data(body, true).unwrap();
    }
    answer
}

/// Waits for the rest of an answer.
///
/// # Errors
/// The stream or the connection ended before.
pub async fn whole(answer: ResponseFuture) -> Result<Answer, h2::Error> {
    let (head, mut stream) = answer.await?.into_parts();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body: body.into(),
        trailers: stream.trailers().await?,
    })
}

/// What has been written to the other half so far.
async fn written(half: &mut DuplexStream) -> Vec<u8> {
    let mut all = vec![0; ROOM];
    let count = poll_fn(|cx| {
        let mut buffer = ReadBuf::new(&mut all);
        let _ = tokio::io::AsyncRead::poll_read(Pin::new(half), cx, &mut buffer);
        Poll::Ready(buffer.filled().len())
    })
    .await;
    all.truncate(count);
    all
}

/// Carries bytes between h2 and the client until one of them has ended.
async fn drive(
    mut client: Client,
    mut half: DuplexStream,
    mut released: watch::Receiver<bool>,
) -> Client {
    let mut buffer = vec![0; 16 * 1024];
    let mut open = true;
    while !client.ended() {
        tokio::select! {
            Ok(()) = released.changed() => client.release(),
            read = half.read(&mut buffer), if open => match read {
                Ok(count @ 1..) => client.queue(&buffer[..count]),
                _ => {
                    open = false;
                    client.close_notify().await;
                }
            },
            () = client.readable() => client.read_now(),
        }
        let refused = client.refused_early();
        if !refused.is_empty() {
            client.queue(&refused);
        }
        client.flush_unless_held().await;
        let plain = client.take_plain();
        if open && !plain.is_empty() {
            // If h2 has ended, the next read says so and close_notify follows.
            let _ = half.write_all(&plain).await;
        }
    }
    let _ = half.shutdown().await;
    client
}
