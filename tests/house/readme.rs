//! The README's configuration works as it is printed.

use std::path::Path;

use cutwater::config;
use cutwater::early::EarlyDataPolicy;

use super::source::root;

/// The block of the README that is fenced as `language`.
fn block(language: &str) -> String {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, rest) = readme.split_once(&format!("\n```{language}\n")).unwrap();
    rest.split_once("\n```").unwrap().0.to_owned()
}

fn certificate(directory: &Path, name: &str, names: &[&str]) {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let write = |end: &str, pem: String| {
        std::fs::write(directory.join(format!("{name}.{end}")), pem).unwrap();
    };
    write("pem", made.cert.pem());
    write("key", made.signing_key.serialize_pem());
}

#[test]
fn the_configuration_compiles_without_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cutwater.toml");
    std::fs::write(&file, block("toml")).unwrap();
    let certificates = directory.path().join("certs");
    std::fs::create_dir(&certificates).unwrap();
    certificate(&certificates, "com", &["example.com", "www.example.com"]);
    certificate(directory.path(), "org", &["*.example.org"]);

    let compiled = config::load(&file, None).compiled;
    assert!(compiled.broken.is_empty(), "{:#?}", compiled.broken);
    assert!(compiled.warnings.is_empty(), "{:#?}", compiled.warnings);
    let snapshot = compiled.result.unwrap();

    // It says what the text around it says.
    assert_eq!(snapshot.sites.len(), 2);
    let tls = snapshot.sites[0].tls.as_ref().unwrap();
    assert!(tls.early_data);
    assert!(!snapshot.sites[1].tls.as_ref().unwrap().early_data);
    let policy = |path: &str| {
        let routes = snapshot.sites[0].routes.iter();
        let mut found = routes.filter(|route| format!("{:?}", route.path).contains(path));
        found.next().unwrap().early_data
    };
    assert_eq!(policy("\"/catalogue\""), EarlyDataPolicy::Safe);
    assert_eq!(policy("\"/pay\""), EarlyDataPolicy::Refuse);
    assert_eq!(policy("\"/\""), EarlyDataPolicy::Wait);
}
