//! HTTP/3 as clients see it: methods, content both ways, trailers, fields.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::HeaderMap;

use crate::quic::client::{answer, request};
use crate::quic::scene::{Scene, Wants, route_to};
use crate::support::origin::{Origin, Reply};
use crate::support::within;

async fn before(origin: &Origin) -> Scene {
    let routes = route_to("/origin", &origin.url(), "");
    let wants = Wants {
        routes: &routes,
        ..Wants::default()
    };
    Scene::with(wants).await
}

fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 251) as u8).collect()
}

#[tokio::test]
async fn an_answer_has_length_and_date_and_head_has_no_content() {
    let scene = Scene::start().await;
    let mut client = scene.client().await;
    for method in ["GET", "HEAD"] {
        let answer = client
            .ask(request(method, "https://example.com/x?y=z"), Bytes::new())
            .await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["content-length"], "5");
        assert!(answer.headers.contains_key("date"));
        let body = if method == "GET" { "hello" } else { "" };
        assert_eq!(answer.text(), body);
    }
    client.close().await;
    scene.settle().await;
}

#[tokio::test]
async fn an_answer_that_is_given_again_tells_the_time_anew() {
    let scene = Scene::start().await;
    let mut client = scene.client().await;
    let mut first = None;
    let told = async {
        loop {
            let before = SystemTime::now();
            let answer = client.get("https://example.com/").await;
            assert_eq!(answer.text(), "hello");
            let date = answer.headers["date"].to_str().unwrap();
            let date = httpdate::parse_http_date(date).unwrap();
            // It has whole seconds, and this machine may be busy.
            let late = before.duration_since(date).unwrap_or_default();
            assert!(late < Duration::from_secs(5), "{late:?}");
            assert!(date <= SystemTime::now());
            if date > *first.get_or_insert(date) {
                break;
            }
        }
    };
    within("a later date", told).await;
    client.close().await;
    scene.settle().await;
}

