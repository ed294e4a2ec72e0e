//! The simulator's chance: a seeded generator, the same on every machine. It
//! knows nothing of what is decided with it, and is no source of secrets.

/// A small deterministic generator (splitmix64). The same seed gives the same
/// sequence for ever.
///
/// ```
/// use shardcast::driver::sim::Rng;
/// let (mut one, mut other) = (Rng::new(7), Rng::new(7));
/// assert_eq!(one.next_u64(), other.next_u64());
/// assert!(one.below(10) < 10);
/// ```
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator that starts from `seed`; every value is good, zero too.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// A number below `limit`; 0 if `limit` is 0.
    pub const fn below(&mut self, limit: usize) -> usize {
        // Multiply and shift: no division, and a bias far too small for tests.
        ((self.next_u64() as u128 * limit as u128) >> 64) as usize
    }

    /// True in `percent` of 100 cases.
    pub const fn chance(&mut self, percent: u8) -> bool {
        self.below(100) < percent as usize
    }

    /// A length from 1 to `most`, often tiny and often all of it, since the
    /// edges are where mistakes live; 0 if `most` is 0.
    pub fn piece(&mut self, most: usize) -> usize {
        if most == 0 {
            return 0;
        }
        match self.below(4) {
            0 => 1 + self.below(most.min(16)),
            1 => most,
            _ => 1 + self.below(most),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn a_piece_is_never_empty_and_never_too_long() {
        let mut rng = Rng::new(1);
        for most in 1..2_000 {
            let piece = rng.piece(most);
            assert!((1..=most).contains(&piece));
        }
        assert_eq!(rng.piece(0), 0);
    }

    #[test]
    fn chance_keeps_to_its_percentage() {
        let mut rng = Rng::new(2);
        assert!((0..1_000).all(|_| !rng.chance(0) && rng.chance(100)));
        let hits = (0..10_000).filter(|_| rng.chance(30)).count();
        assert!((2_700..3_300).contains(&hits), "{hits}");
    }
}
