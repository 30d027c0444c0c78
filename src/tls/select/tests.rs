use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;

use super::*;
use crate::certs::chooser::{CertificateChooser, CertificateKind, choose_certificate};
use crate::config::names::SiteName;
use crate::tls::hello::testing::{Builder, numbers16};

fn index(names: &[&str]) -> NameIndex<usize> {
    let mut index = NameIndex::new();
    for (i, name) in names.iter().enumerate() {
        let name = SiteName::parse(name).expect("a name");
        index.insert(name, i).expect("new");
    }
    index
}

#[test]
fn the_most_exact_site_answers() {
    let names = index(&["*.example.com", "www.example.com"]);
    let by = |host| select(Some(host), &names, Some(&9)).map(|s| (*s.site, s.by));
    assert_eq!(by("www.example.com"), Ok((1, SelectedBy::Exact)));
    assert_eq!(by("api.example.com"), Ok((0, SelectedBy::Wildcard)));
    assert_eq!(by("example.com"), Ok((9, SelectedBy::Default)));
}

#[test]
fn the_default_site_is_named_only_by_its_own_names() {
    let names = index(&["example.com"]);
    let default = names.get("example.com");
    let named = |host| select(host, &names, default).map(|s| s.is_named());
    assert_eq!(named(Some("example.com")), Ok(true));
    assert_eq!(named(Some("other.example")), Ok(false));
    assert_eq!(named(None), Ok(false));
}

#[test]
fn without_a_default_site_the_client_is_told_what_was_wrong() {
    let names = index(&["example.com"]);
    let refused = |host| select(host, &names, None).map(|s| *s.site);
    assert_eq!(refused(None), Err(Refused::NoServerName));
    assert_eq!(refused(Some("other.example")), Err(Refused::UnknownName));
    assert_eq!(
        Refused::NoServerName.alert(),
        AlertDescription::MissingExtension
    );
    assert_eq!(
        Refused::UnknownName.alert(),
        AlertDescription::UnrecognisedName
    );
}

#[test]
fn ecdsa_is_preferred_and_rsa_is_for_those_who_need_it() {
    use CertificateKind::{EcdsaP256, EcdsaP384, Rsa};
    let available = [Rsa, EcdsaP384, EcdsaP256, EcdsaP256];
    let all = [
        SignatureScheme::RSA_PSS_SHA256,
        SignatureScheme::ECDSA_NISTP384_SHA384,
        SignatureScheme::ECDSA_NISTP256_SHA256,
    ];
    assert_eq!(choose_certificate(&available, &all), Some(2));
    assert_eq!(choose_certificate(&available, &all[..2]), Some(1));
    assert_eq!(choose_certificate(&available, &all[..1]), Some(0));
    assert_eq!(
        choose_certificate(&available, &[SignatureScheme::ED25519]),
        None
    );
    assert_eq!(choose_certificate(&[], &all), None);
}

/// A certificate chain is not needed to choose by key.
fn certified(algorithm: &'static rcgen::SignatureAlgorithm) -> Arc<CertifiedKey> {
    let key = rcgen::KeyPair::generate_for(algorithm).expect("a key");
    let der = PrivateKeyDer::try_from(key.serialize_der()).expect("PKCS#8");
    let key = any_supported_type(&der).expect("a signing key");
    Arc::new(CertifiedKey::new(Vec::new(), key))
}

#[test]
fn keys_are_known_by_what_they_sign() {
    for (algorithm, kind) in [
        (&rcgen::PKCS_ECDSA_P256_SHA256, CertificateKind::EcdsaP256),
        (&rcgen::PKCS_ECDSA_P384_SHA384, CertificateKind::EcdsaP384),
        (&rcgen::PKCS_ED25519, CertificateKind::Ed25519),
        (&rcgen::PKCS_RSA_SHA256, CertificateKind::Rsa),
    ] {
        let chooser = CertificateChooser::new(vec![certified(algorithm)]).expect("a usable key");
        assert_eq!(chooser.kinds(), [kind]);
    }
    assert!(CertificateChooser::new(Vec::new()).is_err());
}

#[test]
fn the_kind_is_known_from_the_hello() {
    let keys = vec![
        certified(&rcgen::PKCS_RSA_SHA256),
        certified(&rcgen::PKCS_ECDSA_P256_SHA256),
    ];
    let chooser = CertificateChooser::new(keys).expect("usable keys");
    let kind = |suites: &[u16], schemes: &[u16]| {
        let mut hello = Builder::empty().extension(13, &numbers16(schemes));
        hello.suites = suites.to_vec();
        let hello = hello.parse().expect("a hello");
        chooser.certificate_for(|| hello.signature_schemes(), || hello.cipher_suites())
    };
    assert_eq!(
        kind(&[0x1301], &[0x0804, 0x0403]),
        Some(CertificateKind::EcdsaP256)
    );
    assert_eq!(kind(&[0x1301], &[0x0804]), Some(CertificateKind::Rsa));
    assert_eq!(kind(&[0x1301], &[0x0807]), None);
    // TLS 1.2: the suite says what authenticates.
    assert_eq!(
        kind(&[0xc02f], &[0x0403, 0x0804]),
        Some(CertificateKind::Rsa)
    );
    assert_eq!(
        kind(&[0xc02b], &[0x0403, 0x0804]),
        Some(CertificateKind::EcdsaP256)
    );
    assert_eq!(kind(&[0xc02f], &[0x0403]), None);
}
