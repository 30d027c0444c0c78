//! The same of origins over HTTP/2, where requests to one origin share a connection: in the clear
//! and over TLS.

use bytes::Bytes;
use h2::Reason;
use http::HeaderMap;

use super::stage::{Fault, Outcome, beside, beside_all};
use crate::http::stand::{NAME, Stand, get, post, route};
use crate::support::h2::request;
use crate::support::http2_origin::{Asked, Http2Origin, Play, fields};
use crate::support::origin::When;
use crate::support::pki::Pki;

fn none() -> Play {
    Play::default()
}

fn long() -> Play {
    let length = fields(&[("content-length", "100")]);
    none().head(200, length).data("short")
}

fn short() -> Play {
    let length = fields(&[("content-length", "2")]);
    none().head(200, length).data("much more than it said")
}

fn two_lengths() -> Play {
    let lengths = fields(&[("content-length", "1"), ("content-length", "2")]);
    none().head(200, lengths).data("ab")
}

fn endless() -> Play {
    let value = "0123456789".repeat(100);
    let mut fields = HeaderMap::new();
    for _ in 0..100 {
        fields.append("x-field", value.parse().unwrap());
    }
    none().head(200, fields)
}

fn endless_trailers() -> Play {
    let mut fields = HeaderMap::new();
    for _ in 0..200 {
        fields.append("x-field", "value".parse().unwrap());
    }
    Play::ok("body").trailers(fields)
}

type Fall = fn(&Asked) -> Play;

const BAD: Outcome = Outcome::Status(502);

/// Faults of origins that hold their requests before, and what comes of them.
const FAULTS: [(Fall, &[Outcome]); 11] = [
    (|_| none().then_close(), &[BAD]),
    (|_| none().then_reset(Reason::INTERNAL_ERROR), &[BAD]),
    // Neither is a full origin's.
    (
        |_| none().then_reset(Reason::REFUSED_STREAM),
        &[BAD, Outcome::Status(503)],
    ),
    // What the edge has not passed on yet it can still take back.
    (
        |_| long().then_reset(Reason::INTERNAL_ERROR),
        &[Outcome::Cut, BAD],
    ),
    (|_| long().then_close(), &[Outcome::Cut, BAD]),
    (|_| long(), &[Outcome::Cut, BAD]),
    (|_| short(), &[Outcome::Cut, BAD]),
    (|_| two_lengths(), &[BAD]),
    (|_| endless(), &[BAD]),
    (|_| endless_trailers(), &[Outcome::Cut]),
    (
        |asked| match asked.connection % 3 {
            0 => Play::ok("up"),
            1 => none().then_close(),
            _ => none().then_reset(Reason::INTERNAL_ERROR),
        },
        &[Outcome::Status(200), BAD],
    ),
];

