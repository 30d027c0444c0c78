//! What we say beside answers: the control stream.

use std::time::Duration;

use tokio::sync::watch;

use super::http3::Http3;
use crate::deadline::TICK;
use crate::http::h3::{goaway, settings, stream_type};

/// How long what the client has sent before it heard of something may take to come.
pub(super) fn under_way(http3: &Http3) -> Duration {
    (2 * http3.quic.rtt()).clamp(TICK, Duration::from_secs(2))
}

/// Our control stream: SETTINGS, and GOAWAY as often as `told` changes.
pub(super) async fn run(quic: quinn::Connection, mut told: watch::Receiver<Option<u64>>) {
    const CONTROL: u64 = 0;
    let Ok(mut stream) = quic.open_uni().await else {
        return;
    };
    // What it says is of use before all answers.
    let _ = stream.set_priority(i32::MAX);
    let begin = [&stream_type(CONTROL)[..], &settings()].concat();
    if stream.write_all(&begin).await.is_err() {
        return;
    }
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
            // The stream must not end before the connection does (RFC 9114 §6.2.1).
            _ => {
                quic.closed().await;
                return;
            }
        }
    }
}
