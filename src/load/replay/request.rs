//! The request of a flight, as bytes behind TLS.

use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, Method};
use rustls::pki_types::ServerName;

use crate::load::plan::{Plan, PlanError, Protocol};

/// HTTP/2 frame types and flags. RFC 9113 §6
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// What every server takes in one frame. RFC 9113 §4.2
const FRAME: usize = 16_384;

/// Everything that a client sends before it has heard anything.
pub(super) fn bytes(plan: &Plan) -> Result<Vec<u8>, PlanError> {
    let authority = authority(plan);
    match plan.protocol {
        Protocol::Http1 => Ok(http1(plan, &authority)),
        Protocol::Http2 => http2(plan, &authority),
    }
}

/// The `host` of the headers, or the first server name with the target's port.
fn authority(plan: &Plan) -> Vec<u8> {
    if let Some(host) = plan.request.headers.get(HOST) {
        return host.as_bytes().to_vec();
    }
    let mut authority = match plan.sni.name(0) {
        ServerName::DnsName(name) => name.as_ref().to_owned(),
        _ => match plan.target.host() {
            host if host.contains(':') => format!("[{host}]"),
            host => host.to_owned(),
        },
    };
    if plan.target.port() != 443 {
        authority.push_str(&format!(":{}", plan.target.port()));
    }
    authority.into_bytes()
}

/// The body's length, where it is needed and not among the headers.
fn content_length(method: &Method, headers: &HeaderMap, body: &[u8]) -> Option<String> {
    let asked = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
    let needed = (asked || !body.is_empty()) && !headers.contains_key(CONTENT_LENGTH);
    needed.then(|| body.len().to_string())
}

fn http1(plan: &Plan, authority: &[u8]) -> Vec<u8> {
    let request = &plan.request;
    let mut bytes = format!("{} {} HTTP/1.1\r\n", request.method, plan.target.path()).into_bytes();
    let mut field = |name: &[u8], value: &[u8]| {
        bytes.extend_from_slice(&[name, b": ", value, b"\r\n"].concat());
    };
    field(b"host", authority);
    if let Some(length) = content_length(&request.method, &request.headers, &request.body) {
        field(b"content-length", length.as_bytes());
    }
    for (name, value) in request.headers.iter().filter(|(name, _)| *name != HOST) {
        field(name.as_str().as_bytes(), value.as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&request.body);
    bytes
}

/// The connection preface and a request on stream 1, all fields as literals. RFC 9113 §3.4
fn http2(plan: &Plan, authority: &[u8]) -> Result<Vec<u8>, PlanError> {
    let request = &plan.request;
    let mut block = Vec::new();
    literal(&mut block, b":method", request.method.as_str().as_bytes());
    literal(&mut block, b":scheme", b"https");
    literal(&mut block, b":authority", authority);
    literal(&mut block, b":path", plan.target.path().as_str().as_bytes());
    if let Some(length) = content_length(&request.method, &request.headers, &request.body) {
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

    fn plan(url: &str) -> Plan {
        let address = "127.0.0.1:443".parse().unwrap();
        Plan::new(Target::parse(url).unwrap(), address).unwrap()
    }

    #[test]
    fn a_request_of_http1_has_what_it_needs() {
        let mut plan = plan("https://a.test:8443/x?y");
        let get = "GET /x?y HTTP/1.1\r\nhost: a.test:8443\r\n\r\n";
        assert_eq!(bytes(&plan).unwrap(), get.as_bytes());
        plan.request.method = Method::POST;
        plan.request.body = "abc".into();
        let headers = [("host", "b.test"), ("x-one", "1")];
        for (name, value) in headers {
            let value = value.parse().unwrap();
            plan.request.headers.insert(name, value);
        }
        let post = "POST /x?y HTTP/1.1\r\nhost: b.test\r\ncontent-length: 3\r\nx-one: 1\r\n\r\nabc";
        assert_eq!(bytes(&plan).unwrap(), post.as_bytes());
    }

    #[test]
    fn the_authority_of_an_address_is_the_address() {
        let text = bytes(&plan("https://[::1]/")).unwrap();
        assert_eq!(text, b"GET / HTTP/1.1\r\nhost: [::1]\r\n\r\n");
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
