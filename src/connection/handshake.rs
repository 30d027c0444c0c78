//! From a ClientHello to a started engine: site, TLS side, sessions.

use std::sync::Arc;

use rustls::server::ProducesTickets;
use rustls::{AlertDescription, NamedGroup};

use crate::config::site_tls::{GROUPS, SiteTls};
use crate::config::snapshot::{Listener, Site};
use crate::connection::context::Process;
use crate::tags::Tag;
use crate::telemetry::labels::HelloError;
use crate::tls::NO_STAPLE;
use crate::tls::hello::ClientHello;
use crate::tls::select::select;
use crate::tls::selector::Selection;
use crate::tls::session::{HelloOffer, Prepared, SitePolicy};

/// What a ClientHello chose.
pub(super) struct Chosen {
    pub(super) site: Arc<Site>,
    pub(super) tls: Arc<SiteTls>,
    /// Chosen as the listener's default, its names not being asked for.
    pub(super) by_default: bool,
    /// Whether it is for QUIC.
    quic: bool,
}

impl Chosen {
    /// The same over QUIC.
    pub(super) fn over_quic(self) -> Self {
        Self {
            tls: Arc::clone(self.tls.over_quic()),
            quic: true,
            ..self
        }
    }
}

/// Why a ClientHello chose nothing.
pub(super) struct Unserved {
    pub(super) alert: AlertDescription,
    pub(super) label: HelloError,
}

impl Unserved {
    fn new(alert: AlertDescription, label: HelloError) -> Self {
        Self { alert, label }
    }
}

/// Chooses the site for a ClientHello.
pub(super) fn choose(
    listener: &Listener,
    hello: &ClientHello,
    selection: Selection,
) -> Result<Chosen, Unserved> {
    let chosen = match selection {
        Selection::ByName => {
            let selected = select(
                hello.server_name(),
                &listener.names,
                listener.default.as_ref(),
            )
            .map_err(|refused| Unserved::new(refused.alert(), HelloError::of(refused.label())))?;
            with_own_tls(Arc::clone(selected.site), !selected.is_named())
        }
        Selection::Site(name) => with_own_tls(site(listener, &name)?, false),
        Selection::Tls { site: name, tls } => Ok(Chosen {
            site: site(listener, &name)?,
            tls,
            by_default: false,
            quic: false,
        }),
        Selection::Refuse(alert) => Err(Unserved::new(alert, HelloError::Rejected)),
    }?;
    check(&chosen.tls, hello)?;
    // Refused here, it costs no key exchange. A client that may resume, and one whose staple ends
    // before its second ClientHello, is judged by what rustls has made of it (`certs::shown`).
    // TLS 1.2 resumes by what is in other extensions; it is spoken with who lacks 1.3.
    if hello.offers_tls13() && !hello.offers_psk() && lacks_staple(&chosen.tls, hello) {
        return Err(Unserved::new(NO_STAPLE, HelloError::NoStaple));
    }
    Ok(chosen)
}

/// Turns away whom rustls would turn away late, or with another alert.
fn check(tls: &SiteTls, hello: &ClientHello) -> Result<(), Unserved> {
    // RFC 9846 §E.2: protocol_version. Clients of before TLS 1.2 name no signature algorithms, and
    // rustls, which looks for those first, would answer handshake_failure.
    if !(hello.offers_tls13() || tls.tls12 && hello.offers_tls12()) {
        let alert = AlertDescription::ProtocolVersion;
        return Err(Unserved::new(alert, HelloError::UnsupportedVersion));
    }
    // RFC 9846 §4.2.1: handshake_failure. rustls sees it only when it signs, behind ServerHello and
    // for the price of a key exchange. With a ticket no signature may be needed.
    if hello.offers_tls13()
        && !hello.offers_psk()
        && !tls.certificates.signs_for(|| hello.signature_schemes())
    {
        let alert = AlertDescription::HandshakeFailure;
        return Err(Unserved::new(alert, HelloError::NoCertificate));
    }
    Ok(())
}

fn site(listener: &Listener, name: &str) -> Result<Arc<Site>, Unserved> {
    listener
        .site(name)
        .cloned()
        .ok_or_else(|| Unserved::new(AlertDescription::InternalError, HelloError::SiteRefused))
}

fn with_own_tls(site: Arc<Site>, by_default: bool) -> Result<Chosen, Unserved> {
    match &site.tls {
        Some(tls) => Ok(Chosen {
            tls: Arc::clone(tls),
            site,
            by_default,
            quic: false,
        }),
        // Its certificate could not be read at start.
        None => Err(Unserved::new(
            AlertDescription::InternalError,
            HelloError::SiteRefused,
        )),
    }
}

/// Whether the certificate that this client would get lacks the staple that it needs.
fn lacks_staple(tls: &SiteTls, hello: &ClientHello) -> bool {
    let certificates = &tls.certificates;
    // Where no certificate needs one, the clock is not asked.
    certificates.may_lack_staple()
        && certificates.lacks_staple(|| hello.signature_schemes(), || hello.cipher_suites())
}

/// Chooses how the handshake resumes and what configuration the engine starts with.
pub(super) fn prepare(process: &Process, chosen: &Chosen, hello: &ClientHello) -> Prepared {
    let tls = &chosen.tls;
    let sessions = &process.sessions;
    let mut base = tls.server_config(group(hello), || -> Arc<dyn ProducesTickets> {
        sessions.ticketer(tls.trust)
    });
    if hello.prefers_chacha20() {
        // The client is slow at AES: its order counts.
        let mut own = rustls::ServerConfig::clone(&base);
        own.ignore_client_order = false;
        base = Arc::new(own);
    }
    sessions.prepare(
        &base,
        &policy(chosen),
        HelloOffer {
            identities: hello.identities().map(|identity| identity.identity),
            early_data: hello.offers_early_data(),
            by_default: chosen.by_default,
        },
        process.under_pressure(),
        sessions.now(),
    )
}

/// What tickets must share with this connection. A TLS side that a selector gave knows nothing of
/// the site and its routes, but its tickets are bound to them too (EARLY-DATA R6).
fn policy(chosen: &Chosen) -> SitePolicy {
    let given = SitePolicy::from(&*chosen.tls);
    let own = chosen.site.tls.as_ref();
    let own = own.map(|own| match chosen.quic {
        true => own.over_quic(),
        false => own,
    });
    match own {
        Some(own) if !Arc::ptr_eq(own, &chosen.tls) => SitePolicy {
            trust: Tag::of(&[b"cutwater given trust 1", &given.trust.0, &own.trust.0]),
            early: Tag::of(&[b"cutwater given early 1", &given.early.0, &own.early.0]),
            ..given
        },
        _ => given,
    }
}

/// The group to use, as an index of [`GROUPS`]: the first that has a share in the hello, else the
/// first but the post-quantum one that the client supports; that one costs a HelloRetryRequest.
fn group(hello: &ClientHello) -> usize {
    let shared = GROUPS.iter().position(|group| hello.has_share(*group));
    let supported = || {
        GROUPS
            .iter()
            .position(|group| *group != NamedGroup::X25519MLKEM768 && hello.supports_group(*group))
    };
    let any = || GROUPS.iter().position(|group| hello.supports_group(*group));
    // X25519 for who supports none: rustls answers with the right alert.
    shared.or_else(supported).or_else(any).unwrap_or(1)
}
