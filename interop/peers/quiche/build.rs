//! The version of quiche, for the line: crates do not tell theirs.

fn main() {
    println!("cargo::rerun-if-changed=Cargo.lock");
    let lock = std::fs::read_to_string("Cargo.lock").expect("the crates are locked");
    let mut lines = lock.lines().skip_while(|line| *line != "name = \"quiche\"");
    let version = lines.nth(1).and_then(|line| line.split('"').nth(1));
    println!("cargo::rustc-env=QUICHE={}", version.unwrap_or("?"));
}
