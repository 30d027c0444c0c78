//! The TLS sides of origins over reloads.

use super::*;
use crate::config::snapshot::Target;

/// A file with an origin of each table, named or in place.
fn text(origins: &str, targets: &[&str]) -> String {
    let mut text = format!("{origins}{SIMPLE}");
    for (index, target) in targets.iter().enumerate() {
        text += &format!("[[site.route]]\npath = \"/{index}\"\norigin = {target}\n");
    }
    text
}

fn origins(snapshot: &Snapshot) -> Vec<Arc<OriginSpec>> {
    let routes = snapshot.sites[0].routes.iter();
    let mut origins: Vec<_> = routes
        .filter_map(|route| match &route.target {
            Target::Origin(origin) => Some((route.name.clone(), Arc::clone(origin))),
            _ => None,
        })
        .collect();
    origins.sort_by(|a, b| a.0.cmp(&b.0));
    origins.into_iter().map(|(_, origin)| origin).collect()
}

fn authority(files: &Files, name: &str) {
    let (pem, _) = certificate(&[name], 90 * DAYS);
    files.write(name, &pem);
}

const NAMED: &str = "origin.app = { servers = [\"https://a\"], tls = { ca = \"ca.pem\" } }\n";

#[test]
fn an_origin_whose_files_stayed_is_the_same_and_one_whose_files_changed_is_not() {
    let files = simple();
    authority(&files, "ca.pem");
    let text = text(NAMED, &["\"app\"", "\"app\""]);
    let first = files.snapshot(&text, None);
    let one = origins(&first);
    assert!(Arc::ptr_eq(&one[0], &one[1]));
    let second = files.snapshot(&text, Some(&first));
    assert!(Arc::ptr_eq(&one[0], &origins(&second)[0]));
    assert!(Arc::ptr_eq(&first.sites[0], &second.sites[0]));
    authority(&files, "ca.pem");
    let third = files.snapshot(&text, Some(&second));
    assert_ne!(one[0], origins(&third)[0]);
}

#[test]
fn a_file_that_breaks_leaves_an_origin_what_it_had() {
    let files = simple();
    authority(&files, "ca.pem");
    let text = text(NAMED, &["\"app\""]);
    let first = files.snapshot(&text, None);
    files.write("ca.pem", "");
    let loaded = files.load(&text, Some(&first)).compiled;
    assert_eq!(loaded.broken.len(), 1, "{:#?}", loaded.broken);
    assert_eq!(
        told(&files, &loaded.broken),
        [
            "cutwater.toml:1:54 ca.pem: no certificate in it (no PEM of CERTIFICATE) / \
             write certificates of authorities, in PEM"
        ]
    );
    let second = loaded.result.unwrap();
    assert!(Arc::ptr_eq(&origins(&first)[0], &origins(&second)[0]));
    // At start there is nothing to be kept.
    let third = files.load(&text, None).compiled.result.unwrap();
    let tls = origins(&third)[0].tls.clone().unwrap();
    assert!(tls.client.is_none());
}

#[test]
fn an_origin_in_place_never_gets_the_trust_of_another_one() {
    let files = simple();
    authority(&files, "a.ca");
    authority(&files, "b.ca");
    let of = |ca: &str| format!("{{ servers = [\"https://a\"], tls = {{ ca = {ca:?} }} }}");
    let one = text("", &[&of("a.ca")]);
    let both = text("", &[&of("a.ca"), &of("b.ca")]);
    let first = files.snapshot(&one, None);
    fs::remove_file(files.path("b.ca")).unwrap();
    let second = files.load(&both, Some(&first)).compiled.result.unwrap();
    let [a, b] = &origins(&second)[..] else {
        panic!("two origins");
    };
    assert_eq!(*a, origins(&first)[0]);
    assert!(b.tls.as_ref().unwrap().client.is_none());
    // It keeps its own, if it had one.
    authority(&files, "b.ca");
    let third = files.snapshot(&both, Some(&second));
    files.write("b.ca", "");
    let fourth = files.load(&both, Some(&third)).compiled.result.unwrap();
    assert_eq!(origins(&third), origins(&fourth));
}

#[test]
fn tls_without_an_https_server_is_an_error_told_once() {
    let files = simple();
    authority(&files, "ca.pem");
    let text = text(&NAMED.replace("https", "http"), &["\"app\"", "\"app\""]);
    let errors = files.load(&text, None).compiled.result.unwrap_err();
    assert_eq!(
        told(&files, &errors),
        [
            "cutwater.toml:1:46 origin `app` has `tls`, but no https:// server / \
         write https:// in `servers`, or take `tls` away"
        ]
    );
}

#[test]
fn broken_files_of_an_origin_that_no_route_names_are_told_too() {
    let files = simple();
    let loaded = files.load(&text(NAMED, &[]), None).compiled;
    assert_eq!(loaded.broken.len(), 1, "{:#?}", loaded.broken);
    assert!(loaded.result.is_ok());
}
