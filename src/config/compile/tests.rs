mod origin_tls;

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
         |                                        ^^^^^^^\n  \
         = hint: take the key that the certificate was asked for with"
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

/// Each error as `file:line:column message / hint`.
fn told(files: &Files, diagnostics: &[Diagnostic]) -> Vec<String> {
    let base = format!("{}/", files.0.path().display());
    let tell = |diagnostic: &Diagnostic| {
        let place = diagnostic.place.as_ref().map(ToString::to_string);
        let hint = diagnostic.hint.as_deref().unwrap_or("");
        let text = format!(
            "{} {} / {hint}",
            place.unwrap_or_default(),
            diagnostic.message
        );
        text.replace(&base, "")
    };
    diagnostics.iter().map(tell).collect()
}

#[test]
fn rules_over_several_values_are_told_all_at_once() {
    let files = Files::new();
    files.certificate("a", &["a.com", "*.a.com"], 90 * DAYS);
    let text = r#"[[listen]]
address = "127.0.0.1:443"
name = "x"
[[listen]]
address = "127.0.0.1:443"
name = "x1"
[[listen]]
address = "127.0.0.1:80"
name = "x"
tls = false
[admin]
address = "127.0.0.1:80"
[origin.app]
servers = ["http://a"]
[[site]]
names = ["a.com", "b.a.com"]
certificate = { chain = "a.pem", key = "a.key" }
default = true
[[site.route]]
path = "/"
origin = "apq"
early_data = "allow"
[[site.route]]
path = "/x"
methods = ["GET", "HEAD"]
origin = "app"
[[site.route]]
path = "//x"
methods = ["HEAD", "GET"]
origin = "app"
[[site]]
names = ["b.a.com"]
certificate = { chain = "a.pem", key = "a.key" }
default = true
listen = ["x1", "z"]
[[site]]
names = ["c.a.com"]
[[site.route]]
path = "/"
host = "c.com"
origin = "app"
"#;
    let loaded = files.load(text, None).compiled;
    assert_eq!(
        told(&files, &loaded.result.unwrap_err()),
        [
            "cutwater.toml:5:11 two listeners have the address 127.0.0.1:443 / take one of the two away",
            "cutwater.toml:9:8 two listeners are named `x` / give each [[listen]] its own `name`",
            "cutwater.toml:12:11 127.0.0.1:80 is the address of a listener too / \
             give [admin] a port of its own",
            "cutwater.toml:21:10 no origin is named `apq` / did you mean `app`?",
            "cutwater.toml:22:14 `early_data = \"allow\"` on a site without early data / \
             set `early_data = true` in the [[site]], or take this away",
            "cutwater.toml:27:1 HEAD,GET //x* matches the same as GET,HEAD /x* / \
             take one of the two away",
            "cutwater.toml:31:1 site b.a.com has no route / add a [[site.route]] with path = \"/\"",
            "cutwater.toml:32:10 `b.a.com` is named twice on listener `x1` / \
             a name belongs to one site: take it away from one of the two",
            "cutwater.toml:34:11 listener `x1` has two default sites / \
             leave it at one site, or give the two different `listen`",
            "cutwater.toml:35:17 no listener is named `z` / did you mean `x`?",
            "cutwater.toml:36:1 site c.a.com has no certificate / add `certificate = { chain = \"…\", \
             key = \"…\" }`, or a `certificate_directory` at the top of the main file",
            "cutwater.toml:40:8 `c.com` is none of the site's names / its names are: c.a.com",
        ]
    );
}

#[test]
fn a_certificate_that_does_not_cover_a_name_breaks_its_site_alone() {
    let files = simple();
    let text = SIMPLE.replace("\"*.example.com\"", "\"a.b.example.com\"");
    let loaded = files.load(&text, None).compiled;
    assert_eq!(
        told(&files, &loaded.broken),
        [
            "cutwater.toml:6:25 the certificate does not cover `a.b.example.com` / \
          it is for: example.com, *.example.com"
        ]
    );
    assert!(loaded.result.unwrap().sites[0].tls.is_none());
}

