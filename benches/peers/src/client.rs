//! A blocking client over TCP for what is not a load: is it up, what does it answer, and thousands of
//! connections that do nothing.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, version};

/// How long an answer may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Makes connections of HTTP/1.1 over TLS 1.3 and verifies certificates.
#[derive(Clone)]
pub struct Client {
    config: Arc<ClientConfig>,
}

/// A connection that stays open until it is dropped.
pub struct Open {
    socket: TcpStream,
    tls: ClientConnection,
}

impl Client {
    /// A client that trusts this authority.
    ///
    /// # Errors
    /// rustls's.
    pub fn new(root: CertificateDer<'static>) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(root).map_err(io::Error::other)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Self {
            config: Arc::new(config),
        })
    }

    /// How it makes connections.
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// Connects.
    ///
    /// # Errors
    /// The system's; a name that is none.
    pub fn open(&self, address: SocketAddr, name: &str) -> io::Result<Open> {
        let socket = TcpStream::connect_timeout(&address, PATIENCE)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let tls =
            ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?;
        Ok(Open { socket, tls })
    }
}

impl Open {
    /// A request, whose answer is not read.
    ///
    /// # Errors
    /// The system's, rustls's.
    pub fn ask(&mut self, name: &str, path: &str) -> io::Result<()> {
        let mut stream = rustls::Stream::new(&mut self.tls, &mut self.socket);
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {name}\r\n\r\n")?;
        stream.flush()
    }

    /// A request; gives the body of its answer.
    ///
    /// # Errors
    /// The system's, rustls's; a status that is not 200; an answer without a length.
    pub fn get(&mut self, name: &str, path: &str) -> io::Result<String> {
        self.ask(name, path)?;
        let mut stream = rustls::Stream::new(&mut self.tls, &mut self.socket);
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let count = stream.read(&mut piece)?;
            if count == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            answer.extend_from_slice(piece.get(..count).unwrap_or_default());
            if let Some(body) = body(&answer)? {
                return Ok(body);
            }
        }
    }
}

/// The body of an answer, once it is whole.
fn body(answer: &[u8]) -> io::Result<Option<String>> {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Ok(None);
    };
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(io::Error::other(format!("it answers {status}")));
    }
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .ok_or_else(|| io::Error::other("an answer without Content-Length"))?;
    Ok(body.get(..length).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_given_once_it_is_whole() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        for end in 0..answer.len() {
            assert!(body(&answer[..end]).expect("nothing wrong").is_none());
        }
        assert_eq!(body(answer).expect("an answer").as_deref(), Some("hello"));
    }

    #[test]
    fn another_status_is_an_error() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
        assert!(body(answer).unwrap_err().to_string().contains("503"));
    }
}
