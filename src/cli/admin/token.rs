//! The secret that a request must carry.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

/// 256 random bits as 64 hex digits. Has no `Debug`, so that it gets into no log.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Token(String);

impl Token {
    /// A new one from the system's randomness.
    pub(super) fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0_u8; 32];
        getrandom::fill(&mut bytes)?;
        let mut text = String::with_capacity(DIGITS);
        for byte in bytes {
            let _ = write!(text, "{byte:02x}");
        }
        Ok(Self(text))
    }

    /// The text, to be sent.
    pub(super) fn reveal(&self) -> String {
        self.0.clone()
    }

    /// Whether `text` is this token. Takes the same time wherever they differ, so that it cannot be
    /// guessed digit by digit.
    pub(super) fn is(&self, text: &str) -> bool {
        if text.len() != self.0.len() {
            return false;
        }
        let pairs = self.0.bytes().zip(text.bytes());
        let differing =
            pairs.fold(0_u8, |differing, (a, b)| std::hint::black_box(differing | (a ^ b)));
        differing == 0
    }
}

impl TryFrom<String> for Token {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        match text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            true => Ok(Self(text)),
            false => Err("a token has 64 hex digits"),
        }
    }
}

impl From<Token> for String {
    fn from(token: Token) -> String {
        token.0
    }
}

const DIGITS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_token_passes() {
        let token = Token::random().unwrap();
        let text = token.reveal();
        assert_eq!(text.len(), 64);
        assert!(token.is(&text));
        assert!(!token.is(""));
        assert!(!token.is(&text[1..]));
        assert!(!token.is(&format!("{text}0")));
        for at in [0, 31, 63] {
            let mut other = text.clone().into_bytes();
            other[at] ^= 1;
            assert!(!token.is(&String::from_utf8(other).unwrap()));
        }
        assert!(!Token::random().unwrap().is(&text));
    }
}
