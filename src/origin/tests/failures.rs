use super::*;
use crate::telemetry::labels::{OriginError, RetryReason, TimeoutKind};

#[tokio::test]
async fn a_refused_server_makes_502_and_another_one_is_asked_if_there_is() {
    let worker = Worker::new();
    let dead = nobody().await;
    let error = worker.send(get(&spec(&[dead]))).await.unwrap_err();
    assert_eq!((error.status().as_u16(), error.label()), (502, "refused"));
    assert_eq!(error.address, Some(dead.into()));

    let stub = Stub::answering(HELLO).await;
    let both = spec(&[dead, stub.address]);
    for _ in 0..4 {
        assert_eq!(worker.fetch(post(&both, "x")).await.0, 200);
    }
    let origins = &worker.metrics.origins;
    // Once alone, once beside the other: then it is asked last.
    assert_eq!(origins.errors.get(OriginError::Refused), 2);
    assert_eq!(origins.retries.get(RetryReason::NotSent), 1);
}

#[tokio::test]
async fn all_addresses_of_a_name_are_tried() {
    let worker = Worker::new();
    let stub = Stub::answering(HELLO).await;
    // localhost is ::1 and 127.0.0.1 on most machines, or one of them; the stub has IPv4 only.
    let spec = Arc::new(OriginSpec {
        name: "app".into(),
        servers: vec![OriginServer::plain(
            OriginHost::Name("localhost".into()),
            stub.address.port(),
        )],
        early_data_aware: false,
        host: HostHeader::default(),
        forwarded: Fields::default(),
        proxy_protocol: None,
        tls: None,
        pool: PoolSpec::default(),
    });
    assert_eq!(worker.fetch(get(&spec)).await, (200, "hello".into()));
}

#[tokio::test]
async fn an_origin_that_does_not_accept_makes_504() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    // Fill the backlog: the next SYN is dropped.
    let filler: Vec<_> = (0..8)
        .map_while(|_| {
            std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok()
        })
        .collect();
    assert!(filler.len() < 8);
    let worker = Worker::new();
    let mut forward = get(&spec(&[address]));
    forward.timeouts.connect = Duration::from_millis(200);
    let error = worker.send(forward).await.unwrap_err();
    assert_eq!(
        (error.status().as_u16(), error.label()),
        (504, "connect_timeout")
    );
    assert_eq!(worker.metrics.timeouts.get(TimeoutKind::Connect), 1);
}

async fn silent() -> Stub {
    Stub::new(|_, mut peer| async move {
        peer.head().await;
        peer.closed().await;
    })
    .await
}

#[tokio::test]
async fn an_origin_that_does_not_answer_makes_504() {
    let worker = Worker::new();
    let stub = silent().await;
    let mut forward = get(&spec(&[stub.address]));
    forward.timeouts.response_headers = Duration::from_millis(100);
    let error = worker.send(forward).await.unwrap_err();
    assert_eq!(error.status().as_u16(), 504);
    assert_eq!(error.label(), "response_headers_timeout");
    assert_eq!(worker.metrics.timeouts.get(TimeoutKind::ResponseHeaders), 1);
}

#[tokio::test]
async fn the_total_deadline_before_the_head_makes_504() {
    let worker = Worker::new();
    let stub = silent().await;
    let mut forward = get(&spec(&[stub.address]));
    let total = Some(Duration::from_millis(100));
    forward.deadline = Some(Deadline::new(&worker.ticker, total));
    let error = worker.send(forward).await.unwrap_err();
    assert_eq!(
        (error.status().as_u16(), error.label()),
        (504, "total_timeout")
    );
    assert_eq!(worker.metrics.timeouts.get(TimeoutKind::Total), 1);
}

#[tokio::test]
async fn what_is_not_http_makes_502() {
    for answer in [
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let worker = Worker::new();
        let stub = Stub::answering(answer).await;
        let error = worker.send(get(&spec(&[stub.address]))).await.unwrap_err();
        assert_eq!(
            (error.status().as_u16(), error.label()),
            (502, "malformed"),
            "{answer}"
        );
        let errors = &worker.metrics.origins.errors;
        assert_eq!(errors.get(OriginError::Malformed), 1);
    }
}

#[tokio::test]
async fn a_reset_makes_502() {
    let worker = Worker::new();
    let stub = Stub::new(|_, mut peer| async move {
        peer.head().await;
        peer.stream.set_zero_linger().unwrap();
    })
    .await;
    let error = worker.send(get(&spec(&[stub.address]))).await.unwrap_err();
    assert_eq!((error.status().as_u16(), error.label()), (502, "reset"));
}

async fn cut_body(answer: &'static str, hold: bool, idle: Duration) -> (Worker, String) {
    let worker = Worker::new();
    let stub = Stub::new(move |_, mut peer| async move {
        peer.head().await;
        peer.send(answer).await;
        if hold {
            peer.closed().await;
        }
    })
    .await;
    let mut forward = get(&spec(&[stub.address]));
    forward.timeouts.response_idle = Some(idle);
    let forwarded = worker.send(forward).await.unwrap();
    let error = forwarded.response.into_body().collect().await.unwrap_err();
    (worker, error.to_string())
}

#[tokio::test]
async fn an_origin_that_falls_silent_in_its_body_cuts_the_answer() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello";
    let (worker, error) = cut_body(answer, true, Duration::from_millis(100)).await;
    assert_eq!(error, "the origin fell silent in its answer");
    assert_eq!(worker.metrics.timeouts.get(TimeoutKind::ResponseIdle), 1);
}

#[tokio::test]
async fn an_origin_that_dies_in_its_body_cuts_the_answer() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let (worker, error) = cut_body(answer, false, Duration::from_secs(60)).await;
        assert_eq!(error, "the origin's answer was cut: closed", "{answer}");
        assert_eq!(worker.metrics.origins.errors.get(OriginError::Closed), 1);
    }
    let bad = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n";
    let (_, error) = cut_body(bad, true, Duration::from_secs(60)).await;
    assert_eq!(error, "the origin's answer was cut: malformed");
}

#[tokio::test]
async fn a_request_body_that_breaks_off_is_the_clients_fault() {
    let worker = Worker::new();
    let stub = silent().await;
    let (feed, body) = streaming::fed();
    feed.try_send(Ok("part".into())).unwrap();
    feed.try_send(Err("the client fell silent".into())).unwrap();
    let error = worker
        .send(post(&spec(&[stub.address]), body))
        .await
        .unwrap_err();
    assert!(matches!(&error.kind, ForwardErrorKind::RequestBody(cause)
        if cause.to_string() == "the client fell silent"));
    assert_eq!(error.label(), "request_body");
}
