//! A month of refreshes with faults, on a clock that the test moves.

mod standing;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::super::book::{Book, Failure, Happened, Job};
use super::super::line::AT_ONE;
use super::super::testing::{Authority, DAY, noon};
use super::super::{Source, Staple, StapleStatus, Stapled, Subject};
use super::shown;
use crate::telemetry::labels::OcspFetch;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Numbers from 0 to 1 that are the same in each run.
fn chance(mut state: u64) -> impl FnMut() -> f64 + Send {
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Which certificate it is of those of a [`World`].
fn number_of(subject: &Subject) -> usize {
    let number = subject.fingerprint.first_chunk().unwrap();
    usize::try_from(u64::from_be_bytes(*number)).unwrap()
}

/// What a responder does to an attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Weather {
    Good,
    /// Silence, for the whole timeout.
    Dead,
    /// Of ten answers three are wrong for their certificate.
    Bad,
    /// Wrong answers, at once.
    Wrong,
}

/// Responders, certificates, and a clock.
struct World {
    book: Book,
    now: SystemTime,
    stapled: Vec<Arc<Stapled>>,
    running: BinaryHeap<Reverse<(SystemTime, usize)>>,
    jobs: HashMap<usize, (Job, Result<Staple, Failure>)>,
    begun: usize,
    at_host: HashMap<String, usize>,
    /// When the attempts of the last minute began.
    minute: VecDeque<SystemTime>,
    busiest: usize,
    /// How often a certificate's first staple came, or a later one after the end of the last.
    bare_until_now: usize,
    validity: Duration,
    chance: Box<dyn FnMut() -> f64>,
}

impl World {
    fn new(certificates: usize, hosts: usize, validity: Duration) -> Self {
        let key = shown::key();
        let model = Authority::new("an authority").subject(7);
        let subject = |number: usize| {
            let mut fingerprint = [0; 32];
            fingerprint[..8].copy_from_slice(&(number as u64).to_be_bytes());
            let host = format!("http://ocsp{}.example/", number % hosts);
            Arc::new(Subject {
                fingerprint,
                source: Some(Source::Responder(host.parse().unwrap())),
                ..model.clone()
            })
        };
        let stapled = (0..certificates)
            .map(|number| Arc::new(Stapled::awaiting(&key, subject(number), false)));
        Self {
            book: Book::new(Box::new(chance(4711))),
            now: noon(),
            stapled: stapled.collect(),
            running: BinaryHeap::new(),
            jobs: HashMap::new(),
            begun: 0,
            at_host: HashMap::new(),
            minute: VecDeque::new(),
            busiest: 0,
            bare_until_now: 0,
            validity,
            chance: Box::new(chance(815)),
        }
    }

    fn start(&mut self, kept: &mut dyn FnMut(&Subject) -> Option<Staple>) {
        let stapled = self.stapled.clone().into_iter();
        self.book.follow(stapled, kept, self.now);
    }

    fn begin(&mut self, job: Job, weather: &dyn Fn(&str, SystemTime) -> Weather) {
        let Source::Responder(uri) = &job.source else {
            unreachable!("responders only");
        };
        let host = uri.host().unwrap().to_owned();
        let weather = weather(&host, self.now);
        let at_host = self.at_host.entry(host).or_default();
        *at_host += 1;
        assert!(*at_host <= AT_ONE, "{at_host} at once at one responder");
        let failure = |result, of_responder| Failure {
            result,
            of_responder,
            message: String::new(),
        };
        let (took, result) = match weather {
            Weather::Dead => (10_000, Err(failure(OcspFetch::Timeout, true))),
            Weather::Wrong => (50, Err(failure(OcspFetch::Malformed, false))),
            Weather::Bad if (self.chance)() < 0.3 => {
                (50, Err(failure(OcspFetch::Signature, false)))
            }
            _ => (50, Ok(shown::staple("x", self.now + self.validity))),
        };
        let result = result.map(|staple| Staple {
            der: Arc::from(format!("{:?}", self.now).as_bytes()),
            this_update: self.now,
            ..staple
        });
        self.begun += 1;
        self.minute.push_back(self.now);
        while self
            .minute
            .front()
            .is_some_and(|at| *at + MINUTE < self.now)
        {
            self.minute.pop_front();
        }
        self.busiest = self.busiest.max(self.minute.len());
        let ends = self.now + Duration::from_millis(took);
        self.running.push(Reverse((ends, self.begun)));
        self.jobs.insert(self.begun, (job, result));
    }

