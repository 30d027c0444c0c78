//! One site of an edge, and the origins that it forwards to.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::EdgeError;
use crate::certs::compression::Algorithm;
use crate::certs::ocsp::OcspMode;
use crate::config::names::SiteName;
use crate::config::snapshot::{HostHeader, OriginHost, OriginServer, PoolSpec};
use crate::config::spec::{Certificates, OriginTable, RouteSpec, SiteSpec, TargetSpec};
use crate::early::EarlyDataPolicy;
use crate::forwarded::Fields;
use crate::handler::Handler;

/// One site of an [`Edge`](super::Edge).
///
/// Without a policy of its own a site with early data treats every route as
/// [`EarlyDataPolicy::Wait`].
#[derive(Debug)]
pub struct Site {
    name: String,
    names: Vec<String>,
    keys: Vec<Arc<CertifiedKey>>,
    early_data: bool,
    policy: EarlyDataPolicy,
    default: bool,
    tls12: bool,
    certificate_compression: Vec<Algorithm>,
    ocsp: OcspMode,
    http09: bool,
    handshake_timeout: Option<Duration>,
    keep_alive: Option<Duration>,
    routes: Vec<RouteSpec>,
    error: Option<String>,
}

impl Site {
    /// A site of this name: exact, or `*.` and a name.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            names: vec![name.to_owned()],
            keys: Vec::new(),
            early_data: false,
            policy: EarlyDataPolicy::Wait,
            default: false,
            tls12: false,
            certificate_compression: Algorithm::ALL.to_vec(),
            ocsp: OcspMode::default(),
            http09: false,
            handshake_timeout: None,
            keep_alive: None,
            routes: Vec::new(),
            error: None,
        }
    }

    /// Answers to another name too.
    #[must_use]
    pub fn also(mut self, name: &str) -> Self {
        self.names.push(name.to_owned());
        self
    }

    /// Adds a certificate from PEM: the chain, leaf first, and its private key. Several of
    /// different kinds are chosen from by what the client can verify.
    #[must_use]
    pub fn certificate(mut self, chain: &[u8], key: &[u8]) -> Self {
        match certified(chain, key) {
            Ok(key) => self.keys.push(Arc::new(key)),
            Err(error) => {
                self.error.get_or_insert(error);
            }
        }
        self
    }

    /// Adds a certificate from PEM files.
    #[must_use]
    pub fn certificate_files(mut self, chain: &Path, key: &Path) -> Self {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
        };
        match (read(chain), read(key)) {
            (Ok(chain), Ok(key)) => self.certificate(&chain, &key),
            (Err(error), _) | (_, Err(error)) => {
                self.error.get_or_insert(error);
                self
            }
        }
    }

    /// Adds a certificate and key that rustls can use, wherever the key is.
    #[must_use]
    pub fn certified_key(mut self, key: Arc<CertifiedKey>) -> Self {
        self.keys.push(key);
        self
    }

    /// Accepts early data (EARLY-DATA R1). Default is false.
    #[must_use]
    pub fn early_data(mut self, accepted: bool) -> Self {
        self.early_data = accepted;
        self
    }

    /// The upper bound for routes that are added after this (EARLY-DATA R13). Default is
    /// [`EarlyDataPolicy::Wait`].
    #[must_use]
    pub fn early_data_policy(mut self, policy: EarlyDataPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Also answers unknown and absent server names. Default is false.
    #[must_use]
    pub fn default_site(mut self) -> Self {
        self.default = true;
        self
    }

    /// Accepts TLS 1.2 too. Default is false.
    #[must_use]
    pub fn tls12(mut self, accepted: bool) -> Self {
        self.tls12 = accepted;
        self
    }

    /// How its certificates may be compressed (RFC 8879), in order of preference; empty is not at
    /// all. Default is [`Algorithm::ALL`].
    #[must_use]
    pub fn certificate_compression(mut self, algorithms: &[Algorithm]) -> Self {
        self.certificate_compression = algorithms.to_vec();
        self
    }

    /// Whether certificates are stapled. Default is [`OcspMode::Auto`]: those that name a responder,
    /// and have their issuer in the chain. A response in a
    /// [`certified_key`](Self::certified_key) is shown if it can be verified.
    #[must_use]
    pub fn ocsp(mut self, mode: OcspMode) -> Self {
        self.ocsp = mode;
        self
    }

    /// Speaks HTTP/0.9 over QUIC too, under the ALPN name `hq-interop`: what quic-interop-runner transfers
    /// files with. Answers have neither status nor fields there, so it is for such tests alone. Default
    /// is false; no configuration file can switch it on.
    #[doc(hidden)]
    #[must_use]
    pub fn http09_for_interop(mut self, spoken: bool) -> Self {
        self.http09 = spoken;
        self
    }

    /// From accept to the client's Finished. Default is 10 s.
    #[must_use]
    pub fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.handshake_timeout = Some(limit);
        self
    }

    /// From the end of an answer to the next request. Default is 75 s.
    #[must_use]
    pub fn keep_alive(mut self, limit: Duration) -> Self {
        self.keep_alive = Some(limit);
        self
    }

    /// Answers everything that no other route does. Make handlers with
    /// [`plain`](crate::handler::plain) and [`early`](crate::handler::early).
    #[must_use]
    pub fn handler(self, handler: impl Handler) -> Self {
        self.handle("/", handler)
    }

    /// Answers everything below `prefix`.
    #[must_use]
    pub fn handle(self, prefix: &str, handler: impl Handler) -> Self {
        let target = TargetSpec::Handler(Arc::new(handler));
        self.route(RouteSpec::new(prefix, target))
    }

    /// Forwards everything below `prefix` to an origin.
    #[must_use]
    pub fn origin(self, prefix: &str, origin: Origin) -> Self {
        self.route(RouteSpec::new(prefix, TargetSpec::Inline(origin.0)))
    }

    /// Adds a route; its own policy is replaced by this site's if it is the default one.
    #[must_use]
    pub fn route(mut self, mut route: RouteSpec) -> Self {
        if route.early_data.value == EarlyDataPolicy::default() {
            route.early_data = self.policy.into();
        }
        self.routes.push(route);
        self
    }

    pub(super) fn into_spec(self) -> Result<SiteSpec, EdgeError> {
        let wrong = |error: String| EdgeError::Site(self.name.clone(), error);
        if let Some(error) = self.error {
            return Err(wrong(error));
        }
        let names = self
            .names
            .iter()
            .map(|name| SiteName::parse(name).map_err(|error| wrong(format!("{name}: {error}"))))
            .collect::<Result<Vec<_>, _>>()?;
        let mut spec = SiteSpec::new(names, Certificates::Keys(self.keys));
        spec.default = self.default.into();
        spec.early_data = self.early_data.into();
        spec.tls12 = self.tls12;
        spec.certificate_compression = self.certificate_compression;
        spec.ocsp = self.ocsp.into();
        spec.http09 = self.http09;
        if let Some(limit) = self.handshake_timeout {
            spec.timeouts.handshake = limit;
        }
        if let Some(limit) = self.keep_alive {
            spec.timeouts.keep_alive = limit;
        }
        spec.routes = self.routes;
        Ok(spec)
    }
}

