//! The readable name of a region.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Excerpt;

/// The readable name of a region: 1 to 64 of `a-z`, `0-9`, `_`, `-`, and not digits alone.
///
/// Never digits alone, so that a command that takes "a region" can tell a name from a number.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RegionName(String);

impl RegionName {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 64;

    /// Checks a text and makes it a region's name.
    ///
    /// # Errors
    /// [`RegionNameError`], which names the rule that was broken.
    pub fn new(text: &str) -> Result<RegionName, RegionNameError> {
        let allowed =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        if text.is_empty() {
            Err(RegionNameError::Empty)
        } else if let Some(found) = text.chars().find(|c| !allowed(*c)) {
            Err(RegionNameError::BadCharacter { name: Excerpt::new(text), found })
        } else if text.len() > Self::MAX_LEN {
            Err(RegionNameError::TooLong { name: Excerpt::new(text), len: text.len() })
        } else if text.bytes().all(|b| b.is_ascii_digit()) {
            Err(RegionNameError::OnlyDigits { name: Excerpt::new(text) })
        } else {
            Ok(RegionName(text.to_owned()))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is no region name. Nothing was changed; the same text is refused every time.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RegionNameError {
    /// There is no character in it.
    #[error("region name is empty; names have 1 to 64 characters; give a name")]
    Empty,
    /// A character other than those allowed.
    #[error(
        "region name '{name}' contains {found:?}; names are made of a-z, 0-9, '_' and '-'; use another character"
    )]
    BadCharacter {
        /// The beginning of the name.
        name: Excerpt,
        /// The first character that is not allowed.
        found: char,
    },
    /// More than 64 characters.
    #[error("region name '{name}' has {len} characters; names have 1 to 64 characters; shorten it")]
    TooLong {
        /// The beginning of the name.
        name: Excerpt,
        /// Its length.
        len: usize,
    },
    /// It could be mistaken for a region's number.
    #[error(
        "region name '{name}' is all digits; a name must not look like a region number; add a letter"
    )]
    OnlyDigits {
        /// The name.
        name: Excerpt,
    },
}

impl fmt::Display for RegionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for RegionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegionName({})", self.0)
    }
}

impl FromStr for RegionName {
    type Err = RegionNameError;

    fn from_str(text: &str) -> Result<RegionName, RegionNameError> {
        RegionName::new(text)
    }
}

impl TryFrom<String> for RegionName {
    type Error = RegionNameError;

    fn try_from(text: String) -> Result<RegionName, RegionNameError> {
        RegionName::new(&text)
    }
}

impl From<RegionName> for String {
    fn from(name: RegionName) -> String {
        name.0
    }
}

impl AsRef<str> for RegionName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_survive_text_and_serde() {
        for text in ["a", "eu-west", "us_east_1", "7b", "-", "x".repeat(64).as_str()] {
            let name: RegionName = text.parse().unwrap();
            assert_eq!(name.to_string(), text);
            assert_eq!(
                rmp_serde::from_slice::<RegionName>(&rmp_serde::to_vec(&name).unwrap()).unwrap(),
                name
            );
        }
    }

    #[test]
    fn bad_names_are_refused_by_rule() {
        let check = |text: &str| RegionName::new(text).unwrap_err();
        assert_eq!(check(""), RegionNameError::Empty);
        assert!(matches!(check("Eu"), RegionNameError::BadCharacter { found: 'E', .. }));
        assert!(matches!(check("eu west"), RegionNameError::BadCharacter { found: ' ', .. }));
        assert!(matches!(check("zürich"), RegionNameError::BadCharacter { found: 'ü', .. }));
        assert!(matches!(check("eu.west"), RegionNameError::BadCharacter { found: '.', .. }));
        assert!(matches!(check(&"x".repeat(65)), RegionNameError::TooLong { len: 65, .. }));
        assert!(matches!(check("65535"), RegionNameError::OnlyDigits { .. }));
        assert!(serde_json::from_str::<RegionName>("\"7\"").is_err());
    }
}
