//! First bytes: fragmented, garbled, oversized, or not TLS at all.

use std::net::SocketAddr;

use rustls::AlertDescription;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http::stand::{NAME, Stand, get, respond};
use crate::support::client::Client;
use crate::support::hello::{Hello, plain_alert};
use crate::support::within;

#[tokio::test]
async fn a_hello_in_pieces_of_any_size_is_read() {
    let stand = Stand::start(&respond("/", "ok")).await;
    // Over records, over segments, and both.
    for (fragment, segment) in [
        (None, 1),
        (None, 7),
        (Some(27), 4096),
        (Some(27), 1),
        (Some(300), 3),
    ] {
        let mut setup = stand.setup1().fresh();
        if let Some(size) = fragment {
            setup = setup.fragment(size);
        }
        let mut client = Client::connect(stand.edge.address(), NAME, &setup).await;
        let flight = client.take_pending();
        client.send_raw_in_pieces(&flight, segment).await;
        client.server_flight().await.unwrap();
        let finished = client.take_pending();
        client.send_raw_in_pieces(&finished, segment).await;
        client.send(get("/").as_bytes()).await;
        assert_eq!(
            client.response().await.text(),
            "ok",
            "{fragment:?} {segment}"
        );
    }
}

/// A handshake message in records of `size` bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    let mut all = Vec::new();
    for piece in message.chunks(size) {
        all.extend([22, 3, 1]);
        all.extend(u16::try_from(piece.len()).unwrap().to_be_bytes());
        all.extend(piece);
    }
    all
}

/// A ClientHello message with an extension that makes it this long.
fn padded(message: &[u8], length: usize) -> Vec<u8> {
    // RFC 7685: padding, put in front: what is last may have to be last.
    let list = Hello::find(&records(message, 16_384))
        .extension(13)
        .unwrap();
    let _ = list;
    let mut at = 4 + 2 + 32;
    at += 1 + usize::from(message[at]);
    at += 2 + usize::from(u16::from_be_bytes([message[at], message[at + 1]]));
    at += 1 + usize::from(message[at]);
    let extensions = usize::from(u16::from_be_bytes([message[at], message[at + 1]]));
    let padding = length - message.len() - 4;
    let mut long = message[..at].to_vec();
    long.extend(
        u16::try_from(extensions + padding + 4)
            .unwrap_or(u16::MAX)
            .to_be_bytes(),
    );
    long.extend([0, 21]);
    long.extend(u16::try_from(padding).unwrap().to_be_bytes());
    long.resize(long.len() + padding, 0);
    long.extend(&message[at + 2..]);
    let body = u32::try_from(long.len() - 4).unwrap().to_be_bytes();
    long[1..4].copy_from_slice(&body[1..]);
    long
}

/// What the edge says to these bytes before it closes.
async fn answer(address: SocketAddr, bytes: &[u8], end: bool) -> Vec<u8> {
    let mut stream = within("connect", TcpStream::connect(address))
        .await
        .unwrap();
    // It may be closed before all is taken.
    let _ = within("send", stream.write_all(bytes)).await;
    if end {
        stream.shutdown().await.unwrap();
    }
    let mut said = Vec::new();
    within("the end", stream.read_to_end(&mut said))
        .await
        .unwrap();
    said
}

#[tokio::test]
async fn what_is_no_hello_gets_its_alert_and_a_line_in_the_log() {
    let stand = Stand::start(&respond("/", "ok")).await;
    let address = stand.edge.address();
    let mut client = Client::connect(address, NAME, &stand.setup1()).await;
    let flight = client.take_pending();
    let message = Hello::find(&flight).message().to_vec();
    let changed = |at: usize, byte: u8| {
        let mut changed = message.clone();
        changed[at] = byte;
        records(&changed, 16_384)
    };
    let mut too_large = vec![1, 1, 0, 0];
    too_large.resize(70_000, 0);
    let mut overflow = vec![22, 3, 1, 0x40, 1];
    overflow.resize(5 + 16_385, 0);
    let twice = [message.as_slice(), &message].concat();
    let garbage = crate::http::stand::pattern(5000);
    use AlertDescription as A;
    let cases: Vec<(&str, Vec<u8>, AlertDescription)> = vec![
        ("HTTP", get("/").into_bytes(), A::UnexpectedMessage),
        (
            "the preface of HTTP/2",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            A::UnexpectedMessage,
        ),
        ("garbage", garbage, A::UnexpectedMessage),
        (
            "SSH",
            b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
            A::UnexpectedMessage,
        ),
        (
            "an SSL 2 hello",
            vec![0x80, 0x2e, 1, 3, 1, 0, 21, 0, 0, 0, 16],
            A::UnexpectedMessage,
        ),
        (
            "application data first",
            vec![23, 3, 3, 0, 2, 1, 1],
            A::UnexpectedMessage,
        ),
        (
            "change_cipher_spec first",
            vec![20, 3, 3, 0, 1, 1],
            A::UnexpectedMessage,
        ),
        (
            "an empty record",
            vec![22, 3, 1, 0, 0],
            A::UnexpectedMessage,
        ),
        (
            "version 4",
            vec![22, 4, 0, 0, 5, 1, 0, 0, 1, 0],
            A::UnexpectedMessage,
        ),
        ("another message", changed(0, 2), A::UnexpectedMessage),
        ("two hellos", records(&twice, 16_384), A::UnexpectedMessage),
        ("a record too long", overflow, A::RecordOverflow),
        (
            "a hello too long",
            records(&too_large, 16_384),
            A::DecodeError,
        ),
        (
            "a body too short",
            records(&[1, 0, 0, 2, 3, 3], 100),
            A::DecodeError,
        ),
        ("a session id too long", changed(38, 200), A::DecodeError),
        // TLS 1.3 in supported_versions does not mend these.
        ("SSL 3.0 in its version", changed(5, 0), A::ProtocolVersion),
        ("SSL 2 in its version", changed(4, 2), A::ProtocolVersion),
    ];
    for (name, bytes, alert) in &cases {
        let said = answer(address, bytes, false).await;
        assert_eq!(plain_alert(&said), Some(*alert), "{name}: {said:?}");
        assert_eq!(said.len(), 7, "{name}");
    }
    let failed = |line: &serde_json::Value| line["end"] == "alert" && line["error"].is_string();
    // A client that leaves in the middle gets nothing.
    for length in [0, 1, 4, 5, 6, 100, flight.len() - 1] {
        let said = answer(address, &flight[..length], true).await;
        assert!(said.is_empty(), "{length}: {said:?}");
    }
    assert_eq!(stand.status_of("/").await, 200);
    let lines = stand.edge.until_connections(cases.len(), failed).await;
    assert_eq!(lines.len(), cases.len());
    let panicked = |line: &serde_json::Value| line["end"] == "error";
    assert!(!stand.edge.connections().iter().any(panicked));
}