#[tokio::test]
async fn faults_of_streams_and_connections() {
    let mut origins = Vec::new();
    for (fall, outcomes) in FAULTS {
        let held = move |asked: &Asked| Play::default().held().and(fall(asked));
        origins.push((Http2Origin::start(held).await, outcomes));
    }
    let faults = origins.iter();
    let faults = faults.map(|(origin, outcomes)| (Fault::of_http2(origin), *outcomes));
    beside_all(&faults.collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn the_same_over_tls() {
    let pki = Pki::new();
    let leaf = pki.leaf(&["127.0.0.1"]);
    let tls = format!("ca = {:?}", pki.ca_file());
    let mut origins = Vec::new();
    for (fall, outcomes) in FAULTS {
        let held = move |asked: &Asked| Play::default().held().and(fall(asked));
        origins.push((Http2Origin::start_tls(&leaf, held).await, outcomes));
    }
    let faults = origins.iter();
    let faults = faults.map(|(origin, outcomes)| (Fault::of_http2(origin).tls(&tls), *outcomes));
    beside_all(&faults.collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn silence() {
    let pki = Pki::new();
    let tls = format!("ca = {:?}", pki.ca_file());
    let silent = |_: &Asked| none().held().then_silence();
    // A connection whose streams wait in vain is asked whether it is still there.
    let patience = "response_headers = \"5s\"";
    let origin = Http2Origin::start(silent).await;
    let fault = Fault::of_http2(&origin).timeouts(patience);
    beside(fault, &[Outcome::Status(504)]).await;
    let origin = Http2Origin::start_tls(&pki.leaf(&["127.0.0.1"]), silent).await;
    let fault = Fault::of_http2(&origin).tls(&tls).timeouts(patience);
    beside(fault, &[Outcome::Status(504)]).await;
}

#[tokio::test]
async fn bodies_that_nobody_takes() {
    let pki = Pki::new();
    let leaf = pki.leaf(&["127.0.0.1"]);
    let tls = format!("ca = {:?}", pki.ca_file());
    let refuses = |_: &Asked| none().held().then_reset(Reason::INTERNAL_ERROR);
    let answers = |_: &Asked| {
        let answer = Play::default().held().and(Play::status(413, "no"));
        answer.then_reset(Reason::NO_ERROR)
    };
    let outcomes = [Outcome::Status(413), BAD, Outcome::Cut];
    let when = When::AfterHead;
    for secure in [false, true] {
        let (refusing, answering) = match secure {
            false => (
                Http2Origin::start_when(when, refuses).await,
                Http2Origin::start_when(when, answers).await,
            ),
            true => (
                Http2Origin::start_tls_when(&leaf, when, refuses).await,
                Http2Origin::start_tls_when(&leaf, when, answers).await,
            ),
        };
        let large = |origin| {
            let fault = Fault::of_http2(origin).with_body(3_000_000);
            if secure { fault.tls(&tls) } else { fault }
        };
        beside_all(&[(large(&refusing), &[BAD]), (large(&answering), &outcomes)]).await;
    }
}

/// Requests under way on the connection that one of them lies on.
const NEIGHBOURS: usize = 20;

#[tokio::test]
async fn a_stream_that_lies_costs_no_other_stream_of_its_connection() {
    const HALF: &[u8] = &[b'u'; 20_000];
    let cut = "cut";
    // The last two make the edge doubt the connection, or its room: what is new may go elsewhere.
    let lies: [(&str, Play, &[&str]); 11] = [
        ("/long", long(), &[cut]),
        ("/short", short(), &[cut, "502"]),
        ("/lengths", two_lengths(), &["502"]),
        ("/endless", endless(), &["502"]),
        ("/trailers", endless_trailers(), &[cut]),
        (
            "/reset",
            none().then_reset(Reason::INTERNAL_ERROR),
            &["502"],
        ),
        ("/no-error", none().then_reset(Reason::NO_ERROR), &["502"]),
        // Nothing says that this is the whole of it.
        (
            "/half",
            none()
                .head(200, HeaderMap::new())
                .data("half")
                .then_reset(Reason::NO_ERROR),
            &[cut],
        ),
        (
            "/protocol",
            long().then_reset(Reason::PROTOCOL_ERROR),
            &[cut, "502"],
        ),
        ("/silence", none().then_silence(), &["504"]),
        (
            "/refused",
            none().then_reset(Reason::REFUSED_STREAM),
            &["502", "503"],
        ),
    ];
    let plays: Vec<_> = lies.iter().map(|lie| (lie.0, lie.1.clone())).collect();
    let answer = move |asked: &Asked| match asked.target.as_str() {
        "/neighbour" => none()
            .head(200, HeaderMap::new())
            .data("first ")
            .held()
            .data("second"),
        "/upload" => Play::ok(asked.body.clone()),
        "/good" => Play::ok("good"),
        target => {
            let mut plays = plays.iter();
            plays.find(|play| play.0 == target).unwrap().1.clone()
        }
    };
    for tls in [false, true] {
        let pki = Pki::new();
        let answer = answer.clone();
        let origin = match tls {
            false => Http2Origin::start(answer).await,
            true => Http2Origin::start_tls(&pki.leaf(&["127.0.0.1"]), answer).await,
        };
        let mut keys = format!("servers = [{:?}]", origin.url());
        if tls {
            keys += &format!(", tls = {{ ca = {:?} }}", pki.ca_file());
        }
        let keys = format!("origin = {{ {keys} }}\ntimeouts = {{ response_headers = \"500ms\" }}");
        let stand = Stand::start(&route("/", &keys)).await;
        let mut neighbours = stand.http2().await;
        for _ in 0..NEIGHBOURS {
            let ask = request("GET", &format!("https://{NAME}/neighbour"), Bytes::new());
            neighbours.begin_request(ask).await;
        }
        origin.until_heads(NEIGHBOURS).await;
        let mut uploads = stand.http1().await;
        let upload = post("/upload", &[HALF, HALF].concat());
        let (first, rest) = upload.split_at(upload.len() - HALF.len());
        uploads.send(first).await;
        origin.until_heads(NEIGHBOURS + 1).await;
        for (target, _, outcomes) in &lies {
            let mut client = stand.http1().await;
            client.send(get(target).as_bytes()).await;
            let outcome = match client.try_response(false).await {
                Ok(answer) => answer.status.to_string(),
                Err(_) => cut.to_owned(),
            };
            assert!(outcomes.contains(&outcome.as_str()), "{target}: {outcome}");
            if ["/silence", "/refused"].contains(target) {
                continue;
            }
            assert_eq!(stand.ask(&get("/good")).await.text(), "good", "{target}");
            let elsewhere = |asked: &Asked| asked.connection != 0;
            assert!(!origin.heads().iter().any(elsewhere), "{target}");
        }
        uploads.send(rest).await;
        assert!(uploads.response().await.body == [HALF, HALF].concat());
        origin.release();
        for _ in 0..NEIGHBOURS {
            assert_eq!(neighbours.next().await.unwrap().text(), "first second");
        }
        assert_eq!(stand.ask(&get("/good")).await.text(), "good");
    }
}
