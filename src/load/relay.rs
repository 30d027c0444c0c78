//! A TCP relay that bends what passes through it, and [one for UDP](DatagramRelay).
//!
//! It knows bytes, directions and the outer shape of TLS records, and no more: it holds no keys.
//! Per connection and per direction it delays, slows, cuts into pieces and cuts off; it withholds
//! the client's Finished, records the client's first flight, keeps how each direction began, and
//! [`Replay`] sends recorded bytes again. What it does not do: lose or reorder bytes (TCP does not let that be seen), delay the
//! TCP handshake itself.
//!
//! ```no_run
//! # async fn example(edge: std::net::SocketAddr) -> std::io::Result<()> {
//! use cutwater::load::relay::{Relay, Replay, Withhold};
//! use std::time::Duration;
//!
//! let relay = Relay::to(edge)
//!     .delay(Duration::from_millis(50))
//!     .withhold(Withhold::SecondFlight)
//!     .record(true)
//!     .bind()
//!     .await?;
//! // … a client connects to relay.address(), gets its half-RTT answer …
//! relay.release();
//! let answer = Replay::to(edge).send(&relay.flights()[0].bytes).await?;
//! # let _ = answer; Ok(()) }
//! ```
#![expect(clippy::disallowed_methods, reason = "to delay is what a relay is for")]

mod datagrams;
mod flight;
mod flow;
mod replay;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

pub use datagrams::{DatagramBuilder, DatagramRelay, Datagrams, Sighting};
pub use flight::{Flight, Record, Records};
pub use replay::{Answer, Ending, Replay};

use flow::{Flow, Gate, Reset, Shape};

/// Which way bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// How a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// RST on both sides (SO_LINGER 0): what was in flight is lost.
    Reset,
    /// FIN towards the receiver of that direction, as if the sender had closed there; the other
    /// direction goes on. Later bytes of the cut direction are read and thrown away.
    Fin,
}

/// What of the client's bytes is held until [`Relay::release`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withhold {
    /// Nothing.
    Nothing,
    /// Every byte that the client sends after the first byte from the server was written to it:
    /// its second flight. Knows nothing of TLS, so it also holds early data sent that late.
    SecondFlight,
    /// From the first record on that looks like EndOfEarlyData or Finished: type 23 and 21, 53 or
    /// 69 bytes long (RFC 9846: a handshake message of 0, 32 or 48 bytes plus header, type and
    /// tag). Early data and a second ClientHello pass, however late, unless an early-data record
    /// has just that length: 4, 36 or 52 bytes of plaintext.
    Finished,
    /// The whole connection: it is accepted, and the server is not connected to before
    /// [`Relay::release`]. So a server can be restarted between two connections of a client.
    Connection,
}

/// What a relay is to do; made by [`Relay::to`]. The default passes bytes unchanged at once and
/// keeps no record.
#[derive(Debug, Clone)]
#[must_use = "a relay is started by bind()"]
pub struct Builder {
    listen: SocketAddr,
    target: SocketAddr,
    plan: Plan,
}

/// The part of the settings that every connection carries.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    to_server: Shape,
    to_client: Shape,
    withhold: Withhold,
    record: bool,
    keep: usize,
}

impl Builder {
    /// Listens here. Default: a free port of 127.0.0.1.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Delivers every byte this long after it came, in each direction: a round trip takes twice
    /// that. Bytes wait in a queue with their times, so throughput is not touched until more than
    /// 4 MiB are under way. Default: no delay.
    pub fn delay(mut self, each_way: Duration) -> Self {
        self.plan.to_server.delay = each_way;
        self.plan.to_client.delay = each_way;
        self
    }

    /// Holds the client's Finished until [`Relay::release`]. Default: [`Withhold::Nothing`].
    pub fn withhold(mut self, what: Withhold) -> Self {
        self.plan.withhold = what;
        self
    }

