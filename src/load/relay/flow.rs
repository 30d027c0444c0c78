//! One direction of one connection: a reader that stamps chunks, a queue, and a writer that
//! delivers each at its time in the shape asked for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{Instant, sleep, sleep_until};

use super::flight::FinishedFinder;
use super::{Cut, Direction, Shared, Withhold};

/// Bytes per read, and the most that one queue entry holds.
const CHUNK: usize = 16 * 1024;
/// Entries under way with a delay: 256 × 16 KiB = 4 MiB.
const DELAYED: usize = 256;
/// Entries under way without one: few, so that back-pressure is felt through the relay.
const DIRECT: usize = 2;
/// Pieces a second of a limited rate: small enough to be smooth, large enough for the timer.
const RATE_PIECES: u32 = 20;

/// The shape of one direction.
#[derive(Debug, Clone, Default)]
pub(super) struct Shape {
    pub(super) delay: Duration,
    pub(super) dribble: Option<(usize, Duration)>,
    pub(super) rate: Option<u32>,
    pub(super) cut: Option<(u64, Cut)>,
}

/// Both sides are to be reset, because one was or because a rule says so.
#[derive(Debug)]
pub(super) struct Reset;

/// What the two directions of a connection share.
pub(super) struct Gate<'a> {
    shared: &'a Shared,
    index: usize,
    /// A byte of the server was written to the client: what the client sends from now on is its
    /// second flight.
    answered: AtomicBool,
}

impl<'a> Gate<'a> {
    pub(super) fn new(shared: &'a Shared, index: usize) -> Self {
        let answered = AtomicBool::new(false);
        Self {
            shared,
            index,
            answered,
        }
    }

    fn answer(&self) {
        if !self.answered.swap(true, Ordering::Relaxed)
            && self.shared.plan.withhold != Withhold::Finished
        {
            self.shared
                .note(self.index, |seen| seen.flight.whole = true);
        }
    }

    /// Resolves when withheld bytes may go. A sender that is gone means the relay is: never.
    async fn released(&self) -> Result<(), Reset> {
        let mut released = self.shared.released.subscribe();
        match released.wait_for(|open| *open).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Reset),
        }
    }
}

struct Item {
    due: Instant,
    what: What,
}

enum What {
    Bytes { bytes: Vec<u8>, held: bool },
    Reset,
}

/// One direction.
pub(super) struct Flow<'a> {
    direction: Direction,
    shape: &'a Shape,
    gate: &'a Gate<'a>,
}

impl<'a> Flow<'a> {
    pub(super) fn new(direction: Direction, shape: &'a Shape, gate: &'a Gate<'a>) -> Self {
        Self {
            direction,
            shape,
            gate,
        }
    }

    /// Runs until the source has ended and everything is delivered.
    pub(super) async fn run(&self, from: ReadHalf<'_>, to: WriteHalf<'_>) -> Result<(), Reset> {
        let room = if self.shape.delay.is_zero() {
            DIRECT
        } else {
            DELAYED
        };
        let (queue, due) = mpsc::channel(room);
        tokio::try_join!(self.read(from, queue), self.write(due, to)).map(|_| ())
    }

    async fn read(&self, mut from: ReadHalf<'_>, queue: Sender<Item>) -> Result<(), Reset> {
        let mut sorter = Sorter::new(self);
        loop {
            let mut bytes = Vec::with_capacity(CHUNK);
            let what = match from.read_buf(&mut bytes).await {
                Ok(0) => return sorter.end(&queue).await,
                Ok(_) => sorter.sort(bytes, &queue).await,
                // In its turn, behind what came before: a peer may read that first.
                Err(_) => {
                    self.push(&queue, What::Reset).await?;
                    return Ok(());
                }
            };
            what?;
        }
    }

    async fn push(&self, queue: &Sender<Item>, what: What) -> Result<(), Reset> {
        let due = Instant::now() + self.shape.delay;
        // The writer reads to the end whatever happens, or the whole connection is over.
        queue.send(Item { due, what }).await.map_err(|_| Reset)
    }

    async fn write(&self, mut queue: Receiver<Item>, mut to: WriteHalf<'_>) -> Result<(), Reset> {
        let mut pace = Pace::new(self.shape);
        if pace.cut_now() {
            return self.cut(queue, to).await;
        }
        while let Some(Item { due, what }) = queue.recv().await {
            sleep_until(due).await;
            let What::Bytes { bytes, held } = what else {
                return Err(Reset);
            };
            if held {
                self.gate.released().await?;
                self.note(|passed| passed.withheld -= bytes.len() as u64);
            }
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let (piece, later) = rest.split_at(pace.piece(rest.len()));
                pace.wait().await;
                if to.write_all(piece).await.is_err() {
                    // The receiver is gone; what it sent before may still be on its way to the
                    // other side, so only this direction ends.
                    return drain(queue).await;
                }
                if self.direction == Direction::ToClient {
                    self.gate.answer();
                }
                self.wrote(piece);
                pace.wrote(piece.len());
                if pace.cut_now() {
                    return self.cut(queue, to).await;
                }
                rest = later;
            }
        }
        let _ = to.shutdown().await;
        Ok(())
    }

    async fn cut(&self, queue: Receiver<Item>, mut to: WriteHalf<'_>) -> Result<(), Reset> {
        match self.shape.cut {
            Some((_, Cut::Fin)) => {
                let _ = to.shutdown().await;
                drain(queue).await
            }
            _ => Err(Reset),
        }
    }

    fn wrote(&self, piece: &[u8]) {
        let Shared { plan, .. } = self.gate.shared;
        self.gate.shared.note(self.gate.index, |seen| {
            let (passed, kept) = match self.direction {
                Direction::ToServer => (&mut seen.passed.to_server, &mut seen.kept.to_server),
                Direction::ToClient => (&mut seen.passed.to_client, &mut seen.kept.to_client),
            };
            *passed += piece.len() as u64;
            let room = plan.keep.saturating_sub(kept.len());
            kept.extend_from_slice(&piece[..room.min(piece.len())]);
        });
    }

    fn note(&self, change: impl FnOnce(&mut super::Passed)) {
        self.gate
            .shared
            .note(self.gate.index, |seen| change(&mut seen.passed));
    }
}

