use super::*;
use crate::expected::Outcome;

const SERVER: &str = "127.0.0.1:443";
const CLIENT: &str = "127.0.0.3:1";

/// A packet; those of handshakes are of version 1, and `from` is its sender's id.
fn packet(kind: Kind, from: u8, sealed: usize) -> Packet {
    Packet {
        kind,
        version: if kind == Kind::OneRtt { 0 } else { V1 },
        to: vec![9],
        from: vec![from],
        token: Vec::new(),
        sealed,
    }
}

fn sent(from: &str, to: &str, packets: Vec<Packet>) -> Passed {
    Passed {
        datagram: Datagram {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            ecn: 0,
            bytes: vec![0; packets.iter().map(|packet| packet.sealed).sum()],
        },
        packets,
        from_client: to == SERVER,
        frame: Frame::default(),
    }
}

fn client(packets: Vec<Packet>) -> Passed {
    sent(CLIENT, SERVER, packets)
}

fn server(packets: Vec<Packet>) -> Passed {
    sent(SERVER, CLIENT, packets)
}

fn framed(mut passed: Passed, set: impl FnOnce(&mut Frame)) -> Passed {
    set(&mut passed.frame);
    passed
}

/// Hello, the server's flight with this id and Handshake packets of so many bytes, Finished.
fn handshake(id: u8, flight: usize) -> Vec<Passed> {
    vec![
        client(vec![packet(Kind::Initial, 1, 1200)]),
        server(vec![
            packet(Kind::Initial, id, 100),
            packet(Kind::Handshake, id, flight),
        ]),
        client(vec![packet(Kind::Handshake, 1, 60)]),
    ]
}

/// What both sides of the line saw.
fn trace(passed: Vec<Passed>) -> Trace {
    Trace {
        client: Side(passed.clone()),
        server: Side(passed),
        files: 1,
        names: 8,
        http3: false,
    }
}

#[track_caller]
fn good(check: Check, trace: &Trace) {
    let mut notes = Notes::default();
    check(trace, &mut notes);
    let (outcome, log) = notes.end(Ok(()));
    assert_eq!(outcome, Outcome::Pass, "{log}");
}

/// What is wrong, and nothing else.
#[track_caller]
fn bad(check: Check, trace: &Trace, wrong: &str) {
    let mut notes = Notes::default();
    check(trace, &mut notes);
    let (outcome, log) = notes.end(Ok(()));
    assert_eq!(outcome, Outcome::Fail(wrong.into()), "{log}");
}

#[test]
fn one_handshake_of_version_1() {
    good(nothing_more, &trace(handshake(7, 900)));
    let two = [handshake(7, 900), handshake(8, 900)].concat();
    bad(nothing_more, &trace(two), "handshakes: 2, should be 1");
    bad(
        nothing_more,
        &Trace::default(),
        "handshakes: 0, should be 1; versions: {}, should be {1}",
    );
    let mut other = handshake(7, 900);
    other[1].packets[0].version = V2;
    good(version_2, &trace(other.clone()));
    let wrong = format!("versions: {{{V2}}}, should be {{1}}");
    bad(nothing_more, &trace(other), &wrong);
    let wrong = format!("versions: {{1}}, should be {{{V2}}}");
    bad(version_2, &trace(handshake(7, 900)), &wrong);
}

#[test]
fn a_retry_is_there_or_is_not_and_its_token_comes_back() {
    let retry = |shown: &[u8]| {
        let mut given = packet(Kind::Retry, 6, 16);
        given.token = b"token".to_vec();
        let mut second = handshake(7, 900);
        second[0].packets[0].token = shown.to_vec();
        let first = client(vec![packet(Kind::Initial, 1, 1200)]);
        trace([vec![first, server(vec![given])], second].concat())
    };
    good(retried, &retry(b"token"));
    bad(retried, &retry(b""), "not so: the client used its token");
    bad(
        retried,
        &trace(handshake(7, 900)),
        "not so: the server sent a Retry; not so: the client used its token",
    );
    good(no_retry, &trace(handshake(7, 900)));
    bad(no_retry, &retry(b"token"), "Retry packets: 1, should be 0");
}

#[test]
fn a_hello_is_repeated_before_the_first_answer() {
    let hello = || client(vec![packet(Kind::Initial, 1, 1200)]);
    let again = [vec![hello()], handshake(7, 900)].concat();
    good(repeated_hello, &trace(again));
    let mut late = handshake(7, 900);
    late.insert(2, hello());
    bad(
        repeated_hello,
        &trace(late),
        "not so: the client sent its hello again meanwhile",
    );
}

