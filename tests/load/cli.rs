//! The command line of `cutwater load`: what it refuses, what it writes, how it ends.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::support::edge::{Edge, Start, run};
use crate::support::pki::Pki;
use crate::support::within;

const NAME: &str = "example.com";

/// An edge with one site, and what points the generator at it.
struct Scene {
    edge: Edge,
    pki: Pki,
}

/// How a run ended and what it said.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Scene {
    async fn start(early_data: bool) -> Self {
        let pki = Pki::new();
        let certificate = pki.files(&[NAME]).toml();
        let policy = if early_data {
            "early_data = \"safe\"\n"
        } else {
            ""
        };
        let config = format!(
            "[log]\nconnections = \"all\"\n\
             [[listen]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\nquic = true\n\
             [[site]]\nnames = [\"{NAME}\"]\ncertificate = {certificate}\n\
             early_data = {early_data}\n\
             [[site.route]]\npath = \"/\"\n{policy}respond = {{ body = \"hello\\n\" }}\n\
             [[site.route]]\nexact = \"/gone\"\nrespond = {{ status = 404, body = \"\" }}\n"
        );
        let edge = Start::with(&config).run().await;
        Self { edge, pki }
    }

    /// What every run is told, for this path.
    fn arguments(&self, path: &str) -> Vec<String> {
        let words = [
            "load".into(),
            format!("https://{NAME}{path}"),
            "--connect".into(),
            self.edge.address().to_string(),
            "--ca".into(),
            self.pki.ca_file().display().to_string(),
        ];
        words.into()
    }

    async fn load(&self, path: &str, options: &[&str]) -> Ended {
        let mut words = self.arguments(path);
        words.extend(options.iter().map(|word| (*word).to_owned()));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        load(&words).await
    }

    fn file(&self, name: &str) -> String {
        self.edge.directory().join(name).display().to_string()
    }
}

async fn load(words: &[&str]) -> Ended {
    let (status, stdout, stderr) = run(words).await;
    Ended {
        code: status.code(),
        stdout,
        stderr,
    }
}

