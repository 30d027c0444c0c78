//! quinn, with h3 on it. What quinn does not tell of a handshake, rustls tells those that it asks: the session store and the verifier.

use bytes::{Buf, Bytes};
use h3_quinn::OpenStreams;
use peer::peer::{alert, connection, finish, unsupported, Options};
use peer::{certificates, initial, name, provider, SHARES};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ConnectionError, Endpoint, ZeroRttAccepted};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, NamedGroup, RootCertStore, SignatureScheme};
use serde_json::{json, Value};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout_at, Instant};

type Send = h3::client::SendRequest<OpenStreams, Bytes>;

/// What comes behind an answer, tickets above all: so long it is waited for.
const TRAILING: Duration = Duration::from_millis(100);

/// What rustls told of the connection under way, and the session that is kept.
#[derive(Debug, Default)]
struct Seen {
    facts: Mutex<Facts>,
    ticket: Notify,
}

#[derive(Debug, Default)]
struct Facts {
    /// Whether the name is verified.
    named: bool,
    /// Whether the session is offered.
    offer: bool,
    session: Option<Tls13ClientSessionValue>,
    tickets: u64,
    group: Option<NamedGroup>,
    suite: Option<String>,
    scheme: Option<SignatureScheme>,
}

impl ClientSessionStore for Seen {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.facts.lock().unwrap().group = Some(group);
    }
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }
    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}
    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }
    fn remove_tls12_session(&self, _: &ServerName<'static>) {}
    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        let mut facts = self.facts.lock().unwrap();
        facts.tickets += 1;
        facts.suite = Some(name(value.suite().common.suite));
        facts.session = Some(value);
        self.ticket.notify_one();
    }
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let mut facts = self.facts.lock().unwrap();
        let offer = facts.offer;
        facts.session.take_if(|_| offer)
    }
}

/// The chain is verified, the name where there is one.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    seen: Arc<Seen>,
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(&self, leaf: &CertificateDer<'_>, chain: &[CertificateDer<'_>], name: &ServerName<'_>, ocsp: &[u8], now: UnixTime) -> Result<ServerCertVerified, Error> {
        let named = self.seen.facts.lock().unwrap().named;
        match self.inner.verify_server_cert(leaf, chain, name, ocsp, now) {
            Err(Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })) if !named => Ok(ServerCertVerified::assertion()),
            result => result,
        }
    }
    fn verify_tls12_signature(&self, message: &[u8], leaf: &CertificateDer<'_>, signed: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, leaf, signed)
    }
    fn verify_tls13_signature(&self, message: &[u8], leaf: &CertificateDer<'_>, signed: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        self.seen.facts.lock().unwrap().scheme = Some(signed.scheme);
        self.inner.verify_tls13_signature(message, leaf, signed)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

fn configure(o: &Options, seen: &Arc<Seen>) -> ClientConfig {
    let provider = provider(&o.list("groups"), &o.list("suites"));
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(o.required("ca")));
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let mut schemes = inner.supported_verify_schemes();
    if let Some(kind) = o.get("signatures") {
        schemes.retain(|scheme| format!("{scheme:?}").to_lowercase().starts_with(kind));
    }
    let verifier = Verifier { inner, seen: seen.clone(), schemes };
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
    let mut config = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth();
    config.alpn_protocols = o.alpn().iter().map(|name| name.as_bytes().to_vec()).collect();
    config.resumption = Resumption::store(seen.clone());
    config.enable_early_data = o.text("mode", "full") == "early";
    config
}

fn refuse(o: &Options) {
    if o.text("http", "1") != "3" {
        unsupported("quinn speaks QUIC alone");
    }
    if o.text("version", "1.3") != "1.3" {
        unsupported("QUIC has TLS 1.3 alone");
    }
    if o.has("status") || o.has("key-update") {
        unsupported("not asked for over QUIC");
    }
    provider(&o.list("groups"), &o.list("suites"));
}

/// A connection under way.
struct Line {
    quic: quinn::Connection,
    send: Option<Send>,
    driver: Option<tokio::task::JoinHandle<()>>,
    authority: String,
    fact: Value,
}

/// Why it goes no further, in words.
type Went<T> = Result<T, String>;

