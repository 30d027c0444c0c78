use std::path::Path;

use clap::{CommandFactory, Parser};

use super::*;

#[derive(Parser, Debug)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

const URL: &str = "https://127.0.0.1:8443/path";

fn typed(options: &[&str]) -> Result<Arguments, clap::Error> {
    let words = ["load"].iter().chain(options);
    Line::try_parse_from(words).map(|line| line.arguments)
}

fn plan(options: &[&str]) -> Plan {
    let words: Vec<&str> = [URL, "-k"].iter().chain(options).copied().collect();
    typed(&words).unwrap().plan().unwrap()
}

fn complaint(options: &[&str]) -> String {
    let words: Vec<&str> = [URL].iter().chain(options).copied().collect();
    typed(&words).unwrap().plan().unwrap_err().to_string()
}

#[test]
fn a_bare_url_is_full_handshakes_for_ten_seconds() {
    let plan = plan(&[]);
    assert_eq!(plan.mode, Mode::Full);
    assert_eq!(plan.usage, Usage::ONE);
    assert_eq!(plan.protocol, Protocol::Http1);
    assert_eq!(plan.amount, Amount::Time(Duration::from_secs(10)));
    assert_eq!((plan.connections, plan.threads, plan.streams), (50, 1, 1));
    assert_eq!(plan.connect, [SocketAddr::from(([127, 0, 0, 1], 8443))]);
    assert_eq!(plan.timeouts.handshake, Duration::from_secs(10));
}

#[test]
fn short_options_are_those_of_oha_and_h2load() {
    let plan = plan(&[
        "-c8",
        "-n",
        "100",
        "-m3",
        "-t2",
        "-r",
        "50.5",
        "--alpn",
        "h2,http/1.1",
        "--keep-alive",
    ]);
    assert_eq!((plan.connections, plan.threads, plan.streams), (8, 2, 3));
    assert_eq!(plan.amount, Amount::Operations(100));
    assert_eq!(plan.rate, Some(50.5));
    assert_eq!(plan.protocol, Protocol::Http2);
    assert_eq!(plan.alpn(), [b"h2".to_vec(), b"http/1.1".to_vec()]);
    assert_eq!(plan.usage, Usage::KeepAlive);
}

#[test]
fn every_option_reaches_the_plan() {
    let plan = plan(&[
        "--handshake",
        "early",
        "-d",
        "2s",
        "--per-connection",
        "5",
        "--pin",
        "--protocol",
        "h1",
        "--suites",
        "aes128,chacha20",
        "--groups",
        "P-256,X25519MLKEM768",
        "--sni",
        "s-{1..3}.test",
        "-X",
        "POST",
        "-H",
        "a: 1",
        "-H",
        "a: 2",
        "--body",
        "x=y",
        "--connect",
        "127.0.0.1:1",
        "--connect",
        "127.0.0.1:2",
        "--proxy-protocol",
        "v2",
        "--proxy-source",
        "192.0.2.1:9",
        "--timeout",
        "700ms",
        "--expect-early",
        "--max-errors",
        "3",
    ]);
    assert_eq!(plan.mode, Mode::Early);
    assert_eq!(plan.usage, Usage::Requests(NonZeroU64::new(5).unwrap()));
    assert!(plan.pinned);
    assert_eq!(plan.tls.suites.len(), 2);
    assert_eq!(
        plan.tls.groups,
        [NamedGroup::secp256r1, NamedGroup::X25519MLKEM768]
    );
    assert_eq!(plan.sni.count(), 3);
    assert_eq!(plan.request.method, Method::POST);
    assert_eq!(plan.request.headers.get_all("a").iter().count(), 2);
    assert_eq!(plan.request.body, "x=y");
    assert_eq!(plan.connect.len(), 2);
    let proxy = plan.proxy.unwrap();
    assert_eq!(proxy.version, ProxyVersion::V2);
    assert_eq!(proxy.source, Some(SocketAddr::from(([192, 0, 2, 1], 9))));
    assert_eq!(plan.timeouts.request, Duration::from_millis(700));
    assert!(plan.expect.early);
    assert_eq!(plan.expect.max_errors, Some(3));
    assert!(matches!(plan.tls.trust, Trust::Anyone));
}

#[test]
fn handshakes_alone_are_no_requests() {
    assert_eq!(plan(&["--per-connection", "0"]).usage, Usage::Handshake);
}

#[test]
fn options_that_contradict_each_other_are_refused_as_typed() {
    let cases: &[&[&str]] = &[
        &[],
        &["-n", "5", "-d", "5s", URL],
        &["--keep-alive", "--per-connection", "5", URL],
        &["-k", "--ca", "ca.pem", URL],
        &["--key", "key.pem", URL],
        &["--replay", "5", "--keep-alive", URL],
        &["--compare", "a.json"],
        &["--compare", "a.json", "b.json", URL],
        &["--handshake", "quick", URL],
        &["-d", "0s", URL],
        &["--suites", "rc4", URL],
        &["--connect", "nowhere", URL],
    ];
    for words in cases {
        assert!(typed(words).is_err(), "{words:?}");
    }
}

#[test]
fn what_cannot_be_is_said_with_a_hint() {
    let early = complaint(&["-k", "--expect-early"]);
    assert!(early.contains("hint: add --handshake early"), "{early}");
    let missing = complaint(&["--ca", "/no/such.pem"]);
    assert!(
        missing.contains("/no/such.pem") && missing.contains("hint: "),
        "{missing}"
    );
    let empty = tempfile::NamedTempFile::new().unwrap();
    let empty = complaint(&["--ca", empty.path().to_str().unwrap()]);
    assert!(empty.contains("no certificate in it"), "{empty}");
    let plain = typed(&["http://127.0.0.1/", "-k"]).unwrap().plan();
    assert!(plain.unwrap_err().to_string().contains("https://"));
}

#[test]
fn the_document_explains_every_option() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/LOAD.md");
    let text = std::fs::read_to_string(file).unwrap();
    for argument in Line::command().get_arguments() {
        if let Some(long) = argument.get_long() {
            assert!(text.contains(&format!("`--{long}")), "--{long}");
        }
        if let Some(short) = argument.get_short() {
            assert!(text.contains(&format!("| `-{short}`, `--")), "-{short}");
        }
    }
}
