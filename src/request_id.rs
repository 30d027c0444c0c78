//! The name of one request: what an origin's log and ours have in common.

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use http::HeaderValue;
use serde::{Serialize, Serializer};

/// 128 bits, shown as 32 hexadecimal digits, or what a trusted proxy gave. No two requests have the
/// same of ours; it is no secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(Id);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Id {
    Made(u128),
    Given(HeaderValue),
}

impl RequestId {
    /// Another one. Costs a few multiplications: the operating system is asked for randomness once
    /// for each thread.
    pub fn make() -> Self {
        thread_local! {
            static NEXT: Cell<(u64, u64)> = {
                let random = RandomState::new();
                Cell::new((random.hash_one(0), random.hash_one(1)))
            };
        }
        let (thread, next) = NEXT.get();
        NEXT.set((thread, next.wrapping_add(0x9E37_79B9_7F4A_7C15)));
        Self(Id::Made(u128::from(thread) << 64 | u128::from(mixed(next))))
    }

    /// One that somebody else made, as its field has it: visible ASCII.
    pub fn given(id: HeaderValue) -> Self {
        Self(Id::Given(id))
    }

    /// As a header field has it.
    pub fn to_header(&self) -> HeaderValue {
        let number = match &self.0 {
            Id::Made(number) => number,
            Id::Given(id) => return id.clone(),
        };
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        let nibbles = number.to_be_bytes().map(|byte| [byte >> 4, byte & 15]);
        for (digit, nibble) in text.iter_mut().zip(nibbles.as_flattened()) {
            *digit = DIGITS.get(usize::from(*nibble)).copied().unwrap_or(b'0');
        }
        // Digits are a value of a field: the other branch is never taken.
        HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("-"))
    }
}

/// SplitMix64: a bijection, so no number comes twice before all have come.
fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Id::Made(number) => write!(f, "{number:032x}"),
            Id::Given(id) => f.write_str(id.to_str().unwrap_or("-")),
        }
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_are_the_same_on_one_thread_or_on_several() {
        let make = || (0..1000).map(|_| RequestId::make()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(make)).collect();
        let mut all: HashSet<RequestId> = make().into_iter().collect();
        for thread in threads {
            all.extend(thread.join().unwrap());
        }
        assert_eq!(all.len(), 5000);
    }

    #[test]
    fn a_field_has_what_the_log_has() {
        let ids = [Id::Made(0), Id::Made(u128::MAX)].map(RequestId);
        for id in ids.into_iter().chain([RequestId::make()]) {
            let shown = id.to_string();
            assert_eq!(shown.len(), 32);
            assert_eq!(id.to_header(), shown.as_str());
        }
        let given = RequestId::given(HeaderValue::from_static("abc-1"));
        assert_eq!(given.to_string(), "abc-1");
        assert_eq!(given.to_header(), "abc-1");
    }
}
