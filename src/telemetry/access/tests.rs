use serde_json::Value;
use std::sync::OnceLock;
use std::time::UNIX_EPOCH;

use super::*;
use crate::telemetry::sink::json_line;

fn id() -> &'static RequestId {
    static ID: OnceLock<RequestId> = OnceLock::new();
    ID.get_or_init(RequestId::make)
}

fn record() -> AccessRecord<'static> {
    AccessRecord {
        time: UNIX_EPOCH + Duration::from_millis(1_709_164_800_007),
        request_id: id(),
        client: "[2001:db8::1]:5000".parse().unwrap(),
        peer: Some("10.0.0.1:6000".parse().unwrap()),
        listener: "public",
        worker: 1,
        sni: Some("example.com"),
        protocol: Protocol::H2,
        version: Some("1.3"),
        suite: Some("TLS13_AES_128_GCM_SHA256"),
        alpn: Some("h2"),
        resumed: true,
        method: "GET",
        host: Some("example.com"),
        path: "/a?b=c",
        status: Some(200),
        bytes_in: 0,
        bytes_out: 6,
        early: EarlyState::Served,
        arrived_early: true,
        confirmed: Confirmed::True,
        answered_before_finished: true,
        route: Some("0"),
        origin: None,
        origin_time: None,
        origin_tries: 0,
        origin_error: None,
        queue: None,
        ttfb: Some(Duration::from_micros(1_250)),
        total: Duration::from_micros(2_500),
        wait: None,
        end: AnswerEnd::Complete,
    }
}

fn line(record: &AccessRecord<'_>) -> String {
    let mut line = Vec::new();
    json_line(record, &mut line);
    String::from_utf8(line).unwrap()
}

fn parsed(record: &AccessRecord<'_>) -> Value {
    serde_json::from_str(&line(record)).unwrap()
}

#[test]
fn a_record_is_one_line_of_json() {
    let record = record();
    let line = line(&record);
    assert!(line.ends_with("}\n"));
    assert_eq!(line.matches('\n').count(), 1);
    let expected = serde_json::json!({
        "time": "2024-02-29T00:00:00.007Z",
        "request_id": record.request_id.to_string(),
        "client": "[2001:db8::1]:5000", "peer": "10.0.0.1:6000", "listener": "public", "worker": 1,
        "sni": "example.com", "protocol": "h2", "version": "1.3",
        "suite": "TLS13_AES_128_GCM_SHA256", "alpn": "h2", "resumed": true,
        "method": "GET", "host": "example.com", "path": "/a?b=c", "status": 200,
        "bytes_in": 0, "bytes_out": 6, "early": "served", "arrived_early": true,
        "confirmed": true, "answered_before_finished": true, "route": "0",
        "origin": null, "origin_time_ms": null, "origin_tries": 0,
        "origin_error": null, "queue_ms": null, "ttfb_ms": 1.25, "total_ms": 2.5,
        "wait_ms": null, "end": "complete",
    });
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), expected);
}

#[test]
fn what_a_client_sends_cannot_break_out_of_its_line() {
    let path = "/\"}\n{\"status\":200,\\\u{1}\u{2028}é";
    let mut record = record();
    record.path = path;
    record.host = Some("a\r\nb");
    assert_eq!(line(&record).matches('\n').count(), 1);
    assert_eq!(parsed(&record)["path"], path);
    assert_eq!(parsed(&record)["host"], "a\r\nb");
}

#[test]
fn confirmed_is_true_or_failed() {
    let mut record = record();
    for (confirmed, shown) in [
        (Confirmed::True, Value::Bool(true)),
        (Confirmed::Failed, Value::String("failed".into())),
    ] {
        record.confirmed = confirmed;
        assert_eq!(parsed(&record)["confirmed"], shown);
    }
}

#[test]
fn a_timeout_says_which() {
    let mut record = record();
    record.end = AnswerEnd::Timeout(TimeoutKind::WriteIdle);
    assert_eq!(parsed(&record)["end"], "timeout_write_idle");
    record.end = AnswerEnd::AbortedByClient;
    record.status = None;
    assert_eq!(parsed(&record)["end"], "aborted_by_client");
    assert_eq!(parsed(&record)["status"], Value::Null);
}

#[test]
fn records_are_appended_to_the_same_buffer() {
    let mut lines = Vec::new();
    let record = record();
    json_line(&record, &mut lines);
    json_line(&record, &mut lines);
    let lines = String::from_utf8(lines).unwrap();
    let values: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(values.len(), 2);
    assert_eq!(values[0], values[1]);
}

#[test]
fn durations_of_hours_are_shown_too() {
    let mut record = record();
    record.total = Duration::from_secs(100 * 3_600);
    assert_eq!(parsed(&record)["total_ms"], 360_000_000_u64);
}

#[test]
fn the_document_names_every_field_and_no_other() {
    let line = parsed(&record());
    let mut fields: Vec<_> = line.as_object().unwrap().keys().collect();
    let mut named = crate::telemetry::documented("## Access log");
    fields.sort();
    named.sort();
    assert_eq!(fields, named.iter().collect::<Vec<_>>());
}

#[test]
fn a_client_whose_port_nobody_knows_is_an_address() {
    let client = "[2001:db8::1]:0".parse().unwrap();
    let line = parsed(&AccessRecord {
        client,
        peer: None,
        ..record()
    });
    assert_eq!(line["client"], "2001:db8::1");
    assert_eq!(line["peer"], Value::Null);
}
