//! UTF-8 that arrives in pieces (RFC 6455 section 8.1). Must not know messages or
//! frames, and keeps none of the text: at most the bytes of one character that
//! is not yet complete.

use super::error::ProtocolError;

/// Checks text piece by piece and fails at the first byte that no valid text
/// could have there, even if the character it belongs to began in an earlier
/// piece.
///
/// Call [`Pieces::feed`] with each piece in order, then ask
/// [`Pieces::is_complete`] once at the end. After an error it must not be used.
#[derive(Clone, Debug, Default)]
pub struct Pieces {
    /// `tail[..tail_len]` is the beginning of a character; `tail_len <= 3`
    /// between calls.
    tail: [u8; 4],
    tail_len: u8,
}

/// What one piece adds to the text: first `joined`, then `text`.
#[derive(Debug, PartialEq, Eq)]
pub struct Fed<'p> {
    /// The character that earlier pieces began and this one completed.
    pub joined: Option<char>,
    /// The whole characters of this piece.
    pub text: &'p str,
}

impl Pieces {
    /// The check at the start of a text.
    pub const fn new() -> Self {
        Self { tail: [0; 4], tail_len: 0 }
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// [`ProtocolError::InvalidUtf8`].
    pub fn feed<'p>(&mut self, piece: &'p [u8]) -> Result<Fed<'p>, ProtocolError> {
        let (joined, piece) = self.complete_tail(piece)?;
        let text = match simdutf8::compat::from_utf8(piece) {
            Ok(text) => text,
            Err(error) if error.error_len().is_some() => return Err(ProtocolError::InvalidUtf8),
            Err(error) => {
                let (whole, tail) = piece.split_at(error.valid_up_to());
                self.keep(tail)?;
                simdutf8::basic::from_utf8(whole).map_err(|_| ProtocolError::InvalidUtf8)?
            }
        };
        Ok(Fed { joined, text })
    }

    /// Whether the text fed so far ends with a whole character.
    pub const fn is_complete(&self) -> bool {
        self.tail_len == 0
    }

    /// Bytes fed that no [`Fed`] has handed out yet: 0 to 3.
    pub const fn pending(&self) -> usize {
        self.tail_len as usize
    }

    /// Moves bytes from the piece to the tail until the tail is a character, and
    /// gives that and the rest of the piece.
    fn complete_tail<'p>(
        &mut self,
        piece: &'p [u8],
    ) -> Result<(Option<char>, &'p [u8]), ProtocolError> {
        if self.tail_len == 0 {
            return Ok((None, piece));
        }
        for (index, &byte) in piece.iter().enumerate() {
            let end = usize::from(self.tail_len);
            // A character has at most 4 bytes, so a tail of 4 was either
            // complete or invalid and end <= 3.
            debug_assert!(end <= 3);
            self.tail[end] = byte;
            match str::from_utf8(&self.tail[..=end]) {
                Ok(text) => {
                    self.tail_len = 0;
                    return Ok((text.chars().next(), &piece[index + 1..]));
                }
                Err(error) if error.error_len().is_some() => {
                    return Err(ProtocolError::InvalidUtf8);
                }
                Err(_) => self.tail_len += 1,
            }
        }
        Ok((None, &[]))
    }

    fn keep(&mut self, tail: &[u8]) -> Result<(), ProtocolError> {
        let room = self.tail.get_mut(..tail.len());
        room.ok_or(ProtocolError::InvalidUtf8)?.copy_from_slice(tail);
        self.tail_len = tail.len() as u8;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Where feeding `text` byte by byte fails, if it does.
    fn first_bad_byte(text: &[u8]) -> Option<usize> {
        let mut pieces = Pieces::default();
        (0..text.len()).find(|&at| pieces.feed(&text[at..=at]).is_err())
    }

    #[test]
    fn fails_at_the_first_bad_byte() {
        // Autobahn 6.4: text, then F4 90 80 80, which is above U+10FFFF.
        let text = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited";
        assert_eq!(first_bad_byte(text), Some(12));
        for (text, at) in [
            (&b"a\x80"[..], 1),       // a continuation byte alone
            (b"\xC0\xAF", 0),         // overlong, two bytes
            (b"\xE0\x80\xAF", 1),     // overlong, three bytes
            (b"\xF0\x80\x80\xAF", 1), // overlong, four bytes
            (b"\xED\xA0\x80", 1),     // a surrogate
            (b"\xF5\x80\x80\x80", 0), // above U+10FFFF
            (b"\xFE", 0),             // never in UTF-8
            (b"\xE2\x82a", 2),        // cut short
            (b"\xF0\x9F\x98\xF0", 3), // cut short by another start
        ] {
            assert_eq!(first_bad_byte(text), Some(at), "{text:x?}");
        }
    }

    #[test]
    fn a_character_in_pieces_is_joined() {
        let mut pieces = Pieces::default();
        let euro = "€".as_bytes();
        assert_eq!(pieces.feed(b"a\xE2").unwrap().text, "a");
        assert!(!pieces.is_complete());
        assert_eq!(pieces.feed(&euro[1..2]).unwrap().joined, None);
        assert_eq!(pieces.pending(), 2);
        let fed = pieces.feed(b"\xACb").unwrap();
        assert_eq!((fed.joined, fed.text), (Some('€'), "b"));
        assert!(pieces.is_complete());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn any_split_gives_the_text(text: String, cuts in prop::collection::vec(0..40usize, 0..8)) {
            let mut pieces = Pieces::default();
            let mut rebuilt = String::new();
            let mut rest = text.as_bytes();
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (piece, later) = rest.split_at(cut.min(rest.len()));
                rest = later;
                let fed = pieces.feed(piece).unwrap();
                rebuilt.extend(fed.joined);
                rebuilt.push_str(fed.text);
            }
            prop_assert!(pieces.is_complete());
            prop_assert_eq!(rebuilt, text);
        }

        #[test]
        fn agrees_with_the_standard_library(text in prop::collection::vec(any::<u8>(), 0..12)) {
            let mut pieces = Pieces::default();
            let whole = text.chunks(2).all(|piece| pieces.feed(piece).is_ok());
            prop_assert_eq!(whole && pieces.is_complete(), str::from_utf8(&text).is_ok());
        }
    }
}
