//! The relay for UDP: what a bad line does to datagrams.
//!
//! It loses, repeats, delays and reorders, holds back either side, records what a client sends first,
//! and gives a client another address in the server's eyes, as a NAT does. What it does not do: read
//! the datagrams, which are QUIC's and sealed, or pass on marks of the IP header (ECN).

mod chance;
mod line;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use self::chance::Chance;
use self::line::{Item, Line};
use super::{Direction, lock};

/// The largest datagram there is, in bytes.
const LARGEST: usize = 65_535;
/// Datagrams under way in one direction. What comes when so many are is lost, as in a router's queue.
const QUEUE: usize = 16 * 1024;

/// What one direction does.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shape {
    delay: Duration,
    loss: f64,
    duplicates: f64,
    late: Option<(f64, Duration)>,
}

/// What a relay of datagrams is to do; made by [`DatagramRelay::to`]. The default passes everything
/// unchanged at once and keeps no record.
#[derive(Debug, Clone)]
#[must_use = "a relay is started by bind()"]
pub struct DatagramBuilder {
    listen: SocketAddr,
    target: SocketAddr,
    to_server: Shape,
    to_client: Shape,
    seed: u64,
    record: bool,
    held: [bool; 2],
}

impl DatagramBuilder {
    /// Listens here. Default: a free port of 127.0.0.1.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Delivers every datagram this long after it came, in each direction. Default: no delay.
    pub fn delay(mut self, each_way: Duration) -> Self {
        self.to_server.delay = each_way;
        self.to_client.delay = each_way;
        self
    }

    /// Loses this share of the datagrams, 0 to 1. Default: 0.
    pub fn loss(mut self, direction: Direction, share: f64) -> Self {
        self.shape(direction).loss = share;
        self
    }

    /// Delivers this share of the datagrams twice, 0 to 1. Default: 0.
    pub fn duplicate(mut self, direction: Direction, share: f64) -> Self {
        self.shape(direction).duplicates = share;
        self
    }

    /// Delivers this share of the datagrams so much later than the others, which overtake them.
    /// Default: none.
    pub fn reorder(mut self, direction: Direction, share: f64, by: Duration) -> Self {
        self.shape(direction).late = Some((share, by));
        self
    }

    /// Where chance begins: with the same seed and the same datagrams the same are lost, repeated and
    /// late. Default: 1.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Keeps a copy of each client's first flight for [`DatagramRelay::flights`]. Default: false.
    pub fn record(mut self, on: bool) -> Self {
        self.record = on;
        self
    }

    /// Begins as if [`DatagramRelay::hold`] had been called.
    pub fn hold(mut self, direction: Direction) -> Self {
        self.held[place(direction)] = true;
        self
    }

    /// Opens a socket and serves it from tasks of the current runtime.
    ///
    /// # Errors
    /// The socket could not be opened.
    pub async fn bind(self) -> io::Result<DatagramRelay> {
        let near = UdpSocket::bind(self.listen).await?;
        let address = near.local_addr()?;
        let shared = Arc::new(Shared {
            near,
            target: Mutex::new(self.target),
            state: Mutex::default(),
            held: self.held.map(watch::Sender::new),
            changes: watch::Sender::new(()),
            record: self.record,
        });
        let mut tasks = Vec::new();
        let mut line = |direction, shape, seed| {
            let (sender, items) = mpsc::channel(QUEUE);
            let line = Line::new(Arc::clone(&shared), direction, items);
            tasks.push(tokio::spawn(line.run()));
            Entrance {
                shared: Arc::clone(&shared),
                shape,
                chance: Mutex::new(Chance::new(seed)),
                sender,
            }
        };
        let there = line(Direction::ToServer, self.to_server, self.seed);
        let back = line(Direction::ToClient, self.to_client, !self.seed);
        let flows = Flows {
            shared: Arc::clone(&shared),
            there,
            back: Arc::new(back),
        };
        tasks.push(tokio::spawn(flows.run()));
        Ok(DatagramRelay {
            address,
            shared,
            tasks,
        })
    }

