//! What is installed on this machine: for a quick look, not for a verdict on versions.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Ground;
use crate::peers::Peer;
use crate::sites::Places;

/// Loopback, with free ports.
#[derive(Debug)]
pub struct Local {
    directory: PathBuf,
    peers: PathBuf,
    program: PathBuf,
    cutwater: PathBuf,
    main: u16,
    strict: u16,
    brief: u16,
    old: u16,
    ed25519: u16,
    admin: u16,
    origin: u16,
}

impl Local {
    /// `directory` is this run's, `peers` the repository's directory of peers, `cutwater` the
    /// program under test.
    ///
    /// # Errors
    /// No free port, or no such program.
    pub fn new(directory: &Path, peers: &Path, cutwater: &Path) -> Result<Self, String> {
        if !cutwater.is_file() {
            let hint = "hint: cargo build --release, or --binary FILE";
            return Err(format!("no program {}\n{hint}", cutwater.display()));
        }
        // It is started in another directory.
        let cutwater = cutwater.canonicalize().map_err(|error| error.to_string())?;
        Ok(Self {
            directory: directory.to_owned(),
            peers: peers.to_owned(),
            program: std::env::current_exe().map_err(|error| error.to_string())?,
            cutwater,
            main: free()?,
            strict: free()?,
            brief: free()?,
            old: free()?,
            ed25519: free()?,
            admin: free()?,
            origin: free()?,
        })
    }

    fn program(&self, peer: &Peer, name: &str) -> PathBuf {
        self.peers.join(&peer.name).join(name)
    }
}

/// A port that was free a moment ago.
fn free() -> Result<u16, String> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0));
    let address = listener.and_then(|listener| listener.local_addr());
    address
        .map(|address| address.port())
        .map_err(|error| error.to_string())
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

impl Ground for Local {
    fn places(&self) -> Places {
        Places {
            pki: self.pki(),
            main: format!("[::]:{}", self.main),
            strict: format!("[::]:{}", self.strict),
            brief: format!("[::]:{}", self.brief),
            old: format!("[::]:{}", self.old),
            ed25519: format!("[::]:{}", self.ed25519),
            admin: loopback(self.admin).to_string(),
            origin: loopback(self.origin).to_string(),
        }
    }

    fn edge(&self, strict: bool) -> SocketAddr {
        loopback(if strict { self.strict } else { self.main })
    }

    fn edge_brief(&self) -> SocketAddr {
        loopback(self.brief)
    }

    fn edge_old(&self) -> SocketAddr {
        loopback(self.old)
    }

    fn edge_ed25519(&self) -> SocketAddr {
        loopback(self.ed25519)
    }

    fn edge_v6(&self) -> SocketAddr {
        (Ipv6Addr::LOCALHOST, self.main).into()
    }

    fn admin(&self) -> SocketAddr {
        loopback(self.admin)
    }

    fn relay(&self) -> (IpAddr, IpAddr) {
        (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into())
    }

    fn origin(&self) -> String {
        loopback(self.origin).to_string()
    }

    fn server(&self, port: u16) -> SocketAddr {
        loopback(port)
    }

    fn server_v6(&self, port: u16) -> SocketAddr {
        (Ipv6Addr::LOCALHOST, port).into()
    }

    fn pki(&self) -> String {
        self.directory.join("pki").display().to_string()
    }

    fn edge_command(&self) -> Command {
        let mut command = Command::new(&self.cutwater);
        command.arg("serve").current_dir(self.directory.join("etc"));
        command
    }

    fn tool_command(&self, name: &str, arguments: &[String]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(name).args(arguments);
        command
    }

    fn ready_client(&self, _: &Peer) -> Result<(), String> {
        Ok(())
    }

    fn client_command(&self, peer: &Peer, arguments: &[String], seconds: u64) -> Command {
        let mut command = Command::new("timeout");
        command.args(["-k", "2", &seconds.to_string()]);
        command.arg(self.program(peer, "client")).args(arguments);
        command
    }

    fn server_command(&self, peer: &Peer, arguments: &[String]) -> Command {
        let mut command = Command::new(self.program(peer, "server"));
        command.args(arguments);
        command
    }

    fn load_command(&self, arguments: &[String]) -> Command {
        let mut command = Command::new(&self.cutwater);
        command.arg("load").args(arguments);
        command
    }

    fn inspect_command(&self, arguments: &[String]) -> Command {
        let mut command = Command::new(&self.cutwater);
        command.arg("inspect").args(arguments);
        command
    }

    fn end(&self, _: &str) {}

    fn terminate(&self, _: &str, process: u32) {
        let _ = Command::new("kill")
            .args(["-TERM", &process.to_string()])
            .status();
    }

    fn usable(&self, peer: &Peer) -> Result<(), String> {
        let Some(needs) = &peer.local else {
            return Err("has to be compiled: in Docker only".into());
        };
        let missing = needs.iter().find(|program| !installed(program));
        match missing {
            Some(program) => Err(format!("{program} is not installed")),
            None => Ok(()),
        }
    }

    fn describe(&self) -> String {
        "this machine".into()
    }

    fn describe_edge(&self) -> String {
        "this machine's program".into()
    }
}

fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}
