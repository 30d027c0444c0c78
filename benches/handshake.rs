//! The server's side of a handshake in memory: through our stream, beside bare rustls.
//!
//! Only the server's turns are timed; the client's are not. `full`, `resumed` and `early` are what
//! the client does; `early` carries a small request and gets its answer. `stapled` is `full` with an
//! OCSP response of 500 bytes, and `choice` is what it costs to take the certificate, with a staple
//! or without.

use std::hint::black_box;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use criterion::{Criterion, criterion_group, criterion_main};
use cutwater::certs::chooser::CertificateChooser;
use cutwater::certs::ocsp::{Staple, StapleStatus, Stapled, Subject, Unstapled};
use cutwater::config::site_tls::SiteTls;
use cutwater::confirm::Confirmation;
use cutwater::tls::hello::HelloReader;
use cutwater::tls::session::{HelloOffer, Sessions, SitePolicy};
use cutwater::tls::stream::{Socket, TlsStream};
use rustls::client::Resumption;
use rustls::compress::{BROTLI_DECOMPRESSOR, CertDecompressor, ZLIB_DECOMPRESSOR};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::sign::CertifiedKey;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench.test\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Full,
    Resumed,
    Early,
}

/// A site, and a client that trusts it.
struct Bench {
    site: SiteTls,
    sessions: Arc<Sessions>,
    client: ClientConfig,
}

impl Bench {
    fn new() -> Self {
        let key = key();
        let certificate = key.cert[0].clone();
        let chooser = Arc::new(CertificateChooser::new(vec![key]).unwrap());
        Self::with(chooser, certificate)
    }

    /// With a staple. Its issuer is itself: nobody verifies here.
    fn stapled() -> Self {
        let key = key();
        let certificate = key.cert[0].clone();
        let chooser = CertificateChooser::stapled(vec![Arc::new(stapled(key))]);
        Self::with(Arc::new(chooser.unwrap()), certificate)
    }

    /// With a chain as long as chains are, though nobody looks at the rest of this one.
    fn long() -> Self {
        let mut key = CertifiedKey::clone(&key());
        let certificate = key.cert[0].clone();
        for _ in 0..2 {
            let names: Vec<String> = (0..40).map(|n| format!("{n}.bench.test")).collect();
            let made = rcgen::generate_simple_self_signed(names).unwrap();
            let made = CertificateDer::from(made.cert.der().to_vec());
            key.cert.push(made);
        }
        let chooser = CertificateChooser::new(vec![Arc::new(key)]).unwrap();
        Self::with(Arc::new(chooser), certificate)
    }

    fn with(chooser: Arc<CertificateChooser>, certificate: CertificateDer<'static>) -> Self {
        let mut site = SiteTls::new("bench.test", chooser);
        site.early_data = true;
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        client.cert_decompressors = Vec::new();
        Self {
            site,
            sessions: Sessions::new(100_000),
            client,
        }
    }

    /// A client that holds one ticket, unless the handshake is to be a full one.
    fn client(&self, kind: Kind) -> ClientConfig {
        let mut config = self.client.clone();
        config.resumption = Resumption::in_memory_sessions(4);
        if kind != Kind::Full {
            let mut client = connect(&config);
            let mut ours = Ours::new(self);
            run(&mut client, &mut ours);
        }
        config.enable_early_data = kind == Kind::Early;
        config
    }

    /// X25519, as the client's share is chosen by its own preference list.
    fn base(&self) -> Arc<ServerConfig> {
        self.site.server_config(0, || unreachable!())
    }
}

fn key() -> Arc<CertifiedKey> {
    let made = rcgen::generate_simple_self_signed(vec!["bench.test".to_owned()]).unwrap();
    let certificate = CertificateDer::from(made.cert.der().to_vec());
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
    Arc::new(CertifiedKey::new(vec![certificate], key))
}

fn stapled(key: Arc<CertifiedKey>) -> Stapled {
    let subject = Arc::new(Subject::read(&key.cert, &[]).unwrap());
    let stapled = Stapled::awaiting(&key, subject, true);
    let now = SystemTime::now();
    stapled.show(&Staple {
        der: Arc::from([0; 500]),
        this_update: now,
        next_update: now + Duration::from_secs(86_400),
        status: StapleStatus::Good,
    });
    stapled
}

