use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use cutwater::load::relay::{DatagramBuilder, DatagramRelay, Direction};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};

use crate::support::within;

/// A server that sends back what it gets, with the address that it came from behind it.
async fn echo() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = vec![0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let mut answer = buffer[..length].to_vec();
            answer.extend(format!(" {from}").into_bytes());
            let _ = socket.send_to(&answer, from).await;
        }
    });
    address
}

/// A relay and a client that knows nobody else.
async fn through(plan: impl FnOnce(DatagramBuilder) -> DatagramBuilder) -> (DatagramRelay, Client) {
    let relay = plan(DatagramRelay::to(echo().await)).bind().await.unwrap();
    let client = Client::of(&relay).await;
    (relay, client)
}

struct Client(UdpSocket);

impl Client {
    async fn of(relay: &DatagramRelay) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        socket.connect(relay.address()).await.unwrap();
        Self(socket)
    }

    async fn send(&self, text: &str) {
        self.0.send(text.as_bytes()).await.unwrap();
    }

    /// What was sent, and the address that the server saw.
    async fn get(&self) -> (String, SocketAddr) {
        let mut buffer = vec![0; 2048];
        let length = within("an answer", self.0.recv(&mut buffer)).await.unwrap();
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        let (text, from) = text.rsplit_once(' ').unwrap();
        (text.to_owned(), from.parse().unwrap())
    }

    async fn texts(&self, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        for _ in 0..count {
            texts.push(self.get().await.0);
        }
        texts
    }
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn datagrams_pass_unchanged_and_clients_are_told_apart() {
    let (relay, one) = through(|plan| plan).await;
    let two = Client::of(&relay).await;
    one.send("one").await;
    two.send("two").await;
    let (first, second) = (one.get().await, two.get().await);
    assert_eq!((first.0.as_str(), second.0.as_str()), ("one", "two"));
    assert_ne!(first.1, second.1);
    one.send("again").await;
    assert_eq!(one.get().await, ("again".to_owned(), first.1));
    within("the count", relay.until(|passed| passed.to_client == 3)).await;
    let passed = relay.passed();
    assert_eq!((passed.to_server, passed.lost, passed.held), (3, 0, 0));
    assert!(relay.flights().is_empty(), "nobody asked for a record");
}

#[tokio::test(start_paused = true)]
async fn delay_is_added_each_way_and_keeps_the_order() {
    let (_relay, client) = through(|plan| plan.delay(Duration::from_millis(50))).await;
    let start = Instant::now();
    for number in numbers(20) {
        client.send(&number).await;
    }
    assert_eq!(client.texts(20).await, numbers(20));
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(100), "{took:?}");
    assert!(took < Duration::from_millis(150), "{took:?}");
}

#[tokio::test]
async fn a_share_is_lost_and_the_same_with_the_same_seed() {
    let mut lost = Vec::new();
    for seed in [5, 5, 6] {
        let plan = |plan: DatagramBuilder| plan.loss(Direction::ToServer, 0.2).seed(seed);
        let (relay, client) = through(plan).await;
        let mut came = Vec::new();
        for (index, number) in numbers(100).into_iter().enumerate() {
            client.send(&number).await;
            let all = index as u64 + 1;
            let done = relay.until(|passed| passed.lost + passed.to_client == all);
            within("what becomes of it", done).await;
            if relay.passed().to_client as usize > came.len() {
                came.push(client.get().await.0);
            }
        }
        let passed = relay.passed();
        assert!((5..40).contains(&passed.lost), "{passed:?}");
        assert_eq!(came.len() as u64, 100 - passed.lost);
        lost.push(came);
    }
    assert_eq!(lost[0], lost[1]);
    assert_ne!(lost[0], lost[2]);
}

