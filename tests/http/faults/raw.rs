//! Origins that break HTTP/2 itself: what no server's library would send.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::stage::{Fault, Outcome, beside_all};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:status: 200` of HPACK's static table.
const OK: &[u8] = &[0x88];

/// RFC 9113 §4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field without HPACK's table and without Huffman's code.
fn field(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).unwrap();
    [
        &[0, length(name)],
        name.as_bytes(),
        &[length(value)],
        value.as_bytes(),
    ]
    .concat()
}

fn head(stream: u32, flags: u8, fields: &[Vec<u8>]) -> Vec<u8> {
    let block = [OK, &fields.concat()].concat();
    frame(HEADERS, END_HEADERS | flags, stream, &block)
}

/// Answers each request with these bytes, made for its stream.
async fn serve(mut socket: TcpStream, lie: fn(u32) -> Vec<u8>) -> std::io::Result<()> {
    let mut preface = [0; 24];
    socket.read_exact(&mut preface).await?;
    socket.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    loop {
        let mut start = [0; 9];
        socket.read_exact(&mut start).await?;
        let [a, b, c, kind, flags, stream @ ..] = start;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        socket.read_exact(&mut payload).await?;
        match kind {
            SETTINGS if flags & ACK == 0 => {
                socket.write_all(&frame(SETTINGS, ACK, 0, &[])).await?;
            }
            PING if flags & ACK == 0 => socket.write_all(&frame(PING, ACK, 0, &payload)).await?,
            HEADERS => socket.write_all(&lie(u32::from_be_bytes(stream))).await?,
            _ => {}
        }
    }
}

const BAD: &[Outcome] = &[Outcome::Status(502)];
const GOOD_OR_BAD: &[Outcome] = &[Outcome::Status(200), Outcome::Status(502)];

type Lie = fn(u32) -> Vec<u8>;

/// A thousand requests of others go by while these are lied to.
async fn lied_to(lies: &[(Lie, &[Outcome])]) {
    let mut faults = Vec::new();
    for (lie, outcomes) in lies {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("h2c://{}", listener.local_addr().unwrap());
        let lie = *lie;
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, lie));
            }
        });
        let fault = Fault::at(&url).timeouts("response_headers = \"1s\"");
        faults.push((fault, *outcomes));
    }
    beside_all(&faults).await;
}

#[tokio::test]
async fn what_is_no_http2_and_no_answer() {
    let text = |_| b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec();
    lied_to(&[
        (text, BAD),
        // No HPACK.
        (
            |stream| frame(HEADERS, END_HEADERS, stream, &[0xff; 20]),
            BAD,
        ),
        // No status.
        (
            |stream| frame(HEADERS, END_HEADERS, stream, &field("x", "y")),
            BAD,
        ),
        (
            |stream| head(stream, 0, &[field("transfer-encoding", "chunked")]),
            BAD,
        ),
        (
            |stream| head(stream, 0, &[field("connection", "close")]),
            BAD,
        ),
        (
            |stream| head(stream, 0, &[field("x", "y\r\nset-cookie: a=b")]),
            BAD,
        ),
        // Data before a head, and of a stream that is not there.
        (|stream| frame(DATA, END_STREAM, stream, b"data"), BAD),
        (|stream| frame(DATA, END_STREAM, stream + 100, b"data"), BAD),
    ])
    .await;
}

#[tokio::test]
async fn what_breaks_the_connection() {
    let too_much: Lie = |stream| {
        let data = frame(DATA, 0, stream, &[7; 16_384]);
        [head(stream, 0, &[]), data.repeat(20)].concat()
    };
    let endless: Lie = |stream| {
        let fields = field("x-field", &"y".repeat(100)).repeat(100);
        let start = frame(HEADERS, 0, stream, &[OK, &fields].concat());
        let more = frame(CONTINUATION, 0, stream, &fields);
        [start, more.repeat(100)].concat()
    };
    lied_to(&[
        (too_much, &[Outcome::Cut, Outcome::Status(502)]),
        (|stream| frame(DATA, 0, stream, &[7; 100_000]), BAD),
        // A promise that nobody asked for.
        (
            |stream| {
                frame(
                    PUSH_PROMISE,
                    END_HEADERS,
                    stream,
                    &[&[0, 0, 0, 2], OK].concat(),
                )
            },
            BAD,
        ),
        (
            |_| frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            BAD,
        ),
        (|_| frame(GOAWAY, 0, 0, &[0; 8]), BAD),
        (endless, BAD),
    ])
    .await;
}

#[tokio::test]
async fn storms_of_frames() {
    lied_to(&[
        (
            |stream| {
                let pings = frame(PING, 0, 0, &[7; 8]).repeat(1000);
                [pings, head(stream, END_STREAM, &[])].concat()
            },
            GOOD_OR_BAD,
        ),
        (
            |stream| {
                let settings = frame(SETTINGS, 0, 0, &[]).repeat(1000);
                [settings, head(stream, END_STREAM, &[])].concat()
            },
            GOOD_OR_BAD,
        ),
        // A stream that is over, reset again and again.
        (
            |stream| {
                let reset = frame(RST_STREAM, 0, stream, &[0, 0, 0, 2]);
                [head(stream, END_STREAM, &[]), reset.repeat(100)].concat()
            },
            GOOD_OR_BAD,
        ),
    ])
    .await;
}