#[test]
fn no_other_suite_is_offered() {
    let offered = |suites: &[u64]| {
        let mut all = handshake(7, 900);
        all[0].frame.suites = suites.to_vec();
        // What the server chose is no offer.
        all[1].frame.suites = vec![0x1301];
        trace(all)
    };
    good(only_chacha20, &offered(&[CHACHA20]));
    bad(
        only_chacha20,
        &offered(&[CHACHA20, 0x1301]),
        "suites offered: {4865, 4867}, should be {4867}",
    );
    bad(
        only_chacha20,
        &offered(&[]),
        "suites offered: {}, should be {4867}",
    );
}

#[test]
fn both_sides_use_keys_of_both_phases() {
    let phases = |of_server: &[bool]| {
        let mut all = handshake(7, 900);
        let short = || vec![packet(Kind::OneRtt, 0, 50)];
        for phase in [false, true] {
            all.push(framed(client(short()), |it| it.key_phase = Some(phase)));
        }
        for phase in of_server {
            all.push(framed(server(short()), |it| it.key_phase = Some(*phase)));
        }
        trace(all)
    };
    good(both_key_phases, &phases(&[false, true]));
    bad(
        both_key_phases,
        &phases(&[false]),
        "key phases of the server: {false}, should be {false, true}",
    );
}

#[test]
fn a_resumption_shows_no_certificate() {
    let shown = |by: &[usize]| {
        let mut all = [handshake(7, 900), handshake(8, 200)].concat();
        for index in by {
            // One of the two kinds for each.
            all[*index].frame.handshakes = vec![2, CERTIFICATES[usize::from(*index > 3)], 20];
        }
        trace(all)
    };
    good(resumed, &shown(&[1]));
    bad(
        resumed,
        &shown(&[1, 4]),
        "certificates shown: [true, true], should be [true, false]",
    );
    bad(
        resumed,
        &shown(&[]),
        "certificates shown: [false, false], should be [true, false]",
    );
    bad(
        resumed,
        &trace(handshake(7, 900)),
        "handshakes: 1, should be 2; certificates shown: [false], should be [true, false]",
    );
}

#[test]
fn nearly_all_requests_are_early_and_little_comes_later() {
    let sizes = |http3, early, late| {
        let mut all = [handshake(7, 900), handshake(8, 200)].concat();
        if early > 0 {
            all.push(client(vec![packet(Kind::ZeroRtt, 1, early)]));
        }
        all.push(client(vec![packet(Kind::OneRtt, 0, late)]));
        Trace {
            files: 40,
            names: 10_000,
            http3,
            ..trace(all)
        }
    };
    let late = "not so: nearly all requests came early";
    good(early, &sizes(false, 8775, 5000));
    bad(early, &sizes(false, 8774, 0), late);
    bad(
        early,
        &sizes(false, 8775, 5001),
        "not so: little came later",
    );
    // Their names are shorter there, and much that comes later is no request.
    good(early, &sizes(true, 6579, 12_000));
    bad(early, &sizes(true, 6578, 12_000), late);
    bad(
        early,
        &sizes(true, 0, 0),
        &format!("not so: the client sent early data; {late}"),
    );
    let once = Trace {
        client: sizes(false, 9750, 0).client,
        server: Side(handshake(7, 900)),
        ..sizes(false, 9750, 0)
    };
    bad(early, &once, "handshakes: 1, should be 2");
}

#[test]
fn there_are_as_many_handshakes_as_files() {
    let three = (7..10).flat_map(|id| handshake(id, 900)).collect();
    let three = Trace {
        files: 3,
        ..trace(three)
    };
    good(a_connection_each, &three);
    let four = Trace { files: 4, ..three };
    bad(a_connection_each, &four, "handshakes: 3, should be 4");
}

#[test]
fn before_proof_the_server_sends_three_times_what_came() {
    // A hello, so much at first, and more once the client has shown that it has read some of it.
    let flights = |first, rest| {
        let mut all = handshake(7, first);
        all.push(server(vec![packet(Kind::Handshake, 7, rest)]));
        trace(all)
    };
    good(within_the_limit, &flights(3500, 4000));
    bad(
        within_the_limit,
        &flights(3501, 4000),
        "not so: the server kept within three times that",
    );
    bad(
        within_the_limit,
        &flights(3000, 4000),
        "not so: the server showed all of its chain",
    );
    let mut silent = flights(3500, 4000);
    silent.server.0.remove(2);
    bad(
        within_the_limit,
        &silent,
        "not so: the client proved its address; not so: the server kept within three times that",
    );
}

