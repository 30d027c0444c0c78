//! The live completion signal of a handshake (EARLY-DATA R11).
//!
//! A connection holds the [`Settler`]; every request of the connection holds a clone of the
//! [`Confirmation`]. The TLS core settles it at the very moment it sees the client's Finished,
//! before any later byte is delivered: settling later would label the first 1-RTT request early
//! and leave waiting handlers asleep.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use slab::Slab;

const PENDING: u8 = 0;
const CONFIRMED: u8 = 1;
const FAILED: u8 = 2;

/// What is known about the client's Finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not seen yet: whatever was received may be a replay.
    Pending,
    /// Verified: the bytes come from a live client.
    Confirmed,
    /// The handshake failed or the connection ended before Finished was verified.
    Failed,
}

/// The handshake failed before the client's Finished was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeFailed;

impl fmt::Display for HandshakeFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the TLS handshake failed before it was confirmed")
    }
}

impl std::error::Error for HandshakeFailed {}

#[derive(Debug)]
struct Shared {
    status: AtomicU8,
    waiters: Mutex<Slab<Waker>>,
}

/// Tells whether the handshake of a connection is confirmed, and waits for it.
#[derive(Clone, Debug)]
pub struct Confirmation(Arc<Shared>);

impl Confirmation {
    /// A signal that is still pending, and the one handle that settles it.
    pub fn pending() -> (Settler, Self) {
        let shared = Arc::new(Shared {
            status: AtomicU8::new(PENDING),
            waiters: Mutex::new(Slab::new()),
        });
        (Settler(Some(Arc::clone(&shared))), Self(shared))
    }

    /// A signal that was confirmed from the start, for transports without early data.
    pub fn confirmed() -> Self {
        Self(Arc::new(Shared {
            status: AtomicU8::new(CONFIRMED),
            waiters: Mutex::new(Slab::new()),
        }))
    }

    /// What is known now.
    pub fn status(&self) -> Status {
        match self.0.status.load(Ordering::Acquire) {
            PENDING => Status::Pending,
            CONFIRMED => Status::Confirmed,
            _ => Status::Failed,
        }
    }

    /// Whether the handshake is neither confirmed nor failed yet.
    pub fn is_pending(&self) -> bool {
        self.status() == Status::Pending
    }

    /// Waits until the client's Finished is verified.
    ///
    /// Cancel safe: dropping the future only forgets the waiter.
    ///
    /// # Errors
    /// [`HandshakeFailed`] if the handshake failed or its deadline passed.
    pub fn wait(&self) -> Confirmed {
        Confirmed {
            shared: Arc::clone(&self.0),
            key: None,
        }
    }
}

/// Settles a [`Confirmation`] once. Dropped unsettled, it fails it.
#[derive(Debug)]
pub struct Settler(Option<Arc<Shared>>);

impl Settler {
    /// The client's Finished was verified.
    pub fn confirm(mut self) {
        self.settle(CONFIRMED);
    }

    /// The handshake failed.
    pub fn fail(mut self) {
        self.settle(FAILED);
    }

    fn settle(&mut self, status: u8) {
        let Some(shared) = self.0.take() else { return };
        shared.status.store(status, Ordering::Release);
        // The status is stored before the list is taken: a waiter that registers after this
        // reads the status again under the same lock.
        let waiters = std::mem::take(
            &mut *shared
                .waiters
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for (_, waker) in waiters {
            waker.wake();
        }
    }
}

impl Drop for Settler {
    fn drop(&mut self) {
        self.settle(FAILED);
    }
}

/// The future of [`Confirmation::wait`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Confirmed {
    shared: Arc<Shared>,
    key: Option<usize>,
}

impl Confirmed {
    fn outcome(&self) -> Option<Result<(), HandshakeFailed>> {
        match self.shared.status.load(Ordering::Acquire) {
            PENDING => None,
            CONFIRMED => Some(Ok(())),
            _ => Some(Err(HandshakeFailed)),
        }
    }
}

impl Future for Confirmed {
    type Output = Result<(), HandshakeFailed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(outcome) = self.outcome() {
            self.key = None;
            return Poll::Ready(outcome);
        }
        let shared = Arc::clone(&self.shared);
        let mut waiters = shared
            .waiters
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = self.outcome() {
            self.key = None;
            return Poll::Ready(outcome);
        }
        match self.key.and_then(|key| waiters.get_mut(key)) {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.key = Some(waiters.insert(cx.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Confirmed {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let mut waiters = self
            .shared
            .waiters
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Settling empties the list; a key is only ours while the signal is pending.
        if self.shared.status.load(Ordering::Acquire) == PENDING {
            waiters.try_remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiters_wake_when_the_handshake_is_confirmed() {
        let (settler, confirmation) = Confirmation::pending();
        assert!(confirmation.is_pending());
        let waits = tokio::spawn(confirmation.wait());
        let second = tokio::spawn(confirmation.wait());
        tokio::task::yield_now().await;
        settler.confirm();
        assert_eq!(waits.await.unwrap(), Ok(()));
        assert_eq!(second.await.unwrap(), Ok(()));
        assert_eq!(confirmation.status(), Status::Confirmed);
    }

    #[tokio::test]
    async fn a_dropped_settler_fails_the_handshake() {
        let (settler, confirmation) = Confirmation::pending();
        let waits = tokio::spawn(confirmation.wait());
        tokio::task::yield_now().await;
        drop(settler);
        assert_eq!(waits.await.unwrap(), Err(HandshakeFailed));
        assert_eq!(confirmation.wait().await, Err(HandshakeFailed));
    }

    #[tokio::test]
    async fn a_cancelled_waiter_is_forgotten() {
        let (settler, confirmation) = Confirmation::pending();
        let mut wait = Box::pin(confirmation.wait());
        std::future::poll_fn(|cx| {
            assert!(wait.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        drop(wait);
        assert!(confirmation.0.waiters.lock().unwrap().is_empty());
        settler.confirm();
    }
}
