//! R7: refused early data of every shape is skipped, and what is sent again is answered.

use rustls::{AlertDescription, CipherSuite, HandshakeKind, NamedGroup};

use crate::early::scene::{GET, NAME, PLAIN, Scene, early_at, get_of};
use crate::support::client::{Client, Ending};
use crate::support::edge::Edge;
use crate::support::hello::unreadable_early_record;
use crate::support::setup::ClientSetup;

/// Why the early data is refused.
#[derive(Clone, Copy, Debug)]
enum Why {
    UnknownTicket,
    Retry,
    OtherAlpn,
    SiteOff,
}

const WHYS: [Why; 4] = [Why::UnknownTicket, Why::Retry, Why::OtherAlpn, Why::SiteOff];

impl Why {
    fn reason(self) -> &'static str {
        match self {
            Self::UnknownTicket => "unknown_ticket",
            Self::Retry => "hrr",
            Self::OtherAlpn => "resumed_refused",
            Self::SiteOff => "site_off",
        }
    }

    fn kind(self) -> HandshakeKind {
        match self {
            Self::UnknownTicket => HandshakeKind::Full,
            _ => HandshakeKind::Resumed,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::SiteOff => PLAIN,
            _ => NAME,
        }
    }

    /// What the client offers when it comes back.
    fn setup(self, setup: &ClientSetup) -> ClientSetup {
        let setup = setup.clone();
        match self {
            // Its answer is asked for in HTTP/1.1 all the same: no ALPN means that.
            Self::OtherAlpn => setup.alpn(&[]),
            Self::Retry => setup.groups(&[NamedGroup::MLKEM1024, NamedGroup::X25519]),
            _ => setup,
        }
    }

    /// A client with a ticket whose early data will be refused, none of it written yet.
    async fn client(self, scene: &Scene, tickets: &Edge) -> Client {
        let issuer = match self {
            Self::UnknownTicket => tickets,
            _ => &scene.edge,
        };
        let setup = scene.setup.clone().fresh();
        Client::fetch_ticket(issuer.address(), self.name(), &setup).await;
        setup.tickets().pretend_early_data_size(Some(100_000));
        let setup = self.setup(&setup);
        Client::connect(scene.edge.address(), self.name(), &setup).await
    }
}

/// Records of early data, by their bytes of plaintext.
fn shapes() -> Vec<Vec<usize>> {
    let mut with_a_rest = vec![100; 163];
    with_a_rest.push(84);
    vec![
        vec![1],
        vec![16_384],
        vec![16_366],
        vec![16_367],
        vec![16_368],
        with_a_rest,
        vec![100; 164],
        vec![100; 60],
        vec![16_300, 84],
        vec![8_192, 8_192],
        vec![1; 900],
        // As long as a Finished.
        vec![36; 100],
        vec![52; 100],
    ]
}

fn write_early(client: &mut Client, shape: &[usize]) {
    for size in shape {
        client.early(&vec![b'x'; *size]);
    }
}

/// After the handshake: what the connection was, an answer, and a clean end.
async fn goes_on(scene: &Scene, client: &mut Client, why: Why, what: &str) {
    assert!(!client.early_accepted(), "{why:?}, {what}");
    assert_eq!(client.kind(), Some(why.kind()), "{why:?}, {what}");
    client.send(&get_of(why.name())).await;
    let answer = client.try_response(false).await;
    let answer = answer.unwrap_or_else(|ending| panic!("{why:?}, {what}: {ending:?}"));
    assert_eq!(answer.status, 200, "{why:?}, {what}");
    client.close_notify().await;
    assert_eq!(client.ending().await, Ending::CloseNotify);
    let line = scene.line(client).await;
    assert_eq!(line["early"], format!("refused_{}", why.reason()), "{what}");
    assert_eq!(line["end"], "clean", "{why:?}, {what}");
}

#[tokio::test]
async fn every_shape_is_skipped_for_every_reason() {
    let scene = Scene::start().await;
    let tickets = scene.twin().await;
    for why in WHYS {
        for (number, shape) in shapes().iter().enumerate() {
            let mut client = why.client(&scene, &tickets).await;
            write_early(&mut client, shape);
            client.handshake().await.unwrap_or_else(|ending| {
                panic!("{why:?}, shape {number}: {ending:?}");
            });
            goes_on(&scene, &mut client, why, &format!("shape {number}")).await;
        }
        assert_eq!(scene.refused(why.reason()).await, shapes().len() as f64);
    }
    scene.settle(0).await;
}

#[tokio::test]
async fn refused_data_finished_and_a_request_may_come_in_one_write() {
    let scene = Scene::start().await;
    let tickets = scene.twin().await;
    for why in WHYS {
        if matches!(why, Why::Retry) {
            continue;
        }
        for (number, shape) in shapes().iter().enumerate() {
            let mut client = why.client(&scene, &tickets).await;
            write_early(&mut client, shape);
            let flight = client.take_pending();
            let at = early_at(&flight);
            client.hold_finished();
            client.send_raw(&flight[..at]).await;
            client.server_flight().await.unwrap();
            client.queue(&get_of(why.name()));
            let rest = [&flight[at..], &client.take_pending()].concat();
            client.send_raw(&rest).await;
            let answer = client.try_response(false).await;
            let answer = answer.unwrap_or_else(|end| panic!("{why:?}, shape {number}: {end:?}"));
            assert_eq!(answer.status, 200);
            client.close_notify().await;
            assert_eq!(scene.line(&client).await["end"], "clean");
        }
    }
    scene.settle(0).await;
}

