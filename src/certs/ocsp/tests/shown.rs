//! What a handshake shows, and until when.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, SignatureScheme};

use super::super::testing::{Authority, DAY, noon};
use super::super::{Staple, StapleStatus, Stapled, Unstapled};
use crate::certs::chooser::CertificateChooser;
use crate::config::names::SiteName;

pub(super) fn key() -> Arc<CertifiedKey> {
    key_of(&rcgen::PKCS_ECDSA_P256_SHA256)
}

fn key_of(algorithm: &'static rcgen::SignatureAlgorithm) -> Arc<CertifiedKey> {
    let pair = rcgen::KeyPair::generate_for(algorithm).unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["n.example".to_owned()]).unwrap();
    params.not_after = (noon() + DAY * 2).into();
    let made = params.self_signed(&pair).unwrap();
    let key = pair.serialize_der().try_into().unwrap();
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
    let mut certified = CertifiedKey::new(vec![made.der().clone()], key);
    certified.ocsp = Some(b"whatever".to_vec());
    Arc::new(certified)
}

pub(in crate::certs::ocsp) fn staple(word: &str, until: SystemTime) -> Staple {
    Staple {
        der: Arc::from(word.as_bytes()),
        this_update: until - DAY * 7,
        next_update: until,
        status: StapleStatus::Good,
    }
}

fn ocsp(stapled: &Stapled, now: SystemTime) -> Option<Vec<u8>> {
    stapled.current(|| now).key.ocsp.clone()
}

#[test]
fn a_staple_ends_by_the_clock_though_nobody_takes_it_away() {
    let subject = Arc::new(Authority::new("an authority").subject(7));
    let stapled = Stapled::awaiting(&key(), subject, true);
    assert_eq!(ocsp(&stapled, noon()), None, "not what nobody verified");
    assert!(!stapled.may_be_shown(noon));
    assert_eq!(stapled.current(noon).says, None);
    stapled.show(&staple("one", noon() + DAY));
    let last = noon() + DAY - Duration::from_secs(1);
    assert_eq!(stapled.current(|| last).says, Some("good"));
    assert_eq!(stapled.current(|| noon() + DAY).says, None);
    assert_eq!(ocsp(&stapled, last).as_deref(), Some(&b"one"[..]));
    assert!(stapled.may_be_shown(|| last));
    assert!(!stapled.may_be_shown(|| noon() + DAY));
    assert_eq!(ocsp(&stapled, noon() + DAY), None);
    // A new one is shown from then on, by the same object.
    stapled.show(&staple("two", noon() + DAY * 3));
    assert_eq!(
        ocsp(&stapled, noon() + DAY * 2).as_deref(),
        Some(&b"two"[..])
    );
}

#[test]
fn what_is_never_stapled_is_shown_as_it_is_and_asks_no_clock() {
    let key = key();
    let stapled = Stapled::never(Arc::clone(&key), Unstapled::Off);
    let shown = stapled.current(|| unreachable!("no clock")).key;
    assert!(Arc::ptr_eq(&shown, &key));
    assert!(stapled.may_be_shown(|| unreachable!("no clock")));
}

#[test]
fn a_staple_holds_again_once_the_clock_has_come_back() {
    let subject = Arc::new(Authority::new("an authority").subject(7));
    let stapled = Stapled::awaiting(&key(), subject, true);
    stapled.show(&staple("one", noon() + DAY));
    assert_eq!(ocsp(&stapled, noon() + DAY * 400), None);
    assert_eq!(ocsp(&stapled, noon()).as_deref(), Some(&b"one"[..]));
    assert!(stapled.may_be_shown(noon));
}

#[test]
fn what_nobody_verified_is_not_shown_where_nothing_is_stapled() {
    let key = key();
    assert!(key.ocsp.is_some());
    assert_eq!(ocsp(&Stapled::bare(&key, Unstapled::Off), noon()), None);
}

#[test]
fn which_certificate_lacks_its_staple_depends_on_the_suites_too() {
    let subject = Arc::new(Authority::new("an authority").subject(7));
    let required = |algorithm| {
        let key = key_of(algorithm);
        Arc::new(Stapled::awaiting(&key, Arc::clone(&subject), true))
    };
    let (ecdsa, rsa) = (
        required(&rcgen::PKCS_ECDSA_P256_SHA256),
        required(&rcgen::PKCS_RSA_SHA256),
    );
    let end = std::time::SystemTime::now() + DAY;
    ecdsa.show(&staple("one", end));
    let chooser = CertificateChooser::stapled(vec![rsa, ecdsa]).unwrap();
    let lacks = |suites: &[CipherSuite]| {
        let schemes = [
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::RSA_PSS_SHA256,
        ];
        chooser.lacks_staple(|| schemes.into_iter(), || suites.iter().copied())
    };
    // TLS 1.2: the suite says what authenticates.
    assert!(lacks(&[CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]));
    assert!(!lacks(&[
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
    ]));
    assert!(!lacks(&[CipherSuite::TLS13_AES_128_GCM_SHA256]));
}

