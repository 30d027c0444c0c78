//! Whether sessions are resumed.

use std::sync::Arc;
use std::time::Duration;

use rustls::HandshakeKind;
use rustls::client::Tls12Resumption;
use tokio::time::{Instant, timeout_at};

use super::client::{Client, Offer, Session, Setup, TLS12, TLS13};
use super::line::{Fault, Line};
use super::shelf::Shelf;

/// A server that has said nothing for so long has said all.
const QUIET: Duration = Duration::from_secs(1);

/// Servers behind one address may each know their own sessions only.
const ATTEMPTS: usize = 2;

/// What tickets of TLS 1.3 are good for.
#[derive(Debug)]
pub(super) struct Tickets {
    /// What they were collected with; it has those that are left.
    pub(super) setup: Setup,
    /// How many came after a full handshake.
    pub(super) came: usize,
    /// How much early data they allow, in bytes; 0 for none.
    pub(super) early_data: u32,
    /// Whether a handshake was resumed with one.
    pub(super) resumed: bool,
    /// The head of the answer to a request, if one came.
    pub(super) head: Option<String>,
}

/// Collects tickets with a request, and resumes with one of them.
pub(super) async fn tickets(
    line: &Line,
    client: &Client,
    alpn: &'static [&'static [u8]],
    request: Option<&[u8]>,
) -> Result<Tickets, Fault> {
    let shelf = Arc::new(Shelf::default());
    let setup = client.setup(&Offer {
        versions: TLS13,
        alpn,
        shelf: Some((Arc::clone(&shelf), Tls12Resumption::Disabled)),
        ..Offer::default()
    })?;
    let connect = async || {
        line.ask(async |tcp| {
            let mut session = setup.begin(tcp)?;
            session.handshake().await?;
            if let Some(request) = request {
                session.send(request).await?;
            }
            let tickets = || shelf.left() > 0;
            session
                .read_until(|it| tickets() && (request.is_none() || head(&it.plain).is_some()))
                .await;
            let kind = session.tls.handshake_kind();
            let head = head(&session.plain);
            session.close().await;
            Ok((kind, head))
        })
        .await
    };
    let (_, head) = connect().await?;
    let (came, early_data) = (shelf.came(), shelf.early_data().unwrap_or(0));
    let mut resumed = false;
    for _ in 0..ATTEMPTS {
        if came == 0 || resumed {
            break;
        }
        let (kind, _) = connect().await?;
        resumed = kind == Some(HandshakeKind::Resumed);
    }
    Ok(Tickets {
        setup,
        came,
        early_data,
        resumed,
        head,
    })
}

/// Whether a session of TLS 1.2 is resumed.
pub(super) async fn older(
    line: &Line,
    client: &Client,
    kind: Tls12Resumption,
) -> Result<bool, Fault> {
    let shelf = Arc::new(Shelf::default());
    let setup = client.setup(&Offer {
        versions: TLS12,
        shelf: Some((Arc::clone(&shelf), kind)),
        ..Offer::default()
    })?;
    let connect = async || {
        line.ask(async |tcp| {
            let mut session = setup.begin(tcp)?;
            session.handshake().await?;
            let kind = session.tls.handshake_kind();
            session.close().await;
            Ok(kind)
        })
        .await
    };
    connect().await?;
    for _ in 0..ATTEMPTS {
        if !shelf.has_session() {
            break;
        }
        if connect().await? == Some(HandshakeKind::Resumed) {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Session {
    /// Sends this behind the handshake.
    pub(super) async fn send(&mut self, plain: &[u8]) -> Result<(), Fault> {
        std::io::Write::write_all(&mut self.tls.writer(), plain)?;
        self.flush().await
    }

    /// Reads until this is there, or the server has nothing more to say.
    pub(super) async fn read_until(&mut self, there: impl Fn(&Self) -> bool) {
        while !there(self) {
            let until = Instant::now() + QUIET;
            // Half a read is not lost: what was read is in TLS's hands before the next wait.
            match timeout_at(until, self.step()).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false) | Err(_)) | Err(_) => return,
            }
        }
    }
}

/// The head of an HTTP/1.1 answer, if it is whole.
pub(super) fn head(plain: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(plain);
    let (head, _) = text.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.").then(|| head.to_owned())
}

/// The status of an answer.
pub(super) fn status(head: &str) -> Option<u16> {
    head.split(' ').nth(1)?.parse().ok()
}

/// A field of a head.
pub(super) fn field<'h>(head: &'h str, wanted: &str) -> Option<&'h str> {
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let mut wanted = fields.filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
    wanted.next().map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        assert_eq!(head(b"HTTP/1.1 200 OK\r\nalt-svc:"), None);
        assert_eq!(head(b"220 mail\r\n\r\n"), None);
        let head = head(b"HTTP/1.1 425 Too Early\r\nAlt-Svc: h3=\":443\"\r\n\r\nrest").unwrap();
        assert_eq!(status(&head), Some(425));
        assert_eq!(field(&head, "alt-svc"), Some("h3=\":443\""));
        assert_eq!(field(&head, "server"), None);
        assert_eq!(status("HTTP/1.1"), None);
    }
}
