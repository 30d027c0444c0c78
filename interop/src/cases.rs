//! What is tried with every peer.

pub mod absent;
pub mod arguments;
mod clients;
mod compression;
mod early;
mod h3;
mod replayed;
pub mod servers;
mod staples;
mod traffic;

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::cell::{Cell, Trouble};

/// Who is the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Peers' clients against our edge.
    Clients,
    /// Our client against peers' servers.
    Servers,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Clients => "clients",
            Self::Servers => "servers",
        })
    }
}

/// What the connections of a case go over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Over {
    /// TLS over TCP.
    Tcp,
    /// QUIC, with HTTP/3 on it.
    Quic,
}

impl Over {
    /// That of the case with this name: those over QUIC begin with `h3-`.
    pub fn of(case: &str) -> Self {
        match case.starts_with("h3-") {
            true => Self::Quic,
            false => Self::Tcp,
        }
    }
}

/// How the playing of a case ends.
type Played = Result<(), Trouble>;

/// A case of peers' clients. Later ones (client certificates, ECH) are further entries of the tables.
pub struct Case {
    /// Its name in kebab case.
    pub name: &'static str,
    /// What passes, in words.
    pub title: &'static str,
    /// Plays it.
    pub play: fn(&mut Cell<'_, '_>) -> Played,
}

/// All cases of peers' clients, in the order of the report.
pub fn of_clients() -> impl Iterator<Item = &'static Case> {
    let certificates = compression::CASES.iter().chain(staples::CASES);
    let over_tcp = clients::CASES.iter().chain(certificates);
    over_tcp.chain(early::CASES).chain(h3::cases())
}

/// Names and titles of all cases of a direction.
pub fn names(direction: Direction) -> Vec<(&'static str, &'static str)> {
    match direction {
        Direction::Clients => of_clients().map(|case| (case.name, case.title)).collect(),
        Direction::Servers => servers::all().map(|case| (case.name, case.title)).collect(),
    }
}

/// Whether a case is chosen: all are if none is named. `*` at the end stands for anything.
pub fn chosen(name: &str, names: &[String]) -> bool {
    names.is_empty()
        || names.iter().any(|wanted| match wanted.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => wanted == name,
        })
}

/// Fails for a name that fits no case.
///
/// # Errors
/// It does.
pub fn check(names: &[String], known: &[&str]) -> Result<(), String> {
    let fits = |name: &&String| {
        let mut known = known.iter();
        known.any(|known| chosen(known, std::slice::from_ref(name)))
    };
    match names.iter().find(|name| !fits(name)) {
        None => Ok(()),
        Some(name) => {
            let hint = "hint: cargo run -p interop -- list";
            Err(format!("no case is named {name}\n{hint}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kebab_case_and_stand_once_in_a_direction() {
        for direction in [Direction::Clients, Direction::Servers] {
            let names: Vec<&str> = names(direction).iter().map(|(name, _)| *name).collect();
            for (index, name) in names.iter().enumerate() {
                let kebab =
                    |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
                assert!(name.bytes().all(kebab), "{name}");
                assert!(!names[..index].contains(name), "{name}");
            }
        }
    }

    #[test]
    fn cases_are_chosen_by_name_or_by_its_beginning() {
        let names = ["full".to_owned(), "early-*".to_owned()];
        assert!(chosen("full", &names) && chosen("early-replayed", &names));
        assert!(!chosen("fuller", &names));
        assert!(chosen("anything", &[]));
    }
}
