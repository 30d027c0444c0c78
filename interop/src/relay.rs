//! Relays in a process of their own, told what to do by lines of JSON: one line asks, one answers.
//!
//! They are the library's; the process exists so that they stand in the network of the run.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use cutwater::load::relay::{
    Cut, DatagramRelay, Datagrams, Direction, Ending, Passed, Relay, Replay, Withhold,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, stdin, stdout};
use tokio::time::timeout;

use crate::wire::{self, Wire};

mod udp;

/// What is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum Ask {
    /// A relay is opened.
    Open(Plan),
    /// Waits until its connection number `connection` is accepted and has passed so much.
    Until {
        /// The relay.
        id: u32,
        /// The connection, from 0.
        connection: usize,
        /// Bytes of the client that are withheld, at least.
        withheld: u64,
        /// Bytes that were written to the client, at least.
        to_client: u64,
        /// The bound.
        within_ms: u64,
    },
    /// Withheld bytes go on.
    Release {
        /// The relay.
        id: u32,
    },
    /// Open connections are reset.
    Cut {
        /// The relay.
        id: u32,
    },
    /// The first flight of a connection is sent again, so many times, one after the other.
    Replay {
        /// The relay.
        id: u32,
        /// The connection, from 0.
        connection: usize,
        /// Where to.
        to: SocketAddr,
        /// How often.
        times: u32,
    },
    /// What its connections showed on the wire, if that is kept.
    Wires {
        /// The relay.
        id: u32,
    },
    /// It is closed.
    Close {
        /// The relay.
        id: u32,
    },
}

/// What a relay is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// Where its connections go.
    pub target: SocketAddr,
    /// Whether it is one for UDP: it counts bytes to the client in QUIC's 1-RTT packets only, which
    /// are answers, and what it withholds in datagrams. It keeps nothing, and cuts nothing.
    #[serde(default)]
    pub udp: bool,
    /// What it holds back.
    #[serde(default)]
    pub withhold: Held,
    /// Whether first flights are recorded.
    #[serde(default)]
    pub record: bool,
    /// Whether the beginning of both directions is kept.
    #[serde(default)]
    pub keep: bool,
    /// Delay each way.
    #[serde(default)]
    pub delay_ms: u64,
    /// Bytes to the client after which that direction ends as if the server had closed.
    #[serde(default)]
    pub fin_after: Option<u64>,
}

impl Plan {
    /// Passes everything on to this address.
    pub fn to(target: SocketAddr) -> Self {
        Self {
            target,
            udp: false,
            withhold: Held::Nothing,
            record: false,
            keep: false,
            delay_ms: 0,
            fin_after: None,
        }
    }
}

/// What is withheld.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// Nothing.
    #[default]
    Nothing,
    /// The client's Finished and what follows.
    Finished,
    /// The whole connection.
    Connection,
}

/// What is answered.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Reply {
    /// Of the relay that was opened.
    pub id: u32,
    /// Its port.
    pub port: u16,
    /// Whether what was waited for came.
    pub came: bool,
    /// Its connections: bytes to the server, to the client, withheld.
    pub passed: Vec<[u64; 3]>,
    /// Length of the flight that was replayed.
    pub flight: usize,
    /// Of each replay: bytes that came back, and how it ended.
    pub answers: Vec<(usize, String)>,
    /// What the wire showed: of each connection, or of each replay.
    pub wires: Vec<Wire>,
    /// Why it could not be done.
    pub error: Option<String>,
}

/// How long a replay reads at most; and how long it stays after the last byte.
const REPLAY: (Duration, Duration) = (Duration::from_secs(3), Duration::from_millis(150));

/// Serves until its input ends; relays listen on this address.
///
/// # Errors
/// Its output is closed.
pub async fn serve(address: IpAddr) -> std::io::Result<()> {
    let mut relays = Relays {
        address,
        next: 0,
        open: BTreeMap::new(),
    };
    let mut lines = BufReader::new(stdin()).lines();
    let mut out = stdout();
    out.write_all(b"ready\n").await?;
    out.flush().await?;
    while let Some(line) = lines.next_line().await? {
        let reply = match serde_json::from_str(&line) {
            Ok(ask) => relays.answer(ask).await,
            Err(error) => Err(format!("not understood: {error}")),
        };
        let reply = reply.unwrap_or_else(|error| Reply {
            error: Some(error),
            ..Reply::default()
        });
        let mut line = serde_json::to_string(&reply).map_err(std::io::Error::other)?;
        line.push('\n');
        out.write_all(line.as_bytes()).await?;
        out.flush().await?;
    }
    Ok(())
}

struct Relays {
    address: IpAddr,
    next: u32,
    open: BTreeMap<u32, Open>,
}

