//! What several requests wait for: it goes on without the one that began it, for as long as anybody
//! waits.
//!
//! It is a task of its own on its worker. What it brings goes to the one that has waited longest; the
//! others look again: for what is there now, or for the next attempt. So a failed attempt fails one
//! request, whoever waits beside it.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::task::AbortHandle;

/// Attempts at the same thing, one at a time.
#[derive(Debug)]
pub(super) struct Attempts<T>(Mutex<Inside<T>>);

#[derive(Debug)]
struct Inside<T> {
    /// Numbers attempts and those who wait.
    next: u64,
    running: Option<Running<T>>,
}

#[derive(Debug)]
struct Running<T> {
    id: u64,
    /// `None` until it is spawned.
    task: Option<AbortHandle>,
    /// Whether it goes on when nobody waits.
    stays: bool,
    /// Who has waited longest comes first.
    waiting: VecDeque<(u64, oneshot::Sender<T>)>,
}

/// One that waits; dropped, it waits no longer.
#[derive(Debug)]
pub(super) struct Waiter<T> {
    attempts: Arc<Attempts<T>>,
    id: u64,
    result: oneshot::Receiver<T>,
}

/// Ends an attempt, however it ends: or all who come later would wait for it.
struct Ending<T> {
    attempts: Arc<Attempts<T>>,
    id: u64,
}

impl<T> Default for Attempts<T> {
    fn default() -> Self {
        Self(Mutex::new(Inside {
            next: 0,
            running: None,
        }))
    }
}

impl<T> Attempts<T> {
    /// Whether one is under way.
    pub(super) fn is_under_way(&self) -> bool {
        self.lock().running.is_some()
    }

    /// Waits for the attempt that is under way, if one is.
    pub(super) fn join(self: &Arc<Self>) -> Option<Waiter<T>> {
        let mut inside = self.lock();
        let id = inside.number();
        let running = inside.running.as_mut()?;
        Some(self.wait(running, id))
    }

    fn wait(self: &Arc<Self>, running: &mut Running<T>, id: u64) -> Waiter<T> {
        let (sender, result) = oneshot::channel();
        running.waiting.push_back((id, sender));
        Waiter {
            attempts: Arc::clone(self),
            id,
            result,
        }
    }

    /// An attempt is over: the first who still waits gets what came of it, the others nothing.
    fn end(&self, id: u64, mut result: Option<T>) {
        let ended = {
            let mut inside = self.lock();
            inside.running.take_if(|running| running.id == id)
        };
        let waiting = ended.map(|ended| ended.waiting).unwrap_or_default();
        for (_, waiter) in waiting {
            // Outside the lock: what is sent back may be dropped here.
            if let Some(sends) = result.take() {
                result = waiter.send(sends).err();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + 'static> Attempts<T> {
    /// Begins an attempt, and waits for it. It is ended when nobody waits any more, unless it `stays`.
    /// If nothing comes of it, all look again.
    pub(super) fn begin(
        self: &Arc<Self>,
        stays: bool,
        attempt: impl Future<Output = Option<T>> + Send + 'static,
    ) -> Waiter<T> {
        let mut inside = self.lock();
        let (id, waiter) = (inside.number(), inside.number());
        let running = inside.running.insert(Running {
            id,
            task: None,
            stays,
            waiting: VecDeque::new(),
        });
        let waiter = self.wait(running, waiter);
        drop(inside);
        let ending = Ending {
            attempts: Arc::clone(self),
            id,
        };
        // Not under the lock: a runtime that shuts down drops the task at once, which ends the attempt.
        let task = tokio::spawn(async move {
            let result = attempt.await;
            ending.attempts.end(id, result);
        });
        if let Some(running) = &mut self.lock().running
            && running.id == id
        {
            running.task = Some(task.abort_handle());
        }
        waiter
    }
}

impl<T> Inside<T> {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl<T> Waiter<T> {
    /// What came of it; `None` if another one got that, or nothing came.
    pub(super) async fn result(&mut self) -> Option<T> {
        (&mut self.result).await.ok()
    }
}

impl<T> Drop for Waiter<T> {
    fn drop(&mut self) {
        let mut inside = self.attempts.lock();
        if let Some(running) = &mut inside.running {
            running.waiting.retain(|(id, _)| *id != self.id);
        }
        let vain = |running: &mut Running<T>| running.waiting.is_empty() && !running.stays;
        let ended = inside.running.take_if(vain);
        drop(inside);
        if let Some(task) = ended.and_then(|ended| ended.task) {
            task.abort();
        }
    }
}

impl<T> Drop for Ending<T> {
    fn drop(&mut self) {
        self.attempts.end(self.id, None);
    }
}

#[cfg(test)]
mod tests;
