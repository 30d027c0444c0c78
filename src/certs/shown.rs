//! What a handshake has shown of a certificate.
//!
//! rustls tells it nowhere, but it chooses and compresses certificates on the thread that drives it.

use std::cell::Cell;

use rustls::HandshakeKind;

use super::compression::Compressed;
use super::ocsp::Current;

/// What the handshake of one connection has come to so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown {
    /// How many ClientHellos a certificate was chosen for.
    chosen: u8,
    /// What the staple of the last one says.
    staple: Option<&'static str>,
    /// Whether the last one needs a staple and has none.
    lacks_staple: bool,
    compressed: Option<Compressed>,
}

thread_local! {
    static NOW: Cell<Shown> = Cell::default();
}

impl Shown {
    /// Runs `act`, which drives the connection that this is about, and nothing else.
    pub fn watch<R>(&mut self, act: impl FnOnce() -> R) -> R {
        NOW.set(*self);
        let result = act();
        *self = NOW.take();
        result
    }

    /// How the certificate was compressed that was sent.
    #[must_use]
    pub fn compressed(&self) -> Option<Compressed> {
        self.compressed
    }

    /// What the certificate's staple says: `good`, `revoked`. `None` without one.
    #[must_use]
    pub fn staple(&self) -> Option<&'static str> {
        self.staple
    }

    /// Whether what rustls has made of the last ClientHello shows a certificate without the staple
    /// that it needs. `kind` is what the handshake is after it.
    #[must_use]
    pub fn lacks_staple(&self, kind: Option<HandshakeKind>) -> bool {
        // rustls chooses first, and then resumes, or asks for another ClientHello.
        let asked_again = kind == Some(HandshakeKind::FullWithHelloRetryRequest) && self.chosen < 2;
        self.lacks_staple && !asked_again && kind != Some(HandshakeKind::Resumed)
    }
}

/// A certificate was chosen.
pub(super) fn chose(current: &Current) {
    let mut now = NOW.get();
    now.chosen = now.chosen.saturating_add(1);
    now.staple = current.says;
    now.lacks_staple = current.lacks_staple;
    NOW.set(now);
}

/// The certificate was compressed.
pub(super) fn compressed(compressed: Compressed) {
    let mut now = NOW.get();
    now.compressed = Some(compressed);
    NOW.set(now);
}