/// An open relay.
enum Open {
    Tcp(Relay),
    Udp(DatagramRelay),
}

impl Open {
    /// Waits for a bounded time until the connection has passed so much.
    async fn until(
        &self,
        connection: usize,
        withheld: u64,
        to_client: u64,
        within: Duration,
    ) -> bool {
        match self {
            Self::Tcp(relay) => {
                let enough = |all: &[Passed]| {
                    let passed = all.get(connection);
                    passed.is_some_and(|it| it.withheld >= withheld && it.to_client >= to_client)
                };
                timeout(within, relay.until(enough)).await.is_ok()
            }
            Self::Udp(relay) => {
                let enough = |all: &Datagrams| {
                    let [to_server, answers, held] = udp::passed(all);
                    to_server + held > 0 && held >= withheld && answers >= to_client
                };
                timeout(within, relay.until(enough)).await.is_ok()
            }
        }
    }

    fn release(&self) {
        match self {
            Self::Tcp(relay) => relay.release(),
            Self::Udp(relay) => relay.release(Direction::ToServer),
        }
    }

    fn passed(&self) -> Vec<[u64; 3]> {
        match self {
            Self::Tcp(relay) => {
                let all = relay.connections().into_iter();
                all.map(|one| [one.to_server, one.to_client, one.withheld])
                    .collect()
            }
            Self::Udp(relay) => vec![udp::passed(&relay.passed())],
        }
    }

    /// The relay for TCP that it is.
    fn tcp(&self) -> Result<&Relay, String> {
        match self {
            Self::Tcp(relay) => Ok(relay),
            Self::Udp(_) => Err("a relay for UDP does not do that".into()),
        }
    }
}

impl Relays {
    async fn answer(&mut self, ask: Ask) -> Result<Reply, String> {
        match ask {
            Ask::Open(plan) => self.open(plan).await,
            Ask::Until {
                id,
                connection,
                withheld,
                to_client,
                within_ms,
            } => {
                let relay = self.relay(id)?;
                let bound = Duration::from_millis(within_ms);
                Ok(Reply {
                    came: relay.until(connection, withheld, to_client, bound).await,
                    passed: relay.passed(),
                    ..Reply::default()
                })
            }
            Ask::Release { id } => {
                let relay = self.relay(id)?;
                relay.release();
                Ok(Reply {
                    passed: relay.passed(),
                    ..Reply::default()
                })
            }
            Ask::Cut { id } => {
                self.relay(id)?.tcp()?.cut(Cut::Reset);
                Ok(Reply::default())
            }
            Ask::Replay {
                id,
                connection,
                to,
                times,
            } => match self.relay(id)? {
                Open::Tcp(relay) => replay(relay, connection, to, times).await,
                Open::Udp(relay) => udp::replay(relay, connection, to, times).await,
            },
            Ask::Wires { id } => {
                let relay = self.relay(id)?;
                Ok(Reply {
                    passed: relay.passed(),
                    wires: match relay {
                        Open::Tcp(relay) => relay.kept().iter().map(Wire::of).collect(),
                        Open::Udp(_) => Vec::new(),
                    },
                    ..Reply::default()
                })
            }
            Ask::Close { id } => {
                let relay = self.open.remove(&id).ok_or("no such relay")?;
                Ok(Reply {
                    passed: relay.passed(),
                    ..Reply::default()
                })
            }
        }
    }

    async fn open(&mut self, plan: Plan) -> Result<Reply, String> {
        let (relay, port) = match plan.udp {
            true => {
                let relay = udp::open(&plan, self.address).await?;
                let port = relay.address().port();
                (Open::Udp(relay), port)
            }
            false => self.open_tcp(&plan).await?,
        };
        self.next += 1;
        self.open.insert(self.next, relay);
        Ok(Reply {
            id: self.next,
            port,
            ..Reply::default()
        })
    }

    async fn open_tcp(&self, plan: &Plan) -> Result<(Open, u16), String> {
        let mut builder = Relay::to(plan.target)
            .listen((self.address, 0).into())
            .delay(Duration::from_millis(plan.delay_ms))
            .record(plan.record)
            .keep(if plan.keep { wire::KEEP } else { 0 })
            .withhold(match plan.withhold {
                Held::Nothing => Withhold::Nothing,
                Held::Finished => Withhold::Finished,
                Held::Connection => Withhold::Connection,
            });
        if let Some(after) = plan.fin_after {
            builder = builder.cut(Direction::ToClient, after, Cut::Fin);
        }
        let relay = builder.bind().await.map_err(|error| error.to_string())?;
        let port = relay.address().port();
        Ok((Open::Tcp(relay), port))
    }

