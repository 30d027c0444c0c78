//! One request: its head, and what becomes of it.

use std::future::{Future, poll_fn};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::{Method, Request, StatusCode};
use http_body::Body as _;
use quinn::{RecvStream, SendStream};
use tracing::Instrument;

use super::answer::respond;
use super::arriving::Arriving;
use super::content::{Between, Content};
use super::fixed::{self, Left};
use super::head::{self, Unserved, arrive, said, section_limit};
use super::http3::{Http3, Place};
use super::ranks::Rank;
use super::sending::Sending;
use super::sent::finished;
use crate::config::snapshot::RouteTimeouts;
use crate::confirm::Confirmation;
use crate::connection::fixed::Fixed;
use crate::connection::incoming::Incoming;
use crate::connection::service::{self, Answer, Begun};
use crate::connection::shared::Shared;
use crate::connection::stage::{Stage, Stream, Watch};
use crate::deadline::{Elapsed, within};
use crate::http::h3::{Code, Head, Received, Wrong};
use crate::interim::Interims;
use crate::telemetry::labels::{Limit, TimeoutKind};

/// A request that is served.
pub(super) struct Asked {
    pub(super) http3: Arc<Http3>,
    pub(super) id: u64,
    pub(super) send: Sending,
    arriving: Arriving,
    early: bool,
    place: Place,
}

/// What a request waits for, if it was not answered at once.
pub(super) enum Next {
    /// The rest of its head.
    Head,
    /// Whatever comes behind its head.
    Request(Box<Head>, Option<Received>),
    /// Its refusal to be sent.
    Unserved(Unserved),
    /// Its answer.
    Answer(Box<Waiting>),
    /// Room for what is left of a fixed answer.
    Room(Fixed, Left),
    /// All of the answer is with quinn.
    Sent(Option<Duration>),
    /// Nothing: it was given up.
    Nothing,
}

/// An answer that is not there yet, or not to be sent at once.
pub(super) struct Waiting {
    answer: Answer,
    watch: Option<Watch>,
    between: Arc<Between>,
    rank: Rank,
    is_head: bool,
}

/// Serves one request, in a task of its own if it has to wait.
pub(super) fn begin(
    http3: &Arc<Http3>,
    place: Place,
    id: u64,
    send: SendStream,
    recv: RecvStream,
    early: bool,
) {
    let mut asked = Asked {
        http3: Arc::clone(http3),
        id,
        send: Sending::new(send, http3.is_http09()),
        arriving: Arriving::new(recv, section_limit(http3)),
        early,
        place,
    };
    let next = match alone(http3, || at_once(&mut asked)) {
        None | Some(Next::Nothing) => return,
        Some(Next::Sent(limit)) if asked.send.is_finished() && !http3.shared.is_closing() => {
            http3.unacknowledged.keep(asked.send, limit);
            return;
        }
        Some(next) => next,
    };
    // Boxed: it has some kilobytes, and tokio moves what it spawns, and again when that ends.
    let mut task = Box::pin(serve(asked, next));
    // It may get by without one. The waker does not matter: a task that is spawned is polled at once.
    let mut cx = Context::from_waker(Waker::noop());
    if let Some(Poll::Pending) = alone(http3, || task.as_mut().poll(&mut cx)) {
        tokio::spawn(task.in_current_span());
    }
}

/// A handler's panic ends its request alone, as it does in a task. `None` if there was one.
fn alone<T>(http3: &Http3, act: impl FnOnce() -> T) -> Option<T> {
    let done = panic::catch_unwind(AssertUnwindSafe(act));
    if done.is_err() {
        // What may be left of it is not the next one's.
        http3.shared.take_watch();
    }
    done.ok()
}

