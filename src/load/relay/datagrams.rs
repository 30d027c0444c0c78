//! The relay for UDP: what a bad line does to datagrams.
//!
//! It loses, repeats, delays and reorders, holds back either side, records what a client sends first,
//! shows what passes on either side, and gives a client another address in the server's eyes, as a NAT
//! does. Marks of congestion (ECN) pass as they come. Of QUIC it knows the kinds of packets, which are in
//! the clear. What it does not do: read what is sealed.

mod chance;
mod line;
mod packets;
mod port;
mod shape;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use self::line::{Hold, Line};
use self::port::Port;
use self::shape::{Entrance, Shape};
use super::{Direction, lock};

/// The largest datagram there is, in bytes.
const LARGEST: usize = 65_535;
/// Datagrams under way in one direction. What comes when so many are is lost, as in a router's queue.
const QUEUE: usize = 16 * 1024;

/// A datagram that passes on one side of a relay.
#[derive(Debug, Clone, Copy)]
pub struct Sighting<'a> {
    /// Where it goes in the end.
    pub direction: Direction,
    /// Whether it is seen on the server's side: before what is done to it, if it comes from the server.
    pub at_server: bool,
    /// Who has sent it, the relay or not.
    pub from: SocketAddr,
    /// Whom it is sent to.
    pub to: SocketAddr,
    /// The mark of congestion: the two bits of the IP header.
    pub ecn: u8,
    /// The datagram.
    pub bytes: &'a [u8],
}