impl Line {
    async fn speak(&mut self) -> Went<()> {
        let (mut driver, send) = h3::client::new(h3_quinn::Connection::new(self.quic.clone())).await.map_err(|error| error.to_string())?;
        self.send = Some(send);
        self.driver = Some(tokio::spawn(async move { drop(driver.wait_idle().await) }));
        Ok(())
    }

    async fn request(&mut self, method: &str, path: &str, headers: &[(String, String)], body: u64) -> Went<u16> {
        let uri = format!("https://{}{path}", self.authority);
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if body > 0 {
            request = request.header("content-length", body);
        }
        let send = self.send.as_mut().ok_or("no HTTP/3")?;
        let mut stream = send.send_request(request.body(()).map_err(text)?).await.map_err(text)?;
        let content = Bytes::from(vec![b'x'; body as usize]);
        if body > 0 {
            stream.send_data(content).await.map_err(text)?;
        }
        stream.finish().await.map_err(text)?;
        let response = stream.recv_response().await.map_err(text)?;
        let confirmed = self.quic.stats().frame_rx.handshake_done > 0;
        let mut bytes = 0;
        while let Some(data) = stream.recv_data().await.map_err(text)? {
            bytes += data.remaining();
        }
        let status = response.status().as_u16();
        let answer = json!({ "status": status, "bytes": bytes, "before_finished": !confirmed });
        self.fact["responses"].as_array_mut().unwrap().push(answer);
        self.fact["sent"] = json!(self.fact["sent"].as_u64().unwrap() + body);
        Ok(status)
    }

