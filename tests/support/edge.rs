//! The compiled program under a config file, with its logs, its admin port and its signals.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::http1::Response;
use super::{BOUND, poll, within};

/// The program's file.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_cutwater");

/// A running `cutwater serve`; killed when dropped.
pub struct Edge {
    child: Child,
    directory: TempDir,
    output: watch::Sender<Output>,
    listeners: BTreeMap<String, SocketAddr>,
    admin: Option<SocketAddr>,
}

/// What the program has written so far.
#[derive(Debug, Clone, Default)]
struct Output {
    /// Lines of JSON, from stdout and stderr.
    json: Vec<Value>,
    /// All other lines, without colours.
    text: Vec<String>,
}

/// A program to be started.
pub struct Start {
    directory: TempDir,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    descriptors: Option<u32>,
    unread: bool,
}

impl Start {
    /// With this config, in a directory of its own that relative paths start from.
    pub fn with(config: &str) -> Self {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("cutwater.toml"), config).unwrap();
        Self {
            directory,
            arguments: Vec::new(),
            environment: Vec::new(),
            descriptors: None,
            unread: false,
        }
    }

    /// Writes another file into the directory.
    pub fn file(self, name: &str, contents: &str) -> Self {
        write(self.directory.path(), name, contents);
        self
    }

    /// Adds an argument after `serve --config FILE`.
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Sets an environment variable.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lets the program have so many file descriptors (`ulimit -n`).
    pub fn descriptors(mut self, count: u32) -> Self {
        self.descriptors = Some(count);
        self
    }

    /// Reads nothing of its standard output, which stays open: its logs are not seen then.
    pub fn unread_stdout(mut self) -> Self {
        self.unread = true;
        self
    }

    /// Starts and waits until the program is ready. Panics with its output if it ends before.
    pub async fn run(self) -> Edge {
        match self.try_run().await {
            Ok(edge) => edge,
            Err((status, output)) => panic!("{PROGRAM} ended with {status}:\n{output}"),
        }
    }

    /// Starts and waits until the program is ready.
    ///
    /// # Errors
    /// It ended before: its status and all it wrote.
    pub async fn try_run(self) -> Result<Edge, (ExitStatus, String)> {
        let mut command = match self.descriptors {
            None => Command::new(PROGRAM),
            Some(count) => {
                let mut shell = Command::new("sh");
                let script = format!("ulimit -n {count}; exec \"$0\" \"$@\"");
                shell.arg("-c").arg(script).arg(PROGRAM);
                shell
            }
        };
        let mut child = command
            .arg("serve")
            .arg("--config")
            .arg(self.directory.path().join("cutwater.toml"))
            .args(&self.arguments)
            .envs(self.environment)
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let config = fs::read_to_string(self.directory.path().join("cutwater.toml")).unwrap();
        let output = watch::Sender::default();
        let stderr = child.stderr.take().unwrap();
        let mut readers = vec![tokio::spawn(gather(stderr, output.clone()))];
        if !self.unread {
            let stdout = child.stdout.take().unwrap();
            readers.push(tokio::spawn(gather(stdout, output.clone())));
        }
        let mut edge = Edge {
            child,
            directory: self.directory,
            output,
            listeners: BTreeMap::new(),
            admin: None,
        };
        tokio::select! {
            status = edge.child.wait() => {
                let status = status.unwrap();
                for reader in readers {
                    within("the rest of the output", reader).await.unwrap();
                }
                return Err((status, edge.text()));
            }
            () = ready(&edge.output, &config) => {}
        }
        let Listening { listeners, admin } = Listening::read(&edge.text());
        edge.listeners = listeners;
        edge.admin = admin.and_then(|admin| admin.parse().ok());
        edge.until_ready().await;
        Ok(edge)
    }
}

impl Edge {
    /// [`Start::with`] and [`Start::run`].
    pub async fn start(config: &str) -> Self {
        Start::with(config).run().await
    }

    /// The address of the only listener, or of the first by name.
    pub fn address(&self) -> SocketAddr {
        let first = self.listeners.values().next();
        *first.unwrap_or_else(|| panic!("no listener in:\n{}", self.text()))
    }

    /// The address of a named listener.
    pub fn listener(&self, name: &str) -> SocketAddr {
        let known = self.listeners.get(name);
        *known.unwrap_or_else(|| panic!("no listener {name} in:\n{}", self.text()))
    }

    /// The admin address.
    pub fn admin(&self) -> SocketAddr {
        self.admin.expect("an admin address in the config")
    }