impl Ended {
    #[track_caller]
    fn with(self, code: i32) -> Self {
        let (stdout, stderr) = (&self.stdout, &self.stderr);
        assert_eq!(self.code, Some(code), "{stdout}\n{stderr}");
        self
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// A number of the report.
#[track_caller]
fn figure(report: &Value, path: &str) -> f64 {
    let pointer = format!("/{}", path.replace('.', "/"));
    let found = report.pointer(&pointer).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("{path} in {report:#}"))
}

#[tokio::test]
async fn what_cannot_be_used_ends_with_2_and_a_hint() {
    let cases: &[(&[&str], &str)] = &[
        (&["load"], "URL"),
        (&["load", "http://127.0.0.1/", "-k"], "https://"),
        (
            &["load", "https://127.0.0.1/", "-k", "--expect-early"],
            "--handshake early",
        ),
        (
            &["load", "https://127.0.0.1/", "--ca", "/no/such.pem"],
            "/no/such.pem",
        ),
        (&["load", "https://127.0.0.1/", "-k", "-m", "4"], "HTTP/2"),
        (
            &[
                "load",
                "https://127.0.0.1/",
                "-k",
                "--server-pid",
                "4294967295",
            ],
            "no process",
        ),
        (
            &[
                "load",
                "https://127.0.0.1/",
                "-k",
                "--json",
                "/no/such/a.json",
            ],
            "/no/such/a.json",
        ),
        (
            &["load", "--compare", "/no/a.json", "/no/b.json"],
            "/no/a.json",
        ),
    ];
    for (words, part) in cases {
        let ended = load(words).await.with(2);
        assert!(
            ended.stderr.starts_with("error: "),
            "{words:?}: {}",
            ended.stderr
        );
        assert!(ended.stderr.contains(part), "{words:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{words:?}");
    }
}

#[tokio::test]
async fn its_counts_are_those_of_the_server() {
    let scene = Scene::start(true).await;
    let ended = scene
        .load("/", &["-n", "120", "-c", "6", "-t", "2", "--json", "-"])
        .await
        .with(0);
    assert_eq!(ended.stderr, "", "no live line where nobody looks on");
    let report = ended.json();
    let requests = scene.edge.until_accesses(120, |_| true).await;
    assert_eq!(requests.len(), 120);
    let connections = scene.edge.until_connections(120, |_| true).await;
    assert_eq!(connections.len(), 120);
    for path in [
        "counts.operations",
        "counts.requests",
        "counts.full",
        "statuses.200",
    ] {
        assert_eq!(figure(&report, path), 120.0, "{path}");
    }
    assert_eq!(figure(&report, "counts.connections"), 120.0);
    assert_eq!(figure(&report, "errors_total"), 0.0);
    assert_eq!(figure(&report, "latency.total.count"), 120.0);
    assert_eq!(figure(&report, "counts.body"), 120.0 * 6.0);
    let (p50, p99) = ("latency.total.p50_us", "latency.total.p99_us");
    assert!(0.0 < figure(&report, p50) && figure(&report, p50) <= figure(&report, p99));
}

#[tokio::test]
async fn early_data_is_expected_and_comes() {
    let scene = Scene::start(true).await;
    let options = [
        "--handshake",
        "early",
        "-n",
        "40",
        "-c",
        "4",
        "--expect-early",
        "--json",
        "-",
    ];
    let report = scene.load("/", &options).await.with(0).json();
    assert_eq!(figure(&report, "counts.early_accepted"), 40.0);
    let early = |line: &Value| line["early"] == "accepted";
    let accepted = scene.edge.until_connections(40, early).await;
    assert_eq!(accepted.len(), 40);
}

#[tokio::test]
async fn early_data_is_expected_and_does_not_come() {
    let scene = Scene::start(false).await;
    let options = [
        "--handshake",
        "early",
        "-n",
        "8",
        "-c",
        "2",
        "--expect-early",
    ];
    let ended = scene.load("/", &options).await.with(1);
    assert!(
        ended
            .stdout
            .contains("failed: early data was to be accepted"),
        "{}",
        ended.stdout
    );
}

#[tokio::test]
async fn more_errors_than_allowed_end_with_1() {
    let scene = Scene::start(false).await;
    let options = ["-n", "10", "-c", "2", "--max-errors", "9"];
    let ended = scene.load("/gone", &options).await.with(1);
    assert!(ended.stdout.contains("10 status 404"), "{}", ended.stdout);
    assert!(
        ended.stdout.contains("failed: 10 errors"),
        "{}",
        ended.stdout
    );
    scene.load("/", &options).await.with(0);
    let nothing_well = scene.load("/gone", &["-n", "3", "-c", "1"]).await.with(1);
    assert!(
        nothing_well.stdout.contains("not one operation"),
        "{}",
        nothing_well.stdout
    );
}

#[tokio::test]
async fn a_refused_port_is_no_connection_of_any_kind() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let url = format!("https://{address}/");
    let options = ["--handshake", "early", "-n", "6", "-c", "2", "--json", "-"];
    let words: Vec<&str> = ["load", &url, "-k"].into_iter().chain(options).collect();
    let report = load(&words).await.with(1).json();
    assert_eq!(figure(&report, "errors.refused"), 6.0);
    for count in ["connections", "collecting", "full", "resumed"] {
        assert_eq!(figure(&report, &format!("counts.{count}")), 0.0, "{count}");
    }
}

#[tokio::test]
async fn two_reports_are_compared() {
    let scene = Scene::start(false).await;
    let (a, b) = (scene.file("a.json"), scene.file("b.json"));
    for (file, count) in [(&a, "10"), (&b, "20")] {
        let options = ["-n", count, "-c", "2", "--json", file];
        scene.load("/", &options).await.with(0);
    }
    let ended = load(&["load", "--compare", &a, &b]).await.with(0);
    let line = |begin: &str| {
        let found = ended.stdout.lines().find(|line| line.starts_with(begin));
        found
            .unwrap_or_else(|| panic!("{begin} in:\n{}", ended.stdout))
            .trim_end()
            .to_owned()
    };
    assert!(line("operations  ").ends_with("2.000"));
    assert!(line("full handshakes").ends_with("2.000"));
    line("total p99.9");
    line("handshake p50");
}

