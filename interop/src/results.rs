//! What a run found, as it is written to `report.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cases::{Direction, Over};
use crate::expected::{Outcome, Verdict};

/// A run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// When it began: `2026-01-31 12:00 UTC`.
    pub date: String,
    /// How long it took.
    pub seconds: u64,
    /// Cutwater's version.
    pub cutwater: String,
    /// Its commit, if that is known.
    pub commit: Option<String>,
    /// What the edge was: its image, or this machine's program.
    #[serde(default)]
    pub edge: String,
    /// Where it took place.
    pub ground: String,
    /// The system.
    pub system: String,
    /// The peers: title and, once it has been said, the stack's name and version.
    pub peers: Vec<PeerVersion>,
    /// The cases of each direction: name and title.
    pub cases: BTreeMap<Direction, Vec<(String, String)>>,
    /// The cells, in the order in which they were played.
    pub cells: Vec<CellResult>,
    /// What else has to be said: peers that could not be used, expectations that nobody needs.
    pub remarks: Vec<String>,
    /// Whether all was as expected.
    pub good: bool,
    /// Whether it was all peers and all cases, in Docker.
    #[serde(default)]
    pub whole: bool,
}

/// A peer of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PeerVersion {
    /// Its name.
    pub name: String,
    /// How it is shown.
    pub title: String,
    /// What it says of itself.
    pub stack: Option<String>,
}

/// A cell.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CellResult {
    /// Its direction.
    pub direction: Direction,
    /// Its peer.
    pub peer: String,
    /// Its case.
    pub case: String,
    /// What it came to.
    pub outcome: Outcome,
    /// What to make of that.
    pub verdict: Verdict,
    /// How long it took.
    pub milliseconds: u64,
    /// Its log, relative to the report.
    pub log: String,
}

/// A table of a report.
pub struct Table<'a> {
    /// Who the peers are.
    pub direction: Direction,
    /// What its cells go over.
    pub over: Over,
    /// Its columns.
    pub peers: Vec<&'a PeerVersion>,
    /// Its rows: name and title.
    pub cases: Vec<&'a (String, String)>,
}

impl Table<'_> {
    /// What stands above it.
    pub fn heading(&self) -> &'static str {
        match (self.direction, self.over) {
            (Direction::Clients, Over::Tcp) => "Their clients, our edge",
            (Direction::Clients, Over::Quic) => "Their clients, our edge: HTTP/3",
            (Direction::Servers, Over::Tcp) => "Our client, their servers",
            (Direction::Servers, Over::Quic) => "Our client, their servers: HTTP/3",
        }
    }
}

impl Run {
    /// The cell of a peer and a case, if it was played.
    pub fn cell(&self, direction: Direction, peer: &str, case: &str) -> Option<&CellResult> {
        self.cells
            .iter()
            .find(|cell| cell.direction == direction && cell.peer == peer && cell.case == case)
    }

    /// The tables of a report: a direction, what its cells go over, the peers that have such cells,
    /// and the cases.
    pub fn tables(&self) -> impl Iterator<Item = Table<'_>> {
        let directions = [Direction::Clients, Direction::Servers].into_iter();
        let all = directions.flat_map(|direction| {
            [Over::Tcp, Over::Quic].map(|over| {
                let cases = self.cases.get(&direction).into_iter().flatten();
                Table {
                    direction,
                    over,
                    peers: self.peers_of(direction, over),
                    cases: cases.filter(|(name, _)| Over::of(name) == over).collect(),
                }
            })
        });
        all.filter(|table| !table.peers.is_empty())
    }

    fn peers_of(&self, direction: Direction, over: Over) -> Vec<&PeerVersion> {
        let has = |peer: &&PeerVersion| {
            let mut cells = self.cells.iter().filter(|cell| cell.direction == direction);
            cells.any(|cell| cell.peer == peer.name && Over::of(&cell.case) == over)
        };
        self.peers.iter().filter(has).collect()
    }

    /// How many cells have each verdict: pass, expected, stale, unexpected.
    pub fn counts(&self) -> [usize; 4] {
        let mut counts = [0; 4];
        for cell in &self.cells {
            counts[match cell.verdict {
                Verdict::Pass => 0,
                Verdict::Expected(_) => 1,
                Verdict::Stale(_) => 2,
                Verdict::Unexpected => 3,
            }] += 1;
        }
        counts
    }
}
