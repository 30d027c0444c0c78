//! What can end an exchange from outside: the client's handshake, and the total deadline.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::confirm::{Confirmation, Confirmed};
use crate::deadline::{Alarm, Deadline};

/// Watches over an exchange, first while its head is awaited, then while its body streams.
#[derive(Debug)]
pub(super) struct Watch {
    /// Of an early request: its handshake.
    early: Option<Confirmed>,
    total: Option<Total>,
}

/// What ended the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    HandshakeFailed,
    TotalPassed,
}

impl Watch {
    /// `early` says that the request goes to the origin before the handshake is confirmed.
    pub(super) fn new(
        early: bool,
        confirmation: &Confirmation,
        deadline: Option<Deadline>,
    ) -> Self {
        Self {
            early: early.then(|| confirmation.wait()),
            total: deadline
                .filter(|deadline| deadline.remaining().is_some())
                .map(Total::Unwatched),
        }
    }

    /// Ready once the exchange must end. To be polled when the exchange itself is pending.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        if let Some(confirmed) = &mut self.early {
            match Pin::new(confirmed).poll(cx) {
                // EARLY-DATA R11.
                Poll::Ready(Err(_)) => return Poll::Ready(Ended::HandshakeFailed),
                Poll::Ready(Ok(())) => self.early = None,
                Poll::Pending => {}
            }
        }
        match &mut self.total {
            None => Poll::Pending,
            Some(total) => total.poll(cx).map(|()| Ended::TotalPassed),
        }
    }

    /// Watches nothing.
    pub(super) fn none() -> Self {
        Self {
            early: None,
            total: None,
        }
    }
}

/// The total deadline; an alarm is made once something really waits.
#[derive(Debug)]
enum Total {
    Unwatched(Deadline),
    Watched(Alarm),
}

impl Total {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Unwatched(deadline) = self {
            *self = Self::Watched(deadline.watch());
        }
        match self {
            Self::Watched(alarm) => alarm.poll_due(cx),
            Self::Unwatched(_) => Poll::Pending,
        }
    }
}
