//! What one direction does to datagrams.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;

use super::chance::Chance;
use super::line::Item;
use super::{Flow, Shared};
use crate::load::relay::lock;

/// What one direction is to do.
#[derive(Debug, Clone, Default)]
pub(super) struct Shape {
    pub(super) delay: Duration,
    pub(super) loss: f64,
    /// The most datagrams that are lost in a row by chance.
    pub(super) in_a_row: Option<u32>,
    /// Those that are lost for certain, the first one being 1.
    pub(super) lost: Vec<u64>,
    pub(super) duplicates: f64,
    pub(super) late: Option<(f64, Duration)>,
}

/// Where chance decides what becomes of a datagram.
#[derive(Debug)]
pub(super) struct Entrance {
    shared: Arc<Shared>,
    shape: Shape,
    state: Mutex<Passing>,
    sender: mpsc::Sender<Item>,
}

#[derive(Debug)]
struct Passing {
    chance: Chance,
    /// Datagrams that came.
    came: u64,
    /// How many of the last ones were lost.
    row: u32,
}

impl Entrance {
    pub(super) fn new(
        shared: &Arc<Shared>,
        shape: Shape,
        seed: u64,
        sender: mpsc::Sender<Item>,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            shape,
            state: Mutex::new(Passing {
                chance: Chance::new(seed),
                came: 0,
                row: 0,
            }),
            sender,
        }
    }

    pub(super) fn take(&self, flow: &Arc<Flow>, bytes: &[u8], ecn: u8) {
        let (lost, twice, late) = {
            let mut state = lock(&self.state);
            state.came += 1;
            let chance = &mut state.chance;
            // Always three questions, so that one answer does not change the others.
            let (lost, twice, late) = (
                chance.is(self.shape.loss),
                chance.is(self.shape.duplicates),
                chance.is(self.shape.late.map_or(0.0, |(share, _)| share)),
            );
            let lost = lost && self.shape.in_a_row.is_none_or(|most| state.row < most);
            state.row = if lost { state.row + 1 } else { 0 };
            (lost || self.shape.lost.contains(&state.came), twice, late)
        };
        if lost {
            return self.shared.note(|state| state.passed.lost += 1);
        }
        let by = self.shape.late.filter(|_| late).map(|(_, by)| by);
        let due = tokio::time::Instant::now() + self.shape.delay + by.unwrap_or_default();
        self.shared.note(|state| {
            state.passed.late += u64::from(late);
            state.passed.repeated += u64::from(twice);
        });
        for _ in 0..=u8::from(twice) {
            let item = Item::new(due, flow, bytes, ecn);
            if self.sender.try_send(item).is_err() {
                self.shared.note(|state| state.passed.lost += 1);
            }
        }
    }
}
