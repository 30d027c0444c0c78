//! Servers that break HTTP/3: what they do ends, and is counted under its name.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cutwater::body::Body;
use cutwater::handler::{EarlyRequest, HandlerError};
use cutwater::load::plan::{Amount, Mode, Plan, Protocol, Usage};
use cutwater::load::relay::DatagramRelay;
use cutwater::load::stats::{ErrorKind, Phase, Stats, TimedOut};
use cutwater::load::{Stop, run};
use cutwater::telemetry::labels::Alert;
use http::{Method, Response};
use http_body_util::BodyExt;
use quinn::{ReadError, RecvStream, SendStream, VarInt};
use tokio::net::UdpSocket;
use tokio::sync::{Notify, mpsc};

use super::rogue::{
    CONTROL, FRAME_UNEXPECTED, NO_ERROR, REQUEST_CANCELLED, REQUEST_REJECTED, Rogue, frame, head,
    plan_for, without_content,
};
use super::stand::{LONG, Stand, measure, measure_well};
use crate::support::within;

/// So many operations, and all of them failed for this one reason.
fn all(stats: &Stats, kind: ErrorKind, count: u64) {
    let counts = &stats.counts;
    assert_eq!(stats.errors.by_kind(), [(kind, count)], "{counts:?}");
    assert_eq!((counts.operations, counts.requests), (0, 0));
}

#[tokio::test]
async fn half_an_answer_and_none() {
    let trailers = frame(1, b"\0\0\x21a\x011");
    let [five, cut] = [frame(0, b"hello"), frame(0, b"hello, you")];
    let cases = [
        (
            "less content",
            [head(Some("10")), five.clone()].concat(),
            ErrorKind::HalfAnswer,
        ),
        ("nothing", Vec::new(), ErrorKind::NoAnswer),
        (
            "half a head",
            head(None)[..3].to_vec(),
            ErrorKind::HalfAnswer,
        ),
        ("no content", head(Some("10")), ErrorKind::HalfAnswer),
        (
            "less content and trailers",
            [head(Some("10")), five.clone(), trailers.clone()].concat(),
            ErrorKind::HalfAnswer,
        ),
        (
            "half a frame",
            [head(None), cut[..7].to_vec()].concat(),
            ErrorKind::HalfAnswer,
        ),
        (
            "more content",
            [head(Some("4")), five.clone()].concat(),
            ErrorKind::Http,
        ),
        (
            "content behind trailers",
            [head(None), trailers, five].concat(),
            ErrorKind::Http,
        ),
    ];
    for (case, answer, kind) in cases {
        let stats = measure(&plan_for(Rogue::default().says(answer))).await;
        assert_eq!(stats.errors.by_kind(), [(kind, 20)], "{case}");
        all(&stats, kind, 20);
    }
}

#[tokio::test]
async fn what_has_no_content_may_announce_some() {
    let cases = [
        (Method::HEAD, head(Some("10"))),
        (Method::GET, without_content(false, "10")),
        (Method::GET, without_content(true, "10")),
    ];
    for (method, answer) in cases {
        let mut plan = plan_for(Rogue::default().says(answer));
        plan.request.method = method;
        let stats = measure_well(&plan).await;
        assert_eq!((stats.counts.requests, stats.counts.body), (20, 0));
    }
}

