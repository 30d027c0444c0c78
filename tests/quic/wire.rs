//! A wire between one client and the edge: it carries datagrams, keeps copies of what the client
//! sends, and can hold back either side.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::support::within;

/// A running wire; it ends when this is dropped.
pub struct Wire {
    address: SocketAddr,
    inside: Arc<Inside>,
    tasks: Vec<JoinHandle<()>>,
}

struct Inside {
    /// Where the client sends to.
    near: UdpSocket,
    /// Where the edge sends to.
    far: UdpSocket,
    edge: SocketAddr,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    client: Option<SocketAddr>,
    sent: Vec<Vec<u8>>,
    /// What is held back, where something is.
    from_client: Option<Vec<Vec<u8>>>,
    from_edge: Option<Vec<Vec<u8>>>,
    /// How many datagrams of the side that is held back are let through nevertheless.
    passes: usize,
}

impl Wire {
    /// To this edge. What the edge sends is held back at first.
    pub async fn to(edge: SocketAddr) -> Self {
        Self::after(0, edge).await
    }

    /// To this edge. What the edge sends is held back after so many datagrams.
    pub async fn after(passes: usize, edge: SocketAddr) -> Self {
        let state = State {
            from_edge: Some(Vec::new()),
            passes,
            ..State::default()
        };
        Self::with(state, edge).await
    }

    /// To this edge. The client's first datagram passes, and nothing else on either side.
    pub async fn begun(edge: SocketAddr) -> Self {
        let state = State {
            from_client: Some(Vec::new()),
            from_edge: Some(Vec::new()),
            passes: 1,
            ..State::default()
        };
        Self::with(state, edge).await
    }

    /// To this edge. Nothing passes, on either side.
    pub async fn shut(edge: SocketAddr) -> Self {
        let state = State {
            from_client: Some(Vec::new()),
            from_edge: Some(Vec::new()),
            ..State::default()
        };
        Self::with(state, edge).await
    }

    async fn with(state: State, edge: SocketAddr) -> Self {
        let near = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let far = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = near.local_addr().unwrap();
        let inside = Arc::new(Inside {
            near,
            far,
            edge,
            state: Mutex::new(state),
        });
        let tasks = vec![
            tokio::spawn(there(Arc::clone(&inside))),
            tokio::spawn(back(Arc::clone(&inside))),
        ];
        Self {
            address,
            inside,
            tasks,
        }
    }

    /// Where the client connects to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Copies of what the client has sent and the edge got.
    pub fn sent(&self) -> Vec<Vec<u8>> {
        self.inside.state.lock().unwrap().sent.clone()
    }

    /// Copies of what the client has sent and is held back.
    pub fn held(&self) -> Vec<Vec<u8>> {
        let state = self.inside.state.lock().unwrap();
        state.from_client.clone().unwrap_or_default()
    }

    /// Waits until a datagram of the client's is held back that begins with a packet of one of these
    /// kinds, told by the first four bits but for the second, which may be anything (RFC 9287).
    pub async fn until_held(&self, kinds: &[u8]) {
        let is_of_kind = |datagram: &Vec<u8>| kinds.contains(&(datagram[0] & 0xb0));
        let held = async {
            loop {
                match self.held().iter().any(is_of_kind) {
                    true => break,
                    false => tokio::task::yield_now().await,
                }
            }
        };
        within("a packet", held).await;
    }

    /// Lets through what the edge sends, and from now on holds back what the client sends: its
    /// Finished, above all.
    pub async fn turn(&self) {
        self.inside.state.lock().unwrap().from_client = Some(Vec::new());
        self.hear().await;
    }

    /// Waits until the edge has got something.
    pub async fn until_sent(&self) {
        let sent = async {
            while self.sent().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        within("a datagram", sent).await;
    }

    /// Lets through what the edge sends.
    pub async fn hear(&self) {
        let (held, client) = {
            let mut state = self.inside.state.lock().unwrap();
            (state.from_edge.take().unwrap(), state.client.unwrap())
        };
        for datagram in held {
            self.inside.near.send_to(&datagram, client).await.unwrap();
        }
    }

    /// Lets everything through.
    pub async fn release(&self) {
        let (client, edge, address) = {
            let mut state = self.inside.state.lock().unwrap();
            let client = state.from_client.take().unwrap_or_default();
            let edge = state.from_edge.take().unwrap_or_default();
            state.sent.extend(client.iter().cloned());
            (client, edge, state.client)
        };
        for datagram in client {
            let to = self.inside.edge;
            self.inside.far.send_to(&datagram, to).await.unwrap();
        }
        for datagram in edge {
            let to = address.unwrap();
            self.inside.near.send_to(&datagram, to).await.unwrap();
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn there(inside: Arc<Inside>) {
    let mut buffer = vec![0; 65_536];
    loop {
        let (length, client) = inside.near.recv_from(&mut buffer).await.unwrap();
        let datagram = buffer[..length].to_vec();
        {
            let mut state = inside.state.lock().unwrap();
            state.client = Some(client);
            let state = &mut *state;
            match &mut state.from_client {
                Some(_) if state.passes > 0 => state.passes -= 1,
                Some(held) => {
                    held.push(datagram);
                    continue;
                }
                None => {}
            }
            state.sent.push(datagram.clone());
        }
        inside.far.send_to(&datagram, inside.edge).await.unwrap();
    }
}

async fn back(inside: Arc<Inside>) {
    let mut buffer = vec![0; 65_536];
    loop {
        // An edge that has ended refuses.
        let Ok((length, _)) = inside.far.recv_from(&mut buffer).await else {
            continue;
        };
        let datagram = buffer[..length].to_vec();
        let client = {
            let mut state = inside.state.lock().unwrap();
            let state = &mut *state;
            match &mut state.from_edge {
                Some(_) if state.passes > 0 => state.passes -= 1,
                Some(held) => {
                    held.push(datagram);
                    continue;
                }
                None => {}
            }
            state.client
        };
        let _ = inside.near.send_to(&datagram, client.unwrap()).await;
    }
}

/// Sends recorded datagrams from a port of its own, and waits for so many answers at least, or for
/// `quiet` without one.
pub async fn replay(edge: SocketAddr, datagrams: &[Vec<u8>], quiet: Duration) -> usize {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for datagram in datagrams {
        socket.send_to(datagram, edge).await.unwrap();
    }
    let mut buffer = vec![0; 65_536];
    let mut answers = 0;
    while let Ok(Ok(_)) = tokio::time::timeout(quiet, socket.recv_from(&mut buffer)).await {
        answers += 1;
    }
    answers
}
