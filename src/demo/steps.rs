//! The steps of the demo, each with what must be true of it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::HandshakeKind;
use tokio::time::MissedTickBehavior;

use super::authority::Authority;
use super::http3::{Http3, Reply};
use super::origin::Origin;
use super::{PAY, SHOP, STATIC};
use crate::edge::EdgeHandle;
use crate::load::client::{Answer, Client, Moment};
use crate::load::relay::{DatagramRelay, Relay, Replay, Withhold};
use crate::telemetry::labels::EarlyRefusal;
use crate::telemetry::metrics::Metrics;

/// The delay of the line, each way.
const DELAY: Duration = Duration::from_millis(50);
const ROUND_TRIP: Duration = Duration::from_millis(100);
/// How long a held answer is listened for.
const SILENCE: Duration = Duration::from_millis(300);
/// How long anything that must come may take.
const BOUND: Duration = Duration::from_secs(10);
/// How often the recorded flight is sent again.
const COPIES: usize = 4;
/// A busy machine may spoil one measurement.
const MEASUREMENTS: usize = 3;

/// Client, edge and origin, and what was found wrong so far.
pub(super) struct Steps<'a> {
    edge: SocketAddr,
    origin: &'a Origin,
    client: Client,
    http3: Http3,
    metrics: Arc<Metrics>,
    wrong: usize,
}

fn get(name: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n")
}

fn post(name: &str) -> String {
    format!(
        "POST /order HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\nContent-Length: 7\r\n\r\nitem=42"
    )
}

