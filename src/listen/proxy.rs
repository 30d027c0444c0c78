//! Receiving a PROXY protocol header, and not a byte more than it.

use std::fmt;
use std::io;
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;
use tokio::net::TcpStream;

use crate::proxy_protocol::{Accepts, Found, HeaderError, Told, read};
use crate::telemetry::labels::ProxyHeaderError;

/// What is looked at in one step: more than any header without additions has.
const STEP: usize = 512;

/// Awaits the header of one connection.
///
/// Bytes are looked at before they are taken (`MSG_PEEK`), and taken are those of the header alone:
/// the ClientHello, which mostly comes in the same segment, stays in the socket for whoever reads it.
#[derive(Debug)]
pub struct Receiver {
    accepts: Accepts,
    taken: Vec<u8>,
}

/// Why there is no header.
#[derive(Debug)]
pub enum ReceiveError {
    /// What came is none, or not one that is taken.
    Header(HeaderError),
    /// The peer closed before it was whole.
    Closed,
    /// The socket failed.
    Io(io::Error),
}

impl ReceiveError {
    /// The word in metrics.
    pub fn label(&self) -> ProxyHeaderError {
        match self {
            Self::Header(HeaderError::Missing) => ProxyHeaderError::Missing,
            Self::Header(HeaderError::Version) => ProxyHeaderError::Version,
            Self::Header(HeaderError::Malformed) => ProxyHeaderError::Malformed,
            Self::Header(HeaderError::TooLarge) => ProxyHeaderError::TooLarge,
            Self::Header(HeaderError::Checksum) => ProxyHeaderError::Checksum,
            Self::Closed | Self::Io(_) => ProxyHeaderError::Closed,
        }
    }
}

impl fmt::Display for ReceiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(error) => error.fmt(f),
            Self::Closed => f.write_str("closed before its PROXY protocol header was whole"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReceiveError {}

impl Receiver {
    /// Awaits one of these headers.
    pub fn new(accepts: Accepts) -> Self {
        Self {
            accepts,
            taken: Vec::new(),
        }
    }

    /// What the header says, once it is there. Its bytes are taken from the socket, none behind it.
    ///
    /// # Errors
    /// [`ReceiveError`]: the connection is of no use.
    pub fn poll(
        &mut self,
        socket: &TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Told, ReceiveError>> {
        loop {
            let mut step = [0; STEP];
            let mut seen = ReadBuf::new(&mut step);
            ready!(socket.poll_peek(cx, &mut seen)).map_err(ReceiveError::Io)?;
            let count = seen.filled().len();
            if count == 0 {
                return Poll::Ready(Err(ReceiveError::Closed));
            }
            let before = self.taken.len();
            self.taken.extend_from_slice(seen.filled());
            let found = read(&self.taken, self.accepts).map_err(ReceiveError::Header)?;
            // Part of a header is taken too: as long as it is left the socket is readable.
            let own = match found {
                Found::Partial => count,
                Found::Whole(length, _) => length.saturating_sub(before),
            };
            take(socket, own.min(count), &mut step)?;
            if let Found::Whole(_, told) = found {
                return Poll::Ready(Ok(told));
            }
        }
    }
}

/// Takes bytes from the socket that were seen there.
fn take(socket: &TcpStream, mut count: usize, step: &mut [u8]) -> Result<(), ReceiveError> {
    while count > 0 {
        let room = step.get_mut(..count).unwrap_or_default();
        match socket.try_read(room).map_err(ReceiveError::Io)? {
            0 => return Err(ReceiveError::Closed),
            taken => count -= taken,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::proxy_protocol::{Version, header};

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, server) = tokio::join!(
            TcpStream::connect(listener.local_addr().unwrap()),
            listener.accept()
        );
        (client.unwrap(), server.unwrap().0)
    }

    #[tokio::test]
    async fn a_header_that_dribbles_in_is_taken_and_nothing_behind_it() {
        for version in [Version::V1, Version::V2] {
            let (mut client, mut server) = pair().await;
            let source = "192.0.2.1:1000".parse().unwrap();
            let destination = "192.0.2.2:443".parse().unwrap();
            let bytes = header(version, source, destination);
            let mut receiver = Receiver::new(Accepts::Any);
            let (last, dribble) = bytes.split_last().unwrap();
            for byte in dribble {
                client.write_all(&[*byte]).await.unwrap();
                server.readable().await.unwrap();
                let pending = poll_fn(|cx| Poll::Ready(receiver.poll(&server, cx).is_pending()));
                assert!(pending.await);
            }
            client
                .write_all(&[&[*last][..], b"hello"].concat())
                .await
                .unwrap();
            let told = poll_fn(|cx| receiver.poll(&server, cx)).await.unwrap();
            assert_eq!(
                told,
                Told::Proxied {
                    source,
                    destination
                }
            );
            let mut rest = [0; 5];
            server.read_exact(&mut rest).await.unwrap();
            assert_eq!(&rest, b"hello");
        }
    }

    #[tokio::test]
    async fn a_long_header_and_a_peer_that_goes_are_told_apart() {
        let (mut client, server) = pair().await;
        let mut bytes = header(
            Version::V2,
            "192.0.2.1:1".parse().unwrap(),
            "192.0.2.2:2".parse().unwrap(),
        );
        // 2,000 bytes of padding.
        bytes[14..16].copy_from_slice(&2015_u16.to_be_bytes());
        bytes.extend([4, 7, 208]);
        bytes.extend([0; 2000]);
        client.write_all(&bytes).await.unwrap();
        let mut receiver = Receiver::new(Accepts::Any);
        assert!(poll_fn(|cx| receiver.poll(&server, cx)).await.is_ok());
        client.write_all(b"PROXY TCP4").await.unwrap();
        drop(client);
        let mut receiver = Receiver::new(Accepts::Any);
        let error = poll_fn(|cx| receiver.poll(&server, cx)).await.unwrap_err();
        assert_eq!(error.label(), ProxyHeaderError::Closed);
    }
}