    /// Keeps a byte-exact copy of each client's first flight for [`Relay::flights`].
    /// Default: false, because a load generator has no use for it.
    pub fn record(mut self, on: bool) -> Self {
        self.plan.record = on;
        self
    }

    /// Keeps a copy of the first `bytes` that pass in each direction of each connection, for
    /// [`Relay::kept`]. Default: 0.
    pub fn keep(mut self, bytes: usize) -> Self {
        self.plan.keep = bytes;
        self
    }

    /// Writes at most `bytes` (at least 1) at a time, with `pause` before each but the first.
    /// With no pause the receiving kernel may join pieces again. Default: as they come.
    pub fn dribble(mut self, direction: Direction, bytes: usize, pause: Duration) -> Self {
        self.shape(direction).dribble = Some((bytes.max(1), pause));
        self
    }

    /// Passes at most this many bytes a second (at least 1). Default: no limit.
    pub fn rate(mut self, direction: Direction, bytes_per_second: u32) -> Self {
        self.shape(direction).rate = Some(bytes_per_second.max(1));
        self
    }

    /// Cuts each connection once this many bytes have passed in that direction; 0 cuts it when it
    /// opens. Default: never.
    pub fn cut(mut self, direction: Direction, after_bytes: u64, how: Cut) -> Self {
        self.shape(direction).cut = Some((after_bytes, how));
        self
    }

    /// Opens a listener and serves it from tasks of the current runtime.
    ///
    /// # Errors
    /// The listener could not be opened.
    pub async fn bind(self) -> io::Result<Relay> {
        let listener = TcpListener::bind(self.listen).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            plan: self.plan,
            target: Mutex::new(self.target),
            connections: Mutex::default(),
            released: watch::Sender::new(false),
            cut: watch::Sender::new(None),
            changes: watch::Sender::new(()),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Relay {
            address,
            shared,
            task,
        })
    }

    fn shape(&mut self, direction: Direction) -> &mut Shape {
        match direction {
            Direction::ToServer => &mut self.plan.to_server,
            Direction::ToClient => &mut self.plan.to_client,
        }
    }
}

