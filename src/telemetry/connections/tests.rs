use serde_json::Value;
use std::time::UNIX_EPOCH;

use super::*;

fn record() -> ConnectionRecord<'static> {
    ConnectionRecord {
        time: UNIX_EPOCH,
        worker: 0,
        client: "127.0.0.1:5000".parse().unwrap(),
        peer: Some("10.0.0.1:6000".parse().unwrap()),
        address_proved: true,
        listener: "public",
        sni: Some("example.com"),
        client_hellos: 2,
        group: Some("X25519"),
        suite: Some("TLS13_AES_128_GCM_SHA256"),
        version: Some("1.3"),
        alpn: Some("http/1.1"),
        certificate: Some("ecdsa_p256"),
        staple: Some("good"),
        certificate_compression: Some("brotli"),
        resumed: false,
        early: EarlyOutcome::Refused(EarlyRefusal::Hrr),
        tickets_sent: 1,
        ja4: Some("t13d0311h2_000000000000_000000000000"),
        alert_sent: None,
        alert_received: Some(Alert::UnknownCa),
        bytes_in: 517,
        bytes_out: 1200,
        requests: 0,
        handshake: None,
        duration: Duration::from_micros(10_500),
        end: ConnectionEnd::Alert,
        error: None,
    }
}

fn parsed(record: &ConnectionRecord<'_>) -> Value {
    let mut line = Vec::new();
    crate::telemetry::sink::json_line(record, &mut line);
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    serde_json::from_slice(&line).unwrap()
}

#[test]
fn a_record_is_one_line_of_json() {
    let expected = serde_json::json!({
        "time": "1970-01-01T00:00:00.000Z", "worker": 0, "client": "127.0.0.1:5000",
        "peer": "10.0.0.1:6000", "address_proved": true,
        "listener": "public", "sni": "example.com", "client_hellos": 2, "group": "X25519",
        "suite": "TLS13_AES_128_GCM_SHA256", "version": "1.3", "alpn": "http/1.1",
        "certificate": "ecdsa_p256", "staple": "good", "certificate_compression": "brotli",
        "resumed": false, "early": "refused_hrr",
        "tickets_sent": 1, "ja4": "t13d0311h2_000000000000_000000000000",
        "alert_sent": null, "alert_received": "unknown_ca", "bytes_in": 517,
        "bytes_out": 1200, "requests": 0, "handshake_ms": null, "duration_ms": 10.5,
        "end": "alert", "error": null,
    });
    assert_eq!(parsed(&record()), expected);
}

#[test]
fn early_data_is_none_offered_accepted_or_refused_with_its_reason() {
    let mut record = record();
    for (early, shown) in [
        (EarlyOutcome::None, "none"),
        (EarlyOutcome::Offered, "offered"),
        (EarlyOutcome::Accepted, "accepted"),
        (
            EarlyOutcome::Refused(EarlyRefusal::ReplaySuspected),
            "refused_replay_suspected",
        ),
    ] {
        record.early = early;
        assert_eq!(parsed(&record)["early"], shown);
    }
}

#[test]
fn errors_leaves_out_what_ended_cleanly() {
    let failed = record();
    let mut clean = record();
    clean.end = ConnectionEnd::Clean;
    let wants = |log: ConnectionLog| (log.wants(&failed), log.wants(&clean));
    assert_eq!(wants(ConnectionLog::Errors), (true, false));
    assert_eq!(wants(ConnectionLog::All), (true, true));
    assert_eq!(wants(ConnectionLog::Off), (false, false));
}

#[test]
fn the_document_names_every_field_and_no_other() {
    let line = parsed(&record());
    let mut fields: Vec<_> = line.as_object().unwrap().keys().collect();
    let mut named = crate::telemetry::documented("## Connection log");
    fields.sort();
    named.sort();
    assert_eq!(fields, named.iter().collect::<Vec<_>>());
}
