//! Connections to the server that is inspected: few at once, each for a bounded time.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::AlertDescription;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::wire::Wrong;
use crate::certs::foreign::printable;
use crate::telemetry::labels::{Alert, Label as _};

/// Connections open at once: a server under load should not notice.
const AT_ONCE: usize = 4;

/// The way to one server.
#[derive(Debug)]
pub(super) struct Line {
    address: SocketAddr,
    /// Of one connection.
    timeout: Duration,
    /// Of all of them.
    end: Instant,
    places: Semaphore,
    opened: Cell<u32>,
}

/// Why a connection told nothing.
#[derive(Debug)]
pub(super) enum Fault {
    /// There was none.
    Connect(io::Error),
    /// The server closed or reset it without a word.
    Closed,
    /// The server said nothing, or not enough, for as long as one connection may take.
    TimedOut,
    /// All together took as long as they may.
    OutOfTime,
    /// What came is not what a server says.
    Wrong(&'static str),
    /// A fatal alert.
    Refused(AlertDescription),
    /// rustls cannot go on.
    Tls(rustls::Error),
}

impl Line {
    /// Connections to this address, none of which takes longer than `timeout`, and all of which
    /// have ended at `end`.
    pub(super) fn new(address: SocketAddr, timeout: Duration, end: Instant) -> Self {
        Self {
            address,
            timeout,
            end,
            places: Semaphore::new(AT_ONCE),
            opened: Cell::new(0),
        }
    }

    /// What is asked, on a connection of its own.
    pub(super) async fn ask<T>(
        &self,
        what: impl AsyncFnOnce(TcpStream) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        // Never closed; and waiting counts towards the whole only.
        let place = timeout_at(self.end, self.places.acquire()).await;
        let Ok(Ok(_place)) = place else {
            return Err(Fault::OutOfTime);
        };
        let now = Instant::now();
        if now >= self.end {
            return Err(Fault::OutOfTime);
        }
        self.opened.set(self.opened.get() + 1);
        let until = (now + self.timeout).min(self.end);
        let asked = async {
            let tcp = TcpStream::connect(self.address)
                .await
                .map_err(Fault::Connect)?;
            tcp.set_nodelay(true).map_err(Fault::Connect)?;
            what(tcp).await
        };
        match timeout_at(until, asked).await {
            Ok(told) => told,
            Err(_) if until == self.end => Err(Fault::OutOfTime),
            Err(_) => Err(Fault::TimedOut),
        }
    }

    /// How many connections were made, or tried.
    pub(super) fn opened(&self) -> u32 {
        self.opened.get()
    }

    /// Whether there is time left.
    pub(super) fn is_in_time(&self) -> bool {
        Instant::now() < self.end
    }

    /// How long a connection may take that begins now.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout.min(self.end - Instant::now())
    }
}

impl Fault {
    /// Whether the server said no, by an alert or by going away: what was offered is not spoken.
    pub(super) fn is_no(&self) -> bool {
        matches!(self, Self::Closed | Self::Refused(_))
    }
}

impl From<io::Error> for Fault {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

impl From<Wrong> for Fault {
    fn from(Wrong(what): Wrong) -> Self {
        Self::Wrong(what)
    }
}

impl From<rustls::Error> for Fault {
    fn from(error: rustls::Error) -> Self {
        match error {
            rustls::Error::AlertReceived(alert) => Self::Refused(alert),
            error => Self::Tls(error),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "no connection: {error}"),
            Self::Closed => f.write_str("the server closed the connection without a word"),
            Self::TimedOut => f.write_str("the server did not answer in time"),
            Self::OutOfTime => f.write_str("the whole took too long"),
            Self::Wrong(what) => write!(f, "the server's answer: {what}"),
            Self::Refused(alert) => write!(f, "the server's alert: {}", alert_name(*alert)),
            // It may have words of a certificate.
            Self::Tls(error) => f.write_str(&printable(&error.to_string())),
        }
    }
}

/// As RFC 9846 §6 spells it, or its number.
fn alert_name(alert: AlertDescription) -> String {
    match Alert::from(alert) {
        Alert::Other => format!("number {}", u8::from(alert)),
        known => known.as_str().to_owned(),
    }
}
