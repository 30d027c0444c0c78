//! What the way of a request depends on, seen in one pass over its fields.

use http::header::{EXPECT, HOST};
use http::{HeaderMap, HeaderValue};

use crate::gate::EARLY_DATA;

/// Every look-up by name hashes the name: for a small request that is most of what routing costs.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    /// The last Host field.
    pub(super) host: Option<&'a HeaderValue>,
    /// How many there are.
    pub(super) hosts: usize,
    /// Whether anything but 100-continue is expected (RFC 9110 §10.1.1).
    pub(super) expects_unknown: bool,
    /// Whether there is an `Early-Data` field. Repeated and malformed values count (EARLY-DATA R17).
    pub(super) marked: bool,
    /// What they all take as HTTP/1.1 writes them: name, colon, space, value, CRLF.
    pub(super) bytes: usize,
}

impl<'a> Fields<'a> {
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        let mut fields = Self::default();
        for (name, value) in headers {
            fields.bytes += name.as_str().len() + value.len() + 4;
            if *name == HOST {
                fields.host = Some(value);
                fields.hosts += 1;
            } else if *name == EXPECT {
                fields.expects_unknown |= !value.as_bytes().eq_ignore_ascii_case(b"100-continue");
            } else if *name == EARLY_DATA {
                fields.marked = true;
            }
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r17_any_value_of_early_data_marks() {
        for value in ["1", "0", "", "1, 1", "yes"] {
            let mut headers = HeaderMap::new();
            headers.append("early-data", HeaderValue::from_static(value));
            assert!(Fields::of(&headers).marked, "{value}");
        }
        assert!(!Fields::of(&HeaderMap::new()).marked);
    }

    #[test]
    fn all_values_of_a_field_are_seen() {
        let mut headers = HeaderMap::new();
        headers.append(HOST, HeaderValue::from_static("a.example"));
        headers.append(HOST, HeaderValue::from_static("b.example"));
        headers.append("accept", HeaderValue::from_static("*/*"));
        headers.append("early-data", HeaderValue::from_static("0"));
        headers.append(EXPECT, HeaderValue::from_static("100-continue"));
        let fields = Fields::of(&headers);
        assert_eq!(fields.hosts, 2);
        assert_eq!(
            fields.host.map(HeaderValue::as_bytes),
            Some(&b"b.example"[..])
        );
        assert!(fields.marked);
        assert!(!fields.expects_unknown);
        let written = "host: a.example\r\nhost: b.example\r\naccept: */*\r\nearly-data: 0\r\nexpect: 100-continue\r\n";
        assert_eq!(fields.bytes, written.len());
        for more in ["100-Continue, x", "x"] {
            let mut headers = headers.clone();
            headers.insert(EXPECT, HeaderValue::from_static(more));
            headers.append(EXPECT, HeaderValue::from_static("100-continue"));
            assert!(Fields::of(&headers).expects_unknown, "{more}");
        }
    }
}
