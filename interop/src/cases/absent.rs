//! Cases that only one direction has, and why the other cannot have them.

use super::Direction;

const RUSTLS: &str =
    "what is chosen in a handshake is left to rustls, over QUIC as over TCP, where it is tried";

/// What a direction lacks, over QUIC also if it is named without `h3-`: the case's name in the other one, and the reason.
pub const ABSENT: &[(Direction, &str, &str)] = &[
    (
        Direction::Clients,
        "wrong-authority",
        "our edge has no wrong certificate to show: `interop broken` gives it one, and the client has to refuse",
    ),
    (
        Direction::Clients,
        "wrong-name",
        "as wrong-authority: a name without a certificate is refused before there is one to show (sni-unknown)",
    ),
    (
        Direction::Servers,
        "sni-exact",
        "every cell asks for the server's name and verifies the certificate for it; wrong-name is the other side of that",
    ),
    (
        Direction::Servers,
        "sni-wildcard",
        "which of its sites a server chooses is its own affair, and these have one",
    ),
    (
        Direction::Servers,
        "sni-unknown",
        "as sni-wildcard; what our client makes of it is wrong-name",
    ),
    (
        Direction::Servers,
        "sni-absent",
        "our client always asks for a name",
    ),
    (
        Direction::Servers,
        "alpn-http1",
        "every cell without HTTP/2 offers http/1.1 and nothing else",
    ),
    (
        Direction::Servers,
        "resumption-other-site",
        "our client offers a ticket to the name that it is from, never to another",
    ),
    (
        Direction::Servers,
        "tickets",
        "how many it sends is the server's choice; our client needs one, and resumption shows that",
    ),
    (
        Direction::Servers,
        "close-notify",
        "our client asks for one only where the answer ends with the connection, and these servers tell its length",
    ),
    (
        Direction::Servers,
        "truncation",
        "nothing of the peer's stack has a part in a connection that is cut: tests/load tries it with a server of ours",
    ),
    (
        Direction::Servers,
        "large-headers",
        "how large a head may be is the server's configuration, and HTTP, not TLS",
    ),
    (
        Direction::Servers,
        "large-answer-headers",
        "as large-headers",
    ),
    (
        Direction::Servers,
        "tls12-refused",
        "our client speaks TLS 1.3 alone",
    ),
    (
        Direction::Servers,
        "tls12-accepted",
        "our client speaks TLS 1.3 alone",
    ),
    (
        Direction::Servers,
        "early-before-finished",
        "whether a server answers so soon is its own choice; our client counts it (answered_early)",
    ),
    (
        Direction::Servers,
        "early-wait-route",
        "as early-before-finished",
    ),
    (
        Direction::Servers,
        "early-hello-retry-request",
        "it is how early-refused has every server refuse that has no other way",
    ),
    (
        Direction::Servers,
        "early-replayed-after-restart",
        "as early-after-restart; how often a server takes a flight is early-replayed",
    ),
    (
        Direction::Servers,
        "early-after-restart",
        "whether tickets outlive a restart is the server's choice; a refusal is early-refused",
    ),
    (
        Direction::Servers,
        "early-425-retry",
        "a load generator counts a 425 and does not try again",
    ),
    (
        Direction::Servers,
        "early-origin-425",
        "the origin is tried through our edge; what other proxies do with its 425 is their own affair",
    ),
    (
        Direction::Clients,
        "h3-wrong-authority",
        "as wrong-authority: `interop broken` is about TLS, which is the same one over QUIC",
    ),
    (Direction::Clients, "h3-wrong-name", "as wrong-name"),
    (Direction::Servers, "h3-hello-retry-request", RUSTLS),
    (Direction::Servers, "h3-x25519mlkem768", RUSTLS),
    (Direction::Servers, "h3-p-256", RUSTLS),
    (Direction::Servers, "h3-chacha20", RUSTLS),
    (Direction::Servers, "h3-aes-256-gcm", RUSTLS),
    (Direction::Servers, "h3-certificate-ecdsa", RUSTLS),
    (Direction::Servers, "h3-certificate-rsa", RUSTLS),
    (Direction::Servers, "h3-alpn-mismatch", RUSTLS),
    (
        Direction::Servers,
        "staple",
        "our client loads and judges no staples; what `cutwater inspect` tells of a server's has its own tests (tests/certificates/inspect)",
    ),
    (
        Direction::Servers,
        "staple-tls12",
        "our client speaks TLS 1.3 alone",
    ),
    (Direction::Servers, "staple-ecdsa", "as staple"),
    (Direction::Servers, "staple-rsa", "as staple"),
    (Direction::Servers, "staple-not-asked", "as staple"),
    (Direction::Servers, "staple-resumption", "as staple"),
    (Direction::Servers, "staple-must", "as staple"),
    (Direction::Servers, "staple-revoked", "as staple"),
    (
        Direction::Servers,
        "staple-missing",
        "a server that needs its staple is an edge of ours",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::names;

    #[test]
    fn what_one_direction_lacks_has_a_reason_and_nothing_else_has() {
        let both = [Direction::Clients, Direction::Servers];
        for (has, lacks) in [(both[0], both[1]), (both[1], both[0])] {
            let there: Vec<&str> = names(lacks).iter().map(|(name, _)| *name).collect();
            let lacking = |name: &str| ABSENT.iter().any(|one| (one.0, one.1) == (lacks, name));
            let excused =
                |name: &str| lacking(name) || name.strip_prefix("h3-").is_some_and(lacking);
            for (name, _) in names(has) {
                assert_ne!(
                    there.contains(&name),
                    excused(name),
                    "{lacks}: {name} is either there or has a reason"
                );
            }
        }
        for (direction, name, reason) in ABSENT {
            let other = both.into_iter().find(|one| one != direction).unwrap();
            assert!(
                names(other).iter().any(|(other, _)| other == name),
                "{name}"
            );
            assert!(!reason.is_empty());
        }
    }
}
