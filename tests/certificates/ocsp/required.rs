//! Certificates that are shown with a staple or not at all.

use std::sync::Arc;
use std::time::Duration;

use rustls::AlertDescription;
use serde_json::Value;

use super::authority::{Answer, Authority, Leaf, Status};
use super::responder::{Does, Responder};
use super::stage::{LOGGED, Looker, NAME, Shown, config, site};
use crate::support::edge::{Edge, Start};

const GOOD: Does = Does::Answer(Answer::GOOD);

const REFUSED: Result<Shown, AlertDescription> =
    Err(AlertDescription::BadCertificateStatusResponse);

fn leaf(responder: &str, must_staple: bool) -> Leaf<'_> {
    Leaf {
        serial: 1,
        responder: Some(responder),
        must_staple,
        ..Leaf::default()
    }
}

/// Refused with an alert, a figure and a line of its own, then served once the responder answers.
async fn refuses_until_answered(more: &str, must_staple: bool) {
    let authority = Arc::new(Authority::new());
    let responder = Responder::start(&authority, Does::Http(503)).await;
    let certificate = authority.leaf(NAME, leaf(&responder.url(), must_staple));
    let other = authority.leaf("other.example", Leaf::default()).toml("");
    let sites = [
        site(NAME, &certificate.toml(""), more),
        site("other.example", &other, ""),
    ];
    let edge = Edge::start(&config("", &sites)).await;
    let looker = Looker::new(&authority);
    assert_eq!(looker.look(edge.address(), NAME).await, REFUSED);
    assert!(looker.look(edge.address(), "other.example").await.is_ok());
    let refused = edge.metric(
        "cutwater_client_hello_errors_total",
        &["error=\"no_staple\""],
    );
    assert_eq!(refused.await, 1.0);
    let line = edge.until_connection(|line| line["sni"] == NAME).await;
    assert_eq!(line["alert_sent"], "bad_certificate_status_response");
    assert_eq!(line["error"], "turned away: no_staple");
    edge.until_text("handshakes that need this certificate are refused")
        .await;
    responder.does(GOOD);
    // Without a new start: such a certificate is asked about every few seconds.
    let shown = looker.until(&edge, NAME, Result::is_ok).await.unwrap();
    assert_eq!(shown.staple, Some((Status::Good, 1)));
}

#[tokio::test]
async fn a_site_that_requires_staples_is_refused_without() {
    refuses_until_answered("ocsp = \"required\"", false).await;
}

#[tokio::test]
async fn a_certificate_that_demands_a_staple_requires_it_by_itself() {
    refuses_until_answered("", true).await;
}

#[tokio::test]
async fn a_renewed_certificate_is_stood_in_for_until_it_has_its_first_staple() {
    let authority = Arc::new(Authority::new());
    let responder = Responder::start(&authority, GOOD).await;
    let url = responder.url();
    let sites = |serial, must_staple| {
        let leaf = Leaf {
            serial,
            ..leaf(&url, must_staple)
        };
        let certificate = authority.leaf(NAME, leaf).toml("");
        config("", &[site(NAME, &certificate, "")])
    };
    let edge = Edge::start(&sites(1, true)).await;
    let looker = Looker::new(&authority);
    let first = looker.until(&edge, NAME, Result::is_ok).await.unwrap();
    assert_eq!(first.staple, Some((Status::Good, 1)));
    responder.does(Does::Http(503));
    let before = edge.text().len();
    edge.write_config(&sites(2, true));
    edge.signal("HUP").await;
    let told = "the former certificate is shown until the new one has its first staple";
    edge.until_text(told).await;
    // The new one was asked about in vain.
    responder.until_asked(2).await;
    let shown = looker.fresh().look(edge.address(), NAME).await.unwrap();
    assert_eq!(shown, first);
    responder.does(GOOD);
    let renewed = looker
        .until(&edge, NAME, |shown| *shown.as_ref().unwrap() != first)
        .await;
    assert_eq!(renewed.unwrap().staple, Some((Status::Good, 2)));
    assert!(!edge.text()[before..].contains("handshakes that need this certificate are refused"));
}

#[tokio::test]
async fn one_that_stands_in_is_asked_about_and_shown_no_more_once_it_is_revoked() {
    let authority = Arc::new(Authority::new());
    // Half of its time is over in three seconds, all of it in thirteen.
    let half = Answer {
        since: Duration::from_secs(7),
        lasts: Duration::from_secs(20),
        ..Answer::GOOD
    };
    let former = Responder::start(&authority, Does::Answer(half)).await;
    let renewed = Responder::start(&authority, Does::Http(503)).await;
    let sites = |serial, responder: &Responder| {
        let url = responder.url();
        let leaf = Leaf {
            serial,
            ..leaf(&url, true)
        };
        let certificate = authority.leaf(NAME, leaf).toml("");
        config("", &[site(NAME, &certificate, "")])
    };
    let edge = Edge::start(&sites(1, &former)).await;
    let looker = Looker::new(&authority);
    looker.until(&edge, NAME, Result::is_ok).await.unwrap();
    former.does(Does::Answer(Answer {
        status: Status::Revoked,
        ..Answer::GOOD
    }));
    edge.write_config(&sites(2, &renewed));
    edge.signal("HUP").await;
    edge.until_text("the former certificate is shown until the new one has its first staple")
        .await;
    let shown = looker.fresh().look(edge.address(), NAME).await.unwrap();
    assert_eq!(shown.staple, Some((Status::Good, 1)));
    looker
        .until(&edge, NAME, |shown| *shown == REFUSED)
        .await
        .unwrap_err();
    edge.until_text("the certificate is REVOKED by its authority")
        .await;
    renewed.does(GOOD);
    let shown = looker.until(&edge, NAME, Result::is_ok).await.unwrap();
    assert_eq!(shown.staple, Some((Status::Good, 2)));
}

