//! What we say beside answers: the control stream.

use std::future::{Future, poll_fn, ready};
use std::task::Poll;
use std::time::Duration;

use quinn::SendStream;
use tokio::sync::watch;
use tracing::Instrument;

use super::http3::Http3;
use crate::deadline::TICK;
use crate::http::h3::{goaway, settings, stream_type};

/// How long what the client has sent before it heard of something may take to come.
pub(super) fn under_way(http3: &Http3) -> Duration {
    (2 * http3.quic.rtt()).clamp(TICK, Duration::from_secs(2))
}

/// Our control stream. Most connections have nothing to say on it but SETTINGS: so it gets a task
/// only when it has to wait, or when a goodbye begins.
pub(super) enum Control {
    /// There is none, or no connection any more.
    Nothing,
    /// SETTINGS are said. Kept, since the stream must not end before the connection does (RFC 9114
    /// §6.2.1).
    Rests(SendStream),
    /// A task has it.
    Talks(watch::Sender<Option<u64>>),
}

impl Control {
    /// Says SETTINGS at once, so that they leave with the first flight.
    pub(super) async fn begin(quic: &quinn::Connection) -> Self {
        let mut begun = Box::pin(begin(quic.clone()));
        match poll_fn(|cx| Poll::Ready(begun.as_mut().poll(cx))).await {
            Poll::Ready(Some(stream)) => Self::Rests(stream),
            Poll::Ready(None) => Self::Nothing,
            Poll::Pending => Self::talk(quic, begun),
        }
    }

    /// Says GOAWAY.
    pub(super) fn goaway(&mut self, quic: &quinn::Connection, id: u64) {
        *self = match std::mem::replace(self, Self::Nothing) {
            Self::Rests(stream) => Self::talk(quic, ready(Some(stream))),
            other => other,
        };
        if let Self::Talks(tell) = self {
            tell.send_replace(Some(id));
        }
    }

    fn talk(
        quic: &quinn::Connection,
        begun: impl Future<Output = Option<SendStream>> + Send + 'static,
    ) -> Self {
        let (tell, told) = watch::channel(None);
        let quic = quic.clone();
        let run = async move {
            if let Some(stream) = begun.await {
                talk(quic, stream, told).await;
            }
        };
        tokio::spawn(run.in_current_span());
        Self::Talks(tell)
    }
}

/// Opens the stream and says SETTINGS; `None` if there is nobody to say it to.
async fn begin(quic: quinn::Connection) -> Option<SendStream> {
    const CONTROL: u64 = 0;
    let mut stream = quic.open_uni().await.ok()?;
    // What it says is of use before all answers.
    let _ = stream.set_priority(i32::MAX);
    let begin = [&stream_type(CONTROL)[..], &settings()].concat();
    stream.write_all(&begin).await.ok()?;
    Some(stream)
}

/// Says GOAWAY as often as `told` changes.
async fn talk(
    quic: quinn::Connection,
    mut stream: SendStream,
    mut told: watch::Receiver<Option<u64>>,
) {
    loop {
        let id = tokio::select! {
            changed = told.changed() => match changed {
                Ok(()) => *told.borrow_and_update(),
                Err(_) => None,
            },
            _ = quic.closed() => return,
        };
        match id {
            Some(id) if stream.write_all(&goaway(id)).await.is_ok() => {}
            // The stream must not end before the connection does.
            _ => {
                quic.closed().await;
                return;
            }
        }
    }
}
