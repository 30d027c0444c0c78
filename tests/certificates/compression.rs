//! Compressed certificates (RFC 8879), seen from both sides.

use std::sync::Mutex;

use rustls::compress::{
    BROTLI_DECOMPRESSOR, CertDecompressor, DecompressionFailed, ZLIB_DECOMPRESSOR,
};
use rustls::{CertificateCompressionAlgorithm, NamedGroup};
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::edge::{Edge, run, sum_of};
use crate::support::pki::{Key, Kind, Pki};
use crate::support::setup::ClientSetup;

const NAME: &str = "site.test";

/// A decompressor that remembers how long messages were, compressed and not.
#[derive(Debug)]
struct Noting {
    inner: &'static dyn CertDecompressor,
    seen: Mutex<Vec<(usize, usize)>>,
}

impl Noting {
    /// Lives as long as rustls wants it to.
    fn new(inner: &'static dyn CertDecompressor) -> &'static Self {
        Box::leak(Box::new(Self {
            inner,
            seen: Mutex::default(),
        }))
    }

    fn take(&self) -> Vec<(usize, usize)> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

impl CertDecompressor for Noting {
    fn decompress(&self, input: &[u8], output: &mut [u8]) -> Result<(), DecompressionFailed> {
        let lengths = (input.len(), output.len());
        self.seen.lock().unwrap().push(lengths);
        self.inner.decompress(input, output)
    }

    fn algorithm(&self) -> CertificateCompressionAlgorithm {
        self.inner.algorithm()
    }
}

/// An edge with this in its site.
async fn edge(pki: &Pki, keys: &str) -> Edge {
    let certificate = pki.files_of(
        &[NAME],
        Kind {
            key: Key::Rsa,
            intermediate: true,
            ..Kind::default()
        },
    );
    let config = format!(
        r#"
[log]
connections = "all"
[admin]
address = "127.0.0.1:0"
[[listen]]
address = "127.0.0.1:0"
[[site]]
names = ["{NAME}"]
certificate = {}
{keys}
[[site.route]]
path = "/"
respond = {{ body = "hello\n" }}
"#,
        certificate.toml()
    );
    Edge::start(&config).await
}

/// A handshake and a request; the line of the connection.
async fn visit(edge: &Edge, setup: &ClientSetup) -> Value {
    let before = edge.connections().len();
    let mut client = Client::open(edge.address(), NAME, setup).await;
    client
        .send(format!("GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n").as_bytes())
        .await;
    assert_eq!(client.response().await.text(), "hello\n");
    client.close_notify().await;
    drop(client);
    let lines = edge.until_connections(before + 1, |_| true).await;
    lines[before].clone()
}

/// What the edge has counted: certificates and bytes.
async fn counted(edge: &Edge, algorithm: &str) -> (f64, f64) {
    let metrics = edge.metrics().await;
    let label = format!("algorithm=\"{algorithm}\"");
    let sum = |name| sum_of(&metrics, name, &[&label]);
    (
        sum("cutwater_certificates_compressed_total"),
        sum("cutwater_certificate_bytes_saved_total"),
    )
}

#[tokio::test]
async fn a_client_that_asks_gets_its_certificate_compressed() {
    let pki = Pki::new();
    let edge = edge(&pki, "").await;
    for (inner, name) in [(ZLIB_DECOMPRESSOR, "zlib"), (BROTLI_DECOMPRESSOR, "brotli")] {
        let noting = Noting::new(inner);
        let setup = pki.client().decompressors(&[noting]);
        let line = visit(&edge, &setup).await;
        assert_eq!(line["certificate_compression"], name);
        let [(compressed, whole)] = noting.take()[..] else {
            panic!("one certificate");
        };
        assert!(compressed < whole, "{compressed} of {whole}");
        let saved = (whole - compressed) as f64;
        assert_eq!(counted(&edge, name).await, (1.0, saved));
        // The same again, out of memory.
        visit(&edge, &setup.clone().fresh()).await;
        assert_eq!(noting.take(), [(compressed, whole)]);
        assert_eq!(counted(&edge, name).await, (2.0, 2.0 * saved));
        // A resumed handshake has no certificate.
        let line = visit(&edge, &setup).await;
        assert_eq!(line["resumed"], true);
        assert_eq!(line["certificate_compression"], Value::Null);
        assert_eq!(counted(&edge, name).await, (2.0, 2.0 * saved));
    }
}

#[tokio::test]
async fn a_certificate_behind_a_hello_retry_request_is_counted_too() {
    let pki = Pki::new();
    let edge = edge(&pki, "").await;
    let noting = Noting::new(ZLIB_DECOMPRESSOR);
    let groups = [NamedGroup::MLKEM768, NamedGroup::secp256r1];
    let setup = pki.client().decompressors(&[noting]).groups(&groups);
    let line = visit(&edge, &setup).await;
    assert_eq!(line["client_hellos"], 2);
    assert_eq!(line["certificate_compression"], "zlib");
    let [(compressed, whole)] = noting.take()[..] else {
        panic!("one certificate");
    };
    let saved = (whole - compressed) as f64;
    assert_eq!(counted(&edge, "zlib").await, (1.0, saved));
}

#[tokio::test]
async fn the_site_says_which_way_is_preferred() {
    let pki = Pki::new();
    // The client's order says nothing (RFC 8879 §3).
    let both = || {
        let decompressors = [ZLIB_DECOMPRESSOR, BROTLI_DECOMPRESSOR];
        pki.client().decompressors(&decompressors)
    };
    for (keys, name) in [
        ("", json!("brotli")),
        (
            "certificate_compression = [\"zlib\", \"brotli\"]",
            json!("zlib"),
        ),
        ("certificate_compression = [\"zlib\"]", json!("zlib")),
        ("certificate_compression = \"off\"", Value::Null),
    ] {
        let edge = edge(&pki, keys).await;
        let line = visit(&edge, &both()).await;
        assert_eq!(line["certificate_compression"], name, "{keys}");
    }
}

#[tokio::test]
async fn who_does_not_ask_and_who_cannot_gets_it_as_it_is() {
    let pki = Pki::new();
    let edge = edge(
        &pki,
        "min_version = \"1.2\"\ncertificate_compression = [\"zlib\"]",
    )
    .await;
    let noting = Noting::new(ZLIB_DECOMPRESSOR);
    let asking = pki.client().decompressors(&[noting]);
    let other = pki.client().decompressors(&[BROTLI_DECOMPRESSOR]);
    for setup in [pki.client(), other, asking.tls12()] {
        let line = visit(&edge, &setup).await;
        assert_eq!(line["certificate_compression"], Value::Null);
        assert_eq!(line["certificate"], "rsa");
    }
    assert_eq!(noting.take(), []);
    assert_eq!(counted(&edge, "zlib").await, (0.0, 0.0));
}

#[tokio::test]
async fn a_load_may_ask_for_them() {
    let pki = Pki::new();
    let edge = edge(&pki, "").await;
    let url = format!("https://{NAME}/");
    let connect = edge.address().to_string();
    let ca = pki.ca_file();
    let mut arguments = vec!["load", &url, "--connect", &connect, "-n", "5", "-c", "1"];
    arguments.extend(["--ca", ca.to_str().unwrap()]);
    let (status, _, said) = run(&arguments).await;
    assert!(status.success(), "{said}");
    assert_eq!(counted(&edge, "brotli").await.0, 0.0);
    arguments.push("--certificate-compression");
    let (status, _, said) = run(&arguments).await;
    assert!(status.success(), "{said}");
    assert_eq!(counted(&edge, "brotli").await.0, 5.0);
}
