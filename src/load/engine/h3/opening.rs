//! Connections over QUIC: how they begin and end.

use std::sync::atomic::Ordering;
use std::time::Instant;

use quinn::Endpoint;
use rustls::HandshakeKind;
use rustls::client::Tls13ClientSessionValue;

use crate::load::engine::opening::harmless_ask;
use crate::load::engine::slot::{Ending, Failure, Place, Slot};
use crate::load::engine::tickets::Tickets;
use crate::load::h3::{Connection, Opening, endpoint};
use crate::load::plan::Mode;
use crate::load::stats::{ErrorKind, TimedOut};

/// Handshakes and nothing else, until there are no more.
pub(in crate::load::engine) async fn shake_only(slot: Slot) {
    while let Some(begin) = slot.next().await {
        let result = handshake(&slot).await;
        slot.ended(begin, result);
    }
}

async fn handshake(slot: &Slot) -> Result<Ending, Failure> {
    let (http, number, begin) = slot.open_over_quic().await?;
    slot.count_handshake(&http, begin);
    let end = http.progress().facts().finished;
    if slot.plan().mode != Mode::Full {
        slot.gain_over_quic(&http, slot.worker.shared.place(number))
            .await?;
    }
    slot.part_over_quic(&http, false).await;
    Ok(Ending {
        begin: slot.begins(begin),
        first: None,
        end: end.unwrap_or_else(Instant::now),
        status: 0,
    })
}

impl Slot {
    /// A connection for the next operation, as [`open`](Self::open) for TCP: the handshake is done
    /// unless the request goes as early data.
    pub(in crate::load::engine) async fn open_over_quic(
        &self,
    ) -> Result<(Connection, usize, Instant), Failure> {
        let shared = &self.worker.shared;
        let number = shared.numbers.fetch_add(1, Ordering::Relaxed);
        let place = shared.place(number);
        let ticket = match shared.plan.mode {
            Mode::Full => None,
            Mode::Resumed | Mode::Early => Some(self.ticket(place).await?),
        };
        let begin = Instant::now();
        let opening = self.begin(place, ticket)?;
        self.recorder().counts(|it| it.connections += 1);
        self.limit(shared.plan.timeouts.handshake);
        let http = match shared.plan.mode {
            Mode::Early => self.bounded(opening.early(), TimedOut::Handshake).await?,
            Mode::Full | Mode::Resumed => {
                let http = self.bounded(opening.complete(), TimedOut::Handshake);
                agreed(http.await?)?
            }
        };
        Ok((http, number, begin))
    }

    fn begin(
        &self,
        place: Place<'_>,
        ticket: Option<Tls13ClientSessionValue>,
    ) -> Result<Opening, Failure> {
        let port = self.port(place)?;
        Tickets::use_next(ticket);
        let (config, name) = (&place.endpoint.config, place.name.clone());
        Ok(Opening::begin(port, config, name, place.endpoint.address)?)
    }

    /// The slot's port. Each slot has one of its own, as each client has.
    fn port(&self, place: Place<'_>) -> Result<&Endpoint, Failure> {
        let address = place.endpoint.address;
        let cell = match address.is_ipv4() {
            true => &self.ports[0],
            false => &self.ports[1],
        };
        if let Some(port) = cell.get() {
            return Ok(port);
        }
        let port = endpoint(address).map_err(|error| ErrorKind::from_io(&error))?;
        Ok(cell.get_or_init(|| port))
    }