    /// The directory of the config file.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("a running program")
    }

    /// Resident memory of the program, in bytes.
    pub fn memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes: usize = line
            .unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap();
        kilobytes * 1024
    }

    /// Replaces a file in the directory.
    pub fn write(&self, name: &str, contents: &str) -> PathBuf {
        write(self.directory.path(), name, contents)
    }

    /// Replaces the config; addresses that were chosen by the system should be written out as
    /// they are now, or a listener moves.
    pub fn write_config(&self, config: &str) {
        self.write("cutwater.toml", config);
    }

    /// Sends a signal by name: HUP, TERM, USR2.
    pub async fn signal(&self, name: &str) {
        let kill = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.pid().to_string())
            .status();
        assert!(within("kill", kill).await.unwrap().success());
    }

    /// Waits for the program to end by itself.
    pub async fn exit(&mut self) -> ExitStatus {
        within("the program's end", self.child.wait())
            .await
            .unwrap()
    }

    /// Kills it at once, as a crash does, and waits until it is gone.
    pub async fn crash(&mut self) {
        within("the program's end", self.child.kill())
            .await
            .unwrap();
    }

    /// Everything written so far that is not JSON, with line breaks.
    pub fn text(&self) -> String {
        self.output.borrow().text.join("\n")
    }

    /// Waits for a line of text that contains `part`.
    pub async fn until_text(&self, part: &str) -> String {
        let found = |output: &Output| {
            let mut lines = output.text.iter();
            lines.find(|line| line.contains(part)).cloned()
        };
        self.until(part, found).await
    }

    /// The lines of the access log so far.
    pub fn access(&self) -> Vec<Value> {
        let output = self.output.borrow();
        output
            .json
            .iter()
            .filter(|line| is_access(line))
            .cloned()
            .collect()
    }

    /// The lines of the connection log so far.
    pub fn connections(&self) -> Vec<Value> {
        let output = self.output.borrow();
        output
            .json
            .iter()
            .filter(|line| is_connection(line))
            .cloned()
            .collect()
    }

    /// Waits for an access-log line that fits.
    pub async fn until_access(&self, fits: impl Fn(&Value) -> bool) -> Value {
        self.until_json("access", |line| is_access(line) && fits(line))
            .await
    }

    /// Waits for a connection-log line that fits.
    pub async fn until_connection(&self, fits: impl Fn(&Value) -> bool) -> Value {
        self.until_json("connection", |line| is_connection(line) && fits(line))
            .await
    }

    /// Waits until so many access-log lines fit, and returns them all.
    pub async fn until_accesses(&self, count: usize, fits: impl Fn(&Value) -> bool) -> Vec<Value> {
        let found = |output: &Output| {
            let lines = output.json.iter();
            let fitting: Vec<_> = lines.filter(|line| is_access(line) && fits(line)).collect();
            (fitting.len() >= count).then(|| fitting.into_iter().cloned().collect())
        };
        self.until("access lines", found).await
    }

    /// Waits until so many connection-log lines fit, and returns them all.
    pub async fn until_connections(
        &self,
        count: usize,
        fits: impl Fn(&Value) -> bool,
    ) -> Vec<Value> {
        let found = |output: &Output| {
            let lines = output.json.iter();
            let fitting: Vec<_> = lines
                .filter(|line| is_connection(line) && fits(line))
                .collect();
            (fitting.len() >= count).then(|| fitting.into_iter().cloned().collect())
        };
        self.until("connection lines", found).await
    }

    async fn until_json(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let found = |output: &Output| output.json.iter().find(|line| fits(line)).cloned();
        self.until(what, found).await
    }

    async fn until<T>(&self, what: &str, found: impl Fn(&Output) -> Option<T>) -> T {
        match tokio::time::timeout(BOUND, wait_for(&self.output, found)).await {
            Ok(found) => found,
            Err(_) => {
                let output = self.output.borrow();
                panic!("no {what} within {BOUND:?}; {output:#?}")
            }
        }
    }

    /// GETs a path of the admin port.
    pub async fn admin_get(&self, path: &str) -> Response {
        let get = admin_get(self.admin(), path);
        within("the admin port", get).await.unwrap()
    }

    /// The metrics in their text form.
    pub async fn metrics(&self) -> String {
        self.admin_get("/metrics").await.text().to_owned()
    }

    /// The sum of all samples of a metric whose labels contain each of `labels`
    /// (`early="accepted"`); 0 if there is none.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        sum_of(&self.metrics().await, name, labels)
    }

    /// Polls /readyz where there is an admin port.
    async fn until_ready(&self) {
        let Some(admin) = self.admin else {
            return;
        };
        let ready = poll(async || {
            let answer = admin_get(admin, "/readyz").await.ok()?;
            (answer.status == 200).then_some(())
        });
        if tokio::time::timeout(BOUND, ready).await.is_err() {
            panic!("not ready within {BOUND:?}:\n{}", self.text());
        }
    }
}