/// Goes as far with a request as it can without waiting. Most are here as a whole and ask for something
/// that is there: those need neither a task nor what goes with it.
fn at_once(asked: &mut Asked) -> Next {
    let http3 = &asked.http3;
    if http3.is_http09() {
        return Next::Head;
    }
    // What is not there is asked for again, by somebody who can wait for it.
    let mut cx = Context::from_waker(Waker::noop());
    let section = match asked.arriving.poll_head(&mut cx, http3) {
        Poll::Ready(section) => section,
        Poll::Pending => return Next::Head,
    };
    let read = |section: Bytes| head::read(http3, &section, &mut asked.arriving);
    let head = match section.and_then(read) {
        Ok(head) => head,
        Err(why) => return Next::Unserved(why),
    };
    let shared = &http3.shared;
    match asked.arriving.poll_received(&mut cx, http3) {
        Poll::Ready(Ok(None)) if may_go_on(shared) => {}
        Poll::Ready(Ok(ahead)) => return Next::Request(Box::new(head), ahead),
        Poll::Ready(Err(why)) => return Next::Unserved(why.into()),
        Poll::Pending => return Next::Request(Box::new(head), None),
    }
    let said = said(&head);
    let is_head = head.request.method() == Method::HEAD;
    let mut between = None;
    let interims = || {
        let between = between.insert(Between::new(false, false));
        Some(Arc::clone(between) as Arc<dyn Interims>)
    };
    tracing::trace!(asked.id, asked.early, "request");
    let request = head.request.map(|()| Incoming::Nothing);
    let answer = match service::begin(shared, request, asked.early, interims) {
        Begun::Answer(answer) => answer,
        Begun::Fixed(fixed) => match fixed::send(asked, said, fixed) {
            Ok(next) => return next,
            Err(fixed) => fixed.into_answer(),
        },
    };
    Next::Answer(Box::new(Waiting {
        answer,
        // Put there by that very call, on this thread.
        watch: asked.http3.shared.take_watch(),
        between: between.unwrap_or_else(|| Between::new(false, false)),
        rank: asked.http3.ranks.begin(asked.id, said),
        is_head,
    }))
}

/// Serves a request that has to wait.
async fn serve(mut asked: Asked, next: Next) {
    match next {
        Next::Head => match arrive(&asked.http3, &mut asked.arriving).await {
            Ok(head) => request(asked, head, None).await,
            Err(why) => unserved(asked, why).await,
        },
        Next::Request(head, ahead) => request(asked, *head, ahead).await,
        Next::Unserved(why) => unserved(asked, why).await,
        Next::Answer(waiting) => {
            wait(&asked.http3, asked.send, *waiting).await;
        }
        Next::Room(fixed, left) => fixed::send_rest(asked, fixed, left).await,
        Next::Sent(limit) => finished(&asked.http3, asked.send, limit, 0).await,
        Next::Nothing => {}
    }
}

/// A request that is not served.
async fn unserved(asked: Asked, why: Unserved) {
    let Asked {
        http3,
        mut send,
        mut arriving,
        place,
        ..
    } = asked;
    match why {
        Unserved::Wrong(Wrong::Connection(code)) => http3.fail(code),
        Unserved::Wrong(Wrong::Stream(code)) => {
            http3.shared.metrics().requests.framing_violations.inc();
            send.end_with(code);
            arriving.stop(code);
            http3.given_up();
        }
        Unserved::TooLarge => {
            let metrics = &http3.shared.metrics().requests;
            metrics.limits_hit.inc(Limit::Headers);
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            let limit = write_idle(&http3.shared);
            let answer = Box::pin(send.status_alone(&http3.ranks, status));
            match within(&http3.shared.worker.ticker, limit, answer).await {
                Ok(()) => finished(&http3, send, limit, 0).await,
                Err(Elapsed) => http3.shared.metrics().timeouts.inc(TimeoutKind::WriteIdle),
            }
        }
        Unserved::NoRoom => {
            http3.shared.metrics().requests.limits_hit.inc(Limit::Heads);
            // RFC 9114 §4.1.1: nobody has looked at it.
            send.end_with(Code::REQUEST_REJECTED);
            arriving.stop(Code::REQUEST_REJECTED);
        }
        Unserved::GivenUp => http3.given_up(),
        Unserved::Late => {
            let timeouts = &http3.shared.metrics().timeouts;
            timeouts.inc(TimeoutKind::RequestHeaders);
            // RFC 9114 §4.1.1: nobody has looked at it.
            send.end_with(Code::REQUEST_REJECTED);
            arriving.stop(Code::REQUEST_REJECTED);
        }
    }
    drop(place);
}