#[tokio::test]
async fn ten_megabytes_go_both_ways() {
    let origin = Origin::start(|asked| Reply::ok(&asked.body)).await;
    let scene = before(&origin).await;
    let mut client = scene.client().await;
    let sent = noise(10 * 1024 * 1024);
    let stream = client
        .begin(request("POST", "https://example.com/origin/big"))
        .await;
    let (mut to, mut from) = stream.split();
    let content = Bytes::from(sent.clone());
    let sending = tokio::spawn(async move {
        let mut content = content;
        while !content.is_empty() {
            let piece = content.split_to(content.len().min(100_000));
            to.send_data(piece).await.unwrap();
        }
        to.finish().await.unwrap();
    });
    let head = within("the head", from.recv_response()).await.unwrap();
    assert_eq!(head.status(), 200);
    let mut got = Vec::new();
    while let Some(mut data) = within("content", from.recv_data()).await.unwrap() {
        use bytes::Buf;
        got.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    within("sending", sending).await.unwrap();
    assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
    client.close().await;
    scene.settle().await;
}

#[tokio::test]
async fn trailers_go_both_ways() {
    let origin = Origin::start(|_| Reply::chunked(&[b"con", b"tent"], &[("x-end", "yes")])).await;
    let scene = before(&origin).await;
    let mut client = scene.client().await;
    let mut stream = client
        .begin(request("POST", "https://example.com/origin"))
        .await;
    stream.send_data(Bytes::from_static(b"abc")).await.unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    stream.send_trailers(trailers).await.unwrap();
    within("the end", stream.finish()).await.unwrap();
    let answer = answer(&mut stream).await;
    assert_eq!(answer.text(), "content");
    assert_eq!(answer.trailers.unwrap()["x-end"], "yes");
    let asked = origin.until_requests(1).await.remove(0);
    assert_eq!(asked.body, b"abc");
    assert!(asked.trailers.contains("x-sum: 7"), "{}", asked.trailers);
    client.close().await;
}

#[tokio::test]
async fn an_origin_learns_what_it_learns_over_tcp() {
    let origin = Origin::start(|_| Reply::ok("from the origin")).await;
    let scene = before(&origin).await;
    let mut client = scene.client().await;
    let mut asked = request("GET", "https://example.com/origin/a/../b?c");
    let fields = asked.headers_mut();
    fields.insert("x-own", "1".parse().unwrap());
    fields.append("cookie", "a=1".parse().unwrap());
    fields.append("cookie", "b=2".parse().unwrap());
    let answer = client.ask(asked, Bytes::new()).await;
    assert_eq!(answer.text(), "from the origin");
    let asked = origin.until_requests(1).await.remove(0);
    assert_eq!(asked.target(), "/origin/b?c");
    assert_eq!(asked.field("host"), Some("example.com"));
    assert_eq!(asked.field("x-own"), Some("1"));
    assert_eq!(asked.field("cookie"), Some("a=1; b=2"));
    assert_eq!(asked.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(asked.field("early-data"), None);
    client.close().await;
}

#[tokio::test]
async fn content_is_asked_for_when_it_is_wanted() {
    let origin = Origin::start(|asked| Reply::ok(&asked.body)).await;
    let scene = before(&origin).await;
    let mut client = scene.client().await;
    let mut asked = request("POST", "https://example.com/origin");
    let fields = asked.headers_mut();
    fields.insert("expect", "100-continue".parse().unwrap());
    let mut stream = client.begin(asked).await;
    let interim = within("100", stream.recv_response()).await.unwrap();
    assert_eq!(interim.status(), 100);
    stream.send_data(Bytes::from_static(b"now")).await.unwrap();
    stream.finish().await.unwrap();
    assert_eq!(answer(&mut stream).await.text(), "now");
    client.close().await;
}

#[tokio::test]
async fn interim_answers_of_an_origin_reach_the_client() {
    const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\
                         connection: x-hop\r\nx-hop: 1\r\ncontent-length: 3\r\n\r\n";
    let whole = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let origin = Origin::start(move |asked| match asked.target() {
        // The hints come while the answer is still to come, behind a 100 that nobody asked for.
        "/origin/first" => Reply::raw("HTTP/1.1 100 Continue\r\n\r\n")
            .send(HINTS)
            .held()
            .send(whole),
        // All at once.
        _ => Reply::raw([HINTS, HINTS, whole].concat()),
    })
    .await;
    let scene = before(&origin).await;
    let mut client = scene.client().await;
    for (path, count) in [("first", 1), ("at-once", 2)] {
        let url = format!("https://example.com/origin/{path}");
        let mut stream = client.begin(request("GET", &url)).await;
        stream.finish().await.unwrap();
        for _ in 0..count {
            let hints = within("hints", stream.recv_response()).await.unwrap();
            assert_eq!(hints.status(), 103, "{path}");
            let fields: Vec<_> = hints.headers().iter().collect();
            assert_eq!(fields.len(), 1, "{fields:?}");
            assert_eq!(hints.headers()["link"], "</a.css>; rel=preload");
        }
        origin.release();
        let answer = answer(&mut stream).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text()),
            (200, "ok"),
            "{path}"
        );
    }
    client.close().await;
    scene.settle().await;
}

