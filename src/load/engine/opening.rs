//! The first request of a connection, as bytes behind TLS.

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use rustls::pki_types::ServerName;

use super::http1;
use crate::http::h3::asking;
use crate::load::h3::Ask;
use crate::load::plan::{Plan, PlanError, Protocol, Usage};

/// HTTP/2 frame types and flags. RFC 9113 §6
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// What every server takes in one frame. RFC 9113 §4.2
const FRAME: usize = 16_384;

/// Everything that a client sends on a connection that asked for this name, before it has heard
/// anything.
pub(in crate::load) fn opening(plan: &Plan, name: &ServerName<'_>) -> Result<Vec<u8>, PlanError> {
    match plan.protocol {
        Protocol::Http1 => Ok(http1::request(plan, name)),
        Protocol::Http2 => http2(plan, name),
        // Its streams are not one row of bytes.
        Protocol::Http3 => Err(PlanError::new("HTTP/3 goes over QUIC")),
    }
}

/// A request over HTTP/3, whose connections begin with no more than that.
pub(in crate::load) fn ask(plan: &Plan, name: &ServerName<'_>) -> Ask {
    let request = &plan.request;
    let authority = match request.headers.get(HOST).map(|host| host.to_str()) {
        Some(Ok(host)) => host.to_owned(),
        _ => http1::authority(plan, name),
    };
    let path = plan.target.path().as_str();
    let length = request.body.len();
    Ask {
        section: asking(&request.method, &authority, path, &request.headers, length),
        body: request.body.clone(),
        is_head: request.method == Method::HEAD,
    }
}

/// The same without content or consequences (RFC 9110 §9.2.1): makes a server write something
/// that holds its tickets back until it does.
pub(in crate::load) fn harmless(plan: &Plan, name: &ServerName<'_>) -> Result<Vec<u8>, PlanError> {
    opening(&without_consequences(plan), name)
}

/// The same over HTTP/3.
pub(in crate::load) fn harmless_ask(plan: &Plan, name: &ServerName<'_>) -> Ask {
    ask(&without_consequences(plan), name)
}

fn without_consequences(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    plan.usage = Usage::ONE;
    plan.request.method = Method::HEAD;
    plan.request.body = Bytes::new();
    for field in [
        CONTENT_LENGTH,
        EXPECT,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        plan.request.headers.remove(field);
    }
    plan
}

/// The connection preface and a request on stream 1, all fields as literals. RFC 9113 §3.4
fn http2(plan: &Plan, name: &ServerName<'_>) -> Result<Vec<u8>, PlanError> {
    let request = &plan.request;
    let authority = match request.headers.get(HOST) {
        Some(host) => host.as_bytes().to_vec(),
        None => http1::authority(plan, name).into_bytes(),
    };
    let mut block = Vec::new();
    literal(&mut block, b":method", request.method.as_str().as_bytes());
    literal(&mut block, b":scheme", b"https");
    literal(&mut block, b":authority", &authority);
    literal(&mut block, b":path", plan.target.path().as_str().as_bytes());
    if !request.body.is_empty() && !request.headers.contains_key(CONTENT_LENGTH) {
        let length = request.body.len().to_string();
        literal(&mut block, b"content-length", length.as_bytes());
    }
    for (name, value) in request.headers.iter().filter(|(name, _)| *name != HOST) {
        literal(&mut block, name.as_str().as_bytes(), value.as_bytes());
    }
    if block.len() > FRAME {
        return Err(PlanError::new(
            "the headers do not fit into one HTTP/2 frame",
        ));
    }
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(&mut bytes, SETTINGS, 0, 0, &[]);
    let ends = if request.body.is_empty() {
        END_STREAM
    } else {
        0
    };
    frame(&mut bytes, HEADERS, END_HEADERS | ends, 1, &block);
    let mut left = request.body.chunks(FRAME).peekable();
    while let Some(piece) = left.next() {
        let ends = if left.peek().is_none() { END_STREAM } else { 0 };
        frame(&mut bytes, DATA, ends, 1, piece);
    }
    Ok(bytes)
}

fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    bytes.extend_from_slice(&length);
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
}

/// A field that the table does not learn, without Huffman coding. RFC 7541 §6.2.2
fn literal(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    for text in [name, value] {
        integer(block, text.len());
        block.extend_from_slice(text);
    }
}

/// With a prefix of 7 bits. RFC 7541 §5.1
fn integer(block: &mut Vec<u8>, number: usize) {
    const PREFIX: usize = 127;
    if number < PREFIX {
        return block.push(number as u8);
    }
    block.push(PREFIX as u8);
    let mut rest = number - PREFIX;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::plan::Target;

    #[test]
    fn a_request_of_http2_is_a_preface_and_frames() {
        let address = "127.0.0.1:443".parse().unwrap();
        let target = Target::parse("https://a.test/x").unwrap();
        let mut plan = Plan::new(target, address).unwrap();
        plan.protocol = Protocol::Http2;
        let field = |name: &str, value: &str| {
            let lengths = (name.len() as u8, value.len() as u8);
            let (name, value) = (name.as_bytes(), value.as_bytes());
            [&[0, lengths.0], name, &[lengths.1], value].concat()
        };
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        let mut head = [
            field(":method", "GET"),
            field(":scheme", "https"),
            field(":authority", "a.test"),
            field(":path", "/x"),
        ]
        .concat();
        let get = [
            &preface[..],
            &[0, 0, head.len() as u8, 1, 5, 0, 0, 0, 1],
            &head,
        ]
        .concat();
        let bytes = |plan: &Plan| opening(plan, plan.sni.name(0)).unwrap();
        assert_eq!(bytes(&plan), get);

        plan.request.body = vec![b'x'; FRAME + 1].into();
        head.extend(field("content-length", "16385"));
        let post = [
            &preface[..],
            &[0, 0, head.len() as u8, 1, 4, 0, 0, 0, 1],
            &head,
            &[0, 0x40, 0, 0, 0, 0, 0, 0, 1],
            &[b'x'; FRAME],
            &[0, 0, 1, 0, 1, 0, 0, 0, 1, b'x'],
        ];
        assert_eq!(bytes(&plan), post.concat());
    }

    #[test]
    fn a_harmless_request_has_no_content_and_is_the_last() {
        let address = "127.0.0.1:443".parse().unwrap();
        let target = Target::parse("https://a.test/x").unwrap();
        let mut plan = Plan::new(target, address).unwrap();
        plan.usage = Usage::KeepAlive;
        plan.request.method = Method::POST;
        plan.request.body = Bytes::from_static(b"order");
        let headers = &mut plan.request.headers;
        headers.insert(CONTENT_LENGTH, "5".parse().unwrap());
        headers.insert("authorization", "me".parse().unwrap());
        let bytes = harmless(&plan, plan.sni.name(0)).unwrap();
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "HEAD /x HTTP/1.1\r\nhost: a.test\r\nauthorization: me\r\nconnection: close\r\n\r\n"
        );
    }

    #[test]
    fn integers_are_coded_as_in_rfc_7541() {
        let coded = |number| {
            let mut block = Vec::new();
            integer(&mut block, number);
            block
        };
        assert_eq!(coded(126), [126]);
        assert_eq!(coded(127), [127, 0]);
        assert_eq!(coded(1337 + 96), [127, 154, 10]);
    }
}