    fn shape(&mut self, direction: Direction) -> &mut Shape {
        match direction {
            Direction::ToServer => &mut self.to_server,
            Direction::ToClient => &mut self.to_client,
        }
    }
}

/// A running relay of datagrams. Dropping it closes its sockets.
#[derive(Debug)]
pub struct DatagramRelay {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

/// What has become of the datagrams that came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Datagrams {
    /// Sent to the server, copies included.
    pub to_server: u64,
    /// Sent to clients, copies included.
    pub to_client: u64,
    /// Lost on purpose, or because too many were under way.
    pub lost: u64,
    /// Sent twice.
    pub repeated: u64,
    /// Sent late, so that others overtake them.
    pub late: u64,
    /// Held back now.
    pub held: u64,
}

impl DatagramRelay {
    /// Begins a relay to this server.
    pub fn to(target: SocketAddr) -> DatagramBuilder {
        DatagramBuilder {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            target,
            to_server: Shape::default(),
            to_client: Shape::default(),
            seed: 1,
            record: false,
            held: [false; 2],
        }
    }

    /// Where clients send to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends everything to another server from now on.
    pub fn retarget(&self, target: SocketAddr) {
        *lock(&self.shared.target) = target;
    }

    /// Holds back what travels this way until [`release`](Self::release): at most 16 384 datagrams.
    pub fn hold(&self, direction: Direction) {
        self.shared.held[place(direction)].send_replace(true);
    }

    /// Lets what was held back go, in the order in which it came, and what comes from now on.
    pub fn release(&self, direction: Direction) {
        self.shared.held[place(direction)].send_replace(false);
    }

    /// Gives every client another port in the server's eyes, as a NAT that has forgotten its clients.
    /// What the server sends to the old one is lost.
    ///
    /// # Errors
    /// No port was to be had.
    pub async fn rebind(&self) -> io::Result<()> {
        self.rebind_to(None).await
    }

    /// The same with another address, which must be one of this machine.
    ///
    /// # Errors
    /// It is none, or no port was to be had.
    pub async fn rebind_at(&self, address: IpAddr) -> io::Result<()> {
        self.rebind_to(Some(address)).await
    }

    async fn rebind_to(&self, address: Option<IpAddr>) -> io::Result<()> {
        let flows: Vec<_> = lock(&self.shared.state).flows.values().cloned().collect();
        let target = *lock(&self.shared.target);
        for flow in flows {
            let far = match address {
                Some(address) => UdpSocket::bind((address, 0)).await?,
                None => far(target).await?,
            };
            flow.far.send_replace(Arc::new(far));
        }
        Ok(())
    }

    /// What each client sent before the first datagram of the server was delivered to it, in order of
    /// appearance: as it came, whatever was lost, repeated or held of it later. Empty unless recording.
    pub fn flights(&self) -> Vec<Vec<Vec<u8>>> {
        let recorded = lock(&self.shared.state).flights.clone();
        recorded.into_iter().filter(|it| !it.is_empty()).collect()
    }

    /// What has become of the datagrams so far.
    pub fn passed(&self) -> Datagrams {
        lock(&self.shared.state).passed
    }

