//! Certificates that come compressed (RFC 8879).
//!
//! rustls does not tell that one did, and wants its decompressors to live forever: so they leave word
//! with the thread. Whoever drives a handshake asks after each step, and a step is made by one thread.

use std::cell::Cell;

use rustls::CertificateCompressionAlgorithm;
use rustls::compress::{
    BROTLI_DECOMPRESSOR, CertDecompressor, DecompressionFailed, ZLIB_DECOMPRESSOR,
};

thread_local! {
    static CAME: Cell<bool> = const { Cell::new(false) };
}

/// What certificates may be compressed with, the most wanted first.
pub(super) static DECOMPRESSORS: [&dyn CertDecompressor; 2] =
    [&Noting(BROTLI_DECOMPRESSOR), &Noting(ZLIB_DECOMPRESSOR)];

/// Whether one was decompressed on this thread since it was last asked.
pub(super) fn came() -> bool {
    CAME.take()
}

/// One of rustls's decompressors that leaves word.
#[derive(Debug)]
struct Noting(&'static dyn CertDecompressor);

impl CertDecompressor for Noting {
    fn decompress(&self, input: &[u8], output: &mut [u8]) -> Result<(), DecompressionFailed> {
        self.0.decompress(input, output)?;
        CAME.set(true);
        Ok(())
    }

    fn algorithm(&self) -> CertificateCompressionAlgorithm {
        self.0.algorithm()
    }
}
