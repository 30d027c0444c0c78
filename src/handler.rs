//! What answers requests inside the process: the [`Handler`] trait, and plain tower services.
//!
//! A handler cannot touch an early request by accident (EARLY-DATA R14): before the gate a
//! request is an [`EarlyRequest`], which shows its head but neither its body nor an
//! `http::Request`. Getting at those says why it is right: [`confirmed`](EarlyRequest::confirmed)
//! awaits the client's Finished, [`replay_safe`](EarlyRequest::replay_safe) declares that the
//! request may run twice.

mod waits;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::header::HeaderValue;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use tower_service::Service;

use crate::body::{Body, BoxError};
use crate::confirm::{Confirmation, HandshakeFailed, Status};
use crate::deadline::Deadline;
use crate::state::ConnectionState;

pub(crate) use self::waits::Waits;

/// The future that a handler answers with.
pub type HandlerFuture =
    Pin<Box<dyn Future<Output = Result<Response<Body>, HandlerError>> + Send + 'static>>;

/// Answers requests of a route.
///
/// The route's policy is the upper bound (EARLY-DATA R13): under `wait` a handler sees confirmed
/// requests only, under `safe` also the early ones that are safe, under `allow` all.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request.
    fn call(&self, request: EarlyRequest) -> HandlerFuture;
}

/// Why a handler has no answer.
#[derive(Debug)]
pub enum HandlerError {
    /// The request is too early and cannot be made to wait: the client gets 425.
    TooEarly,
    /// The handshake failed: there is nobody left to answer.
    HandshakeFailed,
    /// The service failed: the client gets 500.
    Failed(BoxError),
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooEarly => f.write_str("the request came too early"),
            Self::HandshakeFailed => HandshakeFailed.fmt(f),
            Self::Failed(error) => write!(f, "the handler failed: {error}"),
        }
    }
}

impl std::error::Error for HandlerError {}

impl From<HandshakeFailed> for HandlerError {
    fn from(_: HandshakeFailed) -> Self {
        Self::HandshakeFailed
    }
}

/// A request that may still be a replay.
///
/// Its head can be looked at; its body and the ordinary `http::Request` cannot be had without
/// saying why that is safe:
///
/// ```compile_fail,E0308
/// # use cutwater::handler::{EarlyRequest, HandlerError};
/// # use cutwater::body::Body;
/// # use http::Request;
/// fn transfer_money(request: Request<Body>) { /* … */ }
///
/// async fn handler(request: EarlyRequest) -> Result<(), HandlerError> {
///     transfer_money(request); // an EarlyRequest is not a Request: mismatched types
///     Ok(())
/// }
/// ```
///
/// With the reason said, it compiles:
///
/// ```
/// # use cutwater::handler::{EarlyRequest, HandlerError};
/// # use cutwater::body::Body;
/// # use http::Request;
/// fn transfer_money(request: Request<Body>) { /* … */ }
///
/// async fn handler(request: EarlyRequest) -> Result<(), HandlerError> {
///     transfer_money(request.confirmed().await?);
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct EarlyRequest {
    request: Request<Body>,
    connection: Arc<ConnectionState>,
    confirmation: Confirmation,
    deadline: Deadline,
    marked: bool,
    waits: Option<Arc<Waits>>,
}

impl EarlyRequest {
    /// Puts a request behind the gate.
    ///
    /// `marked` says that it carries an inbound `Early-Data` field (EARLY-DATA R18).
    pub fn new(
        request: Request<Body>,
        connection: Arc<ConnectionState>,
        confirmation: Confirmation,
        deadline: Deadline,
        marked: bool,
    ) -> Self {
        Self {
            request,
            connection,
            confirmation,
            deadline,
            marked,
            waits: None,
        }
    }

    /// Counts how long [`confirmed`](Self::confirmed) waits.
    pub(crate) fn counted(mut self, waits: Arc<Waits>) -> Self {
        self.waits = Some(waits);
        self
    }

    /// The method.
    pub fn method(&self) -> &Method {
        self.request.method()
    }

    /// The target, with its path normalised.
    pub fn uri(&self) -> &Uri {
        self.request.uri()
    }

