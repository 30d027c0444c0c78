use super::*;

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn checks() -> HealthSpec {
    HealthSpec::new("/")
}

fn ejection() -> EjectionSpec {
    EjectionSpec::default()
}

fn shares_of(servers: &[Standing], slow_start: Option<Duration>, now: Duration) -> Vec<u32> {
    let mut found = Vec::new();
    let weights = servers.iter().map(|_| 1);
    shares(servers, weights, slow_start, now, &mut found);
    found
}

#[test]
fn so_many_bad_checks_in_a_row_take_a_server_out_and_good_ones_bring_it_back() {
    let (spec, mut server) = (checks(), Standing::default());
    let mut check = |passed| server.check(passed, &spec, at(0));
    for passed in [false, false, true, false, false] {
        assert_eq!(check(passed), None);
    }
    assert_eq!(check(false), Some(Change::Unhealthy));
    for passed in [false, true, false, true] {
        assert_eq!(check(passed), None);
    }
    assert_eq!(check(true), Some(Change::Healthy));
    assert_eq!(check(true), None);
}

#[test]
fn an_ejection_ends_by_itself_and_the_next_one_lasts_twice_as_long() {
    let mut servers = [Standing::default(); 2];
    let mut now = at(0);
    for seconds in [10, 20, 40, 80, 160, 300, 300] {
        let change = eject(&mut servers, 0, &ejection(), now);
        assert_eq!(change, Some(Change::Ejected(at(seconds))));
        assert_eq!(servers[0].tick(now + at(seconds - 1)), None);
        now += at(seconds);
        assert_eq!(servers[0].tick(now), Some(Change::Returned));
        assert_eq!(servers[0].tick(now), None);
        now += at(1);
    }
}

#[test]
fn a_server_that_was_in_for_long_begins_anew() {
    let mut servers = [Standing::default(); 2];
    for now in [at(0), at(20)] {
        eject(&mut servers, 0, &ejection(), now);
        servers[0].tick(now + at(20));
    }
    let later = eject(&mut servers, 0, &ejection(), at(40 + 300));
    assert_eq!(later, Some(Change::Ejected(at(10))));
}

#[test]
fn ejection_never_goes_below_its_floor() {
    for (count, most, percent) in [
        (1, 0, 50),
        (2, 1, 50),
        (3, 1, 50),
        (10, 5, 50),
        (4, 4, 100),
        (9, 0, 10),
    ] {
        let mut servers = vec![Standing::default(); count];
        let spec = EjectionSpec {
            max_percent: percent,
            ..ejection()
        };
        for index in 0..count {
            eject(&mut servers, index, &spec, at(0));
        }
        let out = servers.iter().filter(|server| server.is_ejected()).count();
        assert_eq!(out, most, "{count} servers, {percent} %");
    }
}

#[test]
fn a_server_that_is_out_is_not_ejected_again() {
    let mut servers = [Standing::default(); 4];
    assert!(eject(&mut servers, 0, &ejection(), at(0)).is_some());
    assert_eq!(eject(&mut servers, 0, &ejection(), at(1)), None);
}

#[test]
fn checks_that_see_an_outage_end_also_end_the_ejection() {
    let mut servers = [Standing::default(); 2];
    eject(&mut servers, 0, &ejection(), at(0));
    for _ in 0..3 {
        servers[0].check(false, &checks(), at(1));
    }
    assert!(servers[0].is_ejected() && !servers[0].is_healthy());
    for _ in 0..2 {
        servers[0].check(true, &checks(), at(2));
    }
    assert!(!servers[0].is_ejected() && servers[0].is_healthy());
    // While checks that never failed say nothing about an ejection.
    eject(&mut servers, 0, &ejection(), at(3));
    servers[0].check(true, &checks(), at(4));
    assert!(servers[0].is_ejected());
}

#[test]
fn only_healthy_servers_get_requests_and_ejected_ones_if_all_of_those_are() {
    let mut servers = [Standing::default(); 3];
    assert_eq!(shares_of(&servers, None, at(0)), [100, 100, 100]);
    eject(&mut servers, 0, &ejection(), at(0));
    assert_eq!(shares_of(&servers, None, at(0)), [0, 100, 100]);
    for server in &mut servers[1..] {
        for _ in 0..3 {
            server.check(false, &checks(), at(1));
        }
    }
    // The ejected one is the only one that checks call healthy.
    assert_eq!(shares_of(&servers, None, at(1)), [100, 0, 0]);
    for _ in 0..3 {
        servers[0].check(false, &checks(), at(1));
    }
    assert_eq!(shares_of(&servers, None, at(1)), [0, 0, 0]);
}

#[test]
fn the_share_of_a_server_that_came_back_or_is_new_grows() {
    let slow = Some(at(100));
    let mut servers = [
        Standing::default(),
        Standing::default(),
        Standing::added(at(1000)),
    ];
    eject(&mut servers, 1, &ejection(), at(0));
    servers[1].tick(at(1000));
    for (seconds, share) in [(0, 10), (5, 10), (25, 25), (99, 99), (100, 100), (500, 100)] {
        let now = at(1000 + seconds);
        assert_eq!(shares_of(&servers, slow, now), [100, share, share]);
        assert_eq!(shares_of(&servers, None, now), [100, 100, 100]);
        let mut found = Vec::new();
        let grow = shares(&servers, [1; 3].into_iter(), slow, now, &mut found);
        assert_eq!(grow, seconds < 100);
    }
}
