//! A description as it is printed: a heading, and lines below it.

use std::fmt::{self, Write as _};

use super::{Description, date};

/// How many names are shown before the rest is only counted.
const SHOWN_NAMES: usize = 8;

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.names.iter().take(SHOWN_NAMES);
        let mut heading = shown.cloned().collect::<Vec<_>>().join(", ");
        if self.names.is_empty() {
            heading.clone_from(&self.subject);
        }
        if let more @ 1.. = self.names.len().saturating_sub(SHOWN_NAMES) {
            let _ = write!(heading, " and {more} more");
        }
        writeln!(f, "{heading}")?;
        line(f, "issuer", &self.issuer)?;
        line(f, "serial", &self.serial)?;
        let key = format!("{}, signed with {}", self.key, self.signature);
        line(f, "key", &key)?;
        line(f, "valid", &self.validity())?;
        line(f, "responder", &self.responder())?;
        let chain: Vec<&str> = self.chain.iter().map(|link| &*link.subject).collect();
        if !chain.is_empty() {
            line(f, "chain", &chain.join(" < "))?;
        }
        line(f, "logged", &self.timestamps())?;
        for problem in &self.problems {
            line(f, "note", &problem.to_string())?;
        }
        if let Some(shortfall) = &self.shortfall {
            line(f, "note", &shortfall.to_string())?;
        }
        Ok(())
    }
}

impl Description {
    fn validity(&self) -> String {
        let (from, to) = (date(self.not_before), date(self.not_after));
        match self.days_left {
            1 => format!("{from} to {to}, 1 day left"),
            left @ 0.. => format!("{from} to {to}, {left} days left"),
            _ => format!("{from} to {to}, over"),
        }
    }

    fn timestamps(&self) -> String {
        match self.scts.len() {
            0 => "no timestamps".to_owned(),
            _ => {
                let each: Vec<String> = self.scts.iter().map(ToString::to_string).collect();
                each.join("; ")
            }
        }
    }

    fn responder(&self) -> String {
        let required = if self.must_staple {
            ", a staple is required"
        } else {
            ""
        };
        match &self.responder {
            Some(responder) => format!("{responder}{required}"),
            None => format!("none{required}"),
        }
    }
}

fn line(f: &mut fmt::Formatter<'_>, what: &str, value: &str) -> fmt::Result {
    writeln!(f, "  {what:<9} {value}")
}
