//! The bench: files, certificates, an origin, and servers that are started with them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::config::{Server, Values, fill, render};
use crate::pki::Authority;
use crate::process::{Running, pause};
use crate::quic::QuicClient;

/// The name that every server has.
pub const NAME: &str = "bench.test";
/// How long a server may take to start or to reload.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is asked whether it has done so.
const INTERVAL: Duration = Duration::from_millis(1);
/// Bytes of the large file; the origin's large answer has as many.
pub const LARGE: u64 = 10_000_000;

/// Where programs and templates are, and who runs where.
#[derive(Clone, Debug)]
pub struct Place {
    pub cutwater: PathBuf,
    pub floor: PathBuf,
    pub templates: PathBuf,
    /// Debians of their own, by suite. `directory` is in the root of each, under the same name.
    pub chroots: BTreeMap<String, PathBuf>,
    /// For everything that is written.
    pub directory: PathBuf,
    pub server_core: usize,
    pub load_core: usize,
}

/// The bench.
pub struct Lab {
    pub client: Client,
    pub quic: QuicClient,
    place: Place,
    authority: Authority,
    origin: SocketAddr,
    /// Kept for as long as the bench stands.
    _origin: Running,
}

/// Further names, each with a certificate of its own.
#[derive(Clone, Debug, Default)]
pub struct Names {
    files: Vec<(String, PathBuf)>,
}

/// A server that is up.
pub struct Station {
    pub running: Running,
    pub address: SocketAddr,
    /// From its start to its first answer.
    pub took: Duration,
}

impl Lab {
    /// Writes files, makes certificates, starts the origin.
    ///
    /// # Errors
    /// The directory cannot be written; the origin does not start.
    pub fn new(place: Place) -> io::Result<Self> {
        fs::create_dir_all(place.directory.join("root"))?;
        File::create(place.directory.join("root/large"))?.set_len(LARGE)?;
        let authority = Authority::new()?;
        authority.issue(NAME, &place.directory.join("bench.pem"))?;
        let client = Client::new(authority.root())?;
        let quic = QuicClient::new(client.config())?;
        let origin = free_address()?;
        let command = [
            place.floor.display().to_string(),
            "--plain".into(),
            "--listen".into(),
            origin.to_string(),
        ];
        let log = place.directory.join("origin.log");
        let running = Running::start(&command, place.load_core, None, &log)?;
        Ok(Self {
            client,
            quic,
            place,
            authority,
            origin,
            _origin: running,
        })
    }

