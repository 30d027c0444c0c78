//! One spelling for every path, so that no spelling reaches another route than its meaning does.
//!
//! [`normalise`] is applied to the target of each request once. Its result is what routes are matched
//! against and what is forwarded, so the edge and an origin cannot see two different paths.

use std::borrow::Cow;

/// Why a path is answered 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// It does not begin with a slash.
    NotAbsolute,
    /// A byte that must not stand in a path: control, space, 8-bit, `#` or `\`.
    Character,
    /// A `%` without two hexadecimal digits.
    Escape,
    /// `%2F`, `%5C` or `%00`: a separator or an end for some readers and not for others.
    HiddenSeparator,
    /// More `..` than segments before it.
    AboveRoot,
}

impl std::fmt::Display for PathError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            PathError::NotAbsolute => "path does not begin with /",
            PathError::Character => "path holds a character that must be escaped",
            PathError::Escape => "path holds a % without two hexadecimal digits",
            PathError::HiddenSeparator => "path holds %2F, %5C or %00",
            PathError::AboveRoot => "path climbs above /",
        })
    }
}

impl std::error::Error for PathError {}

/// The normal form of an origin-form target: escapes of unreserved characters decoded, the digits of
/// all others in upper case (RFC 3986 §6.2.2), then dot segments removed (§5.2.4). The query, if any,
/// is left alone; empty segments (`//`) stay, because they mean something to some origins. A path that
/// is normal already is borrowed.
///
/// `*` has no path: the caller answers `OPTIONS *` itself, before this, and an absolute-form target
/// is taken apart first (`Uri::path_and_query` gives what belongs here).
///
/// # Errors
///
/// Everything that two readers might read in two ways. The answer is 400. Climbing above `/` is one
/// of them, though RFC 3986 would stop at the root: no honest client sends it.
pub fn normalise(path_and_query: &str) -> Result<Cow<'_, str>, PathError> {
    let bytes = path_and_query.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(PathError::NotAbsolute);
    }
    // Nearly every path: nothing in it to look at twice.
    let mut previous = 0;
    let special = bytes.iter().find(|&&byte| {
        let special = !PLAIN[usize::from(byte)] || (byte == b'.' && previous == b'/');
        previous = byte;
        special
    });
    if matches!(special, None | Some(b'?')) {
        return Ok(Cow::Borrowed(path_and_query));
    }
    let mut normal = true;
    let mut previous = b'/';
    let mut rest = bytes;
    loop {
        rest = match rest {
            [] | [b'?', ..] => break,
            [b'%', high, low, rest @ ..] => {
                let octet = unescape(*high, *low).ok_or(PathError::Escape)?;
                if matches!(octet, b'/' | b'\\' | 0) {
                    return Err(PathError::HiddenSeparator);
                }
                normal &= !is_unreserved(octet)
                    && !high.is_ascii_lowercase()
                    && !low.is_ascii_lowercase();
                previous = octet;
                rest
            }
            [b'%', ..] => return Err(PathError::Escape),
            [byte, rest @ ..] => {
                if !byte.is_ascii_graphic() || matches!(byte, b'#' | b'\\') {
                    return Err(PathError::Character);
                }
                if *byte == b'.' && previous == b'/' {
                    normal &= !matches!(
                        rest,
                        [] | [b'/' | b'?', ..] | [b'.'] | [b'.', b'/' | b'?', ..]
                    );
                }
                previous = *byte;
                rest
            }
        };
    }
    if normal {
        return Ok(Cow::Borrowed(path_and_query));
    }
    let (path, query) = path_and_query.split_at(bytes.len() - rest.len());
    let mut decoded = String::with_capacity(bytes.len());
    decode_unreserved(path, &mut decoded);
    let mut normal = String::with_capacity(bytes.len());
    remove_dot_segments(&decoded, &mut normal)?;
    normal.push_str(query);
    Ok(Cow::Owned(normal))
}

/// The octets of a normal path with every escape decoded: what two spellings of one path have in
/// common even where RFC 3986 calls them different (`/a%3Ab` and `/a:b`). Routes are compared by this.
pub fn octets(path: &str) -> impl Iterator<Item = u8> + '_ {
    let mut rest = path.as_bytes();
    std::iter::from_fn(move || {
        let (octet, left) = match rest {
            [b'%', high, low, left @ ..] => match unescape(*high, *low) {
                Some(octet) => (octet, left),
                None => (b'%', rest.get(1..).unwrap_or_default()),
            },
            [octet, left @ ..] => (*octet, left),
            [] => return None,
        };
        rest = left;
        Some(octet)
    })
}

