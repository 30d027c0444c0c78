//! One request and its answer, as metrics and the access log see them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderValue, Method, Request, Uri, header};

use crate::config::snapshot::{Route, Snapshot, Target, Variable};
use crate::confirm::Status;
use crate::connection::record;
use crate::connection::shared::Shared;
use crate::connection::stage::{Stage, Watch};
use crate::forwarded::{self, Told};
use crate::handler::Waits;
use crate::interim::Interims;
use crate::origin::{Address, Effort};
use crate::request_id::RequestId;
use crate::state::Protocol;
use crate::telemetry::access::{AccessRecord, AnswerEnd, Confirmed};
use crate::telemetry::labels::{self, EarlyState, OriginError, TooEarlyBy};

/// Why a request's body could not be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyFault {
    /// The client was silent for `request_body_idle`.
    Idle,
    /// It is larger than the route's limit.
    TooLarge,
    /// The client went away, or broke the protocol.
    Aborted,
}

/// What the request's body tells the exchange.
#[derive(Debug, Default)]
pub(super) struct Received {
    bytes: AtomicU64,
    fault: AtomicU8,
    ended: AtomicBool,
}

impl Received {
    pub(super) fn count(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn fail(&self, fault: BodyFault) {
        self.fault.store(fault as u8 + 1, Ordering::Relaxed);
    }

    /// The body was read to its end.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    pub(super) fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    pub(super) fn fault(&self) -> Option<BodyFault> {
        match self.fault.load(Ordering::Relaxed) {
            1 => Some(BodyFault::Idle),
            2 => Some(BodyFault::TooLarge),
            3 => Some(BodyFault::Aborted),
            _ => None,
        }
    }
}

/// What only the access log wants to know.
struct Asked {
    time: SystemTime,
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
}

/// One request from its head to the end of its answer. Dropped, it is counted and logged.
pub(super) struct Exchange {
    pub(super) shared: Arc<Shared>,
    started: Instant,
    /// Our own, unless a trusted proxy has given one.
    pub(super) request_id: RequestId,
    /// What a trusted proxy says of the request's client.
    pub(super) told: Option<Arc<Told>>,
    asked: Option<Asked>,
    pub(super) route: Option<Arc<Route>>,
    /// The authority that was asked for, where a route changes fields.
    pub(super) host: Option<HeaderValue>,
    pub(super) target: labels::Target,
    pub(super) early: EarlyState,
    arrived_early: bool,
    pub(super) received: Option<Arc<Received>>,
    status: Option<u16>,
    pub(super) bytes_out: u64,
    answered_before_finished: bool,
    waits: Option<Arc<Waits>>,
    pub(super) origin: Option<Address>,
    pub(super) origin_time: Option<Duration>,
    pub(super) origin_error: Option<OriginError>,
    pub(super) effort: Effort,
    ttfb: Option<Duration>,
    pub(super) end: AnswerEnd,
    pub(super) stage: Option<Stage>,
    /// Where an origin's interim answers go.
    pub(super) interims: Option<Arc<dyn Interims>>,
}

