//! The known shapes, one by one.

use super::super::*;
use http::StatusCode;
use proptest::prelude::*;

fn scan(bytes: &[u8]) -> (Result<usize, Violation>, Scanner) {
    let mut scanner = Scanner::new(Limits::default());
    (scanner.scan(bytes), scanner)
}

/// The reason a stream is refused for, and the good bytes before it.
fn refused(stream: &str) -> Option<(usize, Reason)> {
    scan(stream.as_bytes())
        .0
        .err()
        .map(|v| (v.deliver, v.reason))
}

/// The whole stream passes with so many requests and stands between messages.
fn assert_passes(stream: &str, heads: u64) {
    let (approved, scanner) = scan(stream.as_bytes());
    assert_eq!(approved, Ok(stream.len()), "{stream:?}");
    assert_eq!(scanner.heads(), heads, "{stream:?}");
    assert!(scanner.at_boundary(), "{stream:?}");
}

fn post(fields: &str, rest: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{rest}")
}

#[test]
fn requests_to_the_letter_pass() {
    assert_passes("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1);
    assert_passes(
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET /b HTTP/1.1\r\n\r\n",
        2,
    );
    assert_passes("GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n", 1);
    assert_passes("GET https://a HTTP/1.1\r\nHost: a\r\n\r\n", 1);
    assert_passes("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 1);
    assert_passes("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 1);
    assert_passes(
        "GET / HTTP/1.1\r\nX:\r\nY: \t \r\nZ:\tobs \u{e9}\t\r\n!#$%&'*+-.^_`|~9: :\r\n\r\n",
        1,
    );
    assert_passes("GET /{a}|\"?b=[c] HTTP/1.1\r\n\r\n", 1);
    assert_passes(&post("Content-Length: 5", "hello"), 1);
    assert_passes(&post("content-length:\t0005 \t", "hello"), 1);
    assert_passes(&post("Content-Length: 0", "GET / HTTP/1.1\r\n\r\n"), 2);
    assert_passes(&post("Transfer-Encoding: chunked", "0\r\n\r\n"), 1);
    assert_passes(
        &post(
            "TRANSFER-ENCODING:\tCHUNKED ",
            "5\r\nhello\r\n00A;x=\"y\"\r\n0123456789\r\n1 ;z\r\n\n\r\n000\r\nX: y\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        ),
        2,
    );
}

#[test]
fn smuggling_by_length_fields_is_refused() {
    use Reason::*;
    for (fields, reason) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", Ambiguous),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", Ambiguous),
        ("Content-Length: 5\r\nContent-Length: 5", ContentLength),
        ("Content-Length: 5\r\ncontent-length: 6", ContentLength),
        ("Content-Length:", ContentLength),
        ("Content-Length: +5", ContentLength),
        ("Content-Length: -5", ContentLength),
        ("Content-Length: 5, 5", ContentLength),
        ("Content-Length: 5,", ContentLength),
        ("Content-Length: 5 5", ContentLength),
        ("Content-Length: 0x5", ContentLength),
        ("Content-Length: 5.0", ContentLength),
        ("Content-Length: 5e0", ContentLength),
        ("Content-Length: \u{a0}5", ContentLength),
        ("Content-Length: 9223372036854775808", ContentLength),
        ("Content-Length: 18446744073709551621", ContentLength),
        ("Content-Length : 5", FieldName),
        ("Content-Length\t: 5", FieldName),
        ("Content-Length: 5\x0b", FieldValue),
        ("Content-Length: \x005", FieldValue),
        (" Content-Length: 5", Fold),
        ("X: y\r\n Content-Length: 5", Fold),
        ("X: y\r\n\tContent-Length: 5", Fold),
        ("X: y\r\n \r\nContent-Length: 5", Fold),
        ("Transfer-Encoding:", TransferEncoding),
        ("Transfer-Encoding: xchunked", TransferEncoding),
        ("Transfer-Encoding: chunkedx", TransferEncoding),
        ("Transfer-Encoding: identity", TransferEncoding),
        ("Transfer-Encoding: chunked, identity", TransferEncoding),
        ("Transfer-Encoding: identity, chunked", TransferEncoding),
        ("Transfer-Encoding: gzip, chunked", TransferEncoding),
        ("Transfer-Encoding: chunked, chunked", TransferEncoding),
        ("Transfer-Encoding: chunked,", TransferEncoding),
        ("Transfer-Encoding: ,chunked", TransferEncoding),
        ("Transfer-Encoding: \"chunked\"", TransferEncoding),
        ("Transfer-Encoding: chunked;q=1", TransferEncoding),
        (
            "Transfer-Encoding: chunked\r\nTransfer-encoding: x",
            TransferEncoding,
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            TransferEncoding,
        ),
        (
            "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
            TransferEncoding,
        ),
        ("Transfer-Encoding : chunked", FieldName),
        ("Transfer-Encoding\x0b: chunked", FieldName),
        ("Transfer-Encoding: \x0bchunked", FieldValue),
        ("Transfer-Encoding: chunked\x00", FieldValue),
        ("Transfer-Encoding: chunked\x7f", FieldValue),
        ("Transfer-Encoding:\r\n chunked", TransferEncoding),
        (" Transfer-Encoding: chunked", Fold),
        ("X: y\nTransfer-Encoding: chunked", FieldValue),
        ("X: y\rTransfer-Encoding: chunked", FieldValue),
        ("Transfer-Encoding: chunked\r\r", FieldValue),
        ("no colon", FieldName),
        (": empty", FieldName),
        ("a b: c", FieldName),
        ("a\u{e9}: c", FieldName),
        ("a(b): c", FieldName),
    ] {
        // A bare LF ends the line it is in, whatever stands in the line.
        let reason = if fields.contains("y\n") {
            LineEnding
        } else {
            reason
        };
        assert_eq!(
            refused(&post(fields, "0\r\n\r\n")),
            Some((0, reason)),
            "{fields:?}"
        );
    }
    assert_eq!(
        refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        Some((0, TransferEncoding))
    );
}

#[test]
fn chunks_are_read_to_the_letter() {
    let extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(256));
    let many = format!("1;{}\r\nx\r\n", "x".repeat(250)).repeat(20);
    let trailers = format!("0\r\nX: {}\r\n\r\n", "x".repeat(TRAILERS));
    for (body, deliver, reason) in [
        ("0x5\r\nhello\r\n0\r\n\r\n", 0, Reason::Chunk),
        (" 5\r\nhello\r\n0\r\n\r\n", 0, Reason::Chunk),
        ("5 \r\nhello\r\n0\r\n\r\n", 0, Reason::Chunk),
        ("5 5\r\nhello\r\n0\r\n\r\n", 0, Reason::Chunk),
        ("5;ext\nhello\r\n0\r\n\r\n", 0, Reason::LineEnding),
        ("5\nhello\r\n0\r\n\r\n", 0, Reason::LineEnding),
        ("5;e\rxt\r\nhello\r\n0\r\n\r\n", 0, Reason::Chunk),
        ("5;\x00\r\nhello\r\n0\r\n\r\n", 0, Reason::Chunk),
        ("5;\u{e9}\r\nhello\r\n0\r\n\r\n", 0, Reason::Chunk),
        ("-5\r\nhello\r\n0\r\n\r\n", 0, Reason::Chunk),
        ("+5\r\nhello\r\n0\r\n\r\n", 0, Reason::Chunk),
        ("g\r\nhello\r\n0\r\n\r\n", 0, Reason::Chunk),
        ("\r\nhello\r\n0\r\n\r\n", 0, Reason::Chunk),
        (";x\r\nhello\r\n0\r\n\r\n", 0, Reason::Chunk),
        ("00000000000000005\r\nhello", 0, Reason::Chunk),
        ("10000000000000000\r\nhello", 0, Reason::Chunk),
        ("5\r\nhello0\r\n\r\n", 8, Reason::Chunk),
        ("5\r\nhello!\r\n0\r\n\r\n", 8, Reason::Chunk),
        ("5\r\nhello\n0\r\n\r\n", 8, Reason::Chunk),
        ("5\r\nhello\r0\r\n\r\n", 8, Reason::Chunk),
        ("0\r\nContent-Length: 5\r\n\r\n", 3, Reason::Trailer),
        (
            "0\r\ntransfer-encoding: chunked\r\n\r\n",
            3,
            Reason::Trailer,
        ),
        ("0\r\nHOST: b\r\n\r\n", 3, Reason::Trailer),
        ("0\r\n X: y\r\n\r\n", 3, Reason::Fold),
        ("0\r\nX : y\r\n\r\n", 3, Reason::FieldName),
        ("0\r\nX: y\n\r\n", 3, Reason::LineEnding),
        (
            "0\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n",
            3,
            Reason::FieldName,
        ),
        (&extension, 0, Reason::Chunk),
        (&many, 16 * 257, Reason::Chunk),
        (&trailers, 3, Reason::HeadTooLarge),
    ] {
        let head = post("Transfer-Encoding: chunked", "");
        let stream = format!("{head}{body}");
        let expected = Some((head.len() + deliver, reason));
        assert_eq!(refused(&stream), expected, "{body:?}");
        assert!(scan(stream.as_bytes()).1.in_body());
    }
    // The largest size there is counts down without overflow.
    let (approved, scanner) =
        scan(post("Transfer-Encoding: chunked", "ffffffffffffffff\r\nx").as_bytes());
    assert!(approved.is_ok() && scanner.in_body());
}

#[test]
fn request_lines_are_read_to_the_letter() {
    use Reason::*;
    for (line, reason) in [
        ("GET /", RequestLine),
        ("GET", RequestLine),
        ("GET  / HTTP/1.1", RequestLine),
        ("GET /  HTTP/1.1", RequestLine),
        ("GET / HTTP/1.1 ", RequestLine),
        (" GET / HTTP/1.1", RequestLine),
        ("GET\t/ HTTP/1.1", RequestLine),
        ("GET /\tHTTP/1.1", RequestLine),
        ("GE(T / HTTP/1.1", RequestLine),
        ("G\u{c9}T / HTTP/1.1", RequestLine),
        ("GET / http/1.1", RequestLine),
        ("GET / HTTP/1.1\r", RequestLine),
        ("GET / HTTP/11", RequestLine),
        ("GET / HTTP/1", RequestLine),
        ("GET /a b HTTP/1.1", RequestLine),
        ("GET / HTTP/1.2", Version),
        ("GET / HTTP/2.0", Version),
        ("GET / HTTP/0.9", Version),
        ("PRI * HTTP/2.0", Version),
        ("GET * HTTP/1.1", Target),
        ("GET a HTTP/1.1", Target),
        ("GET a:80 HTTP/1.1", Target),
        ("GET ?a HTTP/1.1", Target),
        ("GET ftp://a/ HTTP/1.1", Target),
        ("GET http:/a HTTP/1.1", Target),
        ("GET http:///a HTTP/1.1", Target),
        ("GET /a#b HTTP/1.1", Target),
        ("GET /a\x00 HTTP/1.1", Target),
        ("GET /a\x7f HTTP/1.1", Target),
        ("GET /\u{e9} HTTP/1.1", Target),
        ("CONNECT / HTTP/1.1", Target),
        ("CONNECT a HTTP/1.1", Target),
        ("CONNECT https://a:1/ HTTP/1.1", Target),
        (
            "METHODMETHODMETHODMETHODMETHODMETHOD / HTTP/1.1",
            Reason::Method,
        ),
    ] {
        let stream = format!("{line}\r\nHost: a\r\n\r\n");
        assert_eq!(refused(&stream), Some((0, reason)), "{line:?}");
    }
    assert_eq!(
        refused("\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
        Some((0, RequestLine))
    );
    assert_eq!(refused("\nGET / HTTP/1.1\r\n\r\n"), Some((0, LineEnding)));
    assert_eq!(refused("GET / HTTP/1.1\n\n"), Some((0, LineEnding)));
    assert_eq!(
        refused("GET / HTTP/1.1\r\nX: y\r\n\n"),
        Some((0, LineEnding))
    );
    assert_eq!(refused("\x16\x03\x01\n"), Some((0, LineEnding)));
}

#[test]
fn bounds_hold_exactly() {
    let limits = Limits {
        head: 100,
        headers: 2,
        uri: 20,
    };
    let status = |stream: String| {
        let scanned = Scanner::new(limits).scan(stream.as_bytes());
        scanned.map_err(|violation| violation.status().as_u16())
    };
    let uri = |n: usize| format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(n - 1));
    assert_eq!(status(uri(20)), Ok(uri(20).len()));
    assert_eq!(status(uri(21)), Err(414));
    assert_eq!(status(format!("GET /{}", "a".repeat(20))), Err(414));
    let head = |n: usize| format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(n - 23));
    assert_eq!(status(head(100)), Ok(100));
    assert_eq!(status(head(101)), Err(431));
    assert_eq!(
        status(format!("GET / HTTP/1.1\r\n{}", "a".repeat(84))),
        Ok(0)
    );
    assert_eq!(
        status(format!("GET / HTTP/1.1\r\n{}", "a".repeat(85))),
        Err(431)
    );
    let fields = |n: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(n));
    assert_eq!(status(fields(2)), Ok(fields(2).len()));
    assert_eq!(status(fields(3)), Err(431));
    assert_eq!(status("A".repeat(33)), Err(501));
    assert_eq!(status(format!("{} ", "A".repeat(32))), Ok(0));
}