/// What the program says it listens on: `listening address=127.0.0.1:43211 listener=public` and
/// `listening admin=127.0.0.1:9901`, among other words and fields, in any order, quoted or not.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listening {
    /// By listener's name; a nameless one goes by its address.
    pub listeners: BTreeMap<String, SocketAddr>,
    /// An address or `unix:PATH`.
    pub admin: Option<String>,
}

impl Listening {
    /// Reads it out of all the program wrote. A later line for the same listener replaces an
    /// earlier one.
    pub fn read(text: &str) -> Self {
        let mut said = Self::default();
        for line in text.lines().filter(|line| line.contains("listening")) {
            if let Some(admin) = field(line, "admin") {
                said.admin = Some(admin.to_owned());
            } else if let Some(address) = field(line, "address") {
                let name = field(line, "listener").unwrap_or(address);
                if let Ok(address) = address.parse() {
                    said.listeners.insert(name.to_owned(), address);
                }
            }
        }
        said
    }
}

/// Runs the program to its end: `run(&["check", "--config", "x.toml"])`. Status, stdout, stderr.
pub async fn run(arguments: &[&str]) -> (ExitStatus, String, String) {
    let command = Command::new(PROGRAM)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = within("the program's end", command).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status, text(output.stdout), text(output.stderr))
}

/// The sum of the samples of `name` in the Prometheus text format whose labels contain each of
/// `labels`.
pub fn sum_of(text: &str, name: &str, labels: &[&str]) -> f64 {
    let samples = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (base, found) = series.split_once('{').unwrap_or((series, ""));
        let fits = base == name && labels.iter().all(|label| found.contains(label));
        fits.then(|| value.parse::<f64>().ok())?
    });
    samples.sum()
}

fn write(directory: &Path, name: &str, contents: &str) -> PathBuf {
    let path = directory.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, contents).unwrap();
    path
}

fn is_access(line: &Value) -> bool {
    line.get("status").is_some() && line.get("method").is_some()
}

fn is_connection(line: &Value) -> bool {
    line.get("client_hellos").is_some()
}

/// The value of `NAME=value` or `NAME="value"` in a line of tracing's.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let at = line.split_whitespace().find_map(|word| {
        let value = word.strip_prefix(name)?.strip_prefix('=')?;
        Some(value.trim_matches(['"', ',', '}']))
    });
    at.filter(|value| !value.is_empty())
}

/// Waits for a line for each listener of the config, and for its admin port.
async fn ready(output: &watch::Sender<Output>, config: &str) {
    let wanted = config.matches("[[listen]]").count().max(1);
    let admin = config.lines().any(|line| line.trim() == "[admin]");
    let all_listen = |output: &Output| {
        let said = Listening::read(&output.text.join("\n"));
        (said.listeners.len() >= wanted && (said.admin.is_some() || !admin)).then_some(())
    };
    let waited = tokio::time::timeout(BOUND, wait_for(output, all_listen)).await;
    if waited.is_err() {
        let text = output.borrow().text.join("\n");
        panic!("not all listen within {BOUND:?}:\n{text}");
    }
}

async fn wait_for<T>(output: &watch::Sender<Output>, found: impl Fn(&Output) -> Option<T>) -> T {
    let mut changes = output.subscribe();
    loop {
        if let Some(found) = found(&changes.borrow_and_update()) {
            return found;
        }
        // The sender is ours: it cannot be gone.
        changes.changed().await.unwrap();
    }
}

async fn gather(pipe: impl AsyncRead + Unpin, output: watch::Sender<Output>) {
    let mut lines = BufReader::new(pipe).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let line = without_colours(&line);
        output.send_modify(|output| match serde_json::from_str(&line) {
            Ok(json @ Value::Object(_)) => output.json.push(json),
            _ => output.text.push(line),
        });
    }
}

fn without_colours(line: &str) -> String {
    let mut parts = line.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once('m').map_or(part, |(_, rest)| rest));
    }
    plain
}

async fn admin_get(address: SocketAddr, path: &str) -> std::io::Result<Response> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    Response::take(&mut bytes, false, true).ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
}
