//! The URLs of an origin's servers.

use std::net::{IpAddr, Ipv6Addr};

use super::tree::Value;
use crate::config::names::SiteName;
use crate::config::snapshot::{OriginHost, OriginProtocol, OriginServer};

const SOCKETS: [(&str, OriginProtocol); 2] = [
    ("unix:", OriginProtocol::Http1),
    ("unix+h2c:", OriginProtocol::Http2),
];

/// Whether this is a URL rather than the name of an origin.
pub(super) fn is_one(text: &str) -> bool {
    text.contains("://") || SOCKETS.iter().any(|(scheme, _)| text.starts_with(scheme))
}

/// A server of an origin.
pub(super) fn server(value: &Value<'_>) -> Option<OriginServer> {
    let text = value.string("http://127.0.0.1:8080")?;
    match parse(value, text) {
        Ok(server) => Some(server),
        Err((why, hint)) => {
            value.error(format!("{text:?} cannot be an origin: {why}"), hint);
            None
        }
    }
}

/// What is wrong, and what to write.
type Wrong = (String, String);

fn parse(value: &Value<'_>, text: &str) -> Result<OriginServer, Wrong> {
    for (scheme, protocol) in SOCKETS {
        if let Some(path) = text.strip_prefix(scheme) {
            return socket(value, scheme, path).map(|host| OriginServer {
                protocol,
                host,
                port: 0,
                weight: 1,
            });
        }
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        let hint = format!("write \"http://{text}\"");
        return Err(("it has no scheme".into(), hint));
    };
    let (protocol, implied) = match scheme {
        "http" => (OriginProtocol::Http1, 80),
        "h2c" => (OriginProtocol::Http2, 80),
        "https" => (OriginProtocol::Tls, 443),
        "h2" => {
            let hint = format!("write \"https://{rest}\": HTTP/2 is negotiated by ALPN");
            return Err(("its scheme is unknown".into(), hint));
        }
        _ => {
            let hint = "write http://, https:// or h2c:// and HOST:PORT, or unix:PATH";
            return Err(("its scheme is unknown".into(), hint.into()));
        }
    };
    let plain = || format!("write {scheme}://HOST:PORT");
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) {
        let host = authority.split(['/', '?', '#']).next().unwrap_or("");
        let hint = format!("write \"{scheme}://{host}\": requests keep their own path");
        return Err(("it has a path".into(), hint));
    }
    if authority.contains('@') {
        return Err(("it has a user name".into(), plain()));
    }
    if !authority.starts_with('[') && authority.matches(':').count() > 1 {
        let hint = format!("write {scheme}://[::1]:8080");
        return Err(("an IPv6 address needs brackets".into(), hint));
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, port)) if port.starts_with(':') => (host, port.strip_prefix(':')),
            _ => return Err(("its address has no end".into(), plain())),
        },
        None => match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = match port {
        None => implied,
        Some(digits) => number(digits)
            .ok_or_else(|| ("its port is none".into(), "ports are 1 to 65535".into()))?,
    };
    let host = match authority.starts_with('[') {
        true => match host.parse::<Ipv6Addr>() {
            Ok(address) => OriginHost::Address(IpAddr::V6(address)),
            Err(_) => return Err(("its address is none".into(), plain())),
        },
        false => match host.parse::<IpAddr>() {
            Ok(address) => OriginHost::Address(address),
            Err(_) => match SiteName::parse(host) {
                Ok(name) if !name.is_wildcard() => OriginHost::Name(name.base().to_owned()),
                Ok(_) => return Err(("a wildcard is no host".into(), plain())),
                Err(error) => return Err((error.to_string(), plain())),
            },
        },
    };
    Ok(OriginServer {
        protocol,
        host,
        port,
        weight: 1,
    })
}

fn number(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let port = plain.then(|| digits.parse().ok()).flatten();
    port.filter(|port| *port > 0)
}

/// The path of a Unix socket, relative to the file that names it.
fn socket(value: &Value<'_>, scheme: &str, path: &str) -> Result<OriginHost, Wrong> {
    /// What a socket address has room for (`sun_path`), without its last NUL.
    const LONGEST: usize = 107;
    if path.is_empty() || path.contains('\0') {
        let hint = format!("write, for example, \"{scheme}/run/app.sock\"");
        return Err(("it has no path".into(), hint));
    }
    // `unix:///run/app.sock` is how some write it.
    let path = value.beside(path.strip_prefix("//").unwrap_or(path));
    if path.as_os_str().len() > LONGEST {
        let hint = format!("a socket's path has at most {LONGEST} bytes");
        return Err(("its path is too long".into(), hint));
    }
    Ok(OriginHost::Unix(path.into()))
}
