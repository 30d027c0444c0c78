//! The images: the base, the builder, the peers, the edge.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::ground::docker::{docker, unique};
use crate::peers::Peer;

/// What all images begin with.
pub const BASE: &str = "debian:trixie-slim";
/// What peers' programs are compiled with.
const BUILD: &str = "cutwater-interop/build";
/// The edge, with this machine's build.
pub const EDGE: &str = "cutwater-interop/cutwater";
/// The edge as it is deployed.
pub const STATIC: &str = "cutwater-interop/cutwater:static";
/// The edge behind the interface of quic-interop-runner.
const QUIC: &str = "cutwater-interop/quic";
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Makes the base and the builder.
///
/// # Errors
/// What could not be built.
pub fn foundation(interop: &Path) -> Result<(), String> {
    shown(&mut Command::new(interop.join("base-image")))?;
    build(
        BUILD,
        &interop.join("build"),
        &interop.join("build/Dockerfile"),
        None,
    )
}

/// Images built at once: one downloads while the other compiles.
const AT_ONCE: usize = 2;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the images of these peers. Docker keeps what has not changed. Returns
/// those that could not be built, and why; the others are built all the same.
pub fn peers(interop: &Path, peers: &[Peer]) -> Vec<(String, String)> {
    let context = interop.join("peers");
    let (next, wrong) = (Mutex::new(peers.iter()), Mutex::new(Vec::new()));
    let builder = || {
        loop {
            let Some(peer) = locked(&next).next() else {
                break;
            };
            let dockerfile = context.join(&peer.name).join("Dockerfile");
            if let Err(error) = build(&peer.image(), &context, &dockerfile, None) {
                locked(&wrong).push((peer.name.clone(), error));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(builder);
        }
    });
    wrong.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the edge's image of this program.
///
/// # Errors
/// It could not be built.
pub fn edge(interop: &Path, binary: &Path, base: &str, tag: &str) -> Result<(), String> {
    if !binary.is_file() {
        let hint = "hint: cargo build --release, or --binary FILE";
        return Err(format!("no program {}\n{hint}", binary.display()));
    }
    let context = std::env::temp_dir().join(unique("cutwater-image"));
    fs::create_dir(&context).map_err(|error| format!("{}: {error}", context.display()))?;
    let copied = fs::copy(binary, context.join("cutwater"));
    let built = copied
        .map_err(|error| format!("{}: {error}", binary.display()))
        .and_then(|_| {
            build(
                tag,
                &context,
                &interop.join("cutwater/Dockerfile"),
                Some(base),
            )
        });
    let _ = fs::remove_dir_all(&context);
    built
}

/// Makes the image that quic-interop-runner takes.
///
/// # Errors
/// It could not be built.
pub fn quic(interop: &Path) -> Result<(), String> {
    let context = interop.join("cutwater/quic");
    build(QUIC, &context, &context.join("Dockerfile"), None)
}

/// Builds the static program and makes the production image of it.
///
/// # Errors
/// What could not be built.
pub fn production(interop: &Path) -> Result<(), String> {
    let root = interop.parent().unwrap_or(interop);
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    // Without --target the flag concerns procedural macros too, which cannot be static.
    let mut cargo = Command::new("cargo");
    cargo.args([
        "build",
        "--release",
        "--locked",
        "--bin",
        "cutwater",
        "--target",
        TARGET,
    ]);
    cargo.current_dir(root).env("CARGO_TARGET_DIR", &target);
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static");
    shown(&mut cargo)?;
    edge(
        interop,
        &target.join(TARGET).join("release/cutwater"),
        "scratch",
        STATIC,
    )
}

fn build(tag: &str, context: &Path, dockerfile: &Path, base: Option<&str>) -> Result<(), String> {
    eprintln!("image {tag}");
    let (context, dockerfile) = (
        context.display().to_string(),
        dockerfile.display().to_string(),
    );
    let base = base.map(|base| format!("BASE={base}"));
    let mut arguments = vec!["build", "--quiet", "--tag", tag, "--file", &dockerfile];
    if let Some(base) = &base {
        arguments.extend(["--build-arg", base]);
    }
    arguments.push(&context);
    docker(&arguments).map(drop)
}

/// Runs a program whose output is shown.
fn shown(command: &mut Command) -> Result<(), String> {
    let status = command
        .status()
        .map_err(|error| format!("{command:?}: {error}"))?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quic_image_supports_nothing_yet() {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("cutwater/quic/run_endpoint.sh");
        let ended = Command::new("sh")
            .arg(script)
            .env("ROLE", "server")
            .env("TESTCASE", "handshake")
            .output()
            .unwrap();
        assert_eq!(ended.status.code(), Some(127));
        assert!(String::from_utf8_lossy(&ended.stderr).contains("handshake: not supported"));
    }
}
