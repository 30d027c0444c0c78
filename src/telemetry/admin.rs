//! The admin endpoint: `/metrics`, `/healthz`, `/readyz` over plain HTTP/1.1.
//!
//! Everything about it is bounded: connections, the time for a head, the time for a whole
//! exchange. One connection serves one request.

mod socket;

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{Registry, TextEncoder};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use socket::Listener;

/// Connections that are served at once. One more waits in the kernel's queue.
const CONNECTIONS: usize = 32;

/// How long a client may take to send a request's head.
const HEAD_WITHIN: Duration = Duration::from_secs(5);

/// How long a connection may last.
const EXCHANGE_WITHIN: Duration = Duration::from_secs(30);

/// Whether the edge is ready for traffic: what `/readyz` tells a load balancer.
#[derive(Debug, Default)]
pub struct Readiness(AtomicU8);

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

impl Readiness {
    /// Not ready yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The edge serves. Changes nothing once it drains.
    pub fn set_ready(&self) {
        let _ = self
            .0
            .compare_exchange(STARTING, READY, Ordering::AcqRel, Ordering::Acquire);
    }

    /// The edge drains: it will not be ready again.
    pub fn set_draining(&self) {
        self.0.store(DRAINING, Ordering::Release);
    }

    /// Whether it is ready.
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire) == READY
    }

    fn answer(&self) -> (StatusCode, &'static str) {
        match self.0.load(Ordering::Acquire) {
            READY => (StatusCode::OK, "ready\n"),
            DRAINING => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        }
    }
}

/// Where an admin endpoint listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// A TCP address.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl FromStr for AdminAddress {
    type Err = io::Error;

    /// Reads `IP:PORT` or `unix:PATH`.
    fn from_str(address: &str) -> io::Result<Self> {
        match address.strip_prefix("unix:") {
            Some(path) => Ok(Self::Unix(path.into())),
            None => address.parse().map(Self::Tcp).map_err(|_| {
                let hint = format!("`{address}` is neither IP:PORT nor unix:PATH");
                io::Error::new(io::ErrorKind::InvalidInput, hint)
            }),
        }
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An admin endpoint that is bound and not served yet.
#[derive(Debug)]
pub struct Admin {
    listener: Listener,
    address: AdminAddress,
}

impl Admin {
    /// Binds `address`: `IP:PORT` or `unix:PATH`, as [`Admin::bind_to`] does.
    ///
    /// # Errors
    /// `InvalidInput` if the address is neither, and those of [`Admin::bind_to`].
    pub async fn bind(address: &str) -> io::Result<Self> {
        Self::bind_to(&address.parse()?).await
    }

    /// Binds `address`. Only the same user can connect to a Unix socket (mode 0600); one that
    /// nobody listens on any more is replaced. Call it within a tokio runtime.
    ///
    /// # Errors
    /// `AlreadyExists` if the path is there and no socket; `AddrInUse` if somebody listens
    /// there; whatever else binding may bring.
    pub async fn bind_to(address: &AdminAddress) -> io::Result<Self> {
        let (listener, address) = Listener::bind(address).await?;
        Ok(Self { listener, address })
    }

    /// Where it listens. Port 0 has become a real one.
    pub fn address(&self) -> &AdminAddress {
        &self.address
    }

    /// Serves until `shutdown` completes, then ends what is open. Errors of `accept` do not
    /// end it.
    pub async fn run(
        self,
        registry: Registry,
        readiness: Arc<Readiness>,
        shutdown: impl Future<Output = ()>,
    ) {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                stream = self.listener.accept(), if connections.len() < CONNECTIONS => {
                    let (registry, readiness) = (registry.clone(), Arc::clone(&readiness));
                    connections.spawn(serve(stream, registry, readiness));
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    registry: Registry,
    readiness: Arc<Readiness>,
) {
    let service = service_fn(|request: Request<_>| {
        let response = answer(&request, &registry, &readiness);
        async { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(EXCHANGE_WITHIN, connection).await {
        tracing::debug!(%error, "admin connection");
    }
}

fn answer<B>(
    request: &Request<B>,
    registry: &Registry,
    readiness: &Readiness,
) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if !matches!(path, "/metrics" | "/healthz" | "/readyz") {
        return plain(StatusCode::NOT_FOUND, "not found\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    match path {
        "/metrics" => metrics(registry),
        "/readyz" => {
            let (status, body) = readiness.answer();
            plain(status, body)
        }
        _ => plain(StatusCode::OK, "ok\n"),
    }
}

fn metrics(registry: &Registry) -> Response<Full<Bytes>> {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(text) => text_response(
            StatusCode::OK,
            text.into(),
            HeaderValue::from_static(prometheus::TEXT_FORMAT),
        ),
        Err(error) => {
            // A collector of the library's user may hand out a family that cannot be shown.
            tracing::error!(%error, "metrics could not be encoded");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "not encodable\n")
        }
    }
}

fn plain(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    text_response(
        status,
        Bytes::from_static(body.as_bytes()),
        HeaderValue::from_static("text/plain; charset=utf-8"),
    )
}

fn text_response(
    status: StatusCode,
    body: Bytes,
    content_type: HeaderValue,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
