//! Site selection by a library user: what Go's `GetConfigForClient` gives.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use rustls::AlertDescription;

use crate::config::site_tls::SiteTls;
use crate::tls::hello::ClientHello;

/// The answer of a [`Selector`], possibly later.
pub type SelectFuture = Pin<Box<dyn Future<Output = Selection> + Send + 'static>>;

/// What a selector decides.
#[derive(Clone, Debug)]
pub enum Selection {
    /// Select by server name, as without a selector.
    ByName,
    /// The site of this name, with its own TLS side.
    Site(Arc<str>),
    /// The site of this name, with another TLS side for this connection.
    Tls {
        /// The site whose routes and timeouts serve the connection.
        site: Arc<str>,
        /// Certificates, protocols, versions, early data: all that its TLS side consists of. To be
        /// kept and given again, one for each site: what resumes is what this object remembers, and
        /// stateless tickets (without early data) are bound to it and not to the site.
        tls: Arc<SiteTls>,
    },
    /// End the handshake with an alert.
    Refuse(AlertDescription),
}

/// Chooses a site for a ClientHello. It sees the whole hello before rustls does, may be async, and
/// is bounded by the handshake timeout of the site that would be selected by name, or the default.
///
/// No decision here may rest on the client's address where early data is taken over a transport
/// that does not prove it; TCP does (EARLY-DATA R15).
pub trait Selector: Send + Sync + 'static {
    /// Chooses. `client` and `local` are the two ends of the connection.
    fn select(
        &self,
        hello: Arc<ClientHello>,
        client: SocketAddr,
        local: SocketAddr,
    ) -> SelectFuture;

    /// Chooses at once, for a connection over QUIC: there a handshake goes on only when a packet
    /// comes, so an answer that came later would find nobody to take it.
    ///
    /// The default asks [`select`](Self::select) and ends the handshake (`internal_error`) if the
    /// answer is not there at its first poll. `client` is not proved yet (EARLY-DATA R15).
    fn select_at_once(
        &self,
        hello: Arc<ClientHello>,
        client: SocketAddr,
        local: SocketAddr,
    ) -> Selection {
        let mut future = self.select(hello, client, local);
        match future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(selection) => selection,
            Poll::Pending => Selection::Refuse(AlertDescription::InternalError),
        }
    }
}

impl<F, A> Selector for F
where
    F: Fn(Arc<ClientHello>, SocketAddr, SocketAddr) -> A + Send + Sync + 'static,
    A: Future<Output = Selection> + Send + 'static,
{
    fn select(
        &self,
        hello: Arc<ClientHello>,
        client: SocketAddr,
        local: SocketAddr,
    ) -> SelectFuture {
        Box::pin(self(hello, client, local))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::hello::testing::Builder;

    fn at_once(selector: impl Selector) -> Selection {
        let hello = Builder::tls13().server_name(b"a.example").parse();
        let hello = Arc::new(hello.unwrap());
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        selector.select_at_once(hello, address, address)
    }

    #[test]
    fn what_is_not_there_at_once_ends_a_handshake_over_quic() {
        let ready = |_: Arc<ClientHello>, _, _| async { Selection::Site("a.example".into()) };
        assert!(matches!(at_once(ready), Selection::Site(name) if &*name == "a.example"));
        let later = |_: Arc<ClientHello>, _, _| std::future::pending::<Selection>();
        let refused = Selection::Refuse(AlertDescription::InternalError);
        assert_eq!(format!("{:?}", at_once(later)), format!("{refused:?}"));
    }
}