#[test]
fn every_fault_of_certificate_files_is_told_at_its_file_with_a_hint() {
    let files = simple();
    let (chain, key) = ("cutwater.toml:7:25", "cutwater.toml:7:40");
    let broken = |change: &dyn Fn()| {
        files.certificate("a", &["example.com", "*.example.com"], 90 * DAYS);
        change();
        told(&files, &files.load(SIMPLE, None).compiled.broken)
    };
    let remove = |name: &str| fs::remove_file(files.path(name)).unwrap();
    let absent = "No such file or directory (os error 2) / \
                  a path is relative to the file that it stands in";
    let both = broken(&|| {
        remove("a.pem");
        remove("a.key");
    });
    assert_eq!(
        both,
        [
            format!("{chain} cannot read a.pem: {absent}"),
            format!("{key} cannot read a.key: {absent}"),
        ]
    );
    let directory = broken(&|| {
        remove("a.key");
        fs::create_dir(files.path("a.key")).unwrap();
    });
    assert!(
        directory[0].ends_with("it has to be a file that the user of this program may read"),
        "{directory:?}"
    );
    fs::remove_dir(files.path("a.key")).unwrap();
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    for (name, text, place, message) in [
        ("a.pem", "", chain, "no certificate in it"),
        ("a.pem", "-----BEGIN CERTIFICATE-----\n", chain, "bad PEM"),
        ("a.key", "", key, "no private key in it"),
        ("a.key", "-----BEGIN PRIVATE KEY-----\n", key, "bad PEM"),
        ("a.key", encrypted, key, "is encrypted"),
    ] {
        let broken = broken(&|| files.write(name, text));
        assert_eq!(broken.len(), 1, "{broken:?}");
        let (told, hint) = broken[0].split_once(" / ").unwrap();
        assert!(told.starts_with(place) && told.contains(message), "{told}");
        assert!(told.contains(name) && !hint.is_empty(), "{broken:?}");
    }
}

#[test]
fn what_is_hardly_meant_is_warned_about() {
    let files = Files::new();
    files.certificate("a", &["example.com", "*.example.com"], 3 * DAYS);
    let text = SIMPLE.replace("[[site.route]]", "early_data = true\n[[site.route]]");
    let quiet = files.load(&text, None).compiled;
    let warnings = told(&files, &quiet.warnings);
    assert!(
        warnings[0].ends_with("a.pem: the certificate expires in 2 days / renew it"),
        "{warnings:?}"
    );
    assert!(
        warnings[1]
            .starts_with("cutwater.toml:9:14 site example.com takes early data, but no route"),
        "{warnings:?}"
    );
    let origin = format!(
        "{text}[[site.route]]\npath = \"/a\"\nearly_data = \"safe\"\norigin = [\"http://a\"]\n"
    );
    let unaware = files.load(&origin, None).compiled;
    let warnings = told(&files, &unaware.warnings);
    assert!(
        warnings[1]
            .starts_with("cutwater.toml:15:14 early requests to origin `http://a:80` will wait"),
        "{warnings:?}"
    );
    assert_eq!(warnings.len(), 2);

    files.certificate("a", &["example.com", "*.example.com"], Duration::ZERO);
    let (spec, later) = (quiet_spec(&files, SIMPLE), SystemTime::now() + DAYS);
    let expired = compile(&spec, None, later);
    assert!(
        expired.warnings[0]
            .message
            .ends_with("the certificate has expired")
    );
    assert!(expired.result.unwrap().sites[0].tls.is_some());
}

fn quiet_spec(files: &Files, text: &str) -> Spec {
    files.load(text, None).spec
}

#[test]
fn a_site_without_certificate_takes_the_pair_that_covers_its_names() {
    let files = Files::new();
    files.certificate("certs/short", &["example.com", "*.example.com"], 20 * DAYS);
    files.certificate("certs/long", &["example.com", "*.example.com"], 90 * DAYS);
    files.certificate("certs/other", &["example.com"], 180 * DAYS);
    let (chain, key) = certificate(&["example.org"], 90 * DAYS);
    files.write("certs/both.pem", &format!("{chain}{key}"));
    let line = SIMPLE
        .lines()
        .find(|line| line.starts_with("certificate"))
        .unwrap();
    let text = format!(
        "certificate_directory = \"certs\"\n{}",
        SIMPLE.replace(line, "")
    );
    let snapshot = files.snapshot(&text, None);
    let leaf = |snapshot: &Snapshot| {
        let tls = snapshot.sites[0].tls.as_ref().unwrap();
        tls.certificates.certificates()[0].cert[0].clone()
    };
    let long = files.path("certs/long.pem");
    let pem = fs::read(&long).unwrap();
    use rustls::pki_types::pem::PemObject;
    assert_eq!(
        leaf(&snapshot),
        rustls::pki_types::CertificateDer::from_pem_slice(&pem).unwrap()
    );
    let org = text.replace("\"example.com\", \"*.example.com\"", "\"example.org\"");
    assert!(files.snapshot(&org, None).sites[0].tls.is_some());

    // A pair that is broken later costs nothing that is in use, but is told.
    for name in ["long", "short"] {
        files.write(&format!("certs/{name}.key"), "");
    }
    let loaded = files.load(&text, Some(&snapshot)).compiled;
    assert_eq!(loaded.broken.len(), 3, "{:?}", told(&files, &loaded.broken));
    assert!(Arc::ptr_eq(
        &loaded.result.unwrap().sites[0],
        &snapshot.sites[0]
    ));
}

