use http::{Request, Response};

use super::*;

fn request(builder: http::request::Builder, early: EarlyForward, has_body: bool) -> Parts {
    let parts = builder.body(()).unwrap().into_parts().0;
    let edge = Edge {
        host: HeaderValue::from_static("site.example"),
        request_id: HeaderValue::from_static("0123"),
        client: HeaderValue::from_static("192.0.2.7"),
        peer: "192.0.2.7".parse().unwrap(),
        told: None,
        fields: Fields::X,
        early,
        has_body,
        length: None,
    };
    whole(prepare_request(parts, edge).unwrap())
}

/// With all fields in one map.
fn whole(head: Head) -> Parts {
    let headers = head.map();
    let mut parts = head.parts;
    parts.headers = headers;
    parts
}

#[test]
fn a_body_has_one_length_or_none() {
    let with = |lengths: &[&'static str]| {
        let builder = lengths.iter().fold(Request::post("/"), |builder, length| {
            builder.header("content-length", *length)
        });
        let parts = builder.body(()).unwrap().into_parts().0;
        let edge = Edge {
            host: HeaderValue::from_static("site.example"),
            client: HeaderValue::from_static("192.0.2.7"),
            peer: "192.0.2.7".parse().unwrap(),
            told: None,
            fields: Fields::X,
            early: EarlyForward::No,
            has_body: true,
            request_id: HeaderValue::from_static("0123"),
            length: None,
        };
        prepare_request(parts, edge).map(|head| whole(head).headers)
    };
    for equal in [&["5"][..], &["5", "5"], &["05", "5"]] {
        assert_eq!(field(&with(equal).unwrap(), "content-length"), ["5"]);
    }
    for bad in [&["5", "6"][..], &["5", ""], &[""], &["+5"], &["5, 5"]] {
        assert_eq!(with(bad).unwrap_err(), Ambiguous, "{bad:?}");
    }
}

fn sent(builder: http::request::Builder) -> Parts {
    request(builder, EarlyForward::No, false)
}

fn field<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    let values = headers.get_all(name).iter();
    values.map(|value| value.to_str().unwrap()).collect()
}

#[test]
fn hop_by_hop_fields_of_a_request_end_here() {
    let parts = sent(
        Request::get("/")
            .header("connection", "close, X-Private , x-other")
            .header("connection", "x-third")
            .header("x-private", "1")
            .header("x-other", "1")
            .header("x-third", "1")
            .header("keep-alive", "timeout=5")
            .header("proxy-connection", "keep-alive")
            .header("proxy-authorization", "Basic x")
            .header("proxy", "http://evil")
            .header("upgrade", "websocket")
            .header("http2-settings", "x")
            .header("expect", "100-continue")
            .header("te", "gzip")
            .header("transfer-encoding", "chunked")
            .header("accept", "*/*"),
    );
    let mut names: Vec<_> = parts.headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "accept",
            "host",
            "via",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-request-id"
        ]
    );
}

#[test]
fn connection_cannot_name_away_framing_host_or_the_mark() {
    let builder = Request::post("/")
        .header("connection", "host, content-length, early-data")
        .header("content-length", "5")
        .header("early-data", "1");
    let parts = request(builder, EarlyForward::Marked, true);
    assert_eq!(field(&parts.headers, "content-length"), ["5"]);
    assert_eq!(field(&parts.headers, "host"), ["site.example"]);
    // EARLY-DATA R17.
    assert_eq!(field(&parts.headers, "early-data"), ["1"]);
}

#[test]
fn r17_early_requests_are_marked_and_inbound_marks_count_as_one() {
    let plain = request(Request::get("/"), EarlyForward::Early, false);
    assert_eq!(field(&plain.headers, "early-data"), ["1"]);
    for early in [EarlyForward::Marked, EarlyForward::No] {
        let builder = Request::get("/")
            .header("early-data", "yes")
            .header("early-data", "0");
        let parts = request(builder, early, false);
        assert_eq!(field(&parts.headers, "early-data"), ["1"]);
    }
    assert!(!sent(Request::get("/")).headers.contains_key("early-data"));
}

#[test]
fn what_the_client_says_about_forwarding_is_replaced() {
    let parts = sent(
        Request::get("/")
            .header("x-forwarded-for", "10.0.0.1")
            .header("x-forwarded-proto", "http")
            .header("x-forwarded-port", "80")
            .header("x_forwarded_for", "10.0.0.1")
            .header("forwarded", "for=10.0.0.1")
            .header("x-request-id", "forged")
            .header("x_request_id", "forged")
            .header("host", "other.example"),
    );
    assert_eq!(field(&parts.headers, "x-forwarded-for"), ["192.0.2.7"]);
    assert_eq!(field(&parts.headers, "x-forwarded-proto"), ["https"]);
    assert_eq!(field(&parts.headers, "x-forwarded-host"), ["site.example"]);
    assert_eq!(field(&parts.headers, "host"), ["site.example"]);
    assert_eq!(field(&parts.headers, "x-request-id"), ["0123"]);
    for gone in [
        "x-forwarded-port",
        "x_forwarded_for",
        "forwarded",
        "x_request_id",
    ] {
        assert!(!parts.headers.contains_key(gone), "{gone}");
    }
}

