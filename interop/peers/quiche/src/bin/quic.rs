//! quiche as an endpoint of quic-interop-runner: client or server of a case, HTTP/0.9 or HTTP/3.

use boring::ssl::{SslContextBuilder, SslVerifyMode};
use peer::line::{accepted, text, Line, Went};
use peer::serve::{serve, Asked};
use peer::tls;
use quiche::h3::{self, Event, Header, NameValue};
use std::collections::HashMap;
use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Component, Path};
use std::process::exit;
use std::time::{Duration, Instant};

const CASES: [&str; 7] = ["handshake", "transfer", "retry", "resumption", "zerortt", "http3", "multiconnect"];
/// Bounds a connection; a third of all datagrams may be lost.
const PATIENCE: Duration = Duration::from_secs(120);
/// For the last acknowledgements.
const TRAILING: Duration = Duration::from_millis(50);

/// What a first loss costs is taken for the path's own time, and later waits are many times that: where handshakes are lost, less is
/// waited for the first answer than the 333 ms of RFC 9002 section 6.2.2 would have it. The line takes 30 ms.
const FIRST_GUESS: Duration = Duration::from_millis(100);

fn config(case: &str, tls: SslContextBuilder, protocols: &[&[u8]]) -> quiche::Config {
    let mut config = peer::config(tls, protocols);
    config.log_keys();
    if case == "zerortt" {
        config.enable_early_data();
    }
    if case == "multiconnect" {
        config.set_initial_rtt(FIRST_GUESS);
    }
    config
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// What is asked for, and how far it has come.
struct File {
    path: String,
    stream: Option<u64>,
    asked: usize,
    content: Vec<u8>,
    ended: bool,
}

struct Client {
    case: String,
    http3: bool,
    authority: String,
    host: String,
    address: SocketAddr,
}

impl Client {
    fn new(case: &str, url: &str) -> Went<Self> {
        let http3 = case == "http3" || variable("PROTOCOL") == "h3";
        let (authority, _) = url.strip_prefix("https://").and_then(|rest| rest.split_once('/')).ok_or("a URL names no host")?;
        let (host, port) = authority.split_once(':').unwrap_or((authority, "443"));
        let port: u16 = port.parse().map_err(text)?;
        let address = (host, port).to_socket_addrs().map_err(text)?.next().ok_or("no address")?;
        Ok(Self { case: case.into(), http3, authority: authority.into(), host: host.into(), address })
    }

    fn config(&self) -> quiche::Config {
        let mut tls = tls();
        tls.set_verify(SslVerifyMode::PEER);
        tls.set_ca_file("/certs/ca.pem").expect("the authority is readable");
        config(&self.case, tls, &[if self.http3 { b"h3" } else { b"hq-interop" }])
    }

    /// One connection, and these files on it at once; the session that came of it.
    fn connection(&self, urls: &[String], session: Option<&[u8]>) -> Went<Option<Vec<u8>>> {
        let deadline = Instant::now() + PATIENCE;
        let mut line = Line::open(self.address, Some(&self.host), &mut self.config(), session, deadline)?;
        let early = line.quic.is_in_early_data();
        if !early {
            line.until(|line| Ok(line.quic.is_established().then_some(())))?;
        }
        // Where handshakes are lost, too: a ticket comes when the server has the client's Finished. Until then quiche's probes for what is
        // in 1-RTT packets, which nobody can read yet (RFC 9002 section 6.2.1), take turns with those for the Finished.
        if self.case == "multiconnect" {
            line.until(|line| Ok(line.quic.session().map(drop)))?;
        }
        let mut files: Vec<File> = urls.iter().map(|url| File::new(url)).collect();
        if self.http3 {
            self.over_http3(&mut line, &mut files)?;
        } else {
            over_http09(&mut line, &mut files)?;
        }
        for file in &files {
            let name = Path::new(&file.path).file_name().ok_or("a URL names no file")?;
            fs::write(Path::new("/downloads").join(name), &file.content).map_err(text)?;
        }
        let kept = matches!(self.case.as_str(), "resumption" | "zerortt") && session.is_none();
        let session_after = match kept {
            true => Some(line.until(|line| Ok(line.quic.session().map(<[u8]>::to_vec)))?),
            false => None,
        };
        let taken = accepted(line.quic.as_mut());
        println!("resumed={} early_offered={early} early_accepted={taken}", line.quic.is_resumed());
        if self.case == "zerortt" && session.is_some() && !taken {
            return Err("early data was refused".into());
        }
        line.linger(TRAILING);
        line.close(if self.http3 { 0x100 } else { 0 });
        Ok(session_after)
    }

    fn over_http3(&self, line: &mut Line, files: &mut [File]) -> Went<()> {
        let config = h3::Config::new().map_err(text)?;
        let mut http = h3::Connection::with_transport(&mut line.quic, &config).map_err(text)?;
        let mut on: HashMap<u64, usize> = HashMap::new();
        let mut piece = vec![0; 65536];
        line.until(|line| {
            for (index, file) in files.iter_mut().enumerate().filter(|(_, file)| file.stream.is_none()) {
                let field = |name: &str, value: &str| Header::new(name.as_bytes(), value.as_bytes());
                let fields = [field(":method", "GET"), field(":scheme", "https"), field(":authority", &self.authority), field(":path", &file.path)];
                match http.send_request(&mut line.quic, &fields, true) {
                    Ok(stream) => {
                        file.stream = Some(stream);
                        on.insert(stream, index);
                    }
                    Err(h3::Error::StreamBlocked | h3::Error::TransportError(quiche::Error::StreamLimit)) => break,
                    Err(error) => return Err(text(error)),
                }
            }
            loop {
                let (stream, event) = match http.poll(&mut line.quic) {
                    Ok(event) => event,
                    Err(h3::Error::Done) => break,
                    Err(error) => return Err(text(error)),
                };
                let Some(file) = on.get(&stream).map(|index| &mut files[*index]) else { continue };
                match event {
                    Event::Headers { list, .. } => {
                        let status = list.iter().find(|field| field.name() == b":status");
                        if status.is_none_or(|status| status.value() != b"200") {
                            return Err(format!("{}: {status:?}", file.path));
                        }
                    }
                    Event::Data => {
                        while let Ok(more) = http.recv_body(&mut line.quic, stream, &mut piece) {
                            file.content.extend_from_slice(&piece[..more]);
                        }
                    }
                    Event::Finished => file.ended = true,
                    Event::Reset(code) => return Err(format!("{}: reset: {code:#x}", file.path)),
                    _ => {}
                }
            }
            Ok(files.iter().all(|file| file.ended).then_some(()))
        })
    }
}

impl File {
    fn new(url: &str) -> Self {
        let path = url.splitn(4, '/').nth(3).unwrap_or_default();
        Self { path: format!("/{path}"), stream: None, asked: 0, content: Vec::new(), ended: false }
    }
}

fn over_http09(line: &mut Line, files: &mut [File]) -> Went<()> {
    let mut piece = vec![0; 65536];
    let mut next = 0;
    line.until(|line| {
        for file in files.iter_mut() {
            let request = format!("GET {}\r\n", file.path);
            if file.asked == request.len() {
                continue;
            }
            let stream = file.stream.unwrap_or(next);
            match line.quic.stream_send(stream, &request.as_bytes()[file.asked..], true) {
                Ok(more) => file.asked += more,
                Err(quiche::Error::Done | quiche::Error::StreamLimit) => break,
                Err(error) => return Err(text(error)),
            }
            if file.stream.is_none() {
                file.stream = Some(stream);
                next += 4;
            }
        }
        for stream in line.quic.readable() {
            // Client's streams of both directions: 0, 4, 8, …
            let Some(file) = files.get_mut(stream as usize / 4) else { continue };
            loop {
                match line.quic.stream_recv(stream, &mut piece) {
                    Ok((more, ended)) => {
                        file.content.extend_from_slice(&piece[..more]);
                        file.ended |= ended;
                    }
                    Err(quiche::Error::Done) => break,
                    Err(error) => return Err(format!("{}: {error}", file.path)),
                }
                if file.ended {
                    break;
                }
            }
        }
        Ok(files.iter().all(|file| file.ended).then_some(()))
    })
}

fn fetch(case: &str) -> Went<()> {
    let urls: Vec<String> = variable("REQUESTS").split_ascii_whitespace().map(str::to_owned).collect();
    let client = Client::new(case, urls.first().ok_or("REQUESTS names nothing")?)?;
    match case {
        "multiconnect" => {
            for url in urls.chunks(1) {
                client.connection(url, None)?;
            }
        }
        "resumption" | "zerortt" => {
            let session = client.connection(&urls[..1], None)?;
            client.connection(&urls[1..], session.as_deref())?;
        }
        _ => drop(client.connection(&urls, None)?),
    }
    Ok(())
}

/// What stands in a file below `/www`.
fn content(asked: &Asked) -> Option<Vec<u8>> {
    let path = Path::new(asked.path.strip_prefix('/')?);
    let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    fs::read(Path::new("/www").join(path)).ok().filter(|_| inside)
}

/// Why a case cannot be played.
fn lacks(role: &str, case: &str) -> Option<&'static str> {
    match (role, case) {
        ("server", "chacha20") => None,
        ("client", "chacha20") => Some("BoringSSL does not let its user choose the suites of TLS 1.3"),
        (_, "keyupdate") => Some("quiche begins no key update"),
        (_, "ecn") => Some("quiche sends no counts of marks of congestion"),
        (_, "v2") => Some("quiche speaks QUIC version 1 alone"),
        (_, case) if CASES.contains(&case) => None,
        _ => Some("no such case is known"),
    }
}

fn main() {
    let (role, case) = (variable("ROLE"), variable("TESTCASE"));
    if let Some(why) = lacks(&role, &case) {
        eprintln!("{role}, {case}: not supported: {why}");
        exit(127);
    }
    match role.as_str() {
        "client" => {
            if let Err(error) = fetch(&case) {
                eprintln!("{error}");
                exit(1);
            }
        }
        "server" => {
            let mut config = config(&case, tls(), &[b"h3", b"hq-interop"]);
            config.load_cert_chain_from_pem_file("/certs/cert.pem").expect("the chain is readable");
            config.load_priv_key_from_pem_file("/certs/priv.key").expect("the key belongs to it");
            serve(443, config, case == "retry", &content)
        }
        _ => {
            eprintln!("ROLE is client or server");
            exit(1);
        }
    }
}
