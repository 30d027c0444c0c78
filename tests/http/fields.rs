//! Fields that a route takes away, sets and adds, both ways.

use crate::http::stand::{NAME, Stand, forward, get, post, route};
use crate::support::h2::request;
use crate::support::origin::{Origin, Reply};

const EDITS: &str = r#"
request_headers = { remove = ["cookie", "x-forwarded-for"], set = { x-env = "prod", X-Kept = ["1", "2"] }, add = { x-tag = "edge" } }
response_headers = { remove = ["server", "x-powered-by"], set = { strict-transport-security = "max-age=63072000" }, add = { link = ["</a>", "</b>"] } }
"#;

fn edited(origin: &Origin) -> String {
    forward("/", origin) + EDITS
}

#[tokio::test]
async fn an_origin_and_a_client_see_what_the_route_makes_of_the_fields() {
    let origin = Origin::start(|_| {
        let fields = [
            ("server", "secret/1.0"),
            ("x-powered-by", "secret"),
            ("link", "</own>"),
            ("strict-transport-security", "max-age=0"),
            ("x-other", "1"),
        ];
        Reply::full(200, &fields, "ok")
    })
    .await;
    let stand = Stand::start(&edited(&origin)).await;
    let sent = format!(
        "GET / HTTP/1.1\r\nhost: {NAME}\r\ncookie: a=1\r\nx-env: forged\r\nx-kept: 7\r\n\
         x-tag: client\r\nx-own: 1\r\n\r\n"
    );
    let answer = stand.ask(&sent).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text(), "ok");
    for gone in ["server", "x-powered-by"] {
        assert_eq!(answer.header(gone), None, "{gone}");
    }
    assert_eq!(
        answer.header("strict-transport-security"),
        Some("max-age=63072000")
    );
    assert_eq!(answer.header("x-other"), Some("1"));
    let asked = &origin.requests()[0];
    assert_eq!(asked.field("cookie"), None);
    assert_eq!(asked.field("x-forwarded-for"), None);
    assert_eq!(asked.field("x-forwarded-proto"), Some("https"));
    assert_eq!(asked.field("x-env"), Some("prod"));
    assert_eq!(asked.fields("x-kept"), ["1", "2"]);
    assert_eq!(asked.fields("x-tag"), ["client", "edge"]);
    assert_eq!(asked.field("x-own"), Some("1"));

    let mut client = stand.http2().await;
    let url = format!("https://{NAME}/");
    let answer = client.fetch(request("GET", &url, "")).await.unwrap();
    let links: Vec<_> = answer.headers.get_all("link").iter().collect();
    assert_eq!(links, ["</own>", "</a>", "</b>"]);
    assert_eq!(origin.requests()[1].field("x-env"), Some("prod"));
}

#[tokio::test]
async fn answers_of_the_edge_itself_on_a_route_have_its_fields_too() {
    let gone = {
        let origin = Origin::start(|_| Reply::ok("")).await;
        origin.url()
    };
    let set = "response_headers = { set = { x-frame-options = \"DENY\" } }";
    let stand = Stand::start(
        &(route("/", &format!("respond = {{ body = \"ok\" }}\n{set}"))
            + &route("/to", &format!("redirect = {{ to = \"/\" }}\n{set}"))
            + &route("/gone", &format!("origin = [{gone:?}]\n{set}"))),
    )
    .await;
    for (path, status) in [("/", 200), ("/to", 308), ("/gone", 502)] {
        let answer = stand.ask(&get(path)).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{path}");
    }
}

#[tokio::test]
async fn a_body_is_framed_as_before() {
    let origin = Origin::start(|asked| Reply::ok(&asked.body)).await;
    let stand = Stand::start(&edited(&origin)).await;
    let mut client = stand.http1().await;
    for _ in 0..2 {
        client.send(&post("/", b"hello")).await;
        assert_eq!(client.response().await.text(), "hello");
    }
    assert_eq!(origin.requests()[1].field("content-length"), Some("5"));
}

#[tokio::test]
async fn an_origin_gets_its_own_authority_as_host_if_asked_for() {
    let origin = Origin::start(|_| Reply::ok("ok")).await;
    let own = format!(
        "origin = {{ servers = [{:?}], host = \"origin\" }}",
        origin.url()
    );
    let stand = Stand::start(&(route("/own", &own) + &forward("/", &origin))).await;
    let authority = origin.url().replace("http://", "");
    for (path, host) in [("/own", authority.as_str()), ("/", NAME)] {
        assert_eq!(stand.ask(&get(path)).await.status, 200);
        let asked = origin.requests().pop().unwrap();
        assert_eq!(asked.field("host"), Some(host), "{path}");
        assert_eq!(asked.field("x-forwarded-host"), Some(NAME), "{path}");
    }
}

#[tokio::test]
async fn a_request_has_an_id_of_its_own_that_the_log_and_the_origin_share() {
    let origin = Origin::start(|_| Reply::ok("ok")).await;
    let stand = Stand::start(&forward("/", &origin)).await;
    let mut client = stand.http1().await;
    for path in ["/a", "/b"] {
        let sent = format!(
            "GET {path} HTTP/1.1\r\nhost: {NAME}\r\nx-request-id: forged\r\n\
             x_request_id: forged\r\n\r\n"
        );
        client.send(sent.as_bytes()).await;
        assert_eq!(client.response().await.status, 200);
        let asked = origin.requests().pop().unwrap();
        let id = asked.field("x-request-id").unwrap();
        assert_eq!(asked.field("x_request_id"), None);
        assert_eq!(id.len(), 32);
        assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let line = stand.edge.until_access(|line| line["path"] == path).await;
        assert_eq!(line["request_id"], id);
    }
    let ids: Vec<_> = origin.requests();
    assert_ne!(ids[0].field("x-request-id"), ids[1].field("x-request-id"));
}
