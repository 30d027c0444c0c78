//! One slot of a run: it has at most one operation under way, on one connection.

use std::cell::OnceCell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::client::Tls13ClientSessionValue;
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::opening::harmless;
use super::pace::{Arrival, Pacer};
use super::record::Recorder;
use super::stream::{Received, Stream};
use super::tickets::Tickets;
use super::{Shared, Worker};
use crate::deadline::Alarm;
use crate::load::plan::{Mode, Plan, Protocol, Usage};
use crate::load::stats::{ErrorKind, TimedOut};
use crate::proxy_protocol;

/// Why something ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It failed.
    Error(ErrorKind),
    /// The run was stopped.
    Stopped,
}

impl From<ErrorKind> for Failure {
    fn from(kind: ErrorKind) -> Self {
        Self::Error(kind)
    }
}

/// Where connections go: an address, and the tickets that came from there.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    pub(super) config: Arc<ClientConfig>,
    pub(super) tickets: Arc<Tickets>,
    /// Whether its tickets come with an answer only, as one was seen to: then nobody waits in vain.
    pub(super) holds_tickets: AtomicBool,
}

/// The place of one connection among all of the run.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) name: &'a ServerName<'static>,
}

impl Shared {
    /// Where the connection with this number goes.
    pub(super) fn place(&self, number: usize) -> Place<'_> {
        Place {
            // The plan has at least one address.
            endpoint: &self.endpoints[number % self.endpoints.len()],
            name: self.plan.sni.name(number),
        }
    }
}

/// A TCP connection for a plan: behind a PROXY protocol header, if that is asked for.
pub(in crate::load) async fn dial(plan: &Plan, address: SocketAddr) -> io::Result<TcpStream> {
    let mut tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    if let Some(wanted) = plan.proxy {
        let source = match wanted.source {
            Some(source) => source,
            None => tcp.local_addr()?,
        };
        let header = proxy_protocol::header(wanted.version, source, address);
        tcp.write_all(&header).await?;
    }
    Ok(tcp)
}

/// One slot.
pub(super) struct Slot {
    pub(super) worker: Rc<Worker>,
    alarm: Alarm,
    pacer: Option<Pacer>,
    /// Its UDP ports, once it has used one: for IPv4, for IPv6.
    pub(super) ports: [OnceCell<quinn::Endpoint>; 2],
}

impl Slot {
    pub(super) fn new(worker: &Rc<Worker>) -> io::Result<Self> {
        Ok(Self {
            worker: Rc::clone(worker),
            alarm: worker.ticker.alarm(),
            pacer: match worker.shared.plan.rate {
                Some(_) => Some(Pacer::new()?),
                None => None,
            },
            ports: Default::default(),
        })
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.worker.shared.plan
    }

    pub(super) fn recorder(&self) -> &Rc<Recorder> {
        &self.worker.recorder
    }

    /// The moment at which the next operation begins, once it has come; `None` after the last.
    pub(super) async fn next(&self) -> Option<Instant> {
        if self.worker.stopped.get() {
            return None;
        }
        let recorder = self.recorder();
        let at = match self.worker.shared.arrivals.take(recorder.elapsed())? {
            Arrival::Now => return Some(Instant::now()),
            Arrival::At(at) => recorder.start() + at,
        };
        if let Some(pacer) = &self.pacer
            && pacer.set(at).is_ok_and(|waits| waits)
        {
            self.alarm.clear();
            let wait = poll_fn(|cx| pacer.poll(cx).map(|_| Ok::<_, ErrorKind>(())));
            self.bounded(wait, TimedOut::Request).await.ok()?;
        }
        Some(at)
    }

    /// Sets when [`bounded`](Self::bounded) gives up.
    pub(super) fn limit(&self, after: Duration) {
        self.alarm.set(Some(after));
    }

    /// Looks whether the limit has passed or the run was stopped.
    pub(super) fn poll_limit(&self, cx: &mut Context<'_>, what: TimedOut) -> Poll<Failure> {
        if self.worker.stopped.get() {
            return Poll::Ready(Failure::Stopped);
        }
        self.alarm
            .poll_due(cx)
            .map(|()| ErrorKind::Timeout(what).into())
    }