fn connect(config: &ClientConfig) -> ClientConnection {
    let name = ServerName::try_from("bench.test").unwrap();
    ClientConnection::new(Arc::new(config.clone()), name).unwrap()
}

/// One turn of a server: takes what the client sent, gives what it answers.
trait Server {
    fn turn(&mut self, input: &[u8]) -> Vec<u8>;
}

/// Both sides until neither has anything to say. The time of the server's turns.
fn run(client: &mut ClientConnection, server: &mut dyn Server) -> Duration {
    if let Some(mut early) = client.early_data() {
        std::io::Write::write_all(&mut early, REQUEST).unwrap();
    }
    let mut took = Duration::ZERO;
    for _ in 0..4 {
        let mut out = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut out).unwrap();
        }
        if out.is_empty() {
            break;
        }
        let started = Instant::now();
        let answer = server.turn(&out);
        took += started.elapsed();
        let mut answer = answer.as_slice();
        while !answer.is_empty() {
            client.read_tls(&mut answer).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    assert!(!client.is_handshaking());
    took
}

/// An in-memory socket.
#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<(Vec<u8>, Vec<u8>)>>);

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let mut pipe = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if pipe.0.is_empty() {
            return Poll::Pending;
        }
        let count = pipe.0.len().min(buffer.remaining());
        buffer.put_slice(&pipe.0[..count]);
        pipe.0.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl Socket for Pipe {}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let mut pipe = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pipe.1.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Our stream, with ClientHello reader, session choice and confirmation as in the product.
struct Ours<'b> {
    bench: &'b Bench,
    pipe: Pipe,
    stream: TlsStream<Pipe>,
    reader: Option<HelloReader>,
    confirmation: Option<Confirmation>,
}

impl<'b> Ours<'b> {
    fn new(bench: &'b Bench) -> Self {
        let pipe = Pipe::default();
        Self {
            bench,
            stream: TlsStream::new(pipe.clone()),
            pipe,
            reader: Some(HelloReader::default()),
            confirmation: None,
        }
    }
}

impl Server for Ours<'_> {
    fn turn(&mut self, input: &[u8]) -> Vec<u8> {
        let mut cx = Context::from_waker(Waker::noop());
        self.pipe.0.lock().unwrap().0.extend_from_slice(input);
        if let Some(mut reader) = self.reader.take() {
            let Poll::Ready(Ok(hello)) = self.stream.poll_hello(&mut cx, &mut reader) else {
                unreachable!("the hello comes whole");
            };
            let prepared = self.bench.sessions.prepare(
                &self.bench.base(),
                &SitePolicy::from(&self.bench.site),
                HelloOffer {
                    identities: hello.identities().map(|identity| identity.identity),
                    early_data: hello.offers_early_data(),
                    by_default: false,
                },
                false,
                self.bench.sessions.now(),
            );
            let (settler, confirmation) = Confirmation::pending();
            self.stream.start(prepared.config, settler).unwrap();
            self.confirmation = Some(confirmation);
        }
        let mut early = false;
        while let Poll::Ready(read) = self.stream.poll_read(&mut cx, &mut |bytes| {
            early = !bytes.is_empty();
            true
        }) {
            black_box(read.unwrap());
        }
        if early {
            let answer = [std::io::IoSlice::new(ANSWER)];
            let _ = self.stream.poll_write(&mut cx, &answer);
        }
        let _ = self.stream.poll_flush(&mut cx);
        std::mem::take(&mut self.pipe.0.lock().unwrap().1)
    }
}

/// rustls as it is, with the same configuration and the same session store.
struct Bare {
    engine: UnbufferedServerConnection,
    input: Vec<u8>,
}

impl Bare {
    fn new(bench: &Bench, sessions: Arc<dyn rustls::server::StoresServerSessions>) -> Self {
        let mut config = ServerConfig::clone(&bench.base());
        config.session_storage = sessions;
        Self {
            engine: UnbufferedServerConnection::new(Arc::new(config)).unwrap(),
            input: Vec::new(),
        }
    }
}

