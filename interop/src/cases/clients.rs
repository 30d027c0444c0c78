//! Peers' clients against our edge: everything but early data.

use super::Case;
use super::arguments::Arguments;
use crate::cell::{Cell, Talk, Trouble};
use crate::relay::Plan;
use crate::sites::{ANSWER, EDGE, LARGE, OLD, OTHER, TICKETS, UNKNOWN, WILD};

type Played = Result<(), Trouble>;

const fn case(
    name: &'static str,
    title: &'static str,
    play: fn(&mut Cell<'_, '_>) -> Played,
) -> Case {
    Case { name, title, play }
}

/// The cases, in the order of the report.
pub(super) const CASES: &[Case] = &[
    case("full", "full handshake", |cell| handshake(cell, &[], &[])),
    case("full-ipv6", "full handshake over IPv6", full_v6),
    case("hello-retry-request", "HelloRetryRequest", |cell| {
        handshake(
            cell,
            &[("groups", "P-521,X25519")],
            &[("hrr", "true"), ("group", "X25519")],
        )
    }),
    case("x25519mlkem768", "X25519MLKEM768", |cell| {
        let group = "X25519MLKEM768";
        handshake(
            cell,
            &[("groups", group)],
            &[("group", group), ("hrr", "false")],
        )
    }),
    case("p-256", "P-256 key share", |cell| {
        handshake(
            cell,
            &[("groups", "P-256")],
            &[("group", "P-256"), ("hrr", "false")],
        )
    }),
    case("chacha20", "ChaCha20-Poly1305", |cell| {
        let suite = "TLS_CHACHA20_POLY1305_SHA256";
        handshake(cell, &[("suites", suite)], &[("suite", suite)])
    }),
    case("aes-256-gcm", "AES-256-GCM", |cell| {
        let suite = "TLS_AES_256_GCM_SHA384";
        handshake(cell, &[("suites", suite)], &[("suite", suite)])
    }),
    case(
        "certificate-ecdsa",
        "ECDSA certificate by signature algorithms",
        |cell| by_signature(cell, "ecdsa", "ca-ecdsa.pem"),
    ),
    case(
        "certificate-rsa",
        "RSA certificate by signature algorithms",
        |cell| by_signature(cell, "rsa", "ca-rsa.pem"),
    ),
    case("sni-exact", "SNI: exact name", |cell| named(cell, OTHER)),
    case("sni-wildcard", "SNI: covered by a wildcard", |cell| {
        named(cell, WILD)
    }),
    case("sni-unknown", "SNI: unknown name is refused", |cell| {
        let arguments = Arguments::new(cell.lab.ground.edge(false), UNKNOWN);
        refused(
            cell,
            arguments,
            "unrecognized_name",
            (HELLO, "error=\"unknown_name\""),
        )
    }),
    case("sni-absent", "SNI: absent is refused", |cell| {
        let arguments = Arguments::new(cell.lab.ground.edge(false), "-");
        refused(
            cell,
            arguments,
            "missing_extension",
            (HELLO, "error=\"no_server_name\""),
        )
    }),
    case("alpn-h2", "ALPN: h2", alpn_h2),
    case("alpn-http1", "ALPN: http/1.1", |cell| {
        handshake(cell, &[("alpn", "http/1.1")], &[("alpn", "http/1.1")])
    }),
    case(
        "alpn-mismatch",
        "ALPN: no common protocol is refused",
        |cell| {
            let arguments = edge(cell).with("alpn", "spdy/3.1");
            let alert = "no_application_protocol";
            refused(
                cell,
                arguments,
                alert,
                (FAILED, "alert=\"no_application_protocol\""),
            )
        },
    ),
    case("resumption", "resumption", resumption),
    case(
        "resumption-other-site",
        "resumption refused on another site",
        other_site,
    ),
    case("tickets", "as many tickets as configured", tickets),
    case("key-update", "key update, both ways", key_update),
    case("close-notify", "close_notify, both ways", close_notify),
    case("truncation", "truncated answer is noticed", truncation),
    case("large-headers", "large header fields", large_headers),
    case("download-10mb", "10 MB answer", download),
    case("upload-10mb", "10 MB request body, to an origin", upload),
    case("tls12-refused", "TLS 1.2 is refused", |cell| {
        let arguments = edge(cell).with("version", "1.2");
        refused(
            cell,
            arguments,
            "protocol_version",
            (FAILED, "alert=\"protocol_version\""),
        )
    }),
    case(
        "tls12-accepted",
        "TLS 1.2 where a site lets it in",
        |cell| {
            let arguments = Arguments::new(cell.lab.ground.edge(false), OLD).with("version", "1.2");
            let talk = cell.talk(&arguments)?;
            cell.both(
                &talk,
                0,
                &[("handshake", "true"), ("version", "1.2")],
                &["version"],
            )?;
            answered(cell, &talk, 1);
            counted_full(cell, &talk, "1.2");
            Ok(())
        },
    ),
];

