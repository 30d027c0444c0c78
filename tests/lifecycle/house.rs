//! One site under a config, and what the tests of this binary ask of it.

use std::time::Duration;

use crate::support::client::{Client, Ending};
use crate::support::edge::{Edge, Start};
use crate::support::pki::{Files, Pki};
use crate::support::setup::ClientSetup;
use crate::support::{BOUND, within};

/// The only site, unless a test says otherwise.
pub const NAME: &str = "example.com";

/// A `respond` route for everything.
pub const HELLO: &str = "[[site.route]]\npath = \"/\"\nrespond = { body = \"hello\\n\" }\n";

/// An authority and the files of one leaf, to write configs with.
pub struct House {
    pub pki: Pki,
    pub files: Files,
}

impl House {
    pub fn new() -> Self {
        let pki = Pki::new();
        let files = pki.files(&[NAME]);
        Self { pki, files }
    }

    /// A config: `listen` goes into the listener's table and may open further tables, `site` goes
    /// into the site's.
    pub fn config(&self, listen: &str, site: &str) -> String {
        let certificate = self.files.toml();
        format!(
            "[admin]\naddress = \"127.0.0.1:0\"\n\
             [[listen]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n{listen}\n\
             [[site]]\nnames = [\"{NAME}\"]\ncertificate = {certificate}\n{site}\n"
        )
    }

    /// Starts the program with [`House::config`].
    pub async fn start(&self, listen: &str, site: &str) -> Edge {
        Start::with(&self.config(listen, site)).run().await
    }

    /// A client of HTTP/1.1.
    pub fn client(&self) -> ClientSetup {
        self.pki.client().alpn(&["http/1.1"])
    }

    /// A client of HTTP/2.
    pub fn h2(&self) -> ClientSetup {
        self.pki.client().alpn(&["h2"])
    }

    /// An open HTTP/1.1 connection.
    pub async fn open(&self, edge: &Edge) -> Client {
        Client::open(edge.address(), NAME, &self.client()).await
    }
}

/// A GET as HTTP/1.1 writes it.
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: {NAME}\r\n\r\n").into_bytes()
}

/// An HTTP/2 GET.
pub fn get2(path: &str) -> http::Request<bytes::Bytes> {
    crate::support::h2::request("GET", &format!("https://{NAME}{path}"), "")
}

/// The number of deadlines of a kind that passed.
pub async fn timeouts(edge: &Edge, kind: &str) -> f64 {
    let label = format!("kind=\"{kind}\"");
    edge.metric("cutwater_timeouts_total", &[&label]).await
}

/// Waits until a metric is at least `least`.
pub async fn until_metric(edge: &Edge, name: &'static str, labels: &[&str], least: f64) {
    within(name, async {
        while edge.metric(name, labels).await < least {
            pause(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// Waits until a metric is exactly `value`.
pub async fn until_gauge(edge: &Edge, name: &'static str, value: f64) {
    within(name, async {
        while (edge.metric(name, &[]).await - value).abs() > 0.1 {
            pause(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// Lets time pass: for what must *not* happen meanwhile, and between two looks at another process.
pub async fn pause(time: Duration) {
    assert!(time < BOUND);
    #[expect(
        clippy::disallowed_methods,
        reason = "another process cannot be awaited"
    )]
    tokio::time::sleep(time).await;
}

/// Whether the server closed without a word: neither alert nor close_notify.
pub fn is_cut(ending: &Ending) -> bool {
    matches!(ending, Ending::Truncated | Ending::Reset)
}

/// Reloads and waits for the next generation.
pub async fn reload(edge: &Edge, config: &str) {
    let generation = edge.metric("cutwater_config_generation", &[]).await;
    edge.write_config(config);
    edge.signal("HUP").await;
    until_metric(edge, "cutwater_config_generation", &[], generation + 1.0).await;
}
