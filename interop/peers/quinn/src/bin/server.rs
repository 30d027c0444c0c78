//! quinn and h3 as a server: what it says of a connection stands in its log.

use bytes::{Buf, Bytes};
use h3::server::RequestStream;
use h3_quinn::BidiStream;
use peer::peer::{unsupported, Options};
use peer::{certificates, initial, provider, serving};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Incoming, ZeroRttAccepted};
use rustls::pki_types::{pem::PemObject, PrivateKeyDer, UnixTime};
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};
use rustls::time_provider::TimeProvider;
use rustls::ServerConfig;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::signal::unix::{signal, SignalKind};

const LARGE: usize = 10_000_000;

/// Tells when a session was taken up. Connections come one after the other.
#[derive(Debug)]
struct Sessions {
    kept: Arc<dyn StoresServerSessions>,
    taken: Arc<AtomicBool>,
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.kept.put(key, value)
    }
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.kept.get(key)
    }
    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        let session = self.kept.take(key);
        self.taken.store(session.is_some(), Ordering::Relaxed);
        session
    }
    fn can_cache(&self) -> bool {
        true
    }
}

/// A clock that goes forward by more than a minute whenever it is looked at: every ticket seems older than its client says, so that
/// its early data is refused (RFC 8446 section 8.3) and its session resumed.
#[derive(Debug, Default)]
struct Fast(AtomicU64);

impl TimeProvider for Fast {
    fn current_time(&self) -> Option<UnixTime> {
        let ahead = self.0.fetch_add(100, Ordering::Relaxed);
        Some(UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs() + ahead)))
    }
}

fn configure(o: &Options, taken: &Arc<AtomicBool>) -> ServerConfig {
    let builder = ServerConfig::builder_with_provider(provider(&o.list("groups"), &[]));
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).unwrap().with_no_client_auth();
    let key = PrivateKeyDer::from_pem_file(o.required("key")).expect("the key is readable");
    let mut config = builder.with_single_cert(certificates(o.required("chain")), key).expect("certificate and key belong together");
    config.alpn_protocols = vec![b"h3".to_vec()];
    config.session_storage = Arc::new(Sessions { kept: ServerSessionMemoryCache::new(1024), taken: taken.clone() });
    // QUIC knows all or nothing (RFC 9001 section 4.6.1).
    config.max_early_data_size = if o.has("early") || o.has("refuse-early") { u32::MAX } else { 0 };
    if o.has("refuse-early") {
        config.time_provider = Arc::new(Fast::default());
    }
    config
}

async fn answer(request: http::Request<()>, mut stream: RequestStream<BidiStream<Bytes>, Bytes>) -> Result<(), h3::error::StreamError> {
    let mut received = 0;
    while let Some(data) = stream.recv_data().await? {
        received += data.remaining();
    }
    let content = match request.uri().path() {
        "/large" => Bytes::from(vec![b'x'; LARGE]),
        _ => Bytes::from(format!("received {received}\n")),
    };
    let sent = content.len();
    let response = http::Response::builder().header("content-length", sent).body(()).unwrap();
    stream.send_response(response).await?;
    stream.send_data(content).await?;
    stream.finish().await?;
    eprintln!("{} {} received={received} sent={sent}", request.method(), request.uri().path());
    Ok(())
}

/// Whether the client's Finished has come.
fn is_over(handshake: &mut ZeroRttAccepted) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    matches!(std::pin::Pin::new(handshake).poll(&mut context), Poll::Ready(_))
}

async fn serve(incoming: Incoming, taken: Arc<AtomicBool>) -> Result<(), Box<dyn std::error::Error>> {
    taken.store(false, Ordering::Relaxed);
    let mut connecting = incoming.accept()?;
    connecting.handshake_data().await?;
    let kind = if taken.load(Ordering::Relaxed) { "resumed" } else { "full" };
    let Ok((quic, mut handshake)) = connecting.into_0rtt() else { return Ok(()) };
    let mut connection = h3::server::Connection::new(h3_quinn::Connection::new(quic.clone())).await?;
    let (mut over, mut early) = (false, false);
    loop {
        let resolver = tokio::select! {
            accepted = connection.accept() => accepted?,
            _ = &mut handshake, if !over => {
                over = true;
                // Of a handshake that failed it is over, too.
                if quic.close_reason().is_none() {
                    eprintln!("{kind}");
                }
                continue;
            }
        };
        let Some(resolver) = resolver else { return Ok(()) };
        if !over && !early {
            over = is_over(&mut handshake);
            early = !over;
            eprintln!("{}", if early { "early=accepted" } else { kind });
        }
        let (request, stream) = resolver.resolve_request().await?;
        answer(request, stream).await?;
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let o = Options::read();
    if o.text("http", "1") != "3" {
        unsupported("quinn speaks QUIC alone");
    }
    if o.has("key-update") {
        unsupported("not asked for over QUIC");
    }
    let taken = Arc::new(AtomicBool::new(false));
    let crypto = QuicServerConfig::with_initial(Arc::new(configure(&o, &taken)), initial()).expect("the suite is a proper one");
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let endpoint = serving(config, o.number("port", 443) as u16);
    println!("ready");
    let mut ended = signal(SignalKind::terminate()).expect("signals can be awaited");
    loop {
        tokio::select! {
            _ = ended.recv() => break,
            incoming = endpoint.accept() => {
                let Some(incoming) = incoming else { break };
                let taken = taken.clone();
                tokio::spawn(async move {
                    if let Err(error) = serve(incoming, taken).await {
                        eprintln!("{error}");
                    }
                });
            }
        }
    }
    endpoint.close(0x100u32.into(), b"");
    endpoint.wait_idle().await;
}
