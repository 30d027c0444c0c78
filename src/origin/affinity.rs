//! What of a request chooses its server, where the same key must reach the same one.

use std::net::IpAddr;

use http::header::{COOKIE, HOST};
use http::{HeaderMap, HeaderValue};

use super::balance::hash;
use crate::config::snapshot::{Balance, HashKey};

/// The hashed key of a request, if servers are chosen by one and the request has it.
///
/// `client` is the address of the client: over TCP it is proved, early or not (EARLY-DATA R15).
/// `host` is the authority that was asked for, which HTTP/2 has no field for.
pub(super) fn key(
    balance: &Balance,
    headers: &HeaderMap,
    client: IpAddr,
    host: &HeaderValue,
) -> Option<u64> {
    let Balance::Hash { key, .. } = balance else {
        return None;
    };
    match key {
        HashKey::Client => Some(address(client)),
        HashKey::Header(name) if *name == HOST => Some(hash(host.as_bytes())),
        HashKey::Header(name) => headers.get(name).map(|value| hash(value.as_bytes())),
        HashKey::Cookie(name) => cookie(headers, name).map(hash),
    }
}

/// An IPv4 address is the same one where a socket of both versions maps it into IPv6.
fn address(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(address) => hash(&address.octets()),
        IpAddr::V6(address) => hash(&address.octets()),
    }
}

/// The value of the first cookie of this name (RFC 6265 §5.4).
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let fields = headers.get_all(COOKIE).iter();
    let mut pairs = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
    pairs.find_map(|pair| {
        let rest = pair.trim_ascii().strip_prefix(name.as_bytes())?;
        rest.strip_prefix(b"=")
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn key_of(key: HashKey, fields: &[(&'static str, &'static str)]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let balance = Balance::Hash { key, factor: None };
        let client = "192.0.2.1".parse().unwrap();
        super::key(
            &balance,
            &headers,
            client,
            &HeaderValue::from_static("a.example"),
        )
    }

    #[test]
    fn each_kind_of_key_is_found() {
        let some = |text: &str| Some(hash(text.as_bytes()));
        assert_eq!(key_of(HashKey::Client, &[]), Some(hash(&[192, 0, 2, 1])));
        let header = || HashKey::Header(HeaderName::from_static("x-user"));
        assert_eq!(key_of(header(), &[("x-user", "7")]), some("7"));
        assert_eq!(key_of(header(), &[("x-users", "7")]), None);
        assert_eq!(key_of(HashKey::Header(HOST), &[]), some("a.example"));
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name_in_any_field() {
        let cookie = || HashKey::Cookie("id".into());
        let some = |text: &str| Some(hash(text.as_bytes()));
        for fields in [
            &[("cookie", "id=7")][..],
            &[("cookie", "a=1; id=7; b=2")],
            &[("cookie", "a=1;id=7")],
            &[("cookie", "grid=1; idle=2"), ("cookie", "id=7; id=8")],
        ] {
            assert_eq!(key_of(cookie(), fields), some("7"), "{fields:?}");
        }
        for fields in [&[][..], &[("cookie", "grid=7; idx=7; ID=7; id")]] {
            assert_eq!(key_of(cookie(), fields), None, "{fields:?}");
        }
    }

    #[test]
    fn other_balances_have_no_key() {
        let client = "192.0.2.1".parse().unwrap();
        let host = HeaderValue::from_static("a.example");
        let none = super::key(&Balance::LeastRequests, &HeaderMap::new(), client, &host);
        assert_eq!(none, None);
    }

    #[test]
    fn an_address_that_is_mapped_is_the_same() {
        let [plain, mapped] = ["192.0.2.1", "::ffff:192.0.2.1"].map(|text| text.parse().unwrap());
        assert_eq!(address(plain), address(mapped));
        assert_ne!(address(plain), address("2001:db8::1".parse().unwrap()));
    }
}
