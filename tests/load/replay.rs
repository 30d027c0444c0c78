//! `--replay`: finds servers that take a flight twice, and clears those that do not.

use std::net::SocketAddr;
use std::time::Duration;

use cutwater::load::plan::{Plan, Protocol, Target, Trust};
use cutwater::load::replay::{Finding, Order, Outcome, ReplayPlan, ReplayReport, run};
use http::Method;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CipherSuite, NamedGroup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::others::{nginx, s_server};
use crate::support::edge::Edge;
use crate::support::pki::Pki;
use crate::support::within;

pub const NAME: &str = "replay.example";
const PLAIN: &str = "plain.example";

/// Two listeners and three workers, a site with early data and one without.
pub async fn edge(pki: &Pki) -> Edge {
    edge_with(pki, "").await
}

/// With more lines for the first listener.
pub async fn edge_with(pki: &Pki, listener: &str) -> Edge {
    let (certificate, plain) = (pki.files(&[NAME]).toml(), pki.files(&[PLAIN]).toml());
    Edge::start(&format!(
        r#"
        [server]
        workers = 3
        [log]
        access = "stdout"
        [admin]
        address = "127.0.0.1:0"
        [[listen]]
        address = "127.0.0.1:0"
        name = "a"
        quic = true
        {listener}
        [[listen]]
        address = "127.0.0.1:0"
        name = "b"
        quic = true
        [[site]]
        names = ["{NAME}"]
        certificate = {certificate}
        early_data = true
        [[site.route]]
        path = "/safe"
        early_data = "safe"
        respond = {{ status = 200, body = "hello" }}
        [[site.route]]
        path = "/wait"
        respond = {{ status = 200, body = "waited" }}
        [[site]]
        names = ["{PLAIN}"]
        certificate = {plain}
        [[site.route]]
        path = "/"
        respond = {{ status = 200, body = "plain" }}
        "#
    ))
    .await
}

/// A plan for these addresses that believes the authority.
pub fn plan(pki: &Pki, url: &str, addresses: &[SocketAddr]) -> Plan {
    let mut plan = Plan::new(Target::parse(url).unwrap(), addresses[0]).unwrap();
    plan.connect = addresses.to_vec();
    let root = CertificateDer::from_pem_file(pki.ca_file()).unwrap();
    plan.tls.trust = Trust::Roots(vec![root]);
    plan
}

pub async fn replay(plan: Plan, replays: usize) -> ReplayReport {
    let report = run(ReplayPlan { plan, replays }).await;
    println!("{report}");
    report
}

/// How often each round's flight was accepted, the first one that was recorded for it.
pub fn accepted(report: &ReplayReport) -> Vec<u64> {
    assert!(report.rounds.iter().all(|round| round.flights == 1));
    report.rounds.iter().map(|round| round.accepted).collect()
}

/// What the server counts once it has counted so many: accepted and refused.
pub async fn counted(edge: &Edge, offers: f64) -> (f64, f64) {
    within("all offers", async {
        loop {
            let accepted = edge.metric("cutwater_early_data_accepted_total", &[]).await;
            let refused = edge.metric("cutwater_early_data_refused_total", &[]).await;
            if accepted + refused >= offers {
                return (accepted, refused);
            }
        }
    })
    .await
}

pub fn troubles(report: &ReplayReport) -> Vec<&str> {
    let troubles = report.rounds.iter();
    troubles
        .map(|round| round.trouble.as_deref().unwrap_or_default())
        .collect()
}

#[tokio::test]
async fn our_server_is_cleared_on_all_its_addresses() {
    let pki = Pki::new();
    let edge = edge(&pki).await;
    let both = [edge.listener("a"), edge.listener("b")];
    let report = replay(plan(&pki, "https://replay.example/safe", &both), 11).await;
    assert_eq!((report.finding, report.exit_code), (Finding::Clear, 0));
    assert_eq!(accepted(&report), [1, 1]);
    for (round, order) in report.rounds.iter().zip([Order::InTurn, Order::AtOnce]) {
        assert_eq!((round.order, round.sent), (order, 12));
        let sent: Vec<_> = round.addresses.iter().map(|each| each.sent).collect();
        assert_eq!(sent, [6, 6]);
        let full: u64 = round
            .addresses
            .iter()
            .filter_map(|each| each.outcomes.get(&Outcome::FullHandshake))
            .sum();
        assert_eq!(full, 11);
    }
    assert_eq!(report.rounds[0].original, Some(Outcome::Accepted));
    assert_eq!(report.rounds[1].original, None);
    // The server counts the same.
    assert_eq!(counted(&edge, 24.0).await, (2.0, 22.0));
}