/// A running relay. Dropping it closes its listener and all its connections.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Begins a relay to this server.
    pub fn to(target: SocketAddr) -> Builder {
        Builder {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            target,
            plan: Plan {
                to_server: Shape::default(),
                to_client: Shape::default(),
                withhold: Withhold::Nothing,
                record: false,
                keep: 0,
            },
        }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends later connections to another server, for one that restarts on a new port.
    pub fn retarget(&self, target: SocketAddr) {
        *lock(&self.shared.target) = target;
    }

    /// Lets withheld bytes go, on all connections, now and from now on.
    pub fn release(&self) {
        self.shared.released.send_replace(true);
    }

    /// Withholds again what has not been sent yet; undoes [`Relay::release`].
    pub fn hold(&self) {
        self.shared.released.send_replace(false);
    }

    /// Cuts every connection that is open now. [`Cut::Fin`] ends both directions.
    pub fn cut(&self, how: Cut) {
        self.shared.cut.send_replace(Some(how));
    }

    /// The first flights recorded so far, in order of accept; empty unless recording.
    pub fn flights(&self) -> Vec<Flight> {
        let connections = lock(&self.shared.connections);
        let recorded = connections.iter().filter(|_| self.shared.plan.record);
        recorded.map(|each| each.flight.clone()).collect()
    }

    /// How both directions of each connection began, in order of accept; empty unless told to
    /// [`keep`](Builder::keep).
    pub fn kept(&self) -> Vec<Kept> {
        let connections = lock(&self.shared.connections);
        connections.iter().map(|each| each.kept.clone()).collect()
    }

    /// Waits until what is known of the connections satisfies `done`. Without a bound of its own.
    ///
    /// ```no_run
    /// # async fn example(relay: cutwater::load::relay::Relay) {
    /// // The client has sent its Finished, and it is in our hands.
    /// relay.until(|all| all.first().is_some_and(|one| one.withheld > 0)).await;
    /// # }
    /// ```
    pub async fn until(&self, done: impl Fn(&[Passed]) -> bool) {
        let mut changes = self.shared.changes.subscribe();
        while !done(&self.connections()) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// What is known of each connection accepted so far, in order of accept.
    pub fn connections(&self) -> Vec<Passed> {
        let connections = lock(&self.shared.connections);
        connections.iter().map(|each| each.passed).collect()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What has passed on one connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// Bytes written to the server.
    pub to_server: u64,
    /// Bytes written to the client.
    pub to_client: u64,
    /// Bytes of the client that are being withheld. A whole queue of them (about 4 MiB) stops
    /// the reading.
    pub withheld: u64,
    /// Both directions have ended, or the connection was cut.
    pub ended: bool,
}

/// How a connection began: bytes as they were delivered. [`Records::of`] reads them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// Of the client.
    pub to_server: Vec<u8>,
    /// Of the server.
    pub to_client: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    plan: Plan,
    target: Mutex<SocketAddr>,
    connections: Mutex<Vec<Seen>>,
    released: watch::Sender<bool>,
    cut: watch::Sender<Option<Cut>>,
    changes: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Seen {
    flight: Flight,
    passed: Passed,
    kept: Kept,
}

impl Shared {
    /// Changes what is known of connection `index`.
    fn note(&self, index: usize, change: impl FnOnce(&mut Seen)) {
        if let Some(seen) = lock(&self.connections).get_mut(index) {
            change(seen);
        }
        self.changes.send_replace(());
    }
}

/// A panic elsewhere leaves plain data here that is still whole, so poison is ignored.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Accepts until it is aborted; its connections live in the set and end with it.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut running = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = running.join_next() => continue,
        };
        let Ok((client, _)) = accepted else {
            // Out of descriptors: give connections time to end.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let index = {
            let mut connections = lock(&shared.connections);
            connections.push(Seen::default());
            connections.len() - 1
        };
        shared.changes.send_replace(());
        running.spawn(serve(client, Arc::clone(&shared), index));
    }
}

/// One connection from accept to its end.
async fn serve(mut client: TcpStream, shared: Arc<Shared>, index: usize) {
    let mut cut = shared.cut.subscribe();
    if shared.plan.withhold == Withhold::Connection {
        let mut released = shared.released.subscribe();
        // The sender is in `shared`: it cannot be gone.
        let _ = released.wait_for(|open| *open).await;
    }
    let target = *lock(&shared.target);
    match TcpStream::connect(target).await {
        Ok(mut server) => {
            let how = tokio::select! {
                how = both_ways(&mut client, &mut server, &shared, index) => how,
                // A relay that is going away drops the task; the sender outlives it.
                Ok(()) = cut.changed() => *cut.borrow(),
            };
            if how == Some(Cut::Reset) {
                reset(&client);
                reset(&server);
            }
        }
        Err(_) => reset(&client),
    }
    shared.note(index, |seen| {
        seen.flight.whole = true;
        seen.passed.ended = true;
    });
}

/// Runs both directions until both have ended (`None`) or one asks for a reset.
async fn both_ways(
    client: &mut TcpStream,
    server: &mut TcpStream,
    shared: &Shared,
    index: usize,
) -> Option<Cut> {
    // Pieces must leave as they are written, or dribbling would be Nagle's to undo.
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let gate = Gate::new(shared, index);
    let up = Flow::new(Direction::ToServer, &shared.plan.to_server, &gate);
    let down = Flow::new(Direction::ToClient, &shared.plan.to_client, &gate);
    let ended = tokio::try_join!(
        up.run(from_client, to_server),
        down.run(from_server, to_client)
    );
    ended.err().map(|Reset| Cut::Reset)
}

fn reset(stream: &TcpStream) {
    // Fails only on a socket that is gone already.
    let _ = stream.set_zero_linger();
}
