//! Peers' clients against our edge: everything but early data.

use super::arguments::Arguments;
use super::{Case, Played, traffic};
use crate::cell::{Cell, Talk, Trouble};
use crate::sites::{ANSWER, EDGE, OLD, OTHER, TICKETS, UNKNOWN, WILD};

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
            &[("groups", RETRIED)],
            &[("hrr", "true"), ("group", "P-256")],
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
    case("key-update", "key update, both ways", traffic::key_update),
    case(
        "close-notify",
        "close_notify, both ways",
        traffic::close_notify,
    ),
    case(
        "truncation",
        "truncated answer is noticed",
        traffic::truncation,
    ),
    case(
        "large-headers",
        "large header fields",
        traffic::large_headers,
    ),
    case(
        "large-answer-headers",
        "large header fields of an answer",
        traffic::large_answer_headers,
    ),
    case("download-10mb", "10 MB answer", traffic::download),
    case(
        "upload-10mb",
        "10 MB request body, to an origin",
        traffic::upload,
    ),
    case("tls12-refused", "TLS 1.2 is refused", |cell| {
        let arguments = edge(cell).with("version", "1.2");
        refused(
            cell,
            arguments,
            "protocol_version",
            (HELLO, "error=\"unsupported_version\""),
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

/// The edge lacks the first one. Both are curves of NIST: beside X25519, JSSE would send a share for
/// each.
pub(super) const RETRIED: &str = "P-521,P-256";

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
pub(super) fn ended(cell: &mut Cell<'_, '_>, talk: &Talk, wanted: &str) -> Played {
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
pub(super) fn full(cell: &mut Cell<'_, '_>, talk: &Talk, facts: &[(&str, &str)]) -> Played {
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
pub(super) fn counted_full(cell: &mut Cell<'_, '_>, talk: &Talk, version: &str) {
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
pub(super) const HELLO: &str = "cutwater_client_hello_errors_total";

/// A handshake that the edge refuses with this alert, and counts there.
pub(super) fn refused(
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
    // A browser tries once more, with older algorithms.
    let times = match cell.peer.browser {
        true => talk.edge.connections.len(),
        false => 1,
    };
    cell.is(
        &format!("edge, {metric} by {label}"),
        talk.counted.sum(metric, label),
        times as f64,
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
