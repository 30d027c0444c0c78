//! The edge that these tests talk to.

use std::net::SocketAddr;

use crate::quic::client::Client;
use crate::support::edge::Edge;
use crate::support::pki::Pki;
use crate::support::setup::ClientSetup;
use crate::support::within;

/// The site with early data.
pub const NAME: &str = "example.com";
/// One without, known by a wildcard.
pub const WILD: &str = "a.wild.example";

/// A running edge with its certificates and a client that trusts them.
pub struct Scene {
    pub pki: Pki,
    pub edge: Edge,
    pub setup: ClientSetup,
    pub config: String,
}

/// What a test wants to have otherwise.
#[derive(Default)]
pub struct Wants<'a> {
    /// Lines of `[limits]`.
    pub limits: &'a str,
    /// Lines of the listener.
    pub listener: &'a str,
    /// Lines of the first site.
    pub site: &'a str,
    /// Its further routes.
    pub routes: &'a str,
    /// Other sites.
    pub sites: &'a str,
}

impl Scene {
    /// Two workers, all routes answered by the edge.
    pub async fn start() -> Self {
        Self::with(Wants::default()).await
    }

    /// With the differences of a test.
    pub async fn with(wants: Wants<'_>) -> Self {
        Self::of(Pki::new(), wants).await
    }

    /// With other sites, whose certificates `sites` makes.
    pub async fn with_sites(sites: impl FnOnce(&Pki) -> String, wants: Wants<'_>) -> Self {
        let pki = Pki::new();
        let sites = sites(&pki);
        let wants = Wants {
            sites: &sites,
            ..wants
        };
        Self::of(pki, wants).await
    }

    async fn of(pki: Pki, wants: Wants<'_>) -> Self {
        let config = config(&pki, &wants);
        let edge = Edge::start(&config).await;
        let setup = pki.client().alpn(&["h3"]);
        Self {
            pki,
            edge,
            setup,
            config,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.edge.address()
    }

    /// Connects to the site with early data.
    pub async fn client(&self) -> Client {
        Client::connect(self.address(), NAME, &self.setup).await
    }

    /// Gets a ticket for it, of a connection that is gone.
    pub async fn ticket(&self) {
        self.setup.tickets().clear();
        let mut client = self.client().await;
        let answer = client.get("https://example.com/").await;
        assert_eq!(answer.text(), "hello");
        let come = async {
            while self.setup.tickets().left(NAME) == 0 {
                tokio::task::yield_now().await;
            }
        };
        within("a ticket", come).await;
        client.close().await;
    }

    /// The sum of a metric, named without its prefix.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let name = format!("cutwater_{name}");
        self.edge.metric(&name, labels).await
    }

    /// Waits until a metric has this value.
    pub async fn until_metric(&self, name: &'static str, labels: &[&str], value: f64) {
        let equal = async { while self.metric(name, labels).await != value {} };
        within(name, equal).await;
    }

    /// Waits until so many connections were ended by this error of QUIC.
    pub async fn until_error(&self, error: &str, count: u32) {
        let label = format!("error=\"{error}\"");
        self.until_metric("quic_errors_total", &[&label], f64::from(count))
            .await;
    }

    /// Replaces the config and waits until it is in force.
    pub async fn reload(&self, config: &str) {
        let before = self.metric("config_generation", &[]).await;
        self.edge.write_config(config);
        self.edge.signal("HUP").await;
        let changed = async { while self.metric("config_generation", &[]).await <= before {} };
        within("the reload", changed).await;
    }

    /// Waits until no connection is open; nothing may have panicked.
    pub async fn settle(&self) {
        self.until_metric("connections_open", &[], 0.0).await;
        assert_eq!(self.metric("handshakes_unfinished", &[]).await, 0.0);
        let text = self.edge.text();
        assert!(!text.contains("panicked"), "{text}");
    }
}

fn config(pki: &Pki, wants: &Wants<'_>) -> String {
    let Wants {
        limits,
        listener,
        site,
        routes,
        sites,
    } = wants;
    let certificate = |name: &str| pki.files(&[name]).toml();
    format!(
        r#"
        [server]
        workers = 2
        [limits]
        {limits}
        [log]
        access = "stdout"
        connections = "all"
        [admin]
        address = "127.0.0.1:0"
        [[listen]]
        address = "127.0.0.1:0"
        name = "main"
        quic = true
        {listener}

        [[site]]
        names = ["{NAME}"]
        certificate = {example}
        early_data = true
        {site}
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
        names = ["*.wild.example"]
        certificate = {wild}
        [[site.route]]
        path = "/"
        respond = {{ status = 200, body = "wild" }}
        {sites}
        "#,
        example = certificate(NAME),
        wild = certificate("*.wild.example"),
    )
}

/// A route of the first site to an origin.
pub fn route_to(path: &str, origin: &str, more: &str) -> String {
    format!(
        "[[site.route]]\npath = \"{path}\"\norigin = {{ servers = [\"{origin}\"], early_data_aware = true }}\n{more}\n"
    )
}