fn millis(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

impl<'a> Steps<'a> {
    pub(super) fn new(
        edge: SocketAddr,
        origin: &'a Origin,
        authority: &Authority,
        handle: EdgeHandle,
    ) -> io::Result<Self> {
        Ok(Self {
            edge,
            origin,
            client: Client::new(authority.roots()?).map_err(io::Error::other)?,
            http3: Http3::new(authority.roots()?).map_err(io::Error::other)?,
            metrics: Arc::clone(handle.metrics()),
            wrong: 0,
        })
    }

    /// Takes every step; whether all was as it should be.
    pub(super) async fn drive(mut self) -> io::Result<bool> {
        let line = Relay::to(self.edge)
            .delay(DELAY)
            .record(true)
            .bind()
            .await?;
        say!("  step      to                 request       first byte   what happened");
        self.shop(&line).await?;
        self.replay(&line).await?;
        self.pay().await?;
        self.plain(&line).await?;
        self.http3().await?;
        self.count();
        Ok(self.wrong == 0)
    }

    fn tell(&self, step: &str, name: &str, request: &str, first_byte: &str, what: &str) {
        say!("  {step:<9} {name:<18} {request:<13} {first_byte:>10}   {what}");
    }

    fn must(&mut self, right: bool, what: &str) {
        if !right {
            self.wrong += 1;
            say!("  WRONG     {what}");
        }
    }

    async fn fetch(&self, line: &Relay, name: &str, moment: Moment) -> io::Result<Answer> {
        let request = get(name);
        let fetch = self.client.fetch(line.address(), name, &request, moment);
        tokio::time::timeout(BOUND, fetch).await?
    }

    /// A full, a resumed and a 0-RTT request: the last saves a round trip.
    async fn shop(&mut self, line: &Relay) -> io::Result<()> {
        let full = self.fetch(line, SHOP, Moment::AfterHandshake).await?;
        let what = "200; full handshake, then the request; a ticket came";
        self.tell("full", SHOP, "GET /", &millis(full.first_byte), what);
        self.must(full.status == 200, "the full request was not answered 200");
        self.must(
            full.kind == HandshakeKind::Full,
            "the first handshake was not a full one",
        );

        let (mut saved, mut sooner) = (Duration::ZERO, false);
        for _ in 0..MEASUREMENTS {
            let (resumed, early) = self.resumed_and_early(line).await?;
            saved = resumed.first_byte.saturating_sub(early.first_byte);
            sooner = saved >= DELAY && early.is_before_finished(ROUND_TRIP);
            if sooner {
                break;
            }
        }
        self.must(
            sooner,
            "0-RTT did not save most of a round trip (is the machine very busy?)",
        );
        let what = format!("0-RTT saved {}: one round trip", millis(saved));
        self.tell("", "", "", "", &what);
        Ok(())
    }

    async fn resumed_and_early(&mut self, line: &Relay) -> io::Result<(Answer, Answer)> {
        let resumed = self.fetch(line, SHOP, Moment::AfterHandshake).await?;
        let what = "200; resumed with the ticket, then the request";
        self.tell("resumed", SHOP, "GET /", &millis(resumed.first_byte), what);
        self.must(
            resumed.status == 200,
            "the resumed request was not answered 200",
        );
        self.must(
            resumed.kind == HandshakeKind::Resumed && !resumed.early_accepted,
            "the second handshake was not resumed",
        );

        let before = self.metrics.early.answered_before_finished.get();
        let early = self.fetch(line, SHOP, Moment::Early).await?;
        let what = "200; the request came in the first flight, answered before Finished";
        self.tell("0-RTT", SHOP, "GET /", &millis(early.first_byte), what);
        self.must(
            early.status == 200,
            "the early request was not answered 200",
        );
        self.must(
            early.kind == HandshakeKind::Resumed && early.early_accepted,
            "early data was not accepted",
        );
        self.must(
            self.metrics.early.answered_before_finished.get() == before + 1,
            "the early request was not answered before Finished",
        );
        self.must(
            early.body.contains("Early-Data: 1"),
            "the origin was not told that the request is early",
        );
        Ok((resumed, early))
    }

    /// The recorded flight of the last 0-RTT request, again and again.
    async fn replay(&mut self, line: &Relay) -> io::Result<()> {
        let flight = line.flights().pop().unwrap_or_default();
        let asked = self.origin.asked();
        let accepted = self.metrics.early.accepted.get();
        let suspected = self.suspected();
        let replay = Replay::to(self.edge).quiet(SILENCE).limit(BOUND);
        for _ in 0..COPIES {
            let answer = replay.send(&flight.bytes).await?;
            self.must(
                !answer.bytes.is_empty(),
                "a replayed flight was not answered by a handshake",
            );
        }
        // An edge counts when the connection, which never gets its Finished, is over.
        let counted = self
            .until(|steps| steps.suspected() == suspected + COPIES as u64)
            .await;
        let reason = "refused as replay_suspected, the origin was not asked";
        let what = format!(
            "{} bytes sent again {COPIES} times: {reason}",
            flight.bytes.len()
        );
        self.tell("replay", SHOP, "the flight", "-", &what);
        self.must(counted, "a replayed flight was not counted as refused");
        self.must(
            self.metrics.early.accepted.get() == accepted,
            "early data of a replayed flight was accepted",
        );
        self.must(
            self.origin.asked() == asked,
            "a replayed request reached the origin",
        );
        Ok(())
    }

    /// An early POST on a route that waits: nothing happens until Finished.
    async fn pay(&mut self) -> io::Result<()> {
        let line = Relay::to(self.edge)
            .delay(DELAY)
            .withhold(Withhold::Finished)
            .bind()
            .await?;
        line.release();
        let first = self.fetch(&line, PAY, Moment::AfterHandshake).await?;
        self.must(
            first.status == 200,
            "the first request was not answered 200",
        );
        line.hold();

        let asked = self.origin.asked();
        let delayed = self.metrics.early.delayed.get();
        let (to, request) = (line.address(), post(PAY));
        let begin = self.client.begin(to, PAY, &request, Moment::Early);
        let mut pending = tokio::time::timeout(BOUND, begin).await??;
        let held = self.until(|steps| steps.metrics.early.delayed.get() > delayed);
        let held = held.await;
        let silent = pending.is_silent_for(SILENCE).await?;
        self.must(held, "the early POST was not held");
        self.must(
            silent && self.origin.asked() == asked,
            "the early POST was answered or forwarded before Finished",
        );
        line.release();
        let answer = tokio::time::timeout(BOUND, pending.answer()).await??;
        let what =
            "200; came early, held as long as Finished was (300 ms), then forwarded unmarked";
        self.tell("wait", PAY, "POST /order", &millis(answer.first_byte), what);
        self.must(
            answer.status == 200 && answer.early_accepted && !answer.is_before_finished(ROUND_TRIP),
            "the early POST was not answered after Finished",
        );
        self.must(
            answer.body.contains("no Early-Data") && self.origin.asked() == asked + 1,
            "the origin did not see the POST once, as an ordinary request",
        );
        Ok(())
    }

    /// A site without early data: resumption only.
    async fn plain(&mut self, line: &Relay) -> io::Result<()> {
        let full = self.fetch(line, STATIC, Moment::AfterHandshake).await?;
        let answer = self.fetch(line, STATIC, Moment::Early).await?;
        let what = "200; resumed, and its ticket takes no early data";
        self.tell("off", STATIC, "GET /", &millis(answer.first_byte), what);
        self.must(
            full.status == 200 && answer.status == 200,
            "a request to the site without early data was not answered 200",
        );
        self.must(
            answer.kind == HandshakeKind::Resumed && !answer.early_accepted,
            "the site without early data did not just resume",
        );
        Ok(())
    }

    /// HTTP/3 through a line of the same length: a resumed request, and a 0-RTT request.
    async fn http3(&mut self) -> io::Result<()> {
        let line = DatagramRelay::to(self.edge).delay(DELAY).bind().await?;
        let to = line.address();
        let full = self.ask3(to, Moment::AfterHandshake).await?;
        let what = "200; HTTP/3 over QUIC: full handshake, then the request";
        self.tell("h3 full", SHOP, "GET /", &millis(full.first_byte), what);
        self.must(
            full.status == 200 && full.kind == Some(HandshakeKind::Full),
            "the first request over QUIC was not answered 200 after a full handshake",
        );
        let mut sooner = false;
        for _ in 0..MEASUREMENTS {
            let resumed = self.ask3(to, Moment::AfterHandshake).await?;
            let early = self.ask3(to, Moment::Early).await?;
            let what = "200; resumed with the ticket, then the request";
            self.tell("h3", SHOP, "GET /", &millis(resumed.first_byte), what);
            self.must(
                resumed.status == 200
                    && resumed.kind == Some(HandshakeKind::Resumed)
                    && !resumed.early_accepted,
                "the resumed request over QUIC was not answered 200",
            );
            let what = "200; the request came in the first flight: one round trip for all of it";
            self.tell("h3 0-RTT", SHOP, "GET /", &millis(early.first_byte), what);
            self.must(
                early.status == 200 && early.early_accepted,
                "the early request over QUIC was not accepted and answered 200",
            );
            self.must(
                early.body.contains("Early-Data: 1"),
                "the origin was not told that the request over QUIC is early",
            );
            sooner = resumed.first_byte.saturating_sub(early.first_byte) >= DELAY;
            if sooner {
                break;
            }
        }
        self.must(
            sooner,
            "0-RTT over QUIC did not save most of a round trip (is the machine very busy?)",
        );
        Ok(())
    }

    async fn ask3(&self, to: SocketAddr, moment: Moment) -> io::Result<Reply> {
        tokio::time::timeout(BOUND, self.http3.fetch(to, SHOP, moment)).await?
    }

    fn count(&self) {
        let early = &self.metrics.early;
        say!(
            "\n  early data: offered {}, accepted {}, refused as a replay {}; requests held {}; \
             answered before Finished {}",
            early.offered.get(),
            early.accepted.get(),
            self.suspected(),
            early.delayed.get(),
            early.answered_before_finished.get(),
        );
        say!(
            "  {}",
            match self.wrong {
                0 => "everything was as it should be".to_owned(),
                wrong => format!("{wrong} things were not as they should be"),
            }
        );
    }

    fn suspected(&self) -> u64 {
        self.metrics
            .early
            .refused
            .get(EarlyRefusal::ReplaySuspected)
    }

    /// Waits until the edge, which has threads of its own, has come so far.
    async fn until(&self, done: impl Fn(&Self) -> bool) -> bool {
        let mut looks = tokio::time::interval(Duration::from_millis(5));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let look = async {
            while !done(self) {
                looks.tick().await;
            }
        };
        tokio::time::timeout(BOUND, look).await.is_ok()
    }
}
