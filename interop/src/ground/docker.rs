//! A private network of containers, driven by the `docker` command.
//!
//! Every container and the network carry a label of this run: nothing else is ever ended.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Ground;
use crate::images;
use crate::peers::Peer;
use crate::service::run;
use crate::sites::Places;

const MAIN: u16 = 8443;
const STRICT: u16 = 8444;
const OLD: u16 = 8445;
const ED25519: u16 = 8446;
const BRIEF: u16 = 8447;
const ADMIN: u16 = 9901;
const ORIGIN: u16 = 8080;

/// Last octets of the addresses.
const EDGE: u8 = 2;
const RELAY: u8 = 3;
const ORIGIN_HOST: u8 = 4;
const SERVER: u8 = 5;

/// Where in the containers.
const PKI: &str = "/pki";
const ETC: &str = "/etc/cutwater";

/// Everything that this run made in Docker. Dropping it removes all of it.
#[derive(Debug)]
pub struct Docker {
    run: String,
    net: u8,
    directory: PathBuf,
    program: PathBuf,
    edge_image: String,
}

impl Docker {
    /// Makes the network. `directory` is this run's, with `pki` and `etc` in it; `program` is this
    /// program, which containers run too.
    ///
    /// # Errors
    /// The engine does not answer, or no network can be made.
    pub fn new(directory: &Path, edge_image: &str) -> Result<Self, String> {
        let run = unique("cutwater-interop");
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut docker = Self {
            run,
            net: 0,
            directory: directory.to_owned(),
            program,
            edge_image: edge_image.to_owned(),
        };
        docker.network()?;
        Ok(docker)
    }

    /// What removes all of a run, from wherever it is called.
    pub fn label(&self) -> String {
        format!("cutwater.interop={}", self.run)
    }

    fn network(&mut self) -> Result<(), String> {
        let first = random() as u8;
        let mut last = String::new();
        // Another run, or another's network, may have the same addresses.
        for net in (0..=255).map(|step: u8| first.wrapping_add(step)).take(32) {
            let made = docker(&[
                "network",
                "create",
                "--internal",
                "--ipv6",
                "--label",
                &self.label(),
                "--subnet",
                // 198.18.0.0/15 is for tests between devices (RFC 2544): no network of anybody's.
                &format!("198.18.{net}.0/24"),
                // Whoever has no fixed address gets one that is nobody's.
                "--ip-range",
                &format!("198.18.{net}.128/25"),
                "--ip-range",
                &format!("fd00:c7:{net:x}::8000/113"),
                "--subnet",
                &format!("fd00:c7:{net:x}::/64"),
                &self.run,
            ]);
            match made {
                Ok(_) => {
                    self.net = net;
                    return Ok(());
                }
                Err(error) => last = error,
            }
        }
        Err(format!("no network could be made\n{last}"))
    }

    fn v4(&self, host: u8) -> IpAddr {
        Ipv4Addr::new(198, 18, self.net, host).into()
    }

    fn v6(&self, host: u8) -> IpAddr {
        Ipv6Addr::new(0xfd00, 0xc7, self.net.into(), 0, 0, 0, 0, host.into()).into()
    }

    fn name(&self, what: &str) -> String {
        format!("{}-{what}", self.run)
    }

    /// `docker run` of a container without privileges, up to its image.
    fn container(&self, name: &str, host: Option<u8>) -> Command {
        let mut command = Command::new("docker");
        command.args(["run", "--pull", "never", "--init", "--user", "1000:1000"]);
        command.args(["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]);
        command.args([
            "--read-only",
            "--tmpfs",
            "/tmp:exec,mode=1777",
            "-e",
            "HOME=/tmp",
        ]);
        command.args(["--shm-size", "256m"]);
        command.args(["--label", &self.label(), "--network", &self.run]);
        command.args(["--name", &self.name(name), "--hostname", name]);
        if let Some(host) = host {
            command.args(["--ip", &self.v4(host).to_string()]);
            command.args(["--ip6", &self.v6(host).to_string()]);
        }
        self.mount(&mut command, &self.directory.join("pki"), PKI);
        command
    }

    fn mount(&self, command: &mut Command, from: &Path, to: &str) {
        command.arg("-v").arg(format!("{}:{to}:ro", from.display()));
    }
}

impl Ground for Docker {
    fn places(&self) -> Places {
        Places {
            pki: PKI.into(),
            main: format!("[::]:{MAIN}"),
            strict: format!("[::]:{STRICT}"),
            brief: format!("[::]:{BRIEF}"),
            old: format!("[::]:{OLD}"),
            ed25519: format!("[::]:{ED25519}"),
            admin: format!("0.0.0.0:{ADMIN}"),
            origin: SocketAddr::new(self.v4(ORIGIN_HOST), ORIGIN).to_string(),
        }
    }

    fn edge(&self, strict: bool) -> SocketAddr {
        SocketAddr::new(self.v4(EDGE), if strict { STRICT } else { MAIN })
    }

    fn edge_brief(&self) -> SocketAddr {
        SocketAddr::new(self.v4(EDGE), BRIEF)
    }

    fn edge_old(&self) -> SocketAddr {
        SocketAddr::new(self.v4(EDGE), OLD)
    }

    fn edge_ed25519(&self) -> SocketAddr {
        SocketAddr::new(self.v4(EDGE), ED25519)
    }

    fn edge_v6(&self) -> SocketAddr {
        SocketAddr::new(self.v6(EDGE), MAIN)
    }

    fn admin(&self) -> SocketAddr {
        SocketAddr::new(self.v4(EDGE), ADMIN)
    }

    fn relay(&self) -> (IpAddr, IpAddr) {
        (self.v4(RELAY), Ipv4Addr::UNSPECIFIED.into())
    }

    fn origin(&self) -> String {
        format!("0.0.0.0:{ORIGIN}")
    }

    fn server(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.v4(SERVER), port)
    }

    fn server_v6(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.v6(SERVER), port)
    }

