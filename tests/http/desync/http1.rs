//! Shapes of HTTP/1.1 requests.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::{Named, Run, Scene, each, is_answer, shapes, told, was_forwarded};
use crate::http::stand::get;
use crate::support::client::Client;
use crate::support::http1::Response;

#[derive(Deserialize)]
struct Shape {
    name: String,
    source: String,
    request: String,
    /// Absent: it is refused.
    forwarded: Option<Vec<String>>,
    /// Origins may refuse it.
    #[serde(default)]
    unknown_method: bool,
    /// Nothing may follow it.
    #[serde(default)]
    last: bool,
}

impl Named for Shape {
    fn name(&self) -> String {
        assert!(!self.source.is_empty(), "{}", self.name);
        self.name.clone()
    }
}

pub async fn run(run: &mut Run) {
    let shapes: Vec<Shape> = shapes(include_str!("shapes/http1.toml"));
    assert!(shapes.len() > 200);
    let one = |scene: Arc<Scene>, shape| async move { one(&scene, &shape).await };
    each(run, shapes, one).await;
}

/// The content of the marker's answer.
const MARKED: &[u8] = b"\r\n\r\nGET /marker";

async fn one(scene: &Scene, shape: &Shape) {
    let name = &shape.name;
    let mut client = scene.stand.http1().await;
    let address = client.local_address();
    let before = scene.before(address);
    client.queue(shape.request.as_bytes());
    client.queue(get("/marker").as_bytes());
    client.send_pending().await;
    // Until the marker is answered, or the edge gives the connection up: at once, or because the
    // rest of something does not come.
    let mut plain = Vec::new();
    let marked = |client: &mut Client| {
        plain.extend(client.take_plain());
        let mut windows = plain.windows(MARKED.len());
        windows.any(|window| window == MARKED).then_some(())
    };
    let _ = client.until("an answer or an end", marked).await;
    client.close_notify().await;
    let (rest, _) = client.read_to_end().await;
    plain.extend(rest);
    // Gone, so that the edge need not linger.
    drop(client);
    let lines = scene.lines(name, address, before).await;
    scene.compare(name, &lines).await;

    // Every answer is that to its own request.
    for line in &lines {
        let Some(status) = line["status"].as_u64() else {
            continue;
        };
        let answer = answer(&mut plain, line);
        let Some(answer) = answer else {
            // The client's end came first.
            assert_ne!(line["end"], "complete", "{name}: {line}");
            continue;
        };
        assert_eq!(u64::from(answer.status), status, "{name}");
        if status == 200 && line["method"] != "HEAD" {
            assert!(is_answer(answer.text(), line), "{name}: {answer:?}");
        }
    }
    // What the edge refuses before it is a request has no line.
    let refused = Response::take(&mut plain, false, true).map(|answer| answer.status);
    assert!(
        plain.is_empty(),
        "{name}: more answers than requests: {}",
        String::from_utf8_lossy(&plain)
    );

    let marked = lines
        .iter()
        .any(|line| line["path"] == "/marker" && line["status"] == 200);
    let Some(expected) = &shape.forwarded else {
        // Where its end is clear, the connection may go on.
        let is_shape = |line: &&Value| refused.is_some() || line["path"] != "/marker";
        let mut gone = lines.iter().filter(is_shape);
        assert!(!gone.any(was_forwarded), "{name}: {lines:#?}");
        let by_line = lines.first().and_then(|line| line["status"].as_u64());
        let status = refused.map(u64::from).or(by_line);
        assert!(
            matches!(status, Some(400..=499 | 505)),
            "{name}: {status:?}"
        );
        return;
    };
    let breaks_off = expected.iter().any(|one| one.ends_with('*'));
    let whole: Vec<&String> = expected.iter().filter(|one| !one.ends_with('*')).collect();
    if !shape.unknown_method {
        assert_eq!(told(&lines).iter().collect::<Vec<_>>(), whole, "{name}");
    }
    if breaks_off || shape.last {
        assert!(!marked, "{name}: the marker was part of it");
    } else if !expected.is_empty() && !shape.unknown_method {
        assert!(marked, "{name}: the marker got no answer: {lines:#?}");
    }
}

/// The next answer that is not informational.
fn answer(plain: &mut Vec<u8>, line: &Value) -> Option<Response> {
    loop {
        let answer = Response::take(plain, line["method"] == "HEAD", true)?;
        if answer.status >= 200 {
            return Some(answer);
        }
    }
}
