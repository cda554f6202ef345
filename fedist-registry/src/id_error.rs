//! Why a number or a text is not an id.

use std::fmt;

use thiserror::Error;

/// Why a number or a text was refused as an id.
///
/// Nothing was changed; the same input is refused every time. The type is `Copy`, so that ids can be built in constants.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IdError {
    /// The region part is 0, 65535 or larger. Use another number.
    #[error("region id {value} is reserved; regions are numbered 1..=65534; choose another number")]
    RegionReserved {
        /// The number that was given.
        value: u32,
    },
    /// The local part is 0, which names nothing.
    #[error(
        "local id 0 is reserved; local ids are numbered 1..=281474976710655; choose another number"
    )]
    LocalReserved,
    /// The local part needs more than 48 bits.
    #[error(
        "local id {value} is out of range; local ids are numbered 1..=281474976710655; choose a smaller number"
    )]
    LocalOutOfRange {
        /// The number that was given.
        value: u64,
    },
    /// The text is not in the one form that the id prints.
    #[error(
        "malformed {what} '{text}'; expected the form {form}; use digits without sign, space or leading zero"
    )]
    Malformed {
        /// Which kind of id was asked for.
        what: &'static str,
        /// The form of this kind, as an example.
        form: &'static str,
        /// The beginning of the text that was given.
        text: Excerpt,
    },
}

/// The first bytes of a refused text, kept without allocating; prints escaped, with `..` where it was cut.
#[derive(Copy, Clone, PartialEq, Eq)]
pub struct Excerpt {
    bytes: [u8; Excerpt::LEN],
    len: u8,
    cut: bool,
}

impl Excerpt {
    const LEN: usize = 38;

    /// Keeps the beginning of `text`, cut between characters.
    pub fn new(text: &str) -> Self {
        let kept = text
            .char_indices()
            .map(|(at, c)| at + c.len_utf8())
            .take_while(|end| *end <= Self::LEN)
            .last()
            .unwrap_or(0);
        let mut bytes = [0; Self::LEN];
        for (to, from) in bytes.iter_mut().zip(text.as_bytes().iter().take(kept)) {
            *to = *from;
        }
        Excerpt { bytes, len: kept as u8, cut: kept < text.len() }
    }

    /// The kept text.
    pub fn as_str(&self) -> &str {
        let kept = self.bytes.get(..usize::from(self.len)).unwrap_or(&[]);
        std::str::from_utf8(kept).unwrap_or("")
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.as_str().escape_debug(), if self.cut { ".." } else { "" })
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Reads decimal digits in the only form that `Display` writes: ASCII, no sign, no leading zero. `None` where the form is
/// wrong; `Some(u64::MAX)` where the form is right and the number does not fit, so that range checks refuse it by name.
pub(crate) fn canonical_decimal(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    if bytes.is_empty()
        || !bytes.iter().all(u8::is_ascii_digit)
        || (bytes.len() > 1 && bytes.first() == Some(&b'0'))
    {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_cuts_between_characters_and_escapes() {
        assert_eq!(Excerpt::new("a\nb").to_string(), "a\\nb");
        assert_eq!(Excerpt::new("").to_string(), "");
        let long = "é".repeat(100);
        let excerpt = Excerpt::new(&long);
        assert_eq!(excerpt.as_str(), "é".repeat(19));
        assert!(excerpt.to_string().ends_with(".."));
        assert_eq!(Excerpt::new(&format!("a{long}")).as_str().len(), 37);
    }
}