#[test]
fn only_whole_heads_pass_and_phases_are_told() {
    let mut scanner = Scanner::new(Limits::default());
    assert!(scanner.at_boundary() && !scanner.in_head() && !scanner.in_body());
    let first = b"POST / HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r";
    assert_eq!(scanner.scan(first), Ok(0));
    assert!(!scanner.at_boundary() && scanner.in_head() && scanner.heads() == 0);
    let whole = [first.as_slice(), b"\nab"].concat();
    assert_eq!(scanner.scan(&whole), Ok(whole.len()));
    assert!(scanner.in_body() && scanner.expects_continue() && scanner.heads() == 1);
    assert_eq!(scanner.scan(b"c\r\n"), Ok(1));
    assert!(scanner.in_head());
    assert_eq!(scanner.scan(b"\r\nGET / HTTP/1.1\r\n\r\n"), Ok(20));
    assert!(scanner.at_boundary() && !scanner.expects_continue() && scanner.heads() == 2);
}

#[test]
fn good_requests_before_a_violation_pass() {
    let good = "GET / HTTP/1.1\r\n\r\n";
    let (approved, mut scanner) = scan(format!("{good}{good}GET / HTTP/1.1\nX").as_bytes());
    let violation = Violation {
        deliver: 2 * good.len(),
        reason: Reason::LineEnding,
    };
    assert_eq!(approved, Err(violation));
    assert_eq!(violation.status(), StatusCode::BAD_REQUEST);
    assert!(scanner.heads() == 2 && !scanner.in_body());
    // Failed for good, whatever comes.
    let again = scanner.scan(good.as_bytes());
    assert_eq!(
        again.map_err(|v| (v.deliver, v.reason)),
        Err((0, Reason::LineEnding))
    );
}

