//! Which servers of an origin get requests: what checks and failed requests make of each.
//!
//! Pure: time comes in as an argument, and what changed goes out.

use std::time::Duration;

use crate::config::snapshot::{EjectionSpec, HealthSpec};

/// Shares are reckoned in hundredths of a weight, so that they can grow slowly.
const SHARE: u64 = 100;

/// Where one server stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Whether checks took it out.
    unhealthy: bool,
    /// Checks in a row that speak against what it is now.
    contrary: u32,
    /// Out until then, because requests failed.
    ejected_until: Option<Duration>,
    /// How often in succession it was ejected.
    ejections: u32,
    /// When the last ejection ended.
    returned: Option<Duration>,
    /// Since when it takes requests, if its share is to grow since then.
    since: Option<Duration>,
}

/// What became of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Checks took it out.
    Unhealthy,
    /// Checks brought it back.
    Healthy,
    /// Failed requests took it out for so long.
    Ejected(Duration),
    /// The time of its ejection passed.
    Returned,
}

impl Standing {
    /// A server that was not there before: its share grows.
    pub(super) fn added(now: Duration) -> Self {
        Self {
            since: Some(now),
            ..Self::default()
        }
    }

    /// The same, where nothing is checked any more: nobody would bring it back.
    pub(super) fn unchecked(self) -> Self {
        Self {
            unhealthy: false,
            contrary: 0,
            ..self
        }
    }

    pub(super) fn is_healthy(&self) -> bool {
        !self.unhealthy
    }

    pub(super) fn is_ejected(&self) -> bool {
        self.ejected_until.is_some()
    }

    /// A check ended.
    pub(super) fn check(
        &mut self,
        passed: bool,
        spec: &HealthSpec,
        now: Duration,
    ) -> Option<Change> {
        if passed != self.unhealthy {
            self.contrary = 0;
            return None;
        }
        self.contrary += 1;
        let enough = match passed {
            true => spec.healthy,
            false => spec.unhealthy,
        };
        if self.contrary < enough {
            return None;
        }
        self.contrary = 0;
        self.unhealthy = !passed;
        if !passed {
            return Some(Change::Unhealthy);
        }
        // The checks saw the outage end: what failed in it says nothing any more.
        self.ejected_until = None;
        self.since = Some(now);
        Some(Change::Healthy)
    }

    /// Takes a server out for a time that doubles each time, unless it was in for long.
    fn eject(&mut self, spec: &EjectionSpec, now: Duration) -> Change {
        let long_in = |returned: Duration| now.saturating_sub(returned) >= spec.max_time;
        if self.returned.is_some_and(long_in) {
            self.ejections = 0;
        }
        let doubled = 1_u32.checked_shl(self.ejections).unwrap_or(u32::MAX);
        let time = spec.time.saturating_mul(doubled).min(spec.max_time);
        self.ejections = self.ejections.saturating_add(1);
        self.ejected_until = Some(now + time);
        Change::Ejected(time)
    }

    /// Time passes.
    pub(super) fn tick(&mut self, now: Duration) -> Option<Change> {
        let due = self.ejected_until.filter(|until| *until <= now);
        due.map(|_| {
            self.ejected_until = None;
            self.returned = Some(now);
            self.since = Some(now);
            Change::Returned
        })
    }

    /// Its share of the requests, in hundredths of `weight`: grows from a tenth within
    /// `slow_start`. Whether it still grows.
    fn share(&self, weight: u32, slow_start: Option<Duration>, now: Duration) -> (u32, bool) {
        let whole = u64::from(weight) * SHARE;
        let passed = self.since.map(|since| now.saturating_sub(since));
        let (share, grows) = match (slow_start, passed) {
            (Some(time), Some(passed)) if passed < time => {
                let part = u128::from(whole) * passed.as_millis() / time.as_millis().max(1);
                let part = u64::try_from(part).unwrap_or(whole);
                (part.max(whole / 10).max(1), true)
            }
            _ => (whole, false),
        };
        (u32::try_from(share).unwrap_or(u32::MAX), grows)
    }
}

/// Ejects the server at `index`, unless too many are out already.
pub(super) fn eject(
    servers: &mut [Standing],
    index: usize,
    spec: &EjectionSpec,
    now: Duration,
) -> Option<Change> {
    let out = servers.iter().filter(|server| server.is_ejected()).count();
    let most = servers.len() * spec.max_percent.min(100) as usize / 100;
    let server = servers.get_mut(index)?;
    // It may have been asked because all were out, or have failed requests from before.
    (!server.is_ejected() && out < most).then(|| server.eject(spec, now))
}

/// Which servers get requests, and which share of them: 0 is none. Also whether shares still grow.
///
/// A server that checks took out gets none. One that is ejected gets none as long as another one is
/// left: if all healthy servers are ejected, all of them are asked, since that is better than to
/// fail every request.
pub(super) fn shares(
    servers: &[Standing],
    weights: impl Iterator<Item = u32>,
    slow_start: Option<Duration>,
    now: Duration,
    shares: &mut Vec<u32>,
) -> bool {
    let healthy = |server: &Standing| server.is_healthy() && !server.is_ejected();
    let some = servers.iter().any(healthy);
    let mut grow = false;
    shares.clear();
    for (server, weight) in servers.iter().zip(weights) {
        let open = server.is_healthy() && (!some || !server.is_ejected());
        let (share, grows) = match open {
            true => server.share(weight, slow_start, now),
            false => (0, false),
        };
        grow |= grows;
        shares.push(share);
    }
    grow
}

#[cfg(test)]
mod tests;
