//! What the server says on streams of its own.

use std::sync::Arc;

use quinn::RecvStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::close;
use crate::http::h3::{Code, Frames, Piece, Prefix, varint};

const CONTROL: u64 = 0x0;
const PUSH: u64 = 0x1;

/// What it has said.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// The first stream that a GOAWAY passes over.
    goaway: Option<u64>,
    /// What was wrong with it: we have closed for that.
    wrong: Option<Code>,
    /// The connection is closed, and all that came before is heard.
    over: bool,
}

/// The same, for all who wait for it.
#[derive(Debug, Default)]
pub(super) struct Said(watch::Sender<State>);

impl Said {
    /// Whether the server takes no more requests.
    pub(super) fn is_going(&self) -> bool {
        self.0.borrow().goaway.is_some()
    }

    /// Waits until it takes no more.
    pub(super) async fn going(&self) {
        self.until(|said| said.goaway.is_some()).await;
    }

    /// Waits until the server has said that it does not look at this stream. RFC 9114 §5.2
    pub(super) async fn passes_over(&self, stream: u64) {
        self.until(|said| said.goaway.is_some_and(|first| first <= stream))
            .await;
    }

    /// Once the connection is closed: whether it had said so.
    pub(super) async fn passed_over(&self, stream: u64) -> bool {
        let said = self.until(|said| said.over).await;
        said.goaway.is_some_and(|first| first <= stream)
    }

    /// What we have closed the connection for.
    pub(super) fn wrong(&self) -> Option<Code> {
        self.0.borrow().wrong
    }

    async fn until(&self, what: impl FnMut(&State) -> bool) -> State {
        let mut news = self.0.subscribe();
        // Its other end is ours.
        news.wait_for(what)
            .await
            .map_or_else(|_| State::default(), |said| *said)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        self.0.send_modify(change);
    }

    /// Takes the server's own streams until the connection ends.
    pub(super) async fn listen(self: Arc<Self>, quic: quinn::Connection) {
        let mut streams = JoinSet::new();
        while let Ok(stream) = quic.accept_uni().await {
            while streams.try_join_next().is_some() {}
            let (quic, said) = (quic.clone(), Arc::clone(&self));
            streams.spawn(async move {
                if let Err(code) = said.heed(stream).await {
                    // Before those learn of it whose requests end with it.
                    said.change(|said| said.wrong = Some(code));
                    close(&quic, code);
                }
            });
        }
        while streams.join_next().await.is_some() {}
        self.change(|said| said.over = true);
    }

    /// Reads one of them to its end. Of what is said there only GOAWAY matters here.
    async fn heed(&self, mut stream: RecvStream) -> Result<(), Code> {
        let (mut prefix, mut frames, mut kind) = (Prefix::default(), Frames::of_control(), None);
        while let Ok(Some(chunk)) = stream.read_chunk(usize::MAX, true).await {
            let mut bytes = chunk.bytes;
            if kind.is_none() {
                kind = prefix.take(&mut bytes);
            }
            match kind {
                Some(CONTROL) => {
                    while let Some(piece) = frames.next(&mut bytes)? {
                        if let Piece::GoAway(payload) = piece {
                            let first =
                                varint::decode(&mut &payload[..]).ok_or(Code::FRAME_ERROR)?;
                            // It may be lowered only.
                            self.change(|said| {
                                said.goaway = Some(said.goaway.map_or(first, |it| it.min(first)));
                            });
                        }
                    }
                }
                // RFC 9114 §4.6: we have allowed none.
                Some(PUSH) => return Err(Code::ID_ERROR),
                // QPACK's streams have nothing to say without its table; others are not known.
                _ => {}
            }
        }
        Ok(())
    }
}