/// The one Alt-Svc of an answer over HTTP/2.
async fn told_over_h2(scene: &Scene) -> String {
    use crate::support::client::Client;
    use crate::support::h2::{H2, request};
    let setup = scene.setup.clone().alpn(&["h2"]);
    let client = Client::open(scene.address(), "example.com", &setup).await;
    let mut h2 = H2::start(client).await;
    let get = request("GET", "https://example.com/", "");
    let answer = h2.fetch(get).await.unwrap();
    assert_eq!(answer.headers.get_all("alt-svc").iter().count(), 1);
    answer.headers["alt-svc"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn fixed_answers_are_the_same_as_over_tcp() {
    use crate::support::client::Client;
    let route = |path: &str, more: &str| format!("[[site.route]]\npath = \"{path}\"\n{more}\n");
    let long = "x".repeat(5000);
    let routes = [
        route("/none", "respond = { status = 204 }"),
        route("/empty", "respond = { status = 404 }"),
        route("/long", &format!("respond = {{ body = \"{long}\" }}")),
        route(
            "/dated",
            "respond = { body = \"dated\", headers = { date = \"Thu, 01 Jan 1970 00:00:00 GMT\", etag = \"\\\"1\\\"\" } }",
        ),
        route(
            "/edited",
            "response_headers = { set = { x-asked = \"$host\" } }\nrespond = { body = \"edited\" }",
        ),
        route("/large-head", &format!("respond = {{ body = \"x\", headers = {{ x-long = \"{long}\" }} }}")),
    ]
    .concat();
    let scene = Scene::with(Wants {
        routes: &routes,
        listener: "alt_svc = \"off\"",
        ..Wants::default()
    })
    .await;
    let mut over_quic = scene.client().await;
    let setup = scene.setup.clone().alpn(&["http/1.1"]);
    let mut over_tcp = Client::open(scene.address(), "example.com", &setup).await;
    for method in ["GET", "POST", "OPTIONS"] {
        for path in [
            "/",
            "/none",
            "/empty",
            "/long",
            "/dated",
            "/edited",
            "/large-head",
        ] {
            let asked = request(method, &format!("https://example.com{path}"));
            let ours = over_quic.ask(asked, Bytes::new()).await;
            let head = format!("{method} {path} HTTP/1.1\r\nhost: example.com\r\n\r\n");
            over_tcp.send(head.as_bytes()).await;
            let theirs = over_tcp.response().await;
            assert_eq!(ours.status.as_u16(), theirs.status, "{method} {path}");
            assert_eq!(ours.body, theirs.body, "{method} {path}");
            for name in ["content-length", "etag", "x-asked", "x-long"] {
                let value = ours.headers.get(name).map(|value| value.to_str().unwrap());
                // HTTP/1.1 says that there is none, where HTTP/3 just ends.
                let there = theirs.header(name).filter(|value| *value != "0");
                assert_eq!(value, there, "{method} {path} {name}");
            }
            let dates = ours.headers.get_all("date").iter().count();
            assert_eq!(dates, 1, "{method} {path}");
            if path == "/dated" {
                assert_eq!(ours.headers["date"], theirs.header("date").unwrap());
            }
        }
    }
    over_quic.close().await;
}

#[tokio::test]
async fn answers_over_tcp_tell_of_http3() {
    use crate::support::client::Client;
    let scene = Scene::start().await;
    let setup = scene.setup.clone().alpn(&["http/1.1"]);
    let mut client = Client::open(scene.address(), "example.com", &setup).await;
    client
        .send(b"GET / HTTP/1.1\r\nhost: example.com\r\n\r\n")
        .await;
    let answer = client.response().await;
    let expected = format!("h3=\":{}\"; ma=86400", scene.address().port());
    assert_eq!(answer.header("alt-svc"), Some(expected.as_str()));
    assert_eq!(told_over_h2(&scene).await, expected);
    let mut client = scene.client().await;
    let answer = client.get("https://example.com/").await;
    assert!(!answer.headers.contains_key("alt-svc"));

    // A reload changes what kept connections are told, too.
    let mut kept = Client::open(scene.address(), "example.com", &setup).await;
    let quic = "quic = true\n";
    let silent = scene
        .config
        .replacen(quic, &format!("{quic}alt_svc = \"off\"\n"), 1);
    scene.reload(&silent).await;
    kept.send(b"GET / HTTP/1.1\r\nhost: example.com\r\n\r\n")
        .await;
    assert_eq!(kept.response().await.header("alt-svc"), None);

    let short = Scene::with(Wants {
        listener: "alt_svc = \"1h\"",
        ..Wants::default()
    })
    .await;
    let expected = format!("h3=\":{}\"; ma=3600", short.address().port());
    assert_eq!(told_over_h2(&short).await, expected);

    let silent = Scene::with(Wants {
        listener: "alt_svc = \"off\"",
        ..Wants::default()
    })
    .await;
    let setup = silent.setup.clone().alpn(&["http/1.1"]);
    let mut client = Client::open(silent.address(), "example.com", &setup).await;
    client
        .send(b"GET / HTTP/1.1\r\nhost: example.com\r\n\r\n")
        .await;
    assert_eq!(client.response().await.header("alt-svc"), None);
}

#[tokio::test]
async fn heads_and_content_past_their_limits_are_refused() {
    let wants = Wants {
        routes: "[[site.route]]\npath = \"/small\"\nrespond = { status = 200 }\nlimits = { body = \"10B\", uri = \"64B\" }",
        ..Wants::default()
    };
    let scene = Scene::with(wants).await;
    let mut client = scene.client().await;
    let long = format!("https://example.com/small?{}", "x".repeat(100));
    assert_eq!(client.get(&long).await.status, 414);
    let mut large = request("GET", "https://example.com/");
    let value = "x".repeat(60_000).parse().unwrap();
    large.headers_mut().insert("x-large", value);
    assert_eq!(client.ask(large, Bytes::new()).await.status, 431);
    let body = request("POST", "https://example.com/small");
    assert_eq!(client.ask(body, noise(11)).await.status, 413);
    // The connection is none the worse for it.
    assert_eq!(client.get("https://example.com/").await.status, 200);
    client.close().await;
    scene.settle().await;
}
