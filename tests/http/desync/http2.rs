//! Shapes of HTTP/2 requests, in frames that no library would write.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;

use super::{Named, Run, Scene, each, is_answer, shapes, told, was_forwarded};
use crate::http::stand::NAME;
use crate::support::client::Client;

#[derive(Deserialize)]
struct Shape {
    name: String,
    source: String,
    /// Names and values, as they are.
    headers: Vec<(String, String)>,
    /// DATA frames; without any the stream ends with its HEADERS.
    #[serde(default)]
    data: Vec<String>,
    /// A trailer section; it ends the stream.
    #[serde(default)]
    trailers: Vec<(String, String)>,
    /// Absent: it is refused.
    forwarded: Option<Vec<String>>,
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

impl Named for Shape {
    fn name(&self) -> String {
        assert!(!self.source.is_empty(), "{}", self.name);
        self.name.clone()
    }
}

pub async fn run(run: &mut Run) {
    let shapes: Vec<Shape> = shapes(include_str!("shapes/http2.toml"));
    assert!(shapes.len() > 60);
    let one = |scene: Arc<Scene>, shape| async move { one(&scene, &shape).await };
    each(run, shapes, one).await;
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Field lines, each a literal that is not indexed (RFC 7541 §6.2.2), none in Huffman code. TOML's
/// characters stand for bytes.
fn block(fields: &[(String, String)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            let bytes: Vec<u8> = text
                .chars()
                .map(|c| u8::try_from(u32::from(c)).unwrap())
                .collect();
            match u8::try_from(bytes.len()) {
                Ok(length) if length < 127 => block.push(length),
                _ => {
                    let rest = bytes.len() - 127;
                    assert!(rest < 1 << 14);
                    block.extend([127, (rest & 127) as u8 | 128, (rest >> 7) as u8]);
                }
            }
            block.extend(bytes);
        }
    }
    block
}

fn marker() -> Vec<u8> {
    let fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/marker"),
        (":authority", NAME),
    ];
    block(&fields.map(|(name, value)| (name.to_owned(), value.to_owned())))
}

async fn one(scene: &Scene, shape: &Shape) {
    let name = &shape.name;
    let mut client = Client::open(scene.stand.edge.address(), NAME, &scene.stand.setup2()).await;
    let address = client.local_address();
    let before = scene.before(address);
    client.queue(PREFACE);
    client.queue(&frame(SETTINGS, 0, 0, &[]));
    let ends = shape.data.is_empty() && shape.trailers.is_empty();
    let flags = END_HEADERS | if ends { END_STREAM } else { 0 };
    client.queue(&frame(HEADERS, flags, 1, &block(&shape.headers)));
    for (index, data) in shape.data.iter().enumerate() {
        let last = index + 1 == shape.data.len() && shape.trailers.is_empty();
        let flags = if last { END_STREAM } else { 0 };
        client.queue(&frame(DATA, flags, 1, data.as_bytes()));
    }
    if !shape.trailers.is_empty() {
        let flags = END_HEADERS | END_STREAM;
        client.queue(&frame(HEADERS, flags, 1, &block(&shape.trailers)));
    }
    client.queue(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &marker()));
    client.send_pending().await;
    let answers = Answers::read(&mut client).await;
    client.close_notify().await;
    client.ending().await;
    // Gone, so that the edge need not linger.
    drop(client);
    let lines = scene.lines(name, address, before).await;
    scene.compare(name, &lines).await;

    for line in lines.iter().filter(|line| line["status"] == 200) {
        let marker = line["path"].as_str().unwrap().ends_with("/marker");
        let body = answers.bodies.get(&if marker { 3 } else { 1 });
        if line["method"] == "HEAD" || line["end"] != "complete" {
            continue;
        }
        let body = String::from_utf8_lossy(body.unwrap());
        assert!(is_answer(&body, line), "{name}: {body}");
    }
    let shape_lines: Vec<_> = lines
        .iter()
        .filter(|line| !line["path"].as_str().unwrap().ends_with("/marker"))
        .cloned()
        .collect();
    let Some(expected) = &shape.forwarded else {
        let whole = |line: &&serde_json::Value| was_forwarded(line) && line["status"] == 200;
        assert!(
            !shape_lines.iter().any(|line| whole(&line)),
            "{name}: {shape_lines:#?}"
        );
        let answered = shape_lines.first().and_then(|line| line["status"].as_u64());
        let refused = answers.reset || answers.gone || matches!(answered, Some(400..=499 | 501));
        assert!(refused, "{name}: {shape_lines:#?}");
        return;
    };
    assert_eq!(&told(&shape_lines), expected, "{name}");
    assert!(
        answers.bodies.contains_key(&3),
        "{name}: the marker got no answer"
    );
}

/// What came until the marker was answered, or the connection given up.
#[derive(Default)]
struct Answers {
    bodies: HashMap<u32, Vec<u8>>,
    /// The shape's stream was reset.
    reset: bool,
    /// GOAWAY, or the end of the connection.
    gone: bool,
}

impl Answers {
    async fn read(client: &mut Client) -> Self {
        let mut answers = Self::default();
        let mut over = [false; 2];
        while over != [true, true] {
            let Ok(head) = client.read(9).await else {
                answers.gone = true;
                return answers;
            };
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let Ok(payload) = client.read(length).await else {
                answers.gone = true;
                return answers;
            };
            let (kind, flags) = (head[3], head[4]);
            match kind {
                SETTINGS if flags & ACK == 0 => client.send(&frame(SETTINGS, ACK, 0, &[])).await,
                DATA => answers.bodies.entry(stream).or_default().extend(payload),
                RST_STREAM if stream == 1 => answers.reset = true,
                GOAWAY => {
                    answers.gone = true;
                    return answers;
                }
                _ => {}
            }
            let ended =
                kind == RST_STREAM || matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0;
            if ended {
                over[usize::from(stream == 3)] = true;
            }
        }
        answers
    }
}
