use super::*;
use crate::http::h3::tests::section;

const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "a.example"),
    (":path", "/x?y"),
];

fn with(more: &[(&str, &str)]) -> Vec<u8> {
    section(&[&GET[..], more].concat())
}

#[test]
fn what_nobody_may_put_into_a_table_stays_so() {
    let mut encoder = Encoder::default();
    for (name, value) in GET {
        encoder.field(name, value.as_bytes(), false);
    }
    // With the name of a static entry and without; a cookie is sensitive as a whole.
    for (name, sensitive) in [
        ("authorization", true),
        ("accept", false),
        ("x-token", true),
        ("x-open", false),
        ("cookie", false),
        ("cookie", true),
        ("cookie", false),
    ] {
        encoder.field(name, b"value", sensitive);
    }
    let head = request(&encoder.finish(), 10_000, None).unwrap();
    let headers = head.request.headers();
    let is_sensitive = |name: &str| headers[name].is_sensitive();
    assert!(is_sensitive("authorization") && is_sensitive("x-token") && is_sensitive("cookie"));
    assert!(!is_sensitive("accept") && !is_sensitive("x-open"));
    assert_eq!(headers["cookie"], "value; value; value");
}

#[test]
fn a_request_comes_out_whole() {
    let more = [
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("te", "trailers"),
        ("content-length", "7"),
    ];
    let head = request(&with(&more), 10_000, None).unwrap();
    assert_eq!(head.length, Some(7));
    let request = head.request;
    assert_eq!(request.method(), Method::GET);
    assert_eq!(request.uri(), "https://a.example/x?y");
    assert_eq!(request.headers()["cookie"], "a=1; b=2");
    assert_eq!(request.version(), http::Version::HTTP_3);
}

#[test]
fn malformed_requests_are_told() {
    let without = |name: &str| {
        let rest = GET.iter().filter(|(known, _)| *known != name);
        section(&rest.copied().collect::<Vec<_>>())
    };
    for (what, section) in [
        ("no method", without(":method")),
        ("no scheme", without(":scheme")),
        ("no path", without(":path")),
        ("no authority", without(":authority")),
        ("two methods", with(&[(":method", "GET")])),
        ("unknown pseudo-header", with(&[(":protocol", "websocket")])),
        ("an answer's", with(&[(":status", "200")])),
        (
            "late pseudo-header",
            section(&[("a", "b"), GET[0], GET[1], GET[2], GET[3]]),
        ),
        ("capitals", with(&[("X-Own", "1")])),
        ("empty name", with(&[("", "1")])),
        ("a space in a name", with(&[("a b", "1")])),
        ("a quote in a name", with(&[("a\"b", "1")])),
        ("a line end in a value", with(&[("a", "b\r\nc: d")])),
        ("connection", with(&[("connection", "close")])),
        (
            "transfer-encoding",
            with(&[("transfer-encoding", "chunked")]),
        ),
        ("keep-alive", with(&[("keep-alive", "1")])),
        ("upgrade", with(&[("upgrade", "h2c")])),
        ("te", with(&[("te", "gzip")])),
        ("content-length", with(&[("content-length", "+7")])),
        (
            "two lengths",
            with(&[("content-length", "7"), ("content-length", "8")]),
        ),
        (
            "connect with a path",
            section(&[(":method", "CONNECT"), GET[1], GET[2], GET[3]]),
        ),
        (
            "empty path",
            section(&[GET[0], GET[1], GET[2], (":path", "")]),
        ),
        (
            "a path of its own kind",
            section(&[GET[0], GET[1], GET[2], (":path", "x")]),
        ),
    ] {
        let refused = request(&section, 10_000, None).map(|_| ()).unwrap_err();
        assert_eq!(refused, NoHead::Malformed, "{what}");
    }
    let too_large = request(&with(&[("a", "b")]), 100, None).map(|_| ());
    assert_eq!(too_large, Err(NoHead::TooLarge));
    assert!(trailers(&section(&[(":path", "/")]), 1000).is_err());
}

#[test]
fn a_path_has_no_fragment() {
    for (path, taken) in [
        ("/a", true),
        ("/a?b", true),
        ("/a#b", false),
        ("/#", false),
        ("*", false),
    ] {
        let fields = [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "a.test"),
            (":path", path),
        ];
        let head = request(&section(&fields), 1000, None);
        assert_eq!(head.is_ok(), taken, "{path}");
    }
}

