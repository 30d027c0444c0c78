//! What is wrong with a configuration, and where: printed the way rustc prints.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::spec::Environment;

/// A configuration file as it was read.
#[derive(Debug)]
pub struct SourceFile {
    /// As it was named on the command line or found by `include`.
    pub path: PathBuf,
    /// Its whole text.
    pub text: String,
}

/// A place in a configuration file.
#[derive(Clone, Debug)]
pub struct Place {
    file: Arc<SourceFile>,
    /// Bytes of the file.
    span: Range<usize>,
}

impl Place {
    /// The bytes `span` of `file`; what lies outside of the file is cut off.
    pub fn new(file: &Arc<SourceFile>, span: Range<usize>) -> Self {
        let end = file.text.len();
        let start = floor_boundary(&file.text, span.start.min(end));
        let end = floor_boundary(&file.text, span.end.clamp(start, end));
        Self {
            file: Arc::clone(file),
            span: start..end,
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// The bytes of the file that are meant.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Line and column, both from 1; a column is a character.
    pub fn line_column(&self) -> (usize, usize) {
        let before = &self.file.text[..self.span.start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }

    /// The line that the place begins in, without its end.
    fn line_text(&self) -> &str {
        let text = &self.file.text;
        let start = text[..self.span.start]
            .rfind('\n')
            .map_or(0, |newline| newline + 1);
        let rest = &text[start..];
        rest.split('\n').next().unwrap_or(rest).trim_end()
    }

    /// How many carets underline the place: all of it, but no more than its first line.
    fn width(&self) -> usize {
        let meant = &self.file.text[self.span.clone()];
        let first = meant.lines().next().unwrap_or("");
        first.trim_end().chars().count().max(1)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.line_column();
        write!(f, "{}:{line}:{column}", self.file.path.display())
    }
}

fn floor_boundary(text: &str, mut index: usize) -> usize {
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

/// A value and where it was typed; nowhere if a program made it.
#[derive(Clone, Debug)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Option<Place>,
}

impl<T> At<T> {
    /// A value that stands in a file.
    pub fn new(value: T, place: Place) -> Self {
        Self {
            value,
            place: Some(place),
        }
    }
}

impl<T> From<T> for At<T> {
    fn from(value: T) -> Self {
        Self { value, place: None }
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot be used, or a site of it not.
    Error,
    /// It can, but hardly as it was meant.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in lower case.
    pub message: String,
    /// Where.
    pub place: Option<Place>,
    /// Another place that belongs to it, and what it is.
    pub other: Option<(&'static str, Place)>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// An error.
    pub fn error(place: Option<Place>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            place,
            other: None,
            hint: None,
        }
    }

    /// A warning.
    pub fn warning(place: Option<Place>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(place, message)
        }
    }

    /// The same, saying a variable's name where it would say what that says.
    #[must_use]
    pub fn concealed(mut self, environment: &Environment) -> Self {
        self.message = environment.conceal(&self.message);
        self.hint = self.hint.map(|hint| environment.conceal(&hint));
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds another place, if there is one.
    #[must_use]
    pub fn other(mut self, label: &'static str, place: Option<&Place>) -> Self {
        self.other = place.map(|place| (label, place.clone()));
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}", self.message)?;
        if let Some(place) = &self.place {
            let (line, column) = place.line_column();
            let number = line.to_string();
            let margin = " ".repeat(number.len());
            // A tab before the carets stays one, so that they stand below what they mean.
            let indent: String = place
                .line_text()
                .chars()
                .take(column - 1)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            write!(f, "\n{margin}--> {place}\n{margin} |")?;
            write!(f, "\n{number} | {}", place.line_text())?;
            write!(f, "\n{margin} | {indent}{}", "^".repeat(place.width()))?;
        }
        let margin = self.place.as_ref().map_or(0, |place| {
            place.line_column().0.checked_ilog10().unwrap_or(0) as usize + 1
        });
        let margin = " ".repeat(margin);
        if let Some((label, place)) = &self.other {
            write!(f, "\n{margin} = {label}: {place}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n{margin} = hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}

/// In the order of the files and lines; what has no place comes first.
pub(super) fn sort(diagnostics: &mut [Diagnostic]) {
    diagnostics.sort_by(|a, b| {
        let key = |diagnostic: &Diagnostic| {
            diagnostic
                .place
                .as_ref()
                .map(|place| (place.path().to_owned(), place.span.start))
        };
        key(a).cmp(&key(b))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_shows_the_line_and_underlines_what_it_means() {
        let file = Arc::new(SourceFile {
            path: PathBuf::from("a.toml"),
            text: "x = 1\n\tfoö = \"bär\"\n".to_owned(),
        });
        let start = file.text.find("\"bär").unwrap();
        let place = Place::new(&file, start..start + 6);
        assert_eq!(place.line_column(), (2, 8));
        let shown = Diagnostic::error(Some(place), "wrong").hint("right");
        assert_eq!(
            shown.to_string(),
            "error: wrong\n --> a.toml:2:8\n  |\n2 | \tfoö = \"bär\"\n  | \t      ^^^^^\n  = hint: right"
        );
    }

    #[test]
    fn a_place_outside_of_the_file_or_inside_of_a_character_is_moved_back() {
        let file = Arc::new(SourceFile {
            path: PathBuf::from("a.toml"),
            text: "ä".to_owned(),
        });
        assert_eq!(Place::new(&file, 1..9).span(), 0..2);
        assert_eq!(Place::new(&file, 7..9).line_column(), (1, 2));
    }
}
