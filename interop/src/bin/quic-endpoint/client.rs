//! The client of a case: fetches what `REQUESTS` names into `/downloads`, with the client of the load
//! generator.

use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cutwater::http::h3::asking;
use cutwater::load::h3::{Ask, Connection, Lost, Opening, Probes, endpoint};
use cutwater::rustls::client::Resumption;
use cutwater::rustls::crypto::aws_lc_rs::{self, cipher_suite};
use cutwater::rustls::pki_types::pem::PemObject;
use cutwater::rustls::pki_types::{CertificateDer, ServerName};
use cutwater::rustls::{ClientConfig, KeyLogFile, RootCertStore, version};
use http::{HeaderMap, Method, Uri};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::{CERTIFICATES, DOWNLOADS};

/// Tickets known of one server.
const TICKETS: usize = 8;
/// How long the ticket of a connection may take.
const TICKET: Duration = Duration::from_secs(5);
/// How long a connection may take to end.
const CLOSING: Duration = Duration::from_secs(3);

/// Fetches all files.
pub async fn fetch(case: &str) -> Result<(), String> {
    let requests = env::var("REQUESTS").map_err(|_| "REQUESTS is missing")?;
    let files: Vec<Uri> = requests
        .split_ascii_whitespace()
        .map(|url| url.parse().map_err(|error| format!("{url}: {error}")))
        .collect::<Result<_, _>>()?;
    let first = files.first().ok_or("REQUESTS names nothing")?;
    let client = Client::new(case, first).await?;
    match (case, files.as_slice()) {
        ("multiconnect", files) => {
            for file in files {
                client.connection(std::slice::from_ref(file), false).await?;
            }
            Ok(())
        }
        ("resumption" | "zerortt", [first, rest @ ..]) => {
            if case == "zerortt" {
                second_begins().await;
            }
            client
                .connection(std::slice::from_ref(first), false)
                .await?;
            client.connection(rest, case == "zerortt").await
        }
        (_, files) => client.connection(files, false).await,
    }
}

/// Waits for a second's begin. rustls tells tickets' ages in whole seconds: where one ends between
/// ticket and flight that is more than is true, and GnuTLS refuses the early data. The two connections
/// are together shorter than a second.
#[expect(
    clippy::disallowed_methods,
    reason = "once, and it is the clock that is waited for"
)]
async fn second_begins() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let begun = Duration::from_nanos(now.unwrap_or_default().subsec_nanos().into());
    tokio::time::sleep(Duration::from_secs(1).saturating_sub(begun)).await;
}

/// What all connections of a case have in common.
struct Client {
    tls: Arc<ClientConfig>,
    name: ServerName<'static>,
    address: SocketAddr,
    key_update: bool,
    needs_ticket: bool,
    probes: Probes,
    http3: bool,
}

impl Client {
    async fn new(case: &str, url: &Uri) -> Result<Self, String> {
        // Of the runner's own accord that one alone is HTTP/3; a peer may have nothing else.
        let http3 = case == "http3" || env::var("PROTOCOL").is_ok_and(|it| it == "h3");
        let host = url.host().ok_or("a URL names no host")?;
        let port = url.port_u16().unwrap_or(443);
        let mut found = tokio::net::lookup_host((host, port))
            .await
            .map_err(|error| format!("{host}: {error}"))?;
        Ok(Self {
            tls: Arc::new(tls(case, http3)?),
            name: ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?,
            address: found.next().ok_or("the server has no address")?,
            key_update: case == "keyupdate",
            needs_ticket: matches!(case, "resumption" | "zerortt"),
            // The runner bounds what is sent in 1-RTT packets, and probes are some.
            probes: match case {
                "zerortt" => Probes::None,
                _ => Probes::Sent,
            },
            http3,
        })
    }

    /// One connection, and these files on it at once.
    async fn connection(&self, files: &[Uri], early: bool) -> Result<(), String> {
        // Each has a port of its own.
        let endpoint = endpoint(self.address).map_err(|error| error.to_string())?;
        let (tls, name) = (&self.tls, self.name.clone());
        let opening = Opening::begin_with(&endpoint, tls, name, self.address, self.probes);
        let opening = opening.map_err(|error| error.to_string())?;
        let progress = opening.progress();
        let opened = match (self.http3, early) {
            (false, false) => opening.complete_bare().await.map(Spoken::Http09),
            (false, true) => opening.early_bare().map(Spoken::Http09),
            (true, false) => opening.complete().await.map(|it| Spoken::Http3(it.into())),
            (true, true) => opening.early().await.map(|it| Spoken::Http3(it.into())),
        };
        let spoken = opened.map_err(|error| format!("the handshake: {error}"))?;
        let fetched = spoken.fetch_all(files, self.key_update).await;
        if early && !progress.facts().early_accepted {
            // All of it was refused: as any client would, it asks again. The trace tells.
            spoken.begin_again().await?;
            spoken.fetch_all(files, self.key_update).await?;
        } else {
            fetched?;
        }
        if self.needs_ticket && !early {
            let came = timeout(TICKET, progress.ticket()).await;
            came.map_err(|_| "no ticket came")?;
        }
        let facts = progress.facts();
        println!(
            "kind={:?} early_accepted={} tickets={}",
            facts.kind, facts.early_accepted, facts.tickets
        );
        spoken.close();
        // What says so has to leave.
        let _ = timeout(CLOSING, endpoint.wait_idle()).await;
        Ok(())
    }
}

