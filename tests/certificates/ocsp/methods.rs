//! By which method a responder is asked, and what a failure of one makes of the other.

use std::sync::Arc;
use std::time::Duration;

use super::authority::{Answer, Authority, DAY, Leaf, Status};
use super::responder::{Does, Responder};
use super::stage::{Looker, NAME, config, site};
use crate::support::edge::Edge;

const GOOD: Does = Does::Answer(Answer::GOOD);

/// Past half of its life.
const OLD: Answer<'static> = Answer {
    since: Duration::from_secs(5 * 24 * 3600),
    ..Answer::GOOD
};

/// An edge whose only certificate has a responder that does so.
async fn edge(does: Does) -> (Edge, Responder, Looker) {
    let authority = Arc::new(Authority::new());
    let responder = Responder::start(&authority, does).await;
    let leaf = Leaf {
        serial: 1,
        responder: Some(&responder.url()),
        ..Leaf::default()
    };
    let certificate = authority.leaf(NAME, leaf).toml("");
    let text = config("[ocsp]\ntimeout = \"2s\"", &[site(NAME, &certificate, "")]);
    let looker = Looker::new(&authority);
    (Edge::start(&text).await, responder, looker)
}

fn methods(responder: &Responder) -> Vec<String> {
    let asked = responder.asked().into_iter();
    asked.map(|asked| asked.method).collect()
}

#[tokio::test]
async fn what_fails_by_get_is_asked_for_by_post() {
    let unknown = Answer {
        status: Status::Unknown,
        ..Answer::GOOD
    };
    for failing in [
        Does::Http(405),
        Does::Http(500),
        Does::Raw(b"what?\r\n\r\n"),
        Does::Body(b"<html>no</html>".to_vec()),
        Does::Huge,
        Does::Hang,
        Does::Redirect("https://elsewhere.example".to_owned()),
        Does::Answer(unknown),
    ] {
        let what = format!("{failing:?}");
        let what = what.get(..40).unwrap_or(&what);
        let (edge, responder, looker) = edge(Does::by_method(failing, GOOD)).await;
        let shown = looker.until_stapled(&edge, NAME).await;
        assert_eq!(shown.staple, Some((Status::Good, 1)), "{what}");
        assert_eq!(methods(&responder), ["GET", "POST"], "{what}");
    }
}

/// Who asks to be left alone is not asked in another way.
#[tokio::test]
async fn a_responder_that_has_no_time_is_not_asked_by_post_at_once() {
    const TRY_LATER: [u8; 5] = [0x30, 3, 0x0a, 1, 3];
    for (busy, result) in [
        (Does::Http(429), "http"),
        (Does::Http(503), "http"),
        (Does::Body(TRY_LATER.to_vec()), "declined"),
    ] {
        let (edge, responder, looker) = edge(Does::by_method(busy, GOOD)).await;
        let label = format!("result=\"{result}\"");
        edge.until_metric("cutwater_ocsp_fetches_total", &[&label], 1.0)
            .await;
        assert_eq!(methods(&responder), ["GET"]);
        let shown = looker.look(edge.address(), NAME).await.unwrap();
        assert_eq!(shown.staple, None);
    }
}

/// What a cache has kept too long is asked for anew, and is better than nothing.
#[tokio::test]
async fn what_comes_old_by_get_is_asked_for_by_post_and_shown_if_that_fails() {
    let younger = Answer {
        since: DAY,
        status: Status::Revoked,
        ..Answer::GOOD
    };
    for (post, wanted) in [
        (Does::Answer(younger), Status::Revoked),
        (Does::Http(500), Status::Good),
    ] {
        let (edge, responder, looker) = edge(Does::by_method(Does::Answer(OLD), post)).await;
        let shown = looker.until_stapled(&edge, NAME).await;
        assert_eq!(shown.staple, Some((wanted, 1)));
        assert_eq!(methods(&responder), ["GET", "POST"]);
    }
}
