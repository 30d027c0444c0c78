use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::*;

fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    headers
}

/// 10.0.0.0/8 and 2001:db8:ff::/48 are trusted.
fn is_trusted(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[0] == 10,
        IpAddr::V6(address) => address.segments()[..3] == [0x2001, 0xdb8, 0xff],
    }
}

#[track_caller]
fn way(name: &'static str, values: &[&'static str], expected: &[&str]) -> Told {
    let fields: Vec<_> = values.iter().map(|value| (name, *value)).collect();
    let header = match name {
        "forwarded" => TrustedHeader::Forwarded,
        _ => TrustedHeader::XForwardedFor,
    };
    let told = told(&headers(&fields), header, is_trusted);
    let nodes: Vec<String> = told.nodes.iter().map(ToString::to_string).collect();
    assert_eq!(nodes, expected, "{values:?}");
    told
}

#[test]
fn the_client_is_the_rightmost_address_that_is_not_trusted() {
    let x = |values: &[&'static str], expected: &[&str]| way("x-forwarded-for", values, expected);
    x(&[], &[]);
    x(&["192.0.2.1"], &["192.0.2.1"]);
    x(&["192.0.2.1, 10.0.0.1"], &["192.0.2.1", "10.0.0.1"]);
    x(
        &["192.0.2.1,10.0.0.1 , 10.0.0.2"],
        &["192.0.2.1", "10.0.0.1", "10.0.0.2"],
    );
    // What the client wrote itself does not count.
    x(&["203.0.113.9, 192.0.2.1"], &["192.0.2.1"]);
    x(
        &["10.9.9.9, 192.0.2.1, 10.0.0.1"],
        &["192.0.2.1", "10.0.0.1"],
    );
    // Several fields are one list.
    x(
        &["203.0.113.9", "192.0.2.1", "10.0.0.1"],
        &["192.0.2.1", "10.0.0.1"],
    );
    // All are trusted: the first one is the client.
    x(&["10.0.0.1, 10.0.0.2"], &["10.0.0.1", "10.0.0.2"]);
    // What cannot be read ends the way.
    x(&["192.0.2.1, unknown, 10.0.0.2"], &["10.0.0.2"]);
    x(&["192.0.2.1, "], &[]);
    x(&["192.0.2.1, 10.0.0.1, \"10.0.0.2"], &[]);
    // Ports, brackets, IPv4 in IPv6.
    assert_eq!(x(&["192.0.2.1:4711"], &["192.0.2.1"]).port, Some(4711));
    assert_eq!(x(&["[2001:db8::1]:1"], &["2001:db8::1"]).port, Some(1));
    x(&["[2001:db8::1]"], &["2001:db8::1"]);
    x(
        &["2001:db8::1, 2001:db8:ff::1"],
        &["2001:db8::1", "2001:db8:ff::1"],
    );
    x(&["192.0.2.1, ::ffff:10.0.0.1"], &["192.0.2.1", "10.0.0.1"]);
}

#[test]
fn a_way_has_an_end() {
    let long = vec!["10.0.0.1"; 1000].join(",");
    let mut headers = HeaderMap::new();
    headers.append("x-forwarded-for", HeaderValue::try_from(long).unwrap());
    let told = told(&headers, TrustedHeader::XForwardedFor, is_trusted);
    assert_eq!(told.nodes.len(), 32);
}

#[test]
fn forwarded_is_followed_in_the_same_way() {
    let f = |values: &[&'static str], expected: &[&str]| way("forwarded", values, expected);
    f(&["for=192.0.2.1"], &["192.0.2.1"]);
    f(
        &["For=\"[2001:db8::1]:4711\";proto=http;by=203.0.113.43"],
        &["2001:db8::1"],
    );
    f(
        &["for=203.0.113.9, for=192.0.2.1;proto=https, for=10.0.0.1"],
        &["192.0.2.1", "10.0.0.1"],
    );
    f(
        &["for=192.0.2.1", "for=10.0.0.1"],
        &["192.0.2.1", "10.0.0.1"],
    );
    // RFC 7239 §6.2, §6.3: no address.
    f(&["for=192.0.2.1, for=_hidden, for=10.0.0.1"], &["10.0.0.1"]);
    f(&["for=unknown"], &[]);
    f(&["by=10.0.0.1"], &[]);
    f(&["for=192.0.2.1;for=192.0.2.2"], &[]);
    // Separators within quotation marks are none.
    f(
        &["host=\"a,for=203.0.113.9;b\";for=192.0.2.1"],
        &["192.0.2.1"],
    );
    // A mark that the client left open swallows nothing that a proxy wrote.
    f(&["for=\"203.0.113.9, for=192.0.2.1"], &["192.0.2.1"]);
    f(
        &["for=\"x\\\", for=192.0.2.1, for=10.0.0.1"],
        &["192.0.2.1", "10.0.0.1"],
    );
}

#[test]
fn the_scheme_is_taken_from_where_the_client_is() {
    let told = way(
        "forwarded",
        &["for=192.0.2.1;proto=http, for=10.0.0.1;proto=https"],
        &["192.0.2.1", "10.0.0.1"],
    );
    assert!(told.http);
    for (protos, http) in [
        (&["http"][..], true),
        (&["HTTP"], true),
        (&["https"], false),
        (&["http, https"], false),
        (&["http", "https"], false),
        (&[], false),
    ] {
        let fields: Vec<_> = protos
            .iter()
            .map(|proto| ("x-forwarded-proto", *proto))
            .collect();
        let told = super::told(&headers(&fields), TrustedHeader::XForwardedFor, is_trusted);
        assert_eq!(told.http, http, "{protos:?}");
    }
}

#[test]
fn only_the_field_that_is_trusted_counts() {
    let both = headers(&[
        ("x-forwarded-for", "192.0.2.1"),
        ("forwarded", "for=192.0.2.2"),
    ]);
    let client = |header| told(&both, header, is_trusted).nodes[0].to_string();
    assert_eq!(client(TrustedHeader::XForwardedFor), "192.0.2.1");
    assert_eq!(client(TrustedHeader::Forwarded), "192.0.2.2");
}

#[test]
fn a_request_id_is_taken_over_if_it_can_stand_in_a_line() {
    for (ids, taken) in [
        (&["01HF-abc_d.e:f/g+h=@~"][..], true),
        (&[], false),
        (&[""], false),
        (&["a b"], false),
        (&["a\tb"], false),
        (&["a\"b"], false),
        (&["a,b"], false),
        (&["a", "b"], false),
    ] {
        let fields: Vec<_> = ids.iter().map(|id| ("x-request-id", *id)).collect();
        assert_eq!(request_id(&headers(&fields)).is_some(), taken, "{ids:?}");
    }
    for (length, taken) in [(128, true), (129, false)] {
        let mut headers = HeaderMap::new();
        headers.append(
            "x-request-id",
            HeaderValue::try_from("a".repeat(length)).unwrap(),
        );
        assert_eq!(request_id(&headers).is_some(), taken);
    }
}

#[test]
fn what_is_written_is_what_was_told_and_our_peer() {
    let peer: IpAddr = "::ffff:10.0.0.3".parse().unwrap();
    let host = HeaderValue::from_static("example.com");
    let x = |told: Option<&Told>| x_forwarded_for(told, peer);
    let f = |told: Option<&Told>| forwarded(told, peer, &host);
    assert_eq!(x(None), "10.0.0.3");
    assert_eq!(f(None), "for=10.0.0.3;host=example.com;proto=https");
    let told = Told {
        nodes: vec!["2001:db8::1".parse().unwrap(), "10.0.0.1".parse().unwrap()],
        port: Some(1),
        http: true,
    };
    assert_eq!(x(Some(&told)), "2001:db8::1, 10.0.0.1, 10.0.0.3");
    assert_eq!(
        f(Some(&told)),
        "for=\"[2001:db8::1]\";proto=http, for=10.0.0.1, for=10.0.0.3;host=example.com;proto=https"
    );
    let alone = Told {
        http: true,
        ..Told::default()
    };
    assert_eq!(f(Some(&alone)), "for=10.0.0.3;host=example.com;proto=http");
    let host = HeaderValue::from_static("[2001:db8::2]:8443");
    assert_eq!(
        forwarded(None, peer, &host),
        "for=10.0.0.3;host=\"[2001:db8::2]:8443\";proto=https"
    );
    // Another edge reads what this one wrote.
    for (name, value, header) in [
        (
            "x-forwarded-for",
            x(Some(&told)),
            TrustedHeader::XForwardedFor,
        ),
        ("forwarded", f(Some(&told)), TrustedHeader::Forwarded),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(name, value);
        let read = super::told(&headers, header, is_trusted);
        assert_eq!(read.nodes[..2], told.nodes);
        assert_eq!(read.nodes[2], peer.to_canonical());
    }
}