    /// The header fields.
    pub fn headers(&self) -> &HeaderMap<HeaderValue> {
        self.request.headers()
    }

    /// The connection that the request came on.
    pub fn connection(&self) -> &ConnectionState {
        &self.connection
    }

    /// Whether the request may be a replay at this moment: its handshake is not confirmed, or an
    /// upstream marked it with `Early-Data`.
    pub fn is_early(&self) -> bool {
        self.marked || self.confirmation.status() != Status::Confirmed
    }

    /// Whether the client's address is proved at this moment. Over TCP it always is; over QUIC the
    /// first flight may come from a forged address, and a Retry or the handshake's end proves it.
    /// Until then nothing may be decided by the address (EARLY-DATA R15).
    pub fn address_is_proved(&self) -> bool {
        self.connection.address_validated || self.confirmation.status() == Status::Confirmed
    }

    /// Whether an upstream marked the request with `Early-Data`: waiting here does not change
    /// that it may be a replay (RFC 8470 §5.1).
    pub fn is_marked(&self) -> bool {
        self.marked
    }

    /// The total deadline of this request.
    pub fn deadline(&self) -> &Deadline {
        &self.deadline
    }

    /// The live completion signal of the handshake.
    pub fn confirmation(&self) -> &Confirmation {
        &self.confirmation
    }

    /// Awaits the client's Finished, then yields the ordinary request.
    ///
    /// # Errors
    /// [`HandlerError::TooEarly`] if the request is marked, since waiting cannot clear that
    /// (EARLY-DATA R18); [`HandlerError::HandshakeFailed`] if the handshake fails or its
    /// deadline passes.
    pub async fn confirmed(self) -> Result<Request<Body>, HandlerError> {
        if self.marked {
            return Err(HandlerError::TooEarly);
        }
        match &self.waits {
            Some(waits) => waits.until(&self.confirmation).await?,
            None => self.confirmation.wait().await?,
        }
        Ok(self.into_request())
    }

    /// Declares that this request may run twice, and yields it at once.
    ///
    /// Whoever recorded the client's first flight can make a request like this come again
    /// (RFC 8470 §2): only what has no effect may follow.
    pub fn replay_safe(self) -> Request<Body> {
        self.into_request()
    }

    /// The answer 425 Too Early: the client sends the request again after the handshake.
    pub fn too_early(self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::TOO_EARLY;
        response
    }

    fn into_request(self) -> Request<Body> {
        let mut request = self.request;
        request.extensions_mut().insert(self.connection);
        request.extensions_mut().insert(self.deadline);
        request
    }
}

/// Makes a [`Handler`] of an async function that takes an [`EarlyRequest`].
pub fn early<F, A>(function: F) -> impl Handler
where
    F: Fn(EarlyRequest) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Response<Body>, HandlerError>> + Send + 'static,
{
    Early(function)
}

struct Early<F>(F);

impl<F, A> Handler for Early<F>
where
    F: Fn(EarlyRequest) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Response<Body>, HandlerError>> + Send + 'static,
{
    fn call(&self, request: EarlyRequest) -> HandlerFuture {
        Box::pin((self.0)(request))
    }
}

/// Makes a [`Handler`] of a plain tower service, such as an axum router.
///
/// The service sees neither early nor marked requests (EARLY-DATA R14): early ones wait for the
/// handshake, marked ones are answered 425. The connection's [`ConnectionState`] (in an `Arc`)
/// and the request's [`Deadline`] are request extensions.
pub fn plain<S, B>(service: S) -> impl Handler
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    Plain(service)
}

struct Plain<S>(S);

impl<S, B> Handler for Plain<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn call(&self, request: EarlyRequest) -> HandlerFuture {
        let mut service = self.0.clone();
        Box::pin(async move {
            let request = request.confirmed().await?;
            std::future::poll_fn(|cx| service.poll_ready(cx))
                .await
                .map_err(|error| HandlerError::Failed(error.into()))?;
            let response = service
                .call(request)
                .await
                .map_err(|error| HandlerError::Failed(error.into()))?;
            Ok(response.map(Body::new))
        })
    }
}
