//! The name of a federation.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use thiserror::Error;

/// The name of a federation: the first 16 hex digits of the SHA-256 of its root's public key
/// (SubjectPublicKeyInfo, DER). A renewed root certificate with the same key keeps the name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FederationId(String);

impl FederationId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn of_key(spki: &[u8]) -> Self {
        let digest: [u8; 32] = Sha256::digest(spki).into();
        let name = digest.iter().take(DIGITS / 2);
        Self(name.map(|byte| format!("{byte:02x}")).collect())
    }
}

impl fmt::Display for FederationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for FederationId {
    type Err = MalformedFederation;

    fn from_str(text: &str) -> Result<Self, MalformedFederation> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == DIGITS && text.bytes().all(digit) {
            Ok(Self(text.to_owned()))
        } else {
            Err(MalformedFederation)
        }
    }
}

/// The text is not a federation's name. Nothing to retry.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Error)]
#[error("malformed federation name; a federation is named by 16 lower-case hex digits")]
pub struct MalformedFederation;

const DIGITS: usize = 16;
