//! Requests that wait for a server with room, first come, first served.
//!
//! A server's room is counted over all workers, so that `limits.connections` means what it says
//! however many of them there are. Without that limit nothing here is touched.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::IntGauge;
use tokio::sync::oneshot;

/// The rooms of an origin's servers, and who waits for one.
#[derive(Debug)]
pub(super) struct Queue {
    rooms: Box<[Room]>,
    /// Requests under way with each server at most.
    most: usize,
    /// Requests that wait at most.
    length: usize,
    waiting: Mutex<Waiting>,
    /// How many wait, with those of the queues that this one came after.
    count: Arc<AtomicUsize>,
    /// How many wait now, of all origins.
    gauge: IntGauge,
}

#[derive(Debug)]
struct Room {
    /// Shared with the queues that this one came after.
    active: Arc<AtomicUsize>,
    /// Whether the server gets requests.
    open: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    entries: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    /// Servers that failed this request.
    tried: Box<[usize]>,
    place: oneshot::Sender<Slot>,
}

impl Entry {
    fn fits(&self, server: usize) -> bool {
        !self.tried.contains(&server)
    }
}

/// A request's place at a server; dropped, it goes to the one that has waited longest.
#[derive(Debug)]
pub(super) struct Slot {
    queue: Option<Arc<Queue>>,
    server: usize,
}

impl Slot {
    /// Which server it is.
    pub(super) fn server(&self) -> usize {
        self.server
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take() {
            queue.release(self.server);
        }
    }
}

/// A request in the queue; dropped, it leaves.
#[derive(Debug)]
pub(super) struct Place {
    queue: Arc<Queue>,
    id: u64,
    slot: oneshot::Receiver<Slot>,
}

impl Place {
    /// Waits for its turn.
    pub(super) async fn turn(&mut self) -> Option<Slot> {
        // The sender is dropped without a word only with the queue.
        (&mut self.slot).await.ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.queue.waiting();
        let at = waiting.entries.iter().position(|entry| entry.id == self.id);
        let entry = at.and_then(|at| waiting.entries.remove(at));
        drop(waiting);
        if entry.is_some() {
            self.queue.leave();
        }
    }
}

impl Room {
    fn of(active: Arc<AtomicUsize>) -> Self {
        Self {
            active,
            open: AtomicBool::new(true),
        }
    }
}

impl Queue {
    /// For so many servers.
    pub(super) fn new(servers: usize, most: usize, length: usize, gauge: IntGauge) -> Arc<Self> {
        Arc::new(Self {
            rooms: (0..servers).map(|_| Room::of(Arc::default())).collect(),
            most,
            length,
            waiting: Mutex::default(),
            count: Arc::default(),
            gauge,
        })
    }

    /// For an origin that a reload has changed. What `former` still has under way counts, at the servers that
    /// were its too: at which place each of them stood there, if it did. A place that becomes free there
    /// comes here with the next [`serve`](Self::serve), if nobody waits there any more.
    pub(super) fn after(
        former: &Self,
        places: impl Iterator<Item = Option<usize>>,
        most: usize,
        length: usize,
    ) -> Arc<Self> {
        let room = |place: Option<usize>| {
            let room = place.and_then(|place| former.rooms.get(place));
            Room::of(room.map_or_else(Arc::default, |room| Arc::clone(&room.active)))
        };
        Arc::new(Self {
            rooms: places.map(room).collect(),
            most,
            length,
            waiting: Mutex::default(),
            count: Arc::clone(&former.count),
            gauge: former.gauge.clone(),
        })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a server has room.
    pub(super) fn has_room(&self, server: usize) -> bool {
        let room = self.rooms.get(server);
        room.is_some_and(|room| room.active.load(Ordering::Relaxed) < self.most)
    }

    /// Whether a request that comes now is the first.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting().entries.is_empty()
    }

    /// Takes a place at a server, if it has room.
    pub(super) fn take(self: &Arc<Self>, server: usize) -> Option<Slot> {
        let room = self.rooms.get(server)?;
        let below = |active| (active < self.most).then_some(active + 1);
        let order = Ordering::Relaxed;
        let taken = room.active.fetch_update(order, order, below);
        taken.is_ok().then(|| self.slot(server))
    }

    fn slot(self: &Arc<Self>, server: usize) -> Slot {
        Slot {
            queue: Some(Arc::clone(self)),
            server,
        }
    }

    /// Joins the queue; `None` if that is full.
    pub(super) fn join(self: &Arc<Self>, tried: &[usize]) -> Option<Place> {
        let (place, slot) = oneshot::channel();
        let id = {
            let mut waiting = self.waiting();
            let below = |count| (count < self.length).then_some(count + 1);
            let order = Ordering::Relaxed;
            self.count.fetch_update(order, order, below).ok()?;
            self.gauge.inc();
            let id = waiting.next;
            waiting.next += 1;
            waiting.entries.push_back(Entry {
                id,
                tried: tried.into(),
                place,
            });
            id
        };
        let joined = Place {
            queue: Arc::clone(self),
            id,
            slot,
        };
        // Room may have come since it was looked for.
        self.serve();
        Some(joined)
    }

    /// One waits less.
    fn leave(&self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.gauge.dec();
    }

    /// Which servers get requests now.
    pub(super) fn open(&self, open: impl Iterator<Item = bool>) {
        for (room, open) in self.rooms.iter().zip(open) {
            room.open.store(open, Ordering::Relaxed);
        }
    }

    /// Gives the room that there is to those who wait.
    pub(super) fn serve(self: &Arc<Self>) {
        for (server, room) in self.rooms.iter().enumerate() {
            while room.open.load(Ordering::Relaxed) && !self.is_empty() {
                let Some(slot) = self.take(server) else { break };
                // Nobody who waits for this server: it goes back.
                if !self.pass_on(slot) {
                    break;
                }
            }
        }
    }

    /// Gives a place to the first who can use it; whether there was one. Otherwise it is free.
    fn pass_on(&self, mut slot: Slot) -> bool {
        let server = slot.server;
        loop {
            let entry = {
                let mut waiting = self.waiting();
                let open = self.rooms.get(server);
                let open = open.is_some_and(|room| room.open.load(Ordering::Relaxed));
                let mut entries = waiting.entries.iter();
                let at = entries.position(|entry| open && entry.fits(server));
                let entry = at.and_then(|at| waiting.entries.remove(at));
                let Some(entry) = entry else {
                    // Under the lock, so that nobody joins between the look and this.
                    slot.queue = None;
                    if let Some(room) = self.rooms.get(server) {
                        room.active.fetch_sub(1, Ordering::Relaxed);
                    }
                    return false;
                };
                entry
            };
            self.leave();
            // Outside the lock: waking a task may drop another one, and its place with it.
            match entry.place.send(slot) {
                Ok(()) => return true,
                Err(back) => slot = back,
            }
        }
    }

    fn release(self: &Arc<Self>, server: usize) {
        self.pass_on(self.slot(server));
    }
}

#[cfg(test)]
mod tests;
