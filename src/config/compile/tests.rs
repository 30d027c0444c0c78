use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::config::{Loaded, load};

/// A directory with a configuration file and certificates.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Writes `NAME.pem` and `NAME.key`.
    fn certificate(&self, name: &str, names: &[&str], valid: Duration) {
        let (chain, key) = certificate(names, valid);
        self.write(&format!("{name}.pem"), &chain);
        self.write(&format!("{name}.key"), &key);
    }

    fn load(&self, text: &str, previous: Option<&Snapshot>) -> Loaded {
        self.write("cutwater.toml", text);
        load(&self.path("cutwater.toml"), previous)
    }

    fn snapshot(&self, text: &str, previous: Option<&Snapshot>) -> Snapshot {
        let loaded = self.load(text, previous);
        assert!(
            loaded.compiled.broken.is_empty(),
            "{:#?}",
            loaded.compiled.broken
        );
        loaded
            .compiled
            .result
            .unwrap_or_else(|errors| panic!("{}", shown(&errors, self.0.path())))
    }
}

fn certificate(names: &[&str], valid: Duration) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut parameters = rcgen::CertificateParams::new(names).unwrap();
    let now = SystemTime::now();
    parameters.not_before = (now - Duration::from_secs(3600)).into();
    parameters.not_after = (now + valid).into();
    let certificate = parameters.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn shown(diagnostics: &[Diagnostic], base: &Path) -> String {
    let shown: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    shown
        .join("\n")
        .replace(&format!("{}/", base.display()), "")
}

const DAYS: Duration = Duration::from_secs(86_400);

const SIMPLE: &str = r#"
[[listen]]
address = "127.0.0.1:0"

[[site]]
names = ["example.com", "*.example.com"]
certificate = { chain = "a.pem", key = "a.key" }

[[site.route]]
path = "/"
respond = { status = 200, body = "hello\n" }
"#;

fn simple() -> Files {
    let files = Files::new();
    files.certificate("a", &["example.com", "*.example.com"], 90 * DAYS);
    files
}

#[test]
fn a_simple_file_becomes_a_snapshot() {
    let files = simple();
    let loaded = files.load(SIMPLE, None);
    assert!(
        loaded.compiled.warnings.is_empty(),
        "{:?}",
        loaded.compiled.warnings
    );
    let snapshot = loaded.compiled.result.unwrap();
    assert_eq!(snapshot.generation, 1);
    let listener = &snapshot.listeners[0];
    assert_eq!(&*listener.name, "127.0.0.1:0");
    let site = listener.names.get("www.example.com").unwrap();
    assert!(Arc::ptr_eq(site, &snapshot.sites[0]));
    assert!(listener.default.is_none());
    let tls = site.tls.as_ref().unwrap();
    assert!(!tls.early_data && !tls.tls12);
    assert_eq!(site.routes.iter().next().unwrap().name.as_ref(), "/*");
    assert_eq!(site.max_header_bytes, 32 * 1024);
}

#[test]
fn an_unchanged_site_is_shared_with_the_snapshot_before() {
    let files = simple();
    files.certificate("b", &["example.org"], 90 * DAYS);
    let two = format!(
        "{SIMPLE}
        [[site]]
        names = [\"example.org\"]
        certificate = {{ chain = \"b.pem\", key = \"b.key\" }}
        [[site.route]]
        path = \"/\"
        redirect = {{ to = \"https://example.com/\" }}"
    );
    let before = files.snapshot(&two, None);
    let after = files.snapshot(
        &two.replace("example.com/\"", "example.com/x\""),
        Some(&before),
    );
    assert_eq!(after.generation, 2);
    assert!(Arc::ptr_eq(&before.sites[0], &after.sites[0]));
    assert!(!Arc::ptr_eq(&before.sites[1], &after.sites[1]));
    // A site whose TLS side is as it was keeps that.
    let tls = |snapshot: &Snapshot| Arc::clone(snapshot.sites[1].tls.as_ref().unwrap());
    assert!(Arc::ptr_eq(&tls(&before), &tls(&after)));

    // A renewed certificate makes a new site that takes the old one's tickets.
    files.certificate("b", &["example.org"], 180 * DAYS);
    let renewed = files.snapshot(&two, Some(&after));
    assert!(Arc::ptr_eq(&before.sites[0], &renewed.sites[0]));
    assert!(!Arc::ptr_eq(&tls(&before), &tls(&renewed)));
    assert_eq!(tls(&before).trust, tls(&renewed).trust);
    assert_eq!(tls(&before).early, tls(&renewed).early);
}

#[test]
fn a_broken_certificate_refuses_its_site_at_start_and_changes_nothing_on_reload() {
    let files = simple();
    let before = files.snapshot(SIMPLE, None);
    let (_, other) = certificate(&["example.com"], 90 * DAYS);
    files.write("a.key", &other);

    let loaded = files.load(SIMPLE, Some(&before));
    let base = files.0.path();
    assert_eq!(
        shown(&loaded.compiled.broken, base),
        "error: a.key: the private key belongs to another certificate\n \
         --> cutwater.toml:7:40\n  |\n\
         7 | certificate = { chain = \"a.pem\", key = \"a.key\" }\n  \
         |                                        ^^^^^^^"
    );
    let reloaded = loaded.compiled.result.unwrap();
    assert!(Arc::ptr_eq(&before.sites[0], &reloaded.sites[0]));

    let started = files.load(SIMPLE, None).compiled;
    assert_eq!(started.broken.len(), 1);
    let started = started.result.unwrap();
    assert!(started.sites[0].tls.is_none());

    // What is changed beside the broken file is changed.
    let on = SIMPLE.replace("[[site.route]]", "early_data = true\n[[site.route]]");
    let changed = files.load(&on, Some(&before)).compiled.result.unwrap();
    let tls = |snapshot: &Snapshot| Arc::clone(snapshot.sites[0].tls.as_ref().unwrap());
    assert!(tls(&changed).early_data);
    assert!(Arc::ptr_eq(
        &tls(&changed).certificates,
        &tls(&before).certificates
    ));
    assert_eq!(tls(&changed).trust, tls(&before).trust);
    assert_ne!(tls(&changed).early, tls(&before).early);
}
