//! HTTP/1.1 as a gateway needs it: one exchange after the other on a connection.
//!
//! The request's head is written from where it lies, an answer's fields and body are handed out as
//! slices of what was read, and nothing drives a connection in the background: whoever has a
//! request on it polls it, and so does the body of the answer. hyper's client hands every message
//! through a channel and its head through two maps: a quarter of all instructions of a proxied
//! request. Reason phrases are not passed on; HTTP/2 has none.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::response;
use http_body::Frame;

use super::head::Head;
use super::link::LinkError;
use super::receiving::{Malformed, Receiving};
use super::request_body::Upload;
use super::sending::Sending;
use super::socket::Socket;
use crate::interim::Interims;

/// A connection, with or without a request on it.
#[derive(Debug)]
pub(super) struct Http1 {
    socket: Socket,
    sending: Sending,
    receiving: Receiving,
}

impl Http1 {
    /// No request yet.
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            socket,
            sending: Sending::default(),
            receiving: Receiving::default(),
        }
    }

    /// Begins an exchange; the one before is over.
    pub(super) fn start(
        &mut self,
        request: &Head,
        upload: &Upload,
        interims: Option<Arc<dyn Interims>>,
    ) {
        self.sending.start(request, upload);
        self.receiving.start(&request.parts.method, interims);
    }

    /// Sends the request and awaits the head of the answer.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<response::Parts, LinkError>> {
        self.send(cx)?;
        loop {
            if let Some(head) = self.receiving.head()? {
                return Poll::Ready(Ok(head));
            }
            if ready!(self.receiving.poll_fill(&mut self.socket, cx))? == 0 {
                return Poll::Ready(Err(self.ended()));
            }
        }
    }

    /// Awaits the next frame of the answer's body, and sends what is left of the request.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, LinkError>>> {
        if let Err(error) = self.send(cx) {
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            if let Some(frame) = self.try_frame() {
                return Poll::Ready(frame);
            }
            match ready!(self.receiving.poll_fill(&mut self.socket, cx)) {
                Ok(0) if self.is_whole() && !self.sending.has_failed() => {
                    return Poll::Ready(None);
                }
                Ok(0) => return Poll::Ready(Some(Err(self.ended()))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }

    /// What an end of the connection is that the origin did not mean: if it was reset, the socket's
    /// error went to the writer.
    fn ended(&self) -> LinkError {
        match self.sending.has_failed() {
            true => LinkError::Reset,
            false => LinkError::Closed,
        }
    }

    /// The next frame of the answer's body that has come already; `None` if there is none.
    pub(super) fn try_frame(&mut self) -> Option<Option<Result<Frame<Bytes>, LinkError>>> {
        match self.receiving.frame() {
            Ok(None) => None,
            Ok(Some(frame)) => Some(frame.map(Ok)),
            Err(Malformed) => Some(Some(Err(LinkError::Malformed))),
        }
    }

    /// That not all can be sent now is no reason not to read: an origin may answer before.
    fn send(&mut self, cx: &mut Context<'_>) -> Result<(), LinkError> {
        match self.sending.poll(&mut self.socket, cx) {
            Poll::Ready(Err(error)) => Err(LinkError::RequestBody(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    /// Whether the answer is whole.
    pub(super) fn is_whole(&self) -> bool {
        self.receiving.is_whole()
    }

    /// What is left of the answer's body, where that is known.
    pub(super) fn left(&self) -> Option<u64> {
        self.receiving.left()
    }

    /// Bytes that the origin's kernel took so far.
    pub(super) fn written(&self) -> u64 {
        self.sending.written()
    }

    /// Whether all that the client has sent of the request is on its way.
    pub(super) fn is_flushed(&self) -> bool {
        self.sending.is_flushed()
    }

    /// Whether nothing of the request was taken by the origin's kernel.
    pub(super) fn sent_nothing(&self) -> bool {
        self.sending.sent_nothing()
    }

    /// Whether no byte of an answer came.
    pub(super) fn is_silent(&self) -> bool {
        self.receiving.is_silent()
    }

    /// Whether the connection can take a request now: both messages before are complete (RFC 9112
    /// §9.3), and the origin neither closed it meanwhile nor said what nobody asked for.
    pub(super) fn is_ready(&mut self) -> bool {
        self.sending.is_over() && self.receiving.rest() && self.socket.is_quiet()
    }
}
