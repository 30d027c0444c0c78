//! Datagrams that the kernel gave to the wrong worker.
//!
//! The filter of a port goes by the connection id of a datagram (see [`steer`](super::steer)). But
//! with GRO the kernel joins datagrams of one client socket before it looks where they belong, and
//! goes by the first: where a client has several connections on one socket, what is behind it may be
//! another worker's. This was seen, with two connections whose datagrams took turns, for half of them.
//! So what was joined is sorted, and what is another worker's goes there by post.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use super::udp::worker_of;

/// How many datagrams wait for one worker. What comes when so many do is lost, as in the kernel's own
/// queue.
const WAITING: usize = 1024;

/// The letter boxes of all workers of one port.
#[derive(Debug)]
pub(super) struct Post(Vec<Mutex<Letters>>);

#[derive(Debug, Default)]
struct Letters {
    waiting: VecDeque<(RecvMeta, Bytes)>,
    waker: Option<Waker>,
}

impl Post {
    pub(super) fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self((0..workers).map(|_| Mutex::default()).collect()))
    }

    fn send(&self, worker: usize, meta: RecvMeta, datagram: Bytes) {
        let Some(letters) = self.0.get(worker) else {
            return;
        };
        let waker = {
            let mut letters = letters.lock().unwrap_or_else(PoisonError::into_inner);
            if letters.waiting.len() >= WAITING {
                return;
            }
            letters.waiting.push_back((meta, datagram));
            letters.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes what is there for a worker, or has it woken.
    fn take(
        &self,
        worker: usize,
        cx: &Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> usize {
        let Some(letters) = self.0.get(worker) else {
            return 0;
        };
        let mut letters = letters.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = 0;
        for (buffer, place) in buffers.iter_mut().zip(metas) {
            let Some((meta, datagram)) = letters.waiting.pop_front() else {
                break;
            };
            let length = datagram.len().min(buffer.len());
            if let (Some(to), Some(from)) = (buffer.get_mut(..length), datagram.get(..length)) {
                to.copy_from_slice(from);
            }
            *place = meta;
            taken += 1;
        }
        if taken == 0 {
            letters.waker = Some(cx.waker().clone());
        }
        taken
    }
}

/// The socket of one worker, whose datagrams are all its own.
pub struct Sorted {
    socket: Arc<dyn AsyncUdpSocket>,
    worker: usize,
    post: Arc<Post>,
}

impl Sorted {
    pub(super) fn new(socket: Arc<dyn AsyncUdpSocket>, worker: usize, post: Arc<Post>) -> Self {
        Self {
            socket,
            worker,
            post,
        }
    }

    /// Sends what is not ours where it belongs, and moves together what is.
    fn sort(&self, buffer: &mut [u8], meta: &mut RecvMeta) {
        let workers = self.post.0.len();
        let stride = meta.stride.max(1);
        let mut kept = 0;
        let mut start = 0;
        while start < meta.len {
            let end = (start + stride).min(meta.len);
            let datagram = buffer.get(start..end).unwrap_or_default();
            let worker = worker_of(datagram, workers);
            if worker == self.worker {
                // Only the last of them is shorter than the others, and stays the last.
                if kept < start {
                    buffer.copy_within(start..end, kept);
                }
                kept += end - start;
            } else {
                let meta = RecvMeta {
                    len: datagram.len(),
                    stride: datagram.len(),
                    ..*meta
                };
                self.post
                    .send(worker, meta, Bytes::copy_from_slice(datagram));
            }
            start = end;
        }
        meta.len = kept;
    }
}

impl fmt::Debug for Sorted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sorted")
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for Sorted {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.socket).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let taken = self.post.take(self.worker, cx, buffers, metas);
        if taken > 0 {
            return Poll::Ready(Ok(taken));
        }
        let received = self.socket.poll_recv(cx, buffers, metas);
        if let Poll::Ready(Ok(count)) = &received {
            for (buffer, meta) in buffers.iter_mut().zip(metas.iter_mut()).take(*count) {
                // One alone is where its own id has led it.
                if meta.stride < meta.len {
                    self.sort(buffer, meta);
                }
            }
        }
        received
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}
