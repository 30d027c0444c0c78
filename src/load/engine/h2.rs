//! Slots that speak HTTP/2: those of one connection are its streams.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use h2::Reason;
use h2::client::{Builder, SendRequest};
use http::{Request, Uri};
use tokio::task::{AbortHandle, JoinHandle, spawn_local};

use super::h2io::{Fate, Io};
use super::http1::authority;
use super::slot::{Ending, Failure, Slot};
use crate::load::plan::{Mode, Plan, Usage};
use crate::load::stats::{ErrorKind, TimedOut};

/// Flow-control windows that a fast server does not fill.
const WINDOW: u32 = 16 * 1024 * 1024;
/// How often an operation is asked for in all, where connections were going away (RFC 9113 §6.8).
const TRIES: usize = 3;

/// The connection that some slots share.
#[derive(Default)]
pub(super) struct Pool {
    current: RefCell<Option<Rc<Session>>>,
    opening: tokio::sync::Mutex<()>,
    /// Slots that still run.
    users: Cell<usize>,
}

/// One connection.
struct Session {
    sender: RefCell<Option<SendRequest<Bytes>>>,
    driver: RefCell<Option<JoinHandle<()>>>,
    abort: AbortHandle,
    fate: Rc<Fate>,
    uri: Uri,
    left: Cell<u64>,
    under_way: Cell<u64>,
}

/// Why a request has no answer.
enum Miss {
    Failed(Failure),
    /// The server had already said that it would take no more on this connection.
    Again,
}

/// One slot, a stream at a time.
pub(super) struct Http2 {
    slot: Slot,
    pool: Rc<Pool>,
}

impl Http2 {
    /// A further slot of the pool's connection.
    pub(super) fn new(slot: Slot, pool: &Rc<Pool>) -> Self {
        pool.users.set(pool.users.get() + 1);
        Self {
            slot,
            pool: Rc::clone(pool),
        }
    }

    /// Requests, until there are no more.
    pub(super) async fn run(self) {
        while let Some(begin) = self.slot.next().await {
            let mut tries = 1;
            let result = loop {
                match self.operation().await {
                    Ok(ending) => break Ok(ending),
                    Err(Miss::Failed(failure)) => break Err(failure),
                    Err(Miss::Again) if tries < TRIES => tries += 1,
                    Err(Miss::Again) => {
                        break Err(ErrorKind::Http2(Reason::NO_ERROR.into()).into());
                    }
                }
            };
            self.slot.ended(begin, result);
        }
        self.pool.users.set(self.pool.users.get() - 1);
        if self.pool.users.get() == 0 {
            let current = self.pool.current.take();
            if let Some(session) = current {
                self.retire(&session).await;
            }
        }
    }

    async fn operation(&self) -> Result<Ending, Miss> {
        let (session, opened) = self.session().await.map_err(Miss::Failed)?;
        let left = session.left.get().saturating_sub(1);
        session.left.set(left);
        if left == 0 {
            self.forget(&session);
        }
        session.under_way.set(session.under_way.get() + 1);
        let plan = self.slot.plan();
        let begin = match (plan.rate, plan.usage, opened) {
            (Some(_), ..) => None,
            (None, Usage::KeepAlive, _) => Some(Instant::now()),
            (None, _, opened) => opened,
        };
        let result = self.request(&session, begin).await;
        session.under_way.set(session.under_way.get() - 1);
        let current = self.pool.current.borrow().as_ref().map(Rc::as_ptr);
        if session.under_way.get() == 0 && current != Some(Rc::as_ptr(&session)) {
            self.retire(&session).await;
        }
        result
    }

    /// The pool's connection; also when it was opened, if that was done here.
    async fn session(&self) -> Result<(Rc<Session>, Option<Instant>), Failure> {
        let current = || self.pool.current.borrow().clone();
        if let Some(session) = current() {
            return Ok((session, None));
        }
        let _opening = self.pool.opening.lock().await;
        // Another slot may have opened one meanwhile.
        if let Some(session) = current() {
            return Ok((session, None));
        }
        let (mut stream, number, opened) = self.slot.open().await?;
        let plan = self.slot.plan();
        if plan.mode != Mode::Early {
            self.slot.shake_hands(&mut stream).await?;
        }
        let fate = Rc::new(Fate::default());
        let handshake = async {
            Builder::new()
                .initial_window_size(WINDOW)
                .initial_connection_window_size(WINDOW)
                .enable_push(false)
                .handshake(Io::new(stream, &fate))
                .await
                .map_err(|_| fate.failure.get().unwrap_or(ErrorKind::Http))
        };
        let (sender, connection) = self.slot.bounded(handshake, TimedOut::Handshake).await?;
        let ending = Rc::clone(&fate);
        let driver = spawn_local(async move {
            // What went wrong stands in its fate.
            let _ = connection.await;
            ending.closed.set(true);
            ending.news.notify_one();
        });
        let session = Rc::new(Session {
            sender: RefCell::new(Some(sender)),
            abort: driver.abort_handle(),
            driver: RefCell::new(Some(driver)),
            fate,
            uri: uri(plan, number)?,
            left: Cell::new(self.slot.requests()),
            under_way: Cell::new(0),
        });
        *self.pool.current.borrow_mut() = Some(Rc::clone(&session));
        Ok((session, Some(opened)))
    }

