//! The server of a case: an edge with one site, which is the files of `/www`.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use cutwater::config::snapshot::QuicRetry;
use cutwater::config::spec::ListenSpec;
use cutwater::handler::{self, HandlerError};
use cutwater::telemetry::connections::ConnectionLog;
use cutwater::{Body, EarlyDataPolicy, EarlyRequest, Edge, EdgeError, Site};
use http::{Request, Response, StatusCode};
use tokio::signal::unix::{SignalKind, signal};

use crate::{CERTIFICATES, WWW};

const PORT: u16 = 443;
/// What the runner calls a server, by the families of its addresses.
const NAMES: [&str; 4] = ["server", "server4", "server6", "server46"];
/// A third of all datagrams may be lost: what an edge would not wait for is waited for here.
const PATIENCE: Duration = Duration::from_secs(60);
/// Who has fetched all files has nothing to wait for.
const DRAIN: Duration = Duration::from_secs(1);

/// Serves until SIGTERM.
pub async fn serve(case: &str) -> Result<(), String> {
    let any: [SocketAddr; 2] = [
        (Ipv6Addr::UNSPECIFIED, PORT).into(),
        (Ipv4Addr::UNSPECIFIED, PORT).into(),
    ];
    // Where the kernel has no IPv6 the second serves.
    let edge = build(case, any[0]).or_else(|_| build(case, any[1]));
    let edge = edge.map_err(|error| error.to_string())?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    println!("ready");
    let ended = edge
        .run(async { terminate.recv().await.unwrap_or_default() })
        .await;
    ended.map_err(|error| error.to_string())
}

fn build(case: &str, address: SocketAddr) -> Result<Edge, EdgeError> {
    let directory = Path::new(CERTIFICATES);
    let (chain, key) = (directory.join("cert.pem"), directory.join("priv.key"));
    let early = case == "zerortt";
    // By name: a site that is chosen by default takes no early data.
    let site = NAMES[1..]
        .iter()
        .fold(Site::new(NAMES[0]), |site, name| site.also(name));
    let site = site
        .default_site()
        .certificate_files(&chain, &key)
        .early_data(early)
        .early_data_policy(match early {
            true => EarlyDataPolicy::Safe,
            false => EarlyDataPolicy::default(),
        })
        .handshake_timeout(PATIENCE)
        .http09_for_interop(true)
        .handler(handler::early(files));
    let mut listener = ListenSpec::new(address);
    listener.quic = true.into();
    listener.client_hello_timeout = PATIENCE;
    if case == "retry" {
        listener.quic_retry = QuicRetry::Always;
    }
    Edge::builder()
        .listener(listener)
        .site(site)
        .drain_timeout(DRAIN)
        .connection_log(ConnectionLog::All)
        .access_log(cutwater::edge::Destination::Stdout)
        .build()
}

/// Files do not change by being asked for.
async fn files(request: EarlyRequest) -> Result<Response<Body>, HandlerError> {
    let request: Request<Body> = request.replay_safe();
    let found = file(Path::new(WWW), request.uri().path()).map(fs::read);
    let response = match found {
        Some(Ok(content)) => Response::new(Body::from(content)),
        _ => {
            let mut response = Response::new(Body::from("no such file\n"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    };
    Ok(response)
}

/// The file of a path, if it cannot be outside of the directory.
fn file(directory: &Path, path: &str) -> Option<PathBuf> {
    let path = Path::new(path.strip_prefix('/')?);
    let mut parts = path.components();
    let inside = parts.all(|part| matches!(part, Component::Normal(_)));
    (inside && path.file_name().is_some()).then(|| directory.join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_a_file_below_the_directory_or_nowhere() {
        let found = |path| file(Path::new("/www"), path);
        assert_eq!(found("/a"), Some("/www/a".into()));
        assert_eq!(found("/a/b"), Some("/www/a/b".into()));
        for path in ["/", "", "a", "/../etc/passwd", "/a/../../b", "//etc/passwd"] {
            assert_eq!(found(path), None, "{path}");
        }
    }
}
