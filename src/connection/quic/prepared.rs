//! Fixed answers as they go over HTTP/3, each made once a second: they tell the time.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::section::section;
use crate::config::snapshot::{FixedResponse, Route};
use crate::http::h3;

/// How many answers are kept: a worker that gives more in a second makes the others anew.
const KEPT: usize = 32;

/// The answers that a worker has given last.
#[derive(Debug, Default)]
pub struct Prepared(Mutex<Made>);

#[derive(Debug, Default)]
struct Made {
    /// When the clock was looked at last.
    looked: Option<Duration>,
    /// What it said, in seconds since the epoch.
    second: u64,
    /// Weak: what a reload has left is not kept, nor is its place taken by another meanwhile.
    answers: Vec<(Weak<Route>, Bytes)>,
}

impl Prepared {
    /// The frames of what `route` answers. `now` is on the worker's clock, which is all that is asked
    /// between two of its ticks.
    pub(super) fn get(&self, now: Duration, route: &Arc<Route>, response: &FixedResponse) -> Bytes {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if made.looked != Some(now) {
            made.look(now);
        }
        let mut known = made.answers.iter();
        let found = known.find(|(known, _)| std::ptr::eq(known.as_ptr(), Arc::as_ptr(route)));
        if let Some((_, frames)) = found {
            return frames.clone();
        }
        let frames = frames(response);
        if made.answers.len() < KEPT {
            made.answers.push((Arc::downgrade(route), frames.clone()));
        }
        frames
    }
}

impl Made {
    fn look(&mut self, now: Duration) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let second = since.unwrap_or_default().as_secs();
        if second != self.second {
            self.second = second;
            self.answers.clear();
        }
        self.looked = Some(now);
    }
}

fn frames(response: &FixedResponse) -> Bytes {
    let body = &response.body;
    let length = (!body.is_empty()).then_some(body.len() as u64);
    let mut frames = section(response.status, &response.headers, length).frame();
    if !body.is_empty() {
        h3::data_header(body.len(), &mut frames);
        frames.extend_from_slice(body);
    }
    frames.into()
}
