//! quinn as an endpoint of quic-interop-runner: client or server of a case, HTTP/0.9 or HTTP/3.

use bytes::{Buf, Bytes};
use peer::{certificates, initial, provider, serving};
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use quinn::{Connection, Endpoint, Incoming, TransportConfig};
use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, Resumption};
use rustls::client::{Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::{pem::PemObject, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, KeyLogFile, NamedGroup, RootCertStore, ServerConfig};
use std::error::Error;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{signal, SignalKind};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

type Went<T> = Result<T, Box<dyn Error + Send + Sync>>;

const CASES: [&str; 10] = ["handshake", "transfer", "chacha20", "keyupdate", "retry", "resumption", "zerortt", "http3", "multiconnect", "ecn"];
const LINE: usize = 4096;
/// How long what comes behind the answers may take: a ticket, or what ends a connection.
const BEHIND: Duration = Duration::from_secs(5);
/// A third of all datagrams may be lost.
const PATIENCE: Duration = Duration::from_secs(60);

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

fn suites(case: &str) -> &'static [&'static str] {
    if case == "chacha20" { &["TLS_CHACHA20_POLY1305_SHA256"] } else { &[] }
}

fn transport(case: &str) -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some(PATIENCE.try_into().expect("a minute is not too long")));
    if case == "zerortt" {
        // Probes of the path's MTU are 1-RTT packets, of which this case has few.
        transport.mtu_discovery_config(None);
    }
    Arc::new(transport)
}

/// Sessions, and when one comes.
#[derive(Debug)]
struct Sessions {
    kept: ClientSessionMemoryCache,
    ticket: Notify,
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.kept.set_kx_hint(name, group);
    }
    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.kept.kx_hint(name)
    }
    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}
    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }
    fn remove_tls12_session(&self, _: &ServerName<'static>) {}
    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.kept.insert_tls13_ticket(name, value);
        self.ticket.notify_one();
    }
    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.kept.take_tls13_ticket(name)
    }
}

struct Client {
    case: String,
    http3: bool,
    host: String,
    address: SocketAddr,
    config: quinn::ClientConfig,
    sessions: Arc<Sessions>,
}

impl Client {
    fn new(case: &str, url: &http::Uri) -> Went<Self> {
        let http3 = case == "http3" || variable("PROTOCOL") == "h3";
        let host = url.host().ok_or("a URL names no host")?.to_owned();
        let address = (host.as_str(), url.port_u16().unwrap_or(443)).to_socket_addrs()?.next().ok_or("no address")?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates("/certs/ca.pem"));
        let builder = ClientConfig::builder_with_provider(provider(&[], suites(case))).with_protocol_versions(&[&rustls::version::TLS13])?;
        let mut tls = builder.with_root_certificates(roots).with_no_client_auth();
        tls.alpn_protocols = vec![if http3 { b"h3".to_vec() } else { b"hq-interop".to_vec() }];
        tls.key_log = Arc::new(KeyLogFile::new());
        let sessions = Arc::new(Sessions { kept: ClientSessionMemoryCache::new(8), ticket: Notify::new() });
        tls.resumption = Resumption::store(sessions.clone());
        tls.enable_early_data = case == "zerortt";
        let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::with_initial(Arc::new(tls), initial())?));
        config.transport_config(transport(case));
        Ok(Self { case: case.into(), http3, host, address, config, sessions })
    }

    /// One connection, and these files on it at once.
    async fn connection(&self, files: &[http::Uri], first: bool) -> Went<()> {
        let endpoint = Endpoint::client((Ipv4Addr::UNSPECIFIED, 0).into())?;
        let connecting = endpoint.connect_with(self.config.clone(), self.address, &self.host)?;
        let (quic, accepted) = match connecting.into_0rtt() {
            Ok((quic, accepted)) => (quic, Some(accepted)),
            Err(connecting) => (connecting.await?, None),
        };
        if self.http3 {
            over_h3(&quic, files).await?;
        } else {
            let mut under_way = JoinSet::new();
            for file in files {
                let (quic, path, update) = (quic.clone(), file.path().to_owned(), self.case == "keyupdate");
                under_way.spawn(async move { bare(&quic, &path, update).await });
            }
            while let Some(ended) = under_way.join_next().await {
                ended??;
            }
        }
        let early = match accepted {
            Some(accepted) => Some(accepted.await),
            None => None,
        };
        match early {
            Some(false) => return Err("early data was refused".into()),
            None if self.case == "zerortt" && !first => return Err("no early data was sent".into()),
            _ => {}
        }
        if first {
            timeout(BEHIND, self.sessions.ticket.notified()).await.map_err(|_| "no ticket came")?;
        }
        quic.close(if self.http3 { 0x100u32.into() } else { 0u32.into() }, b"");
        let _ = timeout(BEHIND, endpoint.wait_idle()).await;
        Ok(())
    }
}

fn download(path: &str) -> Went<PathBuf> {
    Ok(Path::new("/downloads").join(Path::new(path).file_name().ok_or("a URL names no file")?))
}

/// HTTP/0.9; with a key update once the handshake is confirmed.
async fn bare(quic: &Connection, path: &str, update: bool) -> Went<()> {
    let (mut send, mut receive) = quic.open_bi().await?;
    send.write_all(format!("GET {path}\r\n").as_bytes()).await?;
    send.finish()?;
    let (mut content, mut updated) = (Vec::new(), !update);
    while let Some(chunk) = receive.read_chunk(usize::MAX, true).await? {
        content.extend_from_slice(&chunk.bytes);
        if !updated && quic.stats().frame_rx.handshake_done > 0 {
            updated = true;
            quic.force_key_update();
        }
    }
    fs::write(download(path)?, content)?;
    Ok(())
}

