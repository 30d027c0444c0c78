//! Tickets that are used once each.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

/// The tickets of a run, by server name. What was taken is gone: no ticket is used twice.
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

    /// How many there are for this name.
    pub(super) fn count(&self, name: &ServerName<'static>) -> usize {
        self.lock().get(name).map_or(0, VecDeque::len)
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

    /// The newest: its server surely still knows it.
    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.lock().get_mut(name)?.pop_back()
    }
}
