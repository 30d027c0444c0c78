//! The floor answers what it is measured with.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use h3::client::SendRequest;
use h3_quinn::OpenStreams;
use quinn::crypto::rustls::QuicClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, version};

type Outcome = Result<(), Box<dyn Error>>;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
const LAST: &[u8] = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";

/// A floor that ends with the test.
struct Floor {
    child: Child,
    address: SocketAddr,
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(arguments: &[&str]) -> Result<Floor, Box<dyn Error>> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_floor"))
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()?;
    let said = child.stdout.take().ok_or("no output")?;
    let mut line = String::new();
    BufReader::new(said).read_line(&mut line)?;
    let address = line.trim().parse()?;
    Ok(Floor { child, address })
}

fn connect(floor: &Floor) -> Result<TcpStream, Box<dyn Error>> {
    let socket = TcpStream::connect(floor.address)?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(socket)
}

/// A request over HTTP/3: how many bytes its answer has, and how that begins.
async fn get(
    requests: &mut SendRequest<OpenStreams, bytes::Bytes>,
    path: &str,
) -> Result<(usize, String), Box<dyn Error>> {
    let request = http::Request::get(format!("https://a.test{path}")).body(())?;
    let mut stream = requests.send_request(request).await?;
    stream.finish().await?;
    let head = stream.recv_response().await?;
    assert_eq!(head.status(), 200);
    let (mut length, mut begin) = (0, String::new());
    while let Some(mut piece) = stream.recv_data().await? {
        let rest = piece.remaining();
        let piece = piece.copy_to_bytes(rest);
        if length == 0 {
            begin = String::from_utf8_lossy(piece.get(..6).unwrap_or_default()).into_owned();
        }
        length += piece.len();
    }
    let said = head.headers().get("content-length").ok_or("no length")?;
    assert_eq!(said.to_str()?, length.to_string());
    Ok((length, begin))
}

/// Reads as many answers as there are.
fn answers(mut from: impl Read, count: usize) -> Outcome {
    let mut all = Vec::new();
    while all.windows(6).filter(|window| window == b"hello\n").count() < count {
        let mut piece = [0; 1024];
        let got = from.read(&mut piece)?;
        if got == 0 {
            return Err("it ended".into());
        }
        all.extend_from_slice(&piece[..got]);
    }
    Ok(())
}

fn tls(further: &[&str]) -> Result<(Floor, Arc<ClientConfig>, tempfile::TempDir), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let made = rcgen::generate_simple_self_signed(["a.test".to_owned()])?;
    let file = directory.path().join("a.pem");
    std::fs::write(&file, made.cert.pem() + &made.signing_key.serialize_pem())?;
    let file = file.to_str().ok_or("a path")?;
    let floor = start(&[&["--chain", file, "--key", file], further].concat())?;
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone())?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.enable_early_data = true;
    Ok((floor, Arc::new(config), directory))
}

#[test]
fn an_origin_answers_requests_in_a_row_and_closes_behind_the_last() -> Outcome {
    let floor = start(&["--plain"])?;
    let mut socket = connect(&floor)?;
    socket.write_all(&[REQUEST, REQUEST, LAST].concat())?;
    answers(&socket, 3)?;
    assert_eq!(socket.read(&mut [0; 1])?, 0);
    Ok(())
}

#[test]
fn an_origin_sends_ten_megabytes() -> Outcome {
    let floor = start(&["--plain"])?;
    let mut socket = connect(&floor)?;
    socket.write_all(b"GET /proxied/large HTTP/1.1\r\nConnection: close\r\n\r\n")?;
    let mut all = Vec::new();
    socket.read_to_end(&mut all)?;
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n";
    assert!(all.starts_with(head));
    assert_eq!(all.len(), head.len() + 10_000_000);
    Ok(())
}

#[test]
fn the_second_connection_is_resumed_and_its_early_request_answered_at_once() -> Outcome {
    let (floor, config, _directory) = tls(&[])?;
    let name = ServerName::try_from("a.test")?;
    let mut client = ClientConnection::new(Arc::clone(&config), name.clone())?;
    let mut socket = connect(&floor)?;
    let mut stream = rustls::Stream::new(&mut client, &mut socket);
    stream.write_all(REQUEST)?;
    answers(&mut stream, 1)?;
    assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full));

    let mut client = ClientConnection::new(config, name)?;
    let mut socket = connect(&floor)?;
    client
        .early_data()
        .ok_or("no ticket came")?
        .write_all(REQUEST)?;
    let mut stream = rustls::Stream::new(&mut client, &mut socket);
    answers(&mut stream, 1)?;
    stream.write_all(REQUEST)?;
    answers(&mut stream, 1)?;
    assert_eq!(client.handshake_kind(), Some(HandshakeKind::Resumed));
    assert!(client.is_early_data_accepted());
    Ok(())
}

