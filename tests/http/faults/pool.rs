//! A faulty server inside a pool costs the pool a few requests at most.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Request;

use crate::http::stand::{GENERAL, NAME, Stand, get, post, route, site};
use crate::support::edge::Start;
use crate::support::h2::request;
use crate::support::origin::{Asked, Origin, Reply};
use crate::support::pki::Pki;

const REQUESTS: usize = 1000;
/// Clients that ask at once.
const CLIENTS: usize = 4;

/// An edge with this pool behind everything.
async fn stand(keys: &str, servers: &[&Origin]) -> Stand {
    let pki = Pki::new();
    let config = config(&pki, keys, servers);
    let edge = Start::with(&config).run().await;
    Stand { pki, edge }
}

fn config(pki: &Pki, keys: &str, servers: &[&Origin]) -> String {
    let servers: Vec<String> = servers.iter().map(|origin| origin.url()).collect();
    format!(
        "{GENERAL}[origin.app]\nservers = {servers:?}\n{keys}\n{}{}",
        site(pki, &[NAME]),
        route("/", "origin = \"app\"")
    )
}

fn ask(method: &str) -> Request<bytes::Bytes> {
    let body = if method == "POST" { "x" } else { "" };
    request(method, &format!("https://{NAME}/"), body)
}

/// Asks a thousand times; how many answers were no good.
async fn errors(stand: &Stand, method: &'static str) -> usize {
    let mut running = Vec::new();
    for _ in 0..CLIENTS {
        let mut h2 = stand.http2().await;
        running.push(tokio::spawn(async move {
            let mut errors = 0;
            for _ in 0..REQUESTS / CLIENTS {
                let answer = h2.fetch(ask(method)).await;
                errors += usize::from(!answer.is_ok_and(|answer| answer.status == 200));
            }
            errors
        }));
    }
    let mut errors = 0;
    for running in running {
        errors += running.await.unwrap();
    }
    errors
}

async fn good() -> Origin {
    Origin::start(|_| Reply::ok("good")).await
}

#[tokio::test]
async fn a_faulty_server_is_out_after_a_few_requests() {
    type Fault = fn(&Asked) -> Reply;
    // What may be asked of another server costs nothing at all.
    let faults: [(Fault, bool); 5] = [
        (|_| Reply::close(), true),
        (|_| Reply::default().then_reset(), true),
        (
            |_| Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbad").then_close(),
            false,
        ),
        (
            |_| Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n").then_close(),
            false,
        ),
        (|_| Reply::raw("garbage\r\n\r\n").then_close(), false),
    ];
    for (fault, repeatable) in faults {
        let bad = Origin::start(fault).await;
        let (one, two) = (good().await, good().await);
        let stand = stand(
            "ejection = { failures = 3, time = \"1h\" }",
            &[&bad, &one, &two],
        )
        .await;
        let errors = errors(&stand, "GET").await;
        // Three in a row, and those that were under way meanwhile.
        let most = if repeatable { 0 } else { 3 + CLIENTS };
        assert!(errors <= most, "{errors} errors");
        assert!(
            bad.heads().len() <= 3 + CLIENTS,
            "{} requests",
            bad.heads().len()
        );
        // Told with the next tick; the requests may take less.
        let out = ["state=\"ejected\""];
        stand
            .edge
            .until_metric("cutwater_origin_servers", &out, 1.0)
            .await;
    }
}

#[tokio::test]
async fn requests_that_may_not_run_twice_are_never_sent_twice() {
    let bad = Origin::start(|_| Reply::close()).await;
    let one = good().await;
    let stand = stand("ejection = { failures = 3, time = \"1h\" }", &[&bad, &one]).await;
    let errors = errors(&stand, "POST").await;
    assert_eq!(errors, bad.requests().len());
    assert_eq!(REQUESTS, bad.requests().len() + one.requests().len());
}

#[tokio::test]
async fn when_all_servers_fail_the_budget_bounds_what_is_sent_again() {
    let (one, two) = (
        Origin::start(|_| Reply::close()).await,
        Origin::start(|_| Reply::close()).await,
    );
    let keys = "ejection = \"off\"\nretries = { attempts = 5, budget = 20, min = 0 }";
    let stand = stand(keys, &[&one, &two]).await;
    assert_eq!(errors(&stand, "GET").await, REQUESTS);
    let sent = one.heads().len() + two.heads().len();
    assert_eq!(sent, REQUESTS + REQUESTS / 5);
    let over = stand
        .edge
        .metric("cutwater_origin_retries_over_budget_total", &[]);
    assert_eq!(over.await, (REQUESTS - REQUESTS / 5) as f64);
}

#[tokio::test]
async fn a_flapping_server_is_out_for_longer_each_time() {
    let bad = Origin::start(|_| Reply::close()).await;
    let one = good().await;
    let keys = "ejection = { failures = 1, time = \"100ms\", max_time = \"1h\" }";
    let stand = stand(keys, &[&bad, &one]).await;
    let mut h2 = stand.http2().await;
    for time in ["time=100ms", "time=200ms", "time=400ms", "time=800ms"] {
        while !stand.edge.text().contains(time) {
            assert_eq!(h2.fetch(ask("GET")).await.unwrap().status, 200);
        }
        assert!(stand.edge.text().contains("origin server ejected"));
    }
    stand.edge.until_text("origin server is back").await;
}

