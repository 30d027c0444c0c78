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

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::route::tests::route;

    fn response(body: &str) -> FixedResponse {
        FixedResponse {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    #[test]
    fn each_route_has_its_own_answer_however_many_there_are() {
        let prepared = Prepared::default();
        let get =
            |body: &str, route: &Arc<Route>| prepared.get(Duration::ZERO, route, &response(body));
        let bodies: Vec<_> = (0..2 * KEPT).map(|nth| format!("answer {nth}")).collect();
        let routes: Vec<_> = bodies.iter().map(|_| route("/")).collect();
        for _ in 0..2 {
            for (body, route) in bodies.iter().zip(&routes) {
                assert!(get(body, route).ends_with(body.as_bytes()));
            }
        }
        assert_eq!(prepared.0.lock().unwrap().answers.len(), KEPT);
        let again = [get("answer 0", &routes[0]), get("answer 0", &routes[0])];
        assert_eq!(again[0].as_ptr(), again[1].as_ptr());
        // What a reload makes never stands where something is remembered of what was there before.
        drop(routes);
        for body in bodies.iter().rev() {
            assert!(get(body, &route("/")).ends_with(body.as_bytes()));
        }
    }

    #[test]
    fn answers_of_another_second_are_made_anew() {
        let (prepared, route) = (Prepared::default(), route("/"));
        let get = |now| prepared.get(now, &route, &response("answer"));
        let first = get(Duration::ZERO);
        // As if the last one had been made a while ago.
        prepared.0.lock().unwrap().second = 1;
        assert_eq!(get(Duration::ZERO).as_ptr(), first.as_ptr());
        let later = get(Duration::from_millis(100));
        assert_ne!(later.as_ptr(), first.as_ptr());
        assert!(prepared.0.lock().unwrap().second > 1);
    }
}
