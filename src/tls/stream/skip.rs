//! Refused early data: skipped without spending rustls's budget (EARLY-DATA R7).
//!
//! rustls skips refused early data by trial decryption and charges the *ciphertext* of each record
//! against `max_early_data_size`, which is also what its tickets allow as *plaintext*. Worse, a
//! record that it has dropped stays in the input and is charged again each time it is seen. So it
//! is shown only what may be the client's Finished, one record at a time; what it leaves there is
//! taken away, once it is proved that it does not hold on to it ([`probe`]). Everything else is
//! dropped here unseen.

use crate::config::site_tls::MAX_EARLY_DATA;

/// A header, and what the AEAD and the inner content type add to a record.
const HEADER: usize = 5;
const OVERHEAD: usize = 17;

/// The client's Finished as a record: with SHA-256, with SHA-384. RFC 9846 §4.4.4, §5.2.
const FINISHED: [usize; 2] = [53, 69];

/// A record up to this length is shown while there is budget: a padded Finished, an alert.
const SMALL: usize = 128;

/// What of the budget is kept for records as long as a Finished.
const RESERVE: usize = MAX_EARLY_DATA as usize / 2;

/// Our own limit in records; in bytes it is 16,384 and [`OVERHEAD`] per record.
const MAX_RECORDS: usize = 1024;

const APPLICATION_DATA: u8 = 23;
const HANDSHAKE: u8 = 22;

/// The shortest record that cannot be decrypted.
const UNREADABLE: [u8; HEADER + 1] = [APPLICATION_DATA, 3, 3, 0, 1, 0];

/// What to do with the record at the front of the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Skip {
    /// Show rustls these first bytes, no more.
    Show(usize),
    /// Drop these first bytes unseen.
    Drop(usize),
    /// Our own limit is passed.
    TooMuch,
    /// There is no complete record.
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
    over: bool,
}

impl Skipping {
    pub(super) fn new(until_hello: bool) -> Self {
        Self {
            budget: MAX_EARLY_DATA as usize,
            bytes: 0,
            records: 0,
            until_hello,
            over: false,
        }
    }

    /// Whether the early data has ended: the second ClientHello was shown.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Says what becomes of the first record of `input`, which was not asked about before.
    pub(super) fn next(&mut self, input: &[u8]) -> Skip {
        let Some(&[kind, _, _, high, low]) = input.first_chunk::<HEADER>() else {
            return Skip::Incomplete;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let end = HEADER + length;
        if input.len() < end {
            return Skip::Incomplete;
        }
        if kind != APPLICATION_DATA {
            self.over = self.until_hello && kind == HANDSHAKE;
            return Skip::Show(end);
        }
        self.bytes += length;
        self.records += 1;
        // The Finished itself is counted as well.
        let most = MAX_EARLY_DATA as usize + OVERHEAD * self.records + SMALL;
        if self.records > MAX_RECORDS + 1 || self.bytes > most {
            return Skip::TooMuch;
        }
        // Once for itself, once more for the probe.
        let cost = 2 * length + 1;
        let may_be_finished = FINISHED.contains(&length)
            || (length <= SMALL && self.budget.saturating_sub(RESERVE) >= cost);
        if self.until_hello || !may_be_finished {
            return Skip::Drop(end);
        }
        self.budget = self.budget.saturating_sub(cost);
        Skip::Show(end)
    }
}

/// Input that shows whether rustls holds on to `record`, which it was shown and did not take: it
/// suffers no record that cannot be decrypted while it holds part of a handshake message. If it
/// does suffer it, `record` was early data and may go. If not, the client has split its Finished,
/// and must not go, or rustls would panic over what it misses.
pub(super) fn probe(record: &[u8]) -> Vec<u8> {
    [record, &UNREADABLE].concat()
}

/// Input that is past every budget behind `record`: rustls answers with a fatal alert.
pub(super) fn too_much(record: &[u8]) -> Vec<u8> {
    const LENGTH: u16 = MAX_EARLY_DATA as u16 + OVERHEAD as u16;
    let [high, low] = LENGTH.to_be_bytes();
    let mut input = record.to_vec();
    input.extend_from_slice(&[APPLICATION_DATA, 3, 3, high, low]);
    input.resize(input.len() + usize::from(LENGTH), 0);
    input
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

    /// Skips `count` records of so many bytes of plaintext.
    fn skip(skipping: &mut Skipping, plaintext: usize, count: usize) {
        let early = record(APPLICATION_DATA, plaintext + OVERHEAD);
        for number in 0..count {
            let skip = skipping.next(&early);
            let fine = matches!(skip, Skip::Show(size) | Skip::Drop(size) if size == early.len());
            assert!(fine, "record {number}: {skip:?}");
        }
    }

    #[test]
    fn what_a_ticket_allows_is_skipped_in_every_shape_and_finished_is_shown() {
        for (plaintext, count) in [(16_384, 1), (8_192, 2), (100, 163), (100, 164), (1, 1024)] {
            for finished in FINISHED {
                let mut skipping = Skipping::new(false);
                skip(&mut skipping, plaintext, count);
                let finished = record(APPLICATION_DATA, finished);
                assert_eq!(skipping.next(&finished), Skip::Show(finished.len()));
            }
        }
    }

    #[test]
    fn rustls_is_never_shown_more_than_its_budget_of_what_is_no_finished() {
        for length in (1..=SMALL).filter(|length| !FINISHED.contains(length)) {
            let mut skipping = Skipping::new(false);
            let early = record(APPLICATION_DATA, length);
            let shown = (0..1000).filter(|_| matches!(skipping.next(&early), Skip::Show(_)));
            let charged = shown.count() * (2 * length + 1);
            assert!(charged <= MAX_EARLY_DATA as usize - RESERVE, "{length}");
        }
    }

    #[test]
    fn past_the_limit_of_bytes_or_records_it_is_too_much() {
        let mut skipping = Skipping::new(false);
        skip(&mut skipping, 16_384, 1);
        let more = record(APPLICATION_DATA, 1_000);
        assert_eq!(skipping.next(&more), Skip::TooMuch);
        let mut skipping = Skipping::new(false);
        skip(&mut skipping, 1, MAX_RECORDS + 1);
        let more = record(APPLICATION_DATA, 1 + OVERHEAD);
        assert_eq!(skipping.next(&more), Skip::TooMuch);
    }

    #[test]
    fn after_a_hello_retry_request_the_second_hello_ends_it() {
        let mut skipping = Skipping::new(true);
        let looks_like_finished = record(APPLICATION_DATA, 53);
        let dropped = Skip::Drop(looks_like_finished.len());
        assert_eq!(skipping.next(&looks_like_finished), dropped);
        assert!(!skipping.is_over());
        let hello = record(HANDSHAKE, 300);
        assert_eq!(skipping.next(&hello), Skip::Show(hello.len()));
        assert!(skipping.is_over());
    }

    #[test]
    fn an_incomplete_record_is_waited_for() {
        let early = record(APPLICATION_DATA, 100);
        for end in 0..early.len() {
            assert_eq!(Skipping::new(false).next(&early[..end]), Skip::Incomplete);
        }
    }
}