#[test]
fn both_sides_mark_and_count_marks() {
    let marks = |of_client: u8, of_server: u8, told: &[u64]| {
        let mut all = handshake(7, 900);
        for passed in &mut all {
            passed.datagram.ecn = if passed.from_client {
                of_client
            } else {
                of_server
            };
            passed.frame.types = told.to_vec();
        }
        trace(all)
    };
    good(marked, &marks(2, 1, &[ACK_ECN]));
    bad(
        marked,
        &marks(0, 2, &[ACK_ECN]),
        "not so: the client marks its datagrams",
    );
    bad(
        marked,
        &marks(2, 3, &[ACK_ECN]),
        "not so: the server marks its datagrams; not so: nothing of the server met congestion",
    );
    bad(
        marked,
        &marks(2, 2, &[2]),
        "not so: the client counts the other's marks; not so: the server counts the other's marks",
    );
}

/// A transfer over these paths: a challenge on each but the first, and these answers.
fn moves(paths: &[&str], answers: &[&str]) -> Trace {
    let mut all = handshake(7, 900);
    let first = CLIENT.to_owned();
    for (index, path) in [&*first].iter().chain(paths).enumerate() {
        let short = || vec![packet(Kind::OneRtt, 0, 50)];
        all.push(sent(path, SERVER, short()));
        all.push(framed(sent(SERVER, path, short()), |it| {
            if index > 0 {
                it.types = vec![PATH_CHALLENGE];
                it.challenges = vec![format!("c{index}")];
            }
        }));
        // What comes later on that path has none.
        all.push(sent(SERVER, path, short()));
    }
    let mut whole = trace(all);
    for answer in answers {
        let answered = client(vec![packet(Kind::OneRtt, 0, 50)]);
        let answered = framed(answered, |it| it.responses = vec![(*answer).to_owned()]);
        whole.client.0.push(answered);
    }
    whole
}

#[test]
fn each_of_two_new_paths_is_challenged_and_answers() {
    let ports = ["127.0.0.3:2", "127.0.0.3:3"];
    good(ports_validated, &moves(&ports, &["c1", "c2"]));
    bad(
        ports_validated,
        &moves(&ports[..1], &["c1"]),
        "not so: the client's path has changed 2 times: 1",
    );
    bad(
        ports_validated,
        &moves(&ports, &["c1"]),
        "not so: the client answered every challenge",
    );
    let mut unchallenged = moves(&ports, &["c1", "c2"]);
    for passed in &mut unchallenged.server.0 {
        if passed.datagram.to.port() == 3 {
            passed.frame = Frame::default();
        }
    }
    bad(
        ports_validated,
        &unchallenged,
        "not so: the first packet to 127.0.0.3:3 has a PATH_CHALLENGE",
    );
    bad(
        ports_validated,
        &moves(&[], &[]),
        "not so: the client's path has changed 2 times: 0; not so: the client answered every challenge",
    );
}

#[test]
fn both_new_paths_have_addresses_of_their_own() {
    let answers = ["c1", "c2"];
    let addresses = moves(&["127.0.0.4:2", "127.0.0.5:3"], &answers);
    good(addresses_validated, &addresses);
    bad(
        addresses_validated,
        &moves(&["127.0.0.4:2", "127.0.0.4:3"], &answers),
        "not so: the client had three addresses: {127.0.0.3, 127.0.0.4}",
    );
}

#[test]
fn who_migrates_takes_another_id() {
    let migrates = |id: u8| {
        let mut all = moves(&["127.0.0.3:2"], &["c1"]);
        for passed in &mut all.client.0 {
            if passed.datagram.from.port() == 2 {
                passed.packets[0].to = vec![id];
            }
        }
        // Its answer is on the new path as well.
        let answer = all.client.0.last_mut().unwrap();
        answer.datagram.from = "127.0.0.3:2".parse().unwrap();
        answer.packets[0].to = vec![id];
        all
    };
    good(migrated, &migrates(8));
    bad(
        migrated,
        &migrates(9),
        "not so: another id to 127.0.0.1:443",
    );
    bad(
        migrated,
        &moves(&[], &[]),
        "not so: the client's path has changed 1 times: 0; not so: the client answered every challenge",
    );
}
