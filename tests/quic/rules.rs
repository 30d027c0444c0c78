//! What routes, marks and handlers decide over HTTP/3 is what they decide over TCP.

use bytes::Bytes;
use cutwater::body::Body;
use cutwater::config::spec::ListenSpec;
use cutwater::early::EarlyDataPolicy;
use cutwater::edge::{Edge, Site};
use cutwater::handler::{EarlyRequest, early};
use http::{Request, Response};

use crate::quic::client::{Client, answer, get, request};
use crate::quic::scene::{NAME, Scene, Wants, route_to};
use crate::quic::wire::Wire;
use crate::support::origin::{Origin, Reply};
use crate::support::pki::Pki;
use crate::support::within;

fn guarded(path: &str, keys: &str) -> String {
    format!("[[site.route]]\npath = \"{path}\"\nrespond = {{ body = \"ok\" }}\n{keys}\n")
}

#[tokio::test]
async fn clients_are_admitted_by_network_and_rate() {
    let routes = guarded("/allowed", "allow = [\"127.0.0.0/8\"]")
        + &guarded("/foreign", "allow = [\"10.0.0.0/8\", \"::1\"]")
        + &guarded("/denied", "deny = [\"127.0.0.1\"]")
        + &guarded(
            "/few",
            "rate_limit = { requests = 1, per = \"1h\", burst = 2 }",
        );
    let wants = Wants {
        routes: &routes,
        ..Wants::default()
    };
    let scene = Scene::with(wants).await;
    let mut client = scene.client().await;
    for (path, status) in [
        ("allowed", 200),
        ("foreign", 403),
        ("denied", 403),
        ("few", 200),
        ("few", 200),
        ("few", 429),
    ] {
        let answer = client.get(&format!("https://example.com/{path}")).await;
        assert_eq!(answer.status, status, "{path}");
        if status == 429 {
            let after: u64 = answer.headers["retry-after"]
                .to_str()
                .unwrap()
                .parse()
                .unwrap();
            assert!((3500..=3600).contains(&after));
        }
    }
    let denied = async |by| scene.metric("requests_denied_total", &[by]).await;
    assert_eq!(denied("by=\"network\"").await, 2.0);
    assert_eq!(denied("by=\"rate\"").await, 1.0);
    // Content of a request that is not admitted is nobody's.
    let refused = request("POST", "https://example.com/denied");
    let mut stream = client.begin(refused).await;
    // It may be told to stop before it is through.
    // What is left to send then would stand before the client's own close, which quinn holds back
    // behind its window: so no more than goes at once.
    let _ = stream.send_data(vec![7; 8000].into()).await;
    assert_eq!(answer(&mut stream).await.status, 403);
    assert_eq!(client.get("https://example.com/").await.status, 200);
    client.close().await;
    scene.settle().await;
}

#[tokio::test]
async fn a_mark_counts_after_the_handshake_too() {
    let origin = Origin::start(|_| Reply::ok("answer")).await;
    let routes = route_to("/aware", &origin.url(), "early_data = \"safe\"");
    let wants = Wants {
        routes: &routes,
        ..Wants::default()
    };
    let scene = Scene::with(wants).await;
    let mut client = scene.client().await;
    scene.until_metric("handshakes_unfinished", &[], 0.0).await;
    let marked = |method, path: &str, mark: &str| {
        let mut request = request(method, &format!("https://example.com{path}"));
        let mark = mark.parse().unwrap();
        request.headers_mut().insert("early-data", mark);
        request
    };
    // EARLY-DATA R17: whatever the field says is a mark.
    for mark in ["1", "0", "", "1, 1"] {
        for (method, path, status) in [
            ("GET", "/", 200),
            ("GET", "/wait", 425),
            ("GET", "/refuse", 425),
            ("GET", "/aware", 200),
            ("POST", "/aware", 425),
        ] {
            let asked = marked(method, path, mark);
            let answer = client.ask(asked, Bytes::new()).await;
            assert_eq!(answer.status, status, "{method} {path} {mark:?}");
        }
    }
    let asked = origin.until_requests(4).await;
    for asked in &asked {
        assert_eq!(asked.fields("early-data"), ["1"]);
    }
    assert_eq!(asked.len(), 4);
    // In trailers it is dropped and counts for nothing.
    let mut stream = client
        .begin(request("POST", "https://example.com/aware"))
        .await;
    stream.send_data(Bytes::from_static(b"abc")).await.unwrap();
    let mut trailers = http::HeaderMap::new();
    trailers.insert("early-data", "1".parse().unwrap());
    trailers.insert("x-sum", "7".parse().unwrap());
    stream.send_trailers(trailers).await.unwrap();
    stream.finish().await.unwrap();
    assert_eq!(answer(&mut stream).await.status, 200);
    let asked = origin.until_requests(5).await.remove(4);
    assert_eq!(asked.trailers.to_lowercase(), "x-sum: 7\r\n");
    client.close().await;
    scene.settle().await;
}

