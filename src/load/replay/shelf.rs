//! The one ticket of a replay test.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;
use rustls::{CipherSuite, ClientConfig, NamedGroup};

use super::catch;
use crate::load::engine;
use crate::load::plan::Plan;

/// The configuration of a client that keeps its ticket on a shelf, and keeps nothing to itself.
pub(super) fn client(plan: &Plan) -> Result<(Arc<ClientConfig>, Arc<Shelf>), String> {
    let provider = catch::provider(&plan.tls.suites, &plan.tls.groups)?;
    let config = engine::with_provider(provider, &plan.tls);
    let mut config = config.map_err(|error| error.to_string())?;
    let shelf = Arc::new(Shelf::default());
    config.alpn_protocols = plan.alpn();
    config.enable_early_data = true;
    config.resumption = Resumption::store(Arc::clone(&shelf) as _);
    Ok((Arc::new(config), shelf))
}

/// Where rustls leaves the newest ticket, and the group that the server chose: a share of another
/// group would bring about a HelloRetryRequest, and no early data.
#[derive(Debug, Default)]
pub(super) struct Shelf(Mutex<Shelved>);

#[derive(Default)]
struct Shelved {
    ticket: Option<Tls13ClientSessionValue>,
    group: Option<NamedGroup>,
}

impl fmt::Debug for Shelved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelved").finish_non_exhaustive()
    }
}

impl Shelf {
    /// Whether a ticket is there.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().ticket.is_none()
    }

    /// Throws away what is there.
    pub(super) fn clear(&self) {
        self.lock().ticket = None;
    }

    /// What the ticket says that `from` gave: its suite, and how much early data it allows, which
    /// has to be `length` at least. All in bytes of plaintext.
    pub(super) fn look(
        &self,
        from: SocketAddr,
        length: usize,
    ) -> Result<(CipherSuite, u32), String> {
        let (suite, allowed) = match &self.lock().ticket {
            Some(ticket) => (ticket.suite().common.suite, ticket.max_early_data_size()),
            None => return Err(format!("{from}: no ticket came")),
        };
        if allowed == 0 {
            return Err(format!("{from}: its ticket allows no early data"));
        }
        if length > allowed as usize {
            return Err(format!(
                "the request has {length} bytes, the ticket allows {allowed}"
            ));
        }
        Ok((suite, allowed))
    }

    fn lock(&self) -> MutexGuard<'_, Shelved> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSessionStore for Shelf {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.lock().group = Some(group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.lock().group
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.lock().ticket = Some(ticket);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.lock().ticket.take()
    }
}
