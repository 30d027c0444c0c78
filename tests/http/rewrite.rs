//! Paths that are rewritten towards the origin, and redirects that keep what was asked for.

use crate::http::stand::{NAME, Stand, get, route};
use crate::support::h2::request;
use crate::support::origin::{Origin, Reply};

#[tokio::test]
async fn an_origin_sees_the_path_without_its_prefix_or_with_another() {
    let origin = Origin::start(|asked| Reply::ok(asked.target())).await;
    let to = format!("origin = [{:?}]", origin.url());
    let stand = Stand::start(
        &(route("/strip", &format!("{to}\nstrip_prefix = true"))
            + &route("/a:b/", &format!("{to}\nprefix_rewrite = \"/v2/\""))
            + &route("/", &to)
            + &format!("[[site.route]]\nexact = \"/one\"\n{to}\nprefix_rewrite = \"/two\"\n")),
    )
    .await;
    let mut http2 = stand.http2().await;
    for (path, seen) in [
        ("/strip", "/"),
        ("/strip?q=/strip", "/?q=/strip"),
        ("/strip/", "/"),
        ("/strip/x/strip/y?q", "/x/strip/y?q"),
        ("/strip//elsewhere.example/x", "/elsewhere.example/x"),
        ("//strip/x", "/x"),
        ("/x/../strip/./y%20z", "/y%20z"),
        ("/a:b/x", "/v2/x"),
        ("/a%3ab/x?", "/v2/x?"),
        ("/one?a", "/two?a"),
        ("/stripped", "/stripped"),
    ] {
        assert_eq!(stand.ask(&get(path)).await.text(), seen, "{path}");
        let url = format!("https://{NAME}{path}");
        let answer = http2.fetch(request("GET", &url, "")).await.unwrap();
        assert_eq!(answer.text(), seen, "h2 {path}");
    }
    let line = stand
        .edge
        .until_access(|line| line["path"] == "/strip/x/strip/y?q")
        .await;
    assert_eq!(line["route"], "/strip*");
}

#[tokio::test]
async fn a_redirect_keeps_the_rest_of_the_path_and_the_query() {
    let both = "keep_path = true, keep_query = true";
    let stand = Stand::start(
        &(route(
            "/old",
            &format!("redirect = {{ to = \"https://new.example/base/\", {both} }}"),
        ) + &route(
            "/query",
            "redirect = { to = \"/q?a=1\", keep_query = true, status = 302 }",
        ) + &route("/path", "redirect = { to = \"/p\", keep_path = true }")
            + &route("/", &format!("redirect = {{ to = \"/\", {both} }}"))),
    )
    .await;
    for (path, status, location) in [
        ("/old", 308, "https://new.example/base/"),
        ("/old/", 308, "https://new.example/base/"),
        ("/old/x/%7Ey?b=2", 308, "https://new.example/base/x/~y?b=2"),
        ("/old?b=2", 308, "https://new.example/base/?b=2"),
        ("/old?", 308, "https://new.example/base/"),
        ("/query/x?b=2&c", 302, "/q?a=1&b=2&c"),
        ("/query", 302, "/q?a=1"),
        ("/path/x?b=2", 308, "/p/x"),
        // Browsers would take two slashes for another host.
        ("//elsewhere.example/x", 308, "/elsewhere.example/x"),
        ("///elsewhere.example", 308, "/elsewhere.example"),
    ] {
        let answer = stand.ask(&get(path)).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("location"), Some(location), "{path}");
    }
    // One with a body, which has to be read first.
    let sent = format!("POST /old/x?y HTTP/1.1\r\nhost: {NAME}\r\ncontent-length: 2\r\n\r\nok");
    let answer = stand.ask(&sent).await;
    assert_eq!(
        answer.header("location"),
        Some("https://new.example/base/x?y")
    );
}
