//! One request: its head, and what becomes of it.

use std::future::{Future, poll_fn};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body::Body as _;
use quinn::{RecvStream, SendStream};
use tracing::Instrument;

use super::answer::{Sending, respond};
use super::content::{Between, Content, Receiving};
use super::http3::{Http3, Place};
use super::http09;
use super::unacknowledged::{Patience, SMALL, Sent};
use crate::config::snapshot::RouteTimeouts;
use crate::confirm::Confirmation;
use crate::connection::incoming::Incoming;
use crate::connection::service::Http;
use crate::connection::shared::Shared;
use crate::connection::stage::{Stage, Stream, Watch};
use crate::deadline::{Elapsed, within};
use crate::http::h3::{self, Code, Head, Message, NoHead, Priority, Received, Wrong};
use crate::telemetry::labels::{Limit, TimeoutKind};

/// Why a request is not served.
pub(super) enum Unserved {
    /// Something is wrong with it.
    Wrong(Wrong),
    /// Its head is too large.
    TooLarge,
    /// Too many heads of its connection are not whole.
    NoRoom,
    /// Its client gave it up.
    GivenUp,
    /// Its head did not come in time.
    Late,
}

impl From<Wrong> for Unserved {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(wrong)
    }
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
    // Boxed: it has some kilobytes, and tokio moves what it spawns, and again when that ends.
    let mut task = Box::pin(serve(Arc::clone(http3), place, id, send, recv, early));
    // Most are answered at once. The waker does not matter: a task that is spawned is polled at once.
    let mut cx = Context::from_waker(Waker::noop());
    // A handler's panic ends its request alone, as it does in a task.
    let polled = panic::catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(&mut cx)));
    if matches!(polled, Ok(Poll::Pending)) {
        tokio::spawn(task.in_current_span());
    }
}

/// Serves one request.
async fn serve(
    http3: Arc<Http3>,
    place: Place,
    id: u64,
    send: SendStream,
    recv: RecvStream,
    early: bool,
) {
    let mut send = Sending::new(send, http3.is_http09());
    let mut recv = Receiving::new(recv);
    let head = match http3.is_http09() {
        true => Box::pin(http09::head(&http3, &mut recv)).await,
        false => head(&http3, &mut recv).await,
    };
    match head {
        Ok((head, message, chunk)) => {
            request(&http3, id, head, message, chunk, send, recv, early).await;
        }
        Err(Unserved::Wrong(Wrong::Connection(code))) => http3.fail(code),
        Err(Unserved::Wrong(Wrong::Stream(code))) => {
            http3.shared.metrics().requests.framing_violations.inc();
            send.end_with(code);
            recv.stop(code);
            http3.given_up();
        }
        Err(Unserved::TooLarge) => {
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
        Err(Unserved::NoRoom) => {
            http3.shared.metrics().requests.limits_hit.inc(Limit::Heads);
            // RFC 9114 §4.1.1: nobody has looked at it.
            send.end_with(Code::REQUEST_REJECTED);
            recv.stop(Code::REQUEST_REJECTED);
        }
        Err(Unserved::GivenUp) => http3.given_up(),
        Err(Unserved::Late) => {
            let timeouts = &http3.shared.metrics().timeouts;
            timeouts.inc(TimeoutKind::RequestHeaders);
            // RFC 9114 §4.1.1: nobody has looked at it.
            send.end_with(Code::REQUEST_REJECTED);
            recv.stop(Code::REQUEST_REJECTED);
        }
    }
    drop(place);
}

/// Reads the head of a request.
async fn head(
    http3: &Arc<Http3>,
    recv: &mut Receiving,
) -> Result<(Head, Message, Bytes), Unserved> {
    let shared = &http3.shared;
    let limit = shared.site.timeouts.request_headers;
    let mut message = Message::new(section_limit(http3));
    let mut chunk = Bytes::new();
    let mut held = http3.hold();
    let read = async {
        loop {
            let received = message.next(&mut chunk);
            http3.beside(message.idle());
            match received? {
                Some(Received::Head(section)) => break Ok(section),
                Some(_) => break Err(Unserved::TooLarge),
                None => {}
            }
            match poll_fn(|cx| recv.poll(cx)).await {
                Ok(Some(bytes)) => {
                    if !held.add(bytes.len()) {
                        break Err(Unserved::NoRoom);
                    }
                    chunk = bytes;
                }
                Ok(None) => {
                    message.end()?;
                    break Err(Unserved::Wrong(Wrong::Stream(Code::REQUEST_INCOMPLETE)));
                }
                Err(_) => break Err(Unserved::GivenUp),
            }
        }
    };
    let section = match within(&shared.worker.ticker, Some(limit), read).await {
        Ok(read) => read?,
        Err(Elapsed) => return Err(Unserved::Late),
    };
    let usual = http3.authority.get();
    let head = h3::request(&section, section_limit(http3), usual).map_err(|why| match why {
        NoHead::Failed => Wrong::Connection(Code::QPACK_DECOMPRESSION_FAILED).into(),
        NoHead::Malformed => Wrong::Stream(Code::MESSAGE_ERROR).into(),
        NoHead::TooLarge => Unserved::TooLarge,
    })?;
    if let (None, Some(authority)) = (usual, head.request.uri().authority()) {
        // Another request may have been quicker.
        let _ = http3.authority.set(authority.clone());
    }
    message.announce(head.length);
    Ok((head, message, chunk))
}

/// The most that a field section may take before its route is known. RFC 9114 §4.2.2 counts 32 more
/// for each field.
fn section_limit(http3: &Http3) -> usize {
    let site = &http3.shared.site;
    site.max_header_bytes + site.max_uri + 32 * site.max_headers
}

#[expect(
    clippy::too_many_arguments,
    reason = "all that a request consists of, once"
)]
async fn request(
    http3: &Arc<Http3>,
    id: u64,
    head: Head,
    message: Message,
    chunk: Bytes,
    mut send: Sending,
    recv: Receiving,
    early: bool,
) {
    let shared = &http3.shared;
    let headers = head.request.headers();
    let between = Between::new(headers.contains_key(EXPECT), http3.is_http09());
    let said = headers.get_all("priority").iter();
    let said = Priority::of_lines(said.map(HeaderValue::as_bytes));
    let rank = http3.ranks.begin(id, said);
    let limit = section_limit(http3);
    let mut content = Content::new(
        recv,
        message,
        chunk,
        limit,
        Arc::clone(http3),
        Arc::clone(&between),
    );
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
    if !prove(http3, &shared.confirmation).await {
        send.end_with(Code::REQUEST_CANCELLED);
        return;
    }
    let is_head = head.request.method() == Method::HEAD;
    let request: Request<Incoming> = head.request.map(|()| Incoming::Http3(content));
    let ended = request.body().is_end_stream();
    tracing::trace!(id, early, ended, "request");
    shared.comes_from(http3.quic.remote_address().ip());
    let answer = Http(Arc::clone(shared)).answer(request, early);
    // Put there by that very call, on this thread.
    let watch = shared
        .watch
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    // An answer without a route is short: as a whole it has the time that others have for a pause.
    let watch = watch.unwrap_or_else(|| Watch {
        stage: Stage::default(),
        write_idle: write_idle(shared),
    });
    let (stage, limit) = (watch.stage.clone(), watch.write_idle);
    {
        let respond = std::pin::pin!(respond(
            http3, answer, &mut send, &between, &rank, &stage, is_head,
        ));
        Stream::new(respond, Arc::clone(shared), Some(watch)).await;
    }
    finished(http3, send, limit, stage.taken()).await;
}