pub(super) fn edge(cell: &Cell<'_, '_>) -> Arguments {
    Arguments::new(cell.lab.ground.edge(false), EDGE)
}

/// The peer did all that it was asked for, and both sides saw the answers of its last connection:
/// so many with status 200 that carry the cell's mark.
pub(super) fn answered(cell: &mut Cell<'_, '_>, talk: &Talk, count: usize) {
    cell.check("the peer did all that was asked", talk.complete);
    let last = talk.peer.last();
    let statuses = last.map(|it| it.responses.iter().map(|one| one.status).collect());
    let wanted = vec![Some(200); count];
    cell.is(
        "peer, statuses",
        statuses.unwrap_or_default(),
        wanted.clone(),
    );
    let logged = talk.edge.marked.iter().map(|one| one.status).collect();
    cell.is("edge, statuses", logged, wanted);
}

/// A full handshake with these options, about which both sides are to say these facts.
fn handshake(cell: &mut Cell<'_, '_>, options: &[(&str, &str)], facts: &[(&str, &str)]) -> Played {
    let arguments = edge(cell);
    let arguments = options
        .iter()
        .fold(arguments, |all, (option, value)| all.with(option, value));
    let talk = cell.talk(&arguments)?;
    full(cell, &talk, facts)?;
    let retries = facts.contains(&("hrr", "true"));
    let counted = talk.counted.sum("cutwater_hello_retry_requests_total", "");
    cell.is(
        "edge, HelloRetryRequests counted",
        counted,
        f64::from(u8::from(retries)),
    );
    Ok(())
}

/// The client takes signatures of one kind only, also in the chain.
fn by_signature(cell: &mut Cell<'_, '_>, kind: &str, ca: &'static str) -> Played {
    let arguments = edge(cell).with("signatures", kind).ca(ca);
    let talk = cell.talk(&arguments)?;
    full(cell, &talk, &[("certificate", kind)])
}

/// How the peer says that its last connection ended.
fn ended(cell: &mut Cell<'_, '_>, talk: &Talk, wanted: &str) -> Played {
    match talk.peer.last().and_then(|one| one.ended.as_deref()) {
        Some(ended) => {
            cell.is("peer, ended", ended, wanted);
            Ok(())
        }
        None => Err(Trouble::Unsupported(
            "the stack does not tell: ended".into(),
        )),
    }
}

/// A full handshake. The first of `facts` is what the case is about: the peer has to tell it.
fn full(cell: &mut Cell<'_, '_>, talk: &Talk, facts: &[(&str, &str)]) -> Played {
    let always = [
        ("handshake", "true"),
        ("version", "1.3"),
        ("resumed", "false"),
        ("early", "none"),
    ];
    let own: Vec<&str> = facts.iter().take(1).map(|(name, _)| *name).collect();
    let told = cell.both(talk, 0, &[&always, facts].concat(), &own);
    answered(cell, talk, 1);
    counted_full(cell, talk, "1.3");
    told
}

/// The edge counted one full handshake of this version, and no other.
fn counted_full(cell: &mut Cell<'_, '_>, talk: &Talk, version: &str) {
    let labels = format!("kind=\"full\",version=\"{version}\"");
    let full = talk.counted.sum(HANDSHAKES, &labels);
    cell.is("edge, full handshakes counted", full, 1.0);
    let all = talk.counted.sum(HANDSHAKES, "");
    cell.is("edge, handshakes counted in all", all, 1.0);
}

const HANDSHAKES: &str = "cutwater_handshakes_total";

fn full_v6(cell: &mut Cell<'_, '_>) -> Played {
    let arguments = Arguments::new(cell.lab.ground.edge_v6(), EDGE);
    let talk = cell.talk(&arguments)?;
    full(cell, &talk, &[])
}

fn named(cell: &mut Cell<'_, '_>, name: &str) -> Played {
    let arguments = Arguments::new(cell.lab.ground.edge(false), name);
    let talk = cell.talk(&arguments)?;
    let sni = talk
        .edge
        .connections
        .first()
        .and_then(|one| one.sni.clone());
    cell.is("edge, connection 0, sni", sni.as_deref(), Some(name));
    full(cell, &talk, &[])
}