#[tokio::test]
async fn a_route_that_waits_accepts_once_all_the_same() {
    let pki = Pki::new();
    let edge = edge(&pki).await;
    let mut plan = plan(&pki, "https://replay.example/wait", &[edge.listener("a")]);
    plan.request.method = Method::POST;
    plan.request.body = "amount=1".into();
    let report = replay(plan, 5).await;
    assert_eq!(report.finding, Finding::Clear);
    assert_eq!(accepted(&report), [1, 1]);
    assert_eq!(counted(&edge, 12.0).await, (2.0, 10.0));
}

#[tokio::test]
async fn acceptance_is_read_with_every_suite_group_and_protocol() {
    let pki = Pki::new();
    let edge = edge(&pki).await;
    let variants = [
        (CipherSuite::TLS13_AES_128_GCM_SHA256, NamedGroup::secp256r1),
        (CipherSuite::TLS13_AES_256_GCM_SHA384, NamedGroup::X25519),
        (
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
            NamedGroup::X25519MLKEM768,
        ),
    ];
    for (suite, group) in variants {
        let mut plan = plan(&pki, "https://replay.example/safe", &[edge.listener("a")]);
        plan.protocol = Protocol::Http2;
        plan.tls.suites = vec![suite];
        plan.tls.groups = vec![group];
        let report = replay(plan, 2).await;
        assert_eq!(accepted(&report), [1, 1], "{suite:?} {group:?}");
        let flight = report.rounds[0].flight.as_ref().unwrap();
        assert_eq!(flight.suite, format!("{suite:?}"));
        assert_eq!(flight.group, format!("{group:?}"));
    }
    // The early requests are real ones.
    let served = |line: &serde_json::Value| line["early"] == "served" && line["status"] == 200;
    let lines = edge.until_accesses(6, served).await;
    assert!(lines.iter().all(|line| line["path"] == "/safe"));
}

#[tokio::test]
async fn nodes_that_share_nothing_refuse_each_others_flights() {
    let pki = Pki::new();
    let (first, second) = (edge(&pki).await, edge(&pki).await);
    let both = [first.listener("a"), second.listener("a")];
    let report = replay(plan(&pki, "https://replay.example/safe", &both), 7).await;
    assert_eq!(report.finding, Finding::Clear);
    let of_second = |round: usize| report.rounds[round].addresses[1].accepted;
    assert_eq!((of_second(0), of_second(1)), (0, 0));
}

#[tokio::test]
async fn nginx_takes_a_flight_as_often_as_it_comes() {
    let pki = Pki::new();
    let server = "ssl_early_data on; return 200 'hello';";
    let Some(nginx) = nginx(&pki.files(&[NAME]), server).await else {
        return;
    };
    let plan = plan(&pki, "https://replay.example/", &[nginx.address]);
    let report = replay(plan, 4).await;
    assert_eq!(
        (report.finding, report.exit_code),
        (Finding::AcceptedTwice, 1)
    );
    assert_eq!(accepted(&report), [5, 5]);
}

#[tokio::test]
async fn openssl_is_found_without_its_protection_and_cleared_with_it() {
    let pki = Pki::new();
    let files = pki.files(&[NAME]);
    let open = ["-early_data", "-no_anti_replay"];
    let Some(server) = s_server(&files, &open).await else {
        return;
    };
    let report = replay(plan(&pki, "https://replay.example/", &[server.address]), 3).await;
    assert_eq!(
        (report.finding, report.exit_code),
        (Finding::AcceptedTwice, 1)
    );
    assert_eq!(accepted(&report), [4, 4]);

    let server = s_server(&files, &["-early_data"]).await.unwrap();
    let report = replay(plan(&pki, "https://replay.example/", &[server.address]), 3).await;
    assert_eq!((report.finding, report.exit_code), (Finding::Clear, 0));
    assert_eq!(accepted(&report), [1, 1]);
}

#[tokio::test]
async fn a_server_that_asks_for_another_group_is_tested_with_that() {
    let pki = Pki::new();
    let arguments = ["-early_data", "-no_anti_replay", "-groups", "P-384"];
    let Some(server) = s_server(&pki.files(&[NAME]), &arguments).await else {
        return;
    };
    let report = replay(plan(&pki, "https://replay.example/", &[server.address]), 1).await;
    assert_eq!(accepted(&report), [2, 2]);
    assert_eq!(report.rounds[0].flight.as_ref().unwrap().group, "secp384r1");
}

