//! The merged configuration with its defaults, as TOML that means the same.

mod conceal;
mod ocsp;
mod origin;
mod origin_tls;

use std::fmt::{self, Write};
use std::path::Path;
use std::time::Duration;

use super::snapshot::{AdminAddress, Field, FieldEdits, LogTarget, PathMatch};
use super::spec::{
    CertificateFiles, Certificates, ListenSpec, RespondSpec, RouteSpec, SiteSpec, Spec, TargetSpec,
};
use crate::admission::Network;
use crate::proxy_protocol::Accepts;
use crate::telemetry::connections::ConnectionLog;

/// A specification as one file. What a program made and no file can say is a comment.
pub fn print(spec: &Spec) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write_spec(spec, &mut text);
    conceal::conceal(&text, &spec.environment)
}

fn write_spec(spec: &Spec, out: &mut String) -> fmt::Result {
    if let Some(directory) = &spec.certificate_directory {
        writeln!(out, "certificate_directory = {}\n", path(&directory.value))?;
    }
    if !spec.error_pages.is_empty() {
        writeln!(out, "error_pages = {}\n", error_pages(&spec.error_pages))?;
    }
    let server = &spec.server;
    writeln!(out, "[server]\nworkers = {}", server.workers)?;
    let (delay, timeout) = (duration(server.drain_delay), duration(server.drain_timeout));
    writeln!(out, "drain = {{ delay = {delay}, timeout = {timeout} }}")?;
    let limits = &spec.limits;
    writeln!(out, "\n[limits]\nconnections = {}", limits.connections)?;
    writeln!(out, "handshakes = {}", limits.handshakes)?;
    writeln!(out, "\n[log]\nlevel = {}", string(&spec.log.level))?;
    let access = match &spec.log.access {
        LogTarget::Off => string("off"),
        LogTarget::Stdout => string("stdout"),
        LogTarget::File(file) => path(file),
    };
    writeln!(out, "access = {access}")?;
    let connections = match spec.log.connections {
        ConnectionLog::Off => "off",
        ConnectionLog::Errors => "errors",
        ConnectionLog::All => "all",
    };
    writeln!(out, "connections = {}", string(connections))?;
    for listen in &spec.listeners {
        write_listener(listen, out)?;
    }
    if let Some(admin) = &spec.admin {
        let address = match &admin.value {
            AdminAddress::Tcp(address) => string(&address.to_string()),
            AdminAddress::Unix(socket) => string(&format!("unix:{}", absolute(socket))),
        };
        writeln!(out, "\n[admin]\naddress = {address}")?;
    }
    let sessions = &spec.sessions;
    writeln!(out, "\n[sessions]\ncapacity = {}", sessions.capacity)?;
    writeln!(out, "tickets = {}\nstore = \"memory\"", sessions.tickets)?;
    ocsp::table(&spec.ocsp, out)?;
    let resolver = &spec.resolver;
    writeln!(out, "\n[resolver]")?;
    if !resolver.servers.is_empty() {
        let servers = list(resolver.servers.iter().map(ToString::to_string));
        writeln!(out, "servers = {servers}")?;
    }
    writeln!(out, "timeout = {}", duration(resolver.timeout))?;
    let (least, most) = (duration(resolver.ttl.0), duration(resolver.ttl.1));
    writeln!(out, "min_ttl = {least}\nmax_ttl = {most}")?;
    if let Some(file) = &spec.log_list {
        let file = path(&file.value);
        writeln!(out, "\n[certificate_transparency]\nlog_list = {file}")?;
    }
    for (name, origin) in &spec.origins {
        writeln!(out, "\n[origin.{}]", string(name))?;
        for (key, value) in origin::keys(origin) {
            writeln!(out, "{key} = {value}")?;
        }
    }
    for site in &spec.sites {
        write_site(site, out)?;
    }
    Ok(())
}

fn write_listener(listen: &ListenSpec, out: &mut String) -> fmt::Result {
    let address = string(&listen.address.value.to_string());
    writeln!(out, "\n[[listen]]\naddress = {address}")?;
    writeln!(out, "name = {}", string(&listen.name.value))?;
    writeln!(out, "tls = {}\nbacklog = {}", listen.tls, listen.backlog)?;
    writeln!(out, "quic = {}", listen.quic.value)?;
    if listen.quic.value {
        let age = listen.alt_svc.map_or_else(|| string("off"), duration);
        let retry = string(listen.quic_retry.as_str());
        writeln!(out, "alt_svc = {age}\nquic_retry = {retry}")?;
        writeln!(out, "quic_migration = {}", listen.quic_migration)?;
    }
    let version = listen.proxy_protocol.map_or("off", Accepts::as_str);
    writeln!(out, "proxy_protocol = {}", string(version))?;
    let networks = |networks: &[Network]| list(networks.iter().map(ToString::to_string));
    if !listen.proxy_from.is_empty() {
        writeln!(out, "proxy_from = {}", networks(&listen.proxy_from))?;
    }
    if !listen.trusted_proxies.is_empty() {
        let header = string(listen.trusted_header.as_str());
        writeln!(
            out,
            "trusted_proxies = {}",
            networks(&listen.trusted_proxies)
        )?;
        writeln!(out, "trusted_header = {header}")?;
    }
    let client_hello = duration(listen.client_hello_timeout);
    let header = duration(listen.proxy_header_timeout);
    writeln!(
        out,
        "timeouts = {{ client_hello = {client_hello}, proxy_header = {header} }}"
    )
}

