//! The client's TLS configuration.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CipherSuite, ClientConfig, DigitallySignedStruct, NamedGroup, RootCertStore, SignatureScheme,
    version,
};

use super::RunError;
use super::tickets::Tickets;
use crate::load::compression;
use crate::load::plan::{Mode, Plan, TlsPlan, Trust};

/// The order that is offered if the plan says nothing.
const SUITES: [CipherSuite; 3] = [
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
];
const GROUPS: [NamedGroup; 3] = [
    NamedGroup::X25519,
    NamedGroup::secp256r1,
    NamedGroup::X25519MLKEM768,
];

/// The configuration of every connection of the plan.
pub(super) fn config(plan: &Plan, tickets: &Arc<Tickets>) -> Result<Arc<ClientConfig>, RunError> {
    let mut config = with_provider(provider(&plan.tls)?, &plan.tls)?;
    config.alpn_protocols = plan.alpn();
    config.enable_early_data = plan.mode == Mode::Early;
    config.resumption = match plan.mode {
        Mode::Full => Resumption::disabled(),
        Mode::Resumed | Mode::Early => Resumption::store(Arc::clone(tickets) as Arc<_>),
    };
    Ok(Arc::new(config))
}

/// TLS 1.3 with this provider, and the plan's trust and identity.
pub(in crate::load) fn with_provider(
    provider: CryptoProvider,
    plan: &TlsPlan,
) -> Result<ClientConfig, RunError> {
    let provider = Arc::new(provider);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&version::TLS13])?;
    let builder = match &plan.trust {
        Trust::Roots(roots) => {
            let mut store = RootCertStore::empty();
            for root in roots {
                store.add(root.clone())?;
            }
            builder.with_root_certificates(store)
        }
        Trust::Anyone => {
            let schemes = provider.signature_verification_algorithms;
            let schemes = schemes.supported_schemes();
            let believer = Arc::new(Believer { schemes });
            builder
                .dangerous()
                .with_custom_certificate_verifier(believer)
        }
    };
    let mut config = match &plan.identity {
        Some(identity) => {
            let key = identity.key.clone_key();
            builder.with_client_auth_cert(identity.chain.clone(), key)?
        }
        None => builder.with_no_client_auth(),
    };
    config.cert_decompressors = match plan.certificate_compression {
        true => compression::DECOMPRESSORS.to_vec(),
        false => Vec::new(),
    };
    Ok(config)
}

fn provider(plan: &TlsPlan) -> Result<CryptoProvider, RunError> {
    let mut provider = aws_lc_rs::default_provider();
    let suites = pick(&plan.suites, &SUITES, |suite| {
        let known = &aws_lc_rs::ALL_CIPHER_SUITES;
        let mut known = known.iter().filter(|known| known.tls13().is_some());
        known.find(|known| known.suite() == suite).copied()
    });
    provider.cipher_suites = suites.map_err(|suite| RunError::Unsupported(format!("{suite:?}")))?;
    let groups = pick(&plan.groups, &GROUPS, |group| {
        let mut known = aws_lc_rs::ALL_KX_GROUPS.iter();
        known.find(|known| known.name() == group).copied()
    });
    provider.kx_groups = groups.map_err(|group| RunError::Unsupported(format!("{group:?}")))?;
    Ok(provider)
}

/// Those that were asked for, or else the usual ones; the first one that is unknown is an error.
fn pick<N: Copy, T>(asked: &[N], usual: &[N], known: impl Fn(N) -> Option<T>) -> Result<Vec<T>, N> {
    let names = if asked.is_empty() { usual } else { asked };
    let found = names.iter().map(|name| known(*name).ok_or(*name));
    found.collect()
}

/// Believes any server, without verifying even its signature: that would cost a third of the
/// client's handshake.
#[derive(Debug)]
struct Believer {
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for Believer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::plan::Target;

    fn plan() -> Plan {
        let target = Target::parse("https://a.test").unwrap();
        let mut plan = Plan::new(target, ([127, 0, 0, 1], 443).into()).unwrap();
        plan.tls.trust = Trust::Anyone;
        plan
    }

    #[test]
    fn the_order_of_suites_and_groups_is_the_plans() {
        let mut plan = plan();
        let provider = provider(&plan.tls).unwrap();
        let first = provider.cipher_suites[0].suite();
        assert_eq!(first, CipherSuite::TLS13_AES_128_GCM_SHA256);
        assert_eq!(provider.kx_groups[0].name(), NamedGroup::X25519);
        plan.tls.groups = vec![NamedGroup::X25519MLKEM768, NamedGroup::X25519];
        plan.tls.suites = vec![CipherSuite::TLS13_CHACHA20_POLY1305_SHA256];
        let config = config(&plan, &Tickets::new(1)).unwrap();
        let provider = config.crypto_provider();
        assert_eq!(provider.kx_groups[0].name(), NamedGroup::X25519MLKEM768);
        assert_eq!(provider.kx_groups.len(), 2);
        assert_eq!(provider.cipher_suites.len(), 1);
    }

    #[test]
    fn what_tls_13_does_not_have_is_refused() {
        let mut plan = plan();
        plan.tls.suites = vec![CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256];
        assert!(matches!(
            config(&plan, &Tickets::new(1)),
            Err(RunError::Unsupported(_))
        ));
    }
}