#[tokio::test]
async fn what_is_repeated_comes_twice() {
    let (relay, client) = through(|plan| plan.duplicate(Direction::ToClient, 1.0)).await;
    client.send("ping").await;
    assert_eq!(client.texts(2).await, ["ping", "ping"]);
    let passed = relay.passed();
    assert_eq!((passed.to_server, passed.repeated), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_late_is_overtaken() {
    let late = Duration::from_millis(20);
    let plan = |plan: DatagramBuilder| plan.reorder(Direction::ToServer, 0.3, late);
    let (relay, client) = through(plan).await;
    for number in numbers(50) {
        client.send(&number).await;
    }
    let mut came = client.texts(50).await;
    assert_ne!(came, numbers(50));
    assert!(
        (5..25).contains(&relay.passed().late),
        "{:?}",
        relay.passed()
    );
    came.sort_by_key(|text| text.parse::<u32>().unwrap());
    assert_eq!(came, numbers(50), "nothing is lost");
}

#[tokio::test]
async fn what_is_held_goes_when_it_is_released() {
    let (relay, client) = through(|plan| plan.hold(Direction::ToServer)).await;
    client.send("1").await;
    client.send("2").await;
    within("both", relay.until(|passed| passed.held == 2)).await;
    assert_eq!(relay.passed().to_server, 0);
    relay.release(Direction::ToServer);
    assert_eq!(client.texts(2).await, ["1", "2"]);
    relay.hold(Direction::ToClient);
    client.send("3").await;
    within("the answer", relay.until(|passed| passed.held == 1)).await;
    assert_eq!(relay.passed().to_server, 3);
    let silent = timeout(Duration::from_millis(20), client.get()).await;
    assert!(silent.is_err(), "{silent:?}");
    relay.release(Direction::ToClient);
    assert_eq!(client.texts(1).await, ["3"]);
    assert_eq!(relay.passed().held, 0);
}

#[tokio::test]
async fn a_rebound_client_has_another_address_for_the_server() {
    let (relay, client) = through(|plan| plan).await;
    client.send("before").await;
    let before = client.get().await.1;
    relay.rebind().await.unwrap();
    client.send("after").await;
    let (text, after) = client.get().await;
    assert_eq!(text, "after");
    assert_ne!(before.port(), after.port());
    assert_eq!(before.ip(), after.ip());
    let other: SocketAddr = "127.0.0.9:0".parse().unwrap();
    relay.rebind_at(other.ip()).await.unwrap();
    client.send("elsewhere").await;
    assert_eq!(client.get().await.1.ip(), other.ip());
}

#[tokio::test]
async fn the_first_flight_is_what_came_before_the_answer() {
    let plan = |plan: DatagramBuilder| plan.record(true).hold(Direction::ToClient);
    let (relay, client) = through(plan).await;
    client.send("hello").await;
    client.send("early").await;
    within("both", relay.until(|passed| passed.held == 2)).await;
    relay.release(Direction::ToClient);
    client.texts(2).await;
    client.send("later").await;
    client.texts(1).await;
    let flight = vec![b"hello".to_vec(), b"early".to_vec()];
    assert_eq!(relay.flights(), [flight]);
}

#[tokio::test]
async fn a_relay_turns_to_another_server() {
    let (relay, client) = through(|plan| plan).await;
    client.send("one").await;
    client.get().await;
    let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    relay.retarget(other.local_addr().unwrap());
    client.send("two").await;
    let mut buffer = [0; 16];
    let length = within("it", other.recv(&mut buffer)).await.unwrap();
    assert_eq!(&buffer[..length], b"two");
}

#[tokio::test]
async fn datagrams_are_lost_by_their_number() {
    let (_relay, client) = through(|plan| plan.lose(Direction::ToServer, &[1, 3])).await;
    for text in ["1", "2", "3", "4"] {
        client.send(text).await;
    }
    assert_eq!(client.texts(2).await, ["2", "4"]);
}

#[tokio::test]
async fn no_more_are_lost_in_a_row_than_is_allowed() {
    let (relay, client) = through(|plan| {
        let plan = plan.loss(Direction::ToServer, 1.0);
        plan.in_a_row(Direction::ToServer, 3)
    })
    .await;
    for text in numbers(8) {
        client.send(&text).await;
    }
    assert_eq!(client.texts(2).await, ["3", "7"]);
    assert_eq!(relay.passed().lost, 6);
}

#[tokio::test]
async fn marks_of_congestion_pass_and_both_sides_are_seen() {
    let server = quinn_socket();
    let to = server.0.local_addr().unwrap();
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let noting = std::sync::Arc::clone(&seen);
    let relay = DatagramRelay::to(to)
        .far(Ipv4Addr::new(127, 0, 0, 9).into())
        .watch(move |one| {
            let mut seen = noting.lock().unwrap();
            seen.push((one.at_server, one.ecn, one.from.ip(), one.to));
        })
        .bind()
        .await
        .unwrap();
    let client = quinn_socket();
    send_marked(&client, relay.address(), 0b10);
    let (ecn, from) = received(&server).await;
    assert_eq!((ecn, from.ip()), (0b10, Ipv4Addr::new(127, 0, 0, 9).into()));
    send_marked(&server, from, 0b01);
    assert_eq!(received(&client).await, (0b01, relay.address()));
    let (near, local) = (relay.address(), client.0.local_addr().unwrap());
    let localhost: IpAddr = Ipv4Addr::LOCALHOST.into();
    let all: [(bool, u8, IpAddr, SocketAddr); 4] = [
        (false, 0b10, localhost, near),
        (true, 0b10, Ipv4Addr::new(127, 0, 0, 9).into(), to),
        (true, 0b01, localhost, from),
        (false, 0b01, localhost, local),
    ];
    assert_eq!(*seen.lock().unwrap(), all);
}

/// A socket that tells and sets marks.
fn quinn_socket() -> (UdpSocket, quinn::udp::UdpSocketState) {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let state = quinn::udp::UdpSocketState::new((&socket).into()).unwrap();
    (UdpSocket::from_std(socket).unwrap(), state)
}

fn send_marked(socket: &(UdpSocket, quinn::udp::UdpSocketState), to: SocketAddr, ecn: u8) {
    let transmit = quinn::udp::Transmit {
        destination: to,
        ecn: quinn::udp::EcnCodepoint::from_bits(ecn),
        contents: b"marked",
        segment_size: None,
        src_ip: None,
    };
    socket.1.try_send((&socket.0).into(), &transmit).unwrap();
}

async fn received(socket: &(UdpSocket, quinn::udp::UdpSocketState)) -> (u8, SocketAddr) {
    let mut buffer = [0; 2048];
    let mut meta = [quinn::udp::RecvMeta::default()];
    let read = || {
        let mut into = [std::io::IoSliceMut::new(&mut buffer)];
        socket.1.recv((&socket.0).into(), &mut into, &mut meta)
    };
    let reading = socket.0.async_io(tokio::io::Interest::READABLE, read);
    within("a datagram", reading).await.unwrap();
    (meta[0].ecn.map_or(0, |mark| mark as u8), meta[0].addr)
}
