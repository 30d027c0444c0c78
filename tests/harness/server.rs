//! A reference server: rustls's own buffered connection, on a thread, with early data.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::support::pki::{Leaf, Pki};

/// How early data is treated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Early {
    /// Taken, up to 16,384 bytes.
    Taken,
    /// Tickets allow it, but every resumption refuses it: another server took the first.
    Refused,
}

/// Starts it; it answers each complete head of a request with the word it got it by, and each
/// h2 preface not at all.
pub fn start(pki: &Pki, early: Early) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let taking = config(&pki.leaf(&["example.com"]), 16_384);
    let mut refusing = ServerConfig::clone(&taking);
    refusing.max_early_data_size = 0;
    let refusing = Arc::new(refusing);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let refuse = early == Early::Refused && number > 0;
            let config = Arc::clone(if refuse { &refusing } else { &taking });
            // The thread ends with its connection; nobody waits for it.
            std::thread::spawn(move || serve(stream.unwrap(), config));
        }
    });
    address
}

fn config(leaf: &Leaf, early: u32) -> Arc<ServerConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(leaf.key_der.clone()).unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(leaf.chain.clone(), key)
        .unwrap();
    config.max_early_data_size = early;
    config.send_half_rtt_data = true;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

fn serve(mut stream: TcpStream, config: Arc<ServerConfig>) {
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut tls = ServerConnection::new(config).unwrap();
    let mut got = Vec::new();
    loop {
        let before = got.len();
        if let Some(mut early) = tls.early_data() {
            early.read_to_end(&mut got).unwrap();
        }
        let word = if got.len() > before { "early" } else { "late" };
        match tls.reader().read_to_end(&mut got) {
            Ok(_) => tls.send_close_notify(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
        while let Some(end) = got.windows(4).position(|four| four == b"\r\n\r\n") {
            got.drain(..end + 4);
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{word}",
                word.len()
            );
            tls.writer().write_all(answer.as_bytes()).unwrap();
        }
        while tls.wants_write() {
            if tls.write_tls(&mut stream).is_err() {
                return;
            }
        }
        match tls.read_tls(&mut stream) {
            Ok(1..) => {}
            _ => return,
        }
        if tls.process_new_packets().is_err() {
            let _ = tls.write_tls(&mut stream);
            return;
        }
    }
}

/// Starts one that speaks HTTP/2 and answers with the path.
pub async fn start_h2(pki: &Pki, early: Early) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let mut taking = ServerConfig::clone(&config(&pki.leaf(&["example.com"]), 16_384));
    taking.alpn_protocols = vec![b"h2".to_vec()];
    let mut refusing = taking.clone();
    refusing.max_early_data_size = 0;
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            let refuse = early == Early::Refused && number > 0;
            let config = if refuse { &refusing } else { &taking };
            let tls = ServerConnection::new(Arc::new(config.clone())).unwrap();
            let (inner, outer) = tokio::io::duplex(1 << 16);
            tokio::spawn(bridge(stream, tls, outer));
            tokio::spawn(answer_h2(inner));
        }
    });
    address
}

async fn answer_h2(inner: DuplexStream) {
    let Ok(mut connection) = h2::server::handshake(inner).await else {
        return;
    };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let path = request.uri().path().to_owned();
        let mut stream = respond
            .send_response(http::Response::new(()), false)
            .unwrap();
        stream.send_data(path.into(), true).unwrap();
    }
}

/// Carries plaintext between TLS and `outer`; half-RTT data goes out as it comes.
async fn bridge(
    mut tcp: tokio::net::TcpStream,
    mut tls: ServerConnection,
    mut outer: DuplexStream,
) {
    let (mut cipher, mut plain) = (vec![0; 16_384], vec![0; 16_384]);
    loop {
        let mut out = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut out).unwrap();
        }
        if tcp.write_all(&out).await.is_err() {
            return;
        }
        tokio::select! {
            read = tcp.read(&mut cipher) => {
                let Ok(count @ 1..) = read else { return };
                let mut bytes = &cipher[..count];
                while !bytes.is_empty() {
                    tls.read_tls(&mut bytes).unwrap();
                    if tls.process_new_packets().is_err() {
                        return;
                    }
                    let mut got = Vec::new();
                    if let Some(mut early) = tls.early_data() {
                        early.read_to_end(&mut got).unwrap();
                    }
                    if tls.reader().read_to_end(&mut got).is_ok() {
                        tls.send_close_notify();
                    }
                    if outer.write_all(&got).await.is_err() {
                        return;
                    }
                }
            }
            read = outer.read(&mut plain) => {
                let Ok(count @ 1..) = read else {
                    tls.send_close_notify();
                    let mut out = Vec::new();
                    tls.write_tls(&mut out).unwrap();
                    let _ = tcp.write_all(&out).await;
                    return;
                };
                tls.writer().write_all(&plain[..count]).unwrap();
            }
        }
    }
}
