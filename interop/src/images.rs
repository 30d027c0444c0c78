//! The images: the base, the builder, the peers, the edge.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::peers::Peer;
use crate::stop::{self, Temporary};

/// What all images begin with.
pub const BASE: &str = "debian:trixie-slim";
/// What peers' programs are compiled with.
const BUILD: &str = "cutwater-interop/build";
/// The edge, with this machine's build.
pub const EDGE: &str = "cutwater-interop/cutwater";
/// The edge as it is deployed.
pub const STATIC: &str = "cutwater-interop/cutwater:static";
/// The edge behind the interface of quic-interop-runner.
pub const QUIC: &str = "cutwater-interop/quic";
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Makes the base and the builder.
///
/// # Errors
/// What could not be built.
pub fn foundation(interop: &Path) -> Result<(), String> {
    stop::shown(&mut Command::new(interop.join("base-image")))?;
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

/// Makes the images of these peers, but for those that bring their own. Docker keeps what has not
/// changed. Returns those that could not be built, and why; the others are built all the same.
pub fn peers(interop: &Path, peers: &[Peer]) -> Vec<(String, String)> {
    let context = interop.join("peers");
    let built = peers.iter().filter(|peer| peer.image.is_none());
    let (next, wrong) = (Mutex::new(built), Mutex::new(Vec::new()));
    let builder = || {
        loop {
            let Some(peer) = locked(&next).next().filter(|_| !stop::came()) else {
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
pub fn edge(interop: &Path, binary: &Path) -> Result<(), String> {
    of_cutwater(interop, &[(binary, "cutwater")], BASE, "product", EDGE)
}

/// Makes the image that quic-interop-runner takes: the product's with a program in front, which
/// is expected beside it. Tries both of its faces.
///
/// # Errors
/// It could not be built, or does not answer as the runner wants.
pub fn quic(interop: &Path, binary: &Path, base: &str) -> Result<(), String> {
    let endpoint = binary.with_file_name("quic-endpoint");
    let programs = [(binary, "cutwater"), (&endpoint, "quic-endpoint")];
    of_cutwater(interop, &programs, base, "quic", QUIC)?;
    let run = |environment: &[&str], argument: &str| {
        let mut command = Command::new("docker");
        command.args(["run", "--rm", "--pull", "never", "--network", "none"]);
        for variable in environment {
            command.args(["--env", variable]);
        }
        command.args([QUIC, argument]).stdin(Stdio::null());
        let output = command.output().map_err(|error| error.to_string())?;
        Ok::<_, String>((output.status.code(), output.stdout))
    };
    for role in ["ROLE=client", "ROLE=server"] {
        let (code, _) = run(&[role, "TESTCASE=none"], "serve")?;
        if code != Some(127) {
            return Err(format!("{QUIC}, {role}: exit {code:?}, should be 127"));
        }
    }
    match run(&[], "--version")? {
        (Some(0), said) if said.starts_with(b"cutwater ") => Ok(()),
        (code, _) => Err(format!("{QUIC} is not Cutwater: exit {code:?}")),
    }
}

/// Makes an image of these programs, by a target of the product's Dockerfile.
fn of_cutwater(
    interop: &Path,
    programs: &[(&Path, &str)],
    base: &str,
    target: &str,
    tag: &str,
) -> Result<(), String> {
    let context = Temporary::new("cutwater-image")?;
    for (program, name) in programs {
        let hint = "hint: cargo build --release --workspace --bins, or --binary FILE";
        fs::copy(program, context.path().join(name))
            .map_err(|error| format!("{}: {error}\n{hint}", program.display()))?;
    }
    let dockerfile = interop.join("cutwater/Dockerfile");
    build(tag, context.path(), &dockerfile, Some((base, target)))
}

/// Builds static programs and makes the production image of them, and that for
/// quic-interop-runner over it.
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
        "--package",
        "cutwater",
        "--package",
        "interop",
        "--bin",
        "cutwater",
        "--bin",
        "quic-endpoint",
        "--target",
        TARGET,
    ]);
    cargo.current_dir(root).env("CARGO_TARGET_DIR", &target);
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static");
    stop::shown(&mut cargo)?;
    let binary = target.join(TARGET).join("release/cutwater");
    of_cutwater(
        interop,
        &[(&binary, "cutwater")],
        "scratch",
        "product",
        STATIC,
    )?;
    quic(interop, &binary, "scratch")
}

/// Makes the image of a tool of the harness, from the Dockerfile of its directory.
///
/// # Errors
/// It could not be built.
pub fn of_tool(tag: &str, directory: &Path) -> Result<(), String> {
    build(tag, directory, &directory.join("Dockerfile"), None)
}

/// Builds an image; one of Cutwater's from a base, by a target of its Dockerfile.
fn build(
    tag: &str,
    context: &Path,
    dockerfile: &Path,
    from: Option<(&str, &str)>,
) -> Result<(), String> {
    eprintln!("image {tag}");
    let (context, dockerfile) = (
        context.display().to_string(),
        dockerfile.display().to_string(),
    );
    let from = from.map(|(base, target)| (format!("BASE={base}"), target));
    let mut arguments = vec!["build", "--quiet", "--tag", tag, "--file", &dockerfile];
    if let Some((base, target)) = &from {
        arguments.extend(["--build-arg", base, "--target", target]);
    }
    arguments.push(&context);
    stop::run(Command::new("docker").args(&arguments)).map(drop)
}