/// Serves a request with whatever comes behind its head.
async fn request(asked: Asked, head: Head, ahead: Option<Received>) {
    let Asked {
        http3,
        id,
        mut send,
        arriving,
        early,
        place,
    } = asked;
    let shared = &http3.shared;
    let expects = head.request.headers().contains_key(EXPECT);
    let between = Between::new(expects, http3.is_http09());
    // Before anything is waited for: a frame may change it.
    let rank = http3.ranks.begin(id, said(&head));
    let limit = section_limit(&http3);
    let (ours, theirs) = (Arc::clone(&http3), Arc::clone(&between));
    let mut content = Content::new(arriving, ahead, limit, ours, theirs);
    let seen = match early && may_be_safe(&head.request) {
        true => until_known(&mut content, &shared.confirmation).await,
        false => content.look(),
    };
    if let Err(wrong) = seen {
        match wrong {
            Wrong::Connection(code) => http3.fail(code),
            Wrong::Stream(Code::REQUEST_CANCELLED) => http3.given_up(),
            Wrong::Stream(code) => {
                shared.metrics().requests.framing_violations.inc();
                send.end_with(code);
                http3.given_up();
            }
        }
        return;
    }
    if !may_go_on(shared) && shared.confirmation.wait().await.is_err() {
        send.end_with(Code::REQUEST_CANCELLED);
        return;
    }
    let is_head = head.request.method() == Method::HEAD;
    let request: Request<Incoming> = head.request.map(|()| Incoming::Http3(content));
    let ended = request.body().is_end_stream();
    tracing::trace!(id, early, ended, "request");
    shared.comes_from(http3.quic.remote_address().ip());
    let interims = || Some(Arc::clone(&between) as Arc<dyn Interims>);
    let answer = service::begin(shared, request, early, interims).into_answer();
    // Put there by that very call, on this thread.
    let watch = shared.take_watch();
    let waiting = Waiting {
        answer,
        watch,
        between,
        rank,
        is_head,
    };
    wait(&http3, send, waiting).await;
    drop(place);
}

/// Awaits an answer and sends it.
async fn wait(http3: &Arc<Http3>, mut send: Sending, waiting: Waiting) {
    let Waiting {
        answer,
        watch,
        between,
        rank,
        is_head,
    } = waiting;
    let shared = &http3.shared;
    let watch = watch.unwrap_or_else(|| unrouted(shared));
    let (stage, limit) = (watch.stage.clone(), watch.write_idle);
    {
        let respond = std::pin::pin!(respond(
            http3, answer, &mut send, &between, &rank, &stage, is_head,
        ));
        Stream::new(respond, Arc::clone(shared), Some(watch)).await;
    }
    finished(http3, send, limit, stage.taken()).await;
}

/// An answer without a route is short: as a whole it has the time that others have for a pause.
pub(super) fn unrouted(shared: &Shared) -> Watch {
    Watch {
        stage: Stage::default(),
        write_idle: write_idle(shared),
    }
}

/// What bounds answers without a route: the limit of the one that was asked last, as over TCP.
fn write_idle(shared: &Shared) -> Option<Duration> {
    shared.write_idle().or(RouteTimeouts::default().write_idle)
}

/// Whether an early request goes at once if it has no content.
fn may_be_safe(request: &Request<()>) -> bool {
    matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    )
}

/// A client may end its stream in a packet of its own, and only then is it known that a request has
/// no content (EARLY-DATA R13). Without that it would have to wait for Finished, so nothing is lost
/// by waiting for whichever comes first.
async fn until_known(content: &mut Content, confirmation: &Confirmation) -> Result<(), Wrong> {
    let mut confirmed = std::pin::pin!(confirmation.wait());
    poll_fn(|cx| {
        if let Poll::Ready(seen) = content.poll_look(cx) {
            return Poll::Ready(seen);
        }
        confirmed.as_mut().poll(cx).map(|_| Ok(()))
    })
    .await
}

/// EARLY-DATA R15: whether to believe what a proxy says of its client is decided by the proxy's address,
/// so a request waits until that is proved, where a proxy may be believed.
fn may_go_on(shared: &Shared) -> bool {
    if shared.address_is_proved() {
        return true;
    }
    let snapshot = shared.worker.process.current.peek();
    shared.trusted(&snapshot).is_none()
}
