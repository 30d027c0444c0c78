//! Certificates, compressed (RFC 8879): once each, not once for each handshake.
//!
//! rustls asks a compressor for every handshake in which both sides know its algorithm. Ours remember what
//! came out for the same Certificate message, which is the same for every client until its chain or
//! its staple changes. rustls's own cache is not used: it is kept for each configuration, of which
//! a site has several, and what comes out of it is told to nobody.

use std::collections::HashMap;
use std::io::{Cursor, Write};
use std::mem;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use rustls::CertificateCompressionAlgorithm;
use rustls::compress::{CertCompressor, CompressionFailed, CompressionLevel, ZLIB_COMPRESSOR};

use super::shown;

/// How a certificate is compressed.
///
/// zstd is not among them: every client that takes it takes one of these too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RFC 7932. Browsers take it, of all vendors but Apple.
    Brotli,
    /// RFC 1950.
    Zlib,
}

impl Algorithm {
    /// All of them, in the default order of preference: the smaller result comes first.
    pub const ALL: [Self; 2] = [Self::Brotli, Self::Zlib];

    /// A stable name for configurations and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Brotli => "brotli",
            Self::Zlib => "zlib",
        }
    }

    /// What rustls takes.
    #[must_use]
    pub fn compressor(self) -> &'static dyn CertCompressor {
        match self {
            Self::Brotli => &Once(Self::Brotli),
            Self::Zlib => &Once(Self::Zlib),
        }
    }

    fn compress(self, message: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Brotli => brotli(message),
            Self::Zlib => ZLIB_COMPRESSOR
                .compress(message.to_vec(), CompressionLevel::Amortized)
                .ok(),
        }
    }
}

/// 3 % short of the best, which takes forty times as long: 6 ms in which the worker serves nobody,
/// for each certificate after every start.
const BROTLI_QUALITY: u32 = 5;
/// A window of 64 KiB, more than any chain.
const BROTLI_WINDOW: u32 = 16;

fn brotli(message: &[u8]) -> Option<Vec<u8>> {
    let out = Cursor::new(Vec::with_capacity(message.len()));
    let mut writer = brotli::CompressorWriter::new(out, 4096, BROTLI_QUALITY, BROTLI_WINDOW);
    writer.write_all(message).ok()?;
    Some(writer.into_inner().into_inner())
}

/// What became of one certificate in one handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compressed {
    /// How it was compressed.
    pub algorithm: Algorithm,
    /// By how many bytes the message became shorter.
    pub saved: usize,
}

#[derive(Debug)]
struct Once(Algorithm);

impl CertCompressor for Once {
    fn compress(
        &self,
        message: Vec<u8>,
        _level: CompressionLevel,
    ) -> Result<Vec<u8>, CompressionFailed> {
        // On an error rustls sends the certificate as it is.
        let made = made(self.0, &message).ok_or(CompressionFailed)?;
        let saved = message.len() - made.len();
        shown::compressed(Compressed {
            algorithm: self.0,
            saved,
        });
        Ok(made)
    }

    fn algorithm(&self) -> CertificateCompressionAlgorithm {
        match self.0 {
            Algorithm::Brotli => CertificateCompressionAlgorithm::Brotli,
            Algorithm::Zlib => CertificateCompressionAlgorithm::Zlib,
        }
    }
}

/// The compressed message; `None` if that is no shorter.
fn made(algorithm: Algorithm, message: &[u8]) -> Option<Vec<u8>> {
    static MADE: LazyLock<Mutex<Made>> = LazyLock::new(|| Mutex::new(Made::new(MOST_KEPT)));
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, message).as_ref());
    let slot = {
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        made.slot((algorithm, key))
    };
    // Whoever comes second waits for the first one, outside of the lock.
    let compressed = slot.get_or_init(|| {
        let compressed = algorithm.compress(message)?;
        (compressed.len() < message.len()).then(|| compressed.into_boxed_slice())
    });
    compressed.as_deref().map(<[u8]>::to_vec)
}

type Key = (Algorithm, [u8; 32]);
type Slot = Arc<OnceLock<Option<Box<[u8]>>>>;

