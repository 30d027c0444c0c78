//! What the kernel sees of the edge's datagrams: how large they are, how many it gets at once, and what
//! routers may write on them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use quinn::udp::{EcnCodepoint, RecvMeta, Transmit, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::quic::client::Client;
use crate::quic::forger::{Forger, LEAST, Level};
use crate::quic::scene::{NAME, Scene, Wants, route_to};
use crate::support::origin::{Origin, Reply};
use crate::support::tool::skip;
use crate::support::within;

const DOWN: usize = 2_000_000;

/// A socket that keeps what the kernel says of each datagram. Over loopback what is sent as one stays
/// so, since nobody has to take it apart.
struct Watched {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Watched {
    async fn bind() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let state = UdpSocketState::new((&socket).into()).unwrap();
        // Room for bursts: what is lost here is taken for the line's fault.
        let room = state.set_recv_buffer_size((&socket).into(), 2 << 20);
        room.unwrap();
        Self { socket, state }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    async fn receive(&self, buffer: &mut [u8]) -> RecvMeta {
        let mut met = [RecvMeta::default()];
        let receive = || {
            let mut buffers = [std::io::IoSliceMut::new(buffer)];
            self.state
                .recv((&self.socket).into(), &mut buffers, &mut met)
        };
        let count = self.socket.async_io(Interest::READABLE, receive).await;
        assert_eq!(count.unwrap(), 1);
        met[0]
    }

    async fn send(&self, to: SocketAddr, met: &RecvMeta, contents: &[u8]) {
        let transmit = Transmit {
            destination: to,
            ecn: met.ecn,
            contents,
            segment_size: (met.len > met.stride).then_some(met.stride),
            src_ip: None,
        };
        let send = || self.state.try_send((&self.socket).into(), &transmit);
        self.socket
            .async_io(Interest::WRITABLE, send)
            .await
            .unwrap();
    }
}

/// Carries datagrams between one client and the edge, until it is dropped; keeps what it has seen of the
/// edge's.
async fn carry(near: Watched, edge: SocketAddr, seen: Arc<Mutex<Vec<RecvMeta>>>) {
    let far = Watched::bind().await;
    let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
    let mut client = None;
    loop {
        tokio::select! {
            met = near.receive(&mut up) => {
                client = Some(met.addr);
                far.send(edge, &met, &up[..met.len]).await;
            }
            met = far.receive(&mut down) => {
                seen.lock().unwrap().push(met);
                near.send(client.unwrap(), &met, &down[..met.len]).await;
            }
        }
    }
}

#[tokio::test]
async fn a_download_goes_in_large_datagrams_many_at_once_and_routers_may_mark_them() {
    let origin = Origin::start(|_| Reply::ok(vec![b'x'; DOWN])).await;
    let routes = route_to("/origin", &origin.url(), "");
    let scene = Scene::with(Wants {
        routes: &routes,
        ..Wants::default()
    })
    .await;
    let (near, seen) = (Watched::bind().await, Arc::default());
    if near.state.gro_segments() == 1 {
        return skip("the kernel joins no datagrams");
    }
    let address = near.address();
    let carrying = tokio::spawn(carry(near, scene.address(), Arc::clone(&seen)));
    let mut client = Client::connect(address, NAME, &scene.setup).await;
    let answer = client.get("https://example.com/origin").await;
    assert_eq!(answer.body.len(), DOWN);
    client.close().await;
    carrying.abort();
    let seen = seen.lock().unwrap().clone();
    // The size that every path takes, and what was tried and found to arrive (RFC 8899): what an
    // Ethernet does. A last one of many is shorter.
    let largest = seen.iter().map(|met| met.stride).max();
    assert!(largest > Some(LEAST + 200), "{largest:?}");
    let large = seen.iter().filter(|met| Some(met.stride) == largest);
    let bytes: usize = large.map(|met| met.len).sum();
    assert!(bytes > DOWN / 2, "{bytes} bytes in large datagrams");
    // In fewer calls than there were datagrams.
    let datagrams: usize = seen.iter().map(|met| met.len.div_ceil(met.stride)).sum();
    let calls = seen.len();
    assert!(
        calls * 2 < datagrams,
        "{calls} calls, {datagrams} datagrams"
    );
    // ECT(0), since the client tells that such arrive (RFC 9000 §13.4).
    let marks = seen
        .iter()
        .filter(|met| met.ecn == Some(EcnCodepoint::Ect0));
    assert_eq!(marks.count(), calls);
    scene.settle().await;
}

/// An acknowledgement, and one that counts marks.
const ACK: u64 = 0x2;
const ACK_ECN: u64 = 0x3;

#[tokio::test]
async fn marks_of_routers_are_acknowledged() {
    let scene = Scene::start().await;
    let mut forger = Forger::connected(scene.address(), NAME, &scene.setup).await;
    let state = UdpSocketState::new((&forger.socket).into()).unwrap();
    // Without a mark there is nothing to count.
    assert!(forger.got.count(ACK) > 0);
    assert_eq!(forger.got.count(ACK_ECN), 0);
    let acknowledged = async {
        while forger.got.count(ACK_ECN) == 0 {
            let ping = forger.packet(Level::Full, &[1]);
            let transmit = Transmit {
                destination: scene.address(),
                ecn: Some(EcnCodepoint::Ce),
                contents: &ping,
                segment_size: None,
                src_ip: None,
            };
            state.send((&forger.socket).into(), &transmit).unwrap();
            forger.drain().await;
        }
    };
    within("an acknowledgement", acknowledged).await;
    forger.send(Level::Full, &[0x1d, 0x41, 0, 0]).await;
    scene.settle().await;
}