#[test]
fn nothing_follows_a_request_that_closes() {
    for (head, last) in [
        ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", true),
        (
            "GET / HTTP/1.1\r\nConnection: x, Close\t,\r\nConnection: keep-alive\r\n\r\n",
            true,
        ),
        ("GET / HTTP/1.0\r\n\r\n", true),
        ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", false),
        (
            "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n",
            true,
        ),
        ("GET / HTTP/1.1\r\nConnection: closed\r\n\r\n", false),
    ] {
        let (approved, scanner) = scan(format!("{head}\r\n").as_bytes());
        assert_eq!(approved, Ok(head.len()), "{head:?}");
        assert_eq!(scanner.finished(), last, "{head:?}");
        assert_eq!(scanner.at_boundary(), last, "{head:?}");
    }
}

#[test]
fn a_control_character_is_found_wherever_it_stands() {
    for byte in 0..=u8::MAX {
        let control = (byte < 0x20 && byte != b'\t') || byte == 0x7f;
        for (length, at) in (1..20).flat_map(|length| (0..length).map(move |at| (length, at))) {
            let mut value = [b' ', b'\t', b'~', 0xff].repeat(5);
            value.truncate(length);
            value[at] = byte;
            assert_eq!(head::has_control(&value), control, "{value:?}");
        }
    }
}