    async fn request(&self, session: &Rc<Session>, begin: Option<Instant>) -> Result<Ending, Miss> {
        self.slot.limit(self.slot.plan().timeouts.request);
        let mut first = None;
        let exchange = async {
            let result = exchange(self.slot.plan(), session, &mut first).await;
            Ok::<_, Failure>(result)
        };
        let result = self.slot.bounded(exchange, TimedOut::Request).await;
        let error = match result {
            Ok(Ok((status, body))) => {
                self.slot.recorder().counts(|counts| {
                    counts.requests += 1;
                    counts.body += body;
                    *counts.statuses.entry(status).or_default() += 1;
                });
                return Ok(Ending {
                    begin,
                    first,
                    end: Instant::now(),
                    status,
                });
            }
            Ok(Err(error)) => error,
            Err(failure) => {
                self.forget(session);
                return Err(Miss::Failed(failure));
            }
        };
        if !error.is_reset() {
            self.forget(session);
        }
        if error.is_go_away() && error.reason() == Some(Reason::NO_ERROR) && first.is_none() {
            return Err(Miss::Again);
        }
        let kind = match (session.fate.failure.get(), error.reason()) {
            (Some(kind), _) => kind,
            (None, Some(reason)) => ErrorKind::Http2(reason.into()),
            (None, None) if first.is_some() => ErrorKind::HalfAnswer,
            (None, None) => ErrorKind::NoAnswer,
        };
        Err(Miss::Failed(kind.into()))
    }

    /// Nothing new begins on this connection.
    fn forget(&self, session: &Rc<Session>) {
        let mut current = self.pool.current.borrow_mut();
        if current.as_ref().is_some_and(|it| Rc::ptr_eq(it, session)) {
            *current = None;
        }
    }

    /// Ends a connection in good order: with its ticket, if the mode needs one.
    async fn retire(&self, session: &Rc<Session>) {
        let plan = self.slot.plan();
        self.slot.limit(plan.timeouts.closing);
        let fate = &session.fate;
        let ended = async {
            while plan.mode != Mode::Full && !fate.ticket.get() && !fate.closed.get() {
                if fate.failure.get().is_some() {
                    break;
                }
                fate.news.notified().await;
            }
            // Without anybody who might send a request the connection ends by itself.
            session.sender.take();
            let driver = session.driver.take();
            if let Some(driver) = driver {
                let _ = driver.await;
            }
            Ok::<_, Failure>(())
        };
        if self.slot.bounded(ended, TimedOut::Request).await.is_err() {
            session.sender.take();
            session.abort.abort();
        }
    }
}

fn uri(plan: &Plan, number: usize) -> Result<Uri, ErrorKind> {
    Uri::builder()
        .scheme("https")
        .authority(authority(plan, plan.sni.name(number)))
        .path_and_query(plan.target.path().clone())
        .build()
        .map_err(|_| ErrorKind::Http)
}

/// One request and its answer: the status, and the length of the body.
async fn exchange(
    plan: &Plan,
    session: &Session,
    first: &mut Option<Instant>,
) -> Result<(u16, u64), h2::Error> {
    let sender = session.sender.borrow().clone();
    let Some(mut sender) = sender else {
        return Err(Reason::INTERNAL_ERROR.into());
    };
    poll_fn(|cx| sender.poll_ready(cx)).await?;
    let mut request = Request::new(());
    *request.method_mut() = plan.request.method.clone();
    *request.uri_mut() = session.uri.clone();
    *request.headers_mut() = plan.request.headers.clone();
    let body = plan.request.body.clone();
    let (response, mut sink) = sender.send_request(request, body.is_empty())?;
    if !body.is_empty() {
        // `h2` holds it until the windows take it.
        sink.send_data(body, true)?;
    }
    let response = response.await?;
    *first = Some(Instant::now());
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let mut length = 0;
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        length += chunk.len() as u64;
        body.flow_control().release_capacity(chunk.len())?;
    }
    Ok((status, length))
}