/// A connection and what is spoken on it.
#[derive(Clone)]
enum Spoken {
    Http09(quinn::Connection),
    Http3(Arc<Connection>),
}

impl Spoken {
    fn quic(&self) -> &quinn::Connection {
        match self {
            Self::Http09(quic) => quic,
            Self::Http3(connection) => connection.quic(),
        }
    }

    fn close(&self) {
        match self {
            Self::Http09(quic) => quic.close(0_u32.into(), b""),
            Self::Http3(connection) => connection.close(),
        }
    }

    /// Opens again what was opened early and refused.
    async fn begin_again(&self) -> Result<(), String> {
        match self {
            Self::Http09(_) => Ok(()),
            Self::Http3(connection) => connection.greet().await.map_err(|error| error.to_string()),
        }
    }

    /// Fetches these files at once, each to its end.
    async fn fetch_all(&self, files: &[Uri], key_update: bool) -> Result<(), String> {
        let mut under_way = JoinSet::new();
        for file in files {
            let (spoken, file) = (self.clone(), file.clone());
            under_way.spawn(async move { spoken.fetch(&file, key_update).await });
        }
        let mut all = Ok(());
        while let Some(ended) = under_way.join_next().await {
            all = all.and(ended.map_err(|error| error.to_string())?);
        }
        all
    }

    async fn fetch(&self, file: &Uri, key_update: bool) -> Result<(), String> {
        let mut saved = Saved {
            file: save(file)?,
            quic: self.quic(),
            key_update,
        };
        match self {
            Self::Http09(quic) => over_http09(quic, file, &mut saved).await,
            Self::Http3(connection) => over_http3(connection, file, &mut saved).await,
        }
        .map_err(|error| format!("{}: {error}", file.path()))?;
        match saved.key_update {
            true => Err("the handshake was not confirmed before the file had come".into()),
            false => Ok(()),
        }
    }
}

/// A file as it comes, and a key update on its way.
struct Saved<'a> {
    file: File,
    quic: &'a quinn::Connection,
    /// Whether it is still due.
    key_update: bool,
}

impl Saved<'_> {
    fn piece(&mut self, piece: &[u8]) -> std::io::Result<()> {
        // RFC 9001 section 6.1: not before the handshake is confirmed. Earlier, a server may answer
        // without ever having used its first key.
        if self.key_update && self.quic.stats().frame_rx.handshake_done > 0 {
            self.quic.force_key_update();
            self.key_update = false;
        }
        self.file.write_all(piece)
    }
}

async fn over_http09(
    quic: &quinn::Connection,
    file: &Uri,
    saved: &mut Saved<'_>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (mut send, mut receive) = quic.open_bi().await?;
    let line = format!("GET {}\r\n", file.path());
    send.write_all(line.as_bytes()).await?;
    send.finish()?;
    while let Some(chunk) = receive.read_chunk(usize::MAX, true).await? {
        saved.piece(&chunk.bytes)?;
    }
    Ok(())
}

async fn over_http3(
    connection: &Connection,
    file: &Uri,
    saved: &mut Saved<'_>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let authority = file.authority().ok_or("a URL names no host")?.as_str();
    let section = asking(&Method::GET, authority, file.path(), &HeaderMap::new(), 0);
    let ask = Ask {
        section,
        body: Default::default(),
        is_head: false,
    };
    let mut wrong = Ok(());
    let content = |piece: &[u8]| {
        if wrong.is_ok() {
            wrong = saved.piece(piece);
        }
    };
    let status = connection.exchange(&ask, &mut None, content).await;
    wrong?;
    match status {
        Ok(200) => Ok(()),
        Ok(status) => Err(format!("status {status}").into()),
        Err(Lost::Failed(error)) => Err(error.to_string().into()),
        Err(lost) => Err(format!("{lost:?}").into()),
    }
}

/// Where a file goes.
fn save(file: &Uri) -> Result<File, String> {
    let name = Path::new(file.path())
        .file_name()
        .ok_or("a URL names no file")?;
    let path: PathBuf = Path::new(DOWNLOADS).join(name);
    File::create(&path).map_err(|error| format!("{}: {error}", path.display()))
}

fn tls(case: &str, http3: bool) -> Result<ClientConfig, String> {
    let mut provider = aws_lc_rs::default_provider();
    if case == "chacha20" {
        provider.cipher_suites = vec![cipher_suite::TLS13_CHACHA20_POLY1305_SHA256];
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&version::TLS13])
        .map_err(|error| error.to_string())?;
    let mut config = builder
        .with_root_certificates(roots()?)
        .with_no_client_auth();
    config.alpn_protocols = vec![match http3 {
        true => b"h3".to_vec(),
        false => b"hq-interop".to_vec(),
    }];
    config.resumption = Resumption::in_memory_sessions(TICKETS);
    config.enable_early_data = case == "zerortt";
    config.key_log = Arc::new(KeyLogFile::new());
    Ok(config)
}

/// The runner's authority stands beside the server's certificate.
fn roots() -> Result<RootCertStore, String> {
    let file = Path::new(CERTIFICATES).join("ca.pem");
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let pem = fs::read(&file).map_err(|error| wrong(&error))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| wrong(&error))?;
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    Ok(roots)
}