impl Server for Bare {
    fn turn(&mut self, input: &[u8]) -> Vec<u8> {
        self.input.extend_from_slice(input);
        let mut out = vec![0; 8192];
        let mut filled = 0;
        let mut early = false;
        loop {
            let UnbufferedStatus { discard, state, .. } =
                self.engine.process_tls_records(&mut self.input);
            let mut done = false;
            match state.unwrap() {
                ConnectionState::EncodeTlsData(mut record) => {
                    filled += record.encode(&mut out[filled..]).unwrap();
                }
                ConnectionState::TransmitTlsData(transmit) => transmit.done(),
                ConnectionState::ReadEarlyData(mut records) => {
                    while let Some(record) = records.next_record() {
                        black_box(record.unwrap().payload);
                        early = true;
                    }
                }
                ConnectionState::WriteTraffic(mut traffic) => {
                    if std::mem::take(&mut early) {
                        filled += traffic.encrypt(ANSWER, &mut out[filled..]).unwrap();
                    }
                    done = true;
                }
                _ => done = true,
            }
            self.input.drain(..discard);
            if done {
                break;
            }
        }
        out.truncate(filled);
        out
    }
}

fn handshakes(criterion: &mut Criterion) {
    let bench = Bench::new();
    let mut group = criterion.benchmark_group("handshake");
    for kind in [Kind::Full, Kind::Resumed, Kind::Early] {
        group.bench_function(format!("{kind:?}/ours").to_lowercase(), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut took = Duration::ZERO;
                for _ in 0..iterations {
                    let config = bench.client(kind);
                    let mut client = connect(&config);
                    took += run(&mut client, &mut Ours::new(&bench));
                    assert_eq!(client.is_early_data_accepted(), kind == Kind::Early);
                }
                took
            });
        });
        group.bench_function(format!("{kind:?}/rustls").to_lowercase(), |bencher| {
            let store = rustls::server::ServerSessionMemoryCache::new(1024);
            bencher.iter_custom(|iterations| {
                let mut took = Duration::ZERO;
                for _ in 0..iterations {
                    let mut config = bench.client.clone();
                    config.resumption = Resumption::in_memory_sessions(4);
                    if kind != Kind::Full {
                        run(&mut connect(&config), &mut Bare::new(&bench, store.clone()));
                    }
                    config.enable_early_data = kind == Kind::Early;
                    let mut client = connect(&config);
                    took += run(&mut client, &mut Bare::new(&bench, store.clone()));
                    assert_eq!(client.is_early_data_accepted(), kind == Kind::Early);
                }
                took
            });
        });
    }
    let with = Bench::stapled();
    group.bench_function("stapled/ours", |bencher| {
        bencher.iter_custom(|iterations| {
            let mut took = Duration::ZERO;
            for _ in 0..iterations {
                let config = with.client(Kind::Full);
                let mut client = connect(&config);
                took += run(&mut client, &mut Ours::new(&with));
            }
            took
        });
    });
    for (name, key) in [
        ("choice/bare", Stapled::never(key(), Unstapled::Off)),
        ("choice/stapled", stapled(key())),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let shown = black_box(&key).may_be_shown(SystemTime::now);
                (shown, key.current(SystemTime::now))
            });
        });
    }
    group.finish();
}

/// What it costs to send a certificate that was compressed before.
fn certificates(criterion: &mut Criterion) {
    let bench = Bench::long();
    let mut group = criterion.benchmark_group("certificate");
    let plain: &[&'static dyn CertDecompressor] = &[];
    for (name, decompressors) in [
        ("plain", plain),
        ("zlib", &[ZLIB_DECOMPRESSOR]),
        ("brotli", &[BROTLI_DECOMPRESSOR]),
    ] {
        let mut config = bench.client(Kind::Full);
        config.cert_decompressors = decompressors.to_vec();
        config.resumption = Resumption::disabled();
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let once = |_| run(&mut connect(&config), &mut Ours::new(&bench));
                (0..iterations).map(once).sum()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, handshakes, certificates);
criterion_main!(benches);