#[test]
fn an_http2_request_becomes_origin_form_with_one_cookie() {
    let parts = sent(
        Request::get("https://site.example/a?b=c")
            .version(Version::HTTP_2)
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("cookie", "c=3")
            .header("te", "trailers")
            .header("via", "1.1 before"),
    );
    assert_eq!(parts.uri.to_string(), "/a?b=c");
    assert_eq!(parts.version, Version::HTTP_11);
    assert_eq!(field(&parts.headers, "cookie"), ["a=1; b=2; c=3"]);
    assert_eq!(field(&parts.headers, "via"), ["1.1 before", "2 cutwater"]);
    assert_eq!(field(&parts.headers, "te"), ["trailers"]);
    assert_eq!(field(&parts.headers, "connection"), ["te"]);
    let old = sent(Request::get("/").version(Version::HTTP_10));
    assert_eq!(field(&old.headers, "via"), ["1.0 cutwater"]);
    let star = sent(Request::builder().method("OPTIONS").uri("*"));
    assert_eq!(star.uri.to_string(), "*");
}

#[test]
fn a_request_is_framed_by_what_it_has() {
    let length = |parts: &Parts| field(&parts.headers, "content-length").join("|");
    let coding = |parts: &Parts| field(&parts.headers, "transfer-encoding").join("|");
    // No body: nothing, or a zero where the method expects content.
    assert_eq!(length(&sent(Request::get("/"))), "");
    assert_eq!(length(&sent(Request::post("/"))), "0");
    assert_eq!(
        length(&sent(Request::get("/").header("content-length", "7"))),
        "0"
    );
    // A body: its length, else chunks; GET too.
    for builder in [Request::get("/"), Request::post("/")] {
        let parts = request(builder, EarlyForward::No, true);
        assert_eq!(
            (length(&parts), coding(&parts)),
            (String::new(), "chunked".into())
        );
    }
    let known = Request::post("/").header("content-length", "7");
    let parts = request(known, EarlyForward::No, true);
    assert_eq!(
        (length(&parts), coding(&parts)),
        ("7".into(), String::new())
    );
}

fn received(
    builder: http::response::Builder,
) -> (http::response::Parts, Result<Framing, Ambiguous>) {
    let mut parts = builder.body(()).unwrap().into_parts().0;
    let framing = prepare_response(&mut parts);
    (parts, framing)
}

#[test]
fn hop_by_hop_fields_and_early_data_of_a_response_end_here() {
    let (parts, framing) = received(
        Response::builder()
            .version(Version::HTTP_10)
            .header("connection", "x-private, content-length")
            .header("x-private", "1")
            .header("keep-alive", "timeout=5")
            .header("proxy-authenticate", "Basic")
            .header("upgrade", "h2c")
            .header("early-data", "1")
            .header("trailer", "x-sum")
            .header("content-length", "3")
            .header("set-cookie", "a=1"),
    );
    assert_eq!(framing, Ok(Framing::Length(3)));
    let mut names: Vec<_> = parts.headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "set-cookie", "trailer"]);
    assert_eq!(parts.version, Version::HTTP_11);
}

#[test]
fn ambiguous_responses_are_refused_or_made_plain() {
    let with = |fields: &[(&'static str, &'static str)]| {
        let builder = Response::builder();
        received(
            fields
                .iter()
                .fold(builder, |b, (name, value)| b.header(*name, *value)),
        )
    };
    let (parts, framing) = with(&[("transfer-encoding", "Chunked"), ("content-length", "3")]);
    assert_eq!(framing, Ok(Framing::Overridden));
    assert!(parts.headers.is_empty());
    for fields in [
        &[("transfer-encoding", "gzip, chunked")][..],
        &[
            ("transfer-encoding", "chunked"),
            ("transfer-encoding", "chunked"),
        ],
        &[("transfer-encoding", "identity")],
        &[("content-length", "3"), ("content-length", "4")],
        &[("content-length", "+3")],
        &[("content-length", "3, 3")],
        &[("content-length", "99999999999999999999")],
    ] {
        assert_eq!(with(fields).1, Err(Ambiguous), "{fields:?}");
    }
    let (parts, framing) = with(&[("content-length", "3"), ("content-length", "3")]);
    assert_eq!(framing, Ok(Framing::Length(3)));
    assert_eq!(field(&parts.headers, "content-length"), ["3"]);
    assert_eq!(with(&[]).1, Ok(Framing::UntilClose));
    let (parts, framing) = with(&[("transfer-encoding", "chunked")]);
    assert_eq!(framing, Ok(Framing::Chunked));
    assert!(parts.headers.is_empty());
    let (_, framing) = received(Response::builder().status(101));
    assert_eq!(framing, Err(Ambiguous));
    let (parts, _) = received(
        Response::builder()
            .status(204)
            .header("content-length", "0"),
    );
    assert!(parts.headers.is_empty());
}

#[test]
fn trailers_lose_marks_framing_and_routing() {
    let mut trailers = HeaderMap::new();
    for name in [
        "early-data",
        "content-length",
        "host",
        "connection",
        "x-sum",
    ] {
        trailers.insert(name, HeaderValue::from_static("1"));
    }
    strip_trailers(&mut trailers);
    assert_eq!(trailers.keys().collect::<Vec<_>>(), ["x-sum"]);
}