    /// Makes certificates for so many further names: `n0.bench.test` and so on.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn names(&self, count: usize) -> io::Result<Names> {
        let directory = self.place.directory.join("names");
        fs::create_dir_all(&directory)?;
        let issue = |index: usize| {
            let name = format!("n{index}.{NAME}");
            let file = directory.join(format!("n{index}.pem"));
            self.authority.issue(&name, &file)?;
            Ok((name, file))
        };
        let files = (0..count).map(issue).collect::<io::Result<_>>()?;
        Ok(Names { files })
    }

    /// Starts a server and waits for its first answer, which is to be `answer`.
    ///
    /// # Errors
    /// It does not start, or ends, or does not answer so: with what it said last.
    pub fn start(&self, server: &Server, names: &Names, answer: &str) -> io::Result<Station> {
        if let Some(variable) = &server.environment
            && program(server).is_none()
        {
            let error = format!("set {variable} to the path of its program");
            return Err(io::Error::other(error));
        }
        let address = free_address()?;
        let admin = free_address()?;
        let values = self.values(server, address, admin, answer);
        self.write(server, names, &values)?;
        let command: Vec<String> = server
            .command
            .iter()
            .map(|part| fill(part, &values))
            .collect();
        let log = self.log(server);
        let began = Instant::now();
        let mut running =
            Running::start(&command, self.place.server_core, self.root(server), &log)?;
        let first = self.wait(server, address, &mut running, |_| true)?;
        Ok(Station {
            running,
            address,
            took: first - began,
        })
    }

    /// Rewrites a running server's files with another answer, signals it, and says how long it
    /// took until a new connection got that answer.
    ///
    /// # Errors
    /// It keeps the former one.
    pub fn reload(
        &self,
        server: &Server,
        names: &Names,
        station: &mut Station,
        answer: &str,
    ) -> io::Result<Duration> {
        let values = self.values(server, station.address, free_address()?, answer);
        self.write(server, names, &values)?;
        let began = Instant::now();
        station
            .running
            .signal(server.reload.as_deref().unwrap_or("HUP"))?;
        let wanted = |body: &str| body.contains(answer);
        let changed = self.wait(server, station.address, &mut station.running, wanted)?;
        Ok(changed - began)
    }

    /// Asks until there is an answer whose body is `wanted`, and says when it came.
    fn wait(
        &self,
        server: &Server,
        address: SocketAddr,
        running: &mut Running,
        wanted: impl Fn(&str) -> bool,
    ) -> io::Result<Instant> {
        let ask = || match server.quic {
            true => self.quic.open(address, NAME)?.get(NAME, "/"),
            false => self.client.open(address, NAME)?.get(NAME, "/"),
        };
        let began = Instant::now();
        loop {
            let wrong = match ask() {
                Ok(body) if wanted(&body) => return Ok(Instant::now()),
                Ok(body) => io::Error::other(format!("it answers {body:?}")),
                Err(error) => error,
            };
            if let Some(status) = running.ended() {
                let ended = io::Error::other(format!("it ended with {status}"));
                return Err(self.explain(server, &ended));
            }
            if began.elapsed() > PATIENCE {
                return Err(self.explain(server, &wrong));
            }
            pause(INTERVAL);
        }
    }

    /// The first line that a server says about its version.
    pub fn version(&self, server: &Server) -> Option<String> {
        let values = self.values(server, self.origin, self.origin, "");
        let mut parts = server.version.iter().map(|part| fill(part, &values));
        let mut command = match self.root(server) {
            Some(root) => {
                let mut command = Command::new("chroot");
                command.arg(root);
                command
            }
            None => Command::new(parts.next()?),
        };
        let output = command.args(parts).output().ok()?;
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&said)
            .lines()
            .next()
            .map(str::to_owned)
    }

    /// Where a server finds its programs, if not in the machine's own system.
    fn root(&self, server: &Server) -> Option<&Path> {
        let suite = server.chroot.as_ref()?;
        self.place.chroots.get(suite).map(PathBuf::as_path)
    }

    /// A path as the server sees it.
    fn seen(&self, server: &Server, path: &Path) -> String {
        let inside = self.root(server).and_then(|_| {
            let directory = &self.place.directory;
            let rest = path.strip_prefix(directory.parent()?).ok()?;
            Some(Path::new("/").join(rest))
        });
        inside.as_deref().unwrap_or(path).display().to_string()
    }

    fn values(
        &self,
        server: &Server,
        address: SocketAddr,
        admin: SocketAddr,
        answer: &str,
    ) -> Values {
        let directory = &self.place.directory;
        let mut values = Values::from([
            ("port".into(), address.port().to_string()),
            ("admin".into(), admin.port().to_string()),
            ("origin".into(), self.origin.to_string()),
            ("dir".into(), self.seen(server, directory)),
            (
                "pem".into(),
                self.seen(server, &directory.join("bench.pem")),
            ),
            ("root".into(), self.seen(server, &directory.join("root"))),
            (
                "large".into(),
                self.seen(server, &directory.join("root/large")),
            ),
            ("answer".into(), answer.to_owned()),
            ("cutwater".into(), self.place.cutwater.display().to_string()),
            ("floor".into(), self.place.floor.display().to_string()),
        ]);
        if let Some(program) = program(server) {
            values.insert("program".into(), program);
        }
        for (name, value) in &server.set {
            let value = fill(value, &values);
            values.insert(name.clone(), value);
        }
        values
    }

    fn write(&self, server: &Server, names: &Names, values: &Values) -> io::Result<()> {
        let each: Vec<Values> = names
            .files
            .iter()
            .map(|(name, file)| {
                let file = self.seen(server, file);
                Values::from([("name".into(), name.clone()), ("pem".into(), file)])
            })
            .collect();
        for (file, template) in &server.files {
            let template = fs::read_to_string(self.place.templates.join(template))?;
            let text = render(&template, values, &each);
            fs::write(self.place.directory.join(file), text)?;
        }
        Ok(())
    }

    fn log(&self, server: &Server) -> PathBuf {
        let name = server
            .name
            .replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
        self.place.directory.join(format!("{name}.log"))
    }

    fn explain(&self, server: &Server, error: &io::Error) -> io::Error {
        let said = fs::read_to_string(self.log(server)).unwrap_or_default();
        let last = said.lines().rev().find(|line| !line.trim().is_empty());
        io::Error::other(format!(
            "{error}; it said last: {}",
            last.unwrap_or("nothing")
        ))
    }
}

/// The program of a server that is brought along, if it is.
pub fn program(server: &Server) -> Option<String> {
    std::env::var(server.environment.as_ref()?).ok()
}

/// An address on loopback where nothing listens at the moment.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
