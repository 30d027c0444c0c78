//! quiche with its own HTTP/3, on the BoringSSL of its crates.

use boring::pkey::Id;
use boring::ssl::{SslSignatureAlgorithm, SslVerifyMode};
use boring::x509::X509;
use peer::line::{accepted, retried, text, watch, Line, Went, SHOWN, TICKETS};
use peer::peer::{alert, connection, finish, unsupported, Options};
use peer::{config, tls};
use quiche::h3::{self, Event, Header, NameValue};
use serde_json::{json, Value};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What comes behind an answer, tickets above all: so long it is waited for.
const TRAILING: Duration = Duration::from_millis(100);
/// RFC 9001 section 4.8, RFC 9114 section 8.1.
const CRYPTO_ERROR: u64 = 0x100;
const NO_ERROR: u64 = 0x100;

fn configure(o: &Options) -> quiche::Config {
    let mut tls = tls();
    let groups = o.list("groups");
    // A key share is sent for the first one only.
    if !groups.is_empty() && tls.set_curves_list(&groups.join(":")).is_err() {
        unsupported(&format!("BoringSSL has not all of {groups:?}"));
    }
    if !o.list("suites").is_empty() {
        unsupported("BoringSSL does not let its user choose the suites of TLS 1.3");
    }
    let algorithms: &[SslSignatureAlgorithm] = match o.get("signatures") {
        Some("ecdsa") => &[SslSignatureAlgorithm::ECDSA_SECP256R1_SHA256, SslSignatureAlgorithm::ECDSA_SECP384R1_SHA384],
        Some("rsa") => &[SslSignatureAlgorithm::RSA_PSS_RSAE_SHA256, SslSignatureAlgorithm::RSA_PKCS1_SHA256],
        _ => &[],
    };
    if !algorithms.is_empty() {
        tls.set_verify_algorithm_prefs(algorithms).expect("BoringSSL has them");
    }
    tls.set_verify(SslVerifyMode::PEER);
    tls.set_ca_file(o.required("ca")).expect("the authority is readable");
    watch(&mut tls);
    let protocols = o.alpn();
    let protocols: Vec<&[u8]> = protocols.iter().map(|name| name.as_bytes()).collect();
    let mut config = config(tls, &protocols);
    if o.text("mode", "full") == "early" {
        config.enable_early_data();
    }
    config
}

fn refuse(o: &Options) {
    if o.text("http", "1") != "3" {
        unsupported("quiche speaks QUIC alone");
    }
    if o.text("version", "1.3") != "1.3" {
        unsupported("QUIC has TLS 1.3 alone");
    }
    if o.has("status") || o.has("key-update") {
        unsupported("not asked for over QUIC");
    }
}

/// A connection and what is asked on it.
struct Talk<'a> {
    line: Line,
    http: Option<h3::Connection>,
    o: &'a Options,
    authority: String,
    fact: Value,
}

