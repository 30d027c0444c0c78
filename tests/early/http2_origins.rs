//! R11 and R16–R19 where the origin is spoken to over HTTP/2: an early request is one stream among
//! those of others.

use std::time::Duration;

use h2::Reason;

use crate::early::confirmation::{Failure, fail};
use crate::early::scene::{self, NAME, Scene, get};
use crate::support::client::Client;
use crate::support::h2::{H2, request};
use crate::support::http2_origin::{Asked, Http2Origin, Play};
use crate::support::pki::Pki;

const QUIET: Duration = Duration::from_millis(100);

/// An origin, and an edge of one worker before it: so requests share connections. The handshake
/// has 700 ms. Routes besides those of [`scene::routes_to`]: `/unaware` (`allow`), `/unsafe` (`safe`), both
/// to an origin that is not aware, and `/safe` to one that is.
async fn start(
    tls: bool,
    answer: impl Fn(&Asked) -> Play + Send + Sync + 'static,
) -> (Http2Origin, Scene) {
    let pki = Pki::new();
    let origin = match tls {
        false => Http2Origin::start(answer).await,
        true => Http2Origin::start_tls(&pki.leaf(&["127.0.0.1"]), answer).await,
    };
    let mut keys = scene::servers(&origin.url());
    if tls {
        keys += &format!(", tls = {{ ca = {:?} }}", pki.ca_file());
    }
    let mut routes = scene::routes_to(&keys);
    for (path, policy, aware) in [
        ("/unaware", "allow", false),
        ("/unsafe", "safe", false),
        ("/safe", "safe", true),
    ] {
        routes += &format!(
            "[[site.route]]\npath = {path:?}\nearly_data = {policy:?}\n\
             origin = {{ {keys}, early_data_aware = {aware} }}\n"
        );
    }
    let config = scene::config(&pki, &routes)
        .replace("workers = 2", "workers = 1")
        .replacen(
            "early_data = true\n",
            "early_data = true\ntimeouts = { handshake = \"700ms\" }\n",
            1,
        );
    (origin, Scene::with(pki, config).await)
}

