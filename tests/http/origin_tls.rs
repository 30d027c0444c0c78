//! Origins over TLS: who is trusted, what is shown, what is told of a failure.

use tokio::io::AsyncWriteExt;

use crate::http::stand::{NAME, Stand, get, route};
use crate::support::client::Client;
use crate::support::edge::{Start, run};
use crate::support::h2::request;
use crate::support::pki::{Kind, Pki, Validity};
use crate::support::secure::{Handshake, SecureOrigin};

/// A route to an origin of these servers with this `tls`.
fn secure(path: &str, url: &str, tls: &str) -> String {
    route(
        path,
        &format!("origin = {{ servers = [{url:?}], tls = {{ {tls} }} }}"),
    )
}

fn ca(pki: &Pki) -> String {
    format!("ca = {:?}", pki.ca_file())
}

fn handshake(sni: Option<&str>, alpn: &str) -> Handshake {
    Handshake {
        sni: sni.map(str::to_owned),
        alpn: Some(alpn.to_owned()),
        certificate: false,
        resumed: false,
    }
}

#[tokio::test]
async fn an_origin_is_spoken_to_as_it_chooses_and_verified_by_name() {
    let pki = Pki::new();
    let leaf = pki.leaf(&["localhost", "127.0.0.1", "backend.example"]);
    let both = SecureOrigin::start(&leaf, &["h2", "http/1.1"]).await;
    let old = SecureOrigin::start(&leaf, &["http/1.1"]).await;
    let (ca, url) = (ca(&pki), both.url("localhost"));
    let named = format!("{ca}, server_name = \"backend.example\"");
    let routes = secure("/h2", &url, &ca)
        + &secure("/h1", &url, &format!("{ca}, alpn = [\"http/1.1\"]"))
        + &secure("/old", &old.url("127.0.0.1"), &ca)
        + &secure("/named", &url, &named)
        + &secure(
            "/renamed",
            &url,
            &format!("{ca}, server_name = \"front.example\", verify_name = \"backend.example\""),
        );
    let stand = Stand::start(&routes).await;
    let answer = stand.ask(&get("/h2")).await;
    assert_eq!(answer.text(), "h2");
    assert_eq!(answer.header("x-scheme"), Some("https"));
    for (path, text) in [
        ("/h2", "h2"),
        ("/h1", "h1"),
        ("/old", "h1"),
        ("/named", "h2"),
        ("/renamed", "h2"),
    ] {
        assert_eq!(stand.ask(&get(path)).await.text(), text, "{path}");
    }
    let expected = [
        handshake(Some("localhost"), "h2"),
        handshake(Some("localhost"), "http/1.1"),
        handshake(Some("backend.example"), "h2"),
        handshake(Some("front.example"), "h2"),
    ];
    assert_eq!(both.handshakes(), expected);
    // RFC 6066 §3: an address is no SNI.
    assert_eq!(old.handshakes(), [handshake(None, "http/1.1")]);
    // The next connection resumes.
    assert_eq!(stand.ask(&get("/old")).await.text(), "h1");
    assert!(old.handshakes()[1].resumed);
}