/// Sees what passes.
#[derive(Clone)]
struct Watcher(Arc<dyn Fn(Sighting<'_>) + Send + Sync>);

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watcher")
    }
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
    held: [Hold; 2],
    far: Option<IpAddr>,
    watcher: Option<Watcher>,
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

    /// Loses at most so many in a row by chance. Default: no bound.
    pub fn in_a_row(mut self, direction: Direction, most: u32) -> Self {
        self.shape(direction).in_a_row = Some(most);
        self
    }

    /// Loses these datagrams for certain, the first one to come being 1. Default: none.
    pub fn lose(mut self, direction: Direction, which: &[u64]) -> Self {
        self.shape(direction).lost = which.to_vec();
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

    /// What clients' datagrams come from in the server's eyes: an address of this machine. Default: what
    /// the system chooses.
    pub fn far(mut self, address: IpAddr) -> Self {
        self.far = Some(address);
        self
    }

    /// Shows each datagram on either side to `seen`, which must not take long.
    pub fn watch(mut self, seen: impl Fn(Sighting<'_>) + Send + Sync + 'static) -> Self {
        self.watcher = Some(Watcher(Arc::new(seen)));
        self
    }

    /// Begins as if [`DatagramRelay::hold`] had been called.
    pub fn hold(mut self, direction: Direction) -> Self {
        self.held[place(direction)] = Hold::All;
        self
    }

    /// Holds back what has packets in it that a client of QUIC sends once it has seen the server's
    /// handshake: Handshake and 1-RTT packets, its Finished among them. Early data passes, however
    /// late. [`DatagramRelay::release`] lets them go.
    pub fn withhold_finished(mut self) -> Self {
        self.held[place(Direction::ToServer)] = Hold::Finished;
        self
    }

    /// Opens a socket and serves it from tasks of the current runtime.
    ///
    /// # Errors
    /// The socket could not be opened.
    pub async fn bind(self) -> io::Result<DatagramRelay> {
        let near = Port::bind(self.listen).await?;
        let address = near.address()?;
        let shared = Arc::new(Shared {
            near,
            address,
            far: self.far,
            watcher: self.watcher,
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
            Entrance::new(&shared, shape, seed, sender)
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
    /// Bytes of QUIC's 1-RTT packets that were sent to clients: nothing of the handshake, but what is
    /// answered to early data.
    pub one_rtt_to_client: u64,
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
            held: [Hold::Nothing; 2],
            far: None,
            watcher: None,
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
        self.shared.held[place(direction)].send_replace(Hold::All);
    }

    /// Lets what was held back go, in the order in which it came, and what comes from now on.
    pub fn release(&self, direction: Direction) {
        self.shared.held[place(direction)].send_replace(Hold::Nothing);
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
                Some(address) => Port::bind((address, 0).into()).await?,
                None => self.shared.far(target).await?,
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
    near: Port,
    address: SocketAddr,
    far: Option<IpAddr>,
    watcher: Option<Watcher>,
    target: Mutex<SocketAddr>,
    state: Mutex<State>,
    held: [watch::Sender<Hold>; 2],
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
    /// A socket that can reach this server.
    async fn far(&self, target: SocketAddr) -> io::Result<Port> {
        let address = match (self.far, target) {
            (Some(address), _) => address,
            (None, SocketAddr::V4(_)) => Ipv4Addr::UNSPECIFIED.into(),
            (None, SocketAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
        };
        Port::bind((address, 0).into()).await
    }

    fn see(&self, seen: Sighting<'_>) {
        if let Some(Watcher(watcher)) = &self.watcher {
            watcher(seen);
        }
    }

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
    far: watch::Sender<Arc<Port>>,
    /// The server has answered: no more of its first flight comes.
    answered: std::sync::atomic::AtomicBool,
}

fn place(direction: Direction) -> usize {
    match direction {
        Direction::ToServer => 0,
        Direction::ToClient => 1,
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
            let Ok(received) = self.shared.near.receive(&mut buffer).await else {
                // What an earlier datagram met (ICMP) is told here: it was lost.
                continue;
            };
            let client = received.from;
            let known = lock(&self.shared.state).flows.get(&client).cloned();
            let flow = match known {
                Some(flow) => flow,
                None => {
                    let target = *lock(&self.shared.target);
                    let Ok(far) = self.shared.far(target).await else {
                        self.shared.note(|state| state.passed.lost += 1);
                        continue;
                    };
                    let flow = self.begin(client, far);
                    let (shared, back) = (Arc::clone(&self.shared), Arc::clone(&self.back));
                    listeners.spawn(listen(shared, Arc::clone(&flow), back));
                    flow
                }
            };
            for bytes in received.of(&buffer) {
                self.take(&flow, bytes, received.ecn);
            }
        }
    }

    fn take(&self, flow: &Arc<Flow>, bytes: &[u8], ecn: u8) {
        self.shared.see(Sighting {
            direction: Direction::ToServer,
            at_server: false,
            from: flow.client,
            to: self.shared.address,
            ecn,
            bytes,
        });
        if self.shared.record && !flow.answered.load(std::sync::atomic::Ordering::Relaxed) {
            let mut state = lock(&self.shared.state);
            if let Some(flight) = state.flights.get_mut(flow.index) {
                flight.push(bytes.to_vec());
            }
        }
        self.there.take(flow, bytes, ecn);
    }

    fn begin(&self, client: SocketAddr, far: Port) -> Arc<Flow> {
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
async fn listen(shared: Arc<Shared>, flow: Arc<Flow>, back: Arc<Entrance>) {
    let mut sockets = flow.far.subscribe();
    let mut buffer = vec![0; LARGEST];
    loop {
        let socket = Arc::clone(&sockets.borrow_and_update());
        let received = tokio::select! {
            received = socket.receive(&mut buffer) => received,
            changed = sockets.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        // A server that is gone refuses: what was sent to it is lost.
        let Ok(received) = received else {
            continue;
        };
        for bytes in received.of(&buffer) {
            shared.see(Sighting {
                direction: Direction::ToClient,
                at_server: true,
                from: received.from,
                // Its socket is open.
                to: socket.address().unwrap_or(received.from),
                ecn: received.ecn,
                bytes,
            });
            back.take(&flow, bytes, received.ecn);
        }
    }
}
