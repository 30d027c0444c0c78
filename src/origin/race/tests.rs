use super::*;

/// What an address does.
#[derive(Clone, Copy)]
enum Does {
    Connects(u64),
    Fails(u64),
    /// Takes the connection at once; the handshake is over so much later.
    Shakes(u64),
    Nothing,
}
use Does::{Connects, Fails, Nothing, Shakes};

/// How a race went.
struct Went {
    result: Option<Result<usize, Option<usize>>>,
    took: Duration,
    /// When each address was tried.
    began: Vec<Duration>,
    avoided: Vec<usize>,
    awaited: Option<Address>,
}

impl Went {
    fn began(&self, index: usize, least: u64, most: u64) {
        let at = self.began[index];
        let (least, most) = (Duration::from_millis(least), Duration::from_millis(most));
        assert!(least <= at && at <= most, "{index} began after {at:?}");
    }
}

fn address(index: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], index as u16))
}

/// The time is up after so many milliseconds.
async fn race(timeout: u64, does: &[Does]) -> Went {
    race_within(timeout, timeout, does).await
}

/// It may take `timeout`, and is dropped after `patience`.
async fn race_within(patience: u64, timeout: u64, does: &[Does]) -> Went {
    let ticker = Ticker::new();
    let runs = Arc::clone(&ticker);
    tokio::spawn(async move { runs.run(|_| ()).await });
    // In the midst of a tick.
    tokio::time::advance(Duration::from_millis(30)).await;
    let begin = Instant::now();
    let (began, avoided) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let awaited = Awaited::default();
    let [patience, timeout] = [patience, timeout].map(Duration::from_millis);
    let avoid = |address: SocketAddr| avoided.lock().unwrap().push(usize::from(address.port()));
    let course = Course {
        ticker: &ticker,
        timeout,
        awaited: &awaited,
        avoid: &avoid,
    };
    let connect = |address: SocketAddr, answered: Answered| {
        let index = usize::from(address.port());
        began.lock().unwrap().push(begin.elapsed());
        let does = does[index];
        async move {
            let (after, result) = match does {
                Connects(after) => (after, Ok(index)),
                Fails(after) => (after, Err(index)),
                Shakes(after) => {
                    answered.store(true, Ordering::Relaxed);
                    (after, Ok(index))
                }
                Nothing => std::future::pending().await,
            };
            tokio::time::timeout(Duration::from_millis(after), std::future::pending::<()>())
                .await
                .unwrap_err();
            result
        }
    };
    let addresses = (0..does.len()).map(address).collect();
    let result = tokio::time::timeout(patience, first(addresses, course, connect)).await;
    let took = begin.elapsed();
    Went {
        result: result.ok().map(|result| {
            result.map_err(|failure| {
                failure.map(|(index, address)| {
                    assert_eq!(index, usize::from(address.port()));
                    index
                })
            })
        }),
        took,
        began: began.into_inner().unwrap(),
        avoided: avoided.into_inner().unwrap(),
        awaited: awaited.get(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_address_is_waited_for_a_quarter_of_a_second_and_tried_last_then() {
    let went = race(3000, &[Nothing, Connects(20), Connects(20)]).await;
    assert_eq!(went.result, Some(Ok(1)));
    went.began(1, 200, 300);
    assert!(went.took <= Duration::from_millis(330), "{:?}", went.took);
    assert_eq!(went.began.len(), 2);
    assert_eq!(went.avoided, [0]);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_answers_soon_is_the_only_one() {
    let went = race(3000, &[Connects(150), Connects(0)]).await;
    assert_eq!((went.result, went.began.len()), (Some(Ok(0)), 1));
    assert!(went.avoided.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_next_address_is_tried_at_once_when_one_fails() {
    let went = race(3000, &[Fails(10), Fails(10), Connects(10)]).await;
    assert_eq!(went.result, Some(Ok(2)));
    went.began(1, 10, 15);
    went.began(2, 20, 30);
    assert_eq!(went.avoided, [0, 1]);
    // Even if an earlier one is still waited for.
    let went = race(3000, &[Nothing, Fails(10), Connects(10)]).await;
    assert_eq!(went.result, Some(Ok(2)));
    went.began(1, 200, 300);
    assert!(went.began[2] - went.began[1] < Duration::from_millis(20));
    assert_eq!(went.avoided, [1, 0]);
}

#[tokio::test(start_paused = true)]
async fn whoever_is_first_wins_even_if_it_was_slow() {
    let went = race(3000, &[Connects(400), Connects(600)]).await;
    assert_eq!((went.result, went.began.len()), (Some(Ok(0)), 2));
    assert!(went.took <= Duration::from_millis(410), "{:?}", went.took);
    // The other one was not slower for all that is known.
    assert!(went.avoided.is_empty());
}

#[tokio::test(start_paused = true)]
async fn all_have_failed_before_the_race_has() {
    let went = race(3000, &[Fails(600), Fails(10), Fails(10)]).await;
    assert_eq!(went.result, Some(Err(Some(0))));
    assert!(went.took >= Duration::from_millis(600));
    assert_eq!(race(3000, &[]).await.result, Some(Err(None)));
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_waiting_knows_for_whom_it_waited_and_all_silent_ones_are_tried_last() {
    let went = race(1000, &[Nothing, Fails(10), Nothing]).await;
    assert_eq!(went.result, None);
    assert_eq!(went.awaited, Some(address(2).into()));
    assert_eq!(went.avoided, [1, 0, 2]);
    let went = race(1000, &[Nothing, Fails(10)]).await;
    assert_eq!(went.awaited, Some(address(0).into()));
    // So short a wait says nothing about an address.
    assert!(race(90, &[Nothing, Nothing]).await.avoided.is_empty());
}

#[tokio::test(start_paused = true)]
async fn every_address_has_its_turn_in_a_short_time_but_not_all_at_once() {
    let went = race(1000, &[Nothing; 8]).await;
    assert!(went.began.len() >= 5, "{:?}", went.began);
    let gaps = went.began.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(gaps.min() >= Some(TICK), "{:?}", went.began);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_answered_may_shake_hands_and_one_that_hangs_leaves_time() {
    let went = race(3000, &[Shakes(1200), Connects(0)]).await;
    assert_eq!((went.result, went.began.len()), (Some(Ok(0)), 1));
    let went = race(3000, &[Shakes(9000), Connects(10)]).await;
    assert_eq!(went.result, Some(Ok(1)));
    went.began(1, 1500, 1700);
    assert_eq!(went.avoided, [0]);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_during_a_handshake_or_soon_blames_no_address() {
    let went = race(1000, &[Shakes(300), Nothing]).await;
    assert_eq!((went.result, went.avoided), (Some(Ok(0)), vec![]));
    // The race is dropped after 250 ms of the 3 s that it may take.
    let went = race_within(250, 3000, &[Shakes(9000), Nothing]).await;
    assert_eq!((went.result, went.avoided), (None, vec![]));
    let went = race(3000, &[Shakes(9000), Nothing]).await;
    assert_eq!((went.result, went.avoided), (None, vec![0, 1]));
}

#[tokio::test(start_paused = true)]
async fn who_is_overtaken_within_its_time_is_not_avoided() {
    let went = race(3000, &[Fails(310), Nothing, Connects(5)]).await;
    assert_eq!(went.result, Some(Ok(2)));
    went.began(1, 200, 300);
    went.began(2, 310, 315);
    assert_eq!(went.avoided, [0]);
}

#[test]
fn families_take_turns_in_the_order_that_they_had() {
    let parse = |addresses: &[&str]| -> Vec<SocketAddr> {
        let addresses = addresses.iter();
        addresses.map(|address| address.parse().unwrap()).collect()
    };
    for (order, expected) in [
        (
            &["1.1.1.1:1", "2.2.2.2:1", "3.3.3.3:1", "[::1]:1", "[::2]:1"][..],
            &["1.1.1.1:1", "[::1]:1", "2.2.2.2:1", "[::2]:1", "3.3.3.3:1"][..],
        ),
        (
            &["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"],
            &["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"],
        ),
        (&["1.1.1.1:1", "2.2.2.2:1"], &["1.1.1.1:1", "2.2.2.2:1"]),
        (&[], &[]),
    ] {
        let mut order = parse(order);
        interleave(&mut order);
        assert_eq!(order, parse(expected));
    }
}