/// Handshakes that failed, by alert; ClientHellos turned away before there was one, by error.
const FAILED: &str = "cutwater_handshake_failures_total";
const HELLO: &str = "cutwater_client_hello_errors_total";

/// A handshake that the edge refuses with this alert, and counts there.
fn refused(
    cell: &mut Cell<'_, '_>,
    arguments: Arguments,
    alert: &str,
    (metric, label): (&str, &str),
) -> Played {
    let talk = cell.talk(&arguments)?;
    cell.check("the peer did not get what it asked for", !talk.complete);
    cell.both(&talk, 0, &[("handshake", "false")], &[])?;
    let sent = talk
        .edge
        .connections
        .first()
        .and_then(|one| one.alert_sent.clone());
    cell.is("edge, alert sent", sent.as_deref(), Some(alert));
    ended(cell, &talk, &format!("alert:{alert}"))?;
    cell.is(
        &format!("edge, {metric} by {label}"),
        talk.counted.sum(metric, label),
        1.0,
    );
    cell.is("edge, requests", talk.edge.requests, 0);
    Ok(())
}

fn alpn_h2(cell: &mut Cell<'_, '_>) -> Played {
    let arguments = edge(cell).with("alpn", "h2,http/1.1");
    let talk = cell.talk(&arguments)?;
    // Not every client speaks HTTP/2: the handshake is what this is about.
    cell.both(
        &talk,
        0,
        &[("handshake", "true"), ("alpn", "h2")],
        &["alpn"],
    )?;
    for (one, status) in talk.peer.iter().flat_map(|one| &one.responses).zip(1..) {
        cell.is(&format!("peer, status {status}"), one.status, Some(200));
    }
    Ok(())
}

fn resumption(cell: &mut Cell<'_, '_>) -> Played {
    let arguments = edge(cell).with("mode", "resume");
    let talk = cell.talk(&arguments)?;
    cell.both(
        &talk,
        0,
        &[("handshake", "true"), ("resumed", "false")],
        &[],
    )?;
    cell.both(
        &talk,
        1,
        &[
            ("handshake", "true"),
            ("resumed", "true"),
            ("early", "none"),
        ],
        &["resumed"],
    )?;
    answered(cell, &talk, 1);
    let resumed = talk.counted.sum(HANDSHAKES, "kind=\"resumed\"");
    cell.is("edge, resumed handshakes counted", resumed, 1.0);
    Ok(())
}

fn other_site(cell: &mut Cell<'_, '_>) -> Played {
    let arguments = edge(cell).with("mode", "resume").with("second-name", OTHER);
    let talk = cell.talk(&arguments)?;
    cell.both(
        &talk,
        1,
        &[("handshake", "true"), ("resumed", "false")],
        &["resumed"],
    )?;
    let sni = talk.edge.connections.get(1).and_then(|one| one.sni.clone());
    cell.is("edge, connection 1, sni", sni.as_deref(), Some(OTHER));
    answered(cell, &talk, 1);
    // The second ClientHello has one extension more: the session that is refused.
    let ja4 = |index: usize| talk.edge.connections.get(index)?.ja4.clone();
    cell.check(
        "edge, both ClientHellos have a JA4",
        ja4(0).is_some() && ja4(1).is_some(),
    );
    match ja4(0) == ja4(1) {
        true => Err(Trouble::Unsupported(
            "the client did not offer its session to the other site".into(),
        )),
        false => Ok(()),
    }
}

fn tickets(cell: &mut Cell<'_, '_>) -> Played {
    let arguments = edge(cell);
    let talk = cell.talk(&arguments)?;
    full(cell, &talk, &[])?;
    let sent = talk.edge.connections.first().map(|one| one.tickets_sent);
    cell.is("edge, tickets sent", sent, Some(TICKETS));
    let counted = talk.counted.sum("cutwater_tickets_sent_total", "");
    cell.is("edge, tickets counted", counted, TICKETS as f64);
    match talk.peer.first().and_then(|one| one.tickets) {
        Some(received) => cell.is("peer, tickets received", received, TICKETS),
        None => {
            return Err(Trouble::Unsupported(
                "the stack does not tell: tickets".into(),
            ));
        }
    }
    Ok(())
}