/// An answer is over as far as it is ours; if it was not broken off, its client may not have it yet.
/// `content` is what there was of that, in bytes.
async fn finished(http3: &Arc<Http3>, answer: Sending, limit: Option<Duration>, content: u64) {
    if !answer.is_finished() {
        return;
    }
    // The end of the last one is what a connection waits for that is about to close.
    if http3.shared.is_closing() || content > SMALL {
        Box::pin(acknowledged(http3, answer, limit)).await;
    } else {
        http3.unacknowledged.keep(answer, limit);
    }
}

/// From now on somebody waits for all answers that their client does not have yet: the connection is
/// about to close, and must not do so on them.
pub(super) fn await_acknowledged(http3: &Arc<Http3>) {
    for Sent { answer, limit, .. } in http3.unacknowledged.take() {
        let (http3, place) = (Arc::clone(http3), http3.place(answer.id()));
        let waiting = async move {
            acknowledged(&http3, answer, limit).await;
            drop(place);
        };
        tokio::spawn(waiting.in_current_span());
    }
}

/// Waits until the client has an answer that is with quinn whole, or takes nothing for `limit`.
async fn acknowledged(http3: &Http3, mut answer: Sending, limit: Option<Duration>) {
    let ticker = &http3.shared.worker.ticker;
    let mut patience = Patience::new(http3.acknowledged());
    let mut over = std::pin::pin!(answer.over());
    while let Err(Elapsed) = within(ticker, limit, over.as_mut()).await {
        if !patience.goes_on(http3.acknowledged()) {
            http3.shared.metrics().timeouts.inc(TimeoutKind::WriteIdle);
            answer.give_up();
            return;
        }
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

/// EARLY-DATA R15: whether to believe what a proxy says of its client is decided by the proxy's
/// address, so it waits until that is proved. False if it never will be.
async fn prove(http3: &Http3, confirmation: &Confirmation) -> bool {
    let shared = &http3.shared;
    if shared.address_is_proved() {
        return true;
    }
    let trusts = {
        let snapshot = shared.worker.process.current.peek();
        shared.trusted(&snapshot).is_some()
    };
    !trusts || confirmation.wait().await.is_ok()
}
