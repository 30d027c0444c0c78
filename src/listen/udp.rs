//! UDP sockets of QUIC: one per worker and address, and connection ids that lead to them.
//!
//! All of a connection's packets must reach the worker that holds it, also after its client's address
//! has changed. The ids that a worker gives out begin with two bytes that are its own index modulo
//! the number of workers, and a filter of the kernel goes by them. A client's first packets have an
//! id that it made up: they go to the worker that this happens to lead to, again and again, until the
//! client has learned the worker's own.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime};
use quinn_proto::{ConnectionId, ConnectionIdGenerator, InvalidCid};
use socket2::{Domain, Protocol, Socket, Type};

use super::sorted::{Post, Sorted};
use super::steer;

/// What the kernel may hold of datagrams that a worker has not read: a burst while it computes. The
/// system's own limit (`net.core.rmem_max`) may make it less.
const BUFFER: usize = 2 * 1024 * 1024;

/// The length of our connection ids, in bytes.
const LENGTH: usize = 8;

/// Makes sure that nobody else has the UDP port of `address`: see [`claim`](super::claim).
///
/// # Errors
/// The system's, with the address named.
pub fn claim(address: SocketAddr) -> io::Result<()> {
    match address.port() {
        0 => Ok(()),
        _ => bind_one(address, false).map(drop).map_err(naming(address)),
    }
}

/// A worker's socket, before it serves.
#[derive(Debug)]
pub struct Bound {
    socket: UdpSocket,
    worker: usize,
    post: Arc<Post>,
}

impl Bound {
    /// The socket as quinn takes it, within a runtime.
    ///
    /// # Errors
    /// The system's.
    pub fn open(self) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let socket = TokioRuntime.wrap_udp_socket(self.socket)?;
        Ok(Arc::new(Sorted::new(socket, self.worker, self.post)))
    }

    /// Where it is bound.
    ///
    /// # Errors
    /// The system's.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// Binds `count` sockets to the UDP port of `address`, one for each worker, and steers to them by
/// connection id.
///
/// # Errors
/// The system's, with the address named.
pub fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<Bound>> {
    let sockets: io::Result<Vec<_>> = (0..count).map(|_| bind_one(address, true)).collect();
    let sockets = sockets.map_err(naming(address))?;
    if let Some(first) = sockets.first()
        && count > 1
    {
        let count = u16::try_from(count).map_err(io::Error::other)?;
        steer::by_connection_id(first, count).map_err(naming(address))?;
    }
    let post = Post::new(count);
    let bound = sockets.into_iter().zip(0..);
    let bound = bound.map(|(socket, worker)| Bound {
        socket,
        worker,
        post: Arc::clone(&post),
    });
    Ok(bound.collect())
}

/// The worker that a datagram belongs to, as the filter has it: of `workers`.
pub(super) fn worker_of(datagram: &[u8], workers: usize) -> usize {
    let id = match datagram.first() {
        Some(first) if first & 0x80 != 0 => steer::LONG,
        _ => steer::SHORT,
    };
    let id = datagram.get(id as usize..).and_then(<[u8]>::first_chunk);
    id.map_or(0, |id| {
        usize::from(u16::from_be_bytes(*id)) % workers.max(1)
    })
}

fn naming(address: SocketAddr) -> impl Fn(io::Error) -> io::Error {
    move |error| {
        let message = format!("cannot listen on {address} (UDP): {error}");
        io::Error::new(error.kind(), message)
    }
}

