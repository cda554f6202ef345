//! Signatures of the registry's entries: Ed25519 (RFC 8032), by the keys that regions prove themselves with.

use std::fmt;

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{KeyHash, RegionId, hash_bytes};

/// A region's secret key, as far as signing goes. Its `Debug` form shows the public half only.
pub struct RegionKey(Ed25519KeyPair);

impl RegionKey {
    /// Reads the key from its PKCS #8 form (RFC 8410), as it lies in a key file.
    ///
    /// # Errors
    /// [`BadKey`] where the bytes are no Ed25519 key.
    pub fn from_pkcs8(der: &[u8]) -> Result<RegionKey, BadKey> {
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(RegionKey).map_err(|_| BadKey)
    }

    /// The key that RFC 8032 makes of a 32-byte seed. The seed is the secret: take it from a good source, or for models
    /// and tests from anywhere.
    ///
    /// # Errors
    /// [`BadKey`] where the cryptography refuses the seed; none of 32 bytes is refused today.
    pub fn from_seed(seed: &[u8; 32]) -> Result<RegionKey, BadKey> {
        Ed25519KeyPair::from_seed_unchecked(seed).map(RegionKey).map_err(|_| BadKey)
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        // An Ed25519 public key has 32 bytes.
        PublicKey(self.0.public_key().as_ref().try_into().unwrap_or_default())
    }

    /// What the registry holds for a region with this key.
    pub fn key_hash(&self) -> KeyHash {
        self.public().key_hash()
    }

    /// Signs `message` as `signer`.
    pub fn sign(&self, signer: RegionId, message: &[u8]) -> Seal {
        // A signature has 64 bytes: R, then S.
        let signature = self.0.sign(message);
        let mut halves = signature.as_ref().chunks_exact(32).map(|half| half.try_into());
        let mut half = || halves.next().and_then(Result::ok).unwrap_or_default();
        Seal { signer, key: self.public(), r: half(), s: half() }
    }
}

impl fmt::Debug for RegionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegionKey({})", self.key_hash())
    }
}

/// The bytes are no Ed25519 key.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Error)]
#[error("malformed region key; expected an Ed25519 key in PKCS #8 form; restore the key file")]
pub struct BadKey;

/// A region's public key, the 32 bytes of RFC 8032.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PublicKey(#[serde(with = "hash_bytes")] pub [u8; 32]);

impl PublicKey {
    /// The hash of its SubjectPublicKeyInfo, which for Ed25519 is a constant and the key (RFC 8410, section 4).
    pub fn key_hash(&self) -> KeyHash {
        let mut info = [0; 44];
        info[..12].copy_from_slice(&SPKI_PREFIX);
        info[12..].copy_from_slice(&self.0);
        KeyHash::of(&info)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.key_hash())
    }
}

/// Who signed, and the signature. The key travels with it: the registry holds only the key's hash.
#[derive(Copy, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// The region that signed.
    pub signer: RegionId,
    /// Its key. Whether it is, the registry's record of the region says.
    pub key: PublicKey,
    #[serde(with = "hash_bytes")]
    pub(crate) r: [u8; 32],
    #[serde(with = "hash_bytes")]
    pub(crate) s: [u8; 32],
}

impl Seal {
    /// Whether [`key`](Self::key) signed `message`. It says nothing about whose key it is.
    pub fn covers(&self, message: &[u8]) -> bool {
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&self.r);
        signature[32..].copy_from_slice(&self.s);
        UnparsedPublicKey::new(&ED25519, &self.key.0).verify(message, &signature).is_ok()
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seal(region {}, {:?})", self.signer, self.key)
    }
}

/// SEQUENCE { SEQUENCE { OID 1.3.101.112 }, BIT STRING } up to the key's own bytes.
const SPKI_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> RegionKey {
        RegionKey::from_seed(&[byte; 32]).unwrap()
    }

    #[test]
    fn the_first_test_vector_of_rfc_8032_comes_out() {
        let seed = hash_bytes::from_hex(
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        )
        .unwrap();
        let key = RegionKey::from_seed(&seed).unwrap();
        assert_eq!(
            hash_bytes::to_hex(&key.public().0),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
        let seal = key.sign(RegionId::MIN, b"");
        assert_eq!(
            hash_bytes::to_hex(&seal.r),
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        );
        assert_eq!(
            hash_bytes::to_hex(&seal.s),
            "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        );
        assert!(seal.covers(b""));
    }

    #[test]
    fn a_seal_covers_its_message_and_its_key_only() {
        let seal = key(1).sign(RegionId::MIN, b"one");
        assert!(seal.covers(b"one"));
        assert!(!seal.covers(b"two"));
        assert!(!Seal { key: key(2).public(), ..seal }.covers(b"one"));
        assert!(!Seal { s: [0; 32], ..seal }.covers(b"one"));
    }

    #[test]
    fn a_seal_survives_messagepack_and_json() {
        let seal = key(1).sign(RegionId::MIN, b"one");
        let packed = rmp_serde::to_vec(&seal).unwrap();
        assert_eq!(packed.len(), 104);
        assert_eq!(rmp_serde::from_slice::<Seal>(&packed).unwrap(), seal);
        let text = serde_json::to_string(&seal).unwrap();
        assert_eq!(serde_json::from_str::<Seal>(&text).unwrap(), seal);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert_eq!(RegionKey::from_pkcs8(b"").unwrap_err(), BadKey);
        assert_eq!(RegionKey::from_pkcs8(&[0x30; 48]).unwrap_err(), BadKey);
    }
}
