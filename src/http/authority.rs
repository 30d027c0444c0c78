//! Which host a request is for, and whether its connection may carry it.

use http::header::HOST;
use http::{HeaderMap, Uri, Version};
use std::borrow::Cow;
use std::net::Ipv6Addr;

/// Longest host without trailing dot: the longest DNS name in text (RFC 1035 §2.3.4).
const HOST_LENGTH: usize = 253;

/// Why a request's authority is answered 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorityError {
    /// Neither an authority in the target nor a Host, where one is required.
    Missing,
    /// More than one Host field.
    Repeated,
    /// Target and Host name different hosts or ports.
    Differs,
    /// Not `host [":" port]`: user information, escapes, an impossible port, an empty host.
    Malformed,
}

impl std::fmt::Display for AuthorityError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            AuthorityError::Missing => "request names no host",
            AuthorityError::Repeated => "request has more than one Host field",
            AuthorityError::Differs => "target and Host differ",
            AuthorityError::Malformed => "malformed authority",
        })
    }
}

impl std::error::Error for AuthorityError {}

/// The host a request is for: that of an absolute-form target or `:authority`, else of Host; in lower
/// case, without port and without a trailing dot. An IPv6 literal keeps its brackets: no site is named
/// so. Borrowed unless there were capitals.
///
/// `None` only for HTTP/1.0 without any: such a request is for the connection's own site (its route
/// keys without `host` match), and nothing need be asked of [`belongs`].
///
/// # Errors
///
/// The answer is 400. RFC 9112 §3.2: HTTP/1.1 without Host, with several or with a bad one. RFC 9113
/// §8.3.1: `:authority` and Host that differ. RFC 9112 §3.2.2 would let an absolute-form target win over
/// Host, but what stands behind us might read the other one. RFC 9110 §4.2.4: user information.
pub fn authority<'a>(
    version: Version,
    uri: &'a Uri,
    headers: &'a HeaderMap,
) -> Result<Option<Cow<'a, str>>, AuthorityError> {
    let mut fields = headers.get_all(HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(AuthorityError::Repeated);
    }
    let default_port = match uri.scheme_str() {
        Some("http") => 80,
        _ => 443,
    };
    let field = match field {
        // to_str refuses what is not visible ASCII.
        Some(value) => {
            let text = value.to_str().map_err(|_| AuthorityError::Malformed)?;
            Some(split(text, default_port)?)
        }
        None => None,
    };
    let target = match uri.authority() {
        Some(authority) => Some(split(authority.as_str(), default_port)?),
        None => None,
    };
    let (host, _) = match (target, field) {
        (Some(target), Some(field)) => {
            if !target.0.eq_ignore_ascii_case(field.0) || target.1 != field.1 {
                return Err(AuthorityError::Differs);
            }
            target
        }
        (Some(_), None) if version == Version::HTTP_11 => return Err(AuthorityError::Missing),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) if version <= Version::HTTP_10 => return Ok(None),
        (None, None) => return Err(AuthorityError::Missing),
    };
    Ok(Some(if host.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }))
}

/// Whether a connection may carry a request for a host. `found` is the site that the listener's names
/// give for the host (exact before wildcard), `is_own` whether that is the connection's site, and
/// `by_default` whether the connection's site is the listener's default one. `false` means 421
/// (RFC 9110 §15.5.20), before anything else is decided.
pub fn belongs<T>(found: Option<T>, is_own: impl FnOnce(T) -> bool, by_default: bool) -> bool {
    found.map_or(by_default, is_own)
}

