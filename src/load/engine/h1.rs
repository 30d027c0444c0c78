//! A slot that speaks HTTP/1.1.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Instant;

use super::http1::{self, Answer};
use super::slot::{Ending, Failure, Slot};
use super::stream::{Received, Stream};
use crate::load::plan::Usage;
use crate::load::stats::{ErrorKind, TimedOut};

/// A connection and what it is still good for.
struct Link {
    stream: Stream,
    left: u64,
}

/// One request on its way.
struct Exchange<'a> {
    request: &'a [u8],
    /// How much of it TLS has taken.
    taken: usize,
    answer: &'a mut Answer,
    first: Option<Instant>,
    end: Option<Instant>,
}

impl Exchange<'_> {
    /// Sends the request and reads the answer, as far as that goes now.
    fn poll(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<Result<(), ErrorKind>> {
        loop {
            self.write(stream)?;
            let flushed = stream.poll_flush(cx)?.is_ready();
            if flushed && self.answer.is_whole() && stream.finished().is_some() {
                return Poll::Ready(Ok(()));
            }
            // Its buffer is empty again: a long body goes on.
            if flushed && self.write(stream)? > 0 {
                continue;
            }
            let received = stream.poll_receive(cx, |bytes| {
                self.first.get_or_insert_with(Instant::now);
                self.answer.feed(bytes)?;
                if self.answer.is_whole() {
                    self.end.get_or_insert_with(Instant::now);
                }
                Ok(())
            });
            match received? {
                Poll::Ready(Received::Bytes) => {}
                Poll::Ready(Received::Closed { notify }) => {
                    self.answer.ends(notify)?;
                    self.end.get_or_insert_with(Instant::now);
                    if stream.finished().is_some() {
                        return Poll::Ready(Ok(()));
                    }
                    if stream.poll_flush(cx)?.is_pending() {
                        return Poll::Pending;
                    }
                    if stream.finished().is_none() {
                        return Poll::Ready(Err(ErrorKind::ClosedInHandshake));
                    }
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn write(&mut self, stream: &mut Stream) -> Result<usize, ErrorKind> {
        match self.request.get(self.taken..).unwrap_or_default() {
            [] => Ok(0),
            rest => {
                let count = stream.write(rest)?;
                self.taken += count;
                Ok(count)
            }
        }
    }
}

/// A slot with HTTP/1.1 and its connection, if it has one.
pub(super) struct Http1 {
    slot: Slot,
    link: Option<Link>,
    request: Vec<u8>,
    answer: Answer,
}

impl Http1 {
    pub(super) fn new(slot: Slot) -> Self {
        let answer = Answer::new(&slot.plan().request.method);
        Self {
            slot,
            link: None,
            request: Vec::new(),
            answer,
        }
    }

    /// Requests, until there are no more.
    pub(super) async fn run(mut self) {
        while let Some(begin) = self.slot.next().await {
            let result = self.operation().await;
            if result.is_err() {
                self.link = None;
            }
            self.slot.ended(begin, result);
            if self.link.as_ref().is_some_and(|link| link.left == 0) {
                self.retire().await;
            }
        }
        self.retire().await;
    }

    /// Ends the connection in good order.
    async fn retire(&mut self) {
        let Some(mut link) = self.link.take() else {
            return;
        };
        if link.stream.is_closed() {
            return;
        }
        // Nothing is lost if this fails: every answer is counted already.
        let _ = match self.answer.keeps {
            true => self.slot.leave(&mut link.stream).await,
            false => self.slot.await_end(&mut link.stream).await,
        };
    }

    async fn operation(&mut self) -> Result<Ending, Failure> {
        let mut begin = None;
        if self.link.is_none() {
            let (mut stream, number, opened) = self.slot.open().await?;
            self.prepare(number);
            if self.slot.plan().usage == Usage::KeepAlive {
                self.slot.shake_hands(&mut stream).await?;
            }
            begin = self.slot.begins(opened);
            let left = self.slot.requests();
            self.link = Some(Link { stream, left });
        }
        let (slot, answer) = (&self.slot, &mut self.answer);
        let Some(link) = &mut self.link else {
            return Err(ErrorKind::NoAnswer.into());
        };
        let timeouts = slot.plan().timeouts;
        answer.reset();
        let mut exchange = Exchange {
            request: &self.request,
            taken: 0,
            answer,
            first: None,
            end: None,
        };
        let mut shaking = link.stream.finished().is_none();
        if !shaking {
            slot.limit(timeouts.request);
        }
        poll_fn(|cx| {
            if let Poll::Ready(result) = exchange.poll(cx, &mut link.stream) {
                return Poll::Ready(result.map_err(Failure::from));
            }
            if shaking && link.stream.finished().is_some() {
                shaking = false;
                slot.limit(timeouts.request);
            }
            let what = match shaking {
                true => TimedOut::Handshake,
                false => TimedOut::Request,
            };
            slot.poll_limit(cx, what).map(Err)
        })
        .await?;
        let unsent = exchange.taken < self.request.len();
        let (first, end) = (exchange.first, exchange.end.unwrap_or_else(Instant::now));
        link.left = match answer.keeps && !unsent {
            true => link.left.saturating_sub(1),
            false => 0,
        };
        slot.recorder().counts(|counts| {
            counts.requests += 1;
            counts.body += answer.body;
            *counts.statuses.entry(answer.status).or_default() += 1;
        });
        Ok(Ending {
            begin,
            first,
            end,
            status: answer.status,
        })
    }

    /// The request for the connection with this number.
    fn prepare(&mut self, number: usize) {
        let plan = self.slot.plan();
        if self.request.is_empty() || plan.sni.count() > 1 {
            self.request = http1::request(plan, plan.sni.name(number));
        }
    }
}
