//! Shapes of answers: an origin that lies about where they end costs its own requests at most.

use serde::Deserialize;

use super::shapes;
use crate::http::stand::{NAME, Stand, forward, get};
use crate::support::origin::{Origin, Reply};

#[derive(Deserialize)]
struct Shape {
    name: String,
    source: String,
    #[serde(default = "get_method")]
    method: String,
    /// What the origin sends, as it is.
    response: String,
    /// Whether it closes then.
    #[serde(default)]
    closes: bool,
    /// What the client gets: the status, and the body behind a space. `broken`: an answer that
    /// breaks off.
    answer: String,
    /// Whether the origin's connection may be used again.
    #[serde(default)]
    reused: bool,
}

fn get_method() -> String {
    "GET".to_owned()
}

#[tokio::test]
async fn answers_that_can_be_read_in_two_ways_end_their_own_connection() {
    let shapes: Vec<Shape> = shapes(include_str!("shapes/responses.toml"));
    assert!(shapes.len() > 50);
    let replies: Vec<(Vec<u8>, bool)> = shapes
        .iter()
        .map(|shape| {
            let bytes = shape
                .response
                .chars()
                .map(|c| u8::try_from(u32::from(c)).unwrap());
            (bytes.collect(), shape.closes)
        })
        .collect();
    let origin = Origin::start(move |asked| {
        let number = asked.target().strip_prefix("/shape/");
        match number.and_then(|number| number.parse::<usize>().ok()) {
            Some(number) => match &replies[number] {
                (bytes, false) => Reply::raw(bytes.clone()),
                (bytes, true) => Reply::raw(bytes.clone()).then_close(),
            },
            None => Reply::ok(asked.target()),
        }
    })
    .await;
    let stand = Stand::start(&forward("/", &origin)).await;
    for (number, shape) in shapes.iter().enumerate() {
        let name = &shape.name;
        assert!(!shape.source.is_empty(), "{name}");
        // The marker of the shape before has left a connection behind: both know which one.
        let before = origin.requests().len();
        let request = format!(
            "{} /shape/{number} HTTP/1.1\r\nhost: {NAME}\r\n\r\n",
            shape.method
        );
        let mut client = stand.http1().await;
        client.send(request.as_bytes()).await;
        let answer = match client.try_response(shape.method == "HEAD").await {
            Ok(answer) => match answer.text() {
                "" => answer.status.to_string(),
                body => format!("{} {body}", answer.status),
            },
            Err(_) => "broken".to_owned(),
        };
        assert_eq!(answer, shape.answer, "{name}");
        // The next request gets its own answer, and on another connection if there is any doubt.
        for marker in ["/marker/one", "/marker/two"] {
            let answer = stand.ask(&get(marker)).await;
            assert_eq!(
                (answer.status, answer.text()),
                (200, marker),
                "after {name}"
            );
        }
        let asked = origin.until_requests(before + 3).await;
        let connections: Vec<usize> = asked[before..]
            .iter()
            .map(|asked| asked.connection)
            .collect();
        assert_eq!(
            connections[0] == connections[1],
            shape.reused,
            "{name}: {connections:?}"
        );
        assert_eq!(connections[1], connections[2], "{name}");
    }
}
