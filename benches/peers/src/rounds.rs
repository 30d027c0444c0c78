//! The measurements: every row, round after round, the servers in alternating order.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::config::Server;
use crate::drive::Generator;
use crate::figures::{Cell, Line, Table};
use crate::lab::{Lab, NAME, Names, Station};
use crate::process::pause;
use crate::rows::Row;

/// Connections that warm a server up before its memory is looked at.
const WARM: usize = 200;
/// What memory is left to settle for.
const SETTLING: Duration = Duration::from_millis(1500);
const MEGABYTE: f64 = 1_048_576.0;

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Extent {
    pub rows: Vec<Row>,
    pub rounds: usize,
    pub idle: usize,
    pub names: usize,
}

/// Measures.
pub struct Rounds<'a> {
    pub lab: &'a Lab,
    pub generator: &'a Generator,
    pub extent: Extent,
    pub servers: Vec<Server>,
    table: Table,
}

impl<'a> Rounds<'a> {
    /// With an empty table.
    pub fn new(
        lab: &'a Lab,
        generator: &'a Generator,
        extent: Extent,
        servers: Vec<Server>,
    ) -> Self {
        let lines = extent.rows.iter().map(|row| Line {
            row: *row,
            cells: servers
                .iter()
                .map(|server| server.has(*row).then(Cell::default))
                .collect(),
        });
        let table = Table {
            columns: servers.iter().map(|server| server.name.clone()).collect(),
            lines: lines.collect(),
        };
        Self {
            lab,
            generator,
            extent,
            servers,
            table,
        }
    }

    /// Measures everything; what fails is noted in its cell.
    pub fn run(mut self) -> Table {
        let rows = self.extent.rows.clone();
        if rows.iter().any(|row| row.load().is_some()) {
            self.loads(&rows);
        }
        for column in 0..self.servers.len() {
            self.alone(&rows, column);
        }
        self.table
    }

    /// The rows for which all servers are up and one at a time works: A B C, C B A.
    fn loads(&mut self, rows: &[Row]) {
        let stations: Vec<Option<Station>> = (0..self.servers.len())
            .map(|column| self.up(column, rows))
            .collect();
        for row in rows {
            let Some(load) = row.load() else { continue };
            for round in 0..self.extent.rounds {
                for column in order(self.servers.len(), round) {
                    let Some(Some(station)) = stations.get(column) else {
                        continue;
                    };
                    if !self.has(*row, column) {
                        continue;
                    }
                    let (address, id) = (station.address, station.running.id());
                    let outcome = self.generator.run(*row, load, NAME, address, id);
                    let outcome = outcome.map(|outcome| (outcome.value, outcome.problem));
                    self.note(*row, column, outcome);
                }
            }
        }
    }

    fn up(&mut self, column: usize, rows: &[Row]) -> Option<Station> {
        let server = self.servers.get(column)?.clone();
        match self.lab.start(&server, &Names::default(), "hello") {
            Ok(station) => Some(station),
            Err(error) => {
                let first = rows.iter().copied().find(|row| self.has(*row, column))?;
                self.note(first, column, Err(error));
                None
            }
        }
    }

    /// The rows for which a server is started anew.
    fn alone(&mut self, rows: &[Row], column: usize) {
        let Some(server) = self.servers.get(column).cloned() else {
            return;
        };
        let wants = |row: Row| rows.contains(&row) && server.has(row);
        if wants(Row::Start) {
            for _ in 0..self.extent.rounds {
                let took = self.lab.start(&server, &Names::default(), "hello");
                let took = took.map(|station| (milliseconds(station.took), None));
                self.note(Row::Start, column, took);
            }
        }
        if wants(Row::Idle) {
            let idle = self.idle(&server);
            self.note(Row::Idle, column, idle.map(|kilobytes| (kilobytes, None)));
        }
        if wants(Row::H3Idle) {
            let idle = self.idle_over_quic(&server);
            self.note(Row::H3Idle, column, idle.map(|kilobytes| (kilobytes, None)));
        }
        if wants(Row::Slow) {
            let slow = self.slow(&server);
            self.note(Row::Slow, column, slow.map(|kilobytes| (kilobytes, None)));
        }
        if wants(Row::NamesMemory) || wants(Row::Reload) {
            self.many(&server, column);
        }
    }

    /// What a connection costs that has had one answer and is kept.
    fn idle(&self, server: &Server) -> io::Result<f64> {
        self.kept(server, self.extent.idle, |address| {
            let mut open = self.lab.client.open(address, NAME)?;
            open.get(NAME, "/")?;
            Ok(open)
        })
    }