fn certified(chain: &[u8], key: &[u8]) -> Result<CertifiedKey, String> {
    let chain = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("the certificate chain is not PEM: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| format!("the private key is not PEM: {error}"))?;
    let key = any_supported_type(&key).map_err(|error| format!("the private key: {error}"))?;
    Ok(CertifiedKey::new(chain, key))
}

/// Servers that speak HTTP/1.1 in plain text, for [`Site::origin`]. Requests go to the least busy
/// unless [`pool`](Origin::pool) says otherwise.
#[derive(Clone, Debug)]
pub struct Origin(OriginTable);

impl Origin {
    /// An origin with one server, which does not understand `Early-Data`.
    pub fn new(address: SocketAddr) -> Self {
        Self(OriginTable {
            servers: Vec::new(),
            early_data_aware: false,
            host: HostHeader::default(),
            pool: Box::default(),
            forwarded: Fields::default(),
            proxy_protocol: None,
            tls: None,
        })
        .and(address)
    }

    /// Adds a server.
    #[must_use]
    pub fn and(mut self, address: SocketAddr) -> Self {
        let host = OriginHost::Address(address.ip());
        self.0
            .servers
            .push(OriginServer::plain(host, address.port()));
        self
    }

    /// How the servers are chosen, spared and watched. Default is [`PoolSpec::default`].
    #[must_use]
    pub fn pool(mut self, pool: PoolSpec) -> Self {
        *self.0.pool = pool;
        self
    }

    /// In which fields the servers are told who the client is. Default is [`Fields::X`].
    ///
    /// Over QUIC an early request waits before an origin that is told the client's address, unless
    /// a Retry has proved that (EARLY-DATA R15): with [`Fields::Off`] it goes at once.
    #[must_use]
    pub fn forwarded(mut self, fields: Fields) -> Self {
        self.0.forwarded = fields;
        self
    }

    /// Whether requests carry the server's own authority as Host instead of the one that the client
    /// asked for. Default is false.
    #[must_use]
    pub fn own_host(mut self, own: bool) -> Self {
        self.0.host = match own {
            true => HostHeader::Origin,
            false => HostHeader::Client,
        };
        self
    }

    /// Whether the servers understand `Early-Data` and answer 425 to what they will not do twice
    /// (RFC 8470; EARLY-DATA R16). Default is false: early requests wait.
    #[must_use]
    pub fn early_data_aware(mut self, aware: bool) -> Self {
        self.0.early_data_aware = aware;
        self
    }
}
