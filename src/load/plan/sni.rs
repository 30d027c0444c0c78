//! The names that connections ask for.

use std::sync::Arc;

use rustls::pki_types::ServerName;

use super::PlanError;

/// Most names of one plan.
const MOST: usize = 1_000_000;

/// One name, a list, or a pattern over many; asked for in turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sni {
    names: Arc<[ServerName<'static>]>,
}

impl Sni {
    /// Reads names with commas between them. Each may have one range: `site-{1..10000}.test`.
    /// An address is a name too: it is verified but not sent (RFC 6066 §3).
    ///
    /// # Errors
    /// One of them can be no server name, or there are more than a million.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let mut names = Vec::new();
        for part in text.split(',') {
            expand(part.trim(), &mut names)?;
        }
        Ok(Self {
            names: names.into(),
        })
    }

    /// How many names there are: at least one.
    pub fn count(&self) -> usize {
        self.names.len()
    }

    /// The name of the connection with this number.
    pub fn name(&self, number: usize) -> &ServerName<'static> {
        // Never empty: `split` has at least one part, and a part that gives no name is an error.
        &self.names[number % self.names.len()]
    }
}

fn expand(part: &str, names: &mut Vec<ServerName<'static>>) -> Result<(), PlanError> {
    let Some((prefix, rest)) = part.split_once('{') else {
        return push(part.to_owned(), names);
    };
    let wrong = || {
        PlanError::new(format!(
            "{part}: a range is {{FROM..TO}}, as in site-{{1..10}}"
        ))
    };
    let (range, suffix) = rest.split_once('}').ok_or_else(wrong)?;
    let (from, to) = range.split_once("..").ok_or_else(wrong)?;
    let from: u32 = from.parse().map_err(|_| wrong())?;
    let to: u32 = to.parse().map_err(|_| wrong())?;
    if to < from {
        return Err(wrong());
    }
    (from..=to).try_for_each(|number| push(format!("{prefix}{number}{suffix}"), names))
}

fn push(name: String, names: &mut Vec<ServerName<'static>>) -> Result<(), PlanError> {
    if names.len() >= MOST {
        return Err(PlanError::new(format!("more than {MOST} server names")));
    }
    let parsed = ServerName::try_from(name.clone())
        .map_err(|_| PlanError::new(format!("{name:?} can be no server name")))?;
    names.push(parsed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let sni = Sni::parse(text).unwrap();
        (0..sni.count())
            .map(|number| sni.name(number).to_str().into_owned())
            .collect()
    }

    #[test]
    fn one_name_a_list_and_a_pattern() {
        assert_eq!(names("a.test"), ["a.test"]);
        assert_eq!(names("a.test, 127.0.0.1"), ["a.test", "127.0.0.1"]);
        assert_eq!(
            names("s-{9..11}.test,b.test"),
            ["s-9.test", "s-10.test", "s-11.test", "b.test"]
        );
        assert_eq!(Sni::parse("site-{1..10000}.test").unwrap().count(), 10_000);
    }

    #[test]
    fn names_are_taken_in_turn() {
        let sni = Sni::parse("a.test,b.test").unwrap();
        assert_eq!(sni.name(2), sni.name(0));
        assert_ne!(sni.name(1), sni.name(0));
    }

    #[test]
    fn what_gives_no_name_is_refused() {
        for text in [
            "",
            "a.test,",
            "s{1..",
            "s{1}.test",
            "s{2..1}",
            "s{1..9000000}.test",
        ] {
            assert!(Sni::parse(text).is_err(), "{text}");
        }
    }
}
