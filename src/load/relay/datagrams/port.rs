//! A UDP socket that tells and sets the mark of congestion (ECN) of each datagram, as a router leaves
//! it alone.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;

use quinn::udp::{EcnCodepoint, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// One or more datagrams of one sender, of the same length but for the last (GRO).
pub(super) struct Received {
    pub(super) from: SocketAddr,
    pub(super) ecn: u8,
    length: usize,
    stride: usize,
}

impl Received {
    /// The datagrams in what was read into.
    pub(super) fn of<'a>(&self, buffer: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let read = buffer.get(..self.length).unwrap_or_default();
        read.chunks(self.stride.max(1))
    }
}

#[derive(Debug)]
pub(super) struct Port {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Port {
    pub(super) async fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(address).await?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        Ok(Self { socket, state })
    }

    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    pub(super) async fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut meta = [RecvMeta::default()];
        let read = || {
            let mut into = [IoSliceMut::new(buffer)];
            let socket = UdpSockRef::from(&self.socket);
            self.state.recv(socket, &mut into, &mut meta).map(drop)
        };
        self.socket.async_io(Interest::READABLE, read).await?;
        let [meta] = meta;
        Ok(Received {
            from: meta.addr,
            ecn: meta.ecn.map_or(0, |mark| mark as u8),
            length: meta.len,
            stride: meta.stride,
        })
    }

    pub(super) async fn send(&self, bytes: &[u8], ecn: u8, to: SocketAddr) -> io::Result<()> {
        let transmit = Transmit {
            destination: to,
            ecn: EcnCodepoint::from_bits(ecn),
            contents: bytes,
            segment_size: None,
            src_ip: None,
        };
        let write = || {
            let socket = UdpSockRef::from(&self.socket);
            self.state.try_send(socket, &transmit)
        };
        self.socket.async_io(Interest::WRITABLE, write).await
    }
}
