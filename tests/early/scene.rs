//! The edge that these tests talk to, and what they ask of its logs and metrics.

use std::path::PathBuf;

use cutwater::load::relay::Records;
use serde_json::Value;

use crate::support::client::Client;
use crate::support::edge::{Edge, Start};
use crate::support::origin::Origin;
use crate::support::pki::Pki;
use crate::support::setup::ClientSetup;
use crate::support::within;

/// The site with early data.
pub const NAME: &str = "example.com";
/// Another one with early data.
pub const OTHER: &str = "other.example";
/// One without.
pub const PLAIN: &str = "plain.example";
/// One without, that speaks TLS 1.2 too.
pub const OLD: &str = "old.example";

/// An early request that is answered at once.
pub const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: example.com\r\n\r\n";
/// One that waits for the client's Finished.
pub const POST: &[u8] = b"POST /wait HTTP/1.1\r\nhost: example.com\r\ncontent-length: 3\r\n\r\nabc";

/// A running edge with its certificates and a client that trusts them.
pub struct Scene {
    pki: Pki,
    pub edge: Edge,
    pub setup: ClientSetup,
    pub config: String,
}

impl Scene {
    /// Two workers and four sites, all routes answered by the edge.
    pub async fn start() -> Self {
        let pki = Pki::new();
        let config = config(&pki, "");
        Self::with(pki, config).await
    }

    /// With `/echo` (`wait`) and `/aware` (`allow`) forwarded to this origin.
    pub async fn before(origin: &Origin) -> Self {
        let pki = Pki::new();
        let config = config(&pki, &routes_to(&servers(&origin.url())));
        Self::with(pki, config).await
    }

    /// With a config of one's own.
    pub async fn with(pki: Pki, config: String) -> Self {
        let edge = Edge::start(&config).await;
        let setup = pki.client().alpn(&["http/1.1"]);
        Self {
            pki,
            edge,
            setup,
            config,
        }
    }

    /// The file of the root certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.pki.ca_file()
    }

    /// Ends the program as a crash does and starts it again.
    pub async fn restart(&mut self) {
        self.edge.crash().await;
        self.edge = Start::with(&self.config).run().await;
    }

    /// Another process with the same config: its tickets are unknown here.
    pub async fn twin(&self) -> Edge {
        Edge::start(&self.config).await
    }

    /// Replaces the config and waits until it is in force.
    pub async fn reload(&mut self, config: &str) {
        let before = self.generation().await;
        self.edge.write_config(config);
        self.edge.signal("HUP").await;
        let changed = async { while self.generation().await <= before {} };
        within("the reload", changed).await;
    }

    async fn generation(&self) -> f64 {
        self.metric("config_generation", &[]).await
    }

    /// The sum of a metric, named without its prefix.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let name = format!("cutwater_{name}");
        self.edge.metric(&name, labels).await
    }

    /// Early data refused for this reason so far.
    pub async fn refused(&self, reason: &str) -> f64 {
        let label = format!("reason=\"{reason}\"");
        self.metric("early_data_refused_total", &[&label]).await
    }

    /// Gets one ticket for the site, of a connection that is gone already. Older ones go: whoever
    /// has a ticket offers early data, even if it sends none.
    pub async fn ticket(&self) {
        self.setup.tickets().clear();
        Client::fetch_ticket(self.edge.address(), NAME, &self.setup).await;
    }

    /// Connects; nothing is sent.
    pub async fn connect(&self) -> Client {
        Client::connect(self.edge.address(), NAME, &self.setup).await
    }

    /// Gets a ticket and connects with this early data pending, Finished held.
    pub async fn early(&self, data: &[u8]) -> Client {
        self.ticket().await;
        let mut client = self.connect().await;
        client.early(data);
        client.hold_finished();
        client
    }

    /// A first flight with this early data that has not been sent to anyone.
    pub async fn flight(&self, data: &[u8]) -> Vec<u8> {
        self.early(data).await.take_pending()
    }

    /// The connection log's line of a client's connection, once it has ended.
    pub async fn line(&self, client: &Client) -> Value {
        let address = client.local_address().to_string();
        let line = |line: &Value| line["client"] == address.as_str();
        self.edge.until_connection(line).await
    }

    /// Waits until no connection is open; nothing may have panicked, and what was offered as early
    /// data was accepted or refused, but for `undecided` connections.
    pub async fn settle(&self, undecided: u32) {
        let closed = async { while self.metric("connections_open", &[]).await > 0.0 {} };
        within("the end of all connections", closed).await;
        assert_eq!(self.metric("handshakes_unfinished", &[]).await, 0.0);
        let offered = self.metric("early_data_offered_total", &[]).await;
        let accepted = self.metric("early_data_accepted_total", &[]).await;
        let refused = self.metric("early_data_refused_total", &[]).await;
        assert_eq!(
            offered,
            accepted + refused + f64::from(undecided),
            "{accepted} accepted, {refused} refused"
        );
        self.no_panic();
    }

    /// Nothing has panicked.
    pub fn no_panic(&self) {
        let text = self.edge.text();
        assert!(!text.contains("panicked"), "{text}");
    }
}

