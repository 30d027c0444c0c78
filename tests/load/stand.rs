//! An edge in this process, and runs against it and others.

use std::io::ErrorKind::AddrInUse;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::Duration;

use cutwater::body::Body;
use cutwater::config::spec::ListenSpec;
use cutwater::early::EarlyDataPolicy;
use cutwater::edge::{Edge, EdgeError, Site};
use cutwater::handler::{EarlyRequest, Handler, HandlerError, early};
use cutwater::load::plan::{Amount, Mode, Plan, Target, Trust, Usage};
use cutwater::load::stats::Stats;
use cutwater::load::{Stop, run};
use cutwater::telemetry::labels::{HandshakeKind, TlsVersion};
use cutwater::telemetry::metrics::Metrics;
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use rustls::pki_types::CertificateDer;

use crate::support::pki::Pki;
use crate::support::within;

/// The name of every server here.
pub const NAME: &str = "a.test";

/// An edge that answers early requests at once, `/wait` behind the handshake, `/echo` with the
/// body, and `/none` with 404.
pub struct Stand {
    pub pki: Pki,
    pub edge: Edge,
}

impl Stand {
    pub fn start() -> Self {
        Self::with_names(&[NAME])
    }

    pub fn with_names(names: &[&str]) -> Self {
        Self::made_of(names, || early(answer))
    }

    /// One whose requests go to this function.
    pub fn with_handler<F, A>(function: F) -> Self
    where
        F: Fn(EarlyRequest) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Result<Response<Body>, HandlerError>> + Send + 'static,
    {
        Self::made_of(&[NAME], || early(function.clone()))
    }

    fn made_of<H: Handler>(names: &[&str], handler: impl Fn() -> H) -> Self {
        let pki = Pki::new();
        let mut tries = 1;
        let edge = loop {
            match Self::edge(&pki, names, &handler) {
                // A port that is free over TCP may be some client's over UDP.
                Err(EdgeError::Io(error)) if error.kind() == AddrInUse && tries < 5 => tries += 1,
                edge => break edge.unwrap(),
            }
        };
        Self { pki, edge }
    }

    fn edge<H: Handler>(
        pki: &Pki,
        names: &[&str],
        handler: impl Fn() -> H,
    ) -> Result<Edge, EdgeError> {
        let sites = names.iter().map(|name| {
            let leaf = pki.leaf(&[name]);
            Site::new(name)
                .certificate(leaf.chain_pem.as_bytes(), leaf.key_pem.as_bytes())
                .early_data(true)
                .early_data_policy(EarlyDataPolicy::Allow)
                .handler(handler())
        });
        let mut listener = ListenSpec::new(([127, 0, 0, 1], 0).into());
        listener.quic = true.into();
        let builder = Edge::builder().listener(listener).workers(1);
        let builder = sites.fold(builder, |builder, site| builder.site(site));
        builder.build()
    }

    pub fn address(&self) -> SocketAddr {
        self.edge.addresses()[0]
    }

    /// Requests to `/`.
    pub fn plan(&self) -> Plan {
        self.plan_for("/")
    }

    pub fn plan_for(&self, path: &str) -> Plan {
        plan(self.address(), path, self.pki.roots_der())
    }

    pub fn handshakes(&self, kind: HandshakeKind) -> u64 {
        let metrics = self.edge.handle();
        let metrics: &Metrics = metrics.metrics();
        metrics.handshakes.completed.get(kind, TlsVersion::Tls13)
    }
}

async fn answer(request: EarlyRequest) -> Result<Response<Body>, HandlerError> {
    match request.uri().path() {
        "/wait" => {
            request.confirmed().await?;
            Ok(Response::new(Body::from("waited\n")))
        }
        "/echo" => {
            let body = request.confirmed().await?.into_body();
            let bytes = body.collect().await.map(|body| body.to_bytes());
            Ok(Response::new(Body::from(bytes.unwrap_or_default())))
        }
        "/none" => {
            let mut response = Response::new(Body::from("none\n"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            Ok(response)
        }
        _ => Ok(Response::new(Body::from("hello\n"))),
    }
}

/// A plan with a few connections and operations, that trusts these roots.
pub fn plan(address: SocketAddr, path: &str, roots: Vec<CertificateDer<'static>>) -> Plan {
    let url = format!("https://{NAME}:{}{path}", address.port());
    let mut plan = Plan::new(Target::parse(&url).unwrap(), address).unwrap();
    plan.tls.trust = Trust::Roots(roots);
    plan.connections = 4;
    plan.amount = Amount::Operations(20);
    plan
}

pub fn requests(count: u64) -> Usage {
    Usage::Requests(NonZeroU64::new(count).unwrap())
}

/// Runs a plan beside the test's own tasks, and fails if that takes too long.
pub async fn measure(plan: &Plan) -> Stats {
    let (plan, stop) = (plan.clone(), Stop::default());
    let task = tokio::task::spawn_blocking({
        let stop = stop.clone();
        move || run(&plan, &stop, |_| {})
    });
    let stats = within("the run", task).await.unwrap().unwrap();
    assert!(!stats.stopped);
    stats
}

/// As [`measure`], and nothing failed.
pub async fn measure_well(plan: &Plan) -> Stats {
    let stats = measure(plan).await;
    assert_eq!(stats.errors.by_kind(), [], "{:?}", stats.counts);
    if let Amount::Operations(count) = plan.amount {
        assert_eq!(stats.counts.operations, count);
        assert_eq!(stats.latencies.total.count(), count);
    }
    let series: u64 = stats.series.iter().map(|second| second.operations).sum();
    assert_eq!(series, stats.counts.operations);
    stats
}

/// In each of these modes.
pub const MODES: [Mode; 3] = [Mode::Full, Mode::Resumed, Mode::Early];

/// Long enough for anything on loopback.
pub const LONG: Duration = Duration::from_secs(5);
