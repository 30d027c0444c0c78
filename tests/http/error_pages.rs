//! Bodies of the answers that the edge makes by itself.

use crate::http::stand::{GENERAL, NAME, Stand, get, respond, route, site};
use crate::support::client::Client;
use crate::support::edge::Start;
use crate::support::h2::request;
use crate::support::origin::{Origin, Reply};
use crate::support::pki::Pki;

/// Two sites: `example.com` has pages of its own, `example.org` those of all sites.
async fn stand(routes: &str) -> Stand {
    let pki = Pki::new();
    let config = format!(
        "{GENERAL}[error_pages]\n\
         404 = {{ body = \"<h1>nothing</h1>\", headers = {{ content-type = \"text/html\" }} }}\n\
         421 = {{ body = \"elsewhere\" }}\n\
         502 = {{ body_file = \"502.txt\" }}\n\
         {}error_pages = {{ 404 = {{ body = \"not at example.com\" }} }}\n{routes}{}{}",
        site(&pki, &[NAME]),
        site(&pki, &["example.org"]),
        respond("/here", "ok"),
    );
    let edge = Start::with(&config).file("502.txt", "gone").run().await;
    Stand { pki, edge }
}

#[tokio::test]
async fn a_site_has_its_own_pages_and_those_of_all_sites() {
    let gone = {
        let origin = Origin::start(|_| Reply::ok("")).await;
        origin.url()
    };
    let stand = stand(&route("/gone", &format!("origin = [{gone:?}]"))).await;
    let answer = stand.ask(&get("/nothing")).await;
    assert_eq!((answer.status, answer.text()), (404, "not at example.com"));
    assert_eq!(answer.header("content-type"), None);
    let answer = stand.ask(&get("/gone")).await;
    assert_eq!((answer.status, answer.text()), (502, "gone"));
    let misdirected = "GET / HTTP/1.1\r\nhost: example.org\r\n\r\n";
    let answer = stand.ask(misdirected).await;
    assert_eq!((answer.status, answer.text()), (421, "elsewhere"));

    let mut other = Client::open(stand.edge.address(), "example.org", &stand.setup1()).await;
    let sent = "/nothing HTTP/1.1\r\nhost: example.org\r\n\r\n";
    for (method, body) in [("GET", "<h1>nothing</h1>"), ("HEAD", "")] {
        other.send(format!("{method} {sent}").as_bytes()).await;
        let answer = match method {
            "HEAD" => other.response_to_head().await,
            _ => other.response().await,
        };
        assert_eq!((answer.status, answer.text()), (404, body), "{method}");
        assert_eq!(answer.header("content-type"), Some("text/html"));
        assert_eq!(answer.header("content-length"), Some("16"));
    }
    let mut http2 = stand.http2().await;
    let url = format!("https://{NAME}/nothing");
    let answer = http2.fetch(request("GET", &url, "")).await.unwrap();
    assert_eq!(answer.text(), "not at example.com");
}

#[tokio::test]
async fn an_origin_that_is_too_slow_has_a_page() {
    let origin = Origin::start(|_| Reply::silence()).await;
    let keys = format!(
        "origin = [{:?}]\ntimeouts = {{ response_headers = \"100ms\" }}",
        origin.url()
    );
    let pages = "error_pages = { 504 = { body = \"too slow\" } }\n".to_owned();
    let stand = Stand::start(&(pages + &route("/slow", &keys))).await;
    let answer = stand.ask(&get("/slow")).await;
    assert_eq!((answer.status, answer.text()), (504, "too slow"));
}

#[tokio::test]
async fn a_request_that_may_not_be_answered_early_has_a_page() {
    let pages = "error_pages = { 425 = { body = \"too early\" } }\n".to_owned();
    let stand = Stand::start(&(pages + &respond("/", "ok"))).await;
    // Sent early to who forwards it (EARLY-DATA R18).
    let marked = format!("GET / HTTP/1.1\r\nhost: {NAME}\r\nearly-data: 1\r\n\r\n");
    let answer = stand.ask(&marked).await;
    assert_eq!((answer.status, answer.text()), (425, "too early"));
}

#[tokio::test]
async fn what_others_answer_stays_as_it_is() {
    let origin = Origin::start(|_| Reply::status(404, "of the origin")).await;
    let stand = stand(
        &(route("/origin", &format!("origin = [{:?}]", origin.url()))
            + &route("/fixed", "respond = { status = 404 }")),
    )
    .await;
    assert_eq!(stand.ask(&get("/origin")).await.text(), "of the origin");
    assert_eq!(stand.ask(&get("/fixed")).await.text(), "");
}
