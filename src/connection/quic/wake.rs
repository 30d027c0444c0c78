//! What the task of a connection waits for.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use quinn::{AcceptBi, AcceptUni, ConnectionError, RecvStream, SendStream};

use super::connection::Connection;
use super::http3::Http3;
use crate::deadline::Alarm;
use crate::tls::quic::Progress;

/// How far a goodbye has come (RFC 9114 §5.2), and when its next step is due.
pub(super) enum Leaving {
    No,
    /// The client was told that one is coming: what it has sent meanwhile is still answered.
    Told(Alarm),
    /// It knows what was the last request.
    Last(Alarm),
}

/// Why the task of a connection woke.
pub(super) enum Woken {
    Ended(ConnectionError),
    Request(SendStream, RecvStream),
    Unidirectional(RecvStream),
    Confirmed,
    Evicted,
    HandshakeDue,
    Idle,
    Leave,
    GoodbyeDue,
}

/// A request that is here already.
pub(super) async fn at_once(
    mut requests: Pin<&mut AcceptBi<'_>>,
) -> Option<(SendStream, RecvStream)> {
    poll_fn(|cx| match requests.as_mut().poll(cx) {
        Poll::Ready(Ok(request)) => Poll::Ready(Some(request)),
        _ => Poll::Ready(None),
    })
    .await
}

impl Connection {
    /// Awaits the answer to a HelloRetryRequest, if one was sent; what came instead, if it did not.
    pub(super) async fn second_hello(
        &self,
        progress: &Progress,
        quic: &quinn::Connection,
    ) -> Option<Woken> {
        if !progress.facts().awaits_hello() {
            return None;
        }
        let mut ended = std::pin::pin!(quic.closed());
        poll_fn(|cx| {
            let vitals = self.permit.vitals();
            if vitals.is_some_and(|vitals| vitals.is_evicted()) {
                return Poll::Ready(Some(Woken::Evicted));
            }
            if let Poll::Ready(error) = ended.as_mut().poll(cx) {
                return Poll::Ready(Some(Woken::Ended(error)));
            }
            // First the alarm: it is what the session nudges, once it has settled the facts.
            let due = self.alarm.poll_due(cx);
            match progress.facts().awaits_hello() {
                false => Poll::Ready(None),
                true => due.map(|()| Some(Woken::HandshakeDue)),
            }
        })
        .await
    }

    /// What happens next.
    pub(super) async fn wake(
        &self,
        http3: &Arc<Http3>,
        leaving: &Leaving,
        mut ended: Pin<&mut impl Future<Output = ConnectionError>>,
        (mut requests, mut others): (Pin<&mut AcceptBi<'_>>, Pin<&mut AcceptUni<'_>>),
    ) -> Woken {
        let handshaking = self.report.is_handshaking();
        let mut confirmed = std::pin::pin!(http3.shared.confirmation.wait());
        poll_fn(|cx| {
            if handshaking {
                let vitals = self.permit.vitals();
                if vitals.is_some_and(|vitals| vitals.is_evicted()) {
                    return Poll::Ready(Woken::Evicted);
                }
                // Before any request: who is confirmed must not be taken for early.
                if let Poll::Ready(Ok(())) = confirmed.as_mut().poll(cx) {
                    return Poll::Ready(Woken::Confirmed);
                }
            }
            http3.weigh();
            http3.give_up_late(cx);
            if let Poll::Ready(error) = ended.as_mut().poll(cx) {
                return Poll::Ready(Woken::Ended(error));
            }
            if let Poll::Ready(Ok(recv)) = others.as_mut().poll(cx) {
                return Poll::Ready(Woken::Unidirectional(recv));
            }
            if let Poll::Ready(Ok((send, recv))) = requests.as_mut().poll(cx) {
                return Poll::Ready(Woken::Request(send, recv));
            }
            // Also while the handshake is over: the alarm is what the permit's waker and the ends
            // of requests nudge.
            if self.alarm.poll_due(cx).is_ready() && handshaking {
                return Poll::Ready(Woken::HandshakeDue);
            }
            match leaving {
                Leaving::No => {
                    // Who is not confirmed yet is told when it is, or cut by its deadline: what it
                    // has sent early is answered first.
                    if handshaking {
                        return Poll::Pending;
                    }
                    if http3.shared.is_closing() || self.worker.process.is_draining() {
                        return Poll::Ready(Woken::Leave);
                    }
                    http3.poll_idle(cx).map(|()| Woken::Idle)
                }
                Leaving::Last(_) if http3.is_busy() => Poll::Pending,
                Leaving::Told(due) | Leaving::Last(due) => {
                    due.poll_due(cx).map(|()| Woken::GoodbyeDue)
                }
            }
        })
        .await
    }
}
