//! One exchange after the other, each a stream of a shared connection.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};
use http::{Method, StatusCode, response};
use http_body::Frame;

use super::super::address::Address;
use super::super::fields::{self, Framing};
use super::super::head::Head;
use super::super::link::LinkError;
use super::super::request_body::Upload;
use super::connection::{Connection, accepts};
use super::message::{self, Length};
use super::outgoing::Outgoing;
use crate::interim::Interims;

/// Fields of an answer's header or trailer section, as of HTTP/1.1.
const FIELDS: usize = 100;
/// Informational answers before the one that counts.
const INFORMATIONAL: u8 = 32;

/// A place on a shared connection, with or without a request.
#[derive(Debug)]
pub(crate) struct Stream {
    connection: Arc<Connection>,
    send: SendRequest<Bytes>,
    /// The connection was there before this place was taken.
    joined: bool,
    exchange: Option<Exchange>,
    /// Bytes of request bodies sent, ever.
    written: u64,
}

/// A request and its answer.
#[derive(Debug)]
struct Exchange {
    outgoing: Outgoing,
    incoming: Incoming,
    /// The request was HEAD.
    no_content: bool,
    informational: u8,
    /// Where those go, until the one that counts has come.
    interims: Option<Arc<dyn Interims>>,
    silent: bool,
    unprocessed: bool,
}

#[derive(Debug)]
enum Incoming {
    /// The stream could not be begun.
    Failed(Option<LinkError>),
    Head(ResponseFuture),
    Body {
        stream: RecvStream,
        /// What is left, where that is known.
        left: Option<u64>,
    },
    Over,
}

impl Stream {
    /// A place that nobody has claimed yet.
    pub(crate) fn new(connection: &Arc<Connection>) -> Self {
        Self {
            send: connection.sender(),
            connection: Arc::clone(connection),
            joined: true,
            exchange: None,
            written: 0,
        }
    }

    /// It is a request's from now on: the first one's of a connection has joined nobody.
    pub(crate) fn claim(&mut self) {
        self.joined = self.connection.claim();
    }

    /// Where the connection goes.
    pub(crate) fn address(&self) -> &Address {
        &self.connection.address
    }

    /// Whether the connection was there before.
    pub(crate) fn joined(&self) -> bool {
        self.joined
    }

    /// Whether its connection rested until `at_once` ago or less, and the origin said nothing since.
    pub(crate) fn rested(&self, at_once: Duration) -> bool {
        self.connection.rested(at_once)
    }

    /// Whether the origin owes the answer, or more of it.
    pub(crate) fn is_awaited(&mut self) -> bool {
        match self.exchange.as_ref().map(|exchange| &exchange.incoming) {
            Some(Incoming::Head(_)) => true,
            Some(Incoming::Body { .. }) => self.try_frame().is_none(),
            Some(Incoming::Failed(_) | Incoming::Over) | None => false,
        }
    }

    /// The origin did not answer in time: it has to prove that it is there.
    pub(crate) fn doubt(&self) {
        self.connection.doubt();
    }

    /// Begins an exchange.
    pub(crate) fn start(
        &mut self,
        request: &Head,
        upload: &Upload,
        interims: Option<Arc<dyn Interims>>,
    ) {
        self.finish();
        self.connection.begin();
        let begun = self.begin(request, upload);
        let (incoming, outgoing) =
            begun.unwrap_or_else(|error| (Incoming::Failed(Some(error)), Outgoing::default()));
        self.exchange = Some(Exchange {
            outgoing,
            incoming,
            no_content: request.parts.method == Method::HEAD,
            informational: 0,
            interims,
            silent: true,
            unprocessed: false,
        });
    }

    fn begin(
        &mut self,
        request: &Head,
        upload: &Upload,
    ) -> Result<(Incoming, Outgoing), LinkError> {
        if !accepts(&mut self.send) {
            return Err(LinkError::Unprocessed);
        }
        let (request, mut length) = message::request(request, self.connection.is_tls())?;
        if upload.is_empty() {
            length = Length::Over;
        }
        let over = length == Length::Over;
        let begun = self.send.send_request(request, over);
        let (answer, stream) = begun.map_err(message::error)?;
        let outgoing = match over {
            true => Outgoing::default(),
            false => Outgoing::new(stream, upload, length),
        };
        Ok((Incoming::Head(answer), outgoing))
    }