/// A ClientHello of before TLS 1.3: of extensions it has the server's name alone.
fn old_hello(version: u16) -> Vec<u8> {
    let name = NAME.as_bytes();
    let vec16 = |bytes: &[u8]| {
        let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
        [&length[..], bytes].concat()
    };
    let server_name = vec16(&[&[0][..], &vec16(name)].concat());
    let extensions = vec16(&[&[0, 0][..], &vec16(&server_name)].concat());
    let mut body = version.to_be_bytes().to_vec();
    body.extend([7; 32]);
    body.extend([0, 0, 4, 0xc0, 0x2f, 0xc0, 0x2b, 1, 0]);
    body.extend(extensions);
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[1][..], &length[1..], &body].concat()
}

#[tokio::test]
async fn a_client_of_before_tls_1_3_is_told_so() {
    // RFC 9846 §E.2. It names no signature algorithms, and that is not what is wrong with it.
    let stand = Stand::start(&respond("/", "ok")).await;
    for version in [0x0301, 0x0302, 0x0303] {
        let hello = records(&old_hello(version), 16_384);
        let said = answer(stand.edge.address(), &hello, false).await;
        let alert = Some(AlertDescription::ProtocolVersion);
        assert_eq!(plain_alert(&said), alert, "{version:#06x}: {said:?}");
    }
    let turned_away =
        |line: &serde_json::Value| line["error"] == "turned away: unsupported_version";
    stand.edge.until_connections(3, turned_away).await;
    let metric = "cutwater_client_hello_errors_total";
    let counted = stand.edge.metric(metric, &["unsupported_version"]).await;
    assert_eq!(counted, 3.0);
}

#[tokio::test]
async fn who_can_verify_no_certificate_is_told_so_before_anything_else() {
    let stand = Stand::start(&respond("/", "ok")).await;
    let mut client = Client::connect(stand.edge.address(), NAME, &stand.setup1().fresh()).await;
    let flight = client.take_pending();
    let hello = Hello::find(&flight);
    let schemes = hello.extension(13).unwrap();
    // PKCS #1 v1.5 signs no handshake of TLS 1.3; the other is nobody's.
    for scheme in [[4, 1], [0xfe, 0xfe]] {
        let mut message = hello.message().to_vec();
        for at in (schemes.start + 2..schemes.end).step_by(2) {
            message[at..at + 2].copy_from_slice(&scheme);
        }
        let said = answer(stand.edge.address(), &records(&message, 16_384), false).await;
        let alert = Some(AlertDescription::HandshakeFailure);
        assert_eq!(plain_alert(&said), alert, "{scheme:?}: {said:?}");
    }
    let turned_away = |line: &serde_json::Value| line["error"] == "turned away: no_certificate";
    stand.edge.until_connections(2, turned_away).await;
}

#[tokio::test]
async fn a_large_hello_is_read() {
    let stand = Stand::start(&respond("/", "ok")).await;
    let setup = stand.setup1();
    let mut client = Client::connect(stand.edge.address(), NAME, &setup).await;
    let flight = client.take_pending();
    let message = Hello::find(&flight).message().to_vec();
    for (length, size) in [(20_000, 16_384), (60_000, 16_384), (30_000, 100)] {
        let hello = records(&padded(&message, length), size);
        let mut stream = within("connect", TcpStream::connect(stand.edge.address()))
            .await
            .unwrap();
        within("send", stream.write_all(&hello)).await.unwrap();
        let mut header = [0; 5];
        within("a ServerHello", stream.read_exact(&mut header))
            .await
            .unwrap();
        assert_eq!(header[0], 22, "{length} in {size}");
    }
}