/// `/echo` (`wait`) and `/aware` (`allow`), forwarded to an origin with these keys.
pub fn routes_to(origin: &str) -> String {
    format!(
        r#"
        [[site.route]]
        path = "/echo"
        origin = {{ {origin} }}
        [[site.route]]
        path = "/aware"
        early_data = "allow"
        origin = {{ {origin}, early_data_aware = true }}
        "#
    )
}

/// The keys of an origin that has one server.
pub fn servers(url: &str) -> String {
    format!("servers = [{url:?}]")
}

/// The config of [`Scene::start`] and [`Scene::before`], with further routes of the first site.
pub fn config(pki: &Pki, routes: &str) -> String {
    let certificate = |name: &str| pki.files(&[name]).toml();
    format!(
        r#"
        [server]
        workers = 2
        [log]
        access = "stdout"
        connections = "all"
        [admin]
        address = "127.0.0.1:0"
        [[listen]]
        address = "127.0.0.1:0"
        name = "main"

        [[site]]
        names = ["{NAME}"]
        certificate = {example}
        early_data = true
        [[site.route]]
        path = "/"
        early_data = "safe"
        respond = {{ status = 200, body = "hello" }}
        [[site.route]]
        path = "/wait"
        respond = {{ status = 200, body = "waited" }}
        [[site.route]]
        path = "/refuse"
        early_data = "refuse"
        respond = {{ status = 200, body = "sure" }}
        {routes}

        [[site]]
        names = ["{OTHER}"]
        certificate = {other}
        early_data = true
        [[site.route]]
        path = "/"
        early_data = "safe"
        respond = {{ status = 200, body = "other" }}

        [[site]]
        names = ["{PLAIN}"]
        certificate = {plain}
        [[site.route]]
        path = "/"
        respond = {{ status = 200, body = "plain" }}

        [[site]]
        names = ["{OLD}"]
        certificate = {old}
        min_version = "1.2"
        early_data = true
        [[site.route]]
        path = "/"
        early_data = "safe"
        respond = {{ status = 200, body = "old" }}
        "#,
        example = certificate(NAME),
        other = certificate(OTHER),
        plain = certificate(PLAIN),
        old = certificate(OLD),
    )
}

/// A GET for this path and query.
pub fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nhost: {NAME}\r\n\r\n").into_bytes()
}

/// A GET on another site.
pub fn get_of(name: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nhost: {name}\r\n\r\n").into_bytes()
}

/// Where the application data of a flight begins: what is before it is the ClientHello.
pub fn early_at(flight: &[u8]) -> usize {
    let mut records = Records::of(flight);
    let first = records.find(|record| record.kind == 23);
    first.map_or(flight.len(), |record| record.at)
}
