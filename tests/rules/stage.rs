//! An edge in this process, with a route for every policy and everything that can answer.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use cutwater::body::Body;
use cutwater::config::snapshot::Redirect;
use cutwater::config::spec::{RespondSpec, RouteSpec, TargetSpec};
use cutwater::deadline::Deadline;
use cutwater::early::EarlyDataPolicy;
use cutwater::edge::{Edge, EdgeHandle, Origin as To, Site};
use cutwater::handler::{EarlyRequest, early, plain};
use cutwater::state::ConnectionState;
use cutwater::telemetry::metrics::Metrics;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::support::client::Client;
use crate::support::origin::{Asked, Origin};
use crate::support::pki::Pki;
use crate::support::setup::ClientSetup;
use crate::support::within;

/// Early data; routes `/TARGET/POLICY` for all of both.
pub const EARLY: &str = "early.test";
/// No early data; routes `/TARGET/refuse` and `/TARGET/wait`.
pub const LATE: &str = "late.test";
/// As [`LATE`], and TLS 1.2 is accepted.
pub const OLD: &str = "old.test";

/// The policies, with the words of their paths.
pub const POLICIES: [EarlyDataPolicy; 4] = [
    EarlyDataPolicy::Refuse,
    EarlyDataPolicy::Wait,
    EarlyDataPolicy::Safe,
    EarlyDataPolicy::Allow,
];

/// What a handler saw of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub path: String,
    pub early: bool,
    pub marked: bool,
}

pub struct Stage {
    pub pki: Pki,
    /// Understands `Early-Data`.
    pub aware: Origin,
    pub unaware: Origin,
    pub address: SocketAddr,
    pub handle: EdgeHandle,
    views: Arc<Mutex<Vec<View>>>,
    /// Dropped, it ends.
    _edge: Edge,
}

impl Stage {
    /// With origins that answer 200.
    pub async fn start() -> Self {
        Self::with(Origin::echo().await).await
    }

    /// With this one as the origin that understands `Early-Data`.
    pub async fn with(aware: Origin) -> Self {
        let pki = Pki::new();
        let unaware = Origin::echo().await;
        let views = Arc::new(Mutex::new(Vec::new()));
        let site = |name: &str| {
            let leaf = pki.leaf(&[name]);
            Site::new(name).certificate(leaf.chain_pem.as_bytes(), leaf.key_pem.as_bytes())
        };
        let mut early = site(EARLY).early_data(true);
        for policy in POLICIES {
            early = routes(early, policy, &aware, &unaware, &views);
        }
        let mut late = site(LATE);
        let mut old = site(OLD).tls12(true);
        for policy in [EarlyDataPolicy::Refuse, EarlyDataPolicy::Wait] {
            late = routes(late, policy, &aware, &unaware, &views);
            old = routes(old, policy, &aware, &unaware, &views);
        }
        let edge = Edge::builder()
            .listen(([127, 0, 0, 1], 0).into())
            .workers(1)
            .site(early)
            .site(late)
            .site(old)
            .build()
            .unwrap();
        Self {
            pki,
            aware,
            unaware,
            address: edge.addresses()[0],
            handle: edge.handle(),
            views,
            _edge: edge,
        }
    }

    pub fn metrics(&self) -> &Metrics {
        self.handle.metrics()
    }

    /// A client with a ticket for [`EARLY`].
    pub async fn returning(&self, alpn: &[&str]) -> ClientSetup {
        let setup = self.pki.client().alpn(alpn);
        Client::fetch_ticket(self.address, EARLY, &setup).await;
        setup
    }

    /// Sends this as early data to [`EARLY`] and withholds the Finished.
    pub async fn early(&self, setup: &ClientSetup, request: &str) -> Client {
        let mut client = Client::connect(self.address, EARLY, setup).await;
        client.early(request.as_bytes());
        client.hold_finished();
        client.send_pending().await;
        client.server_flight().await.unwrap();
        assert!(client.early_accepted(), "early data was refused");
        client
    }

    /// Waits until the edge, which has threads of its own, has come so far.
    #[track_caller]
    pub fn until(
        &self,
        what: &'static str,
        done: impl Fn(&Metrics) -> bool,
    ) -> impl Future<Output = ()> {
        within(what, async move {
            while !done(self.metrics()) {
                tokio::task::yield_now().await;
            }
        })
    }

    /// What the handlers saw of this path.
    pub fn views(&self, path: &str) -> Vec<View> {
        let views = self.views.lock().unwrap();
        let same = views.iter().filter(|view| view.path == path);
        same.cloned().collect()
    }
}

/// What the origin was asked about this path.
pub fn asked(origin: &Origin, path: &str) -> Vec<Asked> {
    let mut heads = origin.heads();
    heads.retain(|asked| asked.target() == path);
    heads
}

fn routes(
    site: Site,
    policy: EarlyDataPolicy,
    aware: &Origin,
    unaware: &Origin,
    views: &Arc<Mutex<Vec<View>>>,
) -> Site {
    let word = policy.as_str();
    let path = |target: &str| format!("/{target}/{word}");
    let aware = To::new(aware.address()).early_data_aware(true);
    let respond = RespondSpec {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        body: "ok".into(),
        body_file: None,
    };
    let to = HeaderValue::from_static("https://elsewhere.test/");
    let redirect = Redirect::new(StatusCode::PERMANENT_REDIRECT, to);
    site.early_data_policy(policy)
        .route(RouteSpec::new(
            &path("respond"),
            TargetSpec::Respond(respond),
        ))
        .route(RouteSpec::new(
            &path("redirect"),
            TargetSpec::Redirect(redirect),
        ))
        .handle(&path("early"), seeing(views))
        .handle(&path("plain"), plain(router(views)))
        .origin(&path("aware"), aware)
        .origin(&path("unaware"), To::new(unaware.address()))
}

/// A handler that lets everything through that comes to it.
fn seeing(views: &Arc<Mutex<Vec<View>>>) -> impl cutwater::handler::Handler {
    let views = Arc::clone(views);
    early(move |request: EarlyRequest| {
        views.lock().unwrap().push(View {
            path: request.uri().path().to_owned(),
            early: request.is_early(),
            marked: request.is_marked(),
        });
        let _request = request.replay_safe();
        async { Ok(Response::new(Body::empty())) }
    })
}

/// An axum router that holds what plain services are promised (EARLY-DATA R14).
fn router(views: &Arc<Mutex<Vec<View>>>) -> axum::Router {
    let views = Arc::clone(views);
    axum::Router::new().fallback(move |request: axum::extract::Request| {
        let extensions = request.extensions();
        assert!(extensions.get::<Arc<ConnectionState>>().is_some());
        assert!(extensions.get::<Deadline>().is_some());
        assert!(!request.headers().contains_key("early-data"));
        views.lock().unwrap().push(View {
            path: request.uri().path().to_owned(),
            early: false,
            marked: false,
        });
        async { "" }
    })
}
