//! Variables in the values of fields: `$client_address`.

use http::HeaderValue;

use super::fields;
use crate::config::file::tree::Value;
use crate::config::nearest;
use crate::config::snapshot::{FieldValue, Part, Variable};

/// The value of a field that a route sets or adds.
pub(super) fn value(value: &Value<'_>) -> Option<FieldValue> {
    let fixed = fields::value(value)?;
    let text = value.string("value")?;
    let parts = match parts(text, |at| value.is_from_environment(at)) {
        Ok(parts) => parts,
        Err(name) => {
            let hint = nearest::hint(name, Variable::ALL.iter().map(|known| known.name()));
            let message = format!("`${name}` is no variable");
            value.error(
                message,
                format!("{hint} write $${name} for the text ${name}"),
            );
            return None;
        }
    };
    match &parts[..] {
        [] => Some(FieldValue::Fixed(fixed)),
        [Part::Text(text)] => {
            // As long as what was typed, or shorter by a dollar sign: it is a value too.
            let mut read: HeaderValue = text.parse().unwrap_or_else(|_| fixed.clone());
            read.set_sensitive(fixed.is_sensitive());
            Some(FieldValue::Fixed(read))
        }
        _ => Some(FieldValue::Template {
            parts: parts.into(),
            secret: fixed.is_sensitive(),
        }),
    }
}

/// Splits a value. A dollar sign before a letter begins a variable, two stand for one there; every
/// other one stands for itself, as does all that the environment said.
fn parts(text: &str, is_literal: impl Fn(usize) -> bool) -> Result<Vec<Part>, &str> {
    let bytes = text.as_bytes();
    let typed = |at: usize| bytes.get(at).filter(|_| !is_literal(at)).copied();
    let begins =
        |at: usize| typed(at).is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    let goes_on =
        |at: &usize| typed(*at).is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut at = 0;
    while let Some(c) = text.get(at..).and_then(|rest| rest.chars().next()) {
        let dollar = typed(at) == Some(b'$');
        if dollar && begins(at + 1) {
            let end = at + 1 + (at + 1..bytes.len()).take_while(goes_on).count();
            let name = text.get(at + 1..end).unwrap_or_default();
            let mut all = Variable::ALL.into_iter();
            let variable = all.find(|known| known.name() == name).ok_or(name)?;
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Variable(variable));
            at = end;
        } else {
            // The second of two dollar signs goes, if a letter follows.
            at += c.len_utf8();
            at += usize::from(dollar && typed(at) == Some(b'$') && begins(at + 1));
            plain.push(c);
        }
    }
    if !plain.is_empty() {
        parts.push(Part::Text(plain));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let shown = |parts: Vec<Part>| {
            let part = |part: Part| match part {
                Part::Text(text) => text,
                Part::Variable(variable) => format!("<{}>", variable.name()),
            };
            parts.into_iter().map(part).collect()
        };
        parts(text, |_| false).map(shown).map_err(str::to_owned)
    }

    #[test]
    fn a_dollar_sign_before_a_letter_begins_a_variable() {
        for (text, read_as) in [
            ("$client_address", "<client_address>"),
            ("a=$request_id;b=$host.", "a=<request_id>;b=<host>."),
            ("$protocol$tls_version", "<protocol><tls_version>"),
            ("", ""),
            // What meant itself before means itself.
            ("$", "$"),
            ("$$", "$$"),
            ("$5 $ $$ ${ 5$", "$5 $ $$ ${ 5$"),
            ("5€ $host", "5€ <host>"),
            // Two for one.
            ("$$host", "$host"),
            ("$$$host", "$$host"),
            ("$$unknown", "$unknown"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(read_as), "{text}");
        }
        assert_eq!(read("a$hots b"), Err("hots".to_owned()));
        assert_eq!(read("$client_address2"), Err("client_address2".to_owned()));
    }

    #[test]
    fn what_the_environment_said_is_not_read_again() {
        let parts = parts("$host/$host", |at| at >= 6);
        let text = Part::Text("/$host".to_owned());
        assert_eq!(parts, Ok(vec![Part::Variable(Variable::Host), text]));
        let parts = self::parts("$hostx", |at| at == 5);
        let text = Part::Text("x".to_owned());
        assert_eq!(parts, Ok(vec![Part::Variable(Variable::Host), text]));
    }
}
