//! Asking a responder over HTTP (RFC 6960 App. A): bounded in time, size and redirects, and none
//! of it on a thread that serves.

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, LOCATION, USER_AGENT};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::book::Failure;
use super::verify::{Refusal, verify};
use super::{MAX_RESPONSE, Settings, Staple, Subject, request, subject};
use crate::telemetry::labels::OcspFetch;

/// Redirects that are followed.
const REDIRECTS: usize = 3;

/// Addresses of a responder's name that are tried.
const ADDRESSES: usize = 4;

/// What a head may have.
const MAX_HEAD: usize = 16 * 1024;

const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("cutwater/", env!("CARGO_PKG_VERSION")));

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// Nobody there.
    Connect(String),
    /// Not in time.
    Timeout,
    /// Another status than 200.
    Status(u16),
    /// Redirects in a circle, too many of them, or to where nobody follows.
    Redirect(String),
    /// More than [`MAX_RESPONSE`].
    TooLarge,
    /// No HTTP, or it broke off.
    Broken(String),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "cannot connect: {error}"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Status(status) => write!(f, "HTTP status {status}"),
            Self::Redirect(why) => write!(f, "a redirect that is not followed: {why}"),
            Self::TooLarge => write!(f, "an answer of more than {MAX_RESPONSE} bytes"),
            Self::Broken(error) => write!(f, "the answer broke off: {error}"),
        }
    }
}

impl std::error::Error for FetchError {}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        let (result, of_responder) = match &error {
            FetchError::Connect(_) => (OcspFetch::Connect, true),
            FetchError::Timeout => (OcspFetch::Timeout, true),
            FetchError::Status(status) => (OcspFetch::Http, *status >= 500 || *status == 429),
            FetchError::Redirect(_) => (OcspFetch::Redirect, true),
            FetchError::TooLarge => (OcspFetch::TooLarge, false),
            FetchError::Broken(_) => (OcspFetch::Broken, true),
        };
        Self {
            result,
            of_responder,
            message: error.to_string(),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let result = match &refusal {
            Refusal::Malformed(_) => OcspFetch::Malformed,
            Refusal::Declined(_) => OcspFetch::Declined,
            Refusal::Signer(_) | Refusal::Signature => OcspFetch::Signature,
            Refusal::OtherCertificate => OcspFetch::OtherCertificate,
            Refusal::Nonce => OcspFetch::Nonce,
            Refusal::NotYet | Refusal::Expired | Refusal::NoEnd => OcspFetch::Dates,
            Refusal::Unknown => OcspFetch::Unknown,
        };
        Self {
            result,
            of_responder: matches!(refusal, Refusal::Declined("tryLater" | "internalError")),
            message: refusal.to_string(),
        }
    }
}

/// Asks for a certificate's staple: by GET where the request is short, which caches can answer;
/// by POST, with a nonce, where it is long, or where GET brings nothing or nothing new.
///
/// # Errors
/// [`Failure`].
pub async fn ask(
    subject: &Subject,
    responder: &Uri,
    settings: &Settings,
    now: fn() -> SystemTime,
) -> Result<Staple, Failure> {
    let begun = Instant::now();
    // RFC 5019 §2.1.1, §4: a nonce makes a new address of each GET, which no cache knows.
    let plain = request::build(subject, None).map_err(unmade)?;
    let mut got = None;
    if let Some(address) = request::get(responder, &plain) {
        let limit = settings.timeout / 2;
        let answered = async {
            let response = fetch(&address, None, settings, limit).await?;
            Ok::<_, FetchError>(verify(&response, subject, None, now()))
        };
        match timeout(limit, answered).await {
            // What a cache, or a responder that is stuck, says past half of its life may be older
            // than what there is.
            Ok(Ok(Ok(staple))) if staple.is_past_half(now()) => got = Some(staple),
            Ok(Ok(Ok(staple))) => return Ok(staple),
            // It asks to be left alone, or is not there: with the other method too.
            Ok(Ok(Err(refusal @ Refusal::Declined("tryLater")))) => return Err(refusal.into()),
            Ok(Err(error @ (FetchError::Status(429 | 503) | FetchError::Connect(_)))) => {
                return Err(error.into());
            }
            // Whatever else is wrong may be wrong with GET alone.
            Ok(Ok(Err(_)) | Err(_)) | Err(_) => {}
        }
    }
    let nonce = request::nonce();
    let nonce = nonce.as_ref().map(|nonce| &nonce[..]);
    let body = request::build(subject, nonce).map_err(unmade)?;
    let limit = settings.timeout.saturating_sub(begun.elapsed());
    let answered = fetch(responder, Some(body.into()), settings, limit);
    let posted = match timeout(limit, answered).await {
        Ok(Ok(response)) => verify(&response, subject, nonce, now()).map_err(Failure::from),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(FetchError::Timeout.into()),
    };
    match (posted, got) {
        (Ok(posted), Some(got)) if got.this_update > posted.this_update => Ok(got),
        (Err(_), Some(got)) => Ok(got),
        (posted, _) => posted,
    }
}

