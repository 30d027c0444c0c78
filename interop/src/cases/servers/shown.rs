//! What a server says without a log: its ServerHello.

use crate::wire::{ServerHello, Wire};

const P_256: u16 = 0x0017;
const X25519MLKEM768: u16 = 0x11ec;

/// Whether a connection shows what `server_says` calls so; `None` where no ServerHello tells it.
pub(super) fn shows(says: &str, wire: &Wire) -> Option<bool> {
    let hello = |is: fn(&ServerHello) -> bool| wire.hello().is_some_and(is);
    Some(match says {
        // Some ask for a group that they like better.
        "full" => hello(|one| !one.resumed),
        "resumed" | "early" => hello(|one| one.resumed),
        "hrr" => wire.retried() && hello(|one| one.group == Some(P_256)),
        "P-256" => hello(|one| one.group == Some(P_256)),
        "X25519MLKEM768" => hello(|one| one.group == Some(X25519MLKEM768)),
        "TLS_CHACHA20_POLY1305_SHA256" => hello(|one| one.suite == 0x1303),
        "TLS_AES_256_GCM_SHA384" => hello(|one| one.suite == 0x1302),
        "key_update" => wire.key_updates == [1, 1],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_hello_tells_what_it_is_about_and_nothing_else() {
        let hello = |retry, group, resumed| ServerHello {
            retry,
            suite: 0x1301,
            group: Some(group),
            resumed,
        };
        let wire = |hellos: Vec<ServerHello>| Wire {
            hellos,
            key_updates: [1, 0],
        };
        let full = wire(vec![hello(false, 0x1d, false)]);
        assert_eq!(shows("full", &full), Some(true));
        assert_eq!(shows("resumed", &full), Some(false));
        assert_eq!(shows("P-256", &full), Some(false));
        assert_eq!(shows("TLS_AES_256_GCM_SHA384", &full), Some(false));
        assert_eq!(shows("key_update", &full), Some(false), "one way only");
        let retried = wire(vec![hello(true, P_256, false), hello(false, P_256, true)]);
        assert_eq!(shows("hrr", &retried), Some(true));
        assert_eq!(shows("full", &retried), Some(false), "it resumes");
        assert_eq!(shows("resumed", &retried), Some(true));
        // A HelloRetryRequest alone is no handshake.
        let broken = wire(vec![hello(true, P_256, false)]);
        assert_eq!(shows("hrr", &broken), Some(false));
        for says in ["h2", "alert", "mismatch", "refused", "download", "upload"] {
            assert_eq!(shows(says, &full), None);
        }
    }
}
