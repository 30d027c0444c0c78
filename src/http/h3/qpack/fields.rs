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

/// Where to look for a name: all names of an answer are looked for, and most of the table has others.
struct Names {
    /// By length: the first entry with a name of that length.
    first: [u8; NAMES],
    /// For the first entry of each name: the first one of the next name of that length.
    other: [u8; FIELDS.len()],
    /// For each entry: the next one of its name.
    same: [u8; FIELDS.len()],
}

static PLACES: Names = places();

const fn places() -> Names {
    let mut places = Names {
        first: [NONE; NAMES],
        other: [NONE; FIELDS.len()],
        same: [NONE; FIELDS.len()],
    };
    let mut index = FIELDS.len();
    while index > 0 {
        index -= 1;
        let name = FIELDS[index].0.as_bytes();
        // Entries of one name need not follow each other: it stands among those of its length already,
        // if a later one has it.
        let mut before = NONE;
        let mut place = places.first[name.len()];
        while place != NONE && !is_same(FIELDS[place as usize].0.as_bytes(), name) {
            before = place;
            place = places.other[place as usize];
        }
        if place == NONE {
            places.other[index] = places.first[name.len()];
            places.first[name.len()] = index as u8;
            continue;
        }
        places.same[index] = place;
        places.other[index] = places.other[place as usize];
        match before {
            NONE => places.first[name.len()] = index as u8,
            before => places.other[before as usize] = index as u8,
        }
    }
    places
}

const fn is_same(one: &[u8], other: &[u8]) -> bool {
    let mut place = 0;
    while place < one.len() {
        if one[place] != other[place] {
            return false;
        }
        place += 1;
    }
    true
}

/// The indices of the entries with this name and what they have as value, in their order.
pub(super) fn named(name: &str) -> impl Iterator<Item = (usize, &'static str)> {
    let entry = |index: u8| Some((usize::from(index), FIELDS.get(usize::from(index))?));
    let mut next = PLACES.first.get(name.len()).copied().unwrap_or(NONE);
    while let Some((index, (known, _))) = entry(next)
        && *known != name
    {
        next = PLACES.other.get(index).copied().unwrap_or(NONE);
    }
    std::iter::from_fn(move || {
        let (index, (_, value)) = entry(next)?;
        next = PLACES.same.get(index).copied().unwrap_or(NONE);
        Some((index, *value))
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
