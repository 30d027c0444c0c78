//! A request's body on its way to an origin: filtered, watched, and held for a second try.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body as HttpBody;

use super::fields;
use crate::body::{Body, BoxError};

/// How much of a request's body is held for sending it once more: of an early one (EARLY-DATA R19),
/// and of one whose stream the origin may refuse (RFC 9113 §8.7).
pub(super) const HELD: usize = 64 * 1024;
/// What a piece counts at least: many small ones take more room than their bytes.
const PIECE: usize = 256;

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
    /// Whether the body broke off.
    broken: bool,
    /// Whether anything was read.
    begun: bool,
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

/// A piece of a body; trailers are its last.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
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
            broken: false,
            begun: false,
            held: hold.then(Held::default),
            again: VecDeque::new(),
        }))))
    }

    /// Whether there is no body.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The next piece, or the end.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BoxError>>> {
        match self.lock() {
            Some(mut state) => state.poll(cx),
            None => Poll::Ready(None),
        }
    }

    /// Whether what is waited for is the client, not the origin.
    pub(super) fn waits_for_client(&self) -> bool {
        self.lock().is_some_and(|state| state.waits_for_client)
    }

    /// The request may have to be sent again: what is read is held, unless something was read
    /// already.
    pub(super) fn hold(&self) {
        if let Some(mut state) = self.lock()
            && !state.begun
        {
            state.held.get_or_insert_default();
        }
    }

    /// Nothing is sent again any more: lets go of what is held.
    pub(super) fn let_go(&self) {
        let held = self.lock().and_then(|mut state| state.held.take());
        // Outside the lock.
        drop(held);
    }

    /// Goes back to the body's start if all that was read of it is held.
    pub(super) fn rewind(&self) -> bool {
        let Some(mut state) = self.lock() else {
            return true;
        };
        let state = &mut *state;
        match &state.held {
            Some(held) if !state.broken => {
                // Held on, since there may be a third try.
                state.again.clone_from(&held.pieces);
                state.waits_for_client = false;
                true
            }
            _ => false,
        }
    }

    fn lock(&self) -> Option<MutexGuard<'_, State>> {
        let state = self.0.as_deref()?;
        Some(state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BoxError>>> {
        if let Some(piece) = self.again.pop_front() {
            return Poll::Ready(Some(Ok(piece)));
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
                self.broken = true;
                return Poll::Ready(Some(Err(error)));
            }
            Poll::Ready(Some(Ok(frame))) => frame,
        };
        self.begun = true;
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
        Poll::Ready(Some(Ok(piece)))
    }

    fn hold(&mut self, piece: &Piece) {
        let Some(held) = &mut self.held else { return };
        if let Piece::Data(bytes) = piece {
            held.bytes += bytes.len().max(PIECE);
        }
        if held.bytes > HELD {
            self.held = None;
        } else {
            held.pieces.push_back(piece.clone());
        }
    }
}
