//! Programs that a machine may lack.

use std::path::PathBuf;

/// Where `name` is in `PATH`. Missing: says that the test is skipped and returns `None`; under
/// `CI=true` it panics, so that nothing is skipped where it counts.
pub fn tool(name: &str) -> Option<PathBuf> {
    let found = find(name);
    if found.is_none() {
        skip(&format!("{name} is not installed"));
    }
    found
}

/// Says why a test is skipped; under `CI=true` it panics, so that nothing is skipped where it counts.
pub fn skip(why: &str) {
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!ci, "{why}");
    eprintln!("skipped: {why}");
}

/// Where `name` is in `PATH`, if it is anywhere.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Where servers are; not every user's PATH has it.
    let directories = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let mut files = directories.map(|directory| directory.join(name));
    files.find(|file| file.is_file())
}

/// OpenSSL's command line.
pub fn openssl() -> Option<PathBuf> {
    tool("openssl")
}

/// curl.
pub fn curl() -> Option<PathBuf> {
    tool("curl")
}