    /// Runs until `until`; `look` sees the world each hour.
    fn run(
        &mut self,
        until: SystemTime,
        weather: &dyn Fn(&str, SystemTime) -> Weather,
        look: &mut dyn FnMut(&mut Self),
    ) {
        let mut next_look = self.now + HOUR;
        while self.now < until {
            while let Some(job) = self.book.due(self.now) {
                self.begin(job, weather);
            }
            let ends = self.running.peek().map(|Reverse((ends, _))| *ends);
            let due = self.book.next().map(|due| due.max(self.now));
            let event = ends.into_iter().chain(due).min();
            self.now = event.map_or(next_look, |event| event.min(next_look));
            if ends.is_some_and(|ends| ends <= self.now) {
                let Some(Reverse((_, number))) = self.running.pop() else {
                    unreachable!("it was there");
                };
                let (job, result) = self.jobs.remove(&number).unwrap();
                if let Source::Responder(uri) = &job.source {
                    *self.at_host.get_mut(uri.host().unwrap()).unwrap() -= 1;
                }
                // A time without a staple ends here and nowhere else.
                let stapled = &self.stapled[number_of(&job.subject)];
                let bare = stapled.current(|| self.now).says.is_none();
                self.bare_until_now += usize::from(bare && result.is_ok());
                assert_ne!(self.book.done(&job, result, self.now), Happened::Nothing);
            }
            if self.now >= next_look {
                next_look = self.now + HOUR;
                look(self);
            }
        }
    }

    /// Certificates that show no valid staple now.
    fn bare(&self) -> usize {
        let bare = |stapled: &&Arc<Stapled>| stapled.current(|| self.now).key.ocsp.is_none();
        self.stapled.iter().filter(bare).count()
    }
}

/// Two days in seven one of the hosts is dead, two others send wrong answers now and then.
fn weather(host: &str, now: SystemTime) -> Weather {
    let day = now.duration_since(noon()).unwrap().as_secs() / 86_400;
    match (host, day % 7) {
        ("ocsp0.example", 3 | 4) => Weather::Dead,
        ("ocsp1.example" | "ocsp2.example", _) => Weather::Bad,
        _ => Weather::Good,
    }
}

#[test]
fn ten_thousand_certificates_are_stapled_through_a_month_of_faults_and_nobody_is_stormed() {
    const CERTIFICATES: usize = 10_000;
    let mut world = World::new(CERTIFICATES, 4, DAY * 7);
    world.start(&mut |_| None);
    world.run(noon() + HOUR * 2, &weather, &mut |_| {});
    assert_eq!(
        world.bare(),
        0,
        "all are stapled within two hours of the first start"
    );
    world.busiest = 0;
    world.run(noon() + DAY * 30, &weather, &mut |_| {});
    let bare = (world.bare_until_now, world.bare());
    assert_eq!(bare, (CERTIFICATES, 0), "not for a moment after the first");
    let figures = world.book.figures(world.now);
    assert_eq!(
        (figures.valid, figures.missing, figures.expired),
        (CERTIFICATES, 0, 0)
    );
    // Every three and a half days, with a third more for what failed.
    let needed = CERTIFICATES * 30 / 7 * 2;
    assert!(world.begun < needed * 4 / 3, "{} attempts", world.begun);
    // What one responder owes after two days of silence, at two at once of a twentieth of a second.
    assert!(world.busiest <= 60 * 50, "{} in a minute", world.busiest);
    // Without faults they stay spread, though they were all asked first in the same minutes.
    world.busiest = 0;
    let before = world.begun;
    world.run(noon() + DAY * 37, &|_, _| Weather::Good, &mut |_| {});
    let evenly = (world.begun - before) / (7 * 24 * 60);
    assert!(
        world.busiest <= 60,
        "{} in a minute, {evenly} on average",
        world.busiest
    );
}

#[test]
fn a_restart_spreads_what_is_due_and_shows_what_was_kept() {
    const CERTIFICATES: usize = 10_000;
    let mut world = World::new(CERTIFICATES, 1, DAY * 7);
    // Kept two days before their end: all past their half.
    let kept = |_: &Subject| Some(shown::staple("kept", noon() + DAY * 2));
    world.start(&mut { kept });
    assert_eq!(world.bare(), 0, "at once");
    let mut before = 0;
    world.run(noon() + MINUTE * 6, &|_, _| Weather::Good, &mut |_| {});
    before += world.begun;
    assert!(before < CERTIFICATES / 5, "{before} in a tenth of an hour");
    world.run(noon() + HOUR * 2, &|_, _| Weather::Good, &mut |world| {
        assert_eq!(world.bare(), 0);
    });
    assert_eq!(world.begun, CERTIFICATES, "each once");
}