fn bind_one(address: SocketAddr, reuse_port: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_port(reuse_port)?;
    socket.set_recv_buffer_size(BUFFER)?;
    socket.set_send_buffer_size(BUFFER)?;
    if let SocketAddr::V6(address) = address {
        // As for TCP: `[::]` serves IPv4 as well.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// How many ids random bytes are drawn for at once: a connection has six, and most of what it costs to
/// draw does not depend on how much is drawn.
const DRAWN: usize = 32;

/// Makes the connection ids of one worker.
#[derive(Debug)]
pub struct Ids {
    worker: u16,
    workers: u16,
    /// Not made into ids yet: each is one of them.
    random: Vec<[u8; LENGTH]>,
}

impl Ids {
    /// For the worker with this index, of so many.
    pub fn new(worker: usize, workers: usize) -> Self {
        let bounded = |number| u16::try_from(number).unwrap_or(u16::MAX);
        Self {
            worker: bounded(worker),
            workers: bounded(workers).max(1),
            random: Vec::new(),
        }
    }

    fn random(&mut self) -> [u8; LENGTH] {
        if self.random.is_empty() {
            self.random.resize(DRAWN, [0; LENGTH]);
            // Not known to fail once it has worked, which it has when the worker began.
            if rand::fill(self.random.as_flattened_mut()).is_err() {
                // An id need only be one of its own.
                let others = std::iter::repeat_with(|| RandomState::new().hash_one(self.worker));
                for (id, other) in self.random.iter_mut().zip(others) {
                    *id = other.to_ne_bytes();
                }
            }
        }
        self.random.pop().unwrap_or_default()
    }

    /// The beginning of an id that leads to this worker: `random`, moved by as little as it takes.
    fn begin(&self, random: u16) -> u16 {
        let below = random - random % self.workers;
        // The last few numbers have no room for all workers.
        let below = match below.checked_add(self.workers - 1) {
            Some(_) => below,
            None => below - self.workers,
        };
        below + self.worker.min(self.workers - 1)
    }
}

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        let [high, low, rest @ ..] = self.random();
        let [high, low] = self.begin(u16::from_be_bytes([high, low])).to_be_bytes();
        let mut whole = [0; LENGTH];
        whole[..2].copy_from_slice(&[high, low]);
        whole[2..].copy_from_slice(&rest);
        ConnectionId::new(&whole)
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        match id.first_chunk::<2>() {
            Some(begin) if u16::from_be_bytes(*begin) % self.workers == self.worker => Ok(()),
            _ => Err(InvalidCid),
        }
    }

    fn cid_len(&self) -> usize {
        LENGTH
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_to_its_worker() {
        for workers in [1, 2, 3, 7, 255, 256, 1000] {
            for worker in [0, workers / 2, workers - 1] {
                let mut ids = Ids::new(worker, workers);
                for random in [0, 1, 255, 256, u16::MAX - 1, u16::MAX] {
                    let begin = usize::from(ids.begin(random));
                    assert_eq!(begin % workers, worker, "{random} of {workers}");
                }
                let id = ids.generate_cid();
                assert!(ids.validate(&id).is_ok());
                let other = Ids::new((worker + 1) % workers, workers);
                assert_eq!(other.validate(&id).is_ok(), workers == 1);
            }
        }
    }

    #[test]
    fn datagrams_go_where_their_id_leads() {
        let workers = 3;
        let first = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = first.local_addr().unwrap();
        drop(first);
        let sockets = bind(address, workers).unwrap();
        assert!(claim(address).is_err());
        for (worker, Bound { socket, .. }) in sockets.iter().enumerate() {
            socket.set_nonblocking(false).unwrap();
            let timeout = Some(Duration::from_secs(5));
            socket.set_read_timeout(timeout).unwrap();
            for _ in 0..20 {
                let id = Ids::new(worker, workers).generate_cid();
                let short = [&[0x40][..], &id].concat();
                let long = [&[0xc0, 0, 0, 0, 1, LENGTH as u8][..], &id].concat();
                for datagram in [short, long] {
                    assert_eq!(worker_of(&datagram, workers), worker);
                    // From another port each time.
                    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
                    client.send_to(&datagram, address).unwrap();
                    let mut got = [0; 64];
                    let length = socket.recv(&mut got).unwrap();
                    assert_eq!(got[..length], datagram);
                }
            }
        }
    }
}
