//! Which compressions of certificates a server has. RFC 8879
//!
//! Nothing is decompressed: that the compressed message came, and how long it was, is all that is
//! asked for. The handshake ends there.

use std::cell::RefCell;

use rustls::CertificateCompressionAlgorithm as Algorithm;
use rustls::compress::{CertDecompressor, DecompressionFailed};

use super::client::{Client, Offer, TLS13};
use super::line::{Fault, Line};

thread_local! {
    /// By algorithm. A handshake is driven by one thread, which asks for each algorithm once at a
    /// time, and rustls wants its decompressors to live forever: so they leave word here.
    static NOTED: RefCell<[Option<Sizes>; 3]> = const { RefCell::new([None; 3]) };
}

/// How much was saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Of the message as it came, in bytes.
    pub(super) compressed: usize,
    /// As it would have been, by the server's word.
    pub(super) whole: usize,
}

/// An algorithm that can be asked for.
#[derive(Debug)]
pub(super) struct Noting {
    place: usize,
    algorithm: Algorithm,
    /// As it stands in reports.
    pub(super) name: &'static str,
}

/// All that RFC 8879 §7.3 knows.
pub(super) static ALL: [Noting; 3] = [
    Noting {
        place: 0,
        algorithm: Algorithm::Zlib,
        name: "zlib",
    },
    Noting {
        place: 1,
        algorithm: Algorithm::Brotli,
        name: "brotli",
    },
    Noting {
        place: 2,
        algorithm: Algorithm::Zstd,
        name: "zstd",
    },
];

impl CertDecompressor for Noting {
    fn decompress(&self, input: &[u8], output: &mut [u8]) -> Result<(), DecompressionFailed> {
        let sizes = Sizes {
            compressed: input.len(),
            whole: output.len(),
        };
        NOTED.with_borrow_mut(|noted| {
            if let Some(place) = noted.get_mut(self.place) {
                *place = Some(sizes);
            }
        });
        Err(DecompressionFailed)
    }

    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Noting {
    fn take(&self) -> Option<Sizes> {
        NOTED.with_borrow_mut(|noted| noted.get_mut(self.place).and_then(Option::take))
    }

    /// Whether the server has it.
    pub(super) async fn ask(
        &'static self,
        line: &Line,
        client: &Client,
    ) -> Result<Option<Sizes>, Fault> {
        let offer = Offer {
            versions: TLS13,
            decompressors: vec![self],
            ..Offer::default()
        };
        let setup = client.setup(&offer)?;
        let asked = line.ask(async |tcp| {
            let mut session = setup.begin(tcp)?;
            let ended = session.handshake().await;
            match (self.take(), ended) {
                (Some(sizes), _) => Ok(Some(sizes)),
                (None, Ok(())) => {
                    session.close().await;
                    Ok(None)
                }
                (None, Err(fault)) => Err(fault),
            }
        });
        asked.await
    }
}
