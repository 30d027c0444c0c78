//! A small request that is forwarded: the whole way, over loopback sockets.
//!
//! `edge` goes through TLS and the edge to an origin and back on kept connections; `origin` asks
//! the same origin without an edge between. What the edge costs is the difference.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use criterion::{Criterion, criterion_group, criterion_main};
use cutwater::{Edge, Origin, Site};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const NAME: &str = "bench.test";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench.test\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n";

/// An origin with a thread for each connection.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            socket.set_nodelay(true).unwrap();
            thread::spawn(move || {
                let mut request = [0; 4096];
                // A request this small comes in one piece, and nobody sends the next one early.
                while let Ok(1..) = socket.read(&mut request) {
                    socket.write_all(ANSWER).unwrap();
                }
            });
        }
    });
    address
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

/// One request and its answer, up to the end of its body.
fn ask(stream: &mut (impl Read + Write)) {
    stream.write_all(REQUEST).unwrap();
    let mut answer = [0; 4096];
    let mut length = 0;
    while !answer[..length].ends_with(b"hello\n") {
        let count = stream.read(&mut answer[length..]).unwrap();
        assert!(count > 0, "the connection was closed");
        length += count;
    }
    black_box(&answer);
}

fn forward(criterion: &mut Criterion) {
    let origin = origin();
    let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).unwrap();
    let site = Site::new(NAME)
        .certificate(
            made.cert.pem().as_bytes(),
            made.signing_key.serialize_pem().as_bytes(),
        )
        .origin("/", Origin::new(origin));
    let edge = Edge::builder()
        .listen(([127, 0, 0, 1], 0).into())
        .workers(1)
        .site(site)
        .build()
        .unwrap();
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from(made.cert.der().to_vec());
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from(NAME).unwrap();
    let tls = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut through = StreamOwned::new(tls, connect(edge.addresses()[0]));
    let mut direct = connect(origin);
    let mut group = criterion.benchmark_group("forward");
    group.bench_function("edge", |bencher| bencher.iter(|| ask(&mut through)));
    group.bench_function("origin", |bencher| bencher.iter(|| ask(&mut direct)));
    group.finish();
}

criterion_group!(benches, forward);
criterion_main!(benches);
