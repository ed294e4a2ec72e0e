//! What a publication carries: who sent it, its number, and when it was due.
//! Twenty hexadecimal digits, so that it fits the default message of 20 bytes.
//! Pure.

/// The length of a stamp as text; a message cannot be smaller.
pub(crate) const STAMP_BYTES: usize = 20;

/// Bits of the time that are carried: it wraps after 78 hours.
const TIME_MASK: u64 = (1 << 48) - 1;
const SEQUENCE_BITS: u32 = 24;

/// One publication's stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Which of the room's publishers sent it, from 0.
    pub(crate) publisher: u8,
    /// Its number among that publisher's publications to the room, from 0 and
    /// below 2^24.
    pub(crate) sequence: u32,
    /// When it was due to be sent, on the clock of [`crate::clock::now_ns`].
    pub(crate) due_ns: u64,
}

impl Stamp {
    /// Appends the stamp, padded to `size` bytes.
    pub(crate) fn append(self, size: usize, out: &mut Vec<u8>) {
        debug_assert!(self.sequence < 1 << SEQUENCE_BITS);
        let number = u32::from(self.publisher) << SEQUENCE_BITS | self.sequence;
        let value = u128::from(number) << 48 | u128::from(self.due_ns & TIME_MASK);
        let end = out.len() + size.max(STAMP_BYTES);
        let digits = (0..STAMP_BYTES).rev().map(|digit| (value >> (4 * digit)) as usize & 15);
        // Not by `format!`, which costs as much as a tenth of what is measured.
        out.extend(digits.map(|digit| b"0123456789abcdef"[digit]));
        out.resize(end, b'.');
    }

    /// Reads the stamp at the start of `bytes`. Its time is what was carried of
    /// it: use it with [`Stamp::age_ns`] only.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut value = 0u128;
        for byte in bytes.first_chunk::<STAMP_BYTES>()? {
            let digit = char::from(*byte).to_digit(16)?;
            value = value << 4 | u128::from(digit);
        }
        let number = (value >> 48) as u32;
        Some(Self {
            publisher: (number >> SEQUENCE_BITS) as u8,
            sequence: number & ((1 << SEQUENCE_BITS) - 1),
            due_ns: value as u64 & TIME_MASK,
        })
    }

    /// How long before `now_ns` it was due.
    pub(crate) fn age_ns(self, now_ns: u64) -> u64 {
        now_ns.wrapping_sub(self.due_ns) & TIME_MASK
    }
}

/// What every message of `echo` says, `size` bytes long: it needs no stamp.
pub(crate) fn payload(size: usize) -> Vec<u8> {
    (0..size).map(|at| b'a' + (at % 26) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_survives_the_way_and_padding_is_ignored() {
        let stamp =
            Stamp { publisher: 255, sequence: (1 << 24) - 1, due_ns: 0x0000_9ABC_DEF0_1234 };
        for size in [0, 20, 21, 500] {
            let mut text = Vec::new();
            stamp.append(size, &mut text);
            assert_eq!(text.len(), size.max(STAMP_BYTES));
            assert_eq!(Stamp::read(&text), Some(stamp));
        }
        assert_eq!(Stamp::read(b"0123456789abcdef"), None);
        assert_eq!(Stamp::read(b"0123456789abcdefghij"), None);
    }

    #[test]
    fn an_age_is_right_across_the_wrap() {
        let due_ns = TIME_MASK - 5;
        let mut text = Vec::new();
        let sent = Stamp { publisher: 0, sequence: 0, due_ns };
        sent.append(0, &mut text);
        let stamp = Stamp::read(&text).unwrap();
        assert_eq!(stamp.age_ns(due_ns + 100), 100);
    }
}