/// What a handler is told, and the policy of its site.
async fn told(policy: EarlyDataPolicy, path: &'static str) -> (String, String) {
    let pki = Pki::new();
    let leaf = pki.leaf(&[NAME]);
    let handler = early(|request: EarlyRequest| async move {
        let told = format!(
            "{} early={} marked={} proved={}",
            request.connection().protocol.as_str(),
            request.is_early(),
            request.is_marked(),
            request.address_is_proved()
        );
        // The one declares itself to be repeatable, the other waits.
        let request: Request<Body> = match request.uri().path() {
            "/replayable" => request.replay_safe(),
            _ => request.confirmed().await?,
        };
        let told = format!("{told} {}", request.uri().path());
        Ok(Response::new(Body::from(told)))
    });
    let mut listener = ListenSpec::new(([127, 0, 0, 1], 0).into());
    listener.quic = true.into();
    let site = Site::new(NAME)
        .certificate(leaf.chain_pem.as_bytes(), leaf.key_pem.as_bytes())
        .early_data(true)
        .early_data_policy(policy)
        .handler(handler);
    let edge = Edge::builder()
        .listener(listener)
        .workers(1)
        .site(site)
        .build()
        .unwrap();
    let address = edge.addresses()[0];
    let setup = pki.client().alpn(&["h3"]);
    let url = format!("https://{NAME}{path}");
    let mut client = Client::connect(address, NAME, &setup).await;
    let late = client.get(&url).await.text().to_owned();
    let come = async {
        while setup.tickets().left(NAME) == 0 {
            tokio::task::yield_now().await;
        }
    };
    within("a ticket", come).await;
    client.close().await;
    let wire = Wire::to(address).await;
    let (mut client, _) = Client::early(wire.address(), NAME, &setup).await;
    let mut stream = client.begin(get(&url)).await;
    stream.finish().await.unwrap();
    let handle = edge.handle();
    let metrics = &handle.metrics().early;
    let known = async {
        while metrics.answered_before_finished.get() + metrics.delayed.get() == 0 {
            tokio::task::yield_now().await;
        }
    };
    within("what becomes of it", known).await;
    let at_once = metrics.answered_before_finished.get() == 1;
    let waits = policy == EarlyDataPolicy::Wait || path != "/replayable";
    assert_eq!(at_once, !waits, "{policy:?} {path}");
    wire.turn().await;
    wire.release().await;
    let early = answer(&mut stream).await.text().to_owned();
    client.close().await;
    (late, early)
}

#[tokio::test]
async fn a_handler_knows_whether_its_request_may_be_a_replay() {
    let (late, early) = told(EarlyDataPolicy::Allow, "/replayable").await;
    assert_eq!(late, "h3 early=false marked=false proved=true /replayable");
    assert_eq!(early, "h3 early=true marked=false proved=false /replayable");
    let (_, early) = told(EarlyDataPolicy::Allow, "/once").await;
    assert_eq!(early, "h3 early=true marked=false proved=false /once");
    let (_, early) = told(EarlyDataPolicy::Wait, "/replayable").await;
    assert_eq!(early, "h3 early=false marked=false proved=true /replayable");
}
