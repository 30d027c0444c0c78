//! Tickets that are used once each.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

thread_local! {
    /// The ticket of the connection that is made next on this thread.
    static NEXT: Cell<Option<Tls13ClientSessionValue>> = const { Cell::new(None) };
}

/// The tickets of a run, by server name. What was taken is gone: no ticket is used twice.
///
/// A connection gets the ticket that was taken for it, and no other: it is taken before TCP
/// connects, when many others may be at the same.
#[derive(Debug)]
pub(super) struct Tickets {
    names: Mutex<HashMap<ServerName<'static>, VecDeque<Tls13ClientSessionValue>>>,
    /// Most of them for one name: some servers give several for each connection.
    most: usize,
}

impl Tickets {
    /// Keeps at most this many for each name, the newest.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            names: Mutex::default(),
            most,
        })
    }

    /// Takes the newest for this name: its server surely still knows it.
    pub(super) fn take(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.lock().get_mut(name)?.pop_back()
    }

    /// The next connection that this thread makes uses this ticket, or none.
    pub(super) fn use_next(ticket: Option<Tls13ClientSessionValue>) {
        NEXT.set(ticket);
    }

    fn lock(
        &self,
    ) -> MutexGuard<'_, HashMap<ServerName<'static>, VecDeque<Tls13ClientSessionValue>>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    /// None, so that every connection sends the share that the plan names.
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        let mut names = self.lock();
        let tickets = names.entry(name).or_default();
        if tickets.len() >= self.most {
            tickets.pop_front();
        }
        tickets.push_back(value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        NEXT.take()
    }
}
