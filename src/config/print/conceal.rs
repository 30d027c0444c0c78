//! What came from the environment is printed as the variable that it came from.

use super::string;
use crate::config::spec::Environment;

/// `text`, which is what [`print`](super::print()) made, with `${NAME}` wherever a string has the
/// value of a variable that the file names; it means the same, and no secret is shown.
pub(super) fn conceal(text: &str, environment: &Environment) -> String {
    let mut secrets: Vec<(String, &str)> = environment
        .0
        .iter()
        .map(|(name, value)| {
            let quoted = string(value);
            let inner = quoted.strip_prefix('"').unwrap_or(&quoted);
            let inner = inner.strip_suffix('"').unwrap_or(inner);
            (inner.to_owned(), name.as_str())
        })
        .collect();
    // The longest first: one may be part of another.
    secrets.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        // Headers of tables have names, which are never read from the environment.
        match line.starts_with('[') {
            true => out.push_str(line),
            false => conceal_line(line, &secrets, &mut out),
        }
    }
    out
}

fn conceal_line(line: &str, secrets: &[(String, &str)], out: &mut String) {
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('"') {
        out.push_str(before);
        out.push('"');
        let end = end_of_string(after);
        let (inner, after) = after.split_at(end);
        // A key is no value.
        match after.starts_with("\" =") {
            true => out.push_str(inner),
            false => conceal_string(inner, secrets, out),
        }
        rest = after.strip_prefix('"').unwrap_or(after);
        if rest.len() < after.len() {
            out.push('"');
        }
    }
    out.push_str(rest);
}

/// Where the quote is that ends a basic string.
fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    let end = text.char_indices().find(|(_, c)| {
        let ends = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at)
}

fn conceal_string(mut rest: &str, secrets: &[(String, &str)], out: &mut String) {
    while let Some(first) = rest.chars().next() {
        let found = secrets
            .iter()
            .find_map(|(value, name)| Some((rest.strip_prefix(value.as_str())?, name)));
        if let Some((after, name)) = found {
            out.push_str(&format!("${{{name}}}"));
            rest = after;
            continue;
        }
        // What is literal here would be read as a variable.
        if let Some(after) = rest.strip_prefix("${") {
            out.push_str("$${");
            rest = after;
            continue;
        }
        // An escape is one character of the string.
        let length = match rest.as_bytes() {
            [b'\\', b'u', ..] => 6,
            [b'\\', ..] => 2,
            _ => first.len_utf8(),
        };
        let (one, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        out.push_str(one);
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_concealed_and_keys_and_headers_are_not() {
        let environment = Environment(
            [("A", "secret"), ("B", "secret-long"), ("C", "q\"\\n")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        );
        for (text, concealed) in [
            ("[origin.\"secret\"]\n", "[origin.\"secret\"]\n"),
            ("a = \"x secret y\"\n", "a = \"x ${A} y\"\n"),
            (
                "a = [\"secret-long\", \"${A}\"]",
                "a = [\"${B}\", \"$${A}\"]",
            ),
            (
                "a = { \"secret\" = \"secret\" }",
                "a = { \"secret\" = \"${A}\" }",
            ),
            ("a = \"q\\\"\\\\n\\n\"\n", "a = \"${C}\\n\"\n"),
            ("secret = 1\n# secret\n", "secret = 1\n# secret\n"),
            ("a = \"\\u0007é\"", "a = \"\\u0007é\""),
        ] {
            assert_eq!(conceal(text, &environment), concealed);
        }
    }
}