    fn relay(&self, id: u32) -> Result<&Open, String> {
        self.open.get(&id).ok_or_else(|| "no such relay".into())
    }
}

async fn replay(
    relay: &Relay,
    connection: usize,
    to: SocketAddr,
    times: u32,
) -> Result<Reply, String> {
    let flights = relay.flights();
    let flight = flights.get(connection).ok_or("no such flight")?;
    let mut reply = Reply {
        flight: flight.bytes.len(),
        ..Reply::default()
    };
    for _ in 0..times {
        let sending = Replay::to(to).limit(REPLAY.0).quiet(REPLAY.1);
        let answer = sending.send(&flight.bytes).await;
        let answer = answer.map_err(|error| format!("cannot replay to {to}: {error}"))?;
        let ending = match answer.ending {
            Ending::Closed => "closed",
            Ending::Reset => "reset",
            Ending::Quiet => "quiet",
            Ending::Limit => "limit",
        };
        reply.answers.push((answer.bytes.len(), ending.into()));
        reply.wires.push(Wire {
            hellos: wire::hellos(&answer.bytes),
            ..Wire::default()
        });
    }
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    fn relays() -> Relays {
        Relays {
            address: Ipv4Addr::LOCALHOST.into(),
            next: 0,
            open: BTreeMap::new(),
        }
    }

    async fn ask(relays: &mut Relays, line: &str) -> Result<Reply, String> {
        relays.answer(serde_json::from_str(line).unwrap()).await
    }

    #[tokio::test]
    async fn a_relay_is_opened_held_and_released_by_lines() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let target = server.local_addr().unwrap();
        let mut relays = relays();
        let open = format!(
            r#"{{"do": "open", "target": "{target}", "withhold": "connection", "record": true}}"#
        );
        let opened = ask(&mut relays, &open).await.unwrap();
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, opened.port))
            .await
            .unwrap();
        client.write_all(b"flight").await.unwrap();

        let accepted = r#"{"do": "until", "id": 1, "connection": 0, "withheld": 0, "to_client": 0, "within_ms": 5000}"#;
        assert!(ask(&mut relays, accepted).await.unwrap().came);
        let answered = accepted
            .replace("\"to_client\": 0", "\"to_client\": 1")
            .replace("5000", "1");
        assert!(!ask(&mut relays, &answered).await.unwrap().came);

        ask(&mut relays, r#"{"do": "release", "id": 1}"#)
            .await
            .unwrap();
        let (mut stream, _) = server.accept().await.unwrap();
        let mut got = [0; 6];
        stream.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"flight");
        stream.write_all(b"answer").await.unwrap();
        let answered = answered.replace(": 1}", ": 5000}");
        let passed = ask(&mut relays, &answered).await.unwrap().passed;
        assert_eq!(passed, [[6, 6, 0]]);

        let again = format!(
            r#"{{"do": "replay", "id": 1, "connection": 0, "to": "{target}", "times": 1}}"#
        );
        let replayed = async {
            let (mut stream, _) = server.accept().await.unwrap();
            stream.read_exact(&mut got).await.unwrap();
            assert_eq!(&got, b"flight");
        };
        let (reply, ()) = tokio::join!(ask(&mut relays, &again), replayed);
        assert_eq!(reply.unwrap().answers, [(0, "closed".to_owned())]);
    }

    #[tokio::test]
    async fn what_the_wire_showed_is_told_where_it_is_kept() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let target = server.local_addr().unwrap();
        let mut relays = relays();
        // A record as long as a KeyUpdate.
        let record = [&[23, 3, 3, 0, 22][..], &[0; 22]].concat();
        for (id, keep, seen) in [(1, true, 1), (2, false, 0)] {
            let open = format!(r#"{{"do": "open", "target": "{target}", "keep": {keep}}}"#);
            let port = ask(&mut relays, &open).await.unwrap().port;
            let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
                .await
                .unwrap();
            client.write_all(&record).await.unwrap();
            let (mut stream, _) = server.accept().await.unwrap();
            let mut got = [0; 27];
            stream.read_exact(&mut got).await.unwrap();
            let wires = format!(r#"{{"do": "wires", "id": {id}}}"#);
            let reply = ask(&mut relays, &wires).await.unwrap();
            assert_eq!(reply.wires[0].key_updates, [seen, 0]);
        }
    }

    #[tokio::test]
    async fn what_is_not_there_is_an_error() {
        let error = ask(&mut relays(), r#"{"do": "release", "id": 7}"#)
            .await
            .unwrap_err();
        assert_eq!(error, "no such relay");
        assert!(serde_json::from_str::<Ask>(r#"{"do": "dance"}"#).is_err());
    }
}
