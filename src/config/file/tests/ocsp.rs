//! What is said of staples.

use std::path::PathBuf;
use std::time::Duration;

use super::{read_text, wrong};
use crate::certs::ocsp::{OcspMode, Settings};
use crate::config::spec::Certificates;

#[test]
fn what_is_said_of_staples_is_read_and_defaults_stand_for_the_rest() {
    let read = read_text("");
    assert_eq!(read.spec.ocsp, Settings::default());
    let read = read_text(
        "ocsp = { directory = \"kept\", proxy = \"http://[::1]:3128/\", timeout = \"3s\" }\n\
         [[site]]\nnames = [\"a\"]\nocsp = \"required\"\n\
         certificate = [{ chain = \"c\", key = \"k\", issuer = \"i\", staple = \"s\" },\n\
         { chain = \"c\", key = \"k\", responder = \"http://ocsp.example/a\" }]\n\
         [[site]]\nnames = [\"b\"]\n",
    );
    assert!(read.errors.is_empty(), "{:?}", read.errors);
    let settings = &read.spec.ocsp;
    assert_eq!(settings.directory, Some(PathBuf::from("kept")));
    assert_eq!(settings.proxy.as_deref(), Some("[::1]:3128"));
    assert_eq!(settings.timeout, Duration::from_secs(3));
    let modes = read.spec.sites.iter().map(|site| site.ocsp.value);
    assert_eq!(
        modes.collect::<Vec<_>>(),
        [OcspMode::Required, OcspMode::Auto]
    );
    let Certificates::Files(files) = &read.spec.sites[0].certificates else {
        panic!("files");
    };
    let path = |path: &Option<crate::config::diagnostics::At<PathBuf>>| {
        path.as_ref().map(|at| at.value.display().to_string())
    };
    assert_eq!(path(&files[0].ocsp.issuer).as_deref(), Some("i"));
    assert_eq!(path(&files[0].ocsp.staple).as_deref(), Some("s"));
    let responder = files[1].ocsp.responder.as_ref();
    let responder = responder.map(|at| at.value.to_string());
    assert_eq!(responder.as_deref(), Some("http://ocsp.example/a"));
}

#[test]
fn each_mistake_about_staples_is_told_with_place_and_hint() {
    for (text, expected) in [
        (
            "ocsp = \"auto\"",
            "1:8 `ocsp` must be a table, not a string / write, for example, [ocsp]",
        ),
        (
            "ocsp = { dir = \"a\" }",
            "1:10 unknown key `dir` in [ocsp] / known are: directory, proxy, timeout",
        ),
        (
            "ocsp = { timeout = \"off\" }",
            "1:20 `timeout` cannot be \"off\" / it always has an end: write, for example, \"10s\"",
        ),
        (
            "ocsp = { proxy = \"127.0.0.1:3128\" }",
            "1:18 `proxy` cannot be \"127.0.0.1:3128\" / write an address of plain HTTP, such as \"http://127.0.0.1:3128\"",
        ),
        (
            "ocsp = { proxy = \"http://me:secret@a:1\" }",
            "1:18 `proxy` cannot be \"http://me:secret@a:1/\" / write an address and a port without a path or a user: \"http://127.0.0.1:3128\"",
        ),
        (
            "[[site]]\nnames = [\"a\"]\ncertificate = { chain = \"c\", key = \"k\", responder = \"https://a/\" }",
            "3:53 `responder` cannot be \"https://a/\" / write an address of plain HTTP, such as \"http://ocsp.example.com/\"",
        ),
        (
            "[[site]]\nnames = [\"a\"]\ncertificate = { chain = \"c\", key = \"k\", responder = \"http://a/\", staple = \"s\" }",
            "3:53 `responder` beside `staple`: with a file nobody is asked / take one of the two away",
        ),
        (
            "origin.a = { servers = [\"https://a\"], tls = { certificate = { chain = \"c\", key = \"k\", staple = \"s\" } } }",
            "1:87 unknown key `staple` in certificate in tls of [origin.NAME] / known are: chain, key",
        ),
    ] {
        wrong(text, expected);
    }
}
