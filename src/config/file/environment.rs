//! `${NAME}` in strings: values from the environment, so that secrets need not stand in files.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::diagnostics::{Diagnostic, Place, SourceFile};
use crate::config::spec::Environment;

/// What the environment said, by where a string begins in its file: bytes of that string.
pub(super) type Expanded = HashMap<usize, Vec<Range<usize>>>;

/// Replaces `${NAME}` in every string of a file, but not in its keys.
pub(super) fn expand(
    file: &Arc<SourceFile>,
    table: &mut DeTable<'_>,
    environment: &mut Environment,
) -> (Expanded, Vec<Diagnostic>) {
    let mut expansion = Expansion {
        file,
        environment,
        expanded: HashMap::new(),
        errors: Vec::new(),
    };
    expansion.table(table);
    (expansion.expanded, expansion.errors)
}

struct Expansion<'e> {
    file: &'e Arc<SourceFile>,
    environment: &'e mut Environment,
    expanded: Expanded,
    errors: Vec<Diagnostic>,
}

impl Expansion<'_> {
    fn table(&mut self, table: &mut DeTable<'_>) {
        for (_, value) in table.iter_mut() {
            self.value(value);
        }
    }

    fn value(&mut self, value: &mut Spanned<DeValue<'_>>) {
        let span = value.span();
        match value.get_mut() {
            DeValue::Table(table) => self.table(table),
            DeValue::Array(elements) => elements.iter_mut().for_each(|value| self.value(value)),
            DeValue::String(text) if text.contains("${") => {
                match expanded(text, |name| std::env::var(name).ok()) {
                    Ok((whole, used)) => {
                        *text = Cow::Owned(whole);
                        let places = used.iter().map(|used| used.place.clone());
                        self.expanded.insert(span.start, places.collect());
                        let named = used.into_iter().map(|used| (used.name, used.value));
                        self.environment.0.extend(named);
                    }
                    Err(wrong) => {
                        let place = Place::new(self.file, span);
                        let (message, hint) = wrong.told();
                        let error = Diagnostic::error(Some(place), message);
                        self.errors.push(error.hint(hint));
                    }
                }
            }
            _ => {}
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Wrong {
    /// There is no such variable, or it is no text.
    Missing(String),
    /// An empty value is most often a secret that was forgotten.
    Empty(String),
    /// `${` is followed by no name and `}`.
    Syntax,
}

impl Wrong {
    fn told(self) -> (String, String) {
        match self {
            Self::Missing(name) => (
                format!("the environment has no variable `{name}`"),
                "set it where this is run, or write $${ for a literal ${".to_owned(),
            ),
            Self::Empty(name) => (
                format!("the environment's variable `{name}` is empty"),
                "give it a value, or take this away".to_owned(),
            ),
            Self::Syntax => (
                "`${` without a name and `}`".to_owned(),
                "write ${NAME}, or $${ for a literal ${".to_owned(),
            ),
        }
    }
}

/// A variable in a text.
struct Used {
    name: String,
    value: String,
    /// Where its value stands.
    place: Range<usize>,
}

/// A text with its variables in place, and which were used.
fn expanded(
    text: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<(String, Vec<Used>), Wrong> {
    let mut whole = String::new();
    let mut used = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            whole.push_str(before);
            whole.push_str("${");
            rest = after;
            continue;
        }
        whole.push_str(before);
        let (name, after) = after.split_once('}').ok_or(Wrong::Syntax)?;
        let letters = name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
        if !letters || name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(Wrong::Syntax);
        }
        let value = variable(name).ok_or_else(|| Wrong::Missing(name.to_owned()))?;
        if value.is_empty() {
            return Err(Wrong::Empty(name.to_owned()));
        }
        let start = whole.len();
        whole.push_str(&value);
        used.push(Used {
            name: name.to_owned(),
            value,
            place: start..whole.len(),
        });
        rest = after;
    }
    whole.push_str(rest);
    Ok((whole, used))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, Wrong> {
        let variable = |name: &str| match name {
            "TOKEN" => Some("s3cret".to_owned()),
            "_A1" => Some("${TOKEN}".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        expanded(text, variable).map(|(whole, _)| whole)
    }

    #[test]
    fn variables_stand_anywhere_in_a_text() {
        for (text, whole) in [
            ("Bearer ${TOKEN}", "Bearer s3cret"),
            ("${TOKEN}${TOKEN}/x", "s3crets3cret/x"),
            // What a variable says is not read again.
            ("${_A1}", "${TOKEN}"),
            ("$${TOKEN} $x $$ {", "${TOKEN} $x $$ {"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(whole), "{text}");
        }
    }

    #[test]
    fn what_is_no_variable_is_told() {
        assert_eq!(read("${NONE}"), Err(Wrong::Missing("NONE".into())));
        assert_eq!(read("${EMPTY}"), Err(Wrong::Empty("EMPTY".into())));
        for text in ["${", "${TOKEN", "${}", "${1A}", "${A B}", "${A-B}"] {
            assert_eq!(read(text), Err(Wrong::Syntax), "{text}");
        }
    }
}
