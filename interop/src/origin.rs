//! The origin behind the edge and behind peers' proxies: counts what it gets, gives [`LARGE`] bytes
//! where they are asked for, and answers 425 to early requests where a path says so.

use std::convert::Infallible;
use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::sites::LARGE;

/// Serves until the process ends. Prints where it listens.
///
/// # Errors
/// It cannot listen.
pub async fn serve(address: SocketAddr) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    println!("ready {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(connection(stream));
    }
}

async fn connection(stream: TcpStream) {
    let service = service_fn(|request| async { Ok::<_, Infallible>(answer(request).await) });
    // A connection that breaks is the edge's to notice.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
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
