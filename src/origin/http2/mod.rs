//! HTTP/2 towards origins (RFC 9113): connections that requests share, a stream for each.
//!
//! A connection is driven by a task of its own, since no request may have to wait until another
//! one's client reads.

mod connection;
mod message;
mod outgoing;
mod stream;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(super) use self::connection::{Connection, open};
pub(super) use self::stream::Stream;

/// Connections of one worker to one server. Beyond that requests wait for a free stream.
const MAX_CONNECTIONS: usize = 16;

/// The shared connections to one server.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<Vec<Arc<Connection>>>);

impl Connections {
    /// A place on a connection that has room; `None` if another one is to be opened.
    pub(super) fn place(&self) -> Option<Stream> {
        let mut open = self.lock();
        open.retain(|connection| connection.accepts());
        // The oldest first: so the youngest are the ones to become idle, and close.
        let with_room = open.iter().find(|connection| connection.has_room());
        let chosen = match with_room {
            Some(connection) => connection,
            None if open.len() < MAX_CONNECTIONS => return None,
            None => open.iter().min_by_key(|connection| connection.load())?,
        };
        Some(Stream::new(chosen, true))
    }

    /// Adds a new connection.
    pub(super) fn add(&self, connection: &Arc<Connection>) {
        self.lock().push(Arc::clone(connection));
    }

    /// Lets go of connections that have ended, or had no request for so long. One that nobody has
    /// a place on any more closes.
    pub(super) fn sweep(&self, now: Duration, idle: Duration) {
        self.lock()
            .retain(|connection| connection.accepts() && connection.idle(now) < idle);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Connection>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
