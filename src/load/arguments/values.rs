//! Values of options, each read from one argument.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use rustls::{CipherSuite, NamedGroup};

/// The suites of TLS 1.3, with their short names.
const SUITES: &[(&str, &str, CipherSuite)] = &[
    (
        "TLS_AES_128_GCM_SHA256",
        "aes128",
        CipherSuite::TLS13_AES_128_GCM_SHA256,
    ),
    (
        "TLS_AES_256_GCM_SHA384",
        "aes256",
        CipherSuite::TLS13_AES_256_GCM_SHA384,
    ),
    (
        "TLS_CHACHA20_POLY1305_SHA256",
        "chacha20",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    ),
];

/// Groups by their names, the common one first.
const GROUPS: &[(&[&str], NamedGroup)] = &[
    (&["X25519"], NamedGroup::X25519),
    (&["P-256", "P256", "secp256r1"], NamedGroup::secp256r1),
    (&["P-384", "P384", "secp384r1"], NamedGroup::secp384r1),
    (&["X25519MLKEM768"], NamedGroup::X25519MLKEM768),
];

/// `10s`, `500ms`, `2m`, `1h`, `1.5s`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.len()
        - text
            .trim_start_matches(|c: char| c.is_ascii_digit() || c == '.')
            .len();
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err("a time is 500ms, 10s, 2m or 1h".into()),
    };
    let number: f64 = number.parse().map_err(|_| "a time begins with a number")?;
    match Duration::try_from_secs_f64(number * seconds) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err("a time is more than zero".into()),
    }
}

/// A number above zero.
pub(super) fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_normal() && number > 0.0 => Ok(number),
        _ => Err("a number above zero is needed".into()),
    }
}

/// `name: value`.
pub(super) fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("a header is 'name: value'")?;
    let name = name.trim().parse().map_err(|_| "not a header name")?;
    let value = value.trim().parse().map_err(|_| "not a header value")?;
    Ok((name, value))
}

/// The text itself, or what is in the file behind `@`.
pub(super) fn body(text: &str) -> Result<Bytes, String> {
    match text.strip_prefix('@') {
        Some(file) => match std::fs::read(file) {
            Ok(bytes) => Ok(bytes.into()),
            Err(error) => Err(format!("{file}: {error}")),
        },
        None => Ok(Bytes::copy_from_slice(text.as_bytes())),
    }
}

/// A suite of TLS 1.3, also by the name that rustls gives it.
pub(super) fn suite(text: &str) -> Result<CipherSuite, String> {
    let text = &text.replace("TLS13_", "TLS_");
    let mut suites = SUITES.iter();
    let found = suites.find(|(name, short, _)| {
        name.eq_ignore_ascii_case(text) || short.eq_ignore_ascii_case(text)
    });
    found.map(|(_, _, suite)| *suite).ok_or_else(|| {
        let known: Vec<&str> = SUITES.iter().map(|(name, _, _)| *name).collect();
        format!("known: {}", known.join(", "))
    })
}

/// A key exchange group.
pub(super) fn group(text: &str) -> Result<NamedGroup, String> {
    let mut groups = GROUPS.iter();
    let found = groups.find(|(names, _)| names.iter().any(|name| name.eq_ignore_ascii_case(text)));
    found.map(|(_, group)| *group).ok_or_else(|| {
        let known = GROUPS.iter().filter_map(|(names, _)| names.first());
        format!("known: {}", known.copied().collect::<Vec<_>>().join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_or_is_seconds() {
        let cases = [
            ("10s", 10_000),
            ("500ms", 500),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("1.5s", 1_500),
            ("3", 3_000),
        ];
        for (text, millis) in cases {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "s",
            "0s",
            "-1s",
            "10 s",
            "10d",
            "1e400s",
            "99999999999999999999h",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn suites_and_groups_go_by_their_usual_names() {
        assert_eq!(suite("tls_aes_128_gcm_sha256"), suite("aes128"));
        assert_eq!(suite("TLS13_AES_128_GCM_SHA256"), suite("aes128"));
        assert!(
            suite("TLS_RSA_WITH_RC4_128_MD5")
                .unwrap_err()
                .contains("TLS_AES_256")
        );
        assert_eq!(group("p-256"), Ok(NamedGroup::secp256r1));
        assert_eq!(group("x25519mlkem768"), Ok(NamedGroup::X25519MLKEM768));
        assert!(group("ffdhe2048").unwrap_err().contains("P-256"));
    }

    #[test]
    fn a_header_is_a_name_and_a_value() {
        let (name, value) = header("X-A:  b: c ").unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("x-a", "b: c"));
        for text in ["none", "a b: c", ": c", "a: b\nc"] {
            assert!(header(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_body_is_text_or_a_file() {
        assert_eq!(body("a=b").unwrap(), "a=b");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "from a file").unwrap();
        assert_eq!(
            body(&format!("@{}", file.path().display())).unwrap(),
            "from a file"
        );
        assert!(
            body("@/no/such/file")
                .unwrap_err()
                .contains("/no/such/file")
        );
    }

    #[test]
    fn a_rate_is_above_zero() {
        assert_eq!(positive("2.5"), Ok(2.5));
        for text in ["0", "-1", "NaN", "inf", "many"] {
            assert!(positive(text).is_err(), "{text}");
        }
    }
}
