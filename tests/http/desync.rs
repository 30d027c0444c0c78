//! Whether edge and origin ever believe different things: known shapes of request smuggling and
//! desynchronisation, sent over real TLS, in front of origins that parse differently.
//!
//! The shapes are data, in `desync/shapes`, each with a name and where it is known from. After each
//! comes a marker on the same connection, and one on another. Then the edge's access log and what
//! the origin says to have seen are laid side by side: every request that the origin saw is one
//! that the edge says to have forwarded, once, with the same method, target and body; and every
//! answer belongs to the request that it was given to.

mod http1;
mod http2;
mod origins;
mod responses;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde::Deserialize;
use serde_json::Value;

use self::origins::Watched;
use crate::http::stand::{Stand, get, route};

/// A file of shapes.
#[derive(Deserialize)]
struct Shapes<S> {
    shape: Vec<S>,
}

fn shapes<S: for<'de> Deserialize<'de>>(text: &str) -> Vec<S> {
    toml::from_str::<Shapes<S>>(text).unwrap().shape
}

/// An edge in front of an origin that tells what it sees.
struct Scene {
    stand: Stand,
    origin: Arc<Watched>,
    /// Connections and lines that were told of, by the client's address.
    told: Mutex<HashMap<SocketAddr, (usize, usize)>>,
}

impl Scene {
    async fn new(origin: Arc<Watched>) -> Self {
        let url = format!("http://{}", origin.address);
        // Whatever is left incomplete ends soon.
        let site = "timeouts = { request_headers = \"200ms\" }\n";
        let keys = format!("origin = [{url:?}]\ntimeouts = {{ request_body_idle = \"200ms\" }}");
        let stand = Stand::start(&(site.to_owned() + &route("/", &keys))).await;
        Self {
            stand,
            origin,
            told: Mutex::default(),
        }
    }

    /// How many connections from `client` the edge has told of, and lines: ports come again.
    fn before(&self, client: SocketAddr) -> (usize, usize) {
        let told = self.told.lock().unwrap();
        told.get(&client).copied().unwrap_or_default()
    }

    /// What the edge says of the connection from `client` behind what it said before: waits for its
    /// end.
    async fn lines(
        &self,
        name: &str,
        address: SocketAddr,
        (connections, lines): (usize, usize),
    ) -> Vec<Value> {
        let client = address.to_string();
        let own = |line: &Value| line["client"] == client.as_str();
        let edge = &self.stand.edge;
        let told = edge.until_connections(connections + 1, own).await;
        let count = told[connections]["requests"].as_u64().unwrap();
        let count = lines + usize::try_from(count).unwrap();
        self.told
            .lock()
            .unwrap()
            .insert(address, (connections + 1, count));
        let mut told = edge.until_accesses(count, own).await;
        assert_eq!(told.len(), count, "{name}");
        told.split_off(lines)
    }

    /// Lays what the edge says to have forwarded beside what the origin saw.
    async fn compare(&self, name: &str, lines: &[Value]) {
        let forwarded: Vec<&Value> = lines.iter().filter(|line| was_forwarded(line)).collect();
        let whole = |line: &&&Value| line["end"] == "complete" && line["status"] == 200;
        let expected: HashSet<&str> = forwarded
            .iter()
            .filter(whole)
            .map(|line| line["request_id"].as_str().unwrap())
            .collect();
        self.origin.until_seen(name, &expected).await;
        let ids = lines.iter().filter_map(|line| line["request_id"].as_str());
        let ids: HashSet<&str> = ids.collect();
        let mut seen = self.origin.all();
        seen.retain(|seen| ids.contains(seen.id.as_str()));
        for seen in &seen {
            let mut fitting = lines
                .iter()
                .filter(|line| line["request_id"] == seen.id.as_str());
            let line = fitting.next();
            let line = line.unwrap_or_else(|| panic!("{name}: nobody forwarded {seen:?}"));
            assert!(fitting.next().is_none(), "{name}: {seen:?} twice");
            assert_eq!(line["method"], seen.method.as_str(), "{name}");
            assert!(is_target(&seen.target, line), "{name}: {seen:?}");
            if seen.whole {
                assert_eq!(line["bytes_in"], seen.body.len(), "{name}: {seen:?}");
            } else {
                assert_ne!(
                    line["end"].as_str().zip(line["status"].as_u64()),
                    Some(("complete", 200)),
                    "{name}: {seen:?}"
                );
            }
        }
        let ids: HashSet<&str> = seen.iter().map(|seen| seen.id.as_str()).collect();
        assert_eq!(
            ids.len(),
            seen.len(),
            "{name}: one request was seen twice: {seen:?}"
        );
    }

