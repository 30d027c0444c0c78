//! What a program may say of its sites and listeners, and what it is told when that cannot be.

use std::net::SocketAddr;
use std::time::Duration;

use cutwater::body::Body;
use cutwater::config::spec::ListenSpec;
use cutwater::edge::{Destination, Edge, EdgeError, Site};
use cutwater::handler::{EarlyRequest, Handler, early};
use http::Response;

use crate::support::client::{Client, Ending};
use crate::support::pki::Pki;
use crate::support::within;

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Answers with the name of the listener.
fn listener() -> impl Handler {
    early(|request: EarlyRequest| async move {
        let name = request.connection().listener.to_string();
        request.confirmed().await?;
        Ok(Response::new(Body::from(name)))
    })
}

async fn fetch(client: &mut Client, host: &str) -> String {
    let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n");
    client.send(request.as_bytes()).await;
    client.response().await.text().to_owned()
}

#[tokio::test]
async fn a_site_has_more_names_files_a_keep_alive_and_answers_by_default() {
    let pki = Pki::new();
    let files = pki.files(&["a.test", "*.a.test"]);
    let site = Site::new("a.test")
        .also("*.a.test")
        .certificate_files(&files.chain, &files.key)
        .keep_alive(Duration::from_millis(200))
        .default_site()
        .handler(listener());
    let mut named = ListenSpec::new(ANY);
    named.name = "own".to_owned().into();
    let edge = Edge::builder()
        .workers(1)
        .listen(ANY)
        .listener(named)
        .site(site)
        .build()
        .unwrap();
    let own = edge.addresses()[1];
    let setup = pki.client().alpn(&["http/1.1"]);
    let mut client = Client::open(own, "b.a.test", &setup).await;
    assert_eq!(fetch(&mut client, "b.a.test").await, "own");
    assert_eq!(client.ending().await, Ending::CloseNotify);
    // Another name gets the default site, whose certificate is not for it.
    let mut client = Client::connect(own, "other.test", &setup).await;
    client.send_pending().await;
    assert!(matches!(
        client.ending().await,
        Ending::Broken(rustls::Error::InvalidCertificate(_))
    ));
}

#[tokio::test]
async fn what_a_site_cannot_use_is_told() {
    let pki = Pki::new();
    let leaf = pki.leaf(&["a.test"]);
    let (chain, key) = (leaf.chain_pem.as_bytes(), leaf.key_pem.as_bytes());
    let other = pki.leaf(&["a.test"]);
    let absent = pki.directory().join("absent.pem");
    let site = || Site::new("a.test").handler(listener());
    for (site, part) in [
        (site(), "no certificate"),
        (site().certificate(b"", key), "certificate"),
        (site().certificate(chain, b"nonsense"), "private key"),
        (
            site().certificate(chain, other.key_pem.as_bytes()),
            "another certificate",
        ),
        (site().certificate_files(&absent, &absent), "absent.pem"),
        (site().certificate(chain, key).also("b.test"), "b.test"),
        (
            site().certificate(chain, key).also("not a name"),
            "not a name",
        ),
        (
            Site::new("a.test").certificate(chain, key),
            "site a.test has no route",
        ),
    ] {
        let error = Edge::builder().listen(ANY).site(site).build().err();
        let told = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(
            told.contains(part) && told.contains("a.test"),
            "{part}: {told}"
        );
    }
    let error = Edge::builder().build().err();
    assert!(matches!(error, Some(EdgeError::Configuration(_))));
}

#[tokio::test]
async fn a_renamed_log_is_opened_again() {
    let pki = Pki::new();
    let leaf = pki.leaf(&["a.test"]);
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("access.log");
    let edge = Edge::builder()
        .workers(1)
        .listen(ANY)
        .access_log(Destination::File(path.clone()))
        .site(
            Site::new("a.test")
                .certificate(leaf.chain_pem.as_bytes(), leaf.key_pem.as_bytes())
                .handler(listener()),
        )
        .build()
        .unwrap();
    let setup = pki.client().alpn(&["http/1.1"]);
    let mut client = Client::open(edge.addresses()[0], "a.test", &setup).await;
    std::fs::rename(&path, directory.path().join("access.log.1")).unwrap();
    edge.handle().reopen_log();
    within("a line in the new file", async {
        while std::fs::read_to_string(&path)
            .unwrap_or_default()
            .is_empty()
        {
            fetch(&mut client, "a.test").await;
        }
    })
    .await;
}
