//! Chance that can be had again.

/// Splitmix64: the same answers for the same seed, on every machine.
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Whether it happens, with this probability from 0 to 1.
    pub(super) fn is(&mut self, probability: f64) -> bool {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // The 53 bits that a float holds exactly.
        let number = (mixed >> 11) as f64 / (1_u64 << 53) as f64;
        number < probability
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_as_likely_as_it_is_told_and_can_be_had_again() {
        let draw = |seed, probability| {
            let mut chance = Chance::new(seed);
            (0..10_000)
                .map(|_| chance.is(probability))
                .collect::<Vec<_>>()
        };
        let count = |answers: &[bool]| answers.iter().filter(|yes| **yes).count();
        assert_eq!(count(&draw(1, 0.0)), 0);
        assert_eq!(count(&draw(1, 1.0)), 10_000);
        let some = draw(7, 0.05);
        assert!((400..600).contains(&count(&some)), "{}", count(&some));
        assert_eq!(some, draw(7, 0.05));
        assert_ne!(some, draw(8, 0.05));
    }
}
