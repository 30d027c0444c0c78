//! Staples over restarts and reloads.

use std::sync::Arc;
use std::time::Duration;

use super::authority::{Answer, Authority, Leaf, Status};
use super::responder::{Does, Responder};
use super::stage::{Looker, NAME, config, site};
use crate::support::edge::Edge;
use crate::support::polled;

const GOOD: Does = Does::Answer(Answer::GOOD);

struct Kept {
    authority: Arc<Authority>,
    responder: Responder,
    top: String,
    certificate: String,
    looker: Looker,
}

impl Kept {
    async fn new() -> Self {
        let authority = Arc::new(Authority::new());
        let responder = Responder::start(&authority, GOOD).await;
        let leaf = Leaf {
            serial: 1,
            responder: Some(&responder.url()),
            ..Leaf::default()
        };
        let directory = authority.path("staples");
        Self {
            top: format!("[ocsp]\ndirectory = \"{}\"", directory.display()),
            certificate: authority.leaf(NAME, leaf).toml(""),
            looker: Looker::new(&authority),
            authority,
            responder,
        }
    }

    fn config(&self, more: &str) -> String {
        config(&self.top, &[site(NAME, &self.certificate, more)])
    }

    fn files(&self) -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(self.authority.path("staples"));
        let entries = entries.into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// Waits until the staple is on disk, whole.
    async fn until_kept(&self) -> std::path::PathBuf {
        polled("a file", async || match &self.files()[..] {
            [file] if file.extension().is_some_and(|end| end == "ocsp") => Some(file.clone()),
            _ => None,
        })
        .await
    }
}

#[tokio::test]
async fn a_start_shows_what_was_kept_from_the_first_handshake_on() {
    let kept = Kept::new().await;
    let mut edge = Edge::start(&kept.config("ocsp = \"required\"")).await;
    let first = kept.looker.until(&edge, NAME, Result::is_ok).await.unwrap();
    let file = kept.until_kept().await;
    assert_eq!(std::fs::read(&file).unwrap(), first.bytes);
    edge.crash().await;
    // The responder is gone; nobody has to be asked.
    kept.responder.does(Does::Hang);
    let edge = Edge::start(&kept.config("ocsp = \"required\"")).await;
    let shown = kept.looker.fresh().look(edge.address(), NAME).await;
    assert_eq!(shown.unwrap().bytes, first.bytes);
    assert_eq!(kept.responder.asked().len(), 1);
}

#[tokio::test]
async fn what_was_kept_and_is_no_good_is_not_shown_but_replaced() {
    let kept = Kept::new().await;
    let edge = Edge::start(&kept.config("")).await;
    kept.looker.until_stapled(&edge, NAME).await;
    let file = kept.until_kept().await;
    drop(edge);
    let request = kept.responder.asked()[0].body.clone();
    let ended = Answer {
        since: Duration::from_secs(7200),
        lasts: Duration::from_secs(3600),
        ..Answer::GOOD
    };
    for bad in [
        b"half".to_vec(),
        kept.authority.answer(&request, &ended),
        Authority::new().answer(&request, &Answer::GOOD),
    ] {
        std::fs::write(&file, bad).unwrap();
        kept.responder.does(Does::Hang);
        let edge = Edge::start(&kept.config("")).await;
        let shown = kept.looker.fresh().look(edge.address(), NAME).await;
        assert_eq!(shown.unwrap().staple, None);
        drop(edge);
        kept.responder.does(GOOD);
        let edge = Edge::start(&kept.config("")).await;
        let shown = kept.looker.until_stapled(&edge, NAME).await;
        assert_eq!(shown.staple, Some((Status::Good, 1)));
        polled("the new file", async || {
            (std::fs::read(&file).unwrap() == shown.bytes).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn reloads_have_no_moment_without_and_ask_nobody() {
    let kept = Kept::new().await;
    let edge = Edge::start(&kept.config("ocsp = \"required\"")).await;
    kept.looker.until(&edge, NAME, Result::is_ok).await.unwrap();
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let looking = tokio::spawn({
        let (looker, done, address) = (kept.looker.clone(), Arc::clone(&done), edge.address());
        async move {
            let mut looks = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) || looks < 20 {
                let shown = looker.fresh().look(address, NAME).await;
                assert!(shown.unwrap().staple.is_some());
                looks += 1;
            }
        }
    });
    for turn in 0..10 {
        // Another TLS side each time.
        let alpn = ["alpn = [\"http/1.1\"]", ""][turn % 2];
        let generation = edge.metric("cutwater_config_generation", &[]).await;
        edge.write_config(&kept.config(&format!("ocsp = \"required\"\n{alpn}")));
        edge.signal("HUP").await;
        edge.until_metric("cutwater_config_generation", &[], generation + 1.0)
            .await;
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    looking.await.unwrap();
    assert_eq!(kept.responder.asked().len(), 1);
}