fn write_site(site: &SiteSpec, out: &mut String) -> fmt::Result {
    let names = list(site.names.iter().map(|name| name.value.to_string()));
    writeln!(out, "\n[[site]]\nnames = {names}")?;
    if !site.listen.is_empty() {
        let listen = list(site.listen.iter().map(|name| name.value.clone()));
        writeln!(out, "listen = {listen}")?;
    }
    let pair = |files: &CertificateFiles| {
        let (chain, key) = (path(&files.chain.value), path(&files.key.value));
        let more = ocsp::staple_files(&files.ocsp);
        format!("{{ chain = {chain}, key = {key}{more} }}")
    };
    match &site.certificates {
        Certificates::Files(files) => match &files[..] {
            [files] => writeln!(out, "certificate = {}", pair(files))?,
            several => {
                let several: Vec<String> = several.iter().map(pair).collect();
                writeln!(out, "certificate = [{}]", several.join(", "))?;
            }
        },
        Certificates::Keys(_) => writeln!(out, "# certificate: made by a program")?,
        Certificates::Directory | Certificates::Unusable => {}
    }
    writeln!(out, "default = {}", site.default.value)?;
    let alpn = site.alpn.iter();
    let alpn = list(alpn.map(|protocol| String::from_utf8_lossy(protocol).into_owned()));
    writeln!(out, "alpn = {alpn}")?;
    let version = if site.tls12 { "1.2" } else { "1.3" };
    writeln!(out, "min_version = {}", string(version))?;
    writeln!(out, "early_data = {}", site.early_data.value)?;
    let compression = match &site.certificate_compression[..] {
        [] => string("off"),
        several => list(several.iter().map(|one| one.as_str().to_owned())),
    };
    writeln!(out, "certificate_compression = {compression}")?;
    writeln!(out, "ocsp = {}", string(site.ocsp.value.as_str()))?;
    let timeouts = &site.timeouts;
    writeln!(
        out,
        "timeouts = {{ handshake = {}, request_headers = {}, keep_alive = {} }}",
        duration(timeouts.handshake),
        duration(timeouts.request_headers),
        duration(timeouts.keep_alive)
    )?;
    if !site.error_pages.is_empty() {
        writeln!(out, "error_pages = {}", error_pages(&site.error_pages))?;
    }
    for route in &site.routes {
        write_route(route, out)?;
    }
    Ok(())
}

fn write_route(route: &RouteSpec, out: &mut String) -> fmt::Result {
    writeln!(out, "\n[[site.route]]")?;
    match &route.path {
        PathMatch::Exact(path) => writeln!(out, "exact = {}", string(path))?,
        PathMatch::Prefix(path) => writeln!(out, "path = {}", string(path))?,
    }
    if !route.methods.is_empty() {
        let methods = list(route.methods.iter().map(ToString::to_string));
        writeln!(out, "methods = {methods}")?;
    }
    if let Some(host) = &route.host {
        writeln!(out, "host = {}", string(&host.value.to_string()))?;
    }
    let early_data = string(route.early_data.value.as_str());
    writeln!(out, "early_data = {early_data}")?;
    match &route.target {
        Some(TargetSpec::Respond(respond)) => write_respond(respond, out)?,
        Some(TargetSpec::Redirect(redirect)) => {
            let to = string(&String::from_utf8_lossy(redirect.to.as_bytes()));
            let status = redirect.status.as_u16();
            let (path, query) = (redirect.keep_path, redirect.keep_query);
            writeln!(
                out,
                "redirect = {{ to = {to}, status = {status}, keep_path = {path}, keep_query = {query} }}"
            )?;
        }
        Some(TargetSpec::Named(name)) => writeln!(out, "origin = {}", string(&name.value))?,
        Some(TargetSpec::Inline(origin)) => {
            writeln!(out, "origin = {}", origin::inline(origin))?;
        }
        Some(TargetSpec::Handler(_)) => writeln!(out, "# a handler of a program")?,
        None => {}
    }
    for (key, networks) in [("allow", &route.allow), ("deny", &route.deny)] {
        if !networks.is_empty() {
            let networks = list(networks.iter().map(ToString::to_string));
            writeln!(out, "{key} = {networks}")?;
        }
    }
    if let Some(rate) = &route.rate_limit {
        let (requests, per) = (rate.requests, duration(rate.per));
        writeln!(
            out,
            "rate_limit = {{ requests = {requests}, per = {per}, burst = {}, clients = {} }}",
            rate.burst, rate.clients
        )?;
    }
    if let Some(rewrite) = &route.prefix_rewrite {
        writeln!(out, "prefix_rewrite = {}", string(rewrite))?;
    }
    for (key, edits) in [
        ("request_headers", &route.request_headers),
        ("response_headers", &route.response_headers),
    ] {
        if !edits.is_empty() {
            writeln!(out, "{key} = {}", field_edits(edits))?;
        }
    }
    let timeouts = &route.timeouts;
    writeln!(
        out,
        "timeouts = {{ connect = {}, request_body_idle = {}, response_headers = {}, \
         response_idle = {}, write_idle = {}, total = {} }}",
        duration(timeouts.connect),
        duration(timeouts.request_body_idle),
        duration(timeouts.response_headers),
        duration_or_off(timeouts.response_idle),
        duration_or_off(timeouts.write_idle),
        duration_or_off(timeouts.total)
    )?;
    let limits = &route.limits;
    let body = limits.body.map_or(string("off"), |body| body.to_string());
    writeln!(
        out,
        "limits = {{ header_bytes = {}, headers = {}, uri = {}, body = {body} }}",
        limits.header_bytes, limits.headers, limits.uri
    )
}