    /// The same over QUIC.
    fn idle_over_quic(&self, server: &Server) -> io::Result<f64> {
        self.kept(server, self.extent.idle, |address| {
            let mut open = self.lab.quic.open(address, NAME)?;
            open.get(NAME, "/")?;
            Ok(open)
        })
    }

    /// What a connection costs that has asked for 10 MB of the origin's and does not read them.
    fn slow(&self, server: &Server) -> io::Result<f64> {
        let count = self.extent.idle.div_ceil(5);
        self.kept(server, count, |address| {
            let mut open = self.lab.client.open(address, NAME)?;
            open.ask(NAME, "/proxied/large")?;
            Ok(open)
        })
    }

    /// The memory of so many connections that are each opened by `one`.
    fn kept<T>(
        &self,
        server: &Server,
        count: usize,
        one: impl Fn(SocketAddr) -> io::Result<T>,
    ) -> io::Result<f64> {
        let station = self.lab.start(server, &Names::default(), "hello")?;
        let open = |count: usize| {
            let each = |_| one(station.address);
            (0..count).map(each).collect::<io::Result<Vec<_>>>()
        };
        drop(open(WARM.min(count))?);
        pause(SETTLING);
        let before = station.running.memory();
        let kept = open(count)?;
        pause(SETTLING);
        let after = station.running.memory();
        Ok(after.saturating_sub(before) as f64 / 1024.0 / kept.len().max(1) as f64)
    }

    /// Memory, full handshakes and reload with many names.
    fn many(&mut self, server: &Server, column: usize) {
        let names = match self.lab.names(self.extent.names) {
            Ok(names) => names,
            Err(error) => return self.note(Row::NamesMemory, column, Err(error)),
        };
        let mut station = match self.lab.start(server, &names, "hello") {
            Ok(station) => station,
            Err(error) => return self.note(Row::NamesMemory, column, Err(error)),
        };
        pause(SETTLING);
        let memory = station.running.memory() as f64 / MEGABYTE;
        self.note(Row::NamesMemory, column, Ok((memory, None)));
        let wanted = self.extent.rows.contains(&Row::NamesFull);
        if let Some(load) = Row::Full.load().filter(|_| wanted) {
            let pattern = format!("n{{0..{}}}.{NAME}", self.extent.names.saturating_sub(1));
            for _ in 0..self.extent.rounds {
                let (address, id) = (station.address, station.running.id());
                let outcome = self
                    .generator
                    .run(Row::NamesFull, load, &pattern, address, id);
                let outcome = outcome.map(|outcome| (outcome.value, outcome.problem));
                self.note(Row::NamesFull, column, outcome);
            }
        }
        if server.has(Row::Reload) {
            for round in 0..self.extent.rounds {
                let answer = format!("again {round}");
                let took = self.lab.reload(server, &names, &mut station, &answer);
                self.note(
                    Row::Reload,
                    column,
                    took.map(|took| (milliseconds(took), None)),
                );
            }
        }
    }

    fn has(&self, row: Row, column: usize) -> bool {
        self.servers
            .get(column)
            .is_some_and(|server| server.has(row))
    }

    /// Writes a figure into its cell, or what was wrong, and says so.
    fn note(&mut self, row: Row, column: usize, outcome: io::Result<(f64, Option<String>)>) {
        let name = self.table.columns.get(column).cloned().unwrap_or_default();
        let line = self.table.lines.iter_mut().find(|line| line.row == row);
        let Some(Some(cell)) = line.and_then(|line| line.cells.get_mut(column)) else {
            if let Err(error) = outcome {
                eprintln!("{name}: {error}");
            }
            return;
        };
        let problem = match outcome {
            Ok((value, problem)) => {
                eprintln!(
                    "{name}, {}: {value:.2} {}",
                    row.title(),
                    row.unit().as_str()
                );
                cell.values.push(value);
                problem
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(problem) = problem {
            eprintln!("{name}, {}: {problem}", row.title());
            cell.problems.push(problem);
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A B C in even rounds, C B A in odd ones: what drifts on the machine meets all alike.
fn order(servers: usize, round: usize) -> Vec<usize> {
    let forward = 0..servers;
    if round.is_multiple_of(2) {
        forward.collect()
    } else {
        forward.rev().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_take_turns_from_both_ends() {
        assert_eq!(order(3, 0), [0, 1, 2]);
        assert_eq!(order(3, 1), [2, 1, 0]);
        assert_eq!(order(3, 2), [0, 1, 2]);
    }
}
