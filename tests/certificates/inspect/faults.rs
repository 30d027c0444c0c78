//! Servers that mean no good: whatever they do, it ends soon, with a word.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cutwater::load::relay::Relay;
use rcgen::{CertificateParams, CertifiedIssuer, DistinguishedName, DnType, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::stage::{EARLY, NAME, PLAIN, edge};
use crate::support::edge::run;
use crate::support::pki::Pki;

/// Does this with every connection; the second argument counts them from 0.
async fn serve<F, T>(play: F) -> SocketAddr
where
    F: Fn(TcpStream, usize) -> T + Send + Sync + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for count in 0.. {
            let (tcp, _) = listener.accept().await.unwrap();
            tokio::spawn(play(tcp, count));
        }
    });
    address
}

/// Fails, and says this.
async fn fails(address: SocketAddr, word: &str) {
    let address = address.to_string();
    let words = ["inspect", &address, "--sni", NAME, "--timeout", "300ms"];
    let (status, stdout, stderr) = run(&words).await;
    assert_eq!(status.code(), Some(1), "{stdout}{stderr}");
    assert!(stderr.contains(word), "{stderr}");
    assert_eq!(stdout, "");
}

async fn write_for_ever(mut tcp: TcpStream, piece: Vec<u8>) {
    while tcp.write_all(&piece).await.is_ok() {}
}

#[tokio::test]
async fn silence() {
    let address = serve(async |mut tcp: TcpStream, _| {
        // Reads until it is left.
        let _ = tcp.read_to_end(&mut Vec::new()).await;
    });
    fails(address.await, "did not answer in time").await;
}

#[tokio::test]
async fn garbage() {
    let address = serve(|tcp, _| write_for_ever(tcp, b"220 mail.test ready\r\n".to_vec()));
    fails(address.await, "not TLS").await;
}

#[tokio::test]
async fn a_close_at_once() {
    let address = serve(async |_, _| {});
    fails(address.await, "no version of TLS is spoken").await;
}

#[tokio::test]
async fn an_alert_for_everything() {
    let address = serve(async |mut tcp: TcpStream, _| {
        let _ = tcp.write_all(&[21, 3, 3, 0, 2, 2, 112]).await;
        let _ = tcp.read_to_end(&mut Vec::new()).await;
    });
    fails(address.await, "unrecognized_name").await;
}

/// Records of a handshake that has no end, and never a ServerHelloDone.
#[tokio::test]
async fn an_endless_handshake() {
    let mut hello = vec![2, 0, 0, 38, 3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0xc0, 0x2f, 0]);
    let mut piece = vec![22, 3, 3, 0, hello.len() as u8];
    piece.extend(hello);
    let address = serve(move |tcp, _| write_for_ever(tcp, piece.clone()));
    fails(address.await, ":").await;
}

#[tokio::test]
async fn warnings_without_end() {
    let address = serve(|tcp, _| write_for_ever(tcp, vec![21, 3, 3, 0, 2, 1, 112]));
    fails(address.await, ":").await;
}

/// One that is good for a while, and silent then: what is known by then is told, the rest is not
/// guessed.
#[tokio::test]
async fn what_was_found_before_a_fault_is_told() {
    let pki = Pki::new();
    let edge = edge(&pki.files(&[NAME]).toml(), PLAIN).await;
    let behind = edge.address();
    let served = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&served);
    let address = serve(move |mut tcp, count| {
        counted.store(count + 1, Ordering::Relaxed);
        async move {
            if count > 0 {
                let _ = tcp.read_to_end(&mut Vec::new()).await;
                return;
            }
            let mut server = TcpStream::connect(behind).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut tcp, &mut server).await;
        }
    })
    .await;
    let address = address.to_string();
    let words = [
        "inspect",
        &address,
        "--sni",
        NAME,
        "--timeout",
        "700ms",
        "--json",
    ];
    let (status, stdout, stderr) = run(&words).await;
    assert!(status.success(), "{stderr}");
    let found: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(found["usual"]["version"], "TLS 1.3");
    // The handshake showed TLS 1.3; of the others nothing is known.
    assert_eq!(found["versions"][0]["spoken"], true);
    assert_eq!(found["versions"][1]["spoken"], json!(null));
    assert_eq!(found["certificates"][0]["names"], json!([NAME]));
    assert_eq!(found["resumption"]["tls13"], json!(null));
    let notes = found["notes"].to_string();
    assert!(notes.contains("did not answer in time"), "{notes}");
    // Each question that got no answer is named: it would look like a no.
    for step in ["certificates for RSA", "ALPN h2", "the suites of TLS 1.2"] {
        assert!(notes.contains(step), "{step}: {notes}");
    }
    let served = served.load(Ordering::Relaxed);
    assert!(
        served < 40,
        "{served} connections to a server that is silent"
    );
}

/// A slow line is not taken for a fault.
#[tokio::test]
async fn a_long_way_is_no_fault() {
    let pki = Pki::new();
    let edge = edge(&pki.files(&[NAME]).toml(), EARLY).await;
    let relay = Relay::to(edge.address());
    let relay = relay
        .delay(std::time::Duration::from_millis(20))
        .bind()
        .await
        .unwrap();
    let found = super::stage::inspect(relay.address(), &pki).await;
    assert_eq!(found.versions(), ["TLS 1.3"]);
    assert_eq!(found.at("/early_data/answer/before_finished"), true);
    assert_eq!(found.at("/notes"), json!([]));
}

/// A chain that is made to take long to look at, and whose names are made to be obeyed by a
/// terminal: it is told in time, on one line each.
#[tokio::test]
async fn a_chain_without_end_and_names_that_forge_lines() {
    let forging = "x\n  trusted   yes\u{1b}[2J\u{202e}";
    let parameters = |name: &str| {
        let mut parameters = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters
    };
    let issuer =
        |name| CertifiedIssuer::self_signed(parameters(name), KeyPair::generate().unwrap());
    let (one, other) = (issuer("one").unwrap(), issuer("other").unwrap());
    let key = KeyPair::generate().unwrap();
    let leaf = parameters(forging).signed_by(&key, &one).unwrap();
    let mut chain = vec![leaf.der().clone()];
    for _ in 0..50 {
        let key = KeyPair::generate().unwrap();
        let [one, other] = [("one", &other), ("other", &one)]
            .map(|(name, issuer)| parameters(name).signed_by(&key, issuer).unwrap());
        chain.extend([one.der().clone(), other.der().clone()]);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let address = serve(move |tcp, _| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(mut tls) = acceptor.accept(tcp).await {
                let _ = tls.read_to_end(&mut Vec::new()).await;
            }
        }
    });
    let address = address.await.to_string();
    let words = ["inspect", &address, "--sni", NAME, "--timeout", "2s"];
    let (status, stdout, stderr) = run(&words).await;
    assert!(status.success(), "{stderr}");
    let many = "there are 101 certificates in the chain: only 16 were looked at";
    assert!(stdout.contains(many), "{stdout}");
    assert!(
        stdout.contains("too many certificates of one name"),
        "{stdout}"
    );
    let obeyed = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
    assert!(!stdout.contains(obeyed), "{stdout:?}");
    let trusted = stdout.lines().filter(|it| it.starts_with("  trusted   "));
    assert_eq!(trusted.count(), stdout.matches("  issuer    ").count());
    let json = [&words[..], &["--json"]].concat();
    let (_, stdout, _) = run(&json).await;
    let found: Value = serde_json::from_str(&stdout).unwrap();
    let subject = found["certificates"][0]["subject"].as_str().unwrap();
    assert!(subject.ends_with("\\1b[2J\\u{202e}"), "{subject}");
}