fn write_respond(respond: &RespondSpec, out: &mut String) -> fmt::Result {
    let mut parts = vec![format!("status = {}", respond.status.as_u16())];
    parts.extend(content(respond));
    writeln!(out, "respond = {{ {} }}", parts.join(", "))
}

fn error_pages(pages: &[RespondSpec]) -> String {
    let page = |page: &RespondSpec| {
        let content = content(page).join(", ");
        format!("{} = {{ {content} }}", page.status.as_u16())
    };
    let pages: Vec<String> = pages.iter().map(page).collect();
    format!("{{ {} }}", pages.join(", "))
}

/// Body and fields of a fixed answer.
fn content(respond: &RespondSpec) -> Vec<String> {
    let mut parts = Vec::new();
    if let Some(file) = &respond.body_file {
        parts.push(format!("body_file = {}", path(file)));
    } else if !respond.body.is_empty() {
        let body = String::from_utf8_lossy(&respond.body);
        parts.push(format!("body = {}", string(&body)));
    }
    if !respond.headers.is_empty() {
        let field = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            let value = String::from_utf8_lossy(value.as_bytes());
            format!("{} = {}", string(name.as_str()), string(&value))
        };
        let fields: Vec<String> = respond.headers.iter().map(field).collect();
        parts.push(format!("headers = {{ {} }}", fields.join(", ")));
    }
    parts
}

fn field_edits(edits: &FieldEdits) -> String {
    let mut parts = Vec::new();
    if !edits.remove.is_empty() {
        let names = list(edits.remove.iter().map(ToString::to_string));
        parts.push(format!("remove = {names}"));
    }
    for (key, fields) in [("set", &edits.set), ("add", &edits.add)] {
        if !fields.is_empty() {
            let each = fields.chunk_by(|one, next| one.name == next.name);
            let each: Vec<String> = each.map(field).collect();
            parts.push(format!("{key} = {{ {} }}", each.join(", ")));
        }
    }
    format!("{{ {} }}", parts.join(", "))
}

/// The values of one name.
fn field(fields: &[Field]) -> String {
    let value = |field: &Field| match &field.file {
        // What stands in the file is a secret.
        Some(file) => format!("file:{}", absolute(file)),
        None => match (&field.typed, field.value.fixed()) {
            (Some(typed), _) => typed.to_string(),
            (None, Some(value)) => String::from_utf8_lossy(value.as_bytes()).into_owned(),
            (None, None) => String::new(),
        },
    };
    match fields {
        [only] => format!("{} = {}", string(only.name.as_str()), string(&value(only))),
        several => {
            let name = several.first().map_or("", |field| field.name.as_str());
            format!("{} = {}", string(name), list(several.iter().map(value)))
        }
    }
}

fn list(elements: impl Iterator<Item = String>) -> String {
    let elements: Vec<String> = elements.map(|element| string(&element)).collect();
    format!("[{}]", elements.join(", "))
}

/// The result does not stand where its files stood, so paths are made absolute.
fn path(path: &Path) -> String {
    string(&absolute(path))
}

fn absolute(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.to_string_lossy().into_owned()
}

fn duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis % 1000 {
        0 => string(&format!("{}s", millis / 1000)),
        _ => string(&format!("{millis}ms")),
    }
}

fn duration_or_off(limit: Option<Duration>) -> String {
    limit.map_or_else(|| string("off"), duration)
}

/// A basic string of TOML.
fn string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