#[test]
fn raw_answers_are_whole() {
    for code in [400, 408, 413, 414, 417, 421, 425, 431, 500, 501, 503, 505] {
        let status = StatusCode::from_u16(code).expect("a status");
        let text = std::str::from_utf8(raw_response(status)).expect("text");
        assert!(text.starts_with(&format!("HTTP/1.1 {code} ")), "{text}");
        assert!(text.ends_with("\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
    }
}

/// All good bytes of a stream that arrives in pieces, and what became of it.
fn dribble(pieces: &[&[u8]], limits: Limits) -> (usize, Option<Reason>, u64) {
    let mut scanner = Scanner::new(limits);
    let (mut held, mut approved) = (Vec::new(), 0);
    for piece in pieces {
        held.extend_from_slice(piece);
        match scanner.scan(&held) {
            Ok(n) => {
                held.drain(..n);
                approved += n;
            }
            Err(v) => return (approved + v.deliver, Some(v.reason), scanner.heads()),
        }
    }
    (approved, None, scanner.heads())
}

proptest! {
    #[test]
    fn any_split_into_reads_gives_the_same_answer(
        stream in super::agreement::streams(),
        cuts in proptest::collection::vec(1usize..20, 1..40),
    ) {
        let limits = Limits { head: 160, headers: 5, uri: 30 };
        let whole = dribble(&[&stream], limits);
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        prop_assert_eq!(dribble(&bytes, limits), whole);
        let (mut pieces, mut rest) = (Vec::new(), stream.as_slice());
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break }
            let (piece, left) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = left;
        }
        prop_assert_eq!(dribble(&pieces, limits), whole);
    }

    #[test]
    fn random_bytes_never_panic(stream in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = scan(&stream);
        let _ = scan(&[b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", &stream[..]].concat());
        let _ = scan(&[b"POST / HTTP/1.1\r\n", &stream[..]].concat());
    }
}
