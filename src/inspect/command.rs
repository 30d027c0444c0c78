//! `cutwater inspect`: from what is typed to an exit code.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::arguments::Arguments;
use super::run::{self, Plan, Trust};
use super::target::Target;
use super::text;
use crate::certs::transparency::LogList;
use crate::load::arguments::files;

/// The bound of everything together, from the first question for a name to the last word.
const TOTAL: Duration = Duration::from_secs(120);

/// How many addresses of a host are tried.
const MOST_ADDRESSES: usize = 8;

/// How long an address has before the next one is tried beside it. RFC 8305 §5
const HEAD_START: Duration = Duration::from_millis(250);

/// Inspects a server: exit 0 if it could be inspected, whatever was found; otherwise 1.
#[must_use]
pub fn inspect(arguments: &Arguments) -> ExitCode {
    match inspected(arguments) {
        Ok(text) => {
            // A reader that went away wants no more.
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(complaint) => {
            eprintln!("error: {complaint}");
            ExitCode::FAILURE
        }
    }
}

fn inspected(arguments: &Arguments) -> Result<String, String> {
    let target = Target::parse(&arguments.target)?;
    let name = arguments.sni.as_ref().unwrap_or(&target.host);
    let ascii = idna::domain_to_ascii(name).unwrap_or_else(|_| name.clone());
    let hint = "hint: --sni NAME says what to ask for";
    let name = ServerName::try_from(ascii)
        .map_err(|_| format!("{name:?} can be no server name\n{hint}"))?;
    let (trust, note) = trust(arguments)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let inspection = runtime.block_on(async {
        let end = Instant::now() + TOTAL;
        let address = match arguments.connect {
            Some(address) => address,
            None => resolve(&target, arguments).await?,
        };
        let plan = Plan {
            target,
            address,
            name,
            trust,
            path: arguments.path.clone(),
            timeout: arguments.timeout,
            end,
        };
        run::inspect(&plan).await
    });
    // A name that is still being resolved is not waited for.
    runtime.shutdown_background();
    let mut inspection = inspection?;
    inspection.notes.extend(note);
    if arguments.json {
        let text = serde_json::to_string_pretty(&inspection).map_err(|error| error.to_string())?;
        return Ok(text + "\n");
    }
    Ok(text::render(&inspection))
}

/// Whose word is taken. A machine without a list of authorities can inspect all the same.
fn trust(arguments: &Arguments) -> Result<(Trust, Option<String>), String> {
    let mut trust = Trust {
        authorities: Vec::new(),
        roots: Arc::new(RootCertStore::empty()),
        logs: None,
    };
    if let Some(file) = &arguments.log_list {
        let wrong = |what: String| {
            let hint = "hint: take https://www.gstatic.com/ct/log_list/v3/log_list.json";
            format!("{}: {what}\n{hint}", file.display())
        };
        let json = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
        trust.logs = Some(LogList::parse(&json).map_err(wrong)?);
    }
    trust.authorities = match &arguments.ca {
        Some(file) => files::authorities(file).map_err(|error| error.to_string())?,
        None => match files::system_authorities() {
            Ok(found) => found,
            Err(error) => {
                let why = error.to_string();
                let why = why.lines().next().unwrap_or_default();
                return Ok((trust, Some(format!("trust is not known: {why}"))));
            }
        },
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trust.authorities.iter().cloned());
    trust.roots = Arc::new(roots);
    Ok((trust, None))
}

/// The host's address. Of several, the first that takes a connection. A host has one timeout for
/// its name, and one for all its addresses.
async fn resolve(target: &Target, arguments: &Arguments) -> Result<SocketAddr, String> {
    if let Ok(address) = target.host.parse::<IpAddr>() {
        return Ok((address, target.port).into());
    }
    let hint = "hint: --connect ADDR:PORT says where to connect";
    let none = |why: &str| format!("{} has no address: {why}\n{hint}", target.host);
    let host = idna::domain_to_ascii(&target.host).unwrap_or_else(|_| target.host.clone());
    let bound = arguments.timeout.min(TOTAL / 4);
    let found = timeout(bound, lookup_host((host, target.port))).await;
    let found: Vec<SocketAddr> = match found {
        Ok(Ok(found)) => found.take(MOST_ADDRESSES).collect(),
        Ok(Err(error)) => return Err(none(&error.to_string())),
        Err(_) => return Err(none("no name server answered in time")),
    };
    if found.len() > 1
        && let Ok(Some(address)) = timeout(bound, first_that_answers(&found)).await
    {
        return Ok(address);
    }
    found
        .first()
        .copied()
        .ok_or_else(|| none("its name is empty"))
}

/// The first of these to take a connection, each beginning a little after the one before it.
async fn first_that_answers(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    let mut tries = JoinSet::new();
    let mut wait = Duration::ZERO;
    for &address in addresses {
        tries.spawn(async move {
            #[expect(
                clippy::disallowed_methods,
                reason = "at most eight in a command, none in an edge"
            )]
            sleep(wait).await;
            TcpStream::connect(address).await.is_ok().then_some(address)
        });
        wait += HEAD_START;
    }
    while let Some(ended) = tries.join_next().await {
        if let Ok(Some(address)) = ended {
            return Some(address);
        }
    }
    None
}