#[test]
fn a_former_certificate_stands_in_until_the_first_staple_and_no_longer_than_it_is_valid() {
    let subject = Arc::new(Authority::new("an authority").subject(7));
    let required = || Arc::new(Stapled::awaiting(&key(), Arc::clone(&subject), true));
    let (old, new) = (required(), required());
    assert!(!new.stand_in(&old, &[], noon()), "it has no staple either");
    old.show(&staple("old", noon() + DAY * 7));
    assert!(new.stand_in(&old, &[], noon()));
    assert!(new.may_be_shown(noon));
    assert_eq!(ocsp(&new, noon()).as_deref(), Some(&b"old"[..]));
    let leaf = |stapled: &Stapled| stapled.current(noon).key.cert[0].clone();
    assert_eq!(leaf(&new), leaf(&old));
    assert!(Arc::ptr_eq(&new.former(noon()).unwrap(), &old));
    // Its certificate ends before its staple.
    assert!(!new.may_be_shown(|| noon() + DAY * 2 + Duration::from_secs(1)));
    // A second renewal meanwhile.
    let third = required();
    assert!(third.stand_in(&new, &[], noon()));
    assert_eq!(leaf(&third), leaf(&old));
    new.show(&staple("new", noon() + DAY));
    assert_eq!(ocsp(&new, noon()).as_deref(), Some(&b"new"[..]));
    assert_ne!(leaf(&new), leaf(&old));
    assert!(new.former(noon()).is_none());
    assert!(
        !new.may_be_shown(|| noon() + DAY),
        "nothing stands in any more"
    );
    assert!(!new.stand_in(&old, &[], noon()));
    // It has another name.
    let other = [SiteName::parse("other.example").unwrap()];
    assert!(!required().stand_in(&old, &other, noon()));
    // Nothing is wanted of one that needs none.
    let lenient = Stapled::awaiting(&key(), Arc::clone(&subject), false);
    assert!(!lenient.stand_in(&old, &[], noon()));
}

#[test]
fn a_former_certificate_that_is_revoked_does_not_stand_in() {
    let subject = Arc::new(Authority::new("an authority").subject(7));
    let required = || Arc::new(Stapled::awaiting(&key(), Arc::clone(&subject), true));
    let (old, new) = (required(), required());
    let mut revoked = staple("old", noon() + DAY);
    revoked.status = StapleStatus::Revoked(noon() - DAY);
    old.show(&revoked);
    assert!(!new.stand_in(&old, &[], noon()));
    assert!(!new.may_be_shown(noon));
    assert_eq!(new.current(noon).says, None);
    assert_eq!(ocsp(&new, noon()), None);
}

#[test]
fn a_former_certificate_goes_on_with_its_own_staples_and_stops_when_it_is_revoked() {
    let subject = Arc::new(Authority::new("an authority").subject(7));
    let required = || Arc::new(Stapled::awaiting(&key(), Arc::clone(&subject), true));
    let (old, new, third) = (required(), required(), required());
    let hour = DAY / 24;
    old.show(&staple("first", noon() + hour));
    assert!(new.stand_in(&old, &[], noon()));
    assert!(third.stand_in(&new, &[], noon()));
    assert!(!new.may_be_shown(|| noon() + hour));
    old.show(&staple("second", noon() + DAY));
    for new in [&new, &third] {
        assert_eq!(ocsp(new, noon() + hour).as_deref(), Some(&b"second"[..]));
    }
    let mut revoked = staple("third", noon() + DAY);
    revoked.status = StapleStatus::Revoked(noon() - DAY);
    old.show(&revoked);
    for new in [&new, &third] {
        assert_eq!(ocsp(new, noon()), None);
        assert!(new.current(noon).lacks_staple);
    }
    assert!(new.former(noon()).is_none() && third.former(noon()).is_none());
    // Where it is itself in use it is shown all the same, and says so.
    assert_eq!(old.current(noon).says, Some("revoked"));
}

#[test]
fn the_dates_are_those_of_the_staple_that_is_shown() {
    let subject = Arc::new(Authority::new("an authority").subject(7));
    let required = || Arc::new(Stapled::awaiting(&key(), Arc::clone(&subject), true));
    let (old, new) = (required(), required());
    assert_eq!(new.dates(noon()), None);
    let end = noon() + DAY;
    old.show(&staple("old", end));
    assert!(new.stand_in(&old, &[], noon()));
    assert_eq!(new.dates(noon()), Some((end - DAY * 7, end)));
    assert_eq!(new.dates(end), None);
    new.show(&staple("new", end + DAY));
    assert_eq!(new.dates(noon()), Some((end - DAY * 6, end + DAY)));
}