/// The codes with which a client stops an answer and gives its request up.
async fn codes(send: SendStream, mut receive: RecvStream) -> (Option<u64>, Option<u64>) {
    // Nothing is read before that: the client would send more.
    let stopped = send.stopped().await.unwrap().map(VarInt::into_inner);
    loop {
        match receive.read_chunk(usize::MAX, true).await {
            Ok(Some(_)) => {}
            Ok(None) => return (stopped, None),
            Err(ReadError::Reset(code)) => return (stopped, Some(code.into_inner())),
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn what_is_given_up_is_reset_and_not_ended() {
    let whole = [head(Some("5")), frame(0, b"hello")].concat();
    let cancelled = Some(REQUEST_CANCELLED);
    for (first, expected) in [
        // Stalls.
        (Vec::new(), (cancelled, cancelled)),
        // Answers before it has all.
        (whole.clone(), (None, cancelled)),
    ] {
        let (tell, mut told) = mpsc::channel(1);
        let rogue = Rogue {
            window: 1000,
            ..Rogue::default()
        };
        let (says, whole) = (first.clone(), whole.clone());
        let address = rogue.serve(move |quic| {
            let (tell, first, second) = (tell.clone(), says.clone(), whole.clone());
            async move {
                let (mut send, receive) = quic.accept_bi().await.unwrap();
                if !first.is_empty() {
                    send.write_all(&first).await.unwrap();
                    send.finish().unwrap();
                }
                let _ = tell.send(codes(send, receive).await).await;
                // Another one keeps the connection until then.
                let (mut send, _receive) = quic.accept_bi().await.unwrap();
                send.write_all(&second).await.unwrap();
                send.finish().unwrap();
                quic.closed().await;
            }
        });
        let mut plan = plan_for(address);
        two_in_turn(&mut plan);
        plan.request.body = vec![b'x'; 10_000].into();
        let stats = measure(&plan).await;
        let codes = within("the end of the request", told.recv()).await;
        assert_eq!(codes, Some(expected));
        let late = u64::from(first.is_empty());
        assert_eq!(stats.errors.of(ErrorKind::Timeout(TimedOut::Request)), late);
        assert_eq!(stats.counts.operations, 2 - late);
        assert_eq!(stats.counts.connections, 1);
    }
}

/// Two uploads on one connection, of which the second begins when the first has had half of its time.
fn two_in_turn(plan: &mut Plan) {
    plan.usage = Usage::KeepAlive;
    (plan.connections, plan.streams) = (1, 2);
    plan.amount = Amount::Operations(2);
    plan.rate = Some(1.0);
    plan.timeouts.request = Duration::from_secs(2);
    plan.request.method = Method::POST;
}

/// Tells when it is dropped.
struct Tells(Arc<Notify>);

impl Drop for Tells {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tokio::test]
async fn an_upload_that_is_given_up_leaves_its_neighbours_alone() {
    let (asked, given_up, broke_off) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(Notify::new()),
        Arc::new(Notify::new()),
    );
    let stand = Stand::with_handler(move |request: EarlyRequest| {
        let number = asked.fetch_add(1, Ordering::Relaxed);
        let (given_up, broke_off) = (Arc::clone(&given_up), Arc::clone(&broke_off));
        async move {
            let body = request.confirmed().await?.into_body();
            if number == 0 {
                // Reads none of it as long as somebody waits for the answer, then all.
                let until = Arc::clone(&given_up);
                tokio::spawn(async move {
                    until.notified().await;
                    assert!(body.collect().await.is_err());
                    broke_off.notify_one();
                });
                let _tells = Tells(given_up);
                std::future::pending::<()>().await;
            } else {
                let _ = body.collect().await;
                broke_off.notified().await;
            }
            Ok::<_, HandlerError>(Response::new(Body::from("whole\n")))
        }
    });
    let mut plan = stand.plan();
    plan.protocol = Protocol::Http3;
    two_in_turn(&mut plan);
    plan.request.body = vec![b'x'; 300_000].into();
    let stats = measure(&plan).await;
    let late = ErrorKind::Timeout(TimedOut::Request);
    assert_eq!(stats.errors.by_kind(), [(late, 1)]);
    assert_eq!((stats.counts.operations, stats.counts.connections), (1, 1));
}

#[tokio::test]
async fn a_server_that_rejects_is_asked_three_times() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let address = Rogue::default().serve(move |quic| {
        let count = Arc::clone(&count);
        async move {
            while let Ok((mut send, mut receive)) = quic.accept_bi().await {
                count.fetch_add(1, Ordering::Relaxed);
                let _ = send.reset(REQUEST_REJECTED.into());
                let _ = receive.stop(REQUEST_REJECTED.into());
            }
        }
    });
    let mut plan = plan_for(address);
    plan.usage = Usage::KeepAlive;
    (plan.connections, plan.amount) = (1, Amount::Operations(1));
    let stats = measure(&plan).await;
    all(&stats, ErrorKind::Http3(REQUEST_REJECTED.into()), 1);
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    assert_eq!(stats.counts.connections, 3);
}

/// A server that says this GOAWAY when it is asked, and closes then or leaves it at that; from the
/// second connection on it answers.
fn leaves(from: u8, closes: bool) -> std::net::SocketAddr {
    let connections = Arc::new(AtomicUsize::new(0));
    Rogue::default().serve(move |quic| {
        let number = connections.fetch_add(1, Ordering::Relaxed);
        async move {
            let mut control = quic.open_uni().await.unwrap();
            control.write_all(&CONTROL).await.unwrap();
            while let Ok((mut send, mut receive)) = quic.accept_bi().await {
                let _ = receive.read_to_end(1000).await;
                if number > 0 {
                    send.write_all(&head(Some("0"))).await.unwrap();
                    send.finish().unwrap();
                    continue;
                }
                let before = quic.stats().frame_tx.stream;
                control.write_all(&frame(7, &[from])).await.unwrap();
                if closes {
                    // Once it has left: what is closed sends nothing else.
                    let sent = || quic.stats().frame_tx.stream;
                    while sent() == before {
                        tokio::task::yield_now().await;
                    }
                    quic.close(NO_ERROR.into(), b"");
                }
                quic.closed().await;
            }
        }
    })
}

#[tokio::test]
async fn what_a_goaway_passes_over_is_asked_elsewhere() {
    for closes in [false, true] {
        let mut plan = plan_for(leaves(0, closes));
        plan.usage = Usage::KeepAlive;
        (plan.connections, plan.amount) = (1, Amount::Operations(1));
        plan.timeouts.request = LONG;
        let stats = measure_well(&plan).await;
        assert_eq!(stats.counts.connections, 2, "closes: {closes}");
    }
}

#[tokio::test]
async fn what_a_goaway_leaves_to_be_answered_is_not_asked_again() {
    // Stream 0 is before it: the server may have done what was asked.
    let mut plan = plan_for(leaves(4, true));
    plan.usage = Usage::KeepAlive;
    (plan.connections, plan.amount) = (1, Amount::Operations(1));
    plan.timeouts.request = LONG;
    let stats = measure(&plan).await;
    all(&stats, ErrorKind::NoAnswer, 1);
    assert_eq!(stats.counts.connections, 1);
}

#[tokio::test]
async fn a_control_stream_that_breaks_the_protocol_is_named() {
    let address = Rogue::default().serve(|quic| async move {
        let mut control = quic.open_uni().await.unwrap();
        let asked = quic.accept_bi().await;
        // Content, where there can be none.
        let bytes = [&CONTROL[..], &frame(0, b"x")].concat();
        control.write_all(&bytes).await.unwrap();
        quic.closed().await;
        drop(asked);
    });
    let mut plan = plan_for(address);
    plan.timeouts.request = LONG;
    all(
        &measure(&plan).await,
        ErrorKind::Http3(FRAME_UNEXPECTED),
        20,
    );
}

#[tokio::test]
async fn an_early_request_waits_for_a_handshake_as_long_as_any() {
    let stand = Stand::start();
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let nobody = silent.local_addr().unwrap();
    let line = DatagramRelay::to(stand.address()).bind().await.unwrap();
    let mut plan = stand.plan();
    plan.protocol = Protocol::Http3;
    plan.mode = Mode::Early;
    plan.connect = vec![line.address()];
    (plan.connections, plan.amount) = (1, Amount::Operations(1));
    plan.timeouts.handshake = Duration::from_millis(500);
    plan.timeouts.request = LONG;
    let stats = tokio::task::spawn_blocking(move || {
        run(&plan, &Stop::default(), |progress| {
            if progress.phase == Phase::Running && progress.operations == 0 {
                line.retarget(nobody);
            }
        })
    });
    let stats = within("the run", stats).await.unwrap().unwrap();
    all(&stats, ErrorKind::Timeout(TimedOut::Handshake), 1);
    assert!(stats.latencies.failed.max() < LONG);
}

#[tokio::test]
async fn connections_for_tickets_count_their_bytes() {
    let rogue = Rogue {
        tickets: 0,
        ..Rogue::default()
    };
    let mut plan = plan_for(rogue.says(head(Some("0"))));
    plan.mode = Mode::Resumed;
    plan.timeouts.closing = Duration::from_millis(10);
    let stats = measure(&plan).await;
    all(&stats, ErrorKind::NoTicket, 20);
    assert_eq!(stats.counts.collecting, 24);
    // RFC 9000 §14.1: of either side one datagram at least has 1200 bytes.
    assert!(stats.counts.sent > 24 * 1200, "{:?}", stats.counts);
    assert!(stats.counts.received > 24 * 1200, "{:?}", stats.counts);
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_says_so_instead_of_giving_a_ticket() {
    let rogue = Rogue {
        verifies: true,
        ..Rogue::default()
    };
    let mut plan = plan_for(rogue.says(head(Some("0"))));
    plan.mode = Mode::Resumed;
    let alert = Alert::from(rustls::AlertDescription::CertificateRequired);
    all(&measure(&plan).await, ErrorKind::Alert(alert), 20);
}