    /// Counts a handshake that began then, if it is done; whether it is.
    pub(in crate::load::engine) fn count_handshake(
        &self,
        http: &Connection,
        begin: Instant,
    ) -> bool {
        let facts = http.progress().facts();
        let Some(finished) = facts.finished else {
            return false;
        };
        let early = self.plan().mode == Mode::Early;
        self.recorder().counts(|counts| {
            match facts.kind {
                Some(HandshakeKind::Resumed) => counts.resumed += 1,
                _ => counts.full += 1,
            }
            let retried = facts.kind == Some(HandshakeKind::FullWithHelloRetryRequest);
            counts.hello_retry_requests += u64::from(retried);
            counts.compressed_certificates += u64::from(facts.compressed);
            match facts.early_accepted {
                _ if !early => {}
                true => counts.early_accepted += 1,
                false => counts.early_refused += 1,
            }
        });
        let took = finished.saturating_duration_since(begin);
        self.recorder().latencies(|it| it.handshake.record(took));
        true
    }

    /// A connection with a full handshake, for its tickets; whether one came.
    pub(in crate::load::engine) async fn collect_over_quic(
        &self,
        place: Place<'_>,
    ) -> Result<bool, Failure> {
        let opening = self.begin(place, None)?;
        self.recorder().counts(|it| it.collecting += 1);
        self.limit(self.plan().timeouts.handshake);
        let http = self.bounded(opening.complete(), TimedOut::Handshake);
        let http = agreed(http.await?)?;
        self.gain_over_quic(&http, place).await?;
        self.part_over_quic(&http, false).await;
        Ok(http.progress().facts().tickets > 0)
    }

    /// Waits for a ticket on a connection that has asked for nothing, as [`gain`](Self::gain) does
    /// over TCP. Of what goes wrong meanwhile only alerts count, as there.
    async fn gain_over_quic(&self, http: &Connection, place: Place<'_>) -> Result<(), Failure> {
        self.wait_or_ask(http, place).await?;
        match http.end() {
            Some(kind @ ErrorKind::Alert(_)) => Err(kind.into()),
            _ => Ok(()),
        }
    }

    async fn wait_or_ask(&self, http: &Connection, place: Place<'_>) -> Result<(), Failure> {
        let holds = &place.endpoint.holds_tickets;
        if http.progress().facts().tickets > 0 {
            // It was late before, not held back.
            holds.store(false, Ordering::Relaxed);
            return Ok(());
        }
        if !holds.load(Ordering::Relaxed) && self.ticket_comes_over_quic(http).await? {
            return Ok(());
        }
        self.limit(self.plan().timeouts.closing);
        let ask = harmless_ask(self.plan(), place.name);
        let asked = async {
            // What it answers does not matter.
            let _ = http.exchange(&ask, &mut None, |_| ()).await;
            Ok::<_, Failure>(())
        };
        if self.bounded(asked, TimedOut::Request).await == Err(Failure::Stopped) {
            return Err(Failure::Stopped);
        }
        if self.ticket_comes_over_quic(http).await? {
            holds.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Whether a ticket comes in time.
    async fn ticket_comes_over_quic(&self, http: &Connection) -> Result<bool, Failure> {
        self.limit(self.plan().timeouts.closing);
        let ticket = async {
            tokio::select! {
                () = http.progress().ticket() => Ok::<_, Failure>(true),
                () = http.closed() => Ok(false),
            }
        };
        match self.bounded(ticket, TimedOut::Request).await {
            Err(Failure::Stopped) => Err(Failure::Stopped),
            came => Ok(came.unwrap_or(false)),
        }
    }

    /// Says goodbye; before that waits for a ticket, if one is wanted, as long as the plan says. Nobody
    /// awaits the server's end: over QUIC it has nothing more to say (RFC 9000 §10.2.2).
    pub(in crate::load::engine) async fn part_over_quic(
        &self,
        http: &Connection,
        wants_ticket: bool,
    ) {
        if wants_ticket {
            // Stopped or not: the connection ends here.
            let _ = self.ticket_comes_over_quic(http).await;
        }
        let (sent, received) = http.bytes();
        self.recorder().counts(|it| {
            it.sent += sent;
            it.received += received;
        });
        http.close();
    }
}

fn agreed(http: Connection) -> Result<Connection, ErrorKind> {
    match http.progress().facts().other_protocol {
        true => Err(ErrorKind::Alpn),
        false => Ok(http),
    }
}
