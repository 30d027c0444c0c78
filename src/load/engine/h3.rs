//! Slots that speak HTTP/3: those of one connection are its streams.

mod opening;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use super::opening::ask;
use super::slot::{Ending, Failure, Slot};
use crate::http::h3::Code;
use crate::load::h3::{Ask, Connection, Lost};
use crate::load::plan::{Mode, Usage};
use crate::load::stats::{ErrorKind, TimedOut};

pub(super) use self::opening::shake_only;

/// How often an operation is asked for in all, where servers say that they have not looked at it (RFC
/// 9114 §4.1.1, §5.2).
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
    http: Connection,
    ask: Ask,
    left: Cell<u64>,
    under_way: Cell<u64>,
    opened: Instant,
    /// Its handshake stands in the figures.
    counted: Cell<bool>,
    /// Early data was refused, and the control stream was opened again.
    greeted: tokio::sync::Mutex<bool>,
}

/// One slot, a stream at a time.
pub(super) struct Http3 {
    slot: Slot,
    pool: Rc<Pool>,
}

impl Http3 {
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
                    Ok(Some(ending)) => break Ok(ending),
                    Err(failure) => break Err(failure),
                    Ok(None) if tries < TRIES => tries += 1,
                    Ok(None) => break Err(ErrorKind::Http3(Code::REQUEST_REJECTED.0).into()),
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

    /// One operation; `None` if the server has said that it has not looked at it.
    async fn operation(&self) -> Result<Option<Ending>, Failure> {
        let (session, opened) = self.session().await?;
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
        let current = || {
            let current = self.pool.current.borrow().clone()?;
            // RFC 9114 §5.2: what is sent after a GOAWAY is not looked at.
            (!current.http.is_going()).then_some(current)
        };
        if let Some(session) = current() {
            return Ok((session, None));
        }
        let _opening = self.pool.opening.lock().await;
        // Another slot may have opened one meanwhile.
        if let Some(session) = current() {
            return Ok((session, None));
        }
        let gone = self.pool.current.take();
        if let Some(session) = gone.filter(|session| session.under_way.get() == 0) {
            self.retire(&session).await;
        }
        let (http, number, opened) = self.slot.open_over_quic().await?;
        let plan = self.slot.plan();
        let session = Rc::new(Session {
            http,
            ask: ask(plan, plan.sni.name(number)),
            left: Cell::new(self.slot.requests()),
            under_way: Cell::new(0),
            opened,
            counted: Cell::new(false),
            greeted: tokio::sync::Mutex::new(false),
        });
        self.count(&session);
        *self.pool.current.borrow_mut() = Some(Rc::clone(&session));
        Ok((session, Some(opened)))
    }

    /// Counts the handshake, once it is done.
    fn count(&self, session: &Session) {
        if !session.counted.get() {
            let counted = self.slot.count_handshake(&session.http, session.opened);
            session.counted.set(counted);
        }
    }

    async fn request(
        &self,
        session: &Rc<Session>,
        begin: Option<Instant>,
    ) -> Result<Option<Ending>, Failure> {
        let (mut first, mut length) = (None, 0);
        let exchange = async {
            loop {
                let content = |piece: &[u8]| length += piece.len() as u64;
                match session
                    .http
                    .exchange(&session.ask, &mut first, content)
                    .await
                {
                    Err(Lost::Refused) => again(session).await?,
                    result => return Ok::<_, Failure>(result),
                }
            }
        };
        let result = self.within_limits(session, exchange).await;
        self.count(session);
        let failure = match result {
            Ok(Ok(status)) => {
                self.slot.recorder().counts(|counts| {
                    counts.requests += 1;
                    counts.body += length;
                    *counts.statuses.entry(status).or_default() += 1;
                });
                return Ok(Some(Ending {
                    begin,
                    first,
                    end: Instant::now(),
                    status,
                }));
            }
            Ok(Err(Lost::Again)) => {
                self.forget(session);
                return Ok(None);
            }
            // Only a stream is gone.
            Ok(Err(Lost::Failed(kind @ ErrorKind::Http3(_)))) if !session.http.is_going() => {
                return Err(kind.into());
            }
            Ok(Err(Lost::Failed(kind))) => Failure::Error(kind),
            // It is sent again above.
            Ok(Err(Lost::Refused)) => Failure::Error(ErrorKind::NoAnswer),
            Err(failure) => failure,
        };
        self.forget(session);
        Err(failure)
    }

    /// Waits for an exchange: as long as a handshake may take, which it may be ahead of, and from its
    /// end as long as an answer.
    async fn within_limits<T>(
        &self,
        session: &Session,
        exchange: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let timeouts = self.slot.plan().timeouts;
        let mut exchange = pin!(exchange);
        let mut what = TimedOut::Handshake;
        self.slot
            .limit(match session.http.progress().facts().finished {
                None => timeouts.handshake,
                Some(_) => {
                    what = TimedOut::Request;
                    timeouts.request
                }
            });
        poll_fn(|cx| {
            if let Poll::Ready(result) = exchange.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            // Nobody need be woken at its end: this is seen before the limit is.
            if what == TimedOut::Handshake
                && let Some(finished) = session.http.progress().facts().finished
            {
                what = TimedOut::Request;
                let left = timeouts.request.saturating_sub(finished.elapsed());
                self.slot.limit(left);
            }
            self.slot.poll_limit(cx, what).map(Err)
        })
        .await
    }

    /// Nothing new begins on this connection.
    fn forget(&self, session: &Rc<Session>) {
        let mut current = self.pool.current.borrow_mut();
        if current.as_ref().is_some_and(|it| Rc::ptr_eq(it, session)) {
            *current = None;
        }
    }

    /// Ends a connection in good order: with its ticket, if the mode needs one.
    async fn retire(&self, session: &Session) {
        let wants_ticket = self.slot.plan().mode != Mode::Full && session.counted.get();
        self.slot.part_over_quic(&session.http, wants_ticket).await;
    }
}

/// Early data was refused: opens the control stream again, whoever comes first, as the server has
/// never seen the first one.
async fn again(session: &Session) -> Result<(), Failure> {
    let mut greeted = session.greeted.lock().await;
    if !*greeted {
        session.http.greet().await?;
        *greeted = true;
    }
    Ok(())
}
