//! HTTP/2 towards origins (RFC 9113): connections that requests share, a stream for each.
//!
//! A connection is driven by a task of its own, since no request may have to wait until another
//! one's client reads.

mod connection;
mod message;
mod outgoing;
mod stream;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

pub(super) use self::connection::{Connection, open};
pub(super) use self::stream::Stream;

/// Connections of one worker to one server. Beyond that requests wait in the pool's queue for a free stream.
const MAX_CONNECTIONS: usize = 16;

/// The shared connections to one server.
#[derive(Debug, Default)]
pub(super) struct Connections {
    inside: Mutex<Inside>,
    /// Told of each stream that ends, for who waits for one.
    freed: Arc<Notify>,
    waiting: AtomicUsize,
}

/// What a request finds.
#[derive(Debug)]
pub(super) enum Found {
    Place(Stream),
    /// Nothing, and another connection may be opened.
    New,
    /// As many streams as all connections may have.
    Full,
}

/// A request that waits for a stream.
#[derive(Debug)]
pub(super) struct Waiting<'a>(&'a Connections);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Waiting<'_> {
    /// Waits until a stream has ended.
    pub(super) async fn turn(&self) {
        self.0.freed.notified().await;
    }
}

#[derive(Debug, Default)]
struct Inside {
    open: Vec<Arc<Connection>>,
    /// Who of those that are loaded alike is next.
    turn: usize,
}

impl Connections {
    /// A place for a request. Over several addresses requests are spread as evenly as can be; with one, the youngest connections are left to
    /// become idle, and close. One that had no request for `idle` is given up instead.
    pub(super) fn place(&self, several: bool, now: Duration, idle: Duration) -> Found {
        let mut inside = self.lock();
        let Inside { open, turn } = &mut *inside;
        open.retain(|connection| connection.accepts());
        let with_room =
            |connection: &&Arc<Connection>| connection.has_room() && connection.idle(now) < idle;
        let chosen = match several {
            false => open.iter().find(with_room),
            true => {
                *turn = turn.wrapping_add(1);
                let (before, after) = open.split_at(*turn % open.len().max(1));
                let in_turn = after.iter().chain(before);
                in_turn.filter(with_room).min_by_key(|one| one.active())
            }
        };
        let chosen = match chosen {
            Some(connection) => connection,
            None if open.iter().any(|connection| connection.idle(now) >= idle) => {
                give_up(open, |connection| connection.idle(now) < idle);
                return Found::New;
            }
            None if open.len() < MAX_CONNECTIONS => return Found::New,
            None => return Found::Full,
        };
        Found::Place(Stream::new(chosen))
    }

    /// Joins those that wait for a stream, unless there are `most` of them.
    pub(super) fn wait(&self, most: usize) -> Option<Waiting<'_>> {
        if self.waiting.load(Ordering::Relaxed) >= most {
            return None;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Some(Waiting(self))
    }

    /// The first of the addresses that has no connection, if another one may be opened. There are
    /// attempts to open those to `coming`.
    pub(super) fn unused(
        &self,
        mut addresses: impl Iterator<Item = SocketAddr>,
        coming: &[SocketAddr],
    ) -> Option<SocketAddr> {
        let open = &self.lock().open;
        if open.len() + coming.len() >= MAX_CONNECTIONS {
            return None;
        }
        addresses.find(|address| {
            !coming.contains(address) && !open.iter().any(|open| open.goes_to(*address))
        })
    }

    /// Lets go of connections whose address is not wanted any more. They end with the last of
    /// their streams.
    pub(super) fn keep(&self, wanted: impl Fn(&Connection) -> bool) {
        give_up(&mut self.lock().open, wanted);
    }

    /// How many connections there are to an address.
    pub(super) fn count(&self, address: SocketAddr) -> usize {
        let inside = self.lock();
        let there = inside.open.iter().filter(|open| open.goes_to(address));
        there.count()
    }

    /// Adds a new connection.
    pub(super) fn add(&self, connection: &Arc<Connection>) {
        connection.tell(&self.freed);
        self.lock().open.push(Arc::clone(connection));
    }

    /// Lets go of connections that have ended, or had no request for so long. One that nobody has
    /// a place on any more closes.
    pub(super) fn sweep(&self, now: Duration, idle: Duration) {
        self.lock()
            .open
            .retain(|connection| connection.accepts() && connection.idle(now) < idle);
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets go of those that are not wanted.
fn give_up(open: &mut Vec<Arc<Connection>>, wanted: impl Fn(&Connection) -> bool) {
    open.retain(|connection| {
        let keeps = wanted(connection);
        if !keeps {
            connection.retire();
        }
        keeps
    });
}
