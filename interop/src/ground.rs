//! Where a run takes place: in Docker, or with what is installed on this machine.

pub mod docker;
pub mod local;
#[cfg(test)]
pub mod stand;

use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use crate::peers::Peer;
use crate::sites::Places;

/// The programs of a run and where they stand.
pub trait Ground {
    /// Where the edge finds and listens, as it is told.
    fn places(&self) -> Places;

    /// The edge's main listener; `strict`: the other one.
    fn edge(&self, strict: bool) -> SocketAddr;

    /// The listener of the edge whose handshakes are due soon.
    fn edge_brief(&self) -> SocketAddr;

    /// The listener of the edge whose default site lets TLS 1.2 in.
    fn edge_old(&self) -> SocketAddr;

    /// The listener of the edge whose default site has an Ed25519 certificate.
    fn edge_ed25519(&self) -> SocketAddr;

    /// The main listener over IPv6.
    fn edge_v6(&self) -> SocketAddr;

    /// The edge's admin endpoint, for the runner.
    fn admin(&self) -> SocketAddr;

    /// Where relays listen: for the clients, and as it is told to the relay.
    fn relay(&self) -> (IpAddr, IpAddr);

    /// Where the origin is told to listen.
    fn origin(&self) -> String;

    /// Where the server of a peer is, for a port of it.
    fn server(&self, port: u16) -> SocketAddr;

    /// The same over IPv6.
    fn server_v6(&self, port: u16) -> SocketAddr;

    /// The directory of certificates, as programs see it.
    fn pki(&self) -> String;

    /// The edge. Its configuration has been written.
    fn edge_command(&self) -> Command;

    /// A subcommand of this program that serves.
    fn tool_command(&self, name: &str, arguments: &[String]) -> Command;

    /// Makes a peer's clients callable.
    ///
    /// # Errors
    /// It cannot be started.
    fn ready_client(&self, peer: &Peer) -> Result<(), String>;

    /// A call of a peer's client; ended by force after so many seconds.
    fn client_command(&self, peer: &Peer, arguments: &[String], seconds: u64) -> Command;

    /// A peer's server.
    fn server_command(&self, peer: &Peer, arguments: &[String]) -> Command;

    /// Our load generator.
    fn load_command(&self, arguments: &[String]) -> Command;

    /// What `cutwater inspect` tells.
    fn inspect_command(&self, arguments: &[String]) -> Command;

    /// Ends what a command of this name started, if ending the command is not enough: `edge`,
    /// `relay`, `origin`, `server`, `load`.
    fn end(&self, name: &str);

    /// Asks the edge's own health check, where it has one.
    ///
    /// # Errors
    /// What it says.
    fn check_health(&self) -> Result<(), String> {
        Ok(())
    }

    /// Asks the edge or a peer's server, which [`end`](Self::end) calls so, to end in an orderly way;
    /// `process` is that of its command.
    fn terminate(&self, name: &str, process: u32);

    /// Whether a peer can be used here; if not, why.
    ///
    /// # Errors
    /// Why not.
    fn usable(&self, peer: &Peer) -> Result<(), String>;

    /// The stack's name and version by its package, where `peers.toml` names one.
    fn packaged(&self, _: &Peer) -> Option<String> {
        None
    }

    /// What this is, for the report.
    fn describe(&self) -> String;

    /// What the edge is, for the report.
    fn describe_edge(&self) -> String;
}