#[test]
fn included_files_bring_sites_and_nothing_else() {
    let files = simple();
    let site = |name: &str| {
        format!(
            "[[site]]\nnames = [\"{name}\"]\ncertificate = {{ chain = \"s.pem\", key = \"s.key\" }}\n\
             [[site.route]]\npath = \"/\"\nrespond = {{ body_file = \"x.html\" }}\n"
        )
    };
    files.certificate("sites.d/s", &["a.org", "b.org"], 90 * DAYS);
    files.write("sites.d/x.html", "<p>");
    files.write("sites.d/b.toml", &site("b.org"));
    files.write("sites.d/a.toml", &site("a.org"));
    files.write("sites.d/.hidden.toml", "nonsense");
    let text = format!("include = [\"sites.d/*.toml\"]\n{SIMPLE}");
    let snapshot = files.snapshot(&text, None);
    let names: Vec<&str> = snapshot.sites.iter().map(|site| &*site.name).collect();
    assert_eq!(names, ["example.com", "a.org", "b.org"]);

    files.write(
        "sites.d/b.toml",
        &format!("include = []\n{}", site("a.org")),
    );
    files.write("sites.d/c.toml", "\n\n[[site]\n");
    let errors = files.load(&text, None).compiled.result.unwrap_err();
    let told = told(&files, &errors);
    assert!(
        told[0].starts_with("sites.d/b.toml:1:1 unknown key `include` in an included file"),
        "{told:?}"
    );
    assert!(told[1].starts_with("sites.d/c.toml:3:"), "{told:?}");
}

#[test]
fn sites_of_one_name_on_two_listeners_share_no_sessions() {
    let files = simple();
    let (listen, site) = SIMPLE.split_at(SIMPLE.find("[[site]]").unwrap());
    let on = |name: &str| site.replacen("names", &format!("listen = [\"{name}\"]\nnames"), 1);
    let text = format!(
        "{listen}name = \"a\"\n{listen}name = \"b\"\n{}{}",
        on("a"),
        on("b")
    );
    let text = text.replace("127.0.0.1:0\"\n\nname", "127.0.0.1:0\"\nname");
    let snapshot = files.snapshot(&text, None);
    let trust = |index: usize| snapshot.sites[index].tls.as_ref().unwrap().trust;
    assert_eq!(snapshot.sites[0].name, snapshot.sites[1].name);
    assert_ne!(trust(0), trust(1));
    let again = files.snapshot(&text, Some(&snapshot));
    assert!((0..2).all(|index| Arc::ptr_eq(&snapshot.sites[index], &again.sites[index])));
}

#[test]
fn the_buckets_of_a_rate_outlive_a_reload_that_does_not_change_it() {
    let files = simple();
    let limited = |rate: &str| SIMPLE.replace("path = \"/\"", &format!("path = \"/\"\n{rate}"));
    let buckets = |snapshot: &Snapshot| {
        let route = snapshot.sites[0].routes.iter().next().unwrap();
        Arc::clone(route.admission.as_ref().unwrap().rate.as_ref().unwrap())
    };
    let slow = limited("rate_limit = { requests = 5 }");
    let first = files.snapshot(&slow, None);
    let changed = slow.replace("hello", "bye");
    let second = files.snapshot(&changed, Some(&first));
    assert!(!Arc::ptr_eq(&first.sites[0], &second.sites[0]));
    assert!(Arc::ptr_eq(&buckets(&first), &buckets(&second)));
    let third = files.snapshot(&limited("rate_limit = { requests = 6 }"), Some(&second));
    assert!(!Arc::ptr_eq(&buckets(&second), &buckets(&third)));
}
