//! Reading the ClientHello of a rustls client: it happens once per handshake.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use cutwater::tls::hello::{ClientHello, HelloReader};
use cutwater::tls::ja4::{Transport, ja4};
use rustls::client::UnbufferedClientConnection;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::unbuffered::ConnectionState;
use rustls::{ClientConfig, RootCertStore};

/// The first flight of a client with the given groups in front of the others.
fn flight(post_quantum: bool) -> Vec<u8> {
    let mut provider = aws_lc_rs::default_provider();
    if post_quantum {
        provider
            .kx_groups
            .insert(0, aws_lc_rs::kx_group::X25519MLKEM768);
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = ServerName::try_from("www.example.com").expect("a name");
    let mut client = UnbufferedClientConnection::new(Arc::new(config), name).expect("a client");
    let mut wire = vec![0; 4096];
    match client.process_tls_records(&mut []).state {
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            let length = data.encode(&mut wire).expect("room");
            wire.truncate(length);
        }
        other => panic!("a hello was to come: {other:?}"),
    }
    wire
}

fn read(wire: &[u8]) -> ClientHello {
    let hello = HelloReader::default().advance(black_box(wire));
    hello.expect("good").expect("whole")
}

fn hello(c: &mut Criterion) {
    for (name, wire) in [("x25519", flight(false)), ("x25519mlkem768", flight(true))] {
        let mut group = c.benchmark_group(format!("hello/{name}"));
        group.bench_function("read", |b| b.iter(|| read(&wire)));
        let small: Vec<u8> = read(&wire)
            .message()
            .chunks(64)
            .flat_map(|part| [&[22, 3, 1, 0, part.len() as u8], part].concat())
            .collect();
        group.bench_function("read in records of 64", |b| b.iter(|| read(&small)));
        let hello = read(&wire);
        group.bench_function("ja4", |b| b.iter(|| ja4(black_box(&hello), Transport::Tcp)));
        group.finish();
    }
}

criterion_group!(benches, hello);
criterion_main!(benches);
