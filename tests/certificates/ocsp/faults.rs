//! Responders that are dead, slow, lying, huge or run in circles cost no handshake anything.

use std::sync::Arc;
use std::time::Duration;

use super::authority::{Answer, Authority, Leaf, Status};
use super::responder::{Does, Responder};
use super::stage::{Looker, NAME, config, site};
use crate::support::daemon::free_address;
use crate::support::edge::Edge;
use crate::support::within;

/// Waits until an attempt ended so.
async fn until_fetched(edge: &Edge, result: &str) {
    let label = format!("result=\"{result}\"");
    edge.until_metric("cutwater_ocsp_fetches_total", &[&label], 1.0)
        .await;
}

#[tokio::test]
async fn whatever_a_responder_does_handshakes_go_on_without_a_staple() {
    let authority = Arc::new(Authority::new());
    let stranger = Authority::new();
    // Answers that hold for somebody else.
    let honest = Responder::start(&authority, Does::Answer(Answer::GOOD)).await;
    let other = authority.leaf("other.example", leaf(99, &honest.url()));
    let edge = Edge::start(&config("", &[site("other.example", &other.toml(""), "")])).await;
    let request = honest.until_asked(1).await[0].body.clone();
    drop(edge);
    let of_another = authority.answer(&request, &Answer::GOOD);
    let of_a_stranger = stranger.answer(&request, &Answer::GOOD);
    let expired = Answer {
        since: Duration::from_secs(7200),
        lasts: Duration::from_secs(3600),
        ..Answer::GOOD
    };
    let unknown = Answer {
        status: Status::Unknown,
        ..Answer::GOOD
    };
    let dead = format!("http://{}", free_address());
    let faults = [
        ("timeout", Some(Does::Hang)),
        ("timeout", Some(Does::Dribble)),
        ("broken", Some(Does::Raw(b"what?\r\n\r\n"))),
        (
            "broken",
            Some(Does::Raw(
                b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
            )),
        ),
        ("malformed", Some(Does::Body(b"<html>no</html>".to_vec()))),
        ("too_large", Some(Does::Huge)),
        (
            "redirect",
            Some(Does::Redirect("https://elsewhere.example".to_owned())),
        ),
        ("http", Some(Does::Http(503))),
        ("other_certificate", Some(Does::Body(of_another))),
        ("signature", Some(Does::Body(of_a_stranger))),
        ("dates", Some(Does::Answer(expired))),
        ("unknown", Some(Does::Answer(unknown))),
        // tryLater
        ("declined", Some(Does::Body(vec![0x30, 3, 0x0a, 1, 3]))),
        ("connect", None),
    ];
    let mut responders = Vec::new();
    let mut sites = Vec::new();
    let mut names = Vec::new();
    for (index, (_, does)) in faults.iter().enumerate() {
        let name = format!("n{index}.example");
        let url = match does {
            Some(does) => {
                let responder = Responder::start(&authority, does.clone()).await;
                let url = responder.url();
                responders.push(responder);
                url
            }
            None => dead.clone(),
        };
        let serial = u8::try_from(index).unwrap() + 1;
        let certificate = authority.leaf(&name, leaf(serial, &url)).toml("");
        sites.push(site(&name, &certificate, ""));
        names.push(name);
    }
    // In circles.
    let circle = Responder::start(&authority, Does::Hang).await;
    circle.does(Does::Redirect(circle.url()));
    let certificate = authority.leaf("circle.example", leaf(77, &circle.url()));
    sites.push(site("circle.example", &certificate.toml(""), ""));
    names.push("circle.example".to_owned());
    let good = authority.leaf(NAME, leaf(88, &honest.url())).toml("");
    sites.push(site(NAME, &good, ""));

    let edge = Edge::start(&config("[ocsp]\ntimeout = \"2s\"", &sites)).await;
    let looker = Looker::new(&authority);
    let look_at_all = async || {
        for name in &names {
            let shown = looker.fresh().look(edge.address(), name).await.unwrap();
            assert_eq!(shown.staple, None, "{name}");
        }
    };
    // While they hang.
    look_at_all().await;
    looker.until_stapled(&edge, NAME).await;
    for (result, _) in &faults {
        until_fetched(&edge, result).await;
    }
    look_at_all().await;
    within("the circle", circle.until_asked(4)).await;
    assert!(circle.asked().len() <= 8, "{}", circle.asked().len());
    let missing = ["state=\"missing\""];
    let missing = edge.metric("cutwater_ocsp_certificates", &missing).await;
    assert_eq!(missing, names.len() as f64);
    let line = edge.until_text("no new staple").await;
    assert!(line.contains("WARN") && line.contains("http://"), "{line}");
    // Nobody is asked again and again: two methods each, and one more attempt at most.
    for responder in &responders {
        assert!(
            responder.asked().len() <= 4,
            "{:?}",
            responder.asked().len()
        );
    }
}

#[tokio::test]
async fn a_responder_that_fails_later_costs_nothing_while_the_last_staple_holds() {
    let authority = Arc::new(Authority::new());
    let short = Answer {
        lasts: Duration::from_secs(6),
        ..Answer::GOOD
    };
    let responder = Responder::start(&authority, Does::Answer(short)).await;
    let certificate = authority.leaf(NAME, leaf(1, &responder.url())).toml("");
    let edge = Edge::start(&config("", &[site(NAME, &certificate, "")])).await;
    let looker = Looker::new(&authority);
    let first = looker.until_stapled(&edge, NAME).await;
    responder.does(Does::Body(b"garbage".to_vec()));
    until_fetched(&edge, "malformed").await;
    // The last good one is shown until it ends, and then none: never one that has ended.
    let gone = looker.until(&edge, NAME, |shown| {
        let shown = shown.as_ref().unwrap();
        assert!(shown.staple.is_none() || shown.bytes == first.bytes);
        shown.staple.is_none()
    });
    gone.await.unwrap();
    edge.until_text("no new staple").await;
    edge.until_metric("cutwater_ocsp_certificates", &["state=\"expired\""], 1.0)
        .await;
}

fn leaf(serial: u8, responder: &str) -> Leaf<'_> {
    Leaf {
        serial,
        responder: Some(responder),
        ..Leaf::default()
    }
}
