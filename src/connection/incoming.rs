//! The content of a request as it comes, whatever it comes over.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::body::BoxError;
use crate::connection::quic::Content;

/// What hyper or an HTTP/3 stream yields.
pub(super) enum Incoming {
    /// HTTP/1.1 and HTTP/2.
    Hyper(hyper::body::Incoming),
    /// HTTP/3.
    Http3(Box<Content>),
    /// None.
    Nothing,
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Self::Hyper(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|error| Box::new(error).into()),
            Self::Http3(body) => Pin::new(&mut **body).poll_frame(cx),
            Self::Nothing => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Hyper(body) => body.is_end_stream(),
            Self::Http3(body) => body.is_end_stream(),
            Self::Nothing => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Hyper(body) => body.size_hint(),
            Self::Http3(body) => body.size_hint(),
            Self::Nothing => SizeHint::with_exact(0),
        }
    }
}
