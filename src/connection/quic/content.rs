//! The content of a request, and what it tells the answer.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Notify;

use super::arriving::Arriving;
use super::http3::Http3;
use crate::body::BoxError;
use crate::http::h3::{self, Code, NoHead, Received, Wrong};
use crate::interim::Interims;

/// How many interim answers wait for a client that takes nothing. Who is slower than an origin does
/// not get all of them: they only help.
const UNSENT: usize = 4;

/// What a request's two halves tell each other.
#[derive(Debug, Default)]
pub(super) struct Between {
    /// The code that the stream ends with; 0 if nothing is wrong.
    wrong: AtomicU64,
    /// Whether the client awaits 100-continue.
    expects: AtomicBool,
    /// Frames of interim answers that are not sent yet.
    interims: Mutex<VecDeque<Bytes>>,
    /// Told of each.
    news: Notify,
    /// Whether there can be none: HTTP/0.9 has nothing but content.
    mute: bool,
}

impl Between {
    pub(super) fn new(expects: bool, mute: bool) -> Arc<Self> {
        Arc::new(Self {
            expects: AtomicBool::new(expects),
            mute,
            ..Self::default()
        })
    }

    /// The frame of the next interim answer, once there is one.
    pub(super) async fn interim(&self) -> Bytes {
        loop {
            if let Some(frame) = self.try_interim() {
                return frame;
            }
            self.news.notified().await;
        }
    }

    /// The frame of the next interim answer, if there is one.
    pub(super) fn try_interim(&self) -> Option<Bytes> {
        self.interims().pop_front()
    }

    fn interims(&self) -> MutexGuard<'_, VecDeque<Bytes>> {
        self.interims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was wrong with the request.
    pub(super) fn wrong(&self) -> Option<Code> {
        match self.wrong.load(Ordering::Relaxed) {
            0 => None,
            code => Some(Code(code)),
        }
    }

    fn ask(&self) {
        // RFC 9110 §10.1.1: only who reads the content asks for it.
        if self.expects.swap(false, Ordering::Relaxed) {
            self.pass(StatusCode::CONTINUE, &HeaderMap::new());
        }
    }
}

impl Interims for Between {
    fn pass(&self, status: StatusCode, fields: &HeaderMap) {
        let mut interims = self.interims();
        if interims.len() < UNSENT && !self.mute {
            interims.push_back(h3::response(status, fields).frame().into());
            self.news.notify_one();
        }
    }
}

/// The content of a request on a stream of HTTP/3.
pub struct Content {
    arriving: Arriving,
    /// What was looked at before it was asked for.
    ahead: Option<Received>,
    /// Trailers that came. Nobody gets them before the stream has ended without more.
    last: Option<HeaderMap>,
    /// Whether nothing comes any more.
    ended: bool,
    /// The most that trailers may take.
    limit: usize,
    http3: Arc<Http3>,
    between: Arc<Between>,
}

impl Content {
    /// What comes behind a head, whose trailers take at most `limit` bytes. `ahead` is what has come of
    /// it already.
    pub(super) fn new(
        arriving: Arriving,
        ahead: Option<Received>,
        limit: usize,
        http3: Arc<Http3>,
        between: Arc<Between>,
    ) -> Box<Self> {
        Box::new(Self {
            arriving,
            ahead,
            last: None,
            ended: false,
            limit,
            http3,
            between,
        })
    }

    /// Sees whether the stream has ended already, without waiting.
    ///
    /// # Errors
    /// What is wrong with its end.
    pub(super) fn look(&mut self) -> Result<(), Wrong> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match self.poll_look(&mut cx) {
            Poll::Ready(seen) => seen,
            Poll::Pending => Ok(()),
        }
    }

    /// Ready once it is known whether content or trailers come behind the head; frames that nobody
    /// knows are neither.
    pub(super) fn poll_look(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Wrong>> {
        if !self.ended && self.ahead.is_none() {
            match ready!(self.poll_received(cx))? {
                None => self.ended = true,
                received => self.ahead = received,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn fail(&mut self, wrong: Wrong) -> BoxError {
        self.ended = true;
        match wrong {
            Wrong::Connection(code) => self.http3.fail(code),
            Wrong::Stream(code) => {
                self.between.wrong.store(code.0, Ordering::Relaxed);
                self.arriving.stop(code);
            }
        }
        Broken(wrong).into()
    }

    fn trailers(&mut self, section: &[u8]) -> Result<HeaderMap, Wrong> {
        h3::trailers(section, self.limit).map_err(|why| match why {
            NoHead::Failed => Wrong::Connection(Code::QPACK_DECOMPRESSION_FAILED),
            NoHead::Malformed => Wrong::Stream(Code::MESSAGE_ERROR),
            NoHead::TooLarge => Wrong::Stream(Code::EXCESSIVE_LOAD),
        })
    }

    fn poll_received(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Received>, Wrong>> {
        match self.ahead.take() {
            None => self.arriving.poll_received(cx, &self.http3),
            ahead => Poll::Ready(Ok(ahead)),
        }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        this.between.ask();
        let frame = loop {
            let received = match ready!(this.poll_received(cx)) {
                Ok(received) => received,
                Err(wrong) => return Poll::Ready(Some(Err(this.fail(wrong)))),
            };
            match received {
                None => {
                    this.ended = true;
                    let trailers = this.last.take().map(Frame::trailers);
                    return Poll::Ready(trailers.map(Ok));
                }
                Some(Received::Trailers(section)) => match this.trailers(&section) {
                    Ok(trailers) => this.last = Some(trailers),
                    Err(wrong) => return Poll::Ready(Some(Err(this.fail(wrong)))),
                },
                Some(Received::Data(data)) => break Frame::data(data),
                // A message has one head.
                Some(Received::Head(_) | Received::TooLarge) => {
                    let wrong = Wrong::Connection(Code::FRAME_UNEXPECTED);
                    return Poll::Ready(Some(Err(this.fail(wrong))));
                }
            }
        };
        // The end may be here already: then nobody need ask once more. What is wrong is told to who
        // does.
        match this.look() {
            Ok(()) => Poll::Ready(Some(Ok(frame))),
            Err(wrong) => Poll::Ready(Some(Err(this.fail(wrong)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        let ahead = match &self.ahead {
            Some(Received::Data(data)) => data.len() as u64,
            _ => 0,
        };
        match (self.ended, self.arriving.left()) {
            (true, _) => SizeHint::with_exact(0),
            (false, Some(left)) => SizeHint::with_exact(left.saturating_add(ahead)),
            (false, None) => SizeHint::default(),
        }
    }
}

/// A request that is not whole.
#[derive(Debug)]
struct Broken(Wrong);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Wrong::Connection(code) | Wrong::Stream(code)) = self.0;
        write!(f, "the request broke off (HTTP/3 error {:#x})", code.0)
    }
}

impl std::error::Error for Broken {}
