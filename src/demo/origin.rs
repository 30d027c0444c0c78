//! An origin that knows RFC 8470: it answers 425 to what it will not do twice.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::early::EARLY_DATA;

/// A running origin, gone when dropped.
pub(super) struct Origin {
    pub(super) address: SocketAddr,
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Origin {
    /// Listens on a free port of loopback.
    pub(super) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let asked = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(accept(listener, Arc::clone(&asked)));
        Ok(Self {
            address,
            asked,
            task,
        })
    }

    /// How many requests have reached it.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, asked: Arc<AtomicUsize>) {
    // Its only client is the edge beside it: an error here ends the demo's origin.
    while let Ok((stream, _)) = listener.accept().await {
        let asked = Arc::clone(&asked);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                asked.fetch_add(1, Ordering::Relaxed);
                std::future::ready(Ok::<_, Infallible>(answer(&request)))
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // How it ends is the edge's to report.
            let _ = connection.await;
        });
    }
}

fn answer(request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let early = request.headers().contains_key(EARLY_DATA);
    let safe = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut response = Response::default();
    let said = if early && !safe {
        *response.status_mut() = StatusCode::TOO_EARLY;
        "too early"
    } else if early {
        "the origin saw Early-Data: 1"
    } else {
        "the origin saw no Early-Data"
    };
    let (method, path) = (request.method(), request.uri().path());
    *response.body_mut() = format!("{method} {path}: {said}\n").into();
    response
}