    /// The request that the mode is about; once more, if it was early and that was refused or too early.
    async fn asked(&mut self, o: &Options, early: &mut Option<ZeroRttAccepted>) -> Went<()> {
        let (method, path) = (o.text("method", "GET"), o.text("path", "/"));
        let (headers, body) = (o.headers(), o.number("body-bytes", 0));
        let Some(mut accepted) = early.take() else {
            self.request(method, path, &headers, body).await?;
            return Ok(());
        };
        let mut known = None;
        let status = {
            let mut first = std::pin::pin!(self.request(method, path, &headers, body));
            loop {
                // h3 takes what quinn says of refused streams for an end of the connection: it is not to see it.
                tokio::select! {
                    biased;
                    is = &mut accepted, if known.is_none() => {
                        known = Some(is);
                        if !is {
                            break None;
                        }
                    }
                    status = &mut first => break Some(status?),
                }
            }
        };
        let accepted = match known {
            Some(known) => known,
            None => accepted.await,
        };
        self.fact["early"] = json!(if accepted { "accepted" } else { "refused" });
        match status {
            None => {
                // Dropping it would close the connection.
                std::mem::forget(self.send.take());
                if let Some(driver) = self.driver.take() {
                    driver.abort();
                }
                self.speak().await?;
                self.request(method, path, &headers, body).await?;
            }
            Some(425) if o.has("retry-425") => {
                self.request(method, path, &headers, body).await?;
            }
            Some(_) => {}
        }
        Ok(())
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

async fn talk(o: &Options, index: usize, endpoint: &Endpoint, config: &Arc<ClientConfig>, seen: &Seen, fact: Value) -> (Value, Went<()>, Option<Line>) {
    let (connect, server) = o.place(index);
    let first = index == 0 && o.text("mode", "full") != "full";
    let address: SocketAddr = connect.parse().unwrap_or_else(|_| unsupported("an address and a port are wanted"));
    let mut line = None;
    SHARES.store(0, Ordering::Relaxed);
    let went = async {
        {
            let mut facts = seen.facts.lock().unwrap();
            let session = facts.session.take();
            *facts = Facts { named: server.is_some(), offer: index > 0, session, ..Facts::default() };
        }
        let quic = QuicClientConfig::with_initial(config.clone(), initial()).map_err(text)?;
        let ip: IpAddr = address.ip();
        let name = server.map_or_else(|| ip.to_string(), str::to_owned);
        let connecting = endpoint.connect_with(quinn::ClientConfig::new(Arc::new(quic)), address, &name).map_err(text)?;
        let (quic, mut early) = match index {
            0 => (connecting.await.map_err(failed)?, None),
            _ => match connecting.into_0rtt() {
                Ok((quic, accepted)) => (quic, Some(accepted)),
                Err(connecting) => (connecting.await.map_err(failed)?, None),
            },
        };
        let authority = server.map_or_else(|| connect.to_owned(), str::to_owned);
        let line = line.insert(Line { quic, send: None, driver: None, authority, fact: fact.clone() });
        line.speak().await?;
        if first {
            line.request("GET", "/", &[], 0).await?;
            while seen.facts.lock().unwrap().session.is_none() {
                seen.ticket.notified().await;
            }
            return Ok(());
        }
        line.asked(o, &mut early).await?;
        for _ in 1..o.number("requests", 1) {
            line.asked(o, &mut None).await?;
        }
        Ok(())
    }
    .await;
    let fact = line.as_ref().map_or(fact, |line| line.fact.clone());
    (fact, went, line)
}

/// How a handshake failed, in a form that [`ended`] reads.
fn failed(error: ConnectionError) -> String {
    match &error {
        ConnectionError::ConnectionClosed(close) => {
            let code = u64::from(close.error_code);
            match code.checked_sub(0x100).filter(|alert| *alert < 256) {
                Some(number) => alert(number),
                None => error.to_string(),
            }
        }
        ConnectionError::TimedOut => "timeout".into(),
        _ => error.to_string(),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let o = Options::read();
    refuse(&o);
    let seen = Arc::new(Seen::default());
    let config = Arc::new(configure(&o, &seen));
    let deadline = Instant::now() + Duration::from_secs(o.number("timeout", 10));
    let count = if o.text("mode", "full") == "full" { 1 } else { 2 };
    let (mut facts, mut complete) = (Vec::new(), true);
    for index in 0..count {
        let (connect, _) = o.place(index);
        let any = if connect.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
        let endpoint = Endpoint::client(any.parse().unwrap()).unwrap();
        let talked = talk(&o, index, &endpoint, &config, &seen, connection());
        let (mut fact, went, line) = match timeout_at(deadline, talked).await {
            Ok(talked) => talked,
            Err(_) => (connection(), Err("timeout".into()), None),
        };
        if let Some(line) = &line {
            sleep(TRAILING).await;
            fact["handshake"] = json!(true);
            fact["version"] = json!("1.3");
            let data = line.quic.handshake_data().and_then(|data| data.downcast::<quinn::crypto::rustls::HandshakeData>().ok());
            let alpn = data.and_then(|data| data.protocol);
            fact["alpn"] = json!(alpn.map(|name| String::from_utf8_lossy(&name).into_owned()));
            line.quic.close(0x100u32.into(), b"");
            let facts = seen.facts.lock().unwrap();
            fact["tickets"] = json!(facts.tickets);
            fact["resumed"] = json!(facts.scheme.is_none());
            fact["hrr"] = json!(SHARES.load(Ordering::Relaxed) > 1);
            fact["group"] = json!(facts.group.map(group));
            fact["suite"] = json!(facts.suite);
            fact["certificate"] = json!(facts.scheme.map(kind));
            fact["ended"] = json!("local");
        }
        if let Err(error) = &went {
            fact["ended"] = json!(match error.as_str() {
                "timeout" => "timeout",
                alert if alert.starts_with("alert:") => alert,
                _ => "local",
            });
            fact["error"] = json!(error);
            complete = false;
        }
        facts.push(fact);
        // What says goodbye has to leave.
        let _ = timeout_at(Instant::now() + TRAILING, endpoint.wait_idle()).await;
        if !complete {
            break;
        }
    }
    finish(&format!("quinn {}", env!("QUINN")), facts, complete)
}

/// The protocol's name of a group.
fn group(group: NamedGroup) -> String {
    match group {
        NamedGroup::secp256r1 => "P-256".into(),
        NamedGroup::secp384r1 => "P-384".into(),
        other => format!("{other:?}"),
    }
}

/// The kind of key that makes these signatures.
fn kind(scheme: SignatureScheme) -> &'static str {
    let name = format!("{scheme:?}");
    match name.as_str() {
        name if name.starts_with("ECDSA") => "ecdsa",
        "ED25519" => "ed25519",
        _ => "rsa",
    }
}
