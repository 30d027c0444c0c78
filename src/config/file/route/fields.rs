//! Header fields in tables: those of a fixed answer, and what a route does to a message's.

use std::fs;

use http::header::{self, HeaderName, HeaderValue};
use toml::de::DeValue;

use super::template;
use crate::config::file::keys;
use crate::config::file::tree::{Table, Value};
use crate::config::snapshot::{Field, FieldEdits, FieldValue, Message};

const EXAMPLE: &str = "{ x-name = \"value\" }";

/// `request_headers` or `response_headers`.
pub(super) fn edits(table: &Table<'_>, key: &str, message: Message) -> FieldEdits {
    let mut edits = FieldEdits::default();
    let example = format!("{key} = {{ set = {EXAMPLE} }}");
    let value = table.get(key);
    let Some(table) = value.and_then(|value| value.table(&keys::FIELD_EDITS, &example)) else {
        return edits;
    };
    if let Some(value) = table.get("remove") {
        let list = value.list("names", "[\"x-name\"]").unwrap_or_default();
        edits.remove = list
            .iter()
            .filter_map(|value| name(value, value.string("x-name")?, message))
            .collect();
    }
    for (key, fields) in [("set", &mut edits.set), ("add", &mut edits.add)] {
        if let Some(value) = table.get(key) {
            *fields = self::fields(&value, message);
        }
    }
    edits
}

fn fields(value: &Value<'_>, message: Message) -> Vec<Field> {
    let mut fields: Vec<Field> = Vec::new();
    for value in value.named(EXAMPLE) {
        let Some(name) = key(&value, message) else {
            continue;
        };
        if fields.iter().any(|field| field.name == name) {
            twice(&value);
        }
        let values = match value.raw() {
            DeValue::Array(_) => value
                .full_list("strings", "[\"value\"]")
                .unwrap_or_default(),
            _ => vec![value],
        };
        let field = |value| value_or_file(value, &name);
        fields.extend(values.iter().filter_map(field));
    }
    fields
}

/// The name of a field, which is a key of its table.
pub(super) fn key(value: &Value<'_>, message: Message) -> Option<HeaderName> {
    let wrong = |message: String, hint: &str| {
        value.key_error(message, hint);
        None
    };
    parse(value.name(), message, wrong)
}

/// The name of a field, which is a string of a list.
fn name(value: &Value<'_>, text: &str, message: Message) -> Option<HeaderName> {
    let wrong = |message: String, hint: &str| {
        value.error(message, hint);
        None
    };
    parse(text, message, wrong)
}

fn parse(
    text: &str,
    message: Message,
    wrong: impl Fn(String, &str) -> Option<HeaderName>,
) -> Option<HeaderName> {
    let Ok(name) = HeaderName::try_from(text) else {
        let message = format!("{text:?} is no header field");
        return wrong(message, "write, for example, content-type");
    };
    if message.reserves(&name) {
        let hint = match name == header::HOST {
            true => "see `host` of [origin.NAME]",
            false => "take this away",
        };
        return wrong(format!("`{name}` is set by the edge"), hint);
    }
    Some(name)
}

/// A field by its value, or by `file:PATH`: the file that the value stands in, without the end of its
/// line.
fn value_or_file(value: &Value<'_>, name: &HeaderName) -> Option<Field> {
    let text = value.string("value")?;
    let Some(path) = text.strip_prefix("file:") else {
        return Some(Field {
            name: name.clone(),
            value: template::value(value)?,
            file: None,
            typed: Some(text.into()),
        });
    };
    let path = value.beside(path);
    let wrong = |why: String, hint: &str| {
        value.error(
            format!("cannot take a value from {}: {why}", path.display()),
            hint,
        );
        None
    };
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) => {
            let hint = "a path is relative to the file that it stands in";
            return wrong(error.to_string(), hint);
        }
    };
    let text = text.strip_suffix(b"\n").unwrap_or(&text);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    match HeaderValue::from_bytes(text) {
        Ok(_) if text.is_empty() => wrong("it is empty".to_owned(), "write the value into it"),
        Ok(mut value) => {
            value.set_sensitive(true);
            Some(Field {
                name: name.clone(),
                value: FieldValue::Fixed(value),
                file: Some(path),
                typed: None,
            })
        }
        Err(_) => wrong(
            "it has more than one line, or control characters".to_owned(),
            "the file has the value alone",
        ),
    }
}

/// The value of a field. With something of the environment in it, it is as secret as that may be.
pub(super) fn value(value: &Value<'_>) -> Option<HeaderValue> {
    let text = value.string("value")?;
    let Ok(mut parsed) = HeaderValue::from_str(text) else {
        let message = "a header field's value cannot have control characters";
        value.error(message, "take them away");
        return None;
    };
    parsed.set_sensitive(value.has_environment());
    Some(parsed)
}

/// Reports a name that stands in its table in two spellings.
pub(super) fn twice(value: &Value<'_>) {
    let message = format!("`{}` stands there twice", value.name());
    value.key_error(message, "field names do not mind letter case");
}
