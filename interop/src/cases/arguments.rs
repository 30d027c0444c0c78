//! What a peer's client is asked for (PROTOCOL.md).

use std::net::SocketAddr;

use super::Over;

/// The arguments of a call.
#[derive(Debug, Clone)]
#[must_use]
pub struct Arguments {
    connect: SocketAddr,
    name: String,
    path: Option<String>,
    ca: &'static str,
    more: Vec<String>,
}

impl Arguments {
    /// A full handshake with `name` at `connect` and a GET of `/`.
    pub fn new(connect: SocketAddr, name: &str) -> Self {
        Self {
            connect,
            name: name.into(),
            path: None,
            ca: "ca.pem",
            more: Vec::new(),
        }
    }

    /// Asks for this path, with the cell's mark in the query.
    pub fn path(mut self, path: &str) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Trusts this file of the run's certificates alone.
    pub fn ca(mut self, file: &'static str) -> Self {
        self.ca = file;
        self
    }

    /// An option with its value.
    pub fn with(mut self, option: &str, value: impl ToString) -> Self {
        self.more.extend([format!("--{option}"), value.to_string()]);
        self
    }

    /// An option without one.
    pub fn flag(mut self, option: &str) -> Self {
        self.more.push(format!("--{option}"));
        self
    }

    /// Whether the mode is one of those with two connections.
    pub fn of_two_connections(&self) -> bool {
        self.more.iter().any(|one| one == "--mode")
    }

    /// The whole list; `pki` is the directory of the run's certificates.
    pub fn list(&self, pki: &str, mark: &str, seconds: u64, over: Over) -> Vec<String> {
        let path = format!("{}?{mark}", self.path.as_deref().unwrap_or("/"));
        let fixed = [
            ("--connect", self.connect.to_string()),
            ("--name", self.name.clone()),
            ("--ca", format!("{pki}/{}", self.ca)),
            ("--path", path),
            ("--timeout", seconds.to_string()),
        ];
        let mut list: Vec<String> = Vec::new();
        for (option, value) in fixed {
            list.extend([option.to_owned(), value]);
        }
        if over == Over::Quic {
            list.extend(["--http", "3"].map(str::to_owned));
        }
        list.extend(self.more.iter().cloned());
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_that_of_the_protocol() {
        let arguments = Arguments::new(([127, 0, 0, 1], 443).into(), "a.test")
            .path("/safe")
            .with("mode", "early")
            .flag("retry-425");
        let list = |over| arguments.list("/pki", "cell=1", 9, over).join(" ");
        assert_eq!(
            list(Over::Tcp),
            "--connect 127.0.0.1:443 --name a.test --ca /pki/ca.pem --path /safe?cell=1 --timeout 9 \
             --mode early --retry-425"
        );
        assert!(list(Over::Quic).contains(" --http 3 --mode early"));
    }
}
