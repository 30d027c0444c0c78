//! The tree of TOML with its places: tables that know their keys, values that know their types.

use std::cell::RefCell;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::environment::Expanded;
use super::keys::Keys;
use crate::config::diagnostics::{At, Diagnostic, Place, SourceFile};
use crate::config::nearest;

/// Reads one file: knows its text and collects its errors.
pub(super) struct Reader {
    file: Arc<SourceFile>,
    /// Whether every table is whole. Otherwise nothing is called missing.
    whole: bool,
    expanded: Expanded,
    errors: RefCell<Vec<Diagnostic>>,
}

impl Reader {
    pub(super) fn new(file: &Arc<SourceFile>, whole: bool, expanded: Expanded) -> Self {
        Self {
            file: Arc::clone(file),
            whole,
            expanded,
            errors: RefCell::default(),
        }
    }

    pub(super) fn into_errors(self) -> Vec<Diagnostic> {
        self.errors.into_inner()
    }

    fn place(&self, span: &Range<usize>) -> Place {
        Place::new(&self.file, span.clone())
    }

    fn report(&self, error: Diagnostic) {
        self.errors.borrow_mut().push(error);
    }
}

/// A table of a known kind.
pub(super) struct Table<'a> {
    reader: &'a Reader,
    entries: &'a DeTable<'a>,
    span: Range<usize>,
    keys: &'static Keys,
}

impl<'a> Table<'a> {
    /// The file itself.
    pub(super) fn open_root(
        reader: &'a Reader,
        entries: &'a DeTable<'a>,
        keys: &'static Keys,
    ) -> Self {
        Self::new(reader, entries, 0..0, keys)
    }

    fn new(
        reader: &'a Reader,
        entries: &'a DeTable<'a>,
        span: Range<usize>,
        keys: &'static Keys,
    ) -> Self {
        for key in entries.keys() {
            let name = &**key.get_ref();
            if !keys.known.contains(&name) {
                let message = format!("unknown key `{name}` in {}", keys.table);
                let error = Diagnostic::error(Some(reader.place(&key.span())), message);
                let known = keys.known.iter().copied();
                reader.report(error.hint(nearest::hint(name, known)));
            }
        }
        Self {
            reader,
            entries,
            span,
            keys,
        }
    }

    /// Where the table begins.
    pub(super) fn place(&self) -> Place {
        self.reader.place(&self.span)
    }

    /// The value of `key`, if it is there.
    pub(super) fn get(&self, key: &str) -> Option<Value<'a>> {
        debug_assert!(self.keys.known.contains(&key), "{key} is not a known key");
        let (key, value) = self.entries.get_key_value(key)?;
        Some(Value {
            reader: self.reader,
            name: key.get_ref(),
            key: key.span(),
            value,
        })
    }

    /// The value of `key`; an error if it is not there.
    pub(super) fn require(&self, key: &str, example: &str) -> Option<Value<'a>> {
        let value = self.get(key);
        if value.is_none() {
            self.missing(
                &format!("`{key}` is missing in {}", self.keys.table),
                example,
            );
        }
        value
    }

    /// Reports that something has to be added to this table.
    pub(super) fn missing(&self, message: &str, example: &str) {
        if self.reader.whole {
            let error = Diagnostic::error(Some(self.place()), message);
            self.reader.report(error.hint(format!("add {example}")));
        }
    }
}

fn entries<'a>(reader: &'a Reader, table: &'a DeTable<'a>) -> Vec<Value<'a>> {
    let mut entries: Vec<Value<'a>> = table
        .iter()
        .map(|(key, value)| Value {
            reader,
            name: key.get_ref(),
            key: key.span(),
            value,
        })
        .collect();
    entries.sort_by_key(|value| value.key.start);
    entries
}