/// How many results each generation has: with 3 KB each, both are 12 MB.
const MOST_KEPT: usize = 2048;

/// Results by what they were made of. The ones that were not asked for during a whole generation
/// go, such as those of former staples.
struct Made {
    most: usize,
    young: HashMap<Key, Slot>,
    old: HashMap<Key, Slot>,
}

impl Made {
    fn new(most: usize) -> Self {
        Self {
            most,
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }

    fn slot(&mut self, key: Key) -> Slot {
        if let Some(slot) = self.young.get(&key) {
            return Arc::clone(slot);
        }
        let slot = self.old.remove(&key).unwrap_or_default();
        if self.young.len() >= self.most {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, Arc::clone(&slot));
        slot
    }
}

#[cfg(test)]
mod tests {
    use rustls::compress::{BROTLI_DECOMPRESSOR, CertDecompressor, ZLIB_DECOMPRESSOR};

    use super::*;
    use crate::certs::shown::Shown;

    fn decompressor(algorithm: Algorithm) -> &'static dyn CertDecompressor {
        match algorithm {
            Algorithm::Brotli => BROTLI_DECOMPRESSOR,
            Algorithm::Zlib => ZLIB_DECOMPRESSOR,
        }
    }

    fn message(salt: u8) -> Vec<u8> {
        (0..3000_u16).map(|at| (at / 7) as u8 ^ salt).collect()
    }

    #[test]
    fn what_is_compressed_comes_out_as_it_went_in() {
        for algorithm in Algorithm::ALL {
            let compressor = algorithm.compressor();
            let message = message(1);
            let compressed = compressor
                .compress(message.clone(), CompressionLevel::Interactive)
                .unwrap();
            assert!(compressed.len() < message.len());
            let mut out = vec![0; message.len()];
            let decompressor = decompressor(algorithm);
            assert_eq!(decompressor.algorithm(), compressor.algorithm());
            decompressor.decompress(&compressed, &mut out).unwrap();
            assert_eq!(out, message);
        }
    }

    #[test]
    fn the_one_who_drives_is_told_what_was_saved() {
        let compress = |message: Vec<u8>| {
            let compressor = Algorithm::Zlib.compressor();
            compressor.compress(message, CompressionLevel::Interactive)
        };
        let (mut one, mut other) = (Shown::default(), Shown::default());
        let out = one.watch(|| compress(message(2)));
        let saved = 3000 - out.unwrap().len();
        let algorithm = Algorithm::Zlib;
        assert_eq!(one.compressed(), Some(Compressed { algorithm, saved }));
        one.watch(|| ());
        assert!(one.compressed().is_some(), "it stays said");
        // What another connection on this thread did is not its own.
        compress(message(2)).unwrap();
        other.watch(|| ());
        assert_eq!(other.compressed(), None);
    }

    #[test]
    fn what_does_not_become_shorter_is_sent_as_it_is() {
        let mut noise = vec![0; 500];
        aws_lc_rs::rand::fill(&mut noise).unwrap();
        for algorithm in Algorithm::ALL {
            let compressor = algorithm.compressor();
            let mut shown = Shown::default();
            let compress = || compressor.compress(noise.clone(), CompressionLevel::Interactive);
            assert!(shown.watch(compress).is_err());
            assert_eq!(shown.compressed(), None);
        }
    }

    #[test]
    fn each_message_is_compressed_once_even_by_many_threads() {
        let slot = |made: &Mutex<Made>| made.lock().unwrap().slot((Algorithm::Zlib, [7; 32]));
        let made = Mutex::new(Made::new(2));
        let count = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    slot(&made).get_or_init(|| {
                        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        None
                    });
                });
            }
        });
        assert_eq!(count.into_inner(), 1);
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes() {
        let mut made = Made::new(2);
        let key = |number: u8| (Algorithm::Brotli, [number; 32]);
        let first = made.slot(key(0));
        for number in 1..10 {
            made.slot(key(number));
            assert!(Arc::ptr_eq(&first, &made.slot(key(0))), "{number}");
            assert!(made.young.len() + made.old.len() <= 4);
        }
    }
}
