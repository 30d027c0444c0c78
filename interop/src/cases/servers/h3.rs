//! The same over QUIC: HTTP/3.

use super::{Case, FULL, Holds, Way, downloaded, early, early_refused, resumed, uploaded};

const H3: Case = Case {
    name: "h3-full",
    server: &["--http", "3"],
    client: &["--protocol", "h3"],
    way: Way::V4,
    ..FULL
};

const H3_EARLY: Case = Case {
    name: "h3-early-accepted",
    title: "0-RTT accepted",
    server: &["--http", "3", "--early"],
    client: &[
        "--protocol",
        "h3",
        "--handshake",
        "early",
        "--groups",
        "X25519",
    ],
    way: Way::Line,
    says: "early",
    holds: Holds::Well(early),
    ..H3
};

const H3_REFUSED: Case = Case {
    name: "h3-early-refused",
    title: "0-RTT refused, goes on",
    server: &["--http", "3", "--refuse-early"],
    client: &[
        "--protocol",
        "h3",
        "--handshake",
        "early",
        "--groups",
        "X25519,P-256",
    ],
    says: "refused",
    never: Some("early"),
    holds: Holds::Well(early_refused),
    ..H3_EARLY
};

/// The cases, in the order of the report.
pub(super) const CASES: &[Case] = &[
    H3,
    Case {
        name: "h3-full-ipv6",
        title: "full handshake over IPv6",
        way: Way::V6,
        ..H3
    },
    Case {
        name: "h3-resumption",
        title: "resumption",
        client: &["--protocol", "h3", "--handshake", "resumed"],
        says: "resumed",
        holds: Holds::Well(resumed),
        ..H3
    },
    H3_EARLY,
    // Each flight goes three ways: copies in turn, at once, and at once under other connection ids.
    Case {
        name: "h3-early-replayed",
        title: "0-RTT flight replayed: accepted once",
        client: &[
            "--protocol",
            "h3",
            "--handshake",
            "early",
            "--groups",
            "X25519",
            "--replay",
            "4",
        ],
        way: Way::V4,
        holds: Holds::Replays,
        ..H3_EARLY
    },
    H3_REFUSED,
    Case {
        name: "h3-early-refused-large",
        title: "0-RTT refused with a large flight, goes on",
        client: &[
            "--protocol",
            "h3",
            "--handshake",
            "early",
            "--groups",
            "X25519,P-256",
            "--method",
            "POST",
            "--body",
            "@{pki}/answer",
        ],
        ..H3_REFUSED
    },
    Case {
        name: "h3-wrong-authority",
        title: "certificate of a wrong authority is refused",
        certificate: "stranger-ecdsa",
        says: "alert",
        never: Some("full"),
        holds: Holds::Fails("certificate: bad signature"),
        ..H3
    },
    Case {
        name: "h3-wrong-name",
        title: "certificate for another name is refused",
        certificate: "misnamed-ecdsa",
        says: "alert",
        never: Some("full"),
        holds: Holds::Fails("certificate: not valid for the name"),
        ..H3
    },
    Case {
        name: "h3-download-10mb",
        title: "10 MB answer",
        server: &["--http", "3", "--origin", "{origin}"],
        path: "/large",
        says: "download",
        holds: Holds::Well(downloaded),
        ..H3
    },
    Case {
        name: "h3-upload-10mb",
        title: "10 MB request body",
        server: &["--http", "3", "--origin", "{origin}"],
        path: "/upload",
        client: &[
            "--protocol",
            "h3",
            "--method",
            "POST",
            "--body",
            "@{pki}/large",
        ],
        says: "upload",
        holds: Holds::Well(uploaded),
        ..H3
    },
];