#[test]
fn requests_are_passed_on_to_an_origin_with_their_content() -> Outcome {
    let origin = start(&["--plain"])?;
    let (floor, config, _directory) = tls(&["--origin", &origin.address.to_string()])?;
    let mut client = ClientConnection::new(config, ServerName::try_from("a.test")?)?;
    let mut socket = connect(&floor)?;
    let mut stream = rustls::Stream::new(&mut client, &mut socket);
    stream.write_all(REQUEST)?;
    answers(&mut stream, 1)?;
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\n")?;
    stream.write_all(&[b'x'; 1_000_000])?;
    stream.write_all(REQUEST)?;
    answers(&mut stream, 2)?;
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: a.test\r\n\r\n")?;
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\nvia: 1.1 floor\r\n\r\n";
    let mut all = vec![0; head.len() + 10_000_000];
    stream.read_exact(&mut all)?;
    assert!(all.starts_with(head.as_bytes()));
    stream.write_all(REQUEST)?;
    answers(&mut stream, 1)
}

#[test]
fn the_last_answer_ends_with_close_notify() -> Outcome {
    let (floor, config, _directory) = tls(&[])?;
    let mut client = ClientConnection::new(config, ServerName::try_from("a.test")?)?;
    let mut socket = connect(&floor)?;
    let mut stream = rustls::Stream::new(&mut client, &mut socket);
    stream.write_all(LAST)?;
    // rustls makes an error of an end without close_notify.
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    assert!(all.ends_with(b"hello\n"));
    Ok(())
}

fn over_quic(config: &ClientConfig) -> Result<quinn::ClientConfig, Box<dyn Error>> {
    let mut config = config.clone();
    config.alpn_protocols = vec![b"h3".to_vec()];
    let crypto = QuicClientConfig::try_from(config)?;
    Ok(quinn::ClientConfig::new(Arc::new(crypto)))
}

/// Has a client of the floor over QUIC do this.
fn play(client: impl AsyncFnOnce(quinn::Endpoint, SocketAddr) -> Outcome) -> Outcome {
    let (floor, config, _directory) = tls(&["--quic"])?;
    let config = over_quic(&config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse()?)?;
        endpoint.set_default_client_config(config);
        client(endpoint, floor.address).await
    })
}

#[test]
fn over_quic_the_second_connection_is_resumed_and_its_early_request_answered() -> Outcome {
    play(async |endpoint, address| {
        let quic = endpoint.connect(address, "a.test")?.await?;
        let own = h3_quinn::Connection::new(quic);
        let (_driver, mut requests) = h3::client::new(own).await?;
        assert_eq!(get(&mut requests, "/").await?, (6, "hello\n".to_owned()));
        let large = get(&mut requests, "/large").await?;
        assert_eq!(large, (10_000_000, "\0".repeat(6)));
        assert_eq!(get(&mut requests, "/").await?.0, 6);

        let connecting = endpoint.connect(address, "a.test")?;
        let Ok((quic, accepted)) = connecting.into_0rtt() else {
            return Err("no ticket came".into());
        };
        let own = h3_quinn::Connection::new(quic);
        let (_driver, mut requests) = h3::client::new(own).await?;
        assert_eq!(get(&mut requests, "/").await?.0, 6);
        assert!(accepted.await);
        Ok(())
    })
}

#[test]
fn over_quic_a_head_in_pieces_is_answered() -> Outcome {
    play(async |endpoint, address| {
        let quic = endpoint.connect(address, "a.test")?.await?;
        let (mut send, mut receive) = quic.open_bi().await?;
        // HEADERS and their length; :method: GET, :scheme: https, :authority: a, :path: /
        for piece in [&b"\x01\x08"[..], b"\x00\x00\xd1\xd7", b"\x50\x01a\xc1"] {
            let before = quic.stats().frame_tx.stream;
            send.write_all(piece).await?;
            // Each in a packet of its own.
            for _ in 0..100_000 {
                if quic.stats().frame_tx.stream > before {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        send.finish()?;
        let answer = receive.read_to_end(1000).await?;
        assert!(answer.ends_with(b"hello\n"), "{answer:x?}");
        Ok(())
    })
}
