//! A request's body on its way to an origin.

use std::task::{Context, Poll};

use bytes::Bytes;
use h2::{Reason, SendStream};

use super::super::link::LinkError;
use super::super::request_body::{Piece, Upload};
use super::message::Length;

/// The request's body.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// `None` once nothing more is sent.
    stream: Option<SendStream<Bytes>>,
    upload: Option<Upload>,
    /// What was taken of the body and the origin's window had no room for.
    data: Bytes,
    length: Length,
}

impl Outgoing {
    /// Nothing is sent yet.
    pub(super) fn new(stream: SendStream<Bytes>, upload: &Upload, length: Length) -> Self {
        Self {
            stream: Some(stream),
            upload: Some(upload.clone()),
            data: Bytes::new(),
            length,
        }
    }

    /// Sends what the client has and the origin's windows take. That not all can be sent now is
    /// no reason not to read.
    pub(super) fn send(
        &mut self,
        written: &mut u64,
        cx: &mut Context<'_>,
    ) -> Result<(), LinkError> {
        while let Some(stream) = &mut self.stream {
            if self.data.is_empty() {
                let Some(upload) = &self.upload else {
                    return Ok(());
                };
                let piece = match upload.poll(cx) {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(piece) => piece.transpose(),
                };
                match piece {
                    Ok(Some(Piece::Data(data))) => self.data = data,
                    Ok(Some(Piece::Trailers(fields))) => {
                        self.length.end()?;
                        // That the origin takes no more is told by its answer.
                        let _ = stream.send_trailers(fields);
                        self.close();
                    }
                    Ok(None) => {
                        self.length.end()?;
                        let _ = stream.send_data(Bytes::new(), true);
                        self.close();
                    }
                    Err(error) => {
                        stream.send_reset(Reason::CANCEL);
                        self.close();
                        return Err(LinkError::RequestBody(error));
                    }
                }
                continue;
            }
            stream.reserve_capacity(self.data.len());
            if stream.capacity() == 0 {
                match stream.poll_capacity(cx) {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(Some(Ok(_))) => continue,
                    // The origin wants no more of it, or the connection has ended: the answer
                    // tells.
                    Poll::Ready(Some(Err(_)) | None) => self.close(),
                }
                continue;
            }
            let data = self.data.split_to(stream.capacity().min(self.data.len()));
            *written += data.len() as u64;
            self.length.take(data.len() as u64)?;
            let last = self.length == Length::Over;
            if stream.send_data(data, last).is_err() || last {
                self.close();
            }
        }
        Ok(())
    }

    /// Whether all that was taken of the body is sent.
    pub(super) fn is_flushed(&self) -> bool {
        self.data.is_empty()
    }

    fn close(&mut self) {
        self.stream = None;
        self.upload = None;
        self.data = Bytes::new();
    }
}

impl Length {
    fn take(&mut self, count: u64) -> Result<(), LinkError> {
        if let Self::Known(left) = self {
            let left = left.checked_sub(count).ok_or_else(|| {
                LinkError::RequestBody(
                    "the request's body is longer than its Content-Length".into(),
                )
            })?;
            *self = match left {
                0 => Self::Over,
                left => Self::Known(left),
            };
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), LinkError> {
        match std::mem::replace(self, Self::Over) {
            Self::Known(_) => Err(LinkError::RequestBody(
                "the request's body is shorter than its Content-Length".into(),
            )),
            Self::Over | Self::Open => Ok(()),
        }
    }
}
