use super::*;
use crate::inspect::report::{Compression, Usual};

/// A server whose words are these, wherever it has a say.
fn inspection(words: &str) -> Inspection {
    Inspection {
        target: "a.test:443".to_owned(),
        address: ([192, 0, 2, 1], 443).into(),
        server_name: Some("a.test".to_owned()),
        began: "2026-07-01T00:00:00Z".to_owned(),
        seconds: 1.0,
        connections: 1,
        versions: Vec::new(),
        usual: Some(Usual {
            version: "TLS 1.3".to_owned(),
            suite: None,
            group: None,
            alpn: Some(words.to_owned()),
        }),
        alpn: Vec::new(),
        http3: Http3 {
            spoken: Some(true),
            alt_svc: Some(words.to_owned()),
        },
        resumption: Resumption::default(),
        early_data: EarlyData::default(),
        certificate_compression: Vec::<Compression>::new(),
        client_certificate: false,
        certificates: vec![CertificateReport {
            shown_for: Vec::new(),
            trusted: Some(false),
            distrust: Some(words.to_owned()),
            staple: Some(StapleReport {
                state: StapleState::Bad,
                why: Some(words.to_owned()),
                this_update: None,
                next_update: None,
                age: None,
                left: None,
            }),
            forged: Some(words.to_owned()),
            description: None,
        }],
        notes: vec![words.to_owned()],
    }
}

#[test]
fn a_server_writes_no_line_of_its_own() {
    let plain = render(&inspection("words"));
    let forged = render(&inspection(
        "words\n\r  trusted   yes\u{1b}[2J\u{9b}\u{202e}",
    ));
    assert_eq!(forged.matches("\\u{1b}[2J").count(), 6, "{forged}");
    assert_eq!(forged.lines().count(), plain.lines().count());
    let obeyed = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
    assert!(!forged.contains(obeyed), "{forged:?}");
}
