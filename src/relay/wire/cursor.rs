//! Numbers, texts and bytes of the wire form, written and read. A reader never looks
//! behind the end, and reserves no more memory than there are bytes. Knows no message.

use bytes::Bytes;

/// The bytes end too early, or mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Bytes of a length that may be set later.
const SIZE: usize = size_of::<u32>();

/// Appends to a message.
#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// Seven bits in each byte, the lowest first; the highest bit says that more follow.
    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub(super) fn fixed(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub(super) fn wide(&mut self, number: u128) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub(super) fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }

    /// A length of four bytes, which may be set when what it counts is there.
    pub(super) fn size(&mut self, size: u32) {
        self.0.extend_from_slice(&size.to_le_bytes());
    }

    /// Sets the length at `at` to what is behind it.
    pub(super) fn set_size(&mut self, at: usize) {
        let size = (self.0.len() - at - SIZE) as u32;
        self.0[at..at + SIZE].copy_from_slice(&size.to_le_bytes());
    }
}

/// What is left of a message.
///
/// Invariant: `at <= bytes.len()`.
#[derive(Clone)]
pub(super) struct Reader<'b> {
    bytes: &'b Bytes,
    at: usize,
}

impl<'b> Reader<'b> {
    pub(super) fn new(bytes: &'b Bytes) -> Self {
        Self { bytes, at: 0 }
    }

    fn take(&mut self, len: usize) -> Result<&'b [u8], Malformed> {
        let end = self.at.checked_add(len).ok_or(Malformed)?;
        let taken = self.bytes.get(self.at..end).ok_or(Malformed)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const LEN: usize>(&mut self) -> Result<[u8; LEN], Malformed> {
        self.take(LEN)?.try_into().map_err(|_| Malformed)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            // The tenth byte has room for one bit, and no number has two forms.
            if shift == 63 && byte > 1 || shift > 0 && byte == 0 {
                return Err(Malformed);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed)
    }

    pub(super) fn fixed(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn wide(&mut self) -> Result<u128, Malformed> {
        self.array().map(u128::from_le_bytes)
    }

    pub(super) fn text(&mut self) -> Result<&'b str, Malformed> {
        let len = usize::try_from(self.number()?).map_err(|_| Malformed)?;
        simdutf8::basic::from_utf8(self.take(len)?).map_err(|_| Malformed)
    }

    fn size(&mut self) -> Result<usize, Malformed> {
        self.array().map(|size| u32::from_le_bytes(size) as usize)
    }

    /// What [`Writer::set_size`] has counted, not copied.
    pub(super) fn sized(&mut self) -> Result<Bytes, Malformed> {
        let size = self.size()?;
        self.take(size)?;
        Ok(self.bytes.slice(self.at - size..self.at))
    }

    /// How many of these there are to the end, `max` at the most.
    pub(super) fn count_sized(mut self, max: usize) -> Result<usize, Malformed> {
        let mut count = 0;
        while !self.is_at_end() {
            let size = self.size()?;
            self.take(size)?;
            count += 1;
            if count > max {
                return Err(Malformed);
            }
        }
        Ok(count)
    }

    /// All that is left, not copied.
    pub(super) fn rest(&mut self) -> Bytes {
        let rest = self.bytes.slice(self.at..);
        self.at = self.bytes.len();
        rest
    }

    /// A list whose entries take at least `least` bytes each.
    pub(super) fn list<T>(
        &mut self,
        least: usize,
        entry: impl Fn(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let len = usize::try_from(self.number()?).map_err(|_| Malformed)?;
        if len > (self.bytes.len() - self.at) / least {
            return Err(Malformed);
        }
        (0..len).map(|_| entry(self)).collect()
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.is_at_end() { Ok(()) } else { Err(Malformed) }
    }
}
