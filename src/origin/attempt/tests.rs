use std::future::pending;

use super::*;

/// An attempt that ends as it is told, and tells when it is dropped.
fn attempt() -> (
    oneshot::Sender<Option<u8>>,
    oneshot::Receiver<()>,
    impl Future<Output = Option<u8>> + Send + 'static,
) {
    let (tell, told) = oneshot::channel();
    let (dropped, drops) = oneshot::channel::<()>();
    let attempt = async move {
        let _dropped = dropped;
        told.await.ok().flatten()
    };
    (tell, drops, attempt)
}

#[tokio::test]
async fn it_goes_on_without_the_one_that_began_it() {
    let attempts = Arc::new(Attempts::default());
    let (tell, _drops, attempt) = attempt();
    let leads = attempts.begin(false, attempt);
    let mut first = attempts.join().unwrap();
    let mut second = attempts.join().unwrap();
    drop(leads);
    assert!(attempts.is_under_way());
    tell.send(Some(7)).unwrap();
    assert_eq!(first.result().await, Some(7));
    assert_eq!(second.result().await, None);
    assert!(!attempts.is_under_way() && attempts.join().is_none());
}

#[tokio::test]
async fn it_ends_when_nobody_waits_any_more_unless_it_stays() {
    let attempts = Arc::new(Attempts::default());
    let (_tell, drops, one) = attempt();
    let leads = attempts.begin(false, one);
    let joins = attempts.join();
    drop((leads, joins));
    assert!(!attempts.is_under_way());
    // Dropped by the runtime.
    assert!(drops.await.is_err());
    let (tell, _drops, other) = attempt();
    drop(attempts.begin(true, other));
    let mut joins = attempts.join().unwrap();
    tell.send(Some(7)).unwrap();
    assert_eq!(joins.result().await, Some(7));
}

#[tokio::test]
async fn what_is_left_of_one_that_was_ended_disturbs_no_later_one() {
    let attempts = Arc::new(Attempts::default());
    let former = attempts.begin(false, pending());
    drop(former);
    // The former task is dropped only when the runtime has its turn.
    let (tell, _drops, later) = attempt();
    let mut leads = attempts.begin(false, later);
    tokio::task::yield_now().await;
    assert!(attempts.is_under_way());
    tell.send(Some(7)).unwrap();
    assert_eq!(leads.result().await, Some(7));
}

#[tokio::test]
async fn who_left_after_the_end_takes_nothing_from_the_others() {
    let attempts = Arc::new(Attempts::default());
    let (tell, _drops, first) = attempt();
    let mut leads = attempts.begin(false, first);
    tell.send(Some(7)).unwrap();
    assert_eq!(leads.result().await, Some(7));
    let (tell, _drops, second) = attempt();
    let mut next = attempts.begin(false, second);
    drop(leads);
    tell.send(Some(8)).unwrap();
    assert_eq!(next.result().await, Some(8));
}

#[tokio::test]
async fn one_that_brings_nothing_or_panics_lets_all_look_again() {
    let attempts = Arc::new(Attempts::<u8>::default());
    let mut leads = attempts.begin(false, async { None });
    let mut joins = attempts.join().unwrap();
    assert_eq!((leads.result().await, joins.result().await), (None, None));
    let mut leads = attempts.begin(false, async { panic!("a bug") });
    assert_eq!(leads.result().await, None);
    assert!(!attempts.is_under_way());
}

#[test]
fn it_comes_to_nothing_on_a_runtime_that_shuts_down() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    };
    let over = runtime();
    let handle = over.handle().clone();
    drop(over);
    let attempts = Arc::new(Attempts::default());
    let (_tell, _drops, attempt) = attempt();
    let entered = handle.enter();
    let mut leads = attempts.begin(false, attempt);
    drop(entered);
    assert!(!attempts.is_under_way());
    assert_eq!(runtime().block_on(leads.result()), None);
}
