//! A responder of ours that does as it is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::authority::{Answer, Authority, Files};
use crate::support::within;

/// What the responder does with a request.
#[derive(Clone, Debug)]
pub enum Does {
    Answer(Answer<'static>),
    /// One thing with a GET, another with a POST.
    ByMethod {
        get: Box<Self>,
        post: Box<Self>,
    },
    /// Says nothing, and keeps the connection.
    Hang,
    /// Sends a byte now and then, for ever.
    Dribble,
    /// Sends these bytes instead of HTTP.
    Raw(&'static [u8]),
    /// This body, with status 200.
    Body(Vec<u8>),
    /// A body of ten megabytes.
    Huge,
    /// Redirects there; the path of the request follows.
    Redirect(String),
    /// Another HTTP status.
    Http(u16),
}

impl Does {
    /// This with a POST; GET is refused.
    pub fn post_only(post: Self) -> Self {
        Self::by_method(Self::Http(405), post)
    }

    pub fn by_method(get: Self, post: Self) -> Self {
        let (get, post) = (Box::new(get), Box::new(post));
        Self::ByMethod { get, post }
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub target: String,
    /// The request in DER.
    pub body: Vec<u8>,
}

/// A responder of ours.
pub struct Responder {
    address: SocketAddr,
    does: Arc<Mutex<Does>>,
    asked: watch::Receiver<Vec<Asked>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Responder {
    pub async fn start(authority: &Arc<Authority>, does: Does) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let does = Arc::new(Mutex::new(does));
        let (tell, asked) = watch::channel(Vec::new());
        let (authority, told) = (Arc::clone(authority), Arc::clone(&does));
        let accepting = tokio::spawn(async move {
            let tell = Arc::new(tell);
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (authority, does) = (Arc::clone(&authority), Arc::clone(&told));
                let tell = Arc::clone(&tell);
                open.spawn(async move {
                    let _ = serve(stream, &authority, &does, &tell).await;
                });
            }
        });
        Self {
            address,
            does,
            asked,
            accepting,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on.
    pub fn does(&self, does: Does) {
        *self.does.lock().unwrap() = does;
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.borrow().clone()
    }

    /// Waits until so many requests came.
    pub async fn until_asked(&self, count: usize) -> Vec<Asked> {
        let mut asked = self.asked.clone();
        let all = asked.wait_for(|asked| asked.len() >= count);
        within("requests", all).await.unwrap().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    authority: &Authority,
    does: &Mutex<Does>,
    tell: &watch::Sender<Vec<Asked>>,
) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let (head, length) = loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..at].to_vec()).unwrap();
            bytes.drain(..at + 4);
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.trim().parse::<usize>().unwrap())
            });
            break (head, length.unwrap_or(0));
        }
    };
    while bytes.len() < length {
        stream.read_buf(&mut bytes).await?;
    }
    let mut words = head.split(' ');
    let method = words.next().unwrap().to_owned();
    let target = words.next().unwrap().to_owned();
    let body = match method.as_str() {
        "GET" => decode(target.rsplit('/').next().unwrap()),
        _ => bytes,
    };
    let asked = Asked {
        method: method.clone(),
        target: target.clone(),
        body: body.clone(),
    };
    tell.send_modify(|all| all.push(asked));
    let does = match does.lock().unwrap().clone() {
        Does::ByMethod { get, .. } if method == "GET" => *get,
        Does::ByMethod { post, .. } => *post,
        does => does,
    };
    let http = |status: u16, more: &str, body: &[u8]| {
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/ocsp-response\r\n\
             content-length: {}\r\n{more}\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    let answer = match does {
        Does::Answer(answer) => http(200, "", &authority.answer(&body, &answer)),
        Does::Hang => return std::future::pending().await,
        Does::Dribble => loop {
            stream.write_all(b"H").await?;
            #[expect(clippy::disallowed_methods, reason = "it dribbles")]
            tokio::time::sleep(Duration::from_millis(50)).await;
        },
        Does::Raw(bytes) => bytes.to_vec(),
        Does::Body(body) => http(200, "", &body),
        Does::Huge => http(200, "", &vec![0x30; 10_000_000]),
        Does::Redirect(to) => http(302, &format!("location: {to}{target}\r\n"), b""),
        Does::Http(status) => http(status, "", b"no"),
        Does::ByMethod { .. } => unreachable!("one of the two was chosen"),
    };
    stream.write_all(&answer).await?;
    stream.shutdown().await
}

/// Base64 with `%XX`.
fn decode(text: &str) -> Vec<u8> {
    let text = text
        .replace("%2B", "+")
        .replace("%2F", "/")
        .replace("%3D", "=");
    let value = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text.bytes().filter(|c| *c != b'=').map(value).collect();
    let mut bytes = Vec::new();
    for group in digits.chunks(4) {
        let bits = group
            .iter()
            .fold(0u32, |bits, digit| bits << 6 | u32::from(*digit));
        let bits = bits << (6 * (4 - group.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    bytes
}

/// The issuer's own files, as a signer's.
pub fn issuer(authority: &Authority) -> Files {
    Files {
        chain: authority.path("issuer.pem"),
        key: authority.path("issuer.key"),
    }
}
