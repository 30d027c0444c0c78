//! One direction: datagrams wait for their moment, then leave, unless they are held back.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::packets::{Kind, Packets};
use super::{Flow, QUEUE, Shared, Sighting, place};
use crate::load::relay::{Direction, lock};

/// One datagram under way.
#[derive(Debug)]
pub(super) struct Item {
    due: Instant,
    flow: Arc<Flow>,
    bytes: Vec<u8>,
    ecn: u8,
    /// Of those that are due at the same time the first to come goes first.
    number: u64,
}

impl Item {
    pub(super) fn new(due: Instant, flow: &Arc<Flow>, bytes: &[u8], ecn: u8) -> Self {
        Self {
            due,
            flow: Arc::clone(flow),
            bytes: bytes.to_vec(),
            ecn,
            number: 0,
        }
    }
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Item {}

impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Item {
    /// A heap gives its greatest first: that is who is due first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.number).cmp(&(self.due, self.number))
    }
}

/// What of one direction is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    Nothing,
    /// Datagrams with packets of a client that has seen the server's flight.
    Finished,
    All,
}

impl Hold {
    fn keeps(self, datagram: &[u8]) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::Finished => Packets::of(datagram)
                .any(|(kind, _)| matches!(kind, Kind::Handshake | Kind::OneRtt)),
        }
    }
}

/// The task of one direction, over all clients.
pub(super) struct Line {
    shared: Arc<Shared>,
    direction: Direction,
    items: mpsc::Receiver<Item>,
    waiting: BinaryHeap<Item>,
    held: VecDeque<Item>,
    came: u64,
}

impl Line {
    pub(super) fn new(
        shared: Arc<Shared>,
        direction: Direction,
        items: mpsc::Receiver<Item>,
    ) -> Self {
        Self {
            shared,
            direction,
            items,
            waiting: BinaryHeap::new(),
            held: VecDeque::new(),
            came: 0,
        }
    }

    pub(super) async fn run(mut self) {
        let mut holding = self.shared.held[place(self.direction)].subscribe();
        loop {
            let holds = *holding.borrow_and_update();
            if holds == Hold::Nothing {
                while let Some(item) = self.held.pop_front() {
                    self.shared.note(|state| state.passed.held -= 1);
                    self.send(item).await;
                }
            }
            let now = Instant::now();
            while self.waiting.peek().is_some_and(|item| item.due <= now) {
                let Some(item) = self.waiting.pop() else {
                    break;
                };
                match holds.keeps(&item.bytes) {
                    true => self.keep(item),
                    false => self.send(item).await,
                }
            }
            let due = self.waiting.peek().map(|item| item.due);
            let next = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = holding.changed() => if changed.is_err() {
                    return;
                },
                item = self.items.recv() => match item {
                    Some(item) => self.enter(item),
                    None => return,
                },
                () = next => {}
            }
        }
    }

    fn enter(&mut self, mut item: Item) {
        if self.waiting.len() >= QUEUE {
            return self.shared.note(|state| state.passed.lost += 1);
        }
        item.number = self.came;
        self.came += 1;
        self.waiting.push(item);
    }

    fn keep(&mut self, item: Item) {
        if self.held.len() >= QUEUE {
            return self.shared.note(|state| state.passed.lost += 1);
        }
        self.held.push_back(item);
        self.shared.note(|state| state.passed.held += 1);
    }

    fn see(&self, item: &Item, at_server: bool, from: SocketAddr, to: SocketAddr) {
        self.shared.see(Sighting {
            direction: self.direction,
            at_server,
            from,
            to,
            ecn: item.ecn,
            bytes: &item.bytes,
        });
    }

    async fn send(&self, item: Item) {
        // Whether anybody is there to take it is not ours to know.
        match self.direction {
            Direction::ToServer => {
                let target = *lock(&self.shared.target);
                let far = Arc::clone(&item.flow.far.borrow());
                if let Ok(from) = far.address() {
                    self.see(&item, true, from, target);
                }
                let _ = far.send(&item.bytes, item.ecn, target).await;
                self.shared.note(|state| state.passed.to_server += 1);
            }
            Direction::ToClient => {
                item.flow.answered.store(true, Relaxed);
                let (near, client) = (&self.shared.near, item.flow.client);
                self.see(&item, false, self.shared.address, client);
                let _ = near.send(&item.bytes, item.ecn, client).await;
                let sealed = Packets::of(&item.bytes).filter(|(kind, _)| *kind == Kind::OneRtt);
                let sealed: usize = sealed.map(|(_, length)| length).sum();
                self.shared.note(|state| {
                    state.passed.to_client += 1;
                    state.passed.one_rtt_to_client += sealed as u64;
                });
            }
        }
    }
}
