//! `peers.toml`: which servers there are, and the templates of their files.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::rows::Row;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// In the order of the table's columns.
    pub server: Vec<Server>,
}

/// One server. The keys are explained at the top of `peers.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// The column's title.
    pub name: String,
    /// Program and arguments, with places to be filled.
    pub command: Vec<String>,
    /// The environment variable that holds the path of its program, where no package has it.
    pub environment: Option<String>,
    /// Prints its version.
    #[serde(default)]
    pub version: Vec<String>,
    /// File to write → template that it is made from.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// The suite of the Debian that it is from, if that is there.
    pub chroot: Option<String>,
    /// Speaks HTTP/3 alone.
    #[serde(default)]
    pub quic: bool,
    /// More names for the templates.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// The signal that makes it read its files again.
    pub reload: Option<String>,
    /// The keys of the rows that it has. Default: all.
    rows: Option<Vec<String>>,
    /// Measured by `--quick` too.
    #[serde(default)]
    pub quick: bool,
}

impl Config {
    /// Reads the text of `peers.toml`.
    ///
    /// # Errors
    /// What is wrong, with its line; names that stand twice, rows that there are not.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        for (index, server) in config.server.iter().enumerate() {
            let name = &server.name;
            if config
                .server
                .iter()
                .take(index)
                .any(|other| other.name == *name)
            {
                return Err(format!("two servers are named {name:?}"));
            }
            if server.command.is_empty() {
                return Err(format!("{name}: the command is empty"));
            }
            for row in server.rows.iter().flatten() {
                if Row::from_key(row).is_none() {
                    return Err(format!(
                        "{name}: there is no row {row:?}; there are {}",
                        Row::keys()
                    ));
                }
            }
        }
        Ok(config)
    }
}

impl Server {
    /// Whether it has this row.
    pub fn has(&self, row: Row) -> bool {
        let listed = match &self.rows {
            Some(rows) => rows.iter().any(|key| key == row.key()),
            None => true,
        };
        listed && (row != Row::Reload || self.reload.is_some())
    }
}

/// What the places in a template stand for.
pub type Values = BTreeMap<String, String>;

/// Fills a template: `{name}` becomes its value, and what stands between the lines `# each name`
/// and `# end` is repeated with each of `each` on top of `values`. Braces around anything that is
/// no value stay as they are.
pub fn render(template: &str, values: &Values, each: &[Values]) -> String {
    let mut text = String::new();
    let mut block: Option<String> = None;
    for line in template.split_inclusive('\n') {
        match (line.trim(), &mut block) {
            ("# each name", None) => block = Some(String::new()),
            ("# end", Some(inner)) => {
                for own in each {
                    text.push_str(&fill(&fill(inner, own), values));
                }
                block = None;
            }
            (_, Some(inner)) => inner.push_str(line),
            (_, None) => text.push_str(&fill(line, values)),
        }
    }
    text
}

/// Replaces `{name}` by its value.
pub fn fill(text: &str, values: &Values) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        filled.push_str(before);
        match behind.split_once('}') {
            Some((name, after)) if values.contains_key(name) => {
                filled.push_str(&values[name]);
                rest = after;
            }
            _ => {
                filled.push('{');
                rest = behind;
            }
        }
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::{GOALS, Goal};

    fn values(pairs: &[(&str, &str)]) -> Values {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn the_file_that_is_shipped_is_right() {
        let config = Config::parse(include_str!("../peers.toml")).expect("it parses");
        let names: Vec<_> = config.server.iter().map(|server| &server.name).collect();
        assert_eq!(
            names,
            [
                "cutwater",
                "cutwater, access log",
                "floor",
                "floor, proxying",
                "floor, QUIC",
                "nginx",
                "haproxy",
                "nginx, sid",
                "caddy",
                "h2o"
            ]
        );
        assert!(config.server[0].has(Row::Reload));
        assert!(!config.server[2].has(Row::H2));
        // Each goal is held against columns that there are.
        for (row, goal) in GOALS {
            if let Goal::Times(_, column) = goal {
                let other = config.server.iter().find(|server| server.name == column);
                assert!(other.is_some_and(|other| other.has(row)), "{column}");
            }
        }
    }

    #[test]
    fn mistakes_are_named() {
        let twice = "[[server]]\nname='a'\ncommand=['a']\n[[server]]\nname='a'\ncommand=['a']\n";
        assert!(Config::parse(twice).unwrap_err().contains("two servers"));
        let row = "[[server]]\nname='a'\ncommand=['a']\nrows=['fulll']\n";
        assert!(Config::parse(row).unwrap_err().contains("no row \"fulll\""));
        let key = "[[server]]\nname='a'\ncomand=['a']\n";
        assert!(Config::parse(key).unwrap_err().contains("comand"));
    }

    #[test]
    fn a_server_without_a_signal_is_not_reloaded() {
        let config = Config::parse("[[server]]\nname='a'\ncommand=['a']\n").expect("it parses");
        assert!(config.server[0].has(Row::Full));
        assert!(!config.server[0].has(Row::Reload));
    }

    #[test]
    fn places_are_filled_and_other_braces_stay() {
        let values = values(&[("port", "1"), ("dir", "/d")]);
        assert_eq!(
            fill("listen {port}; { path {dir}/x } {else} {", &values),
            "listen 1; { path /d/x } {else} {"
        );
    }

    #[test]
    fn a_block_is_repeated_for_each_name() {
        let each = [
            values(&[("name", "a"), ("pem", "a.pem")]),
            values(&[("name", "b")]),
        ];
        let text = render(
            "{pem}\n  # each name\n{name} {pem} {port}\n# end\nend {name}\n",
            &values(&[("pem", "one.pem"), ("port", "1")]),
            &each,
        );
        assert_eq!(text, "one.pem\na a.pem 1\nb one.pem 1\nend {name}\n");
        let none = render("a\n# each name\n{name}\n# end\n", &Values::new(), &[]);
        assert_eq!(none, "a\n");
    }
}