    /// Waits for the future, until the limit that was set.
    pub(super) async fn bounded<T, E>(
        &self,
        future: impl Future<Output = Result<T, E>>,
        what: TimedOut,
    ) -> Result<T, Failure>
    where
        E: Into<Failure>,
    {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(result.map_err(Into::into)),
            Poll::Pending => self.poll_limit(cx, what).map(Err),
        })
        .await
    }

    /// A connection for the next operation: with a ticket of its own, if the mode needs one. Also
    /// the moment at which it began, which is after the ticket was collected.
    pub(super) async fn open(&self) -> Result<(Stream, usize, Instant), Failure> {
        let shared = &self.worker.shared;
        let number = shared.numbers.fetch_add(1, Ordering::Relaxed);
        let place = shared.place(number);
        let ticket = match shared.plan.mode {
            Mode::Full => None,
            Mode::Resumed | Mode::Early => Some(self.ticket(place).await?),
        };
        let begin = Instant::now();
        let mut stream = self.connect(place, ticket, true).await?;
        if shared.plan.mode == Mode::Early {
            stream.begin_early()?;
        }
        self.limit(shared.plan.timeouts.handshake);
        Ok((stream, number, begin))
    }

    pub(super) async fn ticket(
        &self,
        place: Place<'_>,
    ) -> Result<Tls13ClientSessionValue, Failure> {
        let tickets = &place.endpoint.tickets;
        loop {
            if let Some(ticket) = tickets.take(place.name) {
                return Ok(ticket);
            }
            // While the connection ends that brought one, another slot may take it.
            if !self.collect(place).await? {
                return Ok(tickets.take(place.name).ok_or(ErrorKind::NoTicket)?);
            }
        }
    }

    async fn connect(
        &self,
        place: Place<'_>,
        ticket: Option<Tls13ClientSessionValue>,
        measured: bool,
    ) -> Result<Stream, Failure> {
        let plan = self.plan();
        let begin = Instant::now();
        self.limit(plan.timeouts.connect);
        let address = place.endpoint.address;
        let connect = async {
            let tcp = dial(plan, address).await;
            tcp.map_err(|error| ErrorKind::from_io(&error))
        };
        let tcp = self.bounded(connect, TimedOut::Connect).await?;
        let recorder = self.recorder();
        if measured {
            recorder.counts(|it| it.connections += 1);
            recorder.latencies(|it| it.connect.record(begin.elapsed()));
        }
        let (config, name) = (&place.endpoint.config, place.name.clone());
        Tickets::use_next(ticket);
        let stream = Stream::new(tcp, config, name, plan.protocol, recorder, measured)?;
        Ok(stream)
    }

    /// Finishes the handshake.
    pub(super) async fn shake_hands(&self, stream: &mut Stream) -> Result<(), Failure> {
        self.limit(self.plan().timeouts.handshake);
        let done = poll_fn(|cx| {
            loop {
                if stream.poll_flush(cx)?.is_ready() && stream.finished().is_some() {
                    return Poll::Ready(Ok::<_, ErrorKind>(()));
                }
                if stream.is_closed() {
                    return Poll::Ready(Err(ErrorKind::ClosedInHandshake));
                }
                // Plaintext before our Finished: nobody has asked for anything.
                if stream.poll_receive(cx, |_| Ok(()))?.is_pending() {
                    return Poll::Pending;
                }
            }
        });
        self.bounded(done, TimedOut::Handshake).await
    }

    /// A connection with a full handshake, for its tickets; whether one came.
    pub(super) async fn collect(&self, place: Place<'_>) -> Result<bool, Failure> {
        if self.plan().protocol == Protocol::Http3 {
            return self.collect_over_quic(place).await;
        }
        let mut stream = self.connect(place, None, false).await?;
        self.recorder().counts(|it| it.collecting += 1);
        self.shake_hands(&mut stream).await?;
        self.gain(&mut stream, place).await?;
        let came = stream.tickets() > 0;
        self.part(&mut stream, false).await?;
        Ok(came)
    }

    /// Waits for a ticket on a connection that has asked for nothing: as long as the plan says. A
    /// server may hold its tickets back until it writes something, as BoringSSL does: where none
    /// came, it is asked for something harmless, and then waited for once more.
    async fn gain(&self, stream: &mut Stream, place: Place<'_>) -> Result<(), Failure> {
        let holds = &place.endpoint.holds_tickets;
        if stream.tickets() > 0 {
            // It was late before, not held back.
            holds.store(false, Ordering::Relaxed);
            return Ok(());
        }
        if !holds.load(Ordering::Relaxed) && self.ticket_comes(stream).await? {
            return Ok(());
        }
        if stream.is_closed() {
            return Ok(());
        }
        let request = harmless(self.plan(), place.name).map_err(|_| ErrorKind::Http)?;
        stream.write(&request)?;
        if self.ticket_comes(stream).await? {
            holds.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Whether a ticket comes in time.
    async fn ticket_comes(&self, stream: &mut Stream) -> Result<bool, Failure> {
        self.limit(self.plan().timeouts.closing);
        let came = poll_fn(|cx| {
            loop {
                if stream.tickets() > 0 || stream.is_closed() {
                    return Poll::Ready(Ok::<_, ErrorKind>(stream.tickets() > 0));
                }
                if stream.poll_flush(cx)?.is_pending()
                    || stream.poll_receive(cx, |_| Ok(()))?.is_pending()
                {
                    return Poll::Pending;
                }
            }
        });
        let came = self.bounded(came, TimedOut::Request).await;
        behind_the_handshake(came, false)
    }

    /// Leaves after an answer: waits for a ticket if the mode needs one, says goodbye, and waits
    /// for the server's end, as long as the plan says.
    pub(super) async fn leave(&self, stream: &mut Stream) -> Result<(), Failure> {
        self.part(stream, self.plan().mode != Mode::Full).await
    }

    async fn part(&self, stream: &mut Stream, wants_ticket: bool) -> Result<(), Failure> {
        self.limit(self.plan().timeouts.closing);
        let mut said = false;
        let end = poll_fn(|cx| {
            loop {
                if !said && (stream.tickets() > 0 || !wants_ticket) {
                    said = true;
                    stream.close();
                }
                if stream.poll_flush(cx)?.is_pending() {
                    return Poll::Pending;
                }
                match stream.poll_receive(cx, |_| Ok(()))? {
                    Poll::Ready(Received::Bytes) => {}
                    Poll::Ready(Received::Closed { .. }) => {
                        return Poll::Ready(Ok::<_, ErrorKind>(()));
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        behind_the_handshake(self.bounded(end, TimedOut::Request).await, ())
    }

    /// Waits for the end that the server was asked for: tickets may come before it.
    pub(super) async fn await_end(&self, stream: &mut Stream) -> Result<(), Failure> {
        self.limit(self.plan().timeouts.closing);
        let end = poll_fn(|cx| {
            loop {
                if let Received::Closed { .. } =
                    std::task::ready!(stream.poll_receive(cx, |_| Ok(())))?
                {
                    return Poll::Ready(Ok::<_, ErrorKind>(()));
                }
            }
        });
        match self.bounded(end, TimedOut::Request).await {
            Err(Failure::Stopped) => Err(Failure::Stopped),
            // The answer was whole: how the server leaves is its own affair.
            _ => Ok(()),
        }
    }

    /// Counts what became of an operation.
    pub(super) fn ended(&self, begin: Instant, result: Result<Ending, Failure>) {
        let recorder = self.recorder();
        match result {
            Ok(ending) => {
                let begin = ending.begin.unwrap_or(begin);
                match ending.status {
                    400.. => recorder.failure(ErrorKind::Status(ending.status), begin),
                    _ => recorder.success(begin, ending.first, ending.end),
                }
            }
            Err(Failure::Error(kind)) => recorder.failure(kind, begin),
            Err(Failure::Stopped) => recorder.counts(|it| it.abandoned += 1),
        }
    }

    /// Handshakes and nothing else, until there are no more.
    pub(super) async fn shake_only(self) {
        while let Some(begin) = self.next().await {
            let result = self.handshake().await;
            self.ended(begin, result);
        }
    }

    async fn handshake(&self) -> Result<Ending, Failure> {
        let (mut stream, number, begin) = self.open().await?;
        self.shake_hands(&mut stream).await?;
        let end = stream.finished().unwrap_or_else(Instant::now);
        if self.plan().mode != Mode::Full {
            let place = self.worker.shared.place(number);
            self.gain(&mut stream, place).await?;
        }
        self.part(&mut stream, false).await?;
        Ok(Ending {
            begin: self.begins(begin),
            first: None,
            end,
            status: 0,
        })
    }

    /// When an operation on a fresh connection began: in an open loop when it was meant to; on
    /// kept connections when the connection stood; else before the connection was opened.
    pub(super) fn begins(&self, opened: Instant) -> Option<Instant> {
        let plan = self.plan();
        match (plan.rate, plan.usage) {
            (Some(_), _) => None,
            (None, Usage::KeepAlive) => Some(Instant::now()),
            (None, _) => Some(opened),
        }
    }

    /// How many requests a connection is for.
    pub(super) fn requests(&self) -> u64 {
        match self.plan().usage {
            Usage::Handshake => 0,
            Usage::Requests(count) => count.get(),
            Usage::KeepAlive => u64::MAX,
        }
    }
}

/// Of what goes wrong behind a handshake only errors of TLS count: a server that refused the
/// client's certificate says so there. Otherwise it is as if this had come.
fn behind_the_handshake<T>(result: Result<T, Failure>, otherwise: T) -> Result<T, Failure> {
    match result {
        Err(Failure::Error(ErrorKind::Alert(alert))) => Err(ErrorKind::Alert(alert).into()),
        Err(Failure::Stopped) => Err(Failure::Stopped),
        Err(Failure::Error(_)) => Ok(otherwise),
        Ok(value) => Ok(value),
    }
}

/// How an operation ended that did not fail on the way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    /// When it began, if not when its turn came.
    pub(super) begin: Option<Instant>,
    /// The answer's first byte.
    pub(super) first: Option<Instant>,
    /// The answer's last byte.
    pub(super) end: Instant,
    /// The answer's status; 0 for a handshake.
    pub(super) status: u16,
}