#[test]
fn a_dead_responder_is_tried_by_one_and_found_alive_within_minutes() {
    let mut world = World::new(2_000, 1, DAY * 7);
    world.start(&mut |_| None);
    let dead_until = noon() + DAY;
    let weather = |_: &str, now| {
        if now < dead_until {
            Weather::Dead
        } else {
            Weather::Good
        }
    };
    world.run(dead_until, &weather, &mut |_| {});
    assert_eq!(world.bare(), 2_000);
    // One in five minutes, a few more in the beginning.
    assert!(
        (200..600).contains(&world.begun),
        "{} attempts",
        world.begun
    );
    world.run(dead_until + MINUTE * 15, &weather, &mut |_| {});
    assert_eq!(
        world.bare(),
        0,
        "a quarter of an hour later all are stapled"
    );
}

#[test]
fn a_responder_that_answers_everything_wrongly_is_not_stormed_by_ten_thousand() {
    let mut world = World::new(10_000, 1, DAY * 7);
    world.start(&mut |_| None);
    let wrong_until = noon() + HOUR;
    let weather = |_: &str, now| match now < wrong_until {
        true => Weather::Wrong,
        false => Weather::Good,
    };
    world.run(wrong_until, &weather, &mut |_| {});
    // One in five seconds.
    assert!((600..1_200).contains(&world.begun), "{}", world.begun);
    world.run(wrong_until + MINUTE * 15, &weather, &mut |_| {});
    assert_eq!(world.bare(), 0);
}

#[test]
fn many_silent_responders_leave_room_for_one_that_answers() {
    // 32 at once would fill every place for ten seconds of each.
    let mut world = World::new(340, 34, DAY * 7);
    world.start(&mut |_| None);
    let weather = |host: &str, _| match host {
        "ocsp33.example" => Weather::Good,
        _ => Weather::Dead,
    };
    world.run(noon() + MINUTE, &weather, &mut |_| {});
    let first = world.bare();
    assert_eq!(first, 330);
}

#[test]
fn what_was_due_is_due_again_when_the_clock_has_gone_ahead_and_come_back() {
    let mut world = World::new(10, 1, DAY * 7);
    world.start(&mut |_| None);
    world.run(noon() + MINUTE, &|_, _| Weather::Good, &mut |_| {});
    assert_eq!((world.bare(), world.begun), (0, 10));
    // A year ahead nothing that comes holds.
    world.now = noon() + DAY * 365;
    world.run(world.now + HOUR, &|_, _| Weather::Dead, &mut |_| {});
    assert_eq!(world.bare(), 10);
    let begun = world.begun;
    world.now = noon() + HOUR;
    assert_eq!(world.bare(), 0, "they hold again");
    world.run(noon() + DAY * 5, &|_, _| Weather::Good, &mut |_| {});
    assert!(world.begun >= begun + 10, "{} more", world.begun - begun);
    let figures = world.book.figures(world.now);
    assert_eq!((figures.valid, world.bare()), (10, 0));
}

#[test]
fn a_revocation_is_told_after_a_restart_and_again_each_day() {
    let mut world = World::new(1, 1, DAY * 7);
    let revoked = |_: &Subject| {
        Some(Staple {
            status: StapleStatus::Revoked(noon()),
            ..shown::staple("kept", noon() + DAY * 6)
        })
    };
    world.start(&mut { revoked });
    let mut told = |after| world.book.figures(noon() + after).told_revoked.len();
    assert_eq!(told(HOUR), 1);
    assert_eq!(told(HOUR * 2), 0);
    assert_eq!(told(HOUR * 26), 1);
    assert_eq!(told(HOUR * 27), 0);
}

#[test]
fn what_is_not_on_disk_is_known_until_it_is() {
    let mut world = World::new(2, 1, DAY * 7);
    world.start(&mut |_| None);
    assert!(world.book.not_kept().is_empty(), "there is none");
    world.run(noon() + MINUTE, &|_, _| Weather::Good, &mut |_| {});
    let all = world.book.not_kept();
    assert_eq!(all.len(), 2);
    let (subject, staple) = &all[0];
    world.book.kept(subject, staple);
    assert_eq!(world.book.not_kept().len(), 1);
    world.book.kept(&all[1].0, staple);
    assert_eq!(world.book.not_kept().len(), 1, "another one was written");
    world.book.keep_anew();
    assert_eq!(world.book.not_kept().len(), 2);
}

