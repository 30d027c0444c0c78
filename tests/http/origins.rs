//! Forwarding as a client sees it, and as an origin does.

use std::net::Ipv4Addr;
use std::time::Duration;

use h2::Reason;
use tokio::net::TcpListener;

use crate::http::stand::{NAME, Stand, forward, get, post, resident, route};
use crate::support::client::Ending;
use crate::support::h2::request;
use crate::support::origin::{Origin, Reply};

fn url(path: &str) -> String {
    format!("https://{NAME}{path}")
}

#[tokio::test]
async fn fields_of_the_connection_stay_on_it() {
    let origin = Origin::start(|_| {
        let fields = [
            ("connection", "x-private, close"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("early-data", "1"),
            ("x-public", "2"),
        ];
        Reply::full(200, &fields, "ok")
    })
    .await;
    let stand = Stand::start(&forward("/", &origin)).await;
    let sent = "GET /x HTTP/1.1\r\nHost: EXAMPLE.com:8443\r\nConnection: x-hop, te, host\r\n\
        x-hop: 1\r\nkeep-alive: x\r\nproxy-connection: x\r\nte: trailers, deflate\r\n\
        upgrade: websocket\r\nx-kept: 3\r\nx-kept: 4\r\nx-forwarded-for: 6.6.6.6\r\n\
        x-forwarded-proto: http\r\nx-forwarded-host: evil\r\nforwarded: for=6.6.6.6\r\n\r\n";
    let answer = stand.ask(sent).await;
    assert_eq!(answer.text(), "ok");
    assert_eq!(answer.header("x-public"), Some("2"));
    for gone in [
        "x-private",
        "keep-alive",
        "proxy-connection",
        "early-data",
        "connection",
    ] {
        assert_eq!(answer.header(gone), None, "{gone}");
    }
    let asked = &origin.requests()[0];
    assert_eq!(asked.field("host"), Some("EXAMPLE.com:8443"));
    assert_eq!(asked.fields("x-kept"), ["3", "4"]);
    for gone in [
        "x-hop",
        "keep-alive",
        "proxy-connection",
        "upgrade",
        "expect",
    ] {
        assert_eq!(asked.field(gone), None, "{gone}");
    }
    assert_eq!(asked.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(asked.field("x-forwarded-proto"), Some("https"));
    assert_eq!(asked.field("x-forwarded-host"), Some("EXAMPLE.com:8443"));
    assert!(
        asked
            .fields("forwarded")
            .iter()
            .all(|value| !value.contains("6.6.6.6"))
    );

    let mut client = stand.http2().await;
    let mut request = request("GET", &url("/y"), "");
    request
        .headers_mut()
        .insert("te", "trailers".parse().unwrap());
    for part in ["a=1", "b=2"] {
        request
            .headers_mut()
            .append("cookie", part.parse().unwrap());
    }
    let answer = client.fetch(request).await.unwrap();
    assert_eq!(answer.headers.get("x-private"), None);
    let asked = &origin.requests()[1];
    assert_eq!(asked.field("host"), Some(NAME));
    // RFC 9113 §8.2.3.
    assert_eq!(asked.field("cookie"), Some("a=1; b=2"));

    // HTTP/1.0 may come without Host: then the name that chose the site stands for it.
    stand.ask("GET /z HTTP/1.0\r\n\r\n").await;
    assert_eq!(origin.requests()[2].field("host"), Some(NAME));
}

#[tokio::test]
async fn one_origin_connection_serves_one_request_after_the_other() {
    let origin = Origin::echo().await;
    let stand = Stand::start(&forward("/", &origin)).await;
    for _ in 0..3 {
        assert_eq!(stand.status_of("/").await, 200);
    }
    assert_eq!(origin.connections(), 1);
    origin.close_idle();
    origin.until_open(0).await;
    assert_eq!(stand.status_of("/").await, 200);
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn no_more_idle_connections_are_kept_than_the_limit_says() {
    let origin = Origin::start(|_| Reply::default().held().and(Reply::ok("ok"))).await;
    let keys = format!(
        "origin = {{ servers = [{:?}], limits = {{ idle = 1 }} }}",
        origin.url()
    );
    let stand = Stand::start(&route("/", &keys)).await;
    let mut clients = Vec::new();
    for count in 1..=3 {
        let mut client = stand.http1().await;
        client.send(get("/").as_bytes()).await;
        origin.until_heads(count).await;
        clients.push(client);
    }
    assert_eq!(origin.open(), 3);
    origin.release();
    for mut client in clients {
        assert_eq!(client.response().await.status, 200);
    }
    origin.until_open(1).await;
    assert_eq!(stand.status_of("/").await, 200);
    assert_eq!((origin.open(), origin.connections()), (1, 3));
}

#[tokio::test]
async fn a_reused_connection_that_closes_costs_an_idempotent_request_nothing() {
    let origin = Origin::start(|asked| match asked.nth {
        0 => Reply::ok("ok"),
        _ => Reply::close(),
    })
    .await;
    let stand = Stand::start(&forward("/", &origin)).await;
    for _ in 0..3 {
        assert_eq!(stand.status_of("/").await, 200);
    }
    assert_eq!(origin.heads().len(), 5);
    // A request with a body was perhaps acted upon: it is not sent again.
    let mut client = stand.http1().await;
    client.send(&post("/", b"x")).await;
    assert_eq!(client.response().await.status, 502);
    assert_eq!(origin.heads().len(), 6);
}

#[tokio::test]
async fn errors_of_origins_are_told_apart() {
    let origin = Origin::start(|asked| match asked.target() {
        "/close" => Reply::close(),
        "/garbage" => Reply::raw("garbage\r\n\r\n").then_close(),
        "/reset" => Reply::default().then_reset(),
        "/half" => Reply::raw("HTTP/1.1 200 OK\r\nx: ").then_close(),
        "/two-lengths" => {
            Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab")
        }
        "/hints" => {
            Reply::raw("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
        }
        "/500" => Reply::status(500, "its own"),
        _ => Reply::silence(),
    })
    .await;
    // Nobody listens where somebody did.
    let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let routes = route("/gone", &format!("origin = [\"http://{address}\"]"))
        + &route(
            "/",
            &format!(
                "origin = [{:?}]\ntimeouts = {{ response_headers = \"1s\" }}",
                origin.url()
            ),
        );
    let stand = Stand::start(&routes).await;
    let mut http2 = stand.http2().await;
    for (path, status) in [
        ("/gone", 502),
        ("/close", 502),
        ("/garbage", 502),
        ("/reset", 502),
        ("/half", 502),
        ("/two-lengths", 502),
        ("/silence", 504),
        ("/hints", 204),
        ("/500", 500),
    ] {
        assert_eq!(stand.status_of(path).await, status, "{path}");
        let answer = http2.fetch(request("GET", &url(path), "")).await.unwrap();
        assert_eq!(answer.status, status, "{path}");
    }
}

#[tokio::test]
async fn requests_go_to_the_server_with_fewer_of_them() {
    let busy = Origin::start(|_| Reply::default().held().and(Reply::ok("busy"))).await;
    let idle = Origin::start(|_| Reply::ok("idle")).await;
    let servers = format!("origin = [{:?}, {:?}]", busy.url(), idle.url());
    let stand = Stand::start(&route("/", &servers)).await;
    let mut clients = Vec::new();
    // Until the first has one under way.
    for _ in 0..20 {
        let mut client = stand.http1().await;
        client.send(get("/").as_bytes()).await;
        clients.push(client);
        if !busy.heads().is_empty() {
            break;
        }
        tokio::select! {
            _ = busy.until_heads(1) => break,
            _ = idle.until_requests(clients.len()) => {}
        }
    }
    for _ in 0..10 {
        assert_eq!(stand.ask(&get("/")).await.text(), "idle");
    }
    assert_eq!(busy.heads().len(), 1);
    busy.release();
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_seen_to_break_off() {
    let origin = Origin::start(|asked| {
        let head = match asked.target() {
            "/length" => "content-length: 100",
            _ => "transfer-encoding: chunked",
        };
        let reply = Reply::raw(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nhello\r\n"));
        reply.held().then_close()
    })
    .await;
    let stand = Stand::start(&forward("/", &origin)).await;
    let mut http2 = stand.http2().await;
    for path in ["/length", "/chunked"] {
        origin.hold();
        let mut client = stand.http1().await;
        client.send(get(path).as_bytes()).await;
        let hello = |client: &mut crate::support::client::Client| {
            let plain = client.take_plain();
            plain
                .windows(5)
                .any(|five| five == b"hello")
                .then_some(plain)
        };
        let mut got = client.until("the beginning", hello).await.unwrap();
        origin.release();
        let (rest, ending) = client.read_to_end().await;
        got.extend(rest);
        assert!(!got.ends_with(b"0\r\n\r\n"), "{path}");
        assert!(
            matches!(ending, Ending::CloseNotify | Ending::Truncated),
            "{ending:?}"
        );
        let error = http2
            .fetch(request("GET", &url(path), ""))
            .await
            .unwrap_err();
        assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR), "{path}");
    }
    let broken = |line: &serde_json::Value| line["end"] == "aborted_by_origin";
    stand.edge.until_accesses(4, broken).await;
}

#[tokio::test]
async fn an_answer_before_the_bodys_end_is_passed_on() {
    use crate::support::origin::When;
    let origin =
        Origin::start_when(When::AfterHead, |_| Reply::status(413, "no").then_close()).await;
    let stand = Stand::start(&forward("/", &origin)).await;
    let body = vec![b'x'; 5_000_000];
    let mut client = stand.http1().await;
    client.send(&post("/", &body)).await;
    let answer = client.response().await;
    assert!(matches!(answer.status, 413 | 502), "{}", answer.status);
    let mut client = stand.http2().await;
    let answer = client
        .fetch(request("POST", &url("/"), body))
        .await
        .unwrap();
    assert!(
        matches!(answer.status.as_u16(), 413 | 502),
        "{}",
        answer.status
    );
}

#[tokio::test]
async fn answers_of_every_framing_are_passed_on() {
    let origin = Origin::start(|asked| match asked.target() {
        "/until-close" => Reply::raw("HTTP/1.1 200 OK\r\n\r\nhello").then_close(),
        "/old" => Reply::raw("HTTP/1.0 200 OK\r\n\r\nhello").then_close(),
        "/chunked" => Reply::chunked(&[b"hel", b"lo"], &[]),
        "/length" => Reply::ok("hello"),
        "/204" => Reply::raw("HTTP/1.1 204 No Content\r\n\r\n"),
        "/304" => Reply::raw("HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\netag: x\r\n\r\n"),
        _ => Reply::raw("HTTP/1.1 200 Fine\r\ncontent-length: 0\r\n\r\n"),
    })
    .await;
    let stand = Stand::start(&forward("/", &origin)).await;
    let mut http1 = stand.http1().await;
    let mut http2 = stand.http2().await;
    for (path, status, body) in [
        ("/until-close", 200, "hello"),
        ("/old", 200, "hello"),
        ("/chunked", 200, "hello"),
        ("/length", 200, "hello"),
        ("/204", 204, ""),
        ("/304", 304, ""),
        ("/empty", 200, ""),
    ] {
        http1.send(get(path).as_bytes()).await;
        let answer = http1.response().await;
        assert_eq!((answer.status, answer.text()), (status, body), "{path}");
        let answer = http2.fetch(request("GET", &url(path), "")).await.unwrap();
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.text(), body, "{path}");
    }
}

#[tokio::test]
async fn an_origin_that_takes_no_body_holds_its_client_back() {
    use crate::support::origin::When;
    let origin = Origin::start_when(When::AfterHead, |_| {
        Reply::default().held().and(Reply::ok("ok"))
    })
    .await;
    let stand = Stand::start(&forward("/", &origin)).await;
    let before = resident(stand.edge.pid());
    let body = vec![b'x'; 60_000_000];
    let mut client = stand.http1().await;
    client.queue(&post("/", &body));
    assert!(!client.send_pending_for(Duration::from_secs(1)).await);
    let mut http2 = stand.http2().await;
    http2
        .begin_request(request("POST", &url("/"), body.clone()))
        .await;
    origin.until_heads(2).await;
    assert!(http2.silent_for(Duration::from_secs(1)).await);
    let grown = resident(stand.edge.pid()).saturating_sub(before);
    assert!(grown < 15_000_000, "{grown} bytes more");
    // Clients that vanish meanwhile end their requests.
    client.reset();
    drop(http2);
    let aborted = |line: &serde_json::Value| line["end"] == "aborted_by_client";
    stand.edge.until_accesses(2, aborted).await;
}

#[tokio::test]
async fn an_origin_that_says_too_much_poisons_no_other_request() {
    let evil = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let origin = Origin::start(move |asked| match asked.target() {
        "/two" => Reply::raw(format!(
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok{evil}"
        )),
        "/chunks" => Reply::raw(format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{evil}"
        )),
        "/none" => Reply::raw(format!("HTTP/1.1 204 No Content\r\n\r\n{evil}")),
        "/both" => Reply::raw(format!(
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n\
             2\r\nok\r\n0\r\n\r\n{evil}"
        )),
        "/head" => Reply::raw(format!(
            "HTTP/1.1 200 OK\r\ncontent-length: 44\r\n\r\n{evil}"
        )),
        _ => Reply::ok("good"),
    })
    .await;
    let stand = Stand::start(&forward("/", &origin)).await;
    for path in ["/two", "/chunks", "/none", "/both", "/head"] {
        let method = if path == "/head" { "HEAD" } else { "GET" };
        let first = stand.ask(&get(path).replace("GET", method)).await;
        assert!(first.status < 300 || first.status == 502, "{path}");
        assert!(!first.body.ends_with(b"evil"), "{path}");
        for _ in 0..2 {
            assert_eq!(stand.ask(&get("/")).await.text(), "good", "{path}");
        }
    }
}
