//! One hello, and what the server would make of it.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::line::{Fault, Line};
use super::names::Version;
use super::wire::{Answer, Flight, Hello, Reader};

/// Sends a hello that offers this, and reads what the server chooses. Its `Fault` says no where
/// that is the server's answer ([`Fault::is_no`]).
pub(super) async fn offer(
    line: &Line,
    name: Option<&str>,
    version: Version,
    suites: &[u16],
    groups: &[u16],
) -> Result<Flight, Fault> {
    let mut random = [0; 32];
    SystemRandom::new()
        .fill(&mut random)
        .map_err(|_| Fault::Wrong("no random numbers"))?;
    let hello = Hello {
        version,
        name,
        suites,
        groups,
        random,
    };
    line.ask(async |tcp| exchange(tcp, &hello.record()).await)
        .await
}

async fn exchange(mut tcp: TcpStream, hello: &[u8]) -> Result<Flight, Fault> {
    tcp.write_all(hello).await?;
    let mut reader = Reader::default();
    let mut buffer = vec![0; 16 << 10];
    loop {
        // Some servers reset what they do not want to hear of: an error is a close too.
        let count = tcp.read(&mut buffer).await?;
        if count == 0 {
            return Err(Fault::Closed);
        }
        match reader.take(buffer.get(..count).unwrap_or_default())? {
            Some(Answer::Flight(flight)) => return Ok(flight),
            Some(Answer::Refused(alert)) => return Err(Fault::Refused(alert)),
            None => {}
        }
    }
}
