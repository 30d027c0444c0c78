//! The origin behind the edge and behind peers' proxies: counts what it gets, gives [`LARGE`] bytes
//! where they are asked for, and answers 425 to early requests where a path says so. The
//! authorities' responder is there too.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::sites::LARGE;
use crate::staple;

/// Serves until the process ends. Prints where it listens. `pki` is the directory of the run's
/// certificates.
///
/// # Errors
/// It cannot listen.
pub async fn serve(address: SocketAddr, pki: PathBuf) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let pki = Arc::new(pki);
    println!("ready {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(connection(stream, Arc::clone(&pki)));
    }
}

async fn connection(stream: TcpStream, pki: Arc<PathBuf>) {
    let service = service_fn(|request: Request<Incoming>| async {
        Ok::<_, Infallible>(match staple::answer(&pki, request.uri().path()) {
            Some(said) => of_the_responder(said),
            None => answer(request).await,
        })
    });
    // A connection that breaks is the edge's to notice.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn of_the_responder(said: Option<Bytes>) -> Response<Full<Bytes>> {
    let known = said.is_some();
    let mut response = Response::new(Full::new(said.unwrap_or_default()));
    if !known {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    let kind = HeaderValue::from_static("application/ocsp-response");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

async fn answer(request: Request<Incoming>) -> Response<Full<Bytes>> {
    // RFC 8470 §5.2: whoever does not want to take the risk says so.
    let too_early = request.uri().path().ends_with("/too-early")
        && request
            .headers()
            .get("early-data")
            .is_some_and(|value| value == "1");
    let large = request.uri().path() == "/large";
    let mut received = 0;
    let mut body = request.into_body();
    while let Some(Ok(frame)) = body.frame().await {
        received += frame.data_ref().map_or(0, Bytes::len);
    }
    let (status, text) = match too_early {
        true => (StatusCode::TOO_EARLY, "too early\n".into()),
        false => (StatusCode::OK, format!("received {received}\n")),
    };
    println!("{} {}", status.as_u16(), text.trim_end());
    let body = match large {
        true => Bytes::from(vec![b'x'; LARGE as usize]),
        false => Bytes::from(text),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
}
