//! Plain HTTP listeners: every request is sent on to https (308).

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{CONNECTION, LOCATION};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::proxied::Awaited;
use super::{Accepted, LINGER};
use crate::config::snapshot::Snapshot;
use crate::connection::context::{Permit, Worker};
use crate::deadline::within;
use crate::http::{authority, path};
use crate::listen::proxy::Receiver;
use crate::proxy_protocol::Told;
use crate::telemetry::labels::{ProxyHeaderError, TimeoutKind};

/// Serves one connection: one request, one redirect.
///
/// From accept (or from the end of a PROXY protocol header) to the end of the answer takes at most
/// `client_hello`.
pub async fn serve(worker: Arc<Worker>, accepted: Accepted, mut permit: Permit) {
    permit.finish_handshake();
    let Accepted {
        socket,
        mut local,
        client_hello: limit,
        ..
    } = accepted;
    if let Some(awaited) = accepted.header {
        match header(&worker, &socket, awaited).await {
            Some(Told::Proxied { destination, .. }) => local = destination,
            Some(Told::Local) => {}
            None => return,
        }
    }
    let process = Arc::clone(&worker.process);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let answer = redirect(&process.current.peek(), local, &request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(socket), service);
    // Whatever goes wrong costs the client its redirect, nobody else anything.
    let served = within(&worker.ticker, Some(limit), connection.without_shutdown()).await;
    if let Ok(Ok(parts)) = served {
        let _ = within(&worker.ticker, Some(LINGER), linger(parts.io.into_inner())).await;
    }
}

/// The PROXY protocol header that the connection begins with; `None`, and counted, if it does not.
async fn header(worker: &Arc<Worker>, socket: &TcpStream, awaited: Awaited) -> Option<Told> {
    let mut receiver = Receiver::new(awaited.accepts);
    let received = poll_fn(|cx| receiver.poll(socket, cx));
    let metrics = &worker.process.metrics;
    let error = match within(&worker.ticker, Some(awaited.timeout), received).await {
        Ok(Ok(told)) => return Some(told),
        Ok(Err(error)) => error.label(),
        Err(_) => {
            metrics.timeouts.inc(TimeoutKind::ProxyHeader);
            ProxyHeaderError::Timeout
        }
    };
    metrics.connections.proxy_header_errors.inc(error);
    None
}

/// Closes without a reset, which would take the answer from a client that still sends.
async fn linger(mut socket: TcpStream) {
    let mut discarded = [0; 4096];
    if socket.shutdown().await.is_ok() {
        while matches!(socket.read(&mut discarded).await, Ok(1..)) {}
    }
}

fn redirect(
    snapshot: &Snapshot,
    local: SocketAddr,
    request: &Request<Incoming>,
) -> Response<Empty<Bytes>> {
    match location(snapshot, local, request) {
        Ok(location) => {
            let mut response = status(StatusCode::PERMANENT_REDIRECT);
            response.headers_mut().insert(LOCATION, location);
            response
        }
        Err(code) => status(code),
    }
}

fn status(code: StatusCode) -> Response<Empty<Bytes>> {
    let mut response = Response::new(Empty::new());
    *response.status_mut() = code;
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Where a request goes: the same host and path on https. Only to hosts that a site has, so that
/// nobody is sent where we do not serve.
fn location(
    snapshot: &Snapshot,
    local: SocketAddr,
    request: &Request<Incoming>,
) -> Result<HeaderValue, StatusCode> {
    let host = authority::authority(request.version(), request.uri(), request.headers())
        .ok()
        .flatten()
        .ok_or(StatusCode::BAD_REQUEST)?;
    let secure = snapshot
        .listeners
        .iter()
        .filter(|listener| listener.tls)
        .find(|listener| listener.names.get(&host).is_some() || listener.default.is_some())
        .ok_or(StatusCode::MISDIRECTED_REQUEST)?;
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let target = path::normalise(target).map_err(|_| StatusCode::BAD_REQUEST)?;
    let port = secure.address.port();
    // On port 80 we stand in front and so does the listener on 443, whatever its own port is.
    let location = if local.port() == 80 || port == 443 || port == 0 {
        format!("https://{host}{target}")
    } else {
        format!("https://{host}:{port}{target}")
    };
    HeaderValue::try_from(location).map_err(|_| StatusCode::BAD_REQUEST)
}