impl Exchange {
    pub(super) fn begin<B>(
        shared: &Arc<Shared>,
        snapshot: &Snapshot,
        request: &Request<B>,
        came_early: bool,
    ) -> Box<Self> {
        shared.begin();
        let (told, request_id) = match shared.trusted(snapshot) {
            None => (None, None),
            Some(proxies) => {
                let headers = request.headers();
                let is_trusted = |address| proxies.networks.contains(address);
                let told = forwarded::told(headers, proxies.header, is_trusted);
                let given = forwarded::request_id(headers).cloned();
                (Some(Arc::new(told)), given.map(RequestId::given))
            }
        };
        let arrived_early = came_early || shared.may_be_early();
        let asked = shared.worker.process.access.is_some().then(|| Asked {
            time: SystemTime::now(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            host: request.headers().get(header::HOST).cloned(),
        });
        Box::new(Self {
            shared: Arc::clone(shared),
            started: Instant::now(),
            request_id: request_id.unwrap_or_else(RequestId::make),
            told,
            asked,
            route: None,
            host: None,
            target: labels::Target::Edge,
            early: EarlyState::None,
            arrived_early,
            received: None,
            status: None,
            bytes_out: 0,
            answered_before_finished: false,
            waits: None,
            origin: None,
            origin_time: None,
            origin_error: None,
            effort: Effort::default(),
            ttfb: None,
            // Whoever ends the answer says so; until then the client is the one to leave.
            end: AnswerEnd::AbortedByClient,
            stage: None,
            interims: None,
        })
    }

    /// The request's client: the connection's, unless a trusted proxy names another.
    pub(super) fn client(&self) -> SocketAddr {
        client(self.told.as_deref(), &self.shared)
    }

    /// What a variable in the value of a field says for this request.
    pub(super) fn says(&self, variable: Variable) -> String {
        let state = &self.shared.state;
        let canonical = |address: SocketAddr| address.ip().to_canonical().to_string();
        match variable {
            Variable::ClientAddress => canonical(self.client()),
            Variable::PeerAddress => canonical(state.peer),
            Variable::RequestId => self.request_id.to_string(),
            Variable::Host => {
                let host = self.host.as_ref().and_then(|host| host.to_str().ok());
                host.unwrap_or_default().to_owned()
            }
            Variable::ServerName => state.server_name.as_deref().unwrap_or_default().to_owned(),
            Variable::Protocol => state.protocol.as_str().to_owned(),
            Variable::TlsVersion => record::version(state.version)
                .unwrap_or_default()
                .to_owned(),
            Variable::TlsSuite => state.suite.as_str().unwrap_or_default().to_owned(),
        }
    }

    /// Counts the waits for the client's Finished, of the gate or of a handler.
    pub(super) fn waits(&mut self) -> Arc<Waits> {
        let metrics = &self.shared.worker.process.metrics;
        let waits = || Arc::new(Waits::new(Arc::clone(metrics)));
        Arc::clone(self.waits.get_or_insert_with(waits))
    }

    /// The answer is 425.
    pub(super) fn too_early(&mut self, by: TooEarlyBy) {
        if by == TooEarlyBy::Edge || self.early != EarlyState::None {
            self.early = EarlyState::Refused;
        }
        let metrics = &self.shared.worker.process.metrics;
        metrics.early.too_early.inc(by);
    }

    /// The request has a route.
    pub(super) fn routed(&mut self, route: &Arc<Route>) {
        self.target = match route.target {
            Target::Respond(_) => labels::Target::Respond,
            Target::Redirect(_) => labels::Target::Redirect,
            Target::Origin(_) => labels::Target::Origin,
            Target::Handler(_) => labels::Target::Handler,
        };
        self.route = Some(Arc::clone(route));
    }

    /// The answer will be watched over, where its stream is one of many: whoever serves that takes the
    /// watch from the connection within the same call.
    pub(super) fn watch(&mut self, route: &Route) {
        if self.shared.state.protocol == Protocol::Http1 {
            return;
        }
        let stage = Stage::default();
        stage.source();
        self.stage = Some(stage.clone());
        self.shared.set_watch(Watch {
            stage,
            write_idle: route.timeouts.write_idle,
        });
    }

    /// The head of the answer leaves.
    pub(super) fn answer(&mut self, status: u16) {
        self.status = Some(status);
        // Nobody but the log asks.
        self.ttfb = self.asked.is_some().then(|| self.started.elapsed());
        if self.arrived_early && self.shared.confirmation.is_pending() {
            self.answered_before_finished = true;
            self.shared
                .worker
                .process
                .metrics
                .early
                .answered_before_finished
                .inc();
            if let Some(vitals) = self.shared.vitals.upgrade() {
                vitals.answer();
            }
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let shared = Arc::clone(&self.shared);
        let metrics = &shared.worker.process.metrics;
        let total = self.started.elapsed();
        let waited = self.waits.as_ref().and_then(|waits| waits.waited());
        if waited.is_some() && self.early != EarlyState::Refused {
            self.early = EarlyState::Waited;
        }
        let cut = self.stage.as_ref().and_then(Stage::cut);
        if self.end == AnswerEnd::AbortedByClient
            && let Some(kind) = cut.or_else(|| shared.cut.get().copied())
        {
            self.end = AnswerEnd::Timeout(kind);
        }
        let failed = shared.handshake_failed();
        if failed && self.arrived_early && self.end != AnswerEnd::Complete {
            self.end = AnswerEnd::HandshakeFailed;
            // EARLY-DATA R11
            metrics.early.aborted.inc();
        }
        metrics.requests.end(
            record::protocol(shared.state.protocol),
            self.status.unwrap_or(0),
            self.target,
            total,
        );
        metrics.early.requests.inc(self.early);
        tracing::debug!(status = self.status, end = ?self.end, ?total, "answered");
        if let Some(asked) = self.asked.take() {
            shared.log(Line {
                asked,
                request_id: self.request_id.clone(),
                told: self.told.take(),
                route: self.route.take(),
                early: self.early,
                arrived_early: self.arrived_early,
                bytes_in: self
                    .received
                    .as_ref()
                    .map_or(0, |received| received.bytes.load(Ordering::Relaxed)),
                status: self.status,
                bytes_out: self.bytes_out,
                answered_before_finished: self.answered_before_finished,
                waited,
                origin: self.origin.take(),
                origin_time: self.origin_time,
                origin_error: self.origin_error,
                effort: self.effort,
                ttfb: self.ttfb,
                total,
                end: self.end,
            });
        }
        shared.end();
    }
}

fn client(told: Option<&Told>, shared: &Shared) -> SocketAddr {
    let peer = shared.state.client;
    told.map_or(peer, |told| told.client(peer))
}

/// A line of the access log that may have to wait for the end of the handshake.
pub(super) struct Line {
    asked: Asked,
    request_id: RequestId,
    told: Option<Arc<Told>>,
    route: Option<Arc<Route>>,
    early: EarlyState,
    arrived_early: bool,
    bytes_in: u64,
    status: Option<u16>,
    bytes_out: u64,
    answered_before_finished: bool,
    waited: Option<Duration>,
    origin: Option<Address>,
    origin_time: Option<Duration>,
    origin_error: Option<OriginError>,
    effort: Effort,
    ttfb: Option<Duration>,
    total: Duration,
    end: AnswerEnd,
}

impl Line {
    pub(super) fn write(&self, shared: &Shared) {
        let Some(sink) = &shared.worker.process.access else {
            return;
        };
        let state = &shared.state;
        let host = match self.asked.uri.authority() {
            Some(authority) => Some(authority.as_str()),
            None => self
                .asked
                .host
                .as_ref()
                .and_then(|value| value.to_str().ok()),
        };
        let path = self
            .asked
            .uri
            .path_and_query()
            .map_or("", |path| path.as_str());
        let client = client(self.told.as_deref(), shared);
        let origin = self.origin.as_ref().map(|origin| origin.to_string());
        sink.write_json(&AccessRecord {
            time: self.asked.time,
            request_id: &self.request_id,
            client,
            peer: (state.peer != client).then_some(state.peer),
            listener: &state.listener,
            worker: state.worker,
            sni: state.server_name.as_deref(),
            protocol: record::protocol(state.protocol),
            version: record::version(state.version),
            suite: state.suite.as_str(),
            alpn: state
                .alpn
                .as_deref()
                .and_then(|alpn| std::str::from_utf8(alpn).ok()),
            resumed: state.resumed,
            method: self.asked.method.as_str(),
            host,
            path,
            status: self.status,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            early: self.early,
            arrived_early: self.arrived_early,
            confirmed: match shared.confirmation.status() {
                Status::Confirmed => Confirmed::True,
                _ => Confirmed::Failed,
            },
            answered_before_finished: self.answered_before_finished,
            route: self.route.as_ref().map(|route| &*route.name),
            origin: origin.as_deref(),
            origin_time: self.origin_time,
            origin_tries: self.effort.tries,
            origin_error: self.origin_error,
            queue: self.effort.queued,
            ttfb: self.ttfb,
            total: self.total,
            wait: self.waited,
            end: self.end,
        });
    }
}
