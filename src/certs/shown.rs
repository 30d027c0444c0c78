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
    static DRIVEN: Cell<Shown> = Cell::default();
}

impl Shown {
    /// Runs `act`, which drives the connection that this is about, and nothing else.
    pub fn watch<R>(&mut self, act: impl FnOnce() -> R) -> R {
        DRIVEN.set(*self);
        let result = act();
        *self = DRIVEN.take();
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

    /// Whether what rustls has made of the last ClientHello shows a certificate. `kind` is what the
    /// handshake is after it.
    #[must_use]
    pub fn is_sent(&self, kind: Option<HandshakeKind>) -> bool {
        // rustls chooses first, and then resumes, or asks for another ClientHello.
        match kind {
            None | Some(HandshakeKind::Resumed) => false,
            Some(HandshakeKind::FullWithHelloRetryRequest) => self.chosen > 1,
            Some(_) => self.chosen > 0,
        }
    }

    /// Whether it shows one without the staple that this needs.
    #[must_use]
    pub fn lacks_staple(&self, kind: Option<HandshakeKind>) -> bool {
        self.lacks_staple && self.is_sent(kind)
    }
}

/// A certificate was chosen.
pub(super) fn chose(current: &Current) {
    let mut driven = DRIVEN.get();
    driven.chosen = driven.chosen.saturating_add(1);
    driven.staple = current.says;
    driven.lacks_staple = current.lacks_staple;
    DRIVEN.set(driven);
}

/// The certificate was compressed.
pub(super) fn compressed(compressed: Compressed) {
    let mut driven = DRIVEN.get();
    driven.compressed = Some(compressed);
    DRIVEN.set(driven);
}
