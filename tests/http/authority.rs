//! Whose requests a connection may carry.

use crate::http::stand::{GENERAL, respond};
use crate::support::client::Client;
use crate::support::edge::Edge;
use crate::support::h2::{H2, request};
use crate::support::pki::Pki;

async fn sites() -> (Pki, Edge) {
    let pki = Pki::new();
    let all = [
        "example.com",
        "www.example.com",
        "exact.example.com",
        "other.example",
    ];
    // One certificate for all: only the rules keep the sites apart.
    let certificate = pki
        .files(&[&all[..], &["*.example.com", "default.example"]].concat())
        .toml();
    let table = |names: &[&str], more: &str, body: &str| {
        format!(
            "[[site]]\nnames = {names:?}\ncertificate = {certificate}\n{more}\n{}",
            respond("/", body)
        )
    };
    let config = format!(
        "{GENERAL}{}{}{}{}",
        table(&["example.com", "*.example.com"], "", "wildcard"),
        table(&["exact.example.com"], "", "exact"),
        table(&["other.example"], "", "other"),
        table(&["default.example"], "default = true", "default"),
    );
    (pki, Edge::start(&config).await)
}

/// The status, and the body if it is 200, of a request with this head's beginning.
async fn ask(client: &mut Client, head: &str) -> String {
    client.send(format!("{head}\r\n\r\n").as_bytes()).await;
    let answer = client.response().await;
    match answer.status {
        200 => answer.text().to_owned(),
        status => status.to_string(),
    }
}

const HOSTS: &[(&str, &str, &str)] = &[
    // SNI, Host, what comes.
    ("example.com", "example.com", "wildcard"),
    ("example.com", "EXAMPLE.com", "wildcard"),
    ("example.com", "example.com:443", "wildcard"),
    ("example.com", "example.com:8443", "wildcard"),
    ("example.com", "example.com.", "wildcard"),
    ("example.com", "example.com.:443", "wildcard"),
    ("example.com", "www.example.com", "wildcard"),
    ("www.example.com", "example.com", "wildcard"),
    // A name that another site claims more exactly.
    ("example.com", "exact.example.com", "421"),
    ("exact.example.com", "exact.example.com", "exact"),
    ("exact.example.com", "www.example.com", "421"),
    ("exact.example.com", "example.com", "421"),
    ("example.com", "other.example", "421"),
    ("example.com", "default.example", "421"),
    ("example.com", "unknown.example", "421"),
    ("example.com", "a.b.example.com", "421"),
    ("example.com", "[::1]", "421"),
    ("example.com", "127.0.0.1", "421"),
    // The default site: also what nobody has.
    ("default.example", "default.example", "default"),
    ("default.example", "unknown.example", "default"),
    ("default.example", "127.0.0.1:443", "default"),
    ("default.example", "example.com", "421"),
    ("default.example", "www.example.com", "421"),
    ("default.example", "other.example", "421"),
    // Malformed.
    ("example.com", "", "400"),
    ("example.com", "user@example.com", "400"),
    ("example.com", "example.com:x", "400"),
    ("example.com", "example.com:99999", "400"),
    ("example.com", "example.com, other.example", "400"),
    ("example.com", "example.com/", "400"),
    ("example.com", "example%2ecom", "400"),
    ("example.com", "exa mple.com", "400"),
];

#[tokio::test]
async fn a_host_belongs_to_its_site_and_to_nobody_else() {
    let (pki, edge) = sites().await;
    // The name on the default site's connection that is unknown to SNI.
    for (sni, host, expected) in HOSTS {
        let mut client = Client::open(edge.address(), sni, &pki.client()).await;
        let said = ask(&mut client, &format!("GET / HTTP/1.1\r\nhost: {host}")).await;
        assert_eq!(said, *expected, "{sni}: {host:?}");
        // A misdirected request costs the connection nothing.
        if *expected == "421" {
            let own = format!("GET / HTTP/1.1\r\nhost: {sni}");
            assert!(ask(&mut client, &own).await.parse::<u16>().is_err());
        }
    }
    let expected = HOSTS.iter().filter(|(_, _, said)| *said == "421").count();
    let counted = edge
        .metric("cutwater_misdirected_requests_total", &[])
        .await;
    assert_eq!(counted, expected as f64);
}

#[tokio::test]
async fn an_http2_authority_belongs_to_its_site_and_to_nobody_else() {
    let (pki, edge) = sites().await;
    for (sni, host, expected) in HOSTS {
        let uri = format!("https://{host}/");
        let Ok(_) = uri.parse::<http::Uri>() else {
            continue;
        };
        if *expected == "400" && !host.contains('@') {
            // The client's own parser thinks otherwise of some.
            continue;
        }
        let setup = pki.client().alpn(&["h2"]);
        let mut client = H2::start(Client::open(edge.address(), sni, &setup).await).await;
        let answer = client.fetch(request("GET", &uri, "")).await.unwrap();
        let said = match answer.status.as_u16() {
            200 => answer.text().to_owned(),
            status => status.to_string(),
        };
        assert_eq!(said, *expected, "{sni}: {host:?}");
    }
}

#[tokio::test]
async fn two_names_for_one_request_are_refused() {
    let (pki, edge) = sites().await;
    let mut client = Client::open(edge.address(), "example.com", &pki.client()).await;
    for (head, expected) in [
        ("GET / HTTP/1.1", "400"),
        (
            "GET / HTTP/1.1\r\nhost: example.com\r\nhost: example.com",
            "400",
        ),
        (
            "GET / HTTP/1.1\r\nhost: example.com\r\nhost: other.example",
            "400",
        ),
        (
            "GET https://example.com/ HTTP/1.1\r\nhost: example.com",
            "wildcard",
        ),
        (
            "GET https://example.com/ HTTP/1.1\r\nhost: example.com:443",
            "wildcard",
        ),
        (
            "GET http://example.com/ HTTP/1.1\r\nhost: example.com",
            "wildcard",
        ),
        (
            "GET https://example.com HTTP/1.1\r\nhost: example.com",
            "wildcard",
        ),
        (
            "GET https://example.com/ HTTP/1.1\r\nhost: www.example.com",
            "400",
        ),
        (
            "GET https://other.example/ HTTP/1.1\r\nhost: example.com",
            "400",
        ),
        (
            "GET https://other.example/ HTTP/1.1\r\nhost: other.example",
            "421",
        ),
        ("GET https://example.com/ HTTP/1.1", "400"),
        ("GET / HTTP/1.0\r\nconnection: keep-alive", "wildcard"),
        (
            "GET / HTTP/1.0\r\nconnection: keep-alive\r\nhost: other.example",
            "421",
        ),
    ] {
        assert_eq!(ask(&mut client, head).await, expected, "{head:?}");
    }
    let setup = pki.client().alpn(&["h2"]);
    let client = Client::open(edge.address(), "example.com", &setup).await;
    let mut client = H2::start(client).await;
    for (host, status) in [
        ("example.com", 200),
        ("example.com:443", 200),
        ("www.example.com", 400),
        ("other.example", 400),
    ] {
        let mut request = request("GET", "https://example.com/", "");
        request.headers_mut().insert("host", host.parse().unwrap());
        let answer = client.fetch(request).await.unwrap();
        assert_eq!(answer.status, status, "{host}");
    }
    let mut request = request("GET", "https://example.com/", "");
    for _ in 0..2 {
        request
            .headers_mut()
            .append("host", "example.com".parse().unwrap());
    }
    assert_eq!(client.fetch(request).await.unwrap().status, 400);
}