/// A request with a body, all of it or less.
fn post(target: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head =
        format!("POST {target} HTTP/1.1\r\nhost: {NAME}\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// A request that an upstream marked, with these fields.
fn marked(method: &str, target: &str, fields: &str) -> Vec<u8> {
    format!("{method} {target} HTTP/1.1\r\nhost: {NAME}\r\n{fields}\r\n\r\n").into_bytes()
}

async fn confirmed(scene: &Scene) -> Client {
    Client::open(scene.edge.address(), NAME, &scene.setup.clone().fresh()).await
}

/// The next head that the origin gets.
async fn next_head(origin: &Http2Origin, seen: &mut usize) -> Asked {
    *seen += 1;
    origin.until_heads(*seen).await[*seen - 1].clone()
}

#[tokio::test]
async fn a_failed_handshake_resets_its_stream_and_the_neighbours_live() {
    for tls in [false, true] {
        let (origin, scene) = start(tls, |_| Play::default().held().and(Play::ok("late"))).await;
        let mut seen = 0;
        // Neighbours on the same connection: a confirmed one, and one that was early.
        let mut confirmed = confirmed(&scene).await;
        confirmed.send(&get("/aware?confirmed")).await;
        next_head(&origin, &mut seen).await;
        let mut early = scene.early(&get("/aware?neighbour")).await;
        early.send_pending().await;
        assert_eq!(
            next_head(&origin, &mut seen).await.field("early-data"),
            Some("1")
        );
        early.finish().await;
        let mut failures = 0;
        for how in [
            Failure::Corrupt,
            Failure::Fin,
            Failure::Reset,
            Failure::Never,
        ] {
            let whole = format!("/aware?get-{how:?}");
            let cut = format!("/aware?post-{how:?}");
            for (target, bytes) in [(&whole, get(&whole)), (&cut, post(&cut, 100, b"abc"))] {
                let mut client = scene.early(&bytes).await;
                client.send_pending().await;
                let asked = next_head(&origin, &mut seen).await;
                assert_eq!(asked.target, *target);
                assert_eq!(asked.field("early-data"), Some("1"));
                assert_eq!(asked.connection, 0, "{target}: it shares the connection");
                fail(&mut client, how).await;
                match how {
                    Failure::Reset => client.reset(),
                    Failure::Never => drop(client.ending().await),
                    _ => {}
                }
                assert_eq!(
                    origin.until_reset(target).await,
                    Some(Reason::CANCEL),
                    "{target}"
                );
                let line = scene
                    .edge
                    .until_access(|line| line["path"] == target.as_str());
                let line = line.await;
                assert_eq!(line["confirmed"], "failed", "{target}");
                assert_eq!(line["end"], "handshake_failed", "{target}");
                assert!(line["status"].is_null(), "{target}: {line}");
                failures += 1;
            }
        }
        assert_eq!(
            scene.metric("early_aborted_total", &[]).await,
            f64::from(failures)
        );
        assert_eq!(origin.heads().len(), seen, "nothing is sent again");
        assert_eq!(origin.resets(), failures as usize, "no neighbour's stream");
        origin.release();
        for client in [&mut confirmed, &mut early] {
            assert_eq!(client.response().await.text(), "late");
        }
        // The connection goes on serving.
        confirmed.send(&get("/aware?after")).await;
        assert_eq!(confirmed.response().await.text(), "late");
        assert_eq!(next_head(&origin, &mut seen).await.connection, 0);
        assert_eq!(origin.connections(), 1);
        for mut client in [confirmed, early] {
            client.close_notify().await;
        }
        scene.settle(0).await;
    }
}

#[tokio::test]
async fn a_clients_early_streams_are_reset_each_on_its_own() {
    let (origin, mut scene) = start(false, |_| Play::default().held().and(Play::ok("late"))).await;
    let mut neighbour = confirmed(&scene).await;
    neighbour.send(&get("/aware?neighbour")).await;
    origin.until_heads(1).await;
    scene.setup = scene.setup.alpn(&["h2"]);
    scene.ticket().await;
    let mut client = scene.connect().await;
    client.hold_finished();
    let asks = |target: &str, body: &'static str| {
        let method = if body.is_empty() { "GET" } else { "POST" };
        request(method, &format!("https://{NAME}{target}"), body)
    };
    let requests = vec![asks("/aware?1", ""), asks("/aware?2", "abc")];
    let mut h2 = H2::start_early(client, requests).await;
    origin.until_heads(3).await;
    // The Finished never comes.
    for target in ["/aware?1", "/aware?2"] {
        assert_eq!(origin.until_reset(target).await, Some(Reason::CANCEL));
        let line = scene.edge.until_access(|line| line["path"] == target).await;
        assert_eq!(
            (&line["confirmed"], &line["end"]),
            (&"failed".into(), &"handshake_failed".into())
        );
        assert!(h2.next().await.is_err());
    }
    origin.release();
    assert_eq!(neighbour.response().await.text(), "late");
    assert_eq!((origin.heads().len(), origin.connections()), (3, 1));
    neighbour.close_notify().await;
    scene.settle(0).await;
}

#[tokio::test]
async fn an_early_request_waits_for_finished_unless_the_origin_is_aware() {
    for tls in [false, true] {
        let (origin, scene) = start(tls, |asked| Play::ok(asked.body.clone())).await;
        let mut seen = 0;
        for (path, early) in [
            ("/aware", true),
            ("/safe", true),
            ("/echo", false),
            ("/unaware", false),
            ("/unsafe", false),
        ] {
            let mut client = scene.early(&get(path)).await;
            client.send_pending().await;
            if early {
                // EARLY-DATA R10 and R17.
                assert_eq!(client.response().await.status, 200, "{path}");
                client.finish().await;
            } else {
                assert!(client.silent_for(QUIET).await, "{path}");
                assert_eq!(origin.heads().len(), seen, "{path} was sent unproved");
                client.finish().await;
                assert_eq!(client.response().await.status, 200, "{path}");
            }
            assert!(client.early_accepted());
            let asked = next_head(&origin, &mut seen).await;
            assert_eq!(asked.field("early-data"), early.then_some("1"), "{path}");
            let line = scene.edge.until_access(|line| line["path"] == path).await;
            let outcome = if early { "served" } else { "waited" };
            assert_eq!(line["early"], outcome, "{path}");
            assert_eq!(line["answered_before_finished"], early, "{path}");
            client.close_notify().await;
        }
        // `allow` sends bodies too; `safe` does not.
        for (path, early) in [("/aware?post", true), ("/safe?post", false)] {
            let mut client = scene.early(&post(path, 3, b"abc")).await;
            client.send_pending().await;
            if !early {
                assert!(client.silent_for(QUIET).await, "{path}");
                client.finish().await;
            }
            assert_eq!(client.response().await.text(), "abc", "{path}");
            client.finish().await;
            let asked = next_head(&origin, &mut seen).await;
            assert_eq!(asked.field("early-data"), early.then_some("1"), "{path}");
            client.close_notify().await;
        }
        scene.settle(0).await;
    }
}

#[tokio::test]
async fn a_marked_request_stays_marked_or_gets_425() {
    let (origin, scene) = start(false, |asked| match asked.target.contains("late") {
        true => Play::status(425, "too early"),
        false => Play::ok("ok"),
    })
    .await;
    let mut seen = 0;
    let one = "early-data: 1";
    for (method, target, fields, status, forwarded) in [
        ("GET", "/echo", one, 425, false),
        ("GET", "/unaware", one, 425, false),
        ("GET", "/unsafe", one, 425, false),
        (
            "POST",
            "/safe",
            "early-data: 1\r\ncontent-length: 0",
            425,
            false,
        ),
        ("GET", "/safe", one, 200, true),
        ("GET", "/aware", one, 200, true),
        ("GET", "/aware", "early-data: 0\r\nearly-data: x", 200, true),
        (
            "GET",
            "/aware",
            "early-data: 1\r\nconnection: early-data",
            200,
            true,
        ),
        // EARLY-DATA R19: it is for whoever marked it.
        ("GET", "/aware?late", one, 425, true),
    ] {
        // Whether it comes early or not makes no difference to whom it is for.
        for early in [false, true] {
            let what = format!("{method} {target}, {fields:?}, early: {early}");
            let bytes = marked(method, target, fields);
            let mut client = match early {
                true => scene.early(&bytes).await,
                false => confirmed(&scene).await,
            };
            match early {
                true => client.send_pending().await,
                false => client.send(&bytes).await,
            }
            assert_eq!(client.response().await.status, status, "{what}");
            if early {
                client.finish().await;
            }
            if forwarded {
                let asked = next_head(&origin, &mut seen).await;
                assert_eq!(asked.field("early-data"), Some("1"), "{what}");
            }
            assert_eq!(origin.heads().len(), seen, "{what}");
            client.close_notify().await;
        }
    }
    scene.settle(0).await;
}

#[tokio::test]
async fn a_425_is_answered_by_sending_again_on_the_same_connection_after_finished() {
    let (origin, scene) = start(false, |asked| {
        let early = asked.field("early-data").is_some();
        match early || asked.target.contains("always") {
            true => Play::status(425, "too early"),
            false => Play::ok(asked.body.clone()),
        }
    })
    .await;
    let body = vec![b'x'; 10_000];
    let mut seen = 0;
    for (target, status) in [("/aware", 200), ("/aware?always", 425)] {
        let mut client = scene.early(&post(target, body.len(), &body)).await;
        client.send_pending().await;
        origin.until_requests(seen + 1).await;
        assert_eq!(
            next_head(&origin, &mut seen).await.field("early-data"),
            Some("1")
        );
        assert!(client.silent_for(QUIET).await, "{target}");
        assert_eq!(origin.heads().len(), seen, "{target}: it waits");
        client.finish().await;
        assert_eq!(client.response().await.status, status, "{target}");
        let again = next_head(&origin, &mut seen).await;
        assert_eq!(again.field("early-data"), None, "{target}");
        let whole = &origin.until_requests(seen).await[seen - 1];
        assert_eq!(whole.body, body, "{target}");
        client.close_notify().await;
    }
    assert_eq!((origin.heads().len(), origin.connections()), (4, 1));
    scene.settle(0).await;
}