#[tokio::test]
async fn without_an_authority_of_its_own_an_origin_is_verified_by_the_systems() {
    let [pki, other] = [Pki::new(), Pki::new()];
    let origin = SecureOrigin::start(&pki.leaf(&["localhost"]), &["http/1.1"]).await;
    let routes = route("/", &format!("origin = [{:?}]", origin.url("localhost")));
    for (system, status) in [(&pki, 200), (&other, 502)] {
        let file = system.ca_file();
        let file = file.to_str().unwrap();
        let start = |start: Start| start.environment("SSL_CERT_FILE", file);
        let stand = Stand::start_with(&routes, start).await;
        assert_eq!(stand.status_of("/").await, status);
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_who_asks() {
    let pki = Pki::new();
    let leaf = pki.leaf(&["127.0.0.1"]);
    let client = Kind {
        client: true,
        ..Kind::default()
    };
    let files = pki.files_of(&["edge"], client).toml();
    let (ca, alpn) = (ca(&pki), ["h2", "http/1.1"]);
    let origin = SecureOrigin::mutual(&leaf, &alpn, pki.roots()).await;
    let url = origin.url("127.0.0.1");
    let with = format!("{ca}, certificate = {files}");
    let routes = secure("/with", &url, &with)
        + &secure("/with1", &url, &format!("{with}, alpn = [\"http/1.1\"]"))
        + &secure("/without", &url, &ca)
        + &secure("/without1", &url, &format!("{ca}, alpn = [\"http/1.1\"]"));
    let stand = Stand::start(&routes).await;
    assert_eq!(stand.ask(&get("/with")).await.text(), "h2");
    assert_eq!(stand.ask(&get("/with1")).await.text(), "h1");
    for path in ["/without", "/without1"] {
        assert_eq!(stand.status_of(path).await, 502, "{path}");
        let fits = |line: &serde_json::Value| line["path"] == path;
        let line = stand.edge.until_access(fits).await;
        assert_eq!(line["origin_error"], "tls_alert", "{path}");
    }
    assert!(origin.handshakes().iter().all(|seen| seen.certificate));
}

#[tokio::test]
async fn a_certificate_that_does_not_hold_makes_502_and_says_why() {
    let pki = Pki::new();
    let leaf = |validity| {
        let kind = Kind {
            validity,
            ..Kind::default()
        };
        pki.leaf_of(&["127.0.0.1", "localhost"], kind)
    };
    let good = SecureOrigin::start(&leaf(Validity::Good), &["http/1.1"]).await;
    let expired = SecureOrigin::start(&leaf(Validity::Expired), &["http/1.1"]).await;
    let strange = Pki::new().leaf(&["127.0.0.1"]);
    let strange = SecureOrigin::start(&strange, &["http/1.1"]).await;
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", plain.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = plain.accept().await {
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let (ca, host) = (ca(&pki), "127.0.0.1");
    let other = format!("{ca}, server_name = \"other.example\"");
    let renamed = format!("{ca}, server_name = \"localhost\", verify_name = \"other.example\"");
    let only2 = format!("{ca}, alpn = [\"h2\"]");
    let cases = [
        (
            "/issuer",
            strange.url(host),
            ca.as_str(),
            "tls_unknown_issuer",
        ),
        ("/system", good.url(host), "", "tls_unknown_issuer"),
        ("/name", good.url(host), &other, "tls_wrong_name"),
        ("/renamed", good.url(host), &renamed, "tls_wrong_name"),
        ("/expired", expired.url(host), &ca, "tls_expired"),
        ("/alpn", good.url(host), &only2, "tls_alert"),
        ("/plain", url, &ca, "tls"),
    ];
    let route = |(path, url, tls, _): &(&str, String, &str, &str)| secure(path, url, tls);
    let routes: String = cases.iter().map(route).collect();
    let stand = Stand::start(&routes).await;
    for (path, _, _, label) in &cases {
        assert_eq!(stand.status_of(path).await, 502, "{path}");
        let fits = |line: &serde_json::Value| line["path"] == *path;
        let line = stand.edge.until_access(fits).await;
        assert_eq!(line["origin_error"], *label, "{path}");
        let label = format!("error=\"{label}\"");
        let labels = [label.as_str()];
        let counted = stand.edge.metric("cutwater_origin_errors_total", &labels);
        assert!(counted.await >= 1.0, "{path}");
    }
    assert!(good.handshakes().is_empty() && expired.handshakes().is_empty());
}

#[tokio::test]
async fn a_reload_reads_the_authorities_again_and_keeps_them_if_they_are_broken() {
    let pki = Pki::new();
    let leaf = pki.leaf(&["127.0.0.1"]);
    let origin = SecureOrigin::start(&leaf, &["http/1.1"]).await;
    let routes = secure("/", &origin.url("127.0.0.1"), "ca = \"origins.pem\"");
    let good = std::fs::read_to_string(pki.ca_file()).unwrap();
    let stand = Stand::start_with(&routes, |start| start.file("origins.pem", &good)).await;
    assert_eq!(stand.status_of("/").await, 200);

    let other = std::fs::read_to_string(Pki::new().ca_file()).unwrap();
    stand.edge.write("origins.pem", &other);
    stand.edge.signal("HUP").await;
    until_generation(&stand, 2.0).await;
    assert_eq!(stand.status_of("/").await, 502);

    stand.edge.write("origins.pem", &good);
    stand.edge.signal("HUP").await;
    until_generation(&stand, 3.0).await;
    assert_eq!(stand.status_of("/").await, 200);

    stand.edge.write("origins.pem", "nothing");
    stand.edge.signal("HUP").await;
    until_generation(&stand, 4.0).await;
    assert_eq!(stand.status_of("/").await, 200);
    let config = stand.edge.directory().join("cutwater.toml");
    let (status, _, said) = run(&["check", "--config", config.to_str().unwrap()]).await;
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("origins.pem: no certificate in it"), "{said}");
}

async fn until_generation(stand: &Stand, generation: f64) {
    let reached = async {
        while stand.edge.metric("cutwater_config_generation", &[]).await < generation {
            tokio::task::yield_now().await;
        }
    };
    crate::support::within("the reload", reached).await;
}

#[tokio::test]
async fn an_origin_without_its_files_fails_alone() {
    let pki = Pki::new();
    let leaf = pki.leaf(&["127.0.0.1"]);
    let origin = SecureOrigin::start(&leaf, &["h2"]).await;
    let url = origin.url("127.0.0.1");
    let routes = secure("/broken", &url, "ca = \"none.pem\"") + &secure("/good", &url, &ca(&pki));
    let stand = Stand::start(&routes).await;
    assert_eq!(stand.status_of("/good").await, 200);
    assert_eq!(stand.status_of("/broken").await, 502);
    let line = stand.edge.until_access(|line| line["path"] == "/broken");
    assert_eq!(line.await["origin_error"], "tls_files");
}

#[tokio::test]
async fn those_who_wait_for_what_a_server_speaks_connect_for_themselves_if_it_is_http1() {
    let pki = Pki::new();
    let origin = SecureOrigin::start(&pki.leaf(&["127.0.0.1"]), &["http/1.1"]).await;
    let stand = Stand::start(&secure("/", &origin.url("127.0.0.1"), &ca(&pki))).await;
    let mut client = stand.http2().await;
    for _ in 0..20 {
        let get = request("GET", &format!("https://{NAME}/"), "");
        client.begin_request(get).await;
    }
    for _ in 0..20 {
        let answer = client.next().await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "h1"));
    }
    assert_eq!(origin.handshakes().len(), 20);
}

#[tokio::test]
async fn http2_clients_share_a_connection_to_an_http2_origin() {
    let pki = Pki::new();
    let origin = SecureOrigin::start(&pki.leaf(&["127.0.0.1"]), &["h2"]).await;
    let stand = Stand::start(&secure("/", &origin.url("127.0.0.1"), &ca(&pki))).await;
    let mut client = stand.http2().await;
    for _ in 0..50 {
        let get = request("GET", &format!("https://{NAME}/"), "");
        client.begin_request(get).await;
    }
    for _ in 0..50 {
        let answer = client.next().await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "h2"));
    }
    let mut other = Client::open(stand.edge.address(), NAME, &stand.setup1()).await;
    other.send(get("/").as_bytes()).await;
    assert_eq!(other.response().await.status, 200);
    assert_eq!(origin.handshakes().len(), 1);
}