#[tokio::test]
async fn checks_take_an_ill_server_out_and_bring_it_back() {
    let ill = Arc::new(AtomicBool::new(true));
    let now = Arc::clone(&ill);
    let bad = Origin::start(move |_| match now.load(Ordering::SeqCst) {
        true => Reply::close(),
        false => Reply::ok("good"),
    })
    .await;
    let one = good().await;
    let check =
        "health = { path = \"/healthz\", interval = \"1ms\", jitter = \"0s\", unhealthy = 2 }";
    let stand = stand(&format!("ejection = \"off\"\n{check}"), &[&bad, &one]).await;
    stand.edge.until_text("origin server is unhealthy").await;
    assert_eq!(errors(&stand, "POST").await, 0);
    ill.store(false, Ordering::SeqCst);
    stand
        .edge
        .until_text("origin server is healthy again")
        .await;
    assert_eq!(errors(&stand, "POST").await, 0);
    let asked = |origin: &Origin| {
        let posts = origin.requests();
        posts
            .iter()
            .filter(|asked| asked.method() == "POST")
            .count()
    };
    // All of the first thousand went to the other one.
    assert!(asked(&bad) > REQUESTS / 4, "{}", asked(&bad));
    assert_eq!(asked(&one) + asked(&bad), 2 * REQUESTS);
}

#[tokio::test]
async fn without_a_healthy_server_the_answer_is_503_at_once() {
    let bad = Origin::start(|_| Reply::close()).await;
    let keys = "health = { path = \"/\", interval = \"1ms\", unhealthy = 1 }\n\
                [error_pages]\n503 = { body = \"come back later\" }";
    let stand = stand(keys, &[&bad]).await;
    stand.edge.until_text("origin server is unhealthy").await;
    let answer = stand.ask(&get("/")).await;
    assert_eq!((answer.status, answer.text()), (503, "come back later"));
    let line = stand.edge.until_access(|_| true).await;
    assert_eq!(line["origin_error"], "no_server");
    assert_eq!(line["origin_tries"], 0);
    let label = &["error=\"no_server\""];
    assert_eq!(
        stand
            .edge
            .metric("cutwater_origin_errors_total", label)
            .await,
        1.0
    );
}

#[tokio::test]
async fn a_reload_keeps_what_is_known_of_servers() {
    let bad = Origin::start(|_| Reply::close()).await;
    let (one, two) = (good().await, good().await);
    let keys = "ejection = { failures = 2, time = \"1h\" }";
    let stand = stand(keys, &[&bad, &one]).await;
    assert_eq!(errors(&stand, "GET").await, 0);
    let asked = bad.heads().len();
    let config = config(&stand.pki, keys, &[&bad, &one, &two]);
    stand.edge.write_config(&config);
    stand.edge.signal("HUP").await;
    let usable = async || {
        stand
            .edge
            .metric("cutwater_origin_server_usable", &["app"])
            .await
    };
    while usable().await < 2.0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(errors(&stand, "GET").await, 0);
    assert_eq!(bad.heads().len(), asked);
    assert!(!two.heads().is_empty());
}

#[tokio::test]
async fn a_server_has_no_more_requests_than_it_may_and_the_others_wait() {
    let one = Origin::start(|asked| match asked.target() {
        "/held" => Reply::default().held().and(Reply::ok("held")),
        _ => Reply::ok("good"),
    })
    .await;
    let pki = Pki::new();
    let keys = "limits = { connections = 2, queue = 2 }\ntimeouts = { queue = \"10s\" }";
    let config = config(&pki, keys, &[&one]).replace("workers = 1", "workers = 2");
    let edge = Start::with(&config).run().await;
    let stand = Stand { pki, edge };
    // Two under way, whichever workers they came to, two that wait, and one too many.
    let mut clients = Vec::new();
    for number in 0..4 {
        let mut client = stand.http1().await;
        client.send(get("/held").as_bytes()).await;
        clients.push(client);
        match number {
            0 | 1 => drop(one.until_heads(number + 1).await),
            _ => {
                let queued = async || stand.edge.metric("cutwater_origin_queued", &[]).await;
                while queued().await < (number - 1) as f64 {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
    let answer = stand.ask(&get("/")).await;
    assert_eq!(answer.status, 503);
    let full = stand.edge.until_access(|line| line["status"] == 503).await;
    assert_eq!(full["origin_error"], "queue_full");
    assert_eq!(one.heads().len(), 2);
    one.release();
    for client in &mut clients {
        assert_eq!(client.response().await.text(), "held");
    }
    let waited = |line: &serde_json::Value| line["queue_ms"].is_number();
    let waited = stand.edge.until_accesses(2, waited).await;
    assert!(
        waited.iter().all(|line| line["path"] == "/held"),
        "{waited:#?}"
    );
    // With four clients of two workers nobody finds the queue full.
    assert_eq!(errors(&stand, "GET").await, 0);
}

#[tokio::test]
async fn a_cookie_keeps_its_server() {
    let (one, two, three) = (good().await, good().await, good().await);
    let servers = [&one, &two, &three];
    let stand = stand("balance = { hash = \"cookie:cart\" }", &servers).await;
    let mut h2 = stand.http2().await;
    for _ in 0..3 {
        for cart in 0..20 {
            let mut request = ask("GET");
            let cookie = format!("cart={cart}").parse().unwrap();
            request.headers_mut().insert("cookie", cookie);
            assert_eq!(h2.fetch(request).await.unwrap().status, 200);
        }
    }
    let carts = |origin: &Origin| {
        let requests = origin.requests();
        let mut carts: Vec<String> = requests
            .iter()
            .map(|asked| asked.field("cookie").unwrap().to_owned())
            .collect();
        assert_eq!(carts.len() % 3, 0);
        carts.sort();
        carts.dedup();
        assert_eq!(carts.len() * 3, requests.len());
        carts.len()
    };
    assert_eq!(carts(&one) + carts(&two) + carts(&three), 20);
    // A body makes no difference.
    let posted = post("/", b"x");
    let mut client = stand.http1().await;
    client.send(&posted).await;
    assert_eq!(client.response().await.status, 200);
}