/// Copies a path whose escapes are known to be good.
fn decode_unreserved(path: &str, out: &mut String) {
    let mut pieces = path.split('%');
    out.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let (digits, text) = piece.split_at_checked(2).unwrap_or((piece, ""));
        match digits.as_bytes() {
            [high, low] => match unescape(*high, *low) {
                Some(octet) if is_unreserved(octet) => out.push(char::from(octet)),
                _ => {
                    out.push('%');
                    out.extend(digits.chars().map(|c| c.to_ascii_uppercase()));
                }
            },
            _ => out.push_str(digits),
        }
        out.push_str(text);
    }
}

/// RFC 3986 §5.2.4 for a path that begins with a slash. A dot segment at the end leaves its slash.
fn remove_dot_segments(path: &str, out: &mut String) -> Result<(), PathError> {
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => {
                let parent = out.rfind('/').ok_or(PathError::AboveRoot)?;
                out.truncate(parent);
            }
            _ => {
                out.push('/');
                out.push_str(segment);
                continue;
            }
        }
        if last {
            out.push('/');
        }
    }
    Ok(())
}

fn unescape(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

/// Unreserved characters, and those that stand in paths for themselves without a second spelling.
const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = is_unreserved(byte as u8)
            || matches!(
                byte as u8,
                b'/' | b'!' | b'$' | b'&'..=b',' | b':' | b';' | b'=' | b'@'
            );
        byte += 1;
    }
    table
};

/// RFC 3986 §2.3.
const fn is_unreserved(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn normal_paths_are_borrowed() {
        for path in [
            "/",
            "/a/b",
            "/a/b?c=/../%zz",
            "/.well-known/x",
            "/..a",
            "/a..",
            "/...",
            "//a//",
            "/%3A%20%C3%A9",
            "/a;b=c,d:e@f!$&'()*+",
        ] {
            assert!(
                matches!(normalise(path), Ok(Cow::Borrowed(p)) if p == path),
                "{path}"
            );
        }
    }

    #[test]
    fn every_spelling_becomes_the_normal_one() {
        for (path, normal) in [
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/..a/../b", "/b"),
            ("/.", "/"),
            ("/a/..", "/"),
            ("/a/..?q", "/?q"),
            ("/a/.?.", "/a/?."),
            ("/%61%2e%2E/x", "/a../x"),
            ("/a/%2e%2e/b", "/b"),
            ("/a/%2E./b", "/b"),
            ("/a/.%2e", "/"),
            ("/a//../b", "/a/b"),
            ("/%7euser", "/~user"),
            ("/%c3%a9%3a", "/%C3%A9%3A"),
            ("/%2541", "/%2541"),
            ("/a%2f?", ""),
            ("/%61?%61/../%2f", "/a?%61/../%2f"),
        ] {
            match normalise(path) {
                Ok(p) => assert_eq!(p, normal, "{path}"),
                Err(e) => assert_eq!((e, normal), (PathError::HiddenSeparator, ""), "{path}"),
            }
        }
    }

    #[test]
    fn ambiguous_paths_are_refused() {
        use PathError::*;
        for (path, error) in [
            ("", NotAbsolute),
            ("*", NotAbsolute),
            ("a", NotAbsolute),
            ("?a", NotAbsolute),
            ("/a%2Fb", HiddenSeparator),
            ("/a%2fb", HiddenSeparator),
            ("/a%5cb", HiddenSeparator),
            ("/a%00", HiddenSeparator),
            ("/a\\b", Character),
            ("/a b", Character),
            ("/a\tb", Character),
            ("/a\u{7f}", Character),
            ("/é", Character),
            ("/a#b", Character),
            ("/a%", Escape),
            ("/a%4", Escape),
            ("/a%4g", Escape),
            ("/a%+1", Escape),
            ("/a%4?1", Escape),
            ("/..", AboveRoot),
            ("/a/../../b", AboveRoot),
            ("/%2e%2e/a", AboveRoot),
        ] {
            assert_eq!(normalise(path), Err(error), "{path}");
        }
    }

    proptest! {
        #[test]
        fn normalising_twice_is_normalising_once(path in "/([a-c./?]|%2[eE]|%[67][0-9a-fA-F]){0,24}") {
            if let Ok(once) = normalise(&path) {
                prop_assert!(matches!(normalise(&once), Ok(Cow::Borrowed(twice)) if twice == once));
                let path = once.split('?').next().unwrap_or_default();
                prop_assert!(path.starts_with('/'));
                prop_assert!(path.split('/').all(|segment| segment != "." && segment != ".."));
            }
        }

        #[test]
        fn no_input_panics(path in ".{0,40}") {
            let _ = normalise(&path);
            let _ = normalise(&format!("/{path}"));
            let _ = octets(&path).count();
        }
    }
}