impl Talk<'_> {
    fn speak(&mut self) -> Went<()> {
        let config = h3::Config::new().map_err(text)?;
        self.http = Some(h3::Connection::with_transport(&mut self.line.quic, &config).map_err(text)?);
        Ok(())
    }

    fn request(&mut self, method: &str, path: &str, headers: &[(String, String)], body: u64) -> Went<u16> {
        let field = |name: &str, value: &str| Header::new(name.as_bytes(), value.as_bytes());
        let mut fields = vec![field(":method", method), field(":scheme", "https"), field(":authority", &self.authority), field(":path", path)];
        fields.extend(headers.iter().map(|(name, value)| field(name, value)));
        if body > 0 {
            fields.push(field("content-length", &body.to_string()));
        }
        let http = self.http.as_mut().ok_or("no HTTP/3")?;
        let stream = self.line.until(|line| match http.send_request(&mut line.quic, &fields, body == 0) {
            Ok(stream) => Ok(Some(stream)),
            Err(h3::Error::StreamBlocked | h3::Error::TransportError(quiche::Error::StreamLimit)) => Ok(None),
            Err(error) => Err(text(error)),
        })?;
        let content = vec![b'x'; body as usize];
        let mut piece = vec![0; 65536];
        let (mut sent, mut status, mut bytes) = (0, 0, 0);
        let answered = self.line.until(|line| {
            while sent < content.len() {
                match http.send_body(&mut line.quic, stream, &content[sent..], true) {
                    Ok(more) => sent += more,
                    Err(h3::Error::Done) => break,
                    Err(error) => return Err(text(error)),
                }
            }
            loop {
                match http.poll(&mut line.quic) {
                    Ok((on, Event::Headers { list, .. })) if on == stream => {
                        let told = list.iter().find(|field| field.name() == b":status");
                        let told = told.and_then(|field| std::str::from_utf8(field.value()).ok());
                        let told = told.and_then(|told| told.parse().ok()).unwrap_or(0);
                        // Informational ones come before, trailers behind.
                        if told >= 200 {
                            status = told;
                        }
                    }
                    Ok((on, Event::Data)) if on == stream => {
                        while let Ok(more) = http.recv_body(&mut line.quic, stream, &mut piece) {
                            bytes += more;
                        }
                    }
                    Ok((on, Event::Finished)) if on == stream => return Ok(Some(())),
                    Ok((on, Event::Reset(code))) if on == stream => return Err(format!("the stream was reset: {code:#x}")),
                    Ok(_) => {}
                    Err(h3::Error::Done) => return Ok(None),
                    Err(error) => return Err(text(error)),
                }
            }
        });
        self.fact["sent"] = json!(self.fact["sent"].as_u64().unwrap_or(0) + sent as u64);
        answered?;
        // quiche does not tell of HANDSHAKE_DONE.
        let answer = json!({ "status": status, "bytes": bytes, "before_finished": null });
        self.fact["responses"].as_array_mut().expect("it is a list").push(answer);
        Ok(status)
    }

    /// The handshake is over on this side.
    fn established(&mut self) -> Went<()> {
        self.line.until(|line| Ok(line.quic.is_established().then_some(())))
    }

    fn asked(&mut self) -> Went<()> {
        let o = self.o;
        let (method, path) = (o.text("method", "GET"), o.text("path", "/"));
        let (headers, body) = (o.headers(), o.number("body-bytes", 0));
        for _ in 0..o.number("requests", 1) {
            let status = self.request(method, path, &headers, body)?;
            if status == 425 && o.has("retry-425") {
                self.established()?;
                self.request(method, path, &headers, body)?;
            }
        }
        self.established()
    }

    /// What is asked on it. Early data that was refused is sent again by quiche.
    fn talk(&mut self, first: bool) -> Went<()> {
        if !self.line.quic.is_in_early_data() {
            self.established()?;
        }
        self.speak()?;
        if !first {
            return self.asked();
        }
        self.request("GET", "/", &[], 0)?;
        self.line.until(|line| Ok(line.quic.session().map(drop)))
    }

    /// What became of it.
    fn told(mut self, offered: bool, went: &Went<()>) -> (Value, Option<Vec<u8>>) {
        let (fact, quic) = (&mut self.fact, &mut self.line.quic);
        if let Err(error) = went {
            fact["error"] = json!(error);
        }
        fact["ended"] = json!(match quic.peer_error() {
            Some(error) if !error.is_app && (CRYPTO_ERROR..CRYPTO_ERROR + 256).contains(&error.error_code) => alert(error.error_code - CRYPTO_ERROR),
            Some(_) => "closed".into(),
            None if went.as_ref().is_err_and(|error| error == "timeout") => "timeout".into(),
            None => "local".into(),
        });
        if quic.is_established() {
            fact["handshake"] = json!(true);
            fact["version"] = json!("1.3");
            fact["alpn"] = json!(String::from_utf8_lossy(quic.application_proto()));
            fact["resumed"] = json!(quic.is_resumed());
            fact["tickets"] = json!(TICKETS.load(Ordering::Relaxed));
            let shown = quic.peer_cert().filter(|_| SHOWN.load(Ordering::Relaxed));
            fact["certificate"] = json!(shown.and_then(kind));
            let tls = quic.as_mut();
            fact["hrr"] = json!(retried(tls));
            fact["group"] = json!(tls.curve_name());
            fact["suite"] = json!(tls.current_cipher().and_then(|suite| suite.standard_name()));
            if offered {
                fact["early"] = json!(if accepted(tls) { "accepted" } else { "refused" });
            }
        }
        let session = self.line.quic.session().map(<[u8]>::to_vec);
        self.line.close(NO_ERROR);
        (self.fact, session)
    }
}

/// The kind of a certificate's key.
fn kind(certificate: &[u8]) -> Option<&'static str> {
    match X509::from_der(certificate).ok()?.public_key().ok()?.id() {
        Id::EC => Some("ecdsa"),
        Id::RSA => Some("rsa"),
        Id::ED25519 => Some("ed25519"),
        _ => None,
    }
}

fn main() {
    let o = Options::read();
    refuse(&o);
    let deadline = Instant::now() + Duration::from_secs(o.number("timeout", 10));
    let count = if o.text("mode", "full") == "full" { 1 } else { 2 };
    let (mut facts, mut complete, mut session) = (Vec::new(), true, None);
    for index in 0..count {
        let (connect, server) = o.place(index);
        let address: SocketAddr = connect.parse().unwrap_or_else(|_| unsupported("an address and a port are wanted"));
        let opened = Line::open(address, server, &mut configure(&o), session.as_deref(), deadline);
        let line = match opened {
            Ok(line) => line,
            Err(error) => {
                let mut fact = connection();
                fact["error"] = json!(error);
                facts.push(fact);
                complete = false;
                break;
            }
        };
        let offered = line.quic.is_in_early_data();
        let authority = server.unwrap_or(connect).to_owned();
        let mut talk = Talk { line, http: None, o: &o, authority, fact: connection() };
        let went = talk.talk(index == 0 && count == 2);
        talk.line.linger(TRAILING);
        let (fact, kept) = talk.told(offered, &went);
        facts.push(fact);
        session = kept;
        if went.is_err() {
            complete = false;
            break;
        }
    }
    finish(&format!("quiche {}", env!("QUICHE")), facts, complete)
}
