use std::collections::BTreeSet;

use prometheus::TextEncoder;

use super::*;
use crate::telemetry::labels::{
    Ejection, HealthCheck, Label, OcspFetch, OriginConnection, OriginError, RetryReason,
    ServerState, StapleState,
};

const DOCUMENT: &str = include_str!("../../../docs/METRICS.md");

fn metrics() -> (Metrics, Registry) {
    let registry = Registry::new();
    (Metrics::new(&registry).unwrap(), registry)
}

fn text(registry: &Registry) -> String {
    TextEncoder::new()
        .encode_to_string(&registry.gather())
        .unwrap()
}

fn families(registry: &Registry) -> BTreeSet<String> {
    let families = registry.gather();
    families.iter().map(|family| family.name().into()).collect()
}

#[test]
fn every_family_is_shown_from_the_start_once_and_with_help() {
    let (_metrics, registry) = metrics();
    let text = text(&registry);
    let families = families(&registry);
    assert!(families.len() > 50, "{}", families.len());
    for family in families {
        assert!(family.starts_with("cutwater_"), "{family}");
        for kind in ["HELP", "TYPE"] {
            let start = format!("# {kind} {family} ");
            let lines: Vec<_> = text
                .lines()
                .filter(|line| line.starts_with(&start))
                .collect();
            assert_eq!(lines.len(), 1, "{start}");
            assert!(lines[0].len() > start.len(), "{start}");
        }
        assert!(
            text.lines().any(|line| line.starts_with(&family)),
            "{family} has no series"
        );
    }
}

#[test]
fn the_document_names_every_family_and_no_other() {
    let (_metrics, registry) = metrics();
    let named: BTreeSet<String> = DOCUMENT
        .split('`')
        .filter(|word| word.starts_with("cutwater_") && !word.contains(['{', ' ']))
        .map(Into::into)
        .collect();
    let mut all = families(&registry);
    // Their series are those of the configuration: there are none yet.
    for named in [
        "origin_server_usable",
        "certificate_info",
        "certificate_not_before_seconds",
        "certificate_not_after_seconds",
        "certificate_scts",
        "certificate_problems",
        "certificate_staple_this_update_seconds",
        "certificate_staple_next_update_seconds",
        "certificate_staple_revoked",
    ] {
        assert!(all.insert(format!("cutwater_{named}")));
    }
    assert_eq!(named, all);
}

#[test]
fn the_document_names_every_value_of_every_label() {
    let (_metrics, registry) = metrics();
    for family in registry.gather() {
        let name = family.name();
        if name == "cutwater_handshake_failures_total" || name == "cutwater_build_info" {
            continue; // alerts have RFC names, versions are not known beforehand
        }
        let row = DOCUMENT
            .lines()
            .find(|line| line.starts_with(&format!("| `{name}` ")))
            .unwrap_or_else(|| panic!("no row for {name}"));
        for metric in family.get_metric() {
            for label in metric.get_label() {
                assert!(row.contains(label.name()), "{name} {}", label.name());
                assert!(
                    row.split([' ', ',', ';']).any(|word| word == label.value()),
                    "{name} {}",
                    label.value()
                );
            }
        }
    }
}

#[test]
fn nothing_that_is_recorded_makes_a_new_series() {
    let (metrics, registry) = metrics();
    let series = |registry: &Registry| {
        let families = registry.gather();
        families.iter().map(|f| f.get_metric().len()).sum::<usize>()
    };
    let before = series(&registry);
    assert!(before < 350, "{before}");
    for status in [0, 99, 100, 200, 302, 425, 599, 600, u16::MAX] {
        metrics
            .requests
            .end(Protocol::H2, status, Target::Origin, Duration::ZERO);
    }
    for code in 0..=u8::MAX {
        let alert = rustls::AlertDescription::from(code);
        metrics
            .handshakes
            .failed
            .inc(FailedBy::Client, alert.into());
    }
    assert_eq!(series(&registry), before);
    assert_eq!(
        metrics.requests.ended.get(Protocol::H2, StatusClass::None),
        4
    );
    let failed = |alert| metrics.handshakes.failed.get(FailedBy::Client, alert);
    assert_eq!(failed(Alert::BadRecordMac), 1);
    assert_eq!(failed(Alert::None), 0);
    assert!(failed(Alert::Other) > 200);
}

#[test]
fn each_child_counts_for_its_own_label() {
    let (metrics, registry) = metrics();
    metrics.timeouts.inc(TimeoutKind::ResponseIdle);
    metrics.early.refused.add(EarlyRefusal::Hrr, 3);
    metrics.handshakes.complete(
        HandshakeKind::Early,
        TlsVersion::Tls13,
        Duration::from_millis(3),
    );
    metrics.connections.open.inc();
    let text = text(&registry);
    for line in [
        "cutwater_timeouts_total{kind=\"response_idle\"} 1",
        "cutwater_timeouts_total{kind=\"total\"} 0",
        "cutwater_early_data_refused_total{reason=\"hrr\"} 3",
        "cutwater_handshakes_total{kind=\"early\",version=\"1.3\"} 1",
        "cutwater_handshakes_total{kind=\"early\",version=\"1.2\"} 0",
        "cutwater_handshake_seconds_bucket{kind=\"early\",le=\"0.0025\"} 0",
        "cutwater_handshake_seconds_bucket{kind=\"early\",le=\"0.005\"} 1",
        "cutwater_connections_open 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}");
    }
}

#[test]
fn a_registry_takes_one_edge() {
    let (_metrics, registry) = metrics();
    assert!(Metrics::new(&registry).is_err());
}

#[test]
fn words_and_indices_of_labels_are_unique() {
    fn check<L: Label + std::fmt::Debug>() {
        let words: BTreeSet<_> = L::ALL.iter().map(|label| label.as_str()).collect();
        assert_eq!(words.len(), L::ALL.len(), "{:?}", L::ALL);
        for (index, label) in L::ALL.iter().enumerate() {
            assert_eq!(label.index(), index);
            assert_eq!(L::from_word(label.as_str()), Some(*label));
        }
        assert_eq!(L::from_word("no such word"), None);
    }
    check::<AcceptError>();
    check::<Alert>();
    check::<Cap>();
    check::<ConnectionEnd>();
    check::<Direction>();
    check::<EarlyRefusal>();
    check::<EarlyState>();
    check::<Ejection>();
    check::<HealthCheck>();
    check::<ServerState>();
    check::<FailedBy>();
    check::<HandshakeKind>();
    check::<HelloError>();
    check::<Limit>();
    check::<Log>();
    check::<OcspFetch>();
    check::<OriginConnection>();
    check::<OriginError>();
    check::<Protocol>();
    check::<ReloadResult>();
    check::<RetryReason>();
    check::<StapleState>();
    check::<StatusClass>();
    check::<Target>();
    check::<TimeoutKind>();
    check::<TlsVersion>();
    check::<TooEarlyBy>();
}