/// A value and the key that it belongs to.
#[derive(Clone)]
pub(super) struct Value<'a> {
    reader: &'a Reader,
    name: &'a str,
    key: Range<usize>,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Value<'a> {
    /// The key.
    pub(super) fn name(&self) -> &'a str {
        self.name
    }

    /// Where the value stands.
    pub(super) fn place(&self) -> Place {
        self.reader.place(&self.value.span())
    }

    /// Where the key stands.
    pub(super) fn key_place(&self) -> Place {
        self.reader.place(&self.key)
    }

    /// The value itself.
    pub(super) fn raw(&self) -> &'a DeValue<'a> {
        self.value.get_ref()
    }

    /// A value with the place of this one.
    pub(super) fn at<T>(&self, value: T) -> At<T> {
        At::new(value, self.place())
    }

    /// Whether the byte of this string is part of what a variable of the environment said.
    pub(super) fn is_from_environment(&self, at: usize) -> bool {
        let places = self.reader.expanded.get(&self.value.span().start);
        places.is_some_and(|places| places.iter().any(|place| place.contains(&at)))
    }

    /// Whether any of this string is what a variable of the environment said: it may be a secret.
    pub(super) fn has_environment(&self) -> bool {
        let places = self.reader.expanded.get(&self.value.span().start);
        places.is_some_and(|places| !places.is_empty())
    }

    /// Reports an error here.
    pub(super) fn error(&self, message: impl Into<String>, hint: impl Into<String>) {
        let error = Diagnostic::error(Some(self.place()), message);
        self.reader.report(error.hint(hint));
    }

    /// Reports an error at the key.
    pub(super) fn key_error(&self, message: impl Into<String>, hint: impl Into<String>) {
        let error = Diagnostic::error(Some(self.key_place()), message);
        self.reader.report(error.hint(hint));
    }

    /// Reports a key or a value whose room is not built.
    pub(super) fn unsupported(&self, what: &str, hint: &str) {
        self.error(format!("{what} is not supported in this version"), hint);
    }

    /// Reports a value of another type.
    pub(super) fn wrong_type(&self, wanted: &str, example: &str) {
        let found = match self.raw() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let message = format!("`{}` must be {wanted}, not {found}", self.name);
        self.error(message, format!("write, for example, {example}"));
    }

    /// A string.
    pub(super) fn string(&self, example: &str) -> Option<&'a str> {
        match self.raw() {
            DeValue::String(text) => Some(text),
            _ => {
                self.wrong_type("a string", &format!("{example:?}"));
                None
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self) -> Option<At<bool>> {
        match self.raw() {
            DeValue::Boolean(value) => Some(self.at(*value)),
            _ => {
                self.wrong_type("true or false", "true");
                None
            }
        }
    }

    /// A path, relative to the file that it stands in.
    pub(super) fn path(&self, example: &str) -> Option<At<PathBuf>> {
        let text = self.string(example)?;
        if text.is_empty() || text.contains('\0') {
            self.error(format!("`{}` is not a path", self.name), example);
            return None;
        }
        Some(self.at(self.beside(text)))
    }

    /// `path` beside the file that this value stands in.
    pub(super) fn beside(&self, path: &str) -> PathBuf {
        let directory = self.reader.file.path.parent().unwrap_or(Path::new(""));
        directory.join(path)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let example = choices.first().map_or("", |(word, _)| word);
        let text = self.string(example)?;
        let found = choices.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let words: Vec<String> = choices
                .iter()
                .map(|(word, _)| format!("{word:?}"))
                .collect();
            let message = format!("`{}` cannot be {text:?}", self.name);
            let near = nearest::nearest(text, choices.iter().map(|(word, _)| *word));
            let near = near.map_or(String::new(), |word| format!("did you mean {word:?}? "));
            self.error(message, format!("{near}allowed are {}", words.join(", ")));
        }
        found.map(|(_, value)| *value)
    }

    /// A list. Its elements have this value's name.
    pub(super) fn list(&self, of: &str, example: &str) -> Option<Vec<Value<'a>>> {
        match self.raw() {
            DeValue::Array(elements) => Some(
                elements
                    .iter()
                    .map(|value| Value {
                        value,
                        ..self.clone()
                    })
                    .collect(),
            ),
            _ => {
                self.wrong_type(&format!("a list of {of}"), example);
                None
            }
        }
    }

    /// A list with at least one element.
    pub(super) fn full_list(&self, of: &str, example: &str) -> Option<Vec<Value<'a>>> {
        let list = self.list(of, example)?;
        if list.is_empty() {
            self.error(
                format!("`{}` is empty", self.name),
                format!("write, for example, {example}"),
            );
            return None;
        }
        Some(list)
    }

    /// A table of a known kind.
    pub(super) fn table(&self, keys: &'static Keys, example: &str) -> Option<Table<'a>> {
        match self.raw() {
            DeValue::Table(entries) => {
                // A table of its own has the span of its header, an inline one begins at its
                // brace; one made by dotted keys has none.
                let span = match self.value.span() {
                    span if span.is_empty() => self.key.clone(),
                    span => span,
                };
                Some(Table::new(self.reader, entries, span, keys))
            }
            _ => {
                self.wrong_type("a table", example);
                None
            }
        }
    }

    /// A table whose keys are names.
    pub(super) fn named(&self, example: &str) -> Vec<Value<'a>> {
        match self.raw() {
            DeValue::Table(table) => entries(self.reader, table),
            _ => {
                self.wrong_type("a table", example);
                Vec::new()
            }
        }
    }
}
