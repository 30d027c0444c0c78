//! One connection of an origin.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::{Asked, Reply, State, Step};

/// What bytes go through.
pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin {
    fn tcp(&self) -> &TcpStream;
}

impl Socket for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Socket for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

pub struct Wire {
    stream: Box<dyn Socket>,
    /// Read and not used.
    bytes: Vec<u8>,
}

impl Wire {
    pub fn new(stream: impl Socket + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            bytes: Vec::new(),
        }
    }

    async fn more(&mut self) -> Option<()> {
        match self.stream.read_buf(&mut self.bytes).await {
            Ok(1..) => Some(()),
            _ => None,
        }
    }

    async fn through(&mut self, mark: &[u8]) -> Option<Vec<u8>> {
        loop {
            let mut windows = self.bytes.windows(mark.len());
            if let Some(at) = windows.position(|window| window == mark) {
                return Some(self.bytes.drain(..at + mark.len()).collect());
            }
            self.more().await?;
        }
    }

    pub async fn head(&mut self) -> Option<String> {
        let head = self.through(b"\r\n\r\n").await?;
        Some(String::from_utf8(head).expect("a head of text"))
    }

    /// Reads up to `count` bytes of body; whether all came.
    async fn some(&mut self, count: usize, body: &mut Vec<u8>) -> Option<()> {
        let mut left = count;
        while left > 0 {
            let here = self.bytes.len().min(left);
            body.extend(self.bytes.drain(..here));
            left -= here;
            if left > 0 {
                self.more().await?;
            }
        }
        Some(())
    }

    /// Reads the body and notes the request; whether the connection goes on.
    pub async fn finish(&mut self, asked: &mut Asked, state: &State) -> bool {
        asked.cut_short = self.body(asked).await.is_none();
        state
            .seen
            .send_modify(|seen| seen.requests.push(asked.clone()));
        !asked.cut_short
    }

    async fn body(&mut self, asked: &mut Asked) -> Option<()> {
        if let Some(length) = asked.field("content-length") {
            let length = length.parse().expect("a content-length");
            return self.some(length, &mut asked.body).await;
        }
        if asked.field("transfer-encoding").is_none() {
            return Some(());
        }
        loop {
            let line = self.through(b"\r\n").await?;
            let line = String::from_utf8(line).expect("a chunk size");
            let size = usize::from_str_radix(line.trim(), 16).expect("a chunk size");
            if size == 0 {
                break;
            }
            self.some(size, &mut asked.body).await?;
            assert_eq!(self.through(b"\r\n").await?, b"\r\n", "after a chunk");
        }
        loop {
            let line = self.through(b"\r\n").await?;
            if line == b"\r\n" {
                return Some(());
            }
            asked.trailers.push_str(&String::from_utf8_lossy(&line));
        }
    }

    /// Does what the reply says; whether the connection goes on.
    pub async fn play(&mut self, reply: Reply, state: &State) -> bool {
        for step in reply.steps {
            match step {
                Step::Send(bytes) => {
                    let sent = self.stream.write_all(&bytes).await;
                    if sent.is_err() || self.stream.flush().await.is_err() {
                        return false;
                    }
                }
                #[expect(clippy::disallowed_methods, reason = "a slow origin is what it plays")]
                Step::Wait(time) => tokio::time::sleep(time).await,
                Step::Held => {
                    let mut released = state.released.subscribe();
                    if released.wait_for(|open| *open).await.is_err() {
                        return false;
                    }
                }
                Step::Close => {
                    let _ = self.stream.shutdown().await;
                    return false;
                }
                // Over TLS without close_notify.
                Step::Cut => return false,
                Step::Reset => {
                    let _ = self.stream.tcp().set_zero_linger();
                    return false;
                }
                // Until the other side closes: then the connection counts as ended.
                Step::Silence => while self.more().await.is_some() {},
            }
        }
        true
    }
}
