use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::house::{HELLO, House, NAME, get, get2, reload, until_metric};
use crate::support::client::{Client, Ending};
use crate::support::edge::Edge;
use crate::support::h2::H2;

fn says(word: &str) -> String {
    HELLO.replace("hello", word)
}

/// The config with another site too.
fn with_other(house: &House, site: &str) -> String {
    let other = house.pki.files(&["other.example"]).toml();
    let more =
        format!("{site}[[site]]\nnames = [\"other.example\"]\ncertificate = {other}\n{HELLO}");
    house.config("", &more)
}

async fn body(client: &mut Client) -> String {
    client.send(&get("/")).await;
    let answer = client.response().await;
    assert_eq!(answer.status, 200);
    answer.text().to_owned()
}

#[tokio::test]
async fn ten_thousand_requests_across_a_hundred_reloads_are_all_answered() {
    const REQUESTS: usize = 10_000;
    let house = House::new();
    let edge = house.start("[log]\naccess = \"off\"", &says("one")).await;
    let done = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let mut client = house.open(&edge).await;
        let (done, answered) = (Arc::clone(&done), Arc::clone(&answered));
        tasks.push(tokio::spawn(async move {
            while !done.load(Ordering::Relaxed) || answered.load(Ordering::Relaxed) < REQUESTS {
                let text = body(&mut client).await;
                assert!(text == "one\n" || text == "two\n", "{text}");
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    let mut h2 = H2::start(Client::open(edge.address(), NAME, &house.h2()).await).await;
    tasks.push(tokio::spawn({
        let (done, answered) = (Arc::clone(&done), Arc::clone(&answered));
        async move {
            while !done.load(Ordering::Relaxed) || answered.load(Ordering::Relaxed) < REQUESTS {
                assert_eq!(h2.fetch(get2("/")).await.unwrap().status, 200);
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }
    }));
    let configs = ["two", "one"].map(|word| house.config("[log]\naccess = \"off\"", &says(word)));
    for turn in 0..100 {
        reload(&edge, &configs[turn % 2]).await;
    }
    done.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    assert!(answered.load(Ordering::Relaxed) >= REQUESTS);
    let ok = edge.metric("cutwater_config_reloads_total", &["ok"]).await;
    assert_eq!(ok, 100.0);
    let opened = edge
        .metric("cutwater_connections_accepted_total", &[])
        .await;
    assert_eq!(opened, 4.0, "no connection was opened again");
}

#[tokio::test]
async fn the_next_request_of_an_open_connection_sees_the_new_config() {
    let house = House::new();
    let edge = house.start("", &says("one")).await;
    let mut client = house.open(&edge).await;
    let mut h2 = H2::start(Client::open(edge.address(), NAME, &house.h2()).await).await;
    assert_eq!(body(&mut client).await, "one\n");
    assert_eq!(h2.fetch(get2("/")).await.unwrap().text(), "one\n");
    reload(&edge, &house.config("", &says("two"))).await;
    assert_eq!(body(&mut client).await, "two\n");
    assert_eq!(h2.fetch(get2("/")).await.unwrap().text(), "two\n");
}

/// Connections of both protocols that were made before a reload to `after` get 421 and a close.
async fn misdirected_after(edge: &Edge, house: &House, after: &str) {
    let mut client = house.open(edge).await;
    let mut h2 = H2::start(Client::open(edge.address(), NAME, &house.h2()).await).await;
    assert_eq!(body(&mut client).await, "hello\n");
    assert_eq!(h2.fetch(get2("/")).await.unwrap().status, 200);
    reload(edge, after).await;
    client.send(&get("/")).await;
    let answer = client.response().await;
    assert_eq!(answer.status, 421);
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(client.ending().await, Ending::CloseNotify);
    assert_eq!(h2.fetch(get2("/")).await.unwrap().status, 421);
    // GOAWAY: the client closes when it has its answer.
    assert_eq!(h2.ended().await.ending().await, Ending::CloseNotify);
    let count = edge.metric("cutwater_misdirected_requests_total", &[]);
    assert_eq!(count.await, 2.0);
}

#[tokio::test]
async fn a_removed_site_answers_421_and_closes() {
    let house = House::new();
    let edge = house.start("", HELLO).await;
    let after = with_other(&house, HELLO).replace(NAME, "former.example");
    let files = house.pki.files(&["former.example"]);
    assert!(files.chain.exists());
    misdirected_after(&edge, &house, &after).await;
}

#[tokio::test]
async fn a_site_of_another_trust_answers_421_and_closes() {
    let house = House::new();
    let edge = house.start("", HELLO).await;
    let after = house.config("", &format!("min_version = \"1.2\"\n{HELLO}"));
    misdirected_after(&edge, &house, &after).await;
    // Who comes again is served.
    assert_eq!(body(&mut house.open(&edge).await).await, "hello\n");
}

#[tokio::test]
async fn an_error_in_the_text_refuses_the_reload() {
    let house = House::new();
    let edge = house.start("", &says("one")).await;
    let mut client = house.open(&edge).await;
    assert_eq!(body(&mut client).await, "one\n");
    let wrong = house.config("backlogg = 7", &says("two"));
    edge.write_config(&wrong);
    edge.signal("HUP").await;
    edge.until_text("cutwater.toml:6:1").await;
    edge.until_text("reload refused").await;
    let failed = ["failed"];
    until_metric(&edge, "cutwater_config_reloads_total", &failed, 1.0).await;
    assert_eq!(body(&mut client).await, "one\n");
    assert_eq!(body(&mut house.open(&edge).await).await, "one\n");
    assert_eq!(edge.metric("cutwater_config_generation", &[]).await, 1.0);
    // Put right, it is taken.
    reload(&edge, &house.config("", &says("two"))).await;
    assert_eq!(body(&mut client).await, "two\n");
}

#[tokio::test]
async fn a_missing_file_refuses_the_reload() {
    let house = House::new();
    let edge = house.start("", HELLO).await;
    std::fs::remove_file(edge.directory().join("cutwater.toml")).unwrap();
    edge.signal("HUP").await;
    let failed = ["failed"];
    until_metric(&edge, "cutwater_config_reloads_total", &failed, 1.0).await;
    assert_eq!(body(&mut house.open(&edge).await).await, "hello\n");
}

#[tokio::test]
async fn a_broken_certificate_keeps_the_former_one() {
    let house = House::new();
    let edge = house.start("", &says("one")).await;
    std::fs::write(&house.files.chain, "garbage").unwrap();
    reload(&edge, &house.config("", &says("two"))).await;
    let chain = house.files.chain.display().to_string();
    edge.until_text(&chain).await;
    // The rest of the new config counts.
    assert_eq!(body(&mut house.open(&edge).await).await, "two\n");
    assert_eq!(edge.metric("cutwater_sites_refused", &[]).await, 0.0);
}

#[tokio::test]
async fn what_is_read_at_start_only_is_warned_of() {
    let house = House::new();
    let edge = house.start("", HELLO).await;
    let listen = "[[listen]]\nname = \"more\"\naddress = \"127.0.0.1:0\"";
    reload(&edge, &house.config(listen, HELLO)).await;
    edge.until_text("[[listen]] is read at start only").await;
    assert_eq!(body(&mut house.open(&edge).await).await, "hello\n");
}
