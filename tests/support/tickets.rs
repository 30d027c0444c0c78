//! The tickets that a test client keeps.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;

use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;
use rustls::{CipherSuite, NamedGroup};

/// A session store that can be looked into and told to misbehave. Each ticket is used once, the
/// newest first; to use one twice, send its flight again.
#[derive(Debug, Default)]
pub struct Tickets {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tls13: HashMap<ServerName<'static>, VecDeque<Tls13ClientSessionValue>>,
    tls12: HashMap<ServerName<'static>, Tls12ClientSessionValue>,
    groups: HashMap<ServerName<'static>, NamedGroup>,
    seen: Vec<Ticket>,
    tweaks: Tweaks,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Tweaks {
    early_data_size: Option<u32>,
    older_by: Option<u32>,
    any_name: bool,
    group_hints: bool,
}

/// What a TLS 1.3 ticket said when it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    pub name: String,
    /// 0: it takes no early data.
    pub max_early_data_size: u32,
    pub suite: CipherSuite,
}

impl Tickets {
    /// Every TLS 1.3 ticket that ever came, in order.
    pub fn seen(&self) -> Vec<Ticket> {
        self.state.lock().unwrap().seen.clone()
    }

    /// The TLS 1.3 tickets left for a name.
    pub fn left(&self, name: &str) -> usize {
        let name = server_name(name);
        let state = self.state.lock().unwrap();
        state.tls13.get(&name).map_or(0, VecDeque::len)
    }

    /// Forgets all sessions.
    pub fn clear(&self) {
        let mut state = self.state.lock().unwrap();
        state.tls13.clear();
        state.tls12.clear();
    }

    /// From now on tickets are used as if they allowed this much early data; 0 for none, and more
    /// than was granted to break the limit. `None`: as they came.
    pub fn pretend_early_data_size(&self, size: Option<u32>) {
        self.state.lock().unwrap().tweaks.early_data_size = size;
    }

    /// From now on the age offered with a ticket is more than the true one by these seconds.
    /// rustls drops a ticket whose lifetime (24 h) is over by that.
    pub fn pretend_older(&self, seconds: Option<u32>) {
        self.state.lock().unwrap().tweaks.older_by = seconds;
    }

    /// From now on a ticket is offered whatever the server's name.
    pub fn ignore_names(&self, on: bool) {
        self.state.lock().unwrap().tweaks.any_name = on;
    }

    /// Remembers the group a server chose, as rustls would. Default: off, so that the first group
    /// of the setup is always the one with a share.
    pub fn remember_groups(&self, on: bool) {
        self.state.lock().unwrap().tweaks.group_hints = on;
    }
}

fn server_name(name: &str) -> ServerName<'static> {
    ServerName::try_from(name.to_owned()).unwrap()
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.state.lock().unwrap().groups.insert(name, group);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        let state = self.state.lock().unwrap();
        let known = state.groups.get(&name.to_owned()).copied();
        known.filter(|_| state.tweaks.group_hints)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.state.lock().unwrap().tls12.insert(name, value);
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        let state = self.state.lock().unwrap();
        state.tls12.get(&name.to_owned()).cloned()
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.state.lock().unwrap().tls12.remove(name);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        let mut state = self.state.lock().unwrap();
        state.seen.push(Ticket {
            name: name.to_str().into_owned(),
            max_early_data_size: value.max_early_data_size(),
            suite: value.suite().common.suite,
        });
        state.tls13.entry(name).or_default().push_back(value);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let mut state = self.state.lock().unwrap();
        let State { tls13, tweaks, .. } = &mut *state;
        let mut taken = tls13.get_mut(name).and_then(VecDeque::pop_back);
        if taken.is_none() && tweaks.any_name {
            taken = tls13.values_mut().find_map(VecDeque::pop_back);
        }
        if let Some(ticket) = &mut taken {
            if let Some(size) = tweaks.early_data_size {
                ticket._private_set_max_early_data_size(size);
            }
            if let Some(seconds) = tweaks.older_by {
                ticket.rewind_epoch(seconds);
            }
        }
        taken
    }
}
