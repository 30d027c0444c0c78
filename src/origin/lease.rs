//! A request's claim on a server, with the connection that serves it.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::Ends;
use super::address::Address;
use super::connect::{self, Wish};
use super::error::ForwardErrorKind;
use super::link::Link;
use super::pool::Pool;
use super::queue::Slot;
use super::upstream::Permit;

/// How long a connection may have idled for a request that may not be sent again. Below the
/// shortest keep-alive timeout in wide use (5 s).
const MAX_IDLE_FOR_UNREPEATABLE: Duration = Duration::from_secs(3);
/// How long a server that could not be connected to is asked last.
const AVOIDED: Duration = Duration::from_secs(1);

/// A request's claim on a server. Dropped, it closes the connection that it holds.
#[derive(Debug)]
pub(super) struct Lease {
    pool: Arc<Pool>,
    server: usize,
    link: Option<Box<Link>>,
    /// Whether the server failed the request.
    failed: bool,
    /// Its place under `limits.connections`.
    _slot: Option<Slot>,
    /// Its place under `limits.requests`, once nothing is sent again any more.
    _permit: Option<Permit>,
}

impl Lease {
    /// A claim that the pool counts already.
    pub(super) fn new(pool: &Arc<Pool>, server: usize, slot: Option<Slot>) -> Self {
        Self {
            pool: Arc::clone(pool),
            server,
            link: None,
            failed: false,
            _slot: slot,
            _permit: None,
        }
    }

    /// Which server of the origin it is.
    pub(super) fn server(&self) -> usize {
        self.server
    }

    /// Holds the request's place in the origin until the answer is over.
    pub(super) fn hold(&mut self, permit: Permit) {
        self._permit = Some(permit);
    }

    /// How long a connection may have idled.
    fn most_idle(&self, repeatable: bool) -> Duration {
        let most = self.pool.spec().timeouts.idle;
        match repeatable {
            true => most,
            false => most.min(MAX_IDLE_FOR_UNREPEATABLE),
        }
    }

    /// Takes an idle connection that still stands; `repeatable` says that the request could be
    /// sent again if it turns out not to.
    pub(super) fn reuse(&mut self, repeatable: bool) -> bool {
        let most = self.most_idle(repeatable);
        let now = self.pool.ticker.now();
        let endpoint = self.pool.endpoints.get(self.server);
        loop {
            let idle = self.pool.state().idle(self.server, now, most);
            // If the youngest is too old, all are.
            let Some(mut link) = idle else { return false };
            // Polled once: this notices that the origin closed it meanwhile.
            if endpoint.is_some_and(|endpoint| endpoint.keeps(&mut link)) && link.is_ready() {
                self.link = Some(link);
                return true;
            }
        }
    }

    /// Opens a connection within `timeout`, trying all addresses of the server, or joins one that
    /// others use; `repeatable` as for [`reuse`](Self::reuse).
    ///
    /// # Errors
    /// What became of the address that was tried last, and which that was.
    pub(super) async fn connect(
        &mut self,
        ends: Ends,
        repeatable: bool,
        timeout: Duration,
    ) -> Result<(), (ForwardErrorKind, Option<Address>)> {
        let ticker = Arc::clone(&self.pool.ticker);
        let wish = Wish {
            ends,
            idle: self.most_idle(repeatable),
            timeout,
        };
        let result = match self.pool.endpoints.get(self.server) {
            Some(endpoint) => connect::open(endpoint, wish, &ticker).await,
            None => return Err((connect::unreachable_name(), None)),
        };
        match result {
            Ok(link) => {
                self.link = Some(link);
                Ok(())
            }
            // It has enough to do already.
            Err(error @ (ForwardErrorKind::QueueFull | ForwardErrorKind::QueueTimeout, _)) => {
                Err(error)
            }
            Err(error) => {
                let until = ticker.now() + AVOIDED;
                self.pool.state().avoid(self.server, until);
                if error.0.is_failure() {
                    self.fail();
                }
                Err(error)
            }
        }
    }

    /// The connection; `None` before [`reuse`](Self::reuse) or [`connect`](Self::connect) had
    /// one.
    pub(super) fn link(&mut self) -> Option<&mut Link> {
        self.link.as_deref_mut()
    }

    /// The server's own Host, if that is what it gets.
    pub(super) fn host(&self) -> Option<&HeaderValue> {
        self.pool.host(self.server)
    }

    /// What is left of the answer's body, where that is known.
    pub(super) fn left(&self) -> Option<u64> {
        self.link.as_ref()?.left()
    }

    /// The server failed the request.
    pub(super) fn fail(&mut self) {
        if !std::mem::replace(&mut self.failed, true) {
            let now = self.pool.process_time();
            self.pool.upstream.failed(self.server, now);
        }
    }

    /// The server failed the request before, too, and that was not counted.
    pub(super) fn fail_before(&self) {
        let now = self.pool.process_time();
        self.pool.upstream.failed(self.server, now);
    }

    /// The exchange is over: keeps the connection if it can serve another one.
    pub(super) fn release(mut self) {
        if !self.failed {
            self.pool.upstream.succeeded(self.server);
        }
        let Some(endpoint) = self.pool.endpoints.get(self.server) else {
            return;
        };
        if endpoint.names_clients() {
            // It has named its client, and no other one's request may go over it.
            return;
        }
        let Some(mut link) = self.link.take() else {
            return;
        };
        if !endpoint.keeps(&mut link) {
            return;
        }
        link.alarm.clear();
        if !link.is_ready() {
            return;
        }
        link.idle_since = self.pool.ticker.now();
        let most = self.pool.spec().limits.idle;
        let kept = self.pool.state().keep(self.server, link, most);
        // Closed outside the lock.
        drop(kept);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.state().end(self.server);
    }
}
