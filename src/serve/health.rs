//! `cutwater health`: asks a running edge whether it is ready. For health checks of images that
//! have no shell and no other program.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::config;
use crate::telemetry::admin::AdminAddress;

/// The bound of each of connecting, sending and receiving.
const WITHIN: Duration = Duration::from_secs(2);

/// More than the admin endpoint ever answers here.
const MOST: u64 = 4096;

/// Asks `/readyz` at `address`, or where `config` says that the admin endpoint is: exit 0 if the
/// edge is ready, else 1.
pub fn health(config: &Path, address: Option<&str>) -> ExitCode {
    let asked = match address {
        Some(address) => address
            .parse()
            .map_err(|error: io::Error| error.to_string()),
        None => configured(config),
    };
    match asked.and_then(|address| ready(&address)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn configured(path: &Path) -> Result<AdminAddress, String> {
    let address = config::admin(path).map_err(|error| error.to_string())?;
    let address = address.ok_or_else(|| {
        let hint = "hint: admin = { address = \"127.0.0.1:9901\" }, or --address";
        format!("{} has no admin endpoint\n{hint}", path.display())
    })?;
    super::admin_address(&address)
        .parse()
        .map_err(|error: io::Error| error.to_string())
}

fn ready(address: &AdminAddress) -> Result<(), String> {
    let answer = ask(address).map_err(|error| format!("{address}: {error}"))?;
    match answer.split_once(' ') {
        Some((_, rest)) if rest.starts_with("200 ") => Ok(()),
        // Its body says why: draining, starting.
        Some(_) => Err(format!("{address}: not ready: {}", last_line(&answer))),
        None => Err(format!("{address}: no answer")),
    }
}

fn last_line(answer: &str) -> &str {
    answer.trim_end().lines().next_back().unwrap_or_default()
}

fn ask(address: &AdminAddress) -> io::Result<String> {
    match address {
        AdminAddress::Tcp(address) => {
            let stream = TcpStream::connect_timeout(&reachable(*address), WITHIN)?;
            stream.set_read_timeout(Some(WITHIN))?;
            stream.set_write_timeout(Some(WITHIN))?;
            exchange(stream)
        }
        AdminAddress::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(WITHIN))?;
            stream.set_write_timeout(Some(WITHIN))?;
            exchange(stream)
        }
    }
}

/// An edge that listens on all addresses is asked on loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

fn exchange(mut stream: impl Read + Write) -> io::Result<String> {
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: health\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Answers one request with `answer`.
    fn admin(answer: &'static str) -> AdminAddress {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        AdminAddress::Tcp(address)
    }

    #[test]
    fn a_ready_edge_is_healthy() {
        assert_eq!(ready(&admin("HTTP/1.1 200 OK\r\n\r\nready\n")), Ok(()));
    }

    #[test]
    fn a_draining_edge_is_not_and_says_why() {
        let address = admin("HTTP/1.1 503 Service Unavailable\r\n\r\ndraining\n");
        let error = ready(&address).unwrap_err();
        assert!(error.ends_with("not ready: draining"), "{error}");
    }

    #[test]
    fn silence_and_absence_are_not_health() {
        assert!(ready(&admin("")).unwrap_err().ends_with("no answer"));
        let gone = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = gone.local_addr().unwrap();
        drop(gone);
        assert!(ready(&AdminAddress::Tcp(address)).is_err());
    }

    #[test]
    fn the_file_says_where_the_admin_endpoint_is() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("cutwater.toml");
        std::fs::write(&file, "admin = { address = \"0.0.0.0:9901\" }\n").unwrap();
        let address = configured(&file).unwrap();
        assert_eq!(address, AdminAddress::Tcp(([0, 0, 0, 0], 9901).into()));
        let AdminAddress::Tcp(address) = address else {
            unreachable!()
        };
        assert_eq!(reachable(address), ([127, 0, 0, 1], 9901).into());

        std::fs::write(&file, "").unwrap();
        assert!(configured(&file).unwrap_err().contains("--address"));
        let absent = directory.path().join("absent.toml");
        assert!(configured(&absent).unwrap_err().contains("--config"));
    }
}