#[test]
fn one_that_is_not_shown_without_a_staple_is_asked_about_within_seconds() {
    let mut world = World::new(1, 1, DAY * 7);
    let subject = Arc::clone(world.stapled[0].subject().unwrap());
    world.stapled = vec![Arc::new(Stapled::awaiting(&shown::key(), subject, true))];
    world.start(&mut |_| None);
    let until = noon() + MINUTE;
    let weather = |_: &str, now| match now < until {
        true => Weather::Wrong,
        false => Weather::Good,
    };
    world.run(until, &weather, &mut |_| {});
    // After 1, 2, 4, 8, 16 and 32 seconds.
    assert!((5..9).contains(&world.begun), "{}", world.begun);
    world.run(until + MINUTE * 2, &weather, &mut |_| {});
    assert_eq!(world.bare(), 0);
}

#[test]
fn a_staple_stays_when_somebody_else_is_asked() {
    let mut world = World::new(2, 1, DAY * 7);
    world.start(&mut |_| None);
    world.run(noon() + MINUTE, &|_, _| Weather::Good, &mut |_| {});
    assert_eq!(world.bare(), 0);
    let moved = world.stapled.iter().map(|stapled| {
        let subject = Subject {
            source: Some(Source::File("later.ocsp".into())),
            ..Subject::clone(stapled.subject().unwrap())
        };
        Arc::new(Stapled::awaiting(&shown::key(), Arc::new(subject), false))
    });
    world.stapled = moved.collect();
    world.start(&mut |_| None);
    assert_eq!(world.bare(), 0, "the file is not there yet");
}

#[test]
fn one_that_needs_a_staple_waits_for_no_others_that_do_not() {
    let mut world = World::new(10_000, 1, DAY * 7);
    let subject = Arc::clone(world.stapled[5_000].subject().unwrap());
    let required = Arc::new(Stapled::awaiting(&shown::key(), subject, true));
    world.stapled[5_000] = Arc::clone(&required);
    world.start(&mut |_| None);
    let until = noon() + HOUR;
    let weather = |_: &str, now| match now < until {
        true => Weather::Dead,
        false => Weather::Good,
    };
    world.run(until, &weather, &mut |_| {});
    assert!(!required.may_be_shown(|| until));
    // A minute at most until it is asked again, while all others are due.
    let then = until + MINUTE + Duration::from_secs(2);
    world.run(then, &weather, &mut |_| {});
    assert!(required.may_be_shown(|| then));
}

#[test]
fn one_responder_that_is_silent_costs_the_others_nothing() {
    let mut world = World::new(1_000, 2, DAY * 7);
    world.start(&mut |_| None);
    let weather = |host: &str, _| match host {
        "ocsp0.example" => Weather::Dead,
        _ => Weather::Good,
    };
    world.run(noon() + MINUTE, &weather, &mut |_| {});
    assert_eq!(world.bare(), 500);
}

#[test]
fn a_staple_is_shown_until_it_ends_and_the_revocation_that_came_is_not_undone() {
    let mut world = World::new(1, 1, DAY * 7);
    world.start(&mut |_| None);
    let answer = |world: &mut World, this_update, status| {
        let job = loop {
            match world.book.due(world.now) {
                Some(job) => break job,
                None => world.now = world.book.next().unwrap(),
            }
        };
        let staple = Staple {
            der: Arc::from(format!("{this_update:?} {status:?}").as_bytes()),
            this_update,
            next_update: this_update + DAY * 7,
            status,
        };
        world.book.done(&job, Ok(staple), world.now)
    };
    assert_eq!(
        answer(&mut world, noon(), StapleStatus::Good),
        Happened::New { first: true }
    );
    let revoked = StapleStatus::Revoked(noon());
    let at = noon() + HOUR;
    assert_eq!(
        answer(&mut world, at, revoked),
        Happened::New { first: false }
    );
    assert_eq!(world.book.figures(world.now).revoked, 1);
    // Recorded before, sent again.
    assert_eq!(
        answer(&mut world, noon(), StapleStatus::Good),
        Happened::Older
    );
    assert_eq!(world.book.figures(world.now).revoked, 1);
}
