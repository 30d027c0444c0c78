//! A record of 16 KiB through the stream, in memory: read by the server, and written by it.
//!
//! Only the server's turns are timed; the client's are not.

use std::hint::black_box;
use std::io::{IoSlice, Read, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use cutwater::confirm::Confirmation;
use cutwater::tls::hello::HelloReader;
use cutwater::tls::stream::{Socket, TlsStream};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const NAME: &str = "bench.test";
const RECORD: usize = 16 * 1024;

/// An in-memory socket: what the server is to read, and what it wrote.
#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<(Vec<u8>, Vec<u8>)>>);

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, (Vec<u8>, Vec<u8>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let mut pipe = self.lock();
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
        self.lock().1.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Both ends of a connection.
struct Ends {
    client: ClientConnection,
    pipe: Pipe,
    server: TlsStream<Pipe>,
    _confirmation: Confirmation,
}

impl Ends {
    /// Behind the handshake.
    fn connected() -> Self {
        let (client, config) = configurations();
        let name = ServerName::try_from(NAME).unwrap();
        let client = ClientConnection::new(Arc::new(client), name).unwrap();
        let pipe = Pipe::default();
        let (settler, confirmation) = Confirmation::pending();
        let mut ends = Self {
            client,
            server: TlsStream::new(pipe.clone()),
            pipe,
            _confirmation: confirmation,
        };
        ends.client_sends();
        let mut cx = Context::from_waker(Waker::noop());
        let hello = ends.server.poll_hello(&mut cx, &mut HelloReader::default());
        assert!(matches!(hello, Poll::Ready(Ok(_))));
        ends.server.start(Arc::new(config), settler).unwrap();
        for _ in 0..3 {
            ends.server_reads();
            ends.server_flushes();
            ends.client_takes();
            ends.client_sends();
        }
        assert!(!ends.client.is_handshaking() && !ends.server.is_unconfirmed());
        ends
    }

    fn client_sends(&mut self) {
        while self.client.wants_write() {
            self.client.write_tls(&mut self.pipe.lock().0).unwrap();
        }
    }

    /// How much plaintext the client got.
    fn client_takes(&mut self) -> usize {
        let bytes = std::mem::take(&mut self.pipe.lock().1);
        let mut bytes = bytes.as_slice();
        let mut length = 0;
        let mut plain = [0; RECORD];
        while !bytes.is_empty() {
            self.client.read_tls(&mut bytes).unwrap();
            self.client.process_new_packets().unwrap();
            while let Ok(count @ 1..) = self.client.reader().read(&mut plain) {
                length += count;
            }
        }
        length
    }

    /// How much plaintext the server got.
    fn server_reads(&mut self) -> usize {
        let mut cx = Context::from_waker(Waker::noop());
        let mut length = 0;
        while let Poll::Ready(read) = self.server.poll_read(&mut cx, &mut |bytes| {
            length += black_box(bytes).len();
            true
        }) {
            black_box(read.unwrap());
        }
        length
    }

    fn server_writes(&mut self, bytes: &[u8]) {
        let mut cx = Context::from_waker(Waker::noop());
        let written = self.server.poll_write(&mut cx, &[IoSlice::new(bytes)]);
        assert!(matches!(written, Poll::Ready(Ok(RECORD))));
        self.server_flushes();
    }

    fn server_flushes(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(
            self.server.poll_flush(&mut cx),
            Poll::Ready(Ok(()))
        ));
    }
}

fn configurations() -> (ClientConfig, ServerConfig) {
    let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).unwrap();
    let certificate = CertificateDer::from(made.cert.der().to_vec());
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    // As the product prefers it.
    provider.cipher_suites =
        vec![rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
    let provider = Arc::new(provider);
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    (client, server)
}

fn records(criterion: &mut Criterion) {
    let record = vec![b'x'; RECORD];
    let mut group = criterion.benchmark_group("stream");
    group.throughput(Throughput::Bytes(RECORD as u64));
    group.bench_function("read", |bencher| {
        let mut ends = Ends::connected();
        bencher.iter_custom(|iterations| {
            let mut took = Duration::ZERO;
            for _ in 0..iterations {
                ends.client.writer().write_all(&record).unwrap();
                ends.client_sends();
                let started = Instant::now();
                let length = ends.server_reads();
                took += started.elapsed();
                assert_eq!(length, RECORD);
            }
            took
        });
    });
    group.bench_function("write", |bencher| {
        let mut ends = Ends::connected();
        bencher.iter_custom(|iterations| {
            let mut took = Duration::ZERO;
            for _ in 0..iterations {
                let started = Instant::now();
                ends.server_writes(&record);
                took += started.elapsed();
                assert_eq!(ends.client_takes(), RECORD);
            }
            took
        });
    });
    group.finish();
}

criterion_group!(benches, records);
criterion_main!(benches);