fn key_update(cell: &mut Cell<'_, '_>) -> Played {
    let arguments = edge(cell).flag("key-update");
    let talk = cell.talk(&arguments)?;
    cell.both(&talk, 0, &[("handshake", "true"), ("version", "1.3")], &[])?;
    answered(cell, &talk, 2);
    let end = talk.edge.connections.first().map(|one| one.end.clone());
    cell.is("edge, end", end.as_deref(), Some("clean"));
    // The edge's own update, which the client's asked for.
    match talk.peer.last().and_then(|one| one.key_updates) {
        Some(received) => {
            cell.is("peer, key updates received", received, 1);
            Ok(())
        }
        None => Err(Trouble::Unsupported(
            "the stack does not tell: key_updates".into(),
        )),
    }
}

fn close_notify(cell: &mut Cell<'_, '_>) -> Played {
    let arguments = edge(cell).with("end", "close");
    let talk = cell.talk(&arguments)?;
    full(cell, &talk, &[])?;
    ended(cell, &talk, "close_notify")?;
    let end = talk.edge.connections.first().map(|one| one.end.clone());
    cell.is("edge, end", end.as_deref(), Some("clean"));
    Ok(())
}

/// After so many bytes the relay ends the connection as if the edge had: a FIN without
/// close_notify.
const CUT_AFTER: u64 = 50_000;

fn truncation(cell: &mut Cell<'_, '_>) -> Played {
    let target = cell.lab.ground.edge(false);
    let (_, relay) = cell.relay(Plan {
        fin_after: Some(CUT_AFTER),
        ..Plan::to(target)
    })?;
    let talk = cell.talk(&Arguments::new(relay, EDGE).path("/large"))?;
    cell.both(&talk, 0, &[("handshake", "true")], &[])?;
    let peer = talk.peer.first();
    ended(cell, &talk, "eof")?;
    cell.check("the peer noticed that something is missing", !talk.complete);
    let got = peer
        .and_then(|one| one.responses.first())
        .and_then(|one| one.bytes)
        .unwrap_or(0);
    cell.check(
        &format!("the peer got less than all: {got} bytes"),
        got < CUT_AFTER,
    );
    let sent = talk.edge.marked.first().map_or(0, |one| one.bytes_out);
    cell.check(
        &format!("the edge sent more than that: {sent} bytes"),
        sent > CUT_AFTER,
    );
    Ok(())
}

fn large_headers(cell: &mut Cell<'_, '_>) -> Played {
    const BYTES: u64 = 16_000;
    let arguments = edge(cell).with("header-bytes", BYTES);
    let talk = cell.talk(&arguments)?;
    full(cell, &talk, &[])?;
    let received = talk.edge.connections.first().map_or(0, |one| one.bytes_in);
    cell.check(
        &format!("edge, bytes received: {received}"),
        received > BYTES,
    );
    Ok(())
}

fn download(cell: &mut Cell<'_, '_>) -> Played {
    let arguments = edge(cell).path("/large");
    let talk = cell.talk(&arguments)?;
    full(cell, &talk, &[])?;
    let got = talk
        .peer
        .last()
        .and_then(|one| one.responses.last())
        .and_then(|one| one.bytes);
    if got.is_none() && talk.complete {
        return Err(Trouble::Unsupported(
            "the stack does not tell: bytes".into(),
        ));
    }
    cell.is("peer, bytes of the answer", got, Some(LARGE));
    let sent = talk.edge.marked.first().map(|one| one.bytes_out);
    cell.is("edge, bytes of the answer", sent, Some(LARGE));
    Ok(())
}

fn upload(cell: &mut Cell<'_, '_>) -> Played {
    let arguments = edge(cell)
        .path("/upload")
        .with("method", "POST")
        .with("body-bytes", LARGE);
    let talk = cell.talk(&arguments)?;
    full(cell, &talk, &[])?;
    cell.is(
        "peer, bytes sent",
        talk.peer.last().and_then(|one| one.sent),
        Some(LARGE),
    );
    let received = talk.edge.marked.first().map(|one| one.bytes_in);
    cell.is("edge, bytes of the request", received, Some(LARGE));
    // The origin answers `received N`.
    let answer = talk
        .peer
        .last()
        .and_then(|one| one.responses.last())
        .and_then(|one| one.bytes);
    cell.is(
        "peer, bytes of the origin's answer",
        answer,
        Some(format!("received {LARGE}\n").len() as u64),
    );
    Ok(())
}

/// Answers of `/safe` and `/wait` are whole.
pub(super) fn whole_answer(cell: &mut Cell<'_, '_>, talk: &Talk) {
    let got = talk
        .peer
        .last()
        .and_then(|one| one.responses.last())
        .and_then(|one| one.bytes);
    // Where it does not tell, the edge's word is all there is: this is not what these cases are about.
    if got.is_some() || !talk.complete {
        cell.is("peer, bytes of the answer", got, Some(ANSWER));
    }
}
