//! Which answers are taken.

use std::time::{Duration, SystemTime};

use x509_cert::der::Encode;
use x509_ocsp::OcspResponse;

use super::super::testing::{Answer, Authority, DAY, noon, tampered};
use super::super::verify::{Refusal, SKEW, verify};
use super::super::{MAX_RESPONSE, StapleStatus, request};

/// An authority, and what becomes of its answer about number 7 at noon.
struct Stage(Authority);

impl Stage {
    fn new() -> Self {
        Self(Authority::new("an authority"))
    }

    fn answer(&self) -> Answer {
        self.0.answer(7)
    }

    fn at(&self, response: &[u8], now: SystemTime) -> Result<StapleStatus, Refusal> {
        verify(response, &self.0.subject(7), None, now).map(|staple| staple.status)
    }

    fn take(&self, answer: Answer) -> Result<StapleStatus, Refusal> {
        self.at(&self.0.sign(answer), noon())
    }
}

#[test]
fn a_good_answer_of_the_issuer_is_taken_whole() {
    let stage = Stage::new();
    let response = stage.0.sign(stage.answer());
    let staple = verify(&response, &stage.0.subject(7), None, noon()).unwrap();
    assert_eq!(*staple.der, *response);
    assert_eq!(staple.this_update, noon() - DAY);
    assert_eq!(staple.next_update, noon() + DAY * 7);
    assert_eq!(staple.status, StapleStatus::Good);
    let by_key = stage.answer().by_key(stage.0.issuer.der());
    assert_eq!(stage.take(by_key), Ok(StapleStatus::Good));
}

#[test]
fn revoked_is_an_answer_and_unknown_is_none() {
    let stage = Stage::new();
    let revoked = StapleStatus::Revoked(noon() - DAY * 2);
    assert_eq!(stage.take(stage.answer().revoked()), Ok(revoked));
    let mut unknown = stage.answer();
    unknown.status = x509_ocsp::CertStatus::unknown();
    assert_eq!(stage.take(unknown), Err(Refusal::Unknown));
}

#[test]
fn an_answer_about_another_certificate_or_of_another_issuer_is_refused() {
    let stage = Stage::new();
    let other = stage.take(stage.0.answer(8));
    assert_eq!(other, Err(Refusal::OtherCertificate));
    // The same number, name and all, but another key.
    let impostor = Authority::new("an authority");
    let response = impostor.sign(impostor.answer(7));
    assert_eq!(stage.at(&response, noon()), Err(Refusal::Signature));
    let stranger = Authority::new("a stranger");
    let response = stranger.sign(stranger.answer(7));
    assert!(matches!(
        stage.at(&response, noon()),
        Err(Refusal::Signer(_))
    ));
}

#[test]
fn what_was_changed_after_it_was_signed_is_refused() {
    let stage = Stage::new();
    let response = stage.0.sign(stage.answer());
    assert_eq!(
        stage.at(&tampered(&response), noon()),
        Err(Refusal::Signature)
    );
    for at in 0..response.len() {
        let mut changed = response.clone();
        changed[at] ^= 1;
        assert!(stage.at(&changed, noon()).is_err(), "byte {at}");
        assert!(stage.at(&response[..at], noon()).is_err(), "{at} bytes");
    }
    let longer = [&response[..], &[0]].concat();
    assert!(stage.at(&longer, noon()).is_err());
}

#[test]
fn a_responder_answers_for_its_issuer_only_with_the_right_to() {
    let stage = Stage::new();
    let ends = noon() + DAY * 3;
    let (key, delegate) = stage.0.delegate(true, ends);
    let response = stage.answer().by(&delegate).signed_by(&key);
    let staple = verify(&response, &stage.0.subject(7), None, noon()).unwrap();
    // Not longer than the responder may answer.
    assert_eq!(staple.next_update, ends);

    let (other_key, _) = stage.0.delegate(true, ends);
    let forged = stage.answer().by(&delegate).signed_by(&other_key);
    assert_eq!(stage.at(&forged, noon()), Err(Refusal::Signature));
    let mut alone = stage.answer().by(&delegate);
    alone.certificates = None;
    let alone = alone.signed_by(&key);
    assert!(matches!(stage.at(&alone, noon()), Err(Refusal::Signer(_))));
    for (entitled, ends) in [(false, ends), (true, noon() - DAY)] {
        let (key, delegate) = stage.0.delegate(entitled, ends);
        let response = stage.answer().by(&delegate).signed_by(&key);
        let refused = stage.at(&response, noon());
        assert!(matches!(refused, Err(Refusal::Signer(_))), "{refused:?}");
    }
    let other = Authority::new("an authority");
    let (key, delegate) = other.delegate(true, noon() + DAY * 3);
    let response = stage.answer().by(&delegate).signed_by(&key);
    assert!(matches!(
        stage.at(&response, noon()),
        Err(Refusal::Signer(_))
    ));
}

#[test]
fn dates_are_held_against_the_clock() {
    let stage = Stage::new();
    let take =
        |this_update, next_update| stage.take(stage.answer().between(this_update, next_update));
    let (now, second) = (noon(), Duration::from_secs(1));
    assert!(take(now + SKEW, now + DAY).is_ok());
    assert_eq!(take(now + SKEW + second, now + DAY), Err(Refusal::NotYet));
    assert!(take(now - DAY, now + second).is_ok());
    assert_eq!(take(now - DAY, now), Err(Refusal::Expired));
    assert_eq!(take(now, now), Err(Refusal::NotYet));
    let mut endless = stage.answer();
    endless.next_update = None;
    assert_eq!(stage.take(endless), Err(Refusal::NoEnd));
}

#[test]
fn a_nonce_that_comes_back_has_to_be_the_one_that_was_sent() {
    let stage = Stage::new();
    let subject = stage.0.subject(7);
    let take = |answer: Answer, sent: Option<&[u8]>| {
        verify(&stage.0.sign(answer), &subject, sent, noon()).map(|_| ())
    };
    let sent = request::nonce().unwrap();
    assert_eq!(take(stage.answer().nonce(&sent), Some(&sent)), Ok(()));
    // RFC 5019 §4: responders that sign beforehand leave it away.
    assert_eq!(take(stage.answer(), Some(&sent)), Ok(()));
    assert_eq!(
        take(stage.answer().nonce(b"other"), Some(&sent)),
        Err(Refusal::Nonce)
    );
}

#[test]
fn what_is_critical_and_not_known_is_refused() {
    let stage = Stage::new();
    let mut answer = stage.answer().nonce(b"x");
    answer.extensions[0].extn_id = "1.2.3.4".parse().unwrap();
    answer.extensions[0].critical = true;
    assert!(matches!(stage.take(answer), Err(Refusal::Malformed(_))));
}

#[test]
fn a_responder_that_declines_is_quoted() {
    let stage = Stage::new();
    for (response, word) in [
        (OcspResponse::try_later(), "tryLater"),
        (OcspResponse::unauthorized(), "unauthorized"),
        (OcspResponse::internal_error(), "internalError"),
        (OcspResponse::malformed_request(), "malformedRequest"),
        (OcspResponse::sig_required(), "sigRequired"),
    ] {
        let refused = stage.at(&response.to_der().unwrap(), noon());
        assert_eq!(refused, Err(Refusal::Declined(word)));
    }
    for garbage in [
        &b""[..],
        b"<html>",
        &[0x30, 0x80],
        &vec![0x30; MAX_RESPONSE + 1],
    ] {
        assert!(matches!(
            stage.at(garbage, noon()),
            Err(Refusal::Malformed(_))
        ));
    }
}
