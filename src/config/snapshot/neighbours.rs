//! Who stands in front of a listener, and what is believed of it.

use std::time::Duration;

use crate::admission::Networks;
use crate::forwarded::TrustedHeader;
use crate::proxy_protocol::Accepts;

/// `proxy_protocol` of a listener that is not off.
#[derive(Clone, Debug)]
pub struct ProxyProtocol {
    /// Which headers are taken.
    pub accepts: Accepts,
    /// Who may send them, and nobody else may connect.
    pub from: Networks,
    /// From accept to the whole header.
    pub timeout: Duration,
}

/// `trusted_proxies` of a listener.
#[derive(Clone, Debug)]
pub struct TrustedProxies {
    /// Where they are.
    pub networks: Networks,
    /// In which field they name the client.
    pub header: TrustedHeader,
}