/// Throws away what comes until the source has ended.
async fn drain(mut queue: Receiver<Item>) -> Result<(), Reset> {
    while let Some(item) = queue.recv().await {
        if matches!(item.what, What::Reset) {
            return Err(Reset);
        }
    }
    Ok(())
}

/// Tells what of the bytes read is first flight, and what is withheld.
struct Sorter<'a> {
    flow: &'a Flow<'a>,
    withhold: Withhold,
    record: bool,
    finder: FinishedFinder,
    found: bool,
    /// The beginning of a record header, kept back until it can be told what it begins.
    carry: Vec<u8>,
}

impl<'a> Sorter<'a> {
    fn new(flow: &'a Flow<'a>) -> Self {
        let plan = &flow.gate.shared.plan;
        let up = flow.direction == Direction::ToServer;
        Self {
            flow,
            withhold: if up { plan.withhold } else { Withhold::Nothing },
            record: up && plan.record,
            finder: FinishedFinder::default(),
            found: false,
            carry: Vec::new(),
        }
    }

    async fn sort(&mut self, mut bytes: Vec<u8>, queue: &Sender<Item>) -> Result<(), Reset> {
        let answered = self.flow.gate.answered.load(Ordering::Relaxed);
        match self.withhold {
            Withhold::Nothing | Withhold::Connection => self.pass(bytes, !answered, queue).await,
            Withhold::SecondFlight if answered => self.hold(bytes, queue).await,
            Withhold::SecondFlight => self.pass(bytes, true, queue).await,
            Withhold::Finished if self.found => self.hold(bytes, queue).await,
            Withhold::Finished => {
                if !self.carry.is_empty() {
                    self.carry.append(&mut bytes);
                    bytes = std::mem::take(&mut self.carry);
                }
                let scan = self.finder.scan(&bytes);
                self.found = scan.found;
                let rest = bytes.split_off(scan.pass);
                self.pass(bytes, true, queue).await?;
                if scan.found {
                    self.flow
                        .gate
                        .shared
                        .note(self.flow.gate.index, |seen| seen.flight.whole = true);
                    self.hold(rest, queue).await
                } else {
                    self.carry = rest;
                    Ok(())
                }
            }
        }
    }

    async fn end(&mut self, queue: &Sender<Item>) -> Result<(), Reset> {
        let carry = std::mem::take(&mut self.carry);
        self.pass(carry, true, queue).await
    }

    async fn pass(&self, bytes: Vec<u8>, first: bool, queue: &Sender<Item>) -> Result<(), Reset> {
        if bytes.is_empty() {
            return Ok(());
        }
        if first && self.record {
            let gate = self.flow.gate;
            gate.shared.note(gate.index, |seen| {
                seen.flight.bytes.extend_from_slice(&bytes);
            });
        }
        let held = false;
        self.flow.push(queue, What::Bytes { bytes, held }).await
    }

    async fn hold(&self, bytes: Vec<u8>, queue: &Sender<Item>) -> Result<(), Reset> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.flow
            .note(|passed| passed.withheld += bytes.len() as u64);
        let held = true;
        self.flow.push(queue, What::Bytes { bytes, held }).await
    }
}

/// When the next piece may go and how long it may be.
struct Pace<'a> {
    shape: &'a Shape,
    /// The earliest moment that the rate allows.
    ready: Option<Instant>,
    started: bool,
    until_cut: Option<u64>,
}

impl<'a> Pace<'a> {
    fn new(shape: &'a Shape) -> Self {
        Self {
            shape,
            ready: None,
            started: false,
            until_cut: shape.cut.map(|(after, _)| after),
        }
    }

    /// The length of the next piece out of `available` bytes: at least 1.
    fn piece(&self, available: usize) -> usize {
        let mut most = available;
        if let Some((bytes, _)) = self.shape.dribble {
            most = most.min(bytes);
        }
        if let Some(rate) = self.shape.rate {
            most = most.min((rate / RATE_PIECES).max(1) as usize);
        }
        if let Some(left) = self.until_cut {
            most = most.min(usize::try_from(left).unwrap_or(usize::MAX));
        }
        most
    }

    async fn wait(&mut self) {
        if let Some((_, pause)) = self.shape.dribble {
            if self.started && !pause.is_zero() {
                sleep(pause).await;
            } else {
                tokio::task::yield_now().await;
            }
        }
        self.started = true;
        if let Some(ready) = self.ready {
            sleep_until(ready).await;
        }
    }

    fn wrote(&mut self, bytes: usize) {
        if let Some(rate) = self.shape.rate {
            let now = Instant::now();
            let from = self.ready.map_or(now, |ready| ready.max(now));
            self.ready = Some(from + Duration::from_secs_f64(bytes as f64 / f64::from(rate)));
        }
        if let Some(left) = &mut self.until_cut {
            *left = left.saturating_sub(bytes as u64);
        }
    }

    fn cut_now(&self) -> bool {
        self.until_cut == Some(0)
    }
}
