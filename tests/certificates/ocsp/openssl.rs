//! OpenSSL's responder.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::authority::{Authority, Files, Status};
use crate::support::daemon::free_address;
use crate::support::tool::{openssl, tool};
use crate::support::within;

/// `openssl ocsp`; killed when dropped.
pub struct OpenSsl {
    _child: Child,
    pub url: String,
}

impl OpenSsl {
    /// Knows these certificates by serial number. `None` if OpenSSL is not installed.
    pub async fn start(
        authority: &Authority,
        known: &[(u8, Status)],
        signer: &Files,
        more: &[&str],
    ) -> Option<Self> {
        let command = Command::new(openssl()?);
        Some(Self::run(command, authority, known, signer, more).await)
    }

    /// The same with a clock that is behind by so much. `None` without faketime, too.
    pub async fn start_behind(
        behind: Duration,
        authority: &Authority,
        known: &[(u8, Status)],
        signer: &Files,
        more: &[&str],
    ) -> Option<Self> {
        let mut command = Command::new(openssl()?);
        command.envs(clock(behind).await?);
        Some(Self::run(command, authority, known, signer, more).await)
    }

    async fn run(
        mut command: Command,
        authority: &Authority,
        known: &[(u8, Status)],
        signer: &Files,
        more: &[&str],
    ) -> Self {
        let line = |(serial, status): &(u8, Status)| match status {
            Status::Good => format!("V\t400101000000Z\t\t{serial:02X}\tunknown\t/CN=x\n"),
            Status::Revoked => {
                format!("R\t400101000000Z\t260101000000Z\t{serial:02X}\tunknown\t/CN=x\n")
            }
            Status::Unknown => String::new(),
        };
        let address = free_address();
        let index = format!("index-{}.txt", address.port());
        let lines: String = known.iter().map(line).collect();
        fs::write(authority.path(&index), lines).unwrap();
        let mut child = command
            .args([
                "ocsp",
                "-index",
                &index,
                "-CA",
                "issuer.pem",
                "-ignore_err",
                "-port",
            ])
            .arg(address.port().to_string())
            .arg("-rsigner")
            .arg(&signer.chain)
            .arg("-rkey")
            .arg(&signer.key)
            .args(more)
            .current_dir(authority.directory())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        // Not by connecting: OpenSSL 3.0 turns in circles for ever over a connection that says
        // nothing.
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let listens = async {
            let mut all = String::new();
            while let Some(line) = said.next_line().await.unwrap() {
                if line.contains("waiting for OCSP client connections") {
                    return;
                }
                all.push_str(&line);
            }
            panic!("it ended: {all}");
        };
        within("openssl ocsp", listens).await;
        // It goes on to talk, and would wait for a reader.
        tokio::spawn(async move { while let Ok(Some(_)) = said.next_line().await {} });
        Self {
            _child: child,
            url: format!("http://{address}"),
        }
    }
}

/// The environment of a program whose clock is behind. `None` if faketime is not installed. The
/// library is given to the program itself: faketime's command would wait for it, and leave it behind
/// when it is killed.
async fn clock(behind: Duration) -> Option<[(&'static str, String); 2]> {
    const LIBRARY: &str = "LD_PRELOAD";
    let mut command = Command::new(tool("faketime")?);
    let shift = format!("-{}", behind.as_secs());
    command.args(["-f", &shift, "printenv", LIBRARY]);
    let printed = within("faketime", command.output()).await.unwrap();
    assert!(printed.status.success(), "{printed:?}");
    let library = String::from_utf8(printed.stdout).unwrap().trim().to_owned();
    Some([(LIBRARY, library), ("FAKETIME", shift)])
}