    /// Sends the request and awaits the head of the answer.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<response::Parts, LinkError>> {
        let Some(exchange) = &mut self.exchange else {
            return Poll::Ready(Err(LinkError::Closed));
        };
        let result = match exchange.outgoing.send(&mut self.written, cx) {
            Ok(()) => ready!(exchange.poll_head(cx)),
            Err(error) => Err(error),
        };
        match &result {
            Ok(_) => self.connection.heard(),
            Err(LinkError::Unprocessed) => {
                exchange.unprocessed = true;
                self.connection.refused();
            }
            Err(_) => {}
        }
        Poll::Ready(result.map_err(|error| self.connection.explain(error)))
    }

    /// Awaits the next frame of the answer's body, and sends what is left of the request.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, LinkError>>> {
        let Some(exchange) = &mut self.exchange else {
            return Poll::Ready(None);
        };
        if let Err(error) = exchange.outgoing.send(&mut self.written, cx) {
            return Poll::Ready(Some(Err(error)));
        }
        exchange.incoming.poll_frame(cx)
    }

    /// The next frame of the answer's body that has come already; `None` if there is none.
    pub(crate) fn try_frame(&mut self) -> Option<Option<Result<Frame<Bytes>, LinkError>>> {
        let exchange = self.exchange.as_mut()?;
        let mut cx = Context::from_waker(Waker::noop());
        match exchange.incoming.poll_frame(&mut cx) {
            Poll::Ready(frame) => Some(frame),
            Poll::Pending => None,
        }
    }

    /// Whether the answer is whole.
    pub(crate) fn is_whole(&self) -> bool {
        let exchange = self.exchange.as_ref();
        exchange.is_none_or(|exchange| matches!(exchange.incoming, Incoming::Over))
    }

    /// What is left of the answer's body, where that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        match &self.exchange.as_ref()?.incoming {
            Incoming::Body { left, .. } => *left,
            Incoming::Over => Some(0),
            Incoming::Failed(_) | Incoming::Head(_) => None,
        }
    }

    /// Bytes that the origin's windows had room for, ever.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Whether all that the client has sent of the request is on its way.
    pub(crate) fn is_flushed(&self) -> bool {
        let exchange = self.exchange.as_ref();
        exchange.is_none_or(|exchange| exchange.outgoing.is_flushed())
    }

    /// Whether the origin certainly did nothing about the request.
    pub(crate) fn sent_nothing(&self) -> bool {
        let exchange = self.exchange.as_ref();
        exchange.is_none_or(|exchange| exchange.unprocessed)
    }

    /// Whether nothing of an answer came.
    pub(crate) fn is_silent(&self) -> bool {
        let exchange = self.exchange.as_ref();
        exchange.is_none_or(|exchange| exchange.silent)
    }

    /// Whether a request can be begun now. What the exchange before left behind is reset: the
    /// rest of a request whose answer is whole (RFC 9113 §8.1).
    pub(crate) fn is_ready(&mut self) -> bool {
        self.finish();
        // From now on it is an old connection.
        self.joined = true;
        accepts(&mut self.send) && self.connection.has_room()
    }

    fn finish(&mut self) {
        if self.exchange.take().is_some() {
            self.connection.end();
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // Dropping what h2 gave out resets the stream if it is not over.
        self.finish();
    }
}

impl Exchange {
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<response::Parts, LinkError>> {
        let answer = match &mut self.incoming {
            Incoming::Head(answer) => answer,
            Incoming::Failed(error) => {
                return Poll::Ready(Err(error.take().unwrap_or(LinkError::Closed)));
            }
            Incoming::Body { .. } | Incoming::Over => return Poll::Ready(Err(LinkError::Closed)),
        };
        while let Poll::Ready(Some(Ok(interim))) = answer.poll_informational(cx) {
            self.silent = false;
            self.informational += 1;
            if self.informational > INFORMATIONAL {
                return Poll::Ready(Err(LinkError::Malformed));
            }
            if let Some(interims) = &self.interims {
                let (parts, ()) = interim.into_parts();
                fields::pass_interim(parts.status, parts.headers, &**interims);
            }
        }
        let answer = ready!(Pin::new(answer).poll(cx)).map_err(message::error)?;
        self.silent = false;
        self.interims = None;
        let (mut parts, stream) = answer.into_parts();
        if parts.headers.len() > FIELDS {
            return Poll::Ready(Err(LinkError::Malformed));
        }
        let framing = fields::prepare_response(&mut parts).map_err(|_| LinkError::Malformed)?;
        let empty = self.no_content
            || matches!(
                parts.status,
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            );
        let left = match framing {
            _ if empty => Some(0),
            Framing::Length(length) => Some(length),
            Framing::UntilClose | Framing::Chunked | Framing::Overridden => None,
        };
        self.incoming = match stream.is_end_stream() {
            // h2 has compared the length that was said with what came.
            true => Incoming::Over,
            false => Incoming::Body { stream, left },
        };
        Poll::Ready(Ok(parts))
    }
}

impl Incoming {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, LinkError>>> {
        let Self::Body { stream, left } = self else {
            return Poll::Ready(None);
        };
        loop {
            match ready!(stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // Room for as much again. Not given back earlier: so a client that stops
                    // reading stops its stream.
                    let _ = stream.flow_control().release_capacity(data.len());
                    if let Some(left) = left {
                        *left = left.saturating_sub(data.len() as u64);
                    }
                    let over = stream.is_end_stream();
                    if over {
                        *self = Self::Over;
                        if data.is_empty() {
                            return Poll::Ready(None);
                        }
                    } else if data.is_empty() {
                        continue;
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => {
                    // RFC 9113 §8.1: the answer is whole, the rest of the request is not wanted. But
                    // END_STREAM did not come, so only its length can tell.
                    let whole = error.is_remote()
                        && error.reason() == Some(Reason::NO_ERROR)
                        && error.is_reset()
                        && *left == Some(0);
                    *self = Self::Over;
                    return Poll::Ready((!whole).then(|| Err(message::error(error))));
                }
                None => break,
            }
        }
        let trailers = ready!(stream.poll_trailers(cx));
        *self = Self::Over;
        Poll::Ready(match trailers {
            Ok(Some(trailers)) if trailers.len() > FIELDS => Some(Err(LinkError::Malformed)),
            Ok(Some(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Ok(None) => None,
            Err(error) => Some(Err(message::error(error))),
        })
    }
}