    /// Waits until that satisfies `done`. Without a bound of its own.
    pub async fn until(&self, done: impl Fn(&Datagrams) -> bool) {
        let mut changes = self.shared.changes.subscribe();
        while !done(&self.passed()) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

impl Drop for DatagramRelay {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// What all tasks know.
#[derive(Debug)]
struct Shared {
    near: UdpSocket,
    target: Mutex<SocketAddr>,
    state: Mutex<State>,
    held: [watch::Sender<bool>; 2],
    changes: watch::Sender<()>,
    record: bool,
}

#[derive(Debug, Default)]
struct State {
    passed: Datagrams,
    flights: Vec<Vec<Vec<u8>>>,
    flows: HashMap<SocketAddr, Arc<Flow>>,
}

impl Shared {
    fn note(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changes.send_replace(());
    }
}

/// One client.
#[derive(Debug)]
struct Flow {
    client: SocketAddr,
    index: usize,
    /// What the server sees of it.
    far: watch::Sender<Arc<UdpSocket>>,
    /// The server has answered: no more of its first flight comes.
    answered: std::sync::atomic::AtomicBool,
}

fn place(direction: Direction) -> usize {
    match direction {
        Direction::ToServer => 0,
        Direction::ToClient => 1,
    }
}

/// A socket that can reach this server.
async fn far(target: SocketAddr) -> io::Result<UdpSocket> {
    match target {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await,
        SocketAddr::V6(_) => UdpSocket::bind((std::net::Ipv6Addr::UNSPECIFIED, 0)).await,
    }
}

/// Where chance decides what becomes of a datagram.
#[derive(Debug)]
struct Entrance {
    shared: Arc<Shared>,
    shape: Shape,
    chance: Mutex<Chance>,
    sender: mpsc::Sender<Item>,
}

impl Entrance {
    fn take(&self, flow: &Arc<Flow>, bytes: &[u8]) {
        let (lost, twice, late) = {
            let mut chance = lock(&self.chance);
            // Always three questions, so that one answer does not change the others.
            (
                chance.is(self.shape.loss),
                chance.is(self.shape.duplicates),
                chance.is(self.shape.late.map_or(0.0, |(share, _)| share)),
            )
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
            let item = Item::new(due, flow, bytes);
            if self.sender.try_send(item).is_err() {
                self.shared.note(|state| state.passed.lost += 1);
            }
        }
    }
}

/// Tells clients apart.
struct Flows {
    shared: Arc<Shared>,
    there: Entrance,
    back: Arc<Entrance>,
}

impl Flows {
    async fn run(self) {
        // What listens to the server for a client ends with this.
        let mut listeners = tokio::task::JoinSet::new();
        let mut buffer = vec![0; LARGEST];
        loop {
            let Ok((length, client)) = self.shared.near.recv_from(&mut buffer).await else {
                // What an earlier datagram met (ICMP) is told here: it was lost.
                continue;
            };
            let bytes = buffer.get(..length).unwrap_or_default();
            let known = lock(&self.shared.state).flows.get(&client).cloned();
            let flow = match known {
                Some(flow) => flow,
                None => {
                    let target = *lock(&self.shared.target);
                    let Ok(far) = far(target).await else {
                        self.shared.note(|state| state.passed.lost += 1);
                        continue;
                    };
                    let flow = self.begin(client, far);
                    listeners.spawn(listen(Arc::clone(&flow), Arc::clone(&self.back)));
                    flow
                }
            };
            if self.shared.record && !flow.answered.load(std::sync::atomic::Ordering::Relaxed) {
                let mut state = lock(&self.shared.state);
                if let Some(flight) = state.flights.get_mut(flow.index) {
                    flight.push(bytes.to_vec());
                }
            }
            self.there.take(&flow, bytes);
        }
    }

    fn begin(&self, client: SocketAddr, far: UdpSocket) -> Arc<Flow> {
        let mut state = lock(&self.shared.state);
        let flow = Arc::new(Flow {
            client,
            index: state.flights.len(),
            far: watch::Sender::new(Arc::new(far)),
            answered: false.into(),
        });
        state.flights.push(Vec::new());
        state.flows.insert(client, Arc::clone(&flow));
        flow
    }
}

/// Takes what the server sends to a client, on whichever socket that has now.
async fn listen(flow: Arc<Flow>, back: Arc<Entrance>) {
    let mut sockets = flow.far.subscribe();
    let mut buffer = vec![0; LARGEST];
    loop {
        let socket = Arc::clone(&sockets.borrow_and_update());
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            changed = sockets.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        // A server that is gone refuses: what was sent to it is lost.
        if let Ok((length, _)) = received {
            back.take(&flow, buffer.get(..length).unwrap_or_default());
        }
    }
}
