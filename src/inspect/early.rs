//! What becomes of early data, and whether its answer comes before our Finished.

use std::io::Write;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::line::{Fault, Line};
use super::resumption::{Tickets, head, status};

/// How long our Finished is held back. A server behind an ocean answers in a tenth of it.
const HELD: Duration = Duration::from_secs(2);

/// What became of a request that was sent as early data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EarlyAnswer {
    /// Whether the server took it as early data (RFC 9846 §4.3.10).
    pub accepted: bool,
    /// Whether its answer began while our Finished was held back, for two seconds at most.
    pub before_finished: bool,
    /// The answer's status, if one came: 425 says that the request is to be sent again.
    pub status: Option<u16>,
}

/// Sends this request as early data with a ticket that allows it. `None` where no ticket is left,
/// or none that allows so much.
pub(super) async fn ask(
    line: &Line,
    tickets: &Tickets,
    request: &[u8],
) -> Result<Option<EarlyAnswer>, Fault> {
    let setup = tickets.setup.with_early_data();
    let held = HELD.min(line.timeout() / 2);
    let asked = line.ask(async |tcp| {
        let mut session = setup.begin(tcp)?;
        match session.tls.early_data() {
            Some(mut early) if early.bytes_left() >= request.len() => early.write_all(request)?,
            _ => return Ok(None),
        }
        session.flush().await?;
        let until = Instant::now() + held;
        let mut open = true;
        while session.plain.is_empty() && open {
            match timeout_at(until, session.step()).await {
                Ok(stepped) => open = stepped?,
                Err(_) => break,
            }
        }
        let before_finished = !session.plain.is_empty();
        // A server that refuses early data goes on all the same, and one that has answered may be
        // gone already.
        if open || session.tls.is_handshaking() {
            session.handshake().await?;
        }
        session.read_until(|it| head(&it.plain).is_some()).await;
        let answer = EarlyAnswer {
            accepted: session.tls.is_early_data_accepted(),
            before_finished,
            status: head(&session.plain).as_deref().and_then(status),
        };
        session.close().await;
        Ok(Some(answer))
    });
    asked.await
}
