//! Servers that break HTTP/3: what they do ends, and is counted under its name.

use cutwater::load::stats::{ErrorKind, Stats};
use http::Method;

use super::rogue::{Rogue, frame, head, plan_for, without_content};
use super::stand::{measure, measure_well};

/// So many operations, and all of them failed for this one reason.
fn all(stats: &Stats, kind: ErrorKind, count: u64) {
    let counts = &stats.counts;
    assert_eq!(stats.errors.by_kind(), [(kind, count)], "{counts:?}");
    assert_eq!((counts.operations, counts.requests), (0, 0));
}

#[tokio::test]
async fn half_an_answer_and_none() {
    let trailers = frame(1, b"\0\0\x21a\x011");
    let [five, cut] = [frame(0, b"hello"), frame(0, b"hello, you")];
    let cases = [
        (
            "less content",
            [head(Some("10")), five.clone()].concat(),
            ErrorKind::HalfAnswer,
        ),
        ("nothing", Vec::new(), ErrorKind::NoAnswer),
        (
            "half a head",
            head(None)[..3].to_vec(),
            ErrorKind::HalfAnswer,
        ),
        ("no content", head(Some("10")), ErrorKind::HalfAnswer),
        (
            "less content and trailers",
            [head(Some("10")), five.clone(), trailers.clone()].concat(),
            ErrorKind::HalfAnswer,
        ),
        (
            "half a frame",
            [head(None), cut[..7].to_vec()].concat(),
            ErrorKind::HalfAnswer,
        ),
        (
            "more content",
            [head(Some("4")), five.clone()].concat(),
            ErrorKind::Http,
        ),
        (
            "content behind trailers",
            [head(None), trailers, five].concat(),
            ErrorKind::Http,
        ),
    ];
    for (case, answer, kind) in cases {
        let stats = measure(&plan_for(Rogue.says(answer))).await;
        assert_eq!(stats.errors.by_kind(), [(kind, 20)], "{case}");
        all(&stats, kind, 20);
    }
}

#[tokio::test]
async fn what_has_no_content_may_announce_some() {
    let cases = [
        (Method::HEAD, head(Some("10"))),
        (Method::GET, without_content(false, "10")),
        (Method::GET, without_content(true, "10")),
    ];
    for (method, answer) in cases {
        let mut plan = plan_for(Rogue.says(answer));
        plan.request.method = method;
        let stats = measure_well(&plan).await;
        assert_eq!((stats.counts.requests, stats.counts.body), (20, 0));
    }
}
