//! A request's body on its way to an origin: filtered, watched, and held for a second try.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame};

use super::fields;
use super::link::Gauge;
use crate::body::{Body, BoxError};

/// How much of an early request's body is held for sending it once more (EARLY-DATA R19).
pub(super) const HELD: usize = 64 * 1024;

/// Where a request's body comes from; outlives the tries to send it.
#[derive(Clone, Debug)]
pub(super) struct Upload(Option<Arc<Mutex<State>>>);

#[derive(Debug)]
struct State {
    body: Body,
    /// The body was read to its end.
    ended: bool,
    /// The body was asked for and had nothing yet: the client is the one waited for.
    waits_for_client: bool,
    /// Why the body broke off.
    error: Option<BoxError>,
    /// What was read so far; `None` if it is not or no longer wholly held.
    held: Option<Held>,
    /// What a second try sends before it reads on.
    again: VecDeque<Piece>,
}

#[derive(Debug, Default)]
struct Held {
    pieces: VecDeque<Piece>,
    bytes: usize,
}

#[derive(Clone, Debug)]
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl From<Piece> for Frame<Bytes> {
    fn from(piece: Piece) -> Self {
        match piece {
            Piece::Data(bytes) => Frame::data(bytes),
            Piece::Trailers(fields) => Frame::trailers(fields),
        }
    }
}

impl Upload {
    /// `hold` says that the request may have to be sent twice.
    pub(super) fn new(body: Body, hold: bool) -> Self {
        if body.is_end_stream() {
            return Self(None);
        }
        Self(Some(Arc::new(Mutex::new(State {
            body,
            ended: false,
            waits_for_client: false,
            error: None,
            held: hold.then(Held::default),
            again: VecDeque::new(),
        }))))
    }

    /// Whether there is no body.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The body as a connection takes it.
    pub(super) fn start(&self, gauge: &Arc<Gauge>) -> RequestBody {
        RequestBody(self.0.as_ref().map(|state| Sending {
            state: Arc::clone(state),
            gauge: Arc::clone(gauge),
        }))
    }

    /// Whether what is waited for is the client, not the origin.
    pub(super) fn waits_for_client(&self) -> bool {
        self.lock().is_some_and(|state| state.waits_for_client)
    }

    /// Why the body broke off, if it did.
    pub(super) fn take_error(&self) -> Option<BoxError> {
        self.lock()?.error.take()
    }

    /// Goes back to the body's start if all that was read of it is held. Once only.
    pub(super) fn rewind(&self) -> bool {
        let Some(mut state) = self.lock() else {
            return true;
        };
        match state.held.take() {
            Some(held) if state.error.is_none() => {
                state.again = held.pieces;
                true
            }
            _ => false,
        }
    }

    fn lock(&self) -> Option<MutexGuard<'_, State>> {
        self.0.as_deref().map(lock)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(piece) = self.again.pop_front() {
            return Poll::Ready(Some(Ok(piece.into())));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        self.waits_for_client = false;
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => {
                self.waits_for_client = true;
                return Poll::Pending;
            }
            Poll::Ready(None) => {
                self.ended = true;
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Err(error))) => {
                self.ended = true;
                self.error = Some(error);
                return Poll::Ready(Some(Err("the request's body broke off".into())));
            }
            Poll::Ready(Some(Ok(frame))) => frame,
        };
        self.ended = self.body.is_end_stream();
        let piece = match frame.into_data() {
            Ok(bytes) => Piece::Data(bytes),
            Err(frame) => {
                let mut trailers = frame.into_trailers().unwrap_or_default();
                fields::strip_trailers(&mut trailers);
                self.ended = true;
                Piece::Trailers(trailers)
            }
        };
        self.hold(&piece);
        Poll::Ready(Some(Ok(piece.into())))
    }

    fn hold(&mut self, piece: &Piece) {
        let Some(held) = &mut self.held else { return };
        if let Piece::Data(bytes) = piece {
            held.bytes += bytes.len();
        }
        if held.bytes > HELD {
            self.held = None;
        } else {
            held.pieces.push_back(piece.clone());
        }
    }
}

/// The body that hyper sends.
#[derive(Debug)]
pub(super) struct RequestBody(Option<Sending>);

#[derive(Debug)]
struct Sending {
    state: Arc<Mutex<State>>,
    gauge: Arc<Gauge>,
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &self.0 {
            None => Poll::Ready(None),
            // The origin takes nothing more: do not pull from the client what nobody gets.
            // Reading the answer, or its end, is what wakes the task.
            Some(sending) if sending.gauge.write_failed() => Poll::Pending,
            Some(sending) => lock(&sending.state).poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            None => true,
            Some(sending) => {
                let state = lock(&sending.state);
                state.ended && state.again.is_empty()
            }
        }
    }
}
