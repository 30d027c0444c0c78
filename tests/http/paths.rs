//! No spelling of a path reaches another route than its meaning does.

use crate::http::stand::{NAME, Stand, forward, get, respond, route};
use crate::support::h2::request;
use crate::support::origin::{Origin, Reply};

/// What the origin is asked for; `None` is 400.
const SPELLINGS: &[(&str, Option<&str>)] = &[
    ("/", Some("/")),
    ("/a/b?c=%2f%5c%00", Some("/a/b?c=%2f%5c%00")),
    ("/a/./b", Some("/a/b")),
    ("/a/../b", Some("/b")),
    ("/a/b/..", Some("/a/")),
    ("/a/b/.", Some("/a/b/")),
    ("/a/%2e%2e/b", Some("/b")),
    ("/a/.%2E/b", Some("/b")),
    ("/a/%2e/b", Some("/a/b")),
    ("/%61%42%7e%2D", Some("/aB~-")),
    ("/a%3ab%c3%a4", Some("/a%3Ab%C3%A4")),
    ("/a//b", Some("/a//b")),
    ("//a", Some("//a")),
    ("/a/..b/...", Some("/a/..b/...")),
    ("/a;b=c/..;/d", Some("/a;b=c/..;/d")),
    ("/%252e%252e/a", Some("/%252e%252e/a")),
    ("/..", None),
    ("/a/../../b", None),
    ("/%2e%2e/b", None),
    ("/a%2fb", None),
    ("/a%2Fb", None),
    ("/a%5cb", None),
    ("/a%5Cb", None),
    ("/a%00b", None),
    ("/a\\b", None),
    ("/a%", None),
    ("/a%2", None),
    ("/a%zz", None),
];

#[tokio::test]
async fn the_origin_sees_the_normal_spelling_or_nothing() {
    let origin = Origin::start(|asked| Reply::ok(asked.target())).await;
    let stand = Stand::start(&forward("/", &origin)).await;
    let mut http2 = stand.http2().await;
    for (sent, expected) in SPELLINGS {
        let answer = stand.ask(&get(sent)).await;
        let said = (answer.status == 200).then(|| answer.text());
        assert_eq!(said, *expected, "{sent}");
        if expected.is_none() {
            assert_eq!(answer.status, 400, "{sent}");
        }
        let absolute = format!("GET https://{NAME}{sent} HTTP/1.1\r\nhost: {NAME}\r\n\r\n");
        let answer = stand.ask(&absolute).await;
        let said = (answer.status == 200).then(|| answer.text());
        assert_eq!(said, *expected, "absolute {sent}");
        if let Ok(uri) = format!("https://{NAME}{sent}").parse::<http::Uri>() {
            let answer = http2
                .fetch(request("GET", &uri.to_string(), ""))
                .await
                .unwrap();
            let said = (answer.status == 200).then(|| answer.text());
            assert_eq!(said, *expected, "h2 {sent}");
        }
    }
}

#[tokio::test]
async fn no_spelling_reaches_a_looser_route() {
    let exact =
        "[[site.route]]\nexact = \"/api/exact\"\nrespond = { status = 200, body = \"exact\" }\n";
    let routes = respond("/", "root")
        + &respond("/api", "api")
        + &respond("/api/admin", "admin")
        + &route(
            "/api/write",
            "respond = { status = 200, body = \"write\" }\nmethods = [\"POST\"]",
        )
        + exact;
    let stand = Stand::start(&routes).await;
    for (path, expected) in [
        ("/", "root"),
        ("/apis", "root"),
        ("/api", "api"),
        ("/api/", "api"),
        ("/api?admin", "api"),
        ("/api/administer", "api"),
        ("/api/admin", "admin"),
        ("/api/admin/x", "admin"),
        ("/api/x/../admin", "admin"),
        ("/api/%61dmin", "admin"),
        ("/x/../api/./admin", "admin"),
        ("/api/admin/..", "api"),
        ("/api/admin/../..", "root"),
        ("/api/exact", "exact"),
        ("/api/exact?x", "exact"),
        ("/api/exact/", "api"),
        ("/api/%65xact", "exact"),
        ("/API/admin", "root"),
    ] {
        assert_eq!(stand.ask(&get(path)).await.text(), expected, "{path}");
    }
    assert_eq!(stand.status_of("/api/write").await, 200);
}
