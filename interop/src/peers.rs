//! `peers.toml`: the stacks and what they can do.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::cases::Over;

/// A stack.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its directory in `peers/`, and what `--peer` takes.
    pub name: String,
    /// An image that is there already, for a stack without a directory.
    pub image: Option<String>,
    /// How it is shown.
    pub title: String,
    /// Its programs.
    pub can: Vec<Role>,
    /// What it speaks. Default: TLS over TCP alone.
    #[serde(default = "over_tcp")]
    pub over: Vec<Over>,
    /// Whether it belongs to `run --core`.
    #[serde(default)]
    pub core: bool,
    /// Programs that `--local` needs; `None`: in Docker only.
    pub local: Option<Vec<String>>,
    /// The package whose version is the stack's, where no client of ours tells it.
    pub package: Option<String>,
    /// Whether a page asks: both connections of a call go to one address, with the same request.
    #[serde(default)]
    pub browser: bool,
    /// Whether its endpoint for QUIC speaks HTTP/3 alone, so that every case is played over that.
    #[serde(default)]
    pub http3_alone: bool,
    /// What the server's own log or answer says where a case is about that.
    #[serde(default)]
    pub server_says: BTreeMap<String, String>,
}

/// What a peer has a program for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// `/peer/client`.
    Client,
    /// `/peer/server`.
    Server,
    /// `/peer/quic`, as a client.
    QuicClient,
    /// `/peer/quic`, as a server.
    QuicServer,
}

impl Peer {
    /// Whether it can play this role.
    pub fn can(&self, role: Role) -> bool {
        self.can.contains(&role)
    }

    /// Whether it can play cases over this.
    pub fn speaks(&self, over: Over) -> bool {
        self.over.contains(&over)
    }

    /// The name of its image.
    pub fn image(&self) -> String {
        let given = self.image.clone();
        given.unwrap_or_else(|| format!("cutwater-interop/{}", self.name))
    }
}

fn over_tcp() -> Vec<Over> {
    vec![Over::Tcp]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    peer: Vec<Peer>,
}

/// Reads the file's text.
///
/// # Errors
/// What is wrong with it, and where.
pub fn parse(text: &str) -> Result<Vec<Peer>, String> {
    let File { peer } = toml::from_str(text).map_err(|error| error.to_string())?;
    for (index, one) in peer.iter().enumerate() {
        let proper = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if one.name.is_empty() || !one.name.bytes().all(proper) {
            let hint = "hint: lower case, digits and `-`, as in an image's name";
            return Err(format!("`{}` cannot be a peer's name\n{hint}", one.name));
        }
        if peer[..index].iter().any(|other| other.name == one.name) {
            return Err(format!("peer {} stands there twice", one.name));
        }
    }
    Ok(peer)
}

/// Reads `peers.toml` in this directory.
///
/// # Errors
/// It cannot be read, or what is wrong with it.
pub fn read(directory: &Path) -> Result<Vec<Peer>, String> {
    let file = directory.join("peers.toml");
    let text =
        std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    parse(&text).map_err(|error| format!("{}: {error}", file.display()))
}

/// The peers of these names, in the order of the file; all of them if none is named.
///
/// # Errors
/// A name that no peer has.
pub fn choose(peers: Vec<Peer>, names: &[String], core: bool) -> Result<Vec<Peer>, String> {
    let known: Vec<&str> = peers.iter().map(|peer| peer.name.as_str()).collect();
    if let Some(name) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!(
            "no peer is named {name}\nhint: {}",
            known.join(", ")
        ));
    }
    let wanted = |peer: &Peer| match names {
        [] => !core || peer.core,
        _ => names.contains(&peer.name),
    };
    Ok(peers.into_iter().filter(wanted).collect())
}

/// Those of them that can be on this machine; those that were asked for by name stay in any case.
pub fn local(peers: Vec<Peer>, names: &[String]) -> Vec<Peer> {
    let wanted = |peer: &Peer| peer.local.is_some() || names.contains(&peer.name);
    peers.into_iter().filter(wanted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_this_machine_a_peer_of_docker_alone_is_tried_only_by_its_name() {
        let text = TWO.replace("core = true", "local = ['a']");
        let found = |names: &[String]| {
            let peers = local(parse(&text).unwrap(), names);
            peers.into_iter().map(|it| it.name).collect::<Vec<_>>()
        };
        assert_eq!(found(&[]), ["a"]);
        assert_eq!(found(&["b-1".into()]), ["a", "b-1"]);
    }

    const TWO: &str = "
        [[peer]]
        name = 'a'
        title = 'A'
        can = ['client', 'server']
        core = true
        [[peer]]
        name = 'b-1'
        title = 'B'
        can = ['client']
        server_says = { early = 'yes' }
    ";

    #[test]
    fn the_file_of_the_repository_is_proper() {
        let peers = read(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert!(peers.iter().any(|peer| peer.core && peer.can(Role::Client)));
    }

    #[test]
    fn every_peer_of_the_repository_has_its_programs() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        let peers = read(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        for peer in peers.into_iter().filter(|peer| peer.image.is_none()) {
            let dockerfile = directory.join(&peer.name).join("Dockerfile");
            assert!(dockerfile.exists(), "{}", dockerfile.display());
        }
    }

    #[test]
    fn peers_are_chosen_by_name_or_by_core() {
        let chosen = |names: &[&str], core| {
            let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
            choose(parse(TWO).unwrap(), &names, core).map(|all| all.len())
        };
        assert_eq!(chosen(&[], false), Ok(2));
        assert_eq!(chosen(&[], true), Ok(1));
        assert_eq!(chosen(&["b-1"], true), Ok(1));
        assert!(chosen(&["c"], false).unwrap_err().contains("hint: a, b-1"));
    }

    #[test]
    fn a_stack_may_come_with_an_image_of_its_own() {
        let text = TWO.replace("title = 'B'", "title = 'B'\nimage = 'example/b:1'");
        let images: Vec<String> = parse(&text).unwrap().iter().map(Peer::image).collect();
        assert_eq!(images, ["cutwater-interop/a", "example/b:1"]);
    }

    #[test]
    fn mistakes_are_named() {
        assert!(parse("[[peer]]\nname = 'a'\n").is_err());
        assert!(
            parse(&TWO.replace("b-1", "a"))
                .unwrap_err()
                .contains("twice")
        );
        assert!(
            parse(&TWO.replace("b-1", "B 1"))
                .unwrap_err()
                .contains("hint")
        );
        assert!(parse(&TWO.replace("title", "tilte")).is_err());
    }
}
