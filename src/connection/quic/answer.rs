//! The answer to a request, as it goes.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use bytes::{Buf, Bytes};
use http::Response;
use http_body::Body as _;
use quinn::{SendStream, WriteError};

use super::content::Between;
use super::http3::Http3;
use super::ranks::Rank;
use super::section::section;
use super::sending::Sending;
use crate::connection::bodies::ResponseBody;
use crate::connection::service::{Answer, Answered};
use crate::connection::stage::Stage;
use crate::http::h3::{self, Code};

/// Awaits the answer and hands all of it to quinn. Somebody else watches over its progress.
pub(super) async fn respond(
    http3: &Http3,
    answer: Answer,
    send: &mut Sending,
    between: &Between,
    rank: &Rank,
    stage: &Stage,
    is_head: bool,
) {
    let Some(answered) = wait(http3, answer, send, between).await else {
        http3.given_up();
        return;
    };
    let response = match answered {
        Ok(response) => response,
        Err(none) => {
            let code = match none.is_internal() {
                true => Code::INTERNAL_ERROR,
                false => Code::REQUEST_CANCELLED,
            };
            let wrong = between.wrong();
            send.end_with(wrong.unwrap_or(code));
            if wrong.is_some() {
                http3.given_up();
            }
            return;
        }
    };
    send.rank(rank);
    if let Some(()) = pass_on(http3, response, send, rank, stage, is_head).await {
        send.finish();
    } else if send.wrong == Code::REQUEST_CANCELLED {
        // Half an answer costs as much as none.
        http3.given_up();
    }
}

/// Awaits the answer, and sends interim ones meanwhile. `None` if the client has given up.
async fn wait(
    http3: &Http3,
    answer: Answer,
    send: &mut Sending,
    between: &Between,
) -> Option<Answered> {
    let mut answer = std::pin::pin!(answer);
    // Most are there at once, and need nothing of what follows.
    let first = poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await;
    let answered = match first {
        Poll::Ready(answered) => Some(answered),
        // Boxed: all others are spared its size.
        Poll::Pending => Box::pin(meanwhile(http3, answer, send, between)).await,
    };
    // What was said before the answer stands before it.
    while let Some(frame) = between.try_interim() {
        send.rest = [&send.rest[..], &frame].concat().into();
    }
    answered
}

/// Awaits an answer that is not there at once.
async fn meanwhile(
    http3: &Http3,
    mut answer: Pin<&mut Answer>,
    send: &mut Sending,
    between: &Between,
) -> Option<Answered> {
    let mut stopped = std::pin::pin!(send.stream.stopped());
    let mut interim = std::pin::pin!(interims(&mut send.stream, between, &mut send.rest));
    tokio::select! {
        biased;
        answered = &mut answer => Some(answered),
        stopped = &mut stopped => {
            if stopped.is_err() {
                http3.lost();
            }
            None
        }
        // The answer goes on beside it: a client that takes nothing must not hold it up.
        _ = &mut interim => None,
    }
}

/// Sends interim answers, as they come, until that fails. `rest` is what is still to be written of one
/// that was begun, however far this has come.
async fn interims(stream: &mut SendStream, between: &Between, rest: &mut Bytes) -> WriteError {
    loop {
        let mut frame = between.interim().await;
        while !frame.is_empty() {
            rest.clone_from(&frame);
            match stream.write(&frame).await {
                Ok(written) => frame.advance(written),
                Err(error) => return error,
            }
        }
        rest.clear();
    }
}

/// Sends head, content and trailers. `None` if it broke off: the stream is then reset.
async fn pass_on(
    http3: &Http3,
    response: Response<ResponseBody>,
    send: &mut Sending,
    rank: &Rank,
    stage: &Stage,
    is_head: bool,
) -> Option<()> {
    let (parts, mut body) = response.into_parts();
    if send.http09 && !parts.status.is_success() {
        // There is no other way to say so, and it is not the client who gave up.
        send.end_with(Code::INTERNAL_ERROR);
        return None;
    }
    let empty = body.is_end_stream();
    let length = body.size_hint().exact().filter(|_| !empty && !is_head);
    // Until it is sent: what there is of the content at once goes with it.
    let mut head = send.head(section(parts.status, &parts.headers, length));
    let ranks = &http3.ranks;
    if empty {
        send.around(ranks, stage, head).await.ok()?;
        stage.sent();
        return Some(());
    }
    // Who leaves while the answer pauses is not waited for, nor is what it would have got.
    let mut stopped = std::pin::pin!(None);
    loop {
        let frame = poll_fn(|cx| match Pin::new(&mut body).poll_frame(cx) {
            Poll::Pending if !head.is_empty() => Poll::Ready(None),
            Poll::Pending => {
                if stopped.is_none() {
                    stopped.set(Some(send.stream.stopped()));
                }
                let stopped = stopped.as_mut().as_pin_mut();
                let stopped = stopped.map_or(Poll::Pending, |stopped| stopped.poll(cx));
                stopped.map(|stopped| Some(Err(stopped)))
            }
            frame => frame.map(|frame| Some(Ok(frame))),
        });
        let frame = match frame.await {
            None => {
                // Now it is the client that is waited for.
                stage.client();
                let head = std::mem::take(&mut head);
                send.around(ranks, stage, head).await.ok()?;
                // So that it leaves, whatever the content comes to.
                tokio::task::yield_now().await;
                continue;
            }
            Some(Ok(Some(frame))) => frame,
            Some(Ok(None)) => break,
            Some(Err(stopped)) => {
                if stopped.is_err() {
                    http3.lost();
                }
                return None;
            }
        };
        let Ok(frame) = frame else {
            send.end_with(Code::INTERNAL_ERROR);
            return None;
        };
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => {
                let head = std::mem::take(&mut head);
                send.content(ranks, stage, rank, head, data).await.ok()?;
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    head.extend_from_slice(&send.head(h3::fields(&trailers)));
                }
                break;
            }
        }
        if body.is_end_stream() {
            break;
        }
    }
    if !head.is_empty() {
        send.around(ranks, stage, head).await.ok()?;
    }
    // Before the body goes, which tells how the answer ended.
    stage.sent();
    Some(())
}
