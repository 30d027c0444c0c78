//! What is inspected: `HOST[:PORT]`.

use std::fmt;
use std::net::Ipv6Addr;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// A name or an address, without brackets.
    pub(super) host: String,
    /// Default: 443.
    pub(super) port: u16,
}

const HINT: &str =
    "hint: HOST:PORT is needed, as in example.com:443, 192.0.2.1 or [2001:db8::1]:443";

impl Target {
    /// Reads `example.com`, `example.com:8443`, `192.0.2.1:443`, `[2001:db8::1]:443`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("{text}: {what}\n{HINT}");
        if text.contains('/') || text.contains('@') {
            return Err(wrong("a URL is not asked for"));
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(|| wrong("no ]"))?;
                let port = match rest {
                    "" => None,
                    _ => Some(rest.strip_prefix(':').ok_or_else(|| wrong("no port"))?),
                };
                (host, port)
            }
            None if text.parse::<Ipv6Addr>().is_ok() => (text, None),
            None => match text.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        if host.is_empty() || (host.contains(':') && host.parse::<Ipv6Addr>().is_err()) {
            return Err(wrong("no host"));
        }
        let port = match port {
            None => 443,
            Some(port) => match port.parse() {
                Ok(0) | Err(_) => return Err(wrong("no port between 1 and 65535")),
                Ok(port) => port,
            },
        };
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_a_port_or_443() {
        let cases = [
            ("a.test", "a.test:443"),
            ("a.test:8443", "a.test:8443"),
            ("192.0.2.1:1", "192.0.2.1:1"),
            ("::1", "[::1]:443"),
            ("[::1]:8443", "[::1]:8443"),
            ("[::1]", "[::1]:443"),
        ];
        for (text, shown) in cases {
            assert_eq!(Target::parse(text).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn anything_else_is_refused_with_a_hint() {
        for text in [
            "",
            ":443",
            "a.test:",
            "a.test:0",
            "a.test:65536",
            "https://a.test/",
            "[::1",
            "[::1]x",
            "a:b:c",
            "u@a.test",
        ] {
            let complaint = Target::parse(text).unwrap_err();
            assert!(complaint.contains("hint: HOST:PORT"), "{complaint}");
        }
    }
}
