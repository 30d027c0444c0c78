//! EARLY-DATA R17, R18: marks of whatever spelling, wherever they come from.

use super::stage::{EARLY, LATE, OLD, Stage, asked};
use crate::support::client::Client;
use crate::support::h2::H2;

/// Spellings of the field: each is a mark.
const MARKS: [&str; 7] = [
    "early-data: 1\r\n",
    "Early-Data:1\r\n",
    "early-data: 0\r\n",
    "early-data:\r\n",
    "early-data: 1, 1\r\n",
    "early-data: 1\r\nearly-data: 1\r\n",
    "early-data: 1\r\nconnection: early-data\r\n",
];

fn get(host: &str, path: &str, fields: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{fields}\r\n").into_bytes()
}

#[tokio::test]
async fn every_spelling_of_the_field_is_a_mark_and_is_passed_on_as_one() {
    let stage = Stage::start().await;
    let setup = stage.pki.client().alpn(&["http/1.1"]);
    let mut client = Client::open(stage.address, EARLY, &setup).await;
    for (number, mark) in MARKS.iter().enumerate() {
        for (route, passes) in [("wait", false), ("refuse", false), ("safe", true)] {
            let path = format!("/aware/{route}/{number}");
            client.send(&get(EARLY, &path, mark)).await;
            let status = client.response().await.status;
            assert_eq!(status, if passes { 200 } else { 425 }, "{route} {mark:?}");
            let asked = asked(&stage.aware, &path);
            assert_eq!(asked.len(), usize::from(passes), "{route} {mark:?}");
            for asked in asked {
                assert_eq!(asked.fields("early-data"), ["1"], "{mark:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_mark_counts_with_early_data_off_and_under_tls_1_2() {
    let stage = Stage::start().await;
    let late = stage.pki.client().alpn(&["http/1.1"]);
    let old = late.clone().tls12().fresh();
    for (name, setup) in [(LATE, late.clone()), (OLD, late), (OLD, old)] {
        let mut client = Client::open(stage.address, name, &setup).await;
        for target in ["early", "plain", "aware", "unaware"] {
            for route in ["wait", "refuse"] {
                for (fields, right) in [(MARKS[0], 425), ("", 200)] {
                    let path = format!("/{target}/{route}");
                    client.send(&get(name, &path, fields)).await;
                    let status = client.response().await.status;
                    assert_eq!(status, right, "{name} {path} {fields:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn the_field_in_trailers_is_dropped_and_counts_for_nothing() {
    let stage = Stage::start().await;
    let setup = stage.pki.client().alpn(&["http/1.1"]);
    let mut client = Client::open(stage.address, EARLY, &setup).await;
    let request = format!(
        "POST /aware/wait HTTP/1.1\r\nhost: {EARLY}\r\ntransfer-encoding: chunked\r\n\
         trailer: early-data, x-sum\r\n\r\n4\r\nbody\r\n0\r\nearly-data: 1\r\nx-sum: 7\r\n\r\n"
    );
    client.send(request.as_bytes()).await;
    assert_eq!(client.response().await.status, 200);
    let asked = stage.aware.until_requests(1).await.remove(0);
    assert_eq!(asked.body, b"body");
    assert_eq!(asked.trailers.to_lowercase(), "x-sum: 7\r\n");
    assert_eq!(asked.fields("early-data"), [""; 0]);
}

#[tokio::test]
async fn the_field_in_trailers_over_http2_counts_for_nothing() {
    let stage = Stage::start().await;
    let setup = stage.pki.client().alpn(&["h2"]);
    let client = Client::open(stage.address, EARLY, &setup).await;
    let mut h2 = H2::start(client).await;
    let head = http::Request::post(format!("https://{EARLY}/aware/wait"))
        .header("trailer", "early-data, x-sum")
        .body(())
        .unwrap();
    let (answer, mut stream) = h2.send.send_request(head, false).unwrap();
    stream.send_data("body".into(), false).unwrap();
    let mut trailers = http::HeaderMap::new();
    trailers.insert("early-data", "1".parse().unwrap());
    trailers.insert("x-sum", "7".parse().unwrap());
    stream.send_trailers(trailers).unwrap();
    let answer = crate::support::h2::whole(answer).await.unwrap();
    assert_eq!(answer.status, 200);
    let asked = stage.aware.until_requests(1).await.remove(0);
    assert_eq!(asked.trailers.to_lowercase(), "x-sum: 7\r\n");
    assert_eq!(asked.fields("early-data"), [""; 0]);
}
