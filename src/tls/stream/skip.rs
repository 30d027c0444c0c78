//! Refused early data: skipped by a mirror of rustls's budget (EARLY-DATA R7).
//!
//! rustls skips refused early data by trial decryption and charges the *ciphertext* of each record
//! against `max_early_data_size`, which is also what its tickets allow as *plaintext*. A client
//! that uses its allowance to the full would thus end with an alert. So records that no longer fit
//! rustls's budget are dropped here, unseen, as long as they cannot be the client's Finished.

use crate::config::site_tls::MAX_EARLY_DATA;

/// A header, and what the AEAD and the inner content type add to a record.
const HEADER: usize = 5;
const OVERHEAD: usize = 17;

/// The client's Finished is a record of 53 (SHA-256) or 69 bytes (SHA-384).
const FINISHED: usize = 69;

/// Our own limit in records; in bytes it is 16,384 and [`OVERHEAD`] per record.
const MAX_RECORDS: usize = 1024;

const APPLICATION_DATA: u8 = 23;
const HANDSHAKE: u8 = 22;

/// What to do with the front of the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Skip {
    /// Show rustls the first so many bytes, no more.
    Show(usize),
    /// Remove this range unseen.
    Drop { start: usize, end: usize },
    /// There is no complete record that was not shown yet.
    Incomplete,
}

/// The state of skipping the refused early data of one connection.
#[derive(Debug)]
pub(super) struct Skipping {
    /// What rustls will still drop by itself.
    budget: usize,
    bytes: usize,
    records: usize,
    /// After a HelloRetryRequest: the second ClientHello ends the early data, and no record
    /// before it can be a Finished.
    until_hello: bool,
    /// Leading bytes of the input that rustls has seen and holds (part of a handshake message).
    shown: usize,
}

impl Skipping {
    pub(super) fn new(until_hello: bool) -> Self {
        Self {
            budget: MAX_EARLY_DATA as usize,
            bytes: 0,
            records: 0,
            until_hello,
            shown: 0,
        }
    }

    /// Whether the early data has ended: the second ClientHello was shown.
    pub(super) fn is_over(&self) -> bool {
        self.until_hello && self.records == usize::MAX
    }

    /// Leading bytes of the input that rustls has seen and holds.
    pub(super) fn shown(&self) -> usize {
        self.shown
    }

    /// rustls has taken `count` bytes off the front.
    pub(super) fn consumed(&mut self, count: usize) {
        self.shown = self.shown.saturating_sub(count);
    }

    pub(super) fn next(&mut self, input: &[u8]) -> Skip {
        let start = self.shown;
        let Some(&[kind, _, _, high, low]) = input.get(start..start + HEADER) else {
            return Skip::Incomplete;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let end = start + HEADER + length;
        if input.len() < end {
            return Skip::Incomplete;
        }
        if kind == APPLICATION_DATA {
            self.bytes += length;
            self.records += 1;
            let within = self.records <= MAX_RECORDS
                && self.bytes <= MAX_EARLY_DATA as usize + OVERHEAD * self.records + FINISHED;
            let may_be_finished = !self.until_hello && length <= FINISHED;
            if length <= self.budget {
                self.budget -= length;
            } else if within && !may_be_finished {
                return Skip::Drop { start, end };
            }
            // Past the limit rustls sees the record, and answers it with a fatal alert.
        } else if kind == HANDSHAKE && self.until_hello {
            self.records = usize::MAX;
        }
        self.shown = end;
        Skip::Show(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![kind, 3, 3];
        bytes.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        bytes.resize(HEADER + length, 0xaa);
        bytes
    }

    #[test]
    fn one_record_of_the_whole_allowance_is_dropped_and_finished_is_shown() {
        let mut skipping = Skipping::new(false);
        let early = record(APPLICATION_DATA, 16_384 + OVERHEAD);
        assert_eq!(
            skipping.next(&early),
            Skip::Drop {
                start: 0,
                end: early.len()
            }
        );
        let finished = record(APPLICATION_DATA, 53);
        assert_eq!(skipping.next(&finished), Skip::Show(finished.len()));
    }

    #[test]
    fn many_small_records_are_shown_while_they_fit_and_then_dropped() {
        let mut skipping = Skipping::new(false);
        let early = record(APPLICATION_DATA, 100 + OVERHEAD);
        let mut shown = 0;
        let mut dropped = 0;
        for _ in 0..163 {
            match skipping.next(&early) {
                Skip::Show(_) => {
                    shown += 1;
                    skipping.consumed(early.len());
                }
                Skip::Drop { .. } => dropped += 1,
                Skip::Incomplete => unreachable!(),
            }
        }
        assert_eq!((shown, dropped), (140, 23));
    }

    #[test]
    fn past_the_limit_rustls_sees_the_record() {
        let mut skipping = Skipping::new(false);
        let early = record(APPLICATION_DATA, 16_384 + OVERHEAD);
        assert!(matches!(skipping.next(&early), Skip::Drop { .. }));
        assert!(matches!(skipping.next(&early), Skip::Show(_)));
    }

    #[test]
    fn after_a_hello_retry_request_the_second_hello_ends_it() {
        let mut skipping = Skipping::new(true);
        let hello = record(HANDSHAKE, 300);
        assert_eq!(skipping.next(&hello), Skip::Show(hello.len()));
        assert!(skipping.is_over());
    }

    #[test]
    fn a_held_part_of_a_message_stays_in_front() {
        let mut skipping = Skipping::new(false);
        let part = record(APPLICATION_DATA, 20);
        assert_eq!(skipping.next(&part), Skip::Show(part.len()));
        let mut input = part.clone();
        input.extend(record(APPLICATION_DATA, 16_401));
        assert_eq!(
            skipping.next(&input),
            Skip::Drop {
                start: part.len(),
                end: input.len()
            }
        );
    }
}
