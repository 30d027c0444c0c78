use std::sync::Arc;
use std::time::SystemTime;

use rustls::RootCertStore;

use super::*;
use crate::certs::transparency::tests::{Issued, TestLog, list, now};
use crate::certs::transparency::{LogList, SctVerdict};

fn trust(logs: Option<LogList>) -> Trust {
    Trust {
        authorities: Vec::new(),
        roots: Arc::new(RootCertStore::empty()),
        logs,
    }
}

fn shown(chain: Vec<CertificateDer<'static>>) -> Shown {
    Shown {
        chain,
        staple: None,
    }
}

#[test]
fn timestamps_are_checked_against_the_list_that_was_given() {
    let (issued, log) = (Issued::new(), TestLog::new());
    let logs = list(serde_json::json!({ "operators": [
        { "name": "Right", "logs": [log.entry("right", "usable")] },
    ]}));
    let chain = shown(issued.chain(&[issued.sct(&log, now() - crate::certs::describe::DAY)]));
    let verdict = |trust: &Trust| {
        let mut certificates = Certificates::new(trust, now());
        certificates.add_unverified(&chain);
        let (reports, note) = certificates.reports(|| true);
        assert_eq!(note, None);
        let description = reports[0].description.as_ref().unwrap();
        (description.scts[0].verdict, description.scts[0].log.clone())
    };
    let listed = verdict(&trust(Some(logs)));
    assert_eq!(listed, (SctVerdict::Good, Some("right".to_owned())));
    assert_eq!(verdict(&trust(None)), (SctVerdict::Unchecked, None));
}

#[test]
fn the_chains_of_one_server_are_bounded_in_number_and_in_time() {
    let trust = trust(None);
    let mut certificates = Certificates::new(&trust, SystemTime::now());
    for one in 0..100 {
        certificates.add_unverified(&shown(vec![CertificateDer::from(vec![one])]));
        // One that is known is no other.
        certificates.add_unverified(&shown(vec![CertificateDer::from(vec![0])]));
    }
    let (reports, note) = certificates.reports(|| true);
    assert_eq!(reports.len(), MOST);
    assert!(note.unwrap().contains("more than 8 chains"));
    let (reports, note) = certificates.reports(|| false);
    assert!(reports.is_empty());
    assert!(note.unwrap().contains("took too long"));
}