async fn over_h3(quic: &Connection, files: &[http::Uri]) -> Went<()> {
    let (mut driver, send) = h3::client::new(h3_quinn::Connection::new(quic.clone())).await?;
    let driver = tokio::spawn(async move { drop(driver.wait_idle().await) });
    let mut under_way = JoinSet::new();
    for file in files {
        let (mut send, file) = (send.clone(), file.clone());
        under_way.spawn(async move {
            let mut stream = send.send_request(http::Request::get(file.clone()).body(())?).await?;
            stream.finish().await?;
            let status = stream.recv_response().await?.status();
            let mut content = Vec::new();
            while let Some(mut data) = stream.recv_data().await? {
                content.extend_from_slice(&data.copy_to_bytes(data.remaining()));
            }
            if !status.is_success() {
                return Err(format!("{file}: {status}").into());
            }
            fs::write(download(file.path())?, content)?;
            Went::Ok(())
        });
    }
    while let Some(ended) = under_way.join_next().await {
        ended??;
    }
    driver.abort();
    Ok(())
}

async fn fetch(case: &str) -> Went<()> {
    let files = variable("REQUESTS").split_ascii_whitespace().map(str::parse).collect::<Result<Vec<http::Uri>, _>>()?;
    let client = Client::new(case, files.first().ok_or("REQUESTS names nothing")?)?;
    match case {
        "multiconnect" => {
            for file in files.chunks(1) {
                client.connection(file, false).await?;
            }
        }
        "resumption" | "zerortt" => {
            client.connection(&files[..1], true).await?;
            client.connection(&files[1..], false).await?;
        }
        _ => client.connection(&files, false).await?,
    }
    Ok(())
}

/// What stands in a file below `/www`.
fn content(path: &str) -> Option<Vec<u8>> {
    let path = Path::new(path.strip_prefix('/')?);
    let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    fs::read(Path::new("/www").join(path)).ok().filter(|_| inside)
}

async fn answer(incoming: Incoming) -> Went<()> {
    let mut connecting = incoming.accept()?;
    let data = connecting.handshake_data().await?.downcast::<HandshakeData>();
    let http3 = data.is_ok_and(|data| data.protocol.as_deref() == Some(b"h3"));
    let Ok((quic, _)) = connecting.into_0rtt() else { return Ok(()) };
    if http3 {
        let mut connection = h3::server::Connection::new(h3_quinn::Connection::new(quic)).await?;
        while let Some(resolver) = connection.accept().await? {
            tokio::spawn(async move {
                let (request, mut stream) = resolver.resolve_request().await?;
                let content = content(request.uri().path());
                let status = if content.is_some() { 200 } else { 404 };
                stream.send_response(http::Response::builder().status(status).body(())?).await?;
                stream.send_data(Bytes::from(content.unwrap_or_default())).await?;
                stream.finish().await?;
                Went::Ok(())
            });
        }
        return Ok(());
    }
    loop {
        let (mut send, mut receive) = quic.accept_bi().await?;
        tokio::spawn(async move {
            let line = String::from_utf8(receive.read_to_end(LINE).await?)?;
            match line.split_whitespace().nth(1).and_then(content) {
                Some(content) => send.write_all(&content).await?,
                None => send.reset(0u32.into())?,
            }
            send.finish()?;
            Went::Ok(())
        });
    }
}

async fn serve(case: &str) -> Went<()> {
    let key = PrivateKeyDer::from_pem_file("/certs/priv.key")?;
    let builder = ServerConfig::builder_with_provider(provider(&[], suites(case))).with_protocol_versions(&[&rustls::version::TLS13])?;
    let mut tls = builder.with_no_client_auth().with_single_cert(certificates("/certs/cert.pem"), key)?;
    tls.alpn_protocols = vec![b"h3".to_vec(), b"hq-interop".to_vec()];
    tls.key_log = Arc::new(KeyLogFile::new());
    tls.max_early_data_size = if case == "zerortt" { u32::MAX } else { 0 };
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::with_initial(Arc::new(tls), initial())?));
    config.transport_config(transport(case));
    let endpoint = serving(config, 443);
    println!("ready");
    let mut ended = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            _ = ended.recv() => break,
            incoming = endpoint.accept() => {
                let Some(incoming) = incoming else { break };
                if case == "retry" && !incoming.remote_address_validated() {
                    incoming.retry()?;
                    continue;
                }
                tokio::spawn(async move {
                    if let Err(error) = answer(incoming).await {
                        eprintln!("{error}");
                    }
                });
            }
        }
    }
    endpoint.close(0u32.into(), b"");
    let _ = timeout(BEHIND, endpoint.wait_idle()).await;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (role, case) = (variable("ROLE"), variable("TESTCASE"));
    if !CASES.contains(&case.as_str()) {
        eprintln!("{role}, {case}: not supported: quinn speaks QUIC version 1 alone, and its client prefers no other address");
        std::process::exit(127);
    }
    let ended = match role.as_str() {
        "client" => fetch(&case).await,
        "server" => serve(&case).await,
        _ => Err("ROLE is client or server".into()),
    };
    if let Err(error) = ended {
        eprintln!("{error}");
        std::process::exit(1);
    }
}