#[tokio::test]
async fn the_page_is_whole_and_has_the_figures() {
    let scene = Scene::start(false).await;
    let (page, json) = (scene.file("a.html"), scene.file("a.json"));
    let options = ["-n", "30", "-c", "3", "--html", &page, "--json", &json];
    let ended = scene.load("/", &options).await.with(0);
    assert!(ended.stdout.contains("30 full"), "{}", ended.stdout);
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
    assert!(page.contains("30 full, 0 resumed"));
    assert_eq!(page.matches("<svg").count(), 3);
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    assert!(json_file(&json)["generator"]["cpu_seconds"].is_f64());
}

fn json_file(path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(Path::new(path)).unwrap()).unwrap()
}

#[tokio::test]
async fn the_servers_cpu_time_is_told() {
    let scene = Scene::start(false).await;
    let pid = scene.edge.pid().to_string();
    let options = ["-n", "300", "-c", "4", "--server-pid", &pid, "--json", "-"];
    let report = scene.load("/", &options).await.with(0).json();
    // A tick of /proc is 10 ms: 300 full handshakes are several.
    assert!(figure(&report, "server.cpu_seconds") > 0.0);
    assert!(figure(&report, "server.cpu_us_per_operation") > 0.0);
    assert_eq!(figure(&report, "server.pid").to_string(), pid);
}

#[tokio::test]
async fn ctrl_c_prints_what_there_is() {
    let scene = Scene::start(false).await;
    let child = Command::new(env!("CARGO_BIN_EXE_cutwater"))
        .args(scene.arguments("/"))
        .args(["-d", "10m", "-c", "2", "--json", "-"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    scene.edge.until_accesses(20, |_| true).await;
    let pid = child.id().unwrap().to_string();
    let kill = Command::new("kill").args(["-INT", &pid]).status();
    assert!(within("kill", kill).await.unwrap().success());
    let output = within("its end", child.wait_with_output()).await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["stopped"], true);
    assert!(figure(&report, "counts.operations") >= 10.0);
}

#[tokio::test]
async fn a_replayed_flight_is_taken_once_here() {
    let scene = Scene::start(true).await;
    let report = scene
        .load("/", &["--replay", "3", "--json", "-"])
        .await
        .with(0)
        .json();
    assert_eq!(report["finding"], "clear", "{report:#}");
    let none = Scene::start(false).await;
    none.load("/", &["--replay", "3"]).await.with(3);
}

#[tokio::test]
async fn http3_is_spoken_and_reported_like_the_others() {
    let scene = Scene::start(true).await;
    let options = ["--protocol", "h3", "-n", "40", "-c", "2", "-m", "4"];
    let mut kept = options.to_vec();
    kept.extend(["--keep-alive", "--json", "-"]);
    let report = scene.load("/", &kept).await.with(0).json();
    assert_eq!(report["plan"]["protocol"], "h3");
    assert_eq!(figure(&report, "plan.streams"), 4.0);
    assert_eq!(figure(&report, "counts.operations"), 40.0);
    assert_eq!(figure(&report, "counts.connections"), 2.0);
    assert_eq!(figure(&report, "latency.connect.count"), 0.0);
    assert_eq!(figure(&report, "latency.handshake.count"), 2.0);
    assert!(figure(&report, "counts.sent") > 40.0 * 20.0);

    let early = ["--alpn", "h3", "-n", "6", "-c", "2", "--handshake", "early"];
    let mut expected = early.to_vec();
    expected.push("--expect-early");
    let ended = scene.load("/", &expected).await.with(0);
    assert!(ended.stdout.contains("h3"), "{}", ended.stdout);
    scene
        .edge
        .until_accesses(46, |line| line["status"] == 200)
        .await;
}

#[tokio::test]
async fn what_http3_does_not_do_here_is_an_error() {
    let scene = Scene::start(true).await;
    let options = ["--protocol", "h3", "--proxy-protocol", "v2"];
    let ended = scene.load("/", &options).await.with(2);
    assert!(ended.stderr.contains("HTTP/3 has none"), "{}", ended.stderr);
    let options = ["--protocol", "h3", "-m", "4"];
    let ended = scene.load("/", &options).await.with(2);
    assert!(ended.stderr.contains("HTTP/2 or 3"), "{}", ended.stderr);
    let options = [
        "--protocol",
        "h3",
        "--replay",
        "2",
        "--proxy-protocol",
        "v2",
    ];
    let ended = scene.load("/", &options).await.with(2);
    assert!(ended.stderr.contains("HTTP/3 has none"), "{}", ended.stderr);
}