#[tokio::test]
async fn where_no_original_is_accepted_nothing_is_proved() {
    let pki = Pki::new();
    let edge = edge(&pki).await;
    let plain = plan(&pki, "https://plain.example/", &[edge.listener("a")]);
    let report = replay(plain, 3).await;
    assert_eq!(
        (report.finding, report.exit_code),
        (Finding::Inconclusive, 3)
    );
    for trouble in troubles(&report) {
        assert!(
            trouble.ends_with("its ticket allows no early data"),
            "{trouble}"
        );
    }

    // A request that does not fit.
    let mut long = plan(&pki, "https://replay.example/safe", &[edge.listener("a")]);
    long.request.body = vec![b'x'; 16_384].into();
    let report = replay(long, 1).await;
    assert_eq!(report.finding, Finding::Inconclusive);
    assert!(troubles(&report)[0].contains("the ticket allows 16384"));
}

#[tokio::test]
async fn what_goes_wrong_has_a_name() {
    let pki = Pki::new();
    let edge = edge(&pki).await;
    let address = edge.listener("a");
    let said = |report: &ReplayReport, what: &str| {
        assert_eq!(report.finding, Finding::Inconclusive);
        for trouble in troubles(report) {
            assert!(trouble.contains(what), "{trouble}");
        }
    };

    let stranger = Pki::new();
    let report = replay(
        plan(&stranger, "https://replay.example/safe", &[address]),
        1,
    )
    .await;
    said(&report, ": certificate: ");

    let mut believing = plan(&stranger, "https://replay.example/safe", &[address]);
    believing.tls.trust = Trust::Anyone;
    assert_eq!(replay(believing, 1).await.finding, Finding::Clear);

    let report = replay(plan(&pki, "https://nobody.example/", &[address]), 1).await;
    said(&report, ": alert: unrecognized_name");

    let mut exotic = plan(&pki, "https://replay.example/safe", &[address]);
    exotic.tls.groups = vec![NamedGroup::secp521r1];
    said(&replay(exotic, 1).await, "no replay test with secp521r1");

    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = gone.local_addr().unwrap();
    drop(gone);
    let report = replay(plan(&pki, "https://replay.example/safe", &[nobody]), 1).await;
    said(&report, ": refused");
}

/// A server that reads a little, answers with these bytes and closes; with none, it never answers.
async fn canned(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut silent = Vec::new();
        while let Ok((mut tcp, _)) = listener.accept().await {
            if answer.is_empty() {
                silent.push(tcp);
                continue;
            }
            let mut flight = vec![0; 16 << 10];
            let _ = tcp.read(&mut flight).await;
            let _ = tcp.write_all(answer).await;
        }
    });
    address
}

#[tokio::test]
async fn whatever_a_copy_meets_is_counted_under_its_name() {
    let pki = Pki::new();
    let edge = edge(&pki).await;
    let address = edge.listener("a");
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = gone.local_addr().unwrap();
    drop(gone);
    let unreachable = Outcome::Unreachable("refused".to_owned());
    let cases = [
        (nobody, unreachable, Finding::Inconclusive),
        (canned(b"").await, Outcome::Timeout, Finding::Inconclusive),
        (
            canned(b"HTTP/1.1 400 Bad Request\r\n\r\n").await,
            Outcome::Unreadable("not TLS"),
            Finding::Inconclusive,
        ),
        (
            canned(b"\x15\x03\x03\x00\x02\x02\x28").await,
            Outcome::Alert("handshake_failure"),
            Finding::Clear,
        ),
        (
            canned(b"\x16\x03\x03\x00").await,
            Outcome::Closed,
            Finding::Clear,
        ),
    ];
    for (other, outcome, finding) in cases {
        let mut plan = plan(&pki, "https://replay.example/safe", &[address, other]);
        if outcome == Outcome::Timeout {
            plan.timeouts.handshake = Duration::from_secs(2);
        }
        plan.timeouts.closing = Duration::from_millis(100);
        let report = replay(plan, 1).await;
        assert_eq!(report.finding, finding, "{outcome:?}");
        for round in &report.rounds {
            assert_eq!((round.accepted, round.addresses[0].accepted), (1, 1));
            assert_eq!(round.addresses[1].outcomes[&outcome], 1);
        }
    }
}

#[tokio::test]
async fn a_server_that_wants_another_share_does_not_accept() {
    let pki = Pki::new();
    let arguments = ["-early_data", "-no_anti_replay", "-groups", "P-384"];
    let Some(server) = s_server(&pki.files(&[NAME]), &arguments).await else {
        return;
    };
    let edge = edge(&pki).await;
    let both = [edge.listener("a"), server.address];
    let report = replay(plan(&pki, "https://replay.example/safe", &both), 1).await;
    assert_eq!(report.finding, Finding::Clear);
    let outcomes = &report.rounds[0].addresses[1].outcomes;
    assert_eq!(outcomes[&Outcome::HelloRetryRequest], 1);
}
