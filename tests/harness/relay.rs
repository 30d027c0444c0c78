use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use cutwater::load::relay::{Builder, Cut, Direction, Ending, Relay, Replay, Withhold};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

const BOUND: Duration = Duration::from_secs(10);

/// A server that sends back what it gets, until the client closes.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
                let _ = to.shutdown().await;
            });
        }
    });
    address
}

async fn through(plan: impl FnOnce(Builder) -> Builder) -> (Relay, TcpStream) {
    let relay = plan(Relay::to(echo().await)).bind().await.unwrap();
    let stream = TcpStream::connect(relay.address()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    (relay, stream)
}

async fn read(stream: &mut TcpStream, bytes: usize) -> Vec<u8> {
    let mut got = vec![0; bytes];
    stream.read_exact(&mut got).await.unwrap();
    got
}

fn record(kind: u8, length: u16) -> Vec<u8> {
    let mut bytes = vec![kind, 3, 3];
    bytes.extend(length.to_be_bytes());
    bytes.resize(5 + usize::from(length), 0xaa);
    bytes
}

#[tokio::test]
async fn bytes_pass_unchanged_both_ways_and_so_does_the_close() {
    let (relay, mut stream) = through(|plan| plan).await;
    let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (mut from, mut to) = stream.split();
    let mut got = Vec::new();
    let write = async {
        to.write_all(&sent).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let (_, read) = tokio::join!(write, from.read_to_end(&mut got));
    assert_eq!(read.unwrap(), sent.len());
    assert!(got == sent);
    let ended = relay.until(|all| all.iter().all(|one| one.ended));
    timeout(BOUND, ended).await.unwrap();
    let passed = relay.connections()[0];
    assert_eq!(passed.to_server, 1_000_000);
    assert_eq!(passed.to_client, 1_000_000);
    assert!(relay.flights().is_empty(), "nobody asked for a record");
}

#[tokio::test(start_paused = true)]
async fn delay_is_added_each_way() {
    let (_relay, mut stream) = through(|plan| plan.delay(Duration::from_millis(50))).await;
    let start = Instant::now();
    stream.write_all(b"ping").await.unwrap();
    assert_eq!(read(&mut stream, 4).await, b"ping");
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(100), "{took:?}");
    assert!(took < Duration::from_millis(150), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn delay_does_not_add_up_over_chunks() {
    let (_relay, mut stream) = through(|plan| plan.delay(Duration::from_secs(1))).await;
    let start = Instant::now();
    let (mut from, mut to) = stream.split();
    let write = async {
        for _ in 0..50 {
            to.write_all(&[7; 1000]).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let mut got = vec![0; 50_000];
    let (_, read) = tokio::join!(write, from.read_exact(&mut got));
    read.unwrap();
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(2), "{took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn second_flight_is_held_until_released() {
    let (relay, mut stream) = through(|plan| plan.withhold(Withhold::SecondFlight)).await;
    stream.write_all(b"first").await.unwrap();
    assert_eq!(read(&mut stream, 5).await, b"first");
    stream.write_all(b"second").await.unwrap();
    let held = relay.until(|all| all[0].withheld == 6);
    timeout(BOUND, held).await.unwrap();
    assert_eq!(relay.connections()[0].to_server, 5);
    relay.release();
    assert_eq!(read(&mut stream, 6).await, b"second");
    assert_eq!(relay.connections()[0].withheld, 0);
    stream.write_all(b"third").await.unwrap();
    assert_eq!(read(&mut stream, 5).await, b"third");
}

#[tokio::test]
async fn early_data_passes_late_while_finished_is_held() {
    let plan = |plan: Builder| plan.withhold(Withhold::Finished).record(true);
    let (relay, mut stream) = through(plan).await;
    let hello = record(22, 300);
    let early = record(23, 117);
    let end = record(23, 21);
    let finished = record(23, 53);
    stream.write_all(&hello).await.unwrap();
    assert_eq!(read(&mut stream, hello.len()).await, hello);
    stream.write_all(&early).await.unwrap();
    assert_eq!(read(&mut stream, early.len()).await, early);
    assert!(!relay.flights()[0].whole);
    let rest = [end, finished].concat();
    stream.write_all(&rest).await.unwrap();
    let held = relay.until(|all| all[0].withheld == rest.len() as u64);
    timeout(BOUND, held).await.unwrap();
    let flights = relay.flights();
    assert!(flights[0].whole);
    assert_eq!(flights[0].bytes, [hello, early].concat());
    assert_eq!(flights[0].records().count(), 2);
    relay.release();
    assert_eq!(read(&mut stream, rest.len()).await, rest);
}

#[tokio::test]
async fn first_flight_is_recorded_and_replayed_byte_for_byte() {
    let target = echo().await;
    let relay = Relay::to(target).record(true).bind().await.unwrap();
    for word in [b"one".as_slice(), b"another"] {
        let mut stream = TcpStream::connect(relay.address()).await.unwrap();
        stream.write_all(word).await.unwrap();
        assert_eq!(read(&mut stream, word.len()).await, word);
        stream.write_all(b"more").await.unwrap();
        assert_eq!(read(&mut stream, 4).await, b"more");
    }
    let flights = relay.flights();
    assert_eq!(flights.len(), 2);
    assert_eq!(flights[0].bytes, b"one");
    assert_eq!(flights[1].bytes, b"another");
    assert!(flights.iter().all(|each| each.whole));
    let quiet = Duration::from_millis(50);
    let replay = Replay::to(target).quiet(quiet);
    let answer = replay.send(&flights[1].bytes).await.unwrap();
    assert_eq!(answer.bytes, b"another");
    assert_eq!(answer.ending, Ending::Quiet);
    assert!(answer.took >= quiet);
    assert!(answer.first_byte.is_some());
}

#[tokio::test]
async fn the_beginning_of_both_directions_is_kept_and_no_more() {
    let (relay, mut stream) = through(|plan| plan.keep(7)).await;
    for piece in ["abcd", "efgh", "ijkl"] {
        stream.write_all(piece.as_bytes()).await.unwrap();
        assert_eq!(read(&mut stream, 4).await, piece.as_bytes());
    }
    let kept = relay.kept();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].to_server, b"abcdefg");
    assert_eq!(kept[0].to_client, b"abcdefg");
    let (relay, mut stream) = through(|plan| plan).await;
    stream.write_all(b"x").await.unwrap();
    read(&mut stream, 1).await;
    assert_eq!(relay.kept(), [cutwater::load::relay::Kept::default()]);
}

#[tokio::test]
async fn replay_ends_at_its_limit_where_nothing_comes_back() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = silent.local_addr().unwrap();
    let replay = Replay::to(address).limit(Duration::from_millis(50));
    let answer = replay.send(b"anyone?").await.unwrap();
    assert_eq!(answer.ending, Ending::Limit);
    assert_eq!(answer.first_byte, None);
    assert!(answer.bytes.is_empty());
}

#[tokio::test]
async fn replay_tells_close_and_reset_apart() {
    let plan = |how| move |plan: Builder| plan.cut(Direction::ToClient, 2, how);
    let (fin, _stream) = through(plan(Cut::Fin)).await;
    let answer = Replay::to(fin.address()).send(b"hello").await.unwrap();
    assert_eq!(
        (answer.bytes.as_slice(), answer.ending),
        (b"he".as_slice(), Ending::Closed)
    );
    let (rst, _stream) = through(plan(Cut::Reset)).await;
    let answer = Replay::to(rst.address()).send(b"hello").await.unwrap();
    assert_eq!(answer.ending, Ending::Reset);
}

#[tokio::test]
async fn a_held_connection_reaches_the_server_when_it_is_released() {
    let (relay, mut stream) = through(|plan| plan.withhold(Withhold::Connection)).await;
    stream.write_all(b"ping").await.unwrap();
    timeout(BOUND, relay.until(|all| all.len() == 1))
        .await
        .unwrap();
    assert_eq!(relay.connections()[0].to_server, 0);
    // Meanwhile the server has moved.
    relay.retarget(echo().await);
    relay.release();
    assert_eq!(read(&mut stream, 4).await, b"ping");
}

#[tokio::test]
async fn it_listens_where_it_is_told() {
    let (relay, mut stream) = through(|plan| plan.listen((Ipv4Addr::UNSPECIFIED, 0).into())).await;
    assert!(relay.address().ip().is_unspecified());
    stream.write_all(b"ping").await.unwrap();
    assert_eq!(read(&mut stream, 4).await, b"ping");
}

#[tokio::test]
async fn fin_towards_the_server_leaves_the_answer_alone() {
    let (relay, mut stream) = through(|plan| plan.cut(Direction::ToServer, 3, Cut::Fin)).await;
    stream.write_all(b"abcdef").await.unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"abc");
    assert_eq!(relay.connections()[0].to_server, 3);
}

#[tokio::test]
async fn open_connections_are_cut_on_demand_and_new_ones_live() {
    let (relay, mut stream) = through(|plan| plan).await;
    stream.write_all(b"x").await.unwrap();
    read(&mut stream, 1).await;
    relay.cut(Cut::Reset);
    let error = stream.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let mut stream = TcpStream::connect(relay.address()).await.unwrap();
    stream.write_all(b"y").await.unwrap();
    assert_eq!(read(&mut stream, 1).await, b"y");
}

#[tokio::test(start_paused = true)]
async fn dribble_delivers_one_byte_at_a_time_with_pauses() {
    let pause = Duration::from_millis(100);
    let (_relay, mut stream) = through(|plan| plan.dribble(Direction::ToServer, 1, pause)).await;
    let start = Instant::now();
    stream.write_all(b"0123456789").await.unwrap();
    let mut got = Vec::new();
    let mut reads = 0;
    while got.len() < 10 {
        stream.read_buf(&mut got).await.unwrap();
        reads += 1;
    }
    assert_eq!(got, b"0123456789");
    assert_eq!(reads, 10);
    assert!(start.elapsed() >= pause * 9);
}

#[tokio::test(start_paused = true)]
async fn rate_is_kept_to() {
    let (_relay, mut stream) = through(|plan| plan.rate(Direction::ToClient, 1000)).await;
    let start = Instant::now();
    stream.write_all(&[1; 2000]).await.unwrap();
    read(&mut stream, 2000).await;
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(1900), "{took:?}");
    assert!(took < Duration::from_millis(2500), "{took:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_resets_the_client() {
    let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let relay = Relay::to(address).bind().await.unwrap();
    let answer = Replay::to(relay.address()).send(b"hello").await.unwrap();
    assert_eq!(answer.ending, Ending::Reset);
    relay.retarget(echo().await);
    let replay = Replay::to(relay.address()).quiet(Duration::from_millis(20));
    assert_eq!(replay.send(b"hello").await.unwrap().bytes, b"hello");
}

#[tokio::test]
async fn dropping_the_relay_ends_its_connections() {
    let (relay, mut stream) = through(|plan| plan).await;
    stream.write_all(b"x").await.unwrap();
    read(&mut stream, 1).await;
    drop(relay);
    let mut rest = Vec::new();
    let end = timeout(BOUND, stream.read_to_end(&mut rest)).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)));
}
