//! Sending recorded bytes again, the way an attacker would.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// Sends bytes verbatim on a fresh connection and reads what comes back.
#[derive(Debug, Clone)]
#[must_use = "nothing is sent before send()"]
pub struct Replay {
    to: SocketAddr,
    limit: Duration,
    quiet: Option<Duration>,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Everything the server sent, byte for byte. [`Records`](super::Records) reads it.
    pub bytes: Vec<u8>,
    /// Why reading ended.
    pub ending: Ending,
    /// Connect to first byte; none came if this is `None`.
    pub first_byte: Option<Duration>,
    /// Connect to end.
    pub took: Duration,
}

/// Why a replay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The server closed.
    Closed,
    /// The server reset the connection.
    Reset,
    /// Bytes had come, then none for the time of [`Replay::quiet`].
    Quiet,
    /// The time of [`Replay::limit`] was over.
    Limit,
}

impl Replay {
    /// Begins a replay to this address.
    pub fn to(address: SocketAddr) -> Self {
        Self {
            to: address,
            limit: Duration::from_secs(5),
            quiet: None,
        }
    }

    /// The longest it may take, connect included. Default: 5 s.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Ends this long after the last byte, once any has come: a server that waits for a Finished
    /// which will never come is not waited for. Default: off, reads until close or limit.
    pub fn quiet(mut self, quiet: Duration) -> Self {
        self.quiet = Some(quiet);
        self
    }

    /// Sends `bytes` and reads until one of the [`Ending`]s. The sending side stays open.
    ///
    /// # Errors
    /// No connection within the limit. A reset later on is an [`Answer`].
    pub async fn send(&self, bytes: &[u8]) -> io::Result<Answer> {
        let start = Instant::now();
        let limit = start + self.limit;
        let mut stream = timeout_at(limit, TcpStream::connect(self.to)).await??;
        // One segment for one flight, as the client sent it.
        let _ = stream.set_nodelay(true);
        let (mut from, mut to) = stream.split();
        let mut answer = Answer {
            bytes: Vec::new(),
            ending: Ending::Limit,
            first_byte: None,
            took: Duration::ZERO,
        };
        let write = async {
            // A server may refuse before it has read all; its words are read all the same.
            let _ = to.write_all(bytes).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = write => {}
            () = self.read(&mut from, start, limit, &mut answer) => {}
        }
        answer.took = start.elapsed();
        Ok(answer)
    }

    async fn read(
        &self,
        from: &mut (impl AsyncReadExt + Unpin),
        start: Instant,
        limit: Instant,
        answer: &mut Answer,
    ) {
        let mut last = None;
        loop {
            let silence = self.quiet.zip(last).map(|(quiet, last)| last + quiet);
            let until = silence.map_or(limit, |silence: Instant| silence.min(limit));
            answer.ending = match timeout_at(until, from.read_buf(&mut answer.bytes)).await {
                Ok(Ok(0)) => Ending::Closed,
                Ok(Ok(_)) => {
                    answer.first_byte.get_or_insert_with(|| start.elapsed());
                    last = Some(Instant::now());
                    continue;
                }
                Ok(Err(_)) => Ending::Reset,
                Err(_) if until < limit => Ending::Quiet,
                Err(_) => Ending::Limit,
            };
            return;
        }
    }
}
