use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;

fn queue(servers: usize, most: usize, length: usize) -> Arc<Queue> {
    let gauge = IntGauge::new("queued", "waiting").unwrap();
    Queue::new(servers, most, length, gauge)
}

/// Its turn, if that has come.
fn turn(place: &mut Place) -> Option<Slot> {
    match pin!(place.turn()).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(slot) => slot,
        Poll::Pending => None,
    }
}

#[test]
fn a_place_that_is_given_back_goes_to_the_one_that_waited_longest() {
    let queue = queue(1, 2, 10);
    let (one, two) = (queue.take(0).unwrap(), queue.take(0).unwrap());
    assert!(queue.take(0).is_none() && !queue.has_room(0));
    let mut first = queue.join(&[]).unwrap();
    let mut second = queue.join(&[]).unwrap();
    assert_eq!(queue.gauge.get(), 2);
    drop(one);
    assert!(turn(&mut second).is_none());
    let one = turn(&mut first).unwrap();
    drop(two);
    let two = turn(&mut second).unwrap();
    assert_eq!(queue.gauge.get(), 0);
    drop((one, two));
    assert!(queue.take(0).is_some());
}

#[test]
fn the_queue_is_bounded() {
    let queue = queue(1, 1, 2);
    let _slot = queue.take(0);
    let places = [queue.join(&[]), queue.join(&[])];
    assert!(queue.join(&[]).is_none());
    drop(places);
    assert!(queue.join(&[]).is_some());
    assert_eq!(queue.gauge.get(), 0);
}

#[test]
fn a_queue_that_comes_after_another_counts_what_that_still_has() {
    let former = queue(2, 2, 3);
    let (one, two) = (former.take(1).unwrap(), former.take(1).unwrap());
    let waits = former.join(&[0]).unwrap();
    // The second server stands first now, and another one is new.
    let queue = Queue::after(&former, [Some(1), None].into_iter(), 2, 3);
    assert!(queue.take(0).is_none());
    assert!(queue.take(1).is_some());
    let mut first = queue.join(&[1]).unwrap();
    let second = queue.join(&[1]).unwrap();
    assert!(queue.join(&[1]).is_none(), "three wait already");
    assert_eq!(queue.gauge.get(), 3);
    drop(waits);
    drop(second);
    assert_eq!(queue.gauge.get(), 1);
    // Nobody waits there any more.
    drop(one);
    queue.serve();
    let one = turn(&mut first).unwrap();
    assert!(queue.take(0).is_none() && former.take(1).is_none());
    drop((one, two));
    assert!(queue.take(0).is_some() && former.take(1).is_some());
}

#[test]
fn who_leaves_holds_nobody_up_with_or_without_a_place() {
    let queue = queue(1, 1, 10);
    let slot = queue.take(0);
    let leaves = queue.join(&[]).unwrap();
    let called = queue.join(&[]).unwrap();
    let mut last = queue.join(&[]).unwrap();
    drop(leaves);
    drop(slot);
    assert!(turn(&mut last).is_none());
    // Its turn had come, but it went before it knew.
    drop(called);
    assert!(turn(&mut last).is_some());
}

#[test]
fn a_place_at_a_server_that_failed_a_request_goes_to_the_next_one() {
    let queue = queue(2, 1, 10);
    let (zero, one) = (queue.take(0), queue.take(1));
    let mut picky = queue.join(&[0]).unwrap();
    let mut other = queue.join(&[]).unwrap();
    drop(zero);
    assert!(turn(&mut picky).is_none());
    assert_eq!(turn(&mut other).unwrap().server(), 0);
    drop(one);
    assert_eq!(turn(&mut picky).unwrap().server(), 1);
}

#[test]
fn a_server_that_is_out_serves_nobody_until_it_is_back() {
    let queue = queue(1, 1, 10);
    let slot = queue.take(0);
    queue.open([false].into_iter());
    let mut place = queue.join(&[]).unwrap();
    drop(slot);
    assert!(turn(&mut place).is_none());
    queue.open([true].into_iter());
    queue.serve();
    assert!(turn(&mut place).is_some());
}

#[test]
fn who_joins_while_there_is_room_is_served_at_once() {
    let queue = queue(1, 1, 10);
    let mut place = queue.join(&[]).unwrap();
    assert!(turn(&mut place).is_some());
}

#[test]
fn many_threads_never_exceed_the_room_and_all_get_their_turn() {
    let queue = queue(2, 3, 1000);
    let most = AtomicUsize::new(0);
    let now = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    for _ in 0..500 {
                        let slot = match queue.take(0).or_else(|| queue.take(1)) {
                            Some(slot) => slot,
                            None => queue.join(&[]).unwrap().turn().await.unwrap(),
                        };
                        let active = now.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(active, Ordering::SeqCst);
                        tokio::task::yield_now().await;
                        now.fetch_sub(1, Ordering::SeqCst);
                        drop(slot);
                    }
                });
            });
        }
    });
    assert!(most.into_inner() <= 6);
    assert!(queue.is_empty() && queue.gauge.get() == 0);
    assert!(
        queue
            .rooms
            .iter()
            .all(|room| room.active.load(Ordering::SeqCst) == 0)
    );
}