#[tokio::test]
async fn refused_data_may_come_byte_by_byte() {
    let scene = Scene::start().await;
    let tickets = scene.twin().await;
    for why in WHYS {
        for shape in [vec![3_000], vec![100; 20]] {
            let mut client = why.client(&scene, &tickets).await;
            write_early(&mut client, &shape);
            let flight = client.take_pending();
            client.send_raw_in_pieces(&flight, 1).await;
            client.handshake().await.unwrap();
            goes_on(&scene, &mut client, why, "byte by byte").await;
        }
    }
    scene.settle(0).await;
}

#[tokio::test]
async fn an_exhausted_budget_still_lets_the_finished_in_byte_by_byte() {
    let scene = Scene::start().await;
    let tickets = scene.twin().await;
    let mut client = Why::UnknownTicket.client(&scene, &tickets).await;
    write_early(&mut client, &[16_384]);
    client.send_pending().await;
    client.hold_finished();
    client.server_flight().await.unwrap();
    client.queue(GET);
    let rest = client.take_pending();
    client.send_raw_in_pieces(&rest, 1).await;
    assert_eq!(client.response().await.text(), "hello");
    client.close_notify().await;
    assert_eq!(scene.line(&client).await["end"], "clean");
    scene.settle(0).await;
}

#[tokio::test]
async fn past_the_limit_there_is_a_fatal_alert_and_no_panic() {
    let scene = Scene::start().await;
    let tickets = scene.twin().await;
    let mut twenty_thousand = vec![16_384];
    twenty_thousand.push(3_616);
    let shapes = [
        vec![10; 1_100],
        twenty_thousand,
        vec![1_000; 20],
        vec![16_384, 16_384],
        vec![16_384; 5],
    ];
    for why in WHYS {
        for (number, shape) in shapes.iter().enumerate() {
            let mut client = why.client(&scene, &tickets).await;
            write_early(&mut client, shape);
            client.hold_finished();
            client.send_pending().await;
            let ending = client.ending().await;
            assert!(
                matches!(
                    ending,
                    Ending::Alert(
                        AlertDescription::UnexpectedMessage | AlertDescription::BadRecordMac
                    )
                ),
                "{why:?}, shape {number}: {ending:?}"
            );
            client.shutdown_write().await;
            assert_eq!(scene.line(&client).await["end"], "alert");
        }
    }
    scene.settle(0).await;
}

#[tokio::test]
async fn garbage_in_place_of_refused_data_is_skipped_like_it() {
    let scene = Scene::start().await;
    let tickets = scene.twin().await;
    let mut client = Why::UnknownTicket.client(&scene, &tickets).await;
    client.send_pending().await;
    for size in [0, 1, 35, 36, 37, 51, 52, 53, 112, 5_000] {
        client.send_raw(&unreadable_early_record(size)).await;
    }
    client.handshake().await.unwrap();
    goes_on(&scene, &mut client, Why::UnknownTicket, "garbage").await;
    scene.settle(0).await;
}

#[tokio::test]
async fn a_finished_split_after_refused_data_ends_in_no_panic() {
    let mut scene = Scene::start().await;
    let quick = "early_data = true\ntimeouts = { handshake = \"500ms\" }\n";
    scene.config = scene.config.replace("early_data = true\n", quick);
    scene.restart().await;
    let tickets = scene.twin().await;
    for early in [0, 1, 4, 100, 600] {
        let setup = scene.setup.clone().fresh();
        Client::fetch_ticket(tickets.address(), NAME, &setup).await;
        let setup = setup.fragment(27);
        let mut client = Client::connect(scene.edge.address(), NAME, &setup).await;
        for _ in 0..early {
            client.early(&[b'x'; 27]);
        }
        client.send_pending().await;
        // A record shorter than a Finished may be a part of one, or early data. Where it was shown
        // to rustls there is an alert, else the handshake's deadline.
        client.server_flight().await.unwrap();
        client.send(GET).await;
        let ending = client.ending().await;
        assert!(
            matches!(ending, Ending::Alert(_) | Ending::Truncated | Ending::Reset),
            "{early} records: {ending:?}"
        );
        client.shutdown_write().await;
        let end = scene.line(&client).await["end"].clone();
        assert!(end == "alert" || end == "timeout", "{early} records: {end}");
    }
    scene.settle(0).await;
}

#[tokio::test]
async fn whatever_suite_and_protocol_it_is_known_what_was_accepted() {
    let scene = Scene::start().await;
    let tickets = scene.twin().await;
    let suites = [
        CipherSuite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::TLS13_AES_256_GCM_SHA384,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    for suite in suites {
        for alpn in [&["http/1.1"][..], &["h2", "http/1.1"], &[]] {
            for accepted in [true, false] {
                let setup = scene.setup.clone().fresh().suites(&[suite]).alpn(alpn);
                let issuer = if accepted { &scene.edge } else { &tickets };
                Client::fetch_ticket(issuer.address(), NAME, &setup).await;
                let mut client = Client::connect(scene.edge.address(), NAME, &setup).await;
                for _ in 0..40 {
                    // HTTP/2 takes this for no preface; what counts is TLS.
                    client.early(&[b'x'; 36]);
                    client.early(&[b'x'; 52]);
                }
                client.handshake().await.unwrap();
                assert_eq!(client.early_accepted(), accepted);
                client.shutdown_write().await;
                let line = scene.line(&client).await;
                let early = if accepted {
                    "accepted"
                } else {
                    "refused_unknown_ticket"
                };
                assert_eq!(line["early"], early, "{suite:?}, {alpn:?}");
                assert_eq!(line["alert_sent"], serde_json::Value::Null);
                assert!(
                    line["handshake_ms"].is_number(),
                    "{suite:?}, {alpn:?}: {line}"
                );
            }
        }
    }
    assert_eq!(scene.metric("early_data_accepted_total", &[]).await, 9.0);
    assert_eq!(scene.refused("unknown_ticket").await, 9.0);
    scene.settle(0).await;
}