/// A site that requires staples, each of which lasts three seconds.
async fn short(more: &str) -> (Arc<Authority>, Responder, Edge) {
    let authority = Arc::new(Authority::new());
    let short = Answer {
        lasts: Duration::from_secs(3),
        ..Answer::GOOD
    };
    let responder = Responder::start(&authority, Does::Answer(short)).await;
    let certificate = authority.leaf(NAME, leaf(&responder.url(), false)).toml("");
    let more = format!("ocsp = \"required\"\n{more}");
    let edge = Edge::start(&config(LOGGED, &[site(NAME, &certificate, &more)])).await;
    (authority, responder, edge)
}

/// A staple that ends while nobody renews it: full handshakes are refused, those that resume go on.
async fn resumes_without(more: &str, looker: fn(&Authority) -> Looker) {
    let (authority, responder, edge) = short(more).await;
    let looker = looker(&authority);
    looker.until(&edge, NAME, Result::is_ok).await.unwrap();
    // With a ticket.
    let first = looker.look(edge.address(), NAME).await;
    responder.does(Does::Http(503));
    if first == REFUSED {
        panic!("too slow: the staple has ended before a ticket came");
    }
    looker
        .until(&edge, NAME, |shown| *shown == REFUSED)
        .await
        .unwrap_err();
    let resumed = looker.look(edge.address(), NAME).await.unwrap();
    assert!(resumed.resumed);
    let logged = edge.until_connection(|line| line["resumed"] == true).await;
    assert_eq!(logged["staple"], Value::Null);
    // Tickets that open nothing: of a site with other ones, taken to this one.
    assert_eq!(looker.fresh().look(edge.address(), NAME).await, REFUSED);
}

#[tokio::test]
async fn a_handshake_that_resumes_shows_no_certificate_and_goes_on() {
    resumes_without("", Looker::new).await;
}

#[tokio::test]
async fn so_does_one_with_single_use_tickets() {
    resumes_without("early_data = true", Looker::new).await;
}

#[tokio::test]
async fn so_does_one_behind_a_hello_retry_request() {
    resumes_without("", Looker::retried).await;
}

#[tokio::test]
async fn so_does_one_of_tls_1_2() {
    resumes_without("min_version = \"1.2\"", Looker::tls12).await;
}

/// A staple that ends between two ClientHellos of one handshake.
#[tokio::test]
async fn a_staple_that_ends_before_the_second_hello_brings_no_bare_certificate() {
    let (authority, responder, edge) = short("").await;
    let (looker, retried) = (Looker::new(&authority), Looker::retried(&authority));
    looker.until(&edge, NAME, Result::is_ok).await.unwrap();
    let shown = retried.look(edge.address(), NAME).await.unwrap();
    assert_eq!(shown.staple, Some((Status::Good, 1)));
    responder.does(Does::Http(503));
    let ended = looker.until(&edge, NAME, |shown| *shown == REFUSED);
    let late = retried.fresh();
    let late = late.look_after(edge.address(), NAME, ended).await;
    assert_eq!(late, REFUSED);
    let line = edge
        .until_connection(|line| line["client_hellos"] == 2 && !line["alert_sent"].is_null())
        .await;
    assert_eq!(line["alert_sent"], "bad_certificate_status_response");
    assert_eq!(line["staple"], Value::Null);
}

#[tokio::test]
async fn a_ticket_that_opens_nothing_brings_no_bare_certificate() {
    for looker in [Looker::new, Looker::retried] {
        opens_nothing(looker).await;
    }
}

async fn opens_nothing(looker: fn(&Authority) -> Looker) {
    let authority = Arc::new(Authority::new());
    let responder = Responder::start(&authority, Does::Http(503)).await;
    let certificate = authority.leaf(NAME, leaf(&responder.url(), false)).toml("");
    let bare = config("", &[site(NAME, &certificate, "")]);
    let edge = Edge::start(&bare).await;
    let looker = looker(&authority);
    looker.look(edge.address(), NAME).await.unwrap();
    drop(edge);
    // Another process: it knows none of the tickets.
    let required = config("", &[site(NAME, &certificate, "ocsp = \"required\"")]);
    let edge = Edge::start(&required).await;
    assert_eq!(looker.look(edge.address(), NAME).await, REFUSED);
    let refused = edge.metric(
        "cutwater_client_hello_errors_total",
        &["error=\"no_staple\""],
    );
    assert_eq!(refused.await, 1.0);
    let failed = ["by=\"edge\"", "alert=\"bad_certificate_status_response\""];
    assert_eq!(
        edge.metric("cutwater_handshake_failures_total", &failed)
            .await,
        1.0
    );
}

#[tokio::test]
async fn what_can_never_be_stapled_is_told_and_costs_its_site_alone() {
    let authority = Authority::new();
    let no_responder = authority.leaf(NAME, Leaf::default()).toml("");
    let other = authority.leaf("other.example", Leaf::default()).toml("");
    let sites = [
        site(NAME, &no_responder, "ocsp = \"required\""),
        site("other.example", &other, ""),
    ];
    let text = config("", &sites);
    let strict = Start::with(&text).argument("--strict").try_run().await;
    let (_, output) = strict.err().unwrap();
    assert!(
        output.contains("the certificate names no responder"),
        "{output}"
    );
    assert!(output.contains("cutwater.toml:10:8"), "its place: {output}");
    let edge = Edge::start(&text).await;
    let looker = Looker::new(&authority);
    let refused = looker.look(edge.address(), NAME).await;
    assert_eq!(refused, Err(AlertDescription::InternalError));
    assert!(looker.look(edge.address(), "other.example").await.is_ok());
}
