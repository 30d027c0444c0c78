//! Tickets and sessions, kept for the next connection.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

/// Keeps sessions, to be resumed by whoever asks next.
#[derive(Default)]
pub(super) struct Shelf(Mutex<Shelved>);

#[derive(Default)]
struct Shelved {
    tickets: Vec<Tls13ClientSessionValue>,
    came: usize,
    session: Option<Tls12ClientSessionValue>,
    group: Option<NamedGroup>,
}

/// More tickets than any server is known to give at once.
const MOST_TICKETS: usize = 16;

impl Shelf {
    /// How many tickets of TLS 1.3 came.
    pub(super) fn came(&self) -> usize {
        self.lock().came
    }

    /// How many of them are left.
    pub(super) fn left(&self) -> usize {
        self.lock().tickets.len()
    }

    /// Whether there is a session of TLS 1.2.
    pub(super) fn has_session(&self) -> bool {
        self.lock().session.is_some()
    }

    /// How much early data the newest ticket allows, in bytes.
    pub(super) fn early_data(&self) -> Option<u32> {
        let shelved = self.lock();
        shelved
            .tickets
            .last()
            .map(Tls13ClientSessionValue::max_early_data_size)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shelved> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").finish_non_exhaustive()
    }
}

impl ClientSessionStore for Shelf {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.lock().group = Some(group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.lock().group
    }

    fn set_tls12_session(&self, _: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.lock().session = Some(session);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.lock().session.clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.lock().session = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let mut shelved = self.lock();
        shelved.came += 1;
        if shelved.tickets.len() < MOST_TICKETS {
            shelved.tickets.push(ticket);
        }
    }

    fn take_tls13_ticket(&self, _: &ServerName<'_>) -> Option<Tls13ClientSessionValue> {
        self.lock().tickets.pop()
    }
}