fn unmade(message: String) -> Failure {
    Failure {
        result: OcspFetch::Malformed,
        of_responder: false,
        message,
    }
}

/// One answer, over redirects. `body` makes it a POST.
async fn fetch(
    address: &Uri,
    body: Option<Bytes>,
    settings: &Settings,
    limit: Duration,
) -> Result<Vec<u8>, FetchError> {
    let mut address = address.clone();
    for _ in 0..=REDIRECTS {
        // Dropped with this turn, and with it the connection.
        let mut driver = JoinSet::new();
        let response = exchange(&address, body.clone(), settings, limit, &mut driver).await?;
        match response.status() {
            StatusCode::OK => return read(response.into_body()).await,
            StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT => address = redirected(&address, &response)?,
            status => return Err(FetchError::Status(status.as_u16())),
        }
    }
    Err(FetchError::Redirect(format!("more than {REDIRECTS}")))
}

/// Where a redirect leads: to HTTP only.
fn redirected(from: &Uri, response: &Response<Incoming>) -> Result<Uri, FetchError> {
    let location = response.headers().get(LOCATION);
    let location = location
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let absolute = match location.starts_with('/') && !location.starts_with("//") {
        true => format!(
            "http://{}{location}",
            from.authority().map_or("", |a| a.as_str())
        ),
        false => location.to_owned(),
    };
    subject::responder(&absolute).ok_or_else(|| FetchError::Redirect(format!("{location:?}")))
}

async fn exchange(
    address: &Uri,
    body: Option<Bytes>,
    settings: &Settings,
    limit: Duration,
    driver: &mut JoinSet<()>,
) -> Result<Response<Incoming>, FetchError> {
    let authority = address
        .authority()
        .map_or("", |authority| authority.as_str());
    let own = |host: &str| (host.to_owned(), address.port_u16().unwrap_or(80));
    let (host, port) = match settings.proxy.as_deref() {
        None => own(address.host().unwrap_or_default()),
        Some(proxy) => match proxy.rsplit_once(':') {
            Some((host, port)) => (host.to_owned(), port.parse().unwrap_or(80)),
            None => (proxy.to_owned(), 80),
        },
    };
    // An IPv6 address stands in brackets there.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let socket = connect(host, port, limit).await?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(socket))
        .await
        .map_err(|error| FetchError::Broken(error.to_string()))?;
    driver.spawn(async move {
        // What goes wrong is told to whoever waits for the answer.
        let _ = connection.await;
    });
    let path = address.path_and_query().map_or("/", |path| path.as_str());
    let target = match settings.proxy.is_some() {
        true => address.to_string(),
        false => path.to_owned(),
    };
    let request = Request::builder()
        .method(match body.is_some() {
            true => Method::POST,
            false => Method::GET,
        })
        .uri(target)
        .header(HOST, authority)
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "application/ocsp-response")
        .header(CONNECTION, "close");
    let request = match body.is_some() {
        true => request.header(CONTENT_TYPE, "application/ocsp-request"),
        false => request,
    };
    let request = request
        .body(Full::new(body.unwrap_or_default()))
        .map_err(|error| FetchError::Broken(error.to_string()))?;
    sender
        .send_request(request)
        .await
        .map_err(|error| FetchError::Broken(error.to_string()))
}

/// Tries the addresses of a name in turn, so that one that is silent leaves time for the next.
async fn connect(host: &str, port: u16, limit: Duration) -> Result<TcpStream, FetchError> {
    let unreachable = |error: std::io::Error| FetchError::Connect(error.to_string());
    let mut addresses: Vec<_> = lookup_host((host, port))
        .await
        .map_err(unreachable)?
        .collect();
    addresses.truncate(ADDRESSES);
    let share = limit / u32::try_from(addresses.len() + 1).unwrap_or(1);
    let mut last = FetchError::Connect(format!("{host} has no address"));
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(error)) => last = FetchError::Connect(format!("{address}: {error}")),
            Err(_) => last = FetchError::Connect(format!("{address}: no answer in time")),
        }
    }
    Err(last)
}

async fn read(mut body: Incoming) -> Result<Vec<u8>, FetchError> {
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| FetchError::Broken(error.to_string()))?;
        if let Ok(data) = frame.into_data() {
            if read.len() + data.len() > MAX_RESPONSE {
                return Err(FetchError::TooLarge);
            }
            read.extend_from_slice(&data);
        }
    }
    Ok(read)
}
