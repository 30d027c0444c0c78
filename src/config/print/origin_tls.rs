//! The `tls` table of an origin, and the URLs of its servers.

use super::{absolute, list, path, string};
use crate::config::snapshot::{OriginHost, OriginServer};
use crate::config::spec::OriginTlsSpec;

/// A server's URL. As all paths, that of a Unix socket is made absolute.
pub(super) fn url(server: &OriginServer) -> String {
    match &server.host {
        OriginHost::Unix(socket) => OriginServer {
            host: OriginHost::Unix(std::path::Path::new(&absolute(socket)).into()),
            ..server.clone()
        }
        .to_string(),
        OriginHost::Name(_) | OriginHost::Address(_) => server.to_string(),
    }
}

/// The table in place.
pub(super) fn tls(spec: &OriginTlsSpec) -> String {
    let mut keys = Vec::new();
    if let Some(ca) = &spec.ca {
        keys.push(format!("ca = {}", path(&ca.value)));
    }
    for (key, name) in [
        ("server_name", &spec.server_name),
        ("verify_name", &spec.verify_name),
    ] {
        keys.extend(
            name.as_deref()
                .map(|name| format!("{key} = {}", string(name))),
        );
    }
    if let Some(files) = &spec.certificate {
        let (chain, key) = (path(&files.chain.value), path(&files.key.value));
        keys.push(format!("certificate = {{ chain = {chain}, key = {key} }}"));
    }
    let alpn = spec.alpn.iter();
    let alpn = list(alpn.map(|protocol| String::from_utf8_lossy(protocol).into_owned()));
    keys.push(format!("alpn = {alpn}"));
    let version = if spec.tls12 { "1.2" } else { "1.3" };
    keys.push(format!("min_version = {}", string(version)));
    format!("{{ {} }}", keys.join(", "))
}