#[test]
fn what_most_requests_have_is_told_from_what_is_like_it() {
    let read = |name: &str, value: &str| {
        let fields = GET.map(|(known, usual)| (known, if known == name { value } else { usual }));
        let head = request(&section(&fields), 1000, None).ok()?;
        let uri = head.request.uri();
        Some(format!("{} {uri}", head.request.method()))
    };
    for (name, value, expected) in [
        (":method", "get", Some("get https://a.example/x?y")),
        (":method", "GETS", Some("GETS https://a.example/x?y")),
        (":method", "", None),
        (":scheme", "http", Some("GET http://a.example/x?y")),
        (":scheme", "httpsx", Some("GET httpsx://a.example/x?y")),
        (":path", "/", Some("GET https://a.example/")),
        (":path", "//", Some("GET https://a.example//")),
        (":path", "/?", Some("GET https://a.example/?")),
        (":path", "/\u{1}", None),
        (":path", " ", None),
    ] {
        assert_eq!(read(name, value).as_deref(), expected, "{name} {value:?}");
    }
}

#[test]
fn host_stands_for_an_authority_only_with_a_scheme_that_has_one() {
    let read = |scheme, more: &[(&str, &str)]| {
        let head = [GET[0], (":scheme", scheme), GET[3]];
        let head = request(&section(&[&head, more].concat()), 1000, None).ok()?;
        Some(head.request.uri().to_string())
    };
    for scheme in ["https", "http"] {
        let host = [("accept", "*/*"), ("host", "a.example")];
        assert_eq!(read(scheme, &host).as_deref(), Some("/x?y"));
        assert_eq!(read(scheme, &host[..1]), None);
        assert_eq!(read(scheme, &[]), None);
    }
    assert_eq!(read("ftp", &[("host", "a.example")]), None);
}

#[test]
fn the_length_is_what_all_its_fields_say() {
    let read = |fields: &[(&str, &str)]| {
        let head = request(&with(fields), 1000, None);
        head.map(|head| (head.length, head.request.headers().len()))
    };
    assert_eq!(read(&[("accept", "*/*")]), Ok((None, 1)));
    let same = [("content-length", "7"), ("a", "b"), ("content-length", "7")];
    assert_eq!(read(&same), Ok((Some(7), 3)));
    // What cannot be decoded ends more than a wrong length does, even behind one.
    let mut wrong = with(&[("content-length", "x")]);
    assert_eq!(request(&wrong, 1000, None).err(), Some(NoHead::Malformed));
    wrong.push(0x80);
    assert_eq!(request(&wrong, 1000, None).err(), Some(NoHead::Failed));
}

#[test]
fn an_authority_that_is_known_is_as_good_as_one_that_is_read() {
    let usual = "a.test:443".parse().unwrap();
    for authority in ["a.test:443", "A.test:443", "a.test", "b.test"] {
        let fields = [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", authority),
            (":path", "/"),
        ];
        let head = request(&section(&fields), 1000, Some(&usual)).unwrap();
        assert_eq!(head.request.uri().authority().unwrap().as_str(), authority);
    }
}

#[test]
fn a_name_of_the_static_table_is_the_same_written_out() {
    // Without the table, as a literal of three bits and more for its length.
    let literal = |name: &str, value: &str| {
        let mut section = vec![0b0010_0111, name.len() as u8 - 7];
        section.extend_from_slice(name.as_bytes());
        section.push(value.len() as u8);
        section.extend_from_slice(value.as_bytes());
        section
    };
    for (name, value) in [
        ("user-agent", "x"),
        ("early-data", "1"),
        ("content-length", "7"),
        ("upgrade-insecure-requests", "1"),
    ] {
        let known = request(&with(&[(name, value)]), 1000, None).unwrap();
        let section = [with(&[]), literal(name, value)].concat();
        let written = request(&section, 1000, None).unwrap();
        assert_eq!(known.request.headers(), written.request.headers());
        assert_eq!(known.request.headers()[name], value);
        assert_eq!(known.length, written.length);
    }
}
