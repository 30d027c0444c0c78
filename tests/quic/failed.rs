//! Handshakes that fail after early data was accepted (EARLY-DATA R11).

use serde_json::Value;

use crate::quic::forger::{Forger, Level, by_transport, whole};
use crate::quic::limits::{GET, POST, head};
use crate::quic::scene::{NAME, Scene, Wants, route_to};
use crate::support::origin::{Origin, Reply, When};

/// The alert decrypt_error (RFC 9001 §4.8).
const DECRYPT_ERROR: u64 = 0x100 + 51;

#[tokio::test]
async fn r11_early_requests_before_a_wrong_finished_get_nothing_and_are_counted() {
    let origin = Origin::start_when(When::AfterHead, |_| Reply::silence()).await;
    let url = origin.url();
    let aware = format!(
        "[[site.route]]\npath = \"/aware\"\nearly_data = \"safe\"\n\
         origin = {{ servers = [\"{url}\"], early_data_aware = true, forwarded = \"off\" }}\n"
    );
    let routes = route_to("/waiting", &url, "") + &aware;
    let wants = Wants {
        routes: &routes,
        ..Wants::default()
    };
    let scene = Scene::with(wants).await;
    scene.ticket().await;
    let mut forger = Forger::to(scene.address(), NAME, &scene.setup).await;
    forger.say_hello().await;
    // Two that wait, one that its origin has, and one that is answered at once.
    let early = [
        (0, POST, "/waiting"),
        (4, GET, "/wait"),
        (8, GET, "/aware"),
        (12, GET, "/?answered"),
    ];
    for (stream, method, path) in early {
        let request = whole(stream, &head(method, path, b""));
        forger.send(Level::Early, &request).await;
    }
    forger.fly().await;
    scene.until_metric("early_delayed_total", &[], 2.0).await;
    scene
        .until_metric("answered_before_finished_total", &[], 1.0)
        .await;
    assert_eq!(origin.until_heads(1).await[0].target(), "/aware");
    forger.finish_wrongly().await;
    assert_eq!(forger.closed().await, by_transport(DECRYPT_ERROR));
    let answered: Vec<_> = early
        .map(|(stream, ..)| forger.got.streams.contains_key(&stream))
        .into();
    assert_eq!(answered, [false, false, false, true]);
    for (stream, _, path) in early {
        let line = scene.edge.until_access(|line| line["path"] == path).await;
        assert_eq!(line["confirmed"], "failed", "{path}");
        if answered[(stream / 4) as usize] {
            assert_eq!(
                (&line["early"], &line["status"]),
                (&"served".into(), &200.into())
            );
            continue;
        }
        assert_eq!(line["end"], "handshake_failed", "{path}");
        assert!(line["status"].is_null(), "{path}: {line}");
    }
    assert_eq!(scene.metric("early_aborted_total", &[]).await, 3.0);
    let offered = |line: &Value| line["early"] != "none";
    let line = scene.edge.until_connection(offered).await;
    assert_eq!(line["early"], "accepted");
    assert_eq!(
        (&line["end"], &line["alert_sent"]),
        (&"alert".into(), &"decrypt_error".into())
    );
    assert!(line["handshake_ms"].is_null(), "{line}");
    assert_eq!(line["tickets_sent"], 0);
    // What its origin had is aborted, its connection not kept, and nothing else gets there.
    origin.until_open(0).await;
    assert_eq!(origin.heads().len(), 1);
    scene.settle().await;
}
