//! The static table of QPACK.

/// Names and values by index (RFC 9204, appendix A).
pub(super) const FIELDS: [(&str, &str); 99] = [
    (":authority", ""),
    (":path", "/"),
    ("age", "0"),
    ("content-disposition", ""),
    ("content-length", "0"),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("referer", ""),
    ("set-cookie", ""),
    (":method", "CONNECT"),
    (":method", "DELETE"),
    (":method", "GET"),
    (":method", "HEAD"),
    (":method", "OPTIONS"),
    (":method", "POST"),
    (":method", "PUT"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "103"),
    (":status", "200"),
    (":status", "304"),
    (":status", "404"),
    (":status", "503"),
    ("accept", "*/*"),
    ("accept", "application/dns-message"),
    ("accept-encoding", "gzip, deflate, br"),
    ("accept-ranges", "bytes"),
    ("access-control-allow-headers", "cache-control"),
    ("access-control-allow-headers", "content-type"),
    ("access-control-allow-origin", "*"),
    ("cache-control", "max-age=0"),
    ("cache-control", "max-age=2592000"),
    ("cache-control", "max-age=604800"),
    ("cache-control", "no-cache"),
    ("cache-control", "no-store"),
    ("cache-control", "public, max-age=31536000"),
    ("content-encoding", "br"),
    ("content-encoding", "gzip"),
    ("content-type", "application/dns-message"),
    ("content-type", "application/javascript"),
    ("content-type", "application/json"),
    ("content-type", "application/x-www-form-urlencoded"),
    ("content-type", "image/gif"),
    ("content-type", "image/jpeg"),
    ("content-type", "image/png"),
    ("content-type", "text/css"),
    ("content-type", "text/html; charset=utf-8"),
    ("content-type", "text/plain"),
    ("content-type", "text/plain;charset=utf-8"),
    ("range", "bytes=0-"),
    ("strict-transport-security", "max-age=31536000"),
    (
        "strict-transport-security",
        "max-age=31536000; includesubdomains",
    ),
    (
        "strict-transport-security",
        "max-age=31536000; includesubdomains; preload",
    ),
    ("vary", "accept-encoding"),
    ("vary", "origin"),
    ("x-content-type-options", "nosniff"),
    ("x-xss-protection", "1; mode=block"),
    (":status", "100"),
    (":status", "204"),
    (":status", "206"),
    (":status", "302"),
    (":status", "400"),
    (":status", "403"),
    (":status", "421"),
    (":status", "425"),
    (":status", "500"),
    ("accept-language", ""),
    ("access-control-allow-credentials", "FALSE"),
    ("access-control-allow-credentials", "TRUE"),
    ("access-control-allow-headers", "*"),
    ("access-control-allow-methods", "get"),
    ("access-control-allow-methods", "get, post, options"),
    ("access-control-allow-methods", "options"),
    ("access-control-expose-headers", "content-length"),
    ("access-control-request-headers", "content-type"),
    ("access-control-request-method", "get"),
    ("access-control-request-method", "post"),
    ("alt-svc", "clear"),
    ("authorization", ""),
    (
        "content-security-policy",
        "script-src 'none'; object-src 'none'; base-uri 'none'",
    ),
    ("early-data", "1"),
    ("expect-ct", ""),
    ("forwarded", ""),
    ("if-range", ""),
    ("origin", ""),
    ("purpose", "prefetch"),
    ("server", ""),
    ("timing-allow-origin", "*"),
    ("upgrade-insecure-requests", "1"),
    ("user-agent", ""),
    ("x-forwarded-for", ""),
    ("x-frame-options", "deny"),
    ("x-frame-options", "sameorigin"),
];

/// More than any name of the table has bytes, and what stands for no index.
const NAMES: usize = 64;
const NONE: u8 = u8::MAX;

/// The entries whose names have one length, as a list: the first one by that length, and for each the
/// next. All names of an answer are looked for, and most of the table has others.
struct Alike {
    first: [u8; NAMES],
    next: [u8; FIELDS.len()],
}

static ALIKE: Alike = alike();

const fn alike() -> Alike {
    let mut alike = Alike {
        first: [NONE; NAMES],
        next: [NONE; FIELDS.len()],
    };
    let mut index = FIELDS.len();
    while index > 0 {
        index -= 1;
        let length = FIELDS[index].0.len();
        alike.next[index] = alike.first[length];
        alike.first[length] = index as u8;
    }
    alike
}

/// The indices of the entries with this name and what they have as value, in their order.
pub(super) fn named(name: &str) -> impl Iterator<Item = (usize, &'static str)> {
    let mut next = ALIKE.first.get(name.len()).copied().unwrap_or(NONE);
    std::iter::from_fn(move || {
        loop {
            let index = usize::from(next);
            let (known, value) = FIELDS.get(index)?;
            next = ALIKE.next.get(index).copied().unwrap_or(NONE);
            if *known == name {
                return Some((index, *value));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_all_of_its_entries() {
        for (name, _) in FIELDS {
            let all = FIELDS.iter().enumerate();
            let all = all.filter(|(_, (known, _))| *known == name);
            let all: Vec<_> = all.map(|(index, (_, value))| (index, *value)).collect();
            assert_eq!(named(name).collect::<Vec<_>>(), all, "{name}");
        }
        let long = "x".repeat(NAMES);
        for name in ["", "x", "x-unknown", ":statut", &long] {
            assert_eq!(named(name).next(), None, "{name}");
        }
    }
}
