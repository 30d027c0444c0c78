//! Answers that are with quinn, until their clients have them.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use super::http3::Http3;
use super::sending::Sending;
use super::unacknowledged::{Patience, SMALL, Sent};
use crate::deadline::{Elapsed, within};
use crate::telemetry::labels::TimeoutKind;

/// An answer is over as far as it is ours; if it was not broken off, its client may not have it yet.
/// `content` is what there was of that, in bytes.
pub(super) async fn finished(
    http3: &Arc<Http3>,
    answer: Sending,
    limit: Option<Duration>,
    content: u64,
) {
    if !answer.is_finished() {
        return;
    }
    // The end of the last one is what a connection waits for that is about to close.
    if http3.shared.is_closing() || content > SMALL {
        Box::pin(acknowledged(http3, answer, limit)).await;
    } else {
        http3.unacknowledged.keep(answer, limit);
    }
}

/// From now on somebody waits for all answers that their client does not have yet: the connection is
/// about to close, and must not do so on them.
pub(super) fn await_acknowledged(http3: &Arc<Http3>) {
    for Sent { answer, limit, .. } in http3.unacknowledged.take() {
        let (http3, place) = (Arc::clone(http3), http3.place(answer.id()));
        let waiting = async move {
            acknowledged(&http3, answer, limit).await;
            drop(place);
        };
        tokio::spawn(waiting.in_current_span());
    }
}

/// Waits until the client has an answer that is with quinn whole, or takes nothing for `limit`.
async fn acknowledged(http3: &Http3, mut answer: Sending, limit: Option<Duration>) {
    let ticker = &http3.shared.worker.ticker;
    let mut patience = Patience::new(http3.acknowledged());
    let mut over = std::pin::pin!(answer.over());
    while let Err(Elapsed) = within(ticker, limit, over.as_mut()).await {
        if !patience.goes_on(http3.acknowledged()) {
            http3.shared.metrics().timeouts.inc(TimeoutKind::WriteIdle);
            answer.give_up();
            return;
        }
    }
}
