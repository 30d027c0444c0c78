//! A ground for tests of the runner: an edge, a relay, an origin and a peer that are shell scripts.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use super::Ground;
use crate::peers::Peer;
use crate::sites::Places;
use crate::sites::stapled::NEVER_STAPLED;

/// In the edge's log of its starts, one process id a line.
const STARTS: &str = "starts";
/// While there is such a file the edge does not start, and its admin endpoint says no.
pub const DOWN: &str = "down";

/// It does what these scripts say, in a directory of the test's.
#[derive(Debug)]
pub struct Stand {
    directory: PathBuf,
    admin: SocketAddr,
    /// A call of the peer's client.
    pub client: &'static str,
    /// The peer's server.
    pub server: &'static str,
    /// Our load generator.
    pub load: &'static str,
}

impl Stand {
    /// In this directory, with an admin endpoint that answers as that of a ready edge.
    pub fn new(directory: &Path) -> Self {
        for part in ["pki", "etc"] {
            fs::create_dir(directory.join(part)).unwrap();
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let admin = listener.local_addr().unwrap();
        let down = directory.join(DOWN);
        thread::spawn(move || {
            let body = format!("cutwater_ocsp_certificates{{state=\"missing\"}} {NEVER_STAPLED}\n");
            for mut stream in listener.incoming().flatten() {
                let status = if down.exists() { "503 no" } else { "200 yes" };
                // All of it: who is closed to while he writes sees an error.
                let head = BufReader::new(&stream).lines().map_while(Result::ok);
                let _ = head.take_while(|line| !line.is_empty()).count();
                let _ = write!(stream, "HTTP/1.1 {status}\r\n\r\n{body}");
            }
        });
        Self {
            directory: directory.to_owned(),
            admin,
            client: "exit 3",
            server: "exit 3",
            load: "exit 3",
        }
    }

    /// How often the edge has been started.
    pub fn starts(&self) -> usize {
        let starts = fs::read_to_string(self.directory.join(STARTS)).unwrap();
        starts.lines().count()
    }

    fn script(&self, script: &str) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).current_dir(&self.directory);
        command
    }
}

impl Ground for Stand {
    fn places(&self) -> Places {
        let nowhere = || "127.0.0.1:1".to_owned();
        Places {
            pki: self.pki(),
            main: nowhere(),
            strict: nowhere(),
            brief: nowhere(),
            old: nowhere(),
            ed25519: nowhere(),
            admin: self.admin.to_string(),
            origin: nowhere(),
        }
    }

    fn edge(&self, _: bool) -> SocketAddr {
        self.server(1)
    }

    fn edge_brief(&self) -> SocketAddr {
        self.server(1)
    }

    fn edge_old(&self) -> SocketAddr {
        self.server(1)
    }

    fn edge_ed25519(&self) -> SocketAddr {
        self.server(1)
    }

    fn edge_v6(&self) -> SocketAddr {
        self.server(1)
    }

    fn admin(&self) -> SocketAddr {
        self.admin
    }

    fn relay(&self) -> (IpAddr, IpAddr) {
        (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into())
    }

    fn origin(&self) -> String {
        self.places().origin
    }

    fn server(&self, port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, port).into()
    }

    fn server_v6(&self, port: u16) -> SocketAddr {
        self.server(port)
    }

    fn pki(&self) -> String {
        self.directory.join("pki").display().to_string()
    }

    fn edge_command(&self) -> Command {
        let down = format!("[ ! -e {DOWN} ] || {{ echo 'no more' >&2; exit 1; }}");
        self.script(&format!("echo $$ >> {STARTS}; {down}; exec cat"))
    }

    fn tool_command(&self, _: &str, _: &[String]) -> Command {
        self.script("echo ready; exec cat")
    }

    fn ready_client(&self, _: &Peer) -> Result<(), String> {
        Ok(())
    }

    fn client_command(&self, _: &Peer, _: &[String], _: u64) -> Command {
        self.script(self.client)
    }

    fn server_command(&self, _: &Peer, _: &[String]) -> Command {
        self.script(self.server)
    }

    fn load_command(&self, _: &[String]) -> Command {
        self.script(self.load)
    }

    fn inspect_command(&self, _: &[String]) -> Command {
        self.script("exit 3")
    }

    fn end(&self, _: &str) {}

    fn terminate(&self, _: &str, process: u32) {
        let _ = Command::new("kill").arg(process.to_string()).status();
    }

    fn usable(&self, _: &Peer) -> Result<(), String> {
        Ok(())
    }

    fn describe(&self) -> String {
        "a test".into()
    }

    fn describe_edge(&self) -> String {
        "a script".into()
    }
}