    /// A request on another client connection, which gets the origin's connection that is used last.
    async fn other(&self, name: &str) {
        let mut client = self.stand.http1().await;
        let address = client.local_address();
        let before = self.before(address);
        client.send(get("/other").as_bytes()).await;
        let answer = client.response().await;
        assert_eq!(
            (answer.status, answer.text()),
            (200, "GET /other"),
            "after {name}"
        );
        client.close_notify().await;
        drop(client);
        self.lines(name, address, before).await;
    }

    /// The requests that the edge knows of, and how many of them an origin refused.
    fn known(&self) -> (HashSet<String>, usize) {
        let lines = self.stand.edge.access();
        let ids = lines.iter().filter_map(|line| line["request_id"].as_str());
        let refused = |line: &&Value| was_forwarded(line) && line["status"] == 400;
        (
            ids.map(str::to_owned).collect(),
            lines.iter().filter(refused).count(),
        )
    }
}

/// The target that an origin gets of a line's.
fn target(line: &Value) -> &str {
    let path = line["path"].as_str().unwrap();
    path.strip_prefix("https://example.com").unwrap_or(path)
}

/// Whether an origin that believes to be asked for `seen` was asked for the line's target. Python
/// takes several slashes at the start of a target for one.
fn is_target(seen: &str, line: &Value) -> bool {
    let target = target(line);
    seen == target || seen == format!("/{}", target.trim_start_matches('/'))
}

/// Whether a text is what an origin answers to the request of a line.
fn is_answer(text: &str, line: &Value) -> bool {
    let (method, seen) = text.split_once(' ').unwrap_or_default();
    line["method"] == method && is_target(seen, line)
}

fn was_forwarded(line: &Value) -> bool {
    line["origin"].is_string()
}

/// What was forwarded of a shape, as its file has it: METHOD TARGET LENGTH.
fn told(lines: &[Value]) -> Vec<String> {
    let whole = lines
        .iter()
        .filter(|line| was_forwarded(line) && line["status"] == 200 && line["path"] != "/marker");
    whole
        .map(|line| {
            let target = line["path"].as_str().unwrap();
            let target = target.strip_prefix("https://example.com").unwrap_or(target);
            format!(
                "{} {target} {}",
                line["method"].as_str().unwrap(),
                line["bytes_in"]
            )
        })
        .collect()
}

/// Tries every shape, each in a task of its own; the names of those that failed.
async fn each<S, F>(run: &mut Run, shapes: Vec<S>, one: impl Fn(Arc<Scene>, S) -> F)
where
    S: Named,
    F: Future<Output = ()> + Send + 'static,
{
    let mut shapes = shapes.into_iter().peekable();
    while shapes.peek().is_some() {
        // What one edge has said is looked through again and again.
        let scene = Arc::new(Scene::new(Arc::clone(&run.origin)).await);
        for shape in shapes.by_ref().take(50) {
            let name = shape.name();
            let tried = tokio::spawn(one(Arc::clone(&scene), shape)).await;
            if tried.is_err() {
                run.failed.push(name.clone());
            }
            scene.other(&name).await;
        }
        let (known, refused) = scene.known();
        run.known.extend(known);
        run.refused += refused;
    }
}

/// All shapes before one origin.
struct Run {
    origin: Arc<Watched>,
    failed: Vec<String>,
    known: HashSet<String>,
    refused: usize,
}

impl Run {
    /// Nothing is left that nobody asked for.
    fn finish(self) {
        // All of them are told, not the first alone.
        assert!(self.failed.is_empty(), "{:#?}", self.failed);
        // A request line that nginx does not take is logged as nothing at all.
        let all = self.origin.all().into_iter();
        let (nameless, named): (Vec<_>, Vec<_>) =
            all.partition(|seen| seen.id.is_empty() && !seen.whole);
        assert!(nameless.len() <= self.refused, "{nameless:?}");
        for seen in named {
            assert!(self.known.contains(&seen.id), "nobody forwarded {seen:?}");
            assert!(!seen.target.contains("smuggled"), "{seen:?}");
        }
    }
}

trait Named {
    fn name(&self) -> String;
}

async fn run(origin: Option<Watched>) {
    let Some(origin) = origin else { return };
    let mut run = Run {
        origin: Arc::new(origin),
        failed: Vec::new(),
        known: HashSet::new(),
        refused: 0,
    };
    http1::run(&mut run).await;
    http2::run(&mut run).await;
    run.finish();
}

#[tokio::test]
async fn nginx_and_the_edge_believe_the_same() {
    run(Watched::nginx().await).await;
}

#[tokio::test]
async fn python_and_the_edge_believe_the_same() {
    run(Watched::python().await).await;
}

#[tokio::test]
async fn node_and_the_edge_believe_the_same() {
    run(Watched::node().await).await;
}

#[tokio::test]
async fn hyper_and_the_edge_believe_the_same() {
    run(Some(Watched::hyper().await)).await;
}
