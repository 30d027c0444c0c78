//! What a certificate says of OCSP, and what is asked about it.

use http::Uri;
use x509_cert::der::Decode;
use x509_ocsp::OcspRequest;

use super::super::subject::{Demand, Subject, Unfit, responder};
use super::super::testing::{Authority, Says, noon};
use super::super::{request, store};

#[test]
fn the_first_responder_over_http_is_asked() {
    let authority = Authority::new("an authority");
    let demand = |responders: &[&str], must_staple| {
        let says = Says {
            responders,
            must_staple,
            broken: false,
        };
        Demand::read(&authority.leaf(7, says)).unwrap()
    };
    assert_eq!(demand(&[], false), Demand::default());
    let several = [
        "ldap://a.example/",
        "https://b.example/",
        "http://c.example/x",
    ];
    let found = demand(&several, true);
    assert_eq!(
        found.responder,
        Some(Uri::from_static("http://c.example/x"))
    );
    assert!(found.must_staple);
    assert!(!demand(&several, false).must_staple);
    assert_eq!(responder("http:///x"), None);
    assert_eq!(responder("c.example"), None);
}

#[test]
fn a_demand_is_seen_though_the_responder_cannot_be_read() {
    let authority = Authority::new("an authority");
    let says = Says {
        responders: &["http://a.example/"],
        must_staple: true,
        broken: true,
    };
    let demand = Demand::read(&authority.leaf(7, says)).unwrap();
    assert!(demand.must_staple);
    assert_eq!(demand.responder, None);
    assert!(demand.unreadable.unwrap().contains("authorityInfoAccess"));
}

#[test]
fn of_two_issuers_with_one_name_the_one_that_signed_counts() {
    let (one, other) = (Authority::new("same"), Authority::new("same"));
    let (own, strange) = (one.issuer.der().clone(), other.issuer.der().clone());
    let leaf = one.leaf(7, Says::default());
    let chain = [leaf.clone(), strange.clone(), own.clone()];
    assert_eq!(Subject::read(&chain, &[]).unwrap().issuer, own);
    let named = std::slice::from_ref(&strange);
    assert_eq!(Subject::read(&chain, named).unwrap().issuer, own);
    let false_one = [leaf, strange];
    assert_eq!(Subject::read(&false_one, &[]).unwrap_err(), Unfit::NoIssuer);
}

#[test]
fn a_pipe_in_the_place_of_a_file_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let subject = Authority::new("an authority").subject(7);
    let error = store::read_file(&pipe, &subject, noon()).unwrap_err();
    assert!(error.to_string().contains("regular"), "{error}");
}

#[test]
fn the_issuer_is_found_by_its_name_wherever_it_stands() {
    let (one, other) = (Authority::new("one"), Authority::new("other"));
    let leaf = one.leaf(7, Says::default());
    let (own, strange) = (one.issuer.der().clone(), other.issuer.der().clone());
    let chain = [leaf.clone(), strange.clone(), own.clone()];
    assert_eq!(Subject::read(&chain, &[]).unwrap().issuer, own);
    let short = [leaf, strange];
    assert_eq!(Subject::read(&short, &[]).unwrap_err(), Unfit::NoIssuer);
    let subject = Subject::read(&short, std::slice::from_ref(&own)).unwrap();
    assert_eq!(subject.issuer, own);
    assert_eq!(subject.name, "n7.example");
}

#[test]
fn a_request_names_one_certificate_and_carries_the_nonce() {
    let authority = Authority::new("an authority");
    let subject = authority.subject(7);
    let request = request::build(&subject, Some(&[9; 32])).unwrap();
    let read = OcspRequest::from_der(&request).unwrap();
    assert_eq!(read.nonce().unwrap().0.as_bytes(), [9; 32]);
    let [one] = &read.tbs_request.request_list[..] else {
        panic!("one certificate");
    };
    assert_eq!(one.req_cert, authority.answer(7).id);
    let plain = request::build(&subject, None).unwrap();
    assert!(OcspRequest::from_der(&plain).unwrap().nonce().is_none());
    // So short that a GET takes it.
    assert!(request::get(&Uri::from_static("http://ocsp.example"), &plain).is_some());
}

#[test]
fn what_was_kept_is_found_again_only_while_it_holds() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("an authority");
    let subject = authority.subject(7);
    let response = authority.sign(authority.answer(7));
    let staple = super::super::verify::verify(&response, &subject, None, noon()).unwrap();
    let below = directory.path().join("made/by/us");
    store::write(&below, &subject, &staple).unwrap();
    assert_eq!(store::read(&below, &subject, noon()).unwrap(), staple);
    assert!(store::read(&below, &subject, staple.next_update).is_err());
    assert!(store::read(&below, &authority.subject(8), noon()).is_err());
    // Half a file, as a crash leaves it where nothing is atomic.
    let file = store::path(&below, &subject.fingerprint);
    std::fs::write(&file, &response[..100]).unwrap();
    assert!(store::read(&below, &subject, noon()).is_err());
    store::write(&below, &subject, &staple).unwrap();
    assert_eq!(
        std::fs::read_dir(&below).unwrap().count(),
        1,
        "no file beside it"
    );
}

#[test]
fn files_of_certificates_that_are_gone_are_taken_away_after_90_days() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("an authority");
    let (gone, kept) = (authority.subject(7), authority.subject(8));
    for subject in [&gone, &kept] {
        std::fs::write(store::path(directory.path(), &subject.fingerprint), "").unwrap();
    }
    std::fs::write(directory.path().join("notes.ocsp"), "").unwrap();
    let in_use = [kept.fingerprint].into();
    let day = super::super::testing::DAY;
    let names = || std::fs::read_dir(directory.path()).unwrap().count();
    let now = std::time::SystemTime::now();
    store::sweep(directory.path(), &in_use, now + day * 89);
    assert_eq!(names(), 3);
    store::sweep(directory.path(), &in_use, now + day * 91);
    assert_eq!(names(), 2);
    assert!(!store::path(directory.path(), &gone.fingerprint).exists());
}
