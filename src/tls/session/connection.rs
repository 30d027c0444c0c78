//! The store as one connection sees it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::HandshakeKind;
use rustls::server::StoresServerSessions;

use super::MAX_IDENTITIES;
use super::store::{Id, Miss, Session, Store, Tags, Use};

/// One handshake's view of the shared [`Store`]: it puts with the site's tags, and remembers what
/// was taken until the handshake has shown whether it was used.
///
/// rustls takes a session for each offered identity *before* it looks at the binder, and also
/// when the session then turns out to be of another name or suite. None of that proves that the
/// sender owns the session, so what was taken for nothing goes back: see
/// [`ConnectionSessions::settle`].
pub struct ConnectionSessions {
    store: Arc<Store>,
    tags: Tags,
    purpose: Use,
    /// When the ClientHello came: sessions made by this handshake count as of then.
    now: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    asked: usize,
    taken: Vec<(Id, Session)>,
    first_miss: Option<Miss>,
    tickets: usize,
}

impl ConnectionSessions {
    pub(super) fn new(store: Arc<Store>, tags: Tags, purpose: Use, now: u64) -> Self {
        Self {
            store,
            tags,
            purpose,
            now,
            state: Mutex::default(),
        }
    }

    /// Gives back what was taken for nothing. Call it after each turn in which rustls has
    /// processed a ClientHello, whether it failed or not, with
    /// [`handshake_kind`](rustls::CommonState::handshake_kind); more calls do no harm.
    ///
    /// EARLY-DATA R9: after a wrong binder the kind is not `Resumed`, nothing was accepted, and
    /// the owner finds the session again. A resumed handshake has spent the session it stopped
    /// at, however it ends.
    pub fn settle(&self, kind: Option<HandshakeKind>) {
        let mut taken = std::mem::take(&mut self.state().taken);
        if kind == Some(HandshakeKind::Resumed) {
            // rustls stops asking at the session that it resumes: the last one.
            taken.pop();
        }
        for (id, session) in taken {
            self.store.put_back(&id, session, self.now);
        }
    }

    /// How many tickets were issued: sessions put.
    pub fn tickets(&self) -> usize {
        self.state().tickets
    }

    /// Why the first identity gave no session, if it did not: [`Miss::ReplaySuspected`] for the
    /// slower of two connections with one ticket, though both were told that it is there.
    pub fn first_miss(&self) -> Option<Miss> {
        self.state().first_miss
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StoresServerSessions for ConnectionSessions {
    fn put(&self, id: Vec<u8>, value: Vec<u8>) -> bool {
        let stored = self
            .store
            .put(&id, Session::new(value, self.tags, self.now), self.now);
        self.state().tickets += usize::from(stored);
        stored
    }

    /// TLS 1.2 looks sessions up without taking them: never from a single-use store (EARLY-DATA
    /// R5).
    fn get(&self, _id: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn take(&self, id: &[u8]) -> Option<Vec<u8>> {
        let mut state = self.state();
        state.asked += 1;
        // EARLY-DATA R9: also a second ClientHello can't burn more than two.
        if state.asked > MAX_IDENTITIES {
            return None;
        }
        match self.store.take(id, &self.tags, self.purpose, self.now) {
            Ok(session) => {
                let value = session.value.to_vec();
                if let Ok(id) = Id::try_from(id) {
                    state.taken.push((id, session));
                }
                Some(value)
            }
            Err(miss) => {
                if state.asked == 1 {
                    state.first_miss = Some(miss);
                }
                None
            }
        }
    }

    /// rustls asks this for TLS 1.2 only, where "no" means an empty session id and nothing put:
    /// 1.2 sessions are not single use and must not fill this store. TLS 1.3 goes by what `put`
    /// returns.
    fn can_cache(&self) -> bool {
        false
    }
}

impl fmt::Debug for ConnectionSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionSessions")
            .field("tags", &self.tags)
            .field("purpose", &self.purpose)
            .finish_non_exhaustive()
    }
}