    fn pki(&self) -> String {
        PKI.into()
    }

    fn edge_command(&self) -> Command {
        let mut command = self.container("edge", Some(EDGE));
        command.args(["--rm", "--no-healthcheck"]);
        self.mount(&mut command, &self.directory.join("etc"), ETC);
        command.args([&self.edge_image, "serve"]);
        command
    }

    fn tool_command(&self, name: &str, arguments: &[String]) -> Command {
        let host = if name == "relay" { RELAY } else { ORIGIN_HOST };
        let mut command = self.container(name, Some(host));
        command.args(["--rm", "-i"]);
        self.mount(&mut command, &self.program, "/interop");
        command
            .args([images::BASE, "/interop", name])
            .args(arguments);
        command
    }

    fn ready_client(&self, peer: &Peer) -> Result<(), String> {
        let mut command = self.container(&peer.name, None);
        command.args(["-d", "--entrypoint", "sleep", &peer.image(), "infinity"]);
        run(&mut command).map(drop)
    }

    fn client_command(&self, peer: &Peer, arguments: &[String], seconds: u64) -> Command {
        let mut command = Command::new("docker");
        command.args(["exec", &self.name(&peer.name)]);
        // Ending `docker exec` would not end what runs inside.
        command.args(["timeout", "-k", "2", &seconds.to_string(), "/peer/client"]);
        command.args(arguments);
        command
    }

    fn server_command(&self, peer: &Peer, arguments: &[String]) -> Command {
        let mut command = self.container("server", Some(SERVER));
        command.args(["--rm", "--entrypoint", "/peer/server", &peer.image()]);
        command.args(arguments);
        command
    }

    fn load_command(&self, arguments: &[String]) -> Command {
        let mut command = self.container("load", None);
        command.args(["--rm", "--no-healthcheck", &self.edge_image, "load"]);
        command.args(arguments);
        command
    }

    fn inspect_command(&self, arguments: &[String]) -> Command {
        let mut command = self.container("inspect", None);
        command.args(["--rm", "--no-healthcheck", &self.edge_image, "inspect"]);
        command.args(arguments);
        command
    }

    fn end(&self, name: &str) {
        // Mostly it is gone already.
        let _ = docker(&["rm", "-f", &self.name(name)]);
    }

    fn check_health(&self) -> Result<(), String> {
        // What the image's HEALTHCHECK asks.
        docker(&["exec", &self.name("edge"), "/cutwater", "health"])
            .map(drop)
            .map_err(|error| format!("the edge is ready, and its health check fails: {error}"))
    }

    fn terminate(&self, name: &str, _: u32) {
        let _ = docker(&["kill", "-s", "TERM", &self.name(name)]);
    }

    fn usable(&self, peer: &Peer) -> Result<(), String> {
        let image = peer.image();
        docker(&["image", "inspect", "--format", "{{.Id}}", &image])
            .map(drop)
            .map_err(|_| format!("no image {image}\nhint: cargo run -p interop -- images"))
    }

    fn packaged(&self, peer: &Peer) -> Option<String> {
        let (package, image) = (peer.package.as_deref()?, peer.image());
        let ask = [
            "run",
            "--rm",
            "--pull",
            "never",
            "--network",
            "none",
            "--label",
            &self.label(),
            "--entrypoint",
            "dpkg-query",
            &image,
        ];
        let version = docker(&[&ask[..], &["-W", "-f", "${Version}", package]].concat()).ok()?;
        Some(format!("{} {version}", peer.title))
    }

    fn describe(&self) -> String {
        let version = docker(&["version", "--format", "{{.Server.Version}}"]);
        format!("Docker {}", version.as_deref().unwrap_or("?"))
    }

    fn describe_edge(&self) -> String {
        let ask = ["image", "inspect", "--format", "{{.Id}} {{.Size}}"];
        let told = docker(&[&ask[..], &[self.edge_image.as_str()]].concat()).unwrap_or_default();
        let (id, size) = told.split_once(' ').unwrap_or_default();
        // Sixteen characters tell images apart.
        let id = id.get(..23).unwrap_or(id);
        let megabytes = size.parse::<f64>().unwrap_or_default() / 1e6;
        format!("image {} ({id}, {megabytes:.0} MB)", self.edge_image)
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        remove(&self.label());
    }
}

/// A name that nobody else has: of a run, or of a temporary directory.
pub fn unique(what: &str) -> String {
    format!("{what}-{}-{:016x}", std::process::id(), random())
}

/// The standard library seeds its hashers at random.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Removes every container and network with this label.
pub fn remove(label: &str) {
    let filter = format!("label={label}");
    for (list, end) in [
        (["ps", "-aq", "--no-trunc"].as_slice(), ["rm", "-f"]),
        (&["network", "ls", "-q"], ["network", "rm"]),
    ] {
        let listed = docker(&[list, &["--filter", &filter]].concat()).unwrap_or_default();
        let found: Vec<&str> = listed.lines().collect();
        if !found.is_empty() {
            // What cannot be removed is named by Docker, and the label stays on it.
            let _ = docker(&[end.as_slice(), &found].concat());
        }
    }
}

/// Runs `docker` with these arguments.
///
/// # Errors
/// It is missing, or what it complained of.
pub fn docker(arguments: &[&str]) -> Result<String, String> {
    run(Command::new("docker").args(arguments))
}
