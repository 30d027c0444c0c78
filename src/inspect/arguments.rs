//! `cutwater inspect`: what is typed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::load::arguments::values::duration;

/// What `cutwater inspect` is told.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// The server: HOST[:PORT], by name or address; the port is 443 if there is none.
    #[arg(value_name = "HOST:PORT")]
    pub(super) target: String,

    /// The server name to ask for [default: the host, if it is a name].
    #[arg(long, value_name = "NAME")]
    pub(super) sni: Option<String>,
    /// Where to connect instead of the host.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(super) connect: Option<SocketAddr>,
    /// Authorities to trust, as PEM [default: the system's].
    #[arg(long, value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
    /// Logs of Certificate Transparency, as JSON: verifies the timestamps of certificates.
    #[arg(long, value_name = "FILE")]
    pub(super) log_list: Option<PathBuf>,
    /// What is asked for by GET, behind the handshake and as early data.
    #[arg(long, default_value = "/", value_parser = path, value_name = "PATH")]
    pub(super) path: String,
    /// The bound of each connection; all together take two minutes at most.
    #[arg(long, default_value = "5s", value_parser = duration, value_name = "TIME")]
    pub(super) timeout: Duration,
    /// Print JSON; its fields are in docs/INSPECT.md.
    #[arg(long)]
    pub(super) json: bool,
}

/// An absolute path, which cannot end the line of the request that it stands in.
fn path(text: &str) -> Result<String, String> {
    match text.parse::<http::uri::PathAndQuery>() {
        Ok(path) if text.starts_with('/') && path.as_str() == text => Ok(text.to_owned()),
        _ => Err("a path begins with / and has no spaces".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_smuggle() {
        assert_eq!(path("/a?b=c").as_deref(), Ok("/a?b=c"));
        for text in ["", "a", "*", "/a b", "/a\r\nHost: b", "https://a/"] {
            assert!(path(text).is_err(), "{text}");
        }
    }
}