/// Host without trailing dot, and port.
fn split(text: &str, default_port: u16) -> Result<(&str, u16), AuthorityError> {
    let colon = match text.rfind([':', ']']) {
        Some(at) if text.as_bytes().get(at) == Some(&b':') => at,
        _ => text.len(),
    };
    let (host, port) = text
        .split_at_checked(colon)
        .ok_or(AuthorityError::Malformed)?;
    let port = match port.strip_prefix(':') {
        // RFC 3986 §3.2.3: an empty port means the default one.
        None | Some("") => default_port,
        Some(digits) if is_port(digits.as_bytes()) => {
            digits.parse().map_err(|_| AuthorityError::Malformed)?
        }
        Some(_) => return Err(AuthorityError::Malformed),
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    if is_host(host) {
        Ok((host, port))
    } else {
        Err(AuthorityError::Malformed)
    }
}

/// Whether these are the digits of a port, of which there may be none.
pub fn is_port(digits: &[u8]) -> bool {
    let mut port = 0;
    digits.iter().all(|digit| {
        port = port * 10 + u32::from(digit.wrapping_sub(b'0'));
        digit.is_ascii_digit() && port <= u32::from(u16::MAX)
    })
}

/// A name of letters, digits, `-`, `_` in non-empty labels, or a bracketed IPv6 address. This refuses
/// `@` and thereby user information, and escapes, which would be a second spelling of a name.
fn is_host(host: &str) -> bool {
    if let Some(literal) = host.strip_prefix('[') {
        return literal
            .strip_suffix(']')
            .is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let mut previous = b'.';
    for byte in host.bytes() {
        let fine = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_')
            || (byte == b'.' && previous != b'.');
        if !fine {
            return false;
        }
        previous = byte;
    }
    previous != b'.' && host.len() <= HOST_LENGTH
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(version: Version, uri: &str, hosts: &[&str]) -> Result<Option<String>, AuthorityError> {
        let uri: Uri = uri.parse().expect("a URI");
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_str(host).expect("a value"));
        }
        authority(version, &uri, &headers).map(|host| host.map(Cow::into_owned))
    }

    #[test]
    fn host_loses_case_port_and_trailing_dot() {
        for host in [
            "a.example",
            "A.Example",
            "a.example.",
            "a.example:8443",
            "A.example.:443",
            "a.example:",
        ] {
            assert_eq!(
                read(Version::HTTP_11, "/", &[host]),
                Ok(Some("a.example".into())),
                "{host}"
            );
        }
        assert_eq!(
            read(Version::HTTP_11, "/", &["[::1]:80"]),
            Ok(Some("[::1]".into()))
        );
        assert_eq!(
            read(Version::HTTP_11, "/", &["127.0.0.1"]),
            Ok(Some("127.0.0.1".into()))
        );
    }

    #[test]
    fn ports_are_digits_up_to_65535() {
        for port in ["", "0", "443", "65535", "00443"] {
            assert!(is_port(port.as_bytes()), "{port}");
        }
        for port in ["65536", "-1", "+1", "4 4", "443x", "99999999"] {
            assert!(!is_port(port.as_bytes()), "{port}");
        }
    }

    #[test]
    fn a_lower_case_host_is_borrowed() {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("a.example:443"));
        let uri = Uri::from_static("/");
        let host = authority(Version::HTTP_11, &uri, &headers);
        assert!(matches!(host, Ok(Some(Cow::Borrowed("a.example")))));
    }

    #[test]
    fn target_and_host_must_agree() {
        for (uri, host) in [
            ("https://a.example/", "a.example"),
            ("https://A.example./", "a.example:443"),
            ("https://a.example:443/", "a.EXAMPLE"),
            ("http://a.example/", "a.example:80"),
        ] {
            for version in [Version::HTTP_11, Version::HTTP_2] {
                assert_eq!(
                    read(version, uri, &[host]),
                    Ok(Some("a.example".into())),
                    "{uri} {host}"
                );
            }
        }
        for (uri, host) in [
            ("https://a.example/", "b.example"),
            ("https://a.example/", "a.example:8443"),
            ("https://a.example:8443/", "a.example"),
            ("http://a.example/", "a.example:443"),
        ] {
            assert_eq!(
                read(Version::HTTP_11, uri, &[host]),
                Err(AuthorityError::Differs)
            );
        }
    }

    #[test]
    fn versions_differ_in_what_must_be_there() {
        use AuthorityError::*;
        assert_eq!(read(Version::HTTP_10, "/", &[]), Ok(None));
        assert_eq!(read(Version::HTTP_11, "/", &[]), Err(Missing));
        assert_eq!(read(Version::HTTP_2, "/", &[]), Err(Missing));
        assert_eq!(read(Version::HTTP_11, "https://a/", &[]), Err(Missing));
        assert_eq!(
            read(Version::HTTP_2, "https://a/", &[]),
            Ok(Some("a".into()))
        );
        assert_eq!(read(Version::HTTP_2, "/", &["a"]), Ok(Some("a".into())));
        for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
            assert_eq!(read(version, "/", &["a", "a"]), Err(Repeated));
        }
    }

    #[test]
    fn malformed_hosts_are_refused() {
        let long = "a".repeat(HOST_LENGTH + 1);
        for host in [
            "",
            ".",
            ":443",
            "u@a",
            "u:p@a",
            "a:b",
            "a:+1",
            "a:65536",
            "a:1:2",
            "a..b",
            ".a",
            "a%2eb",
            "a b",
            "a/b",
            "[::1",
            "::1",
            "[::1]a",
            "[v1.a]",
            "[fe80::1%25x]",
            "a,b",
            "a\\b",
            "*.a",
            &long,
        ] {
            assert_eq!(
                read(Version::HTTP_11, "/", &[host]),
                Err(AuthorityError::Malformed),
                "{host}"
            );
        }
        assert_eq!(
            read(Version::HTTP_2, "https://u@a/", &[]),
            Err(AuthorityError::Malformed)
        );
        let mut headers = HeaderMap::new();
        let eight_bit = HeaderValue::from_bytes(b"\xe9.example").expect("a value");
        headers.insert(HOST, eight_bit);
        assert_eq!(
            authority(Version::HTTP_11, &Uri::from_static("/"), &headers),
            Err(AuthorityError::Malformed)
        );
    }

    #[test]
    fn a_host_belongs_to_its_own_site_or_unclaimed_to_the_default() {
        let own = |site: &u32| *site == 1;
        assert!(belongs(Some(&1), own, false));
        assert!(!belongs(Some(&2), own, false));
        assert!(!belongs(Some(&2), own, true));
        assert!(belongs(None, own, true));
        assert!(!belongs(None, own, false));
    }
}
