//! Fixed answers, which are ready to be sent.

use std::sync::Arc;

use bytes::Bytes;

use super::sent::finished;
use super::stream::{Asked, Next, unrouted};
use crate::config::snapshot::Target;
use crate::connection::fixed::Fixed;
use crate::connection::stage::Stream;
use crate::http::h3::Priority;

/// The most content of a fixed answer that is kept ready to be sent, in bytes: about a packet.
const PREPARED: usize = 1024;

/// What is left of a fixed answer.
pub(super) struct Left {
    frames: Bytes,
    /// How much of it stands before content.
    before: usize,
    /// How much content the client has taken.
    taken: usize,
}

/// Sends a small fixed answer, or as much of it as there is room for. Larger ones come back: they have to
/// take turns.
pub(super) fn send(asked: &mut Asked, said: Priority, mut fixed: Fixed) -> Result<Next, Fixed> {
    let Asked { http3, send, .. } = asked;
    let route = Arc::clone(fixed.route());
    let response = match &route.target {
        Target::Respond(response) if response.body.len() <= PREPARED => response,
        _ => return Err(fixed),
    };
    let worker = &http3.shared.worker;
    let mut frames = worker.prepared.get(worker.ticker.now(), &route, response);
    let (length, content) = (frames.len(), response.body.len());
    send.order(http3.ranks.at_once(asked.id, said));
    fixed.leave(response.status);
    Ok(match send.write_at_once(&http3.ranks, &mut frames) {
        Ok(written) if written == length => {
            fixed.sent(content as u64, true);
            send.finish();
            Next::Sent(route.timeouts.write_idle)
        }
        Ok(written) => {
            let before = length - content;
            let left = Left {
                frames,
                before: before.saturating_sub(written),
                taken: written.saturating_sub(before),
            };
            Next::Room(fixed, left)
        }
        Err(_) => {
            http3.given_up();
            Next::Nothing
        }
    })
}

/// Sends what is left of a fixed answer.
pub(super) async fn send_rest(asked: Asked, mut fixed: Fixed, left: Left) {
    let Asked {
        http3, mut send, ..
    } = asked;
    let watch = fixed.watch().unwrap_or_else(|| unrouted(&http3.shared));
    let (stage, limit) = (watch.stage.clone(), watch.write_idle);
    stage.take(left.taken);
    let mut whole = false;
    {
        let write = std::pin::pin!(async {
            let mut pieces = [left.frames];
            let written = send.write(&http3.ranks, &stage, left.before, &mut pieces);
            match written.await {
                Ok(()) => whole = true,
                Err(_) => http3.given_up(),
            }
        });
        Stream::new(write, Arc::clone(&http3.shared), Some(watch)).await;
    }
    if whole {
        stage.sent();
        send.finish();
    }
    fixed.sent(stage.taken(), whole);
    finished(&http3, send, limit, 0).await;
}
