//! What a handshake shows, and until when.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::sign::CertifiedKey;

use super::super::testing::{Authority, DAY, noon};
use super::super::{Staple, StapleStatus, Stapled, Unstapled};

pub(super) fn key() -> Arc<CertifiedKey> {
    let made = rcgen::generate_simple_self_signed(vec!["n.example".to_owned()]).unwrap();
    let key = made.signing_key.serialize_der().try_into().unwrap();
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
    let mut certified = CertifiedKey::new(vec![made.cert.der().clone()], key);
    certified.ocsp = Some(b"whatever".to_vec());
    Arc::new(certified)
}

pub(super) fn staple(word: &str, until: SystemTime) -> Staple {
    Staple {
        der: Arc::from(word.as_bytes()),
        this_update: until - DAY * 7,
        next_update: until,
        status: StapleStatus::Good,
    }
}

fn ocsp(stapled: &Stapled, now: SystemTime) -> Option<Vec<u8>> {
    stapled.current(|| now).ocsp.clone()
}

#[test]
fn a_staple_ends_by_the_clock_though_nobody_takes_it_away() {
    let subject = Arc::new(Authority::new("an authority").subject(7));
    let stapled = Stapled::awaiting(key(), subject, true);
    assert_eq!(ocsp(&stapled, noon()), None, "not what nobody verified");
    assert!(!stapled.may_be_shown(noon));
    stapled.show(&staple("one", noon() + DAY));
    let last = noon() + DAY - Duration::from_secs(1);
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
    let shown = stapled.current(|| unreachable!("no clock"));
    assert!(Arc::ptr_eq(&shown, &key));
    assert!(stapled.may_be_shown(|| unreachable!("no clock")));
}
