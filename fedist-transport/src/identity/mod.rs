//! Who may speak: the federation's root, a region's key and certificate, and the check of a peer.
//!
//! A *federation* is everybody whose certificate leads to one root key, and is named after that
//! key ([`FederationId`]). A region makes its Ed25519 key itself and keeps it for ever; the
//! [`CertificateAuthority`] signs a leaf certificate that binds the key to the region's number:
//!
//! ```text
//! URI SAN   fedist://<federation>/region/<id>                     what we believe
//! DNS SAN   region-<id>.<federation>.fedist.internal              the TLS server name
//! ```
//!
//! Each has exactly one of both; the common name is ignored. Both ends of a link run the same
//! check ([`PeerRefused`] says how it can fail): the chain to the root, then our own reading of the
//! URI, then, at a dialer that knows whom it calls, the number. The last word, whether the key is
//! the one that the registry holds for that number, is the hub's: it has [`PeerIdentity::key_hash`].

mod authority;
mod certificate;
mod error;
mod federation;
mod key_file;
mod peer;
mod region_identity;
mod verifier;

pub use authority::CertificateAuthority;
pub use error::IdentityError;
pub use federation::{FederationId, MalformedFederation};
pub use key_file::prepare_directory;
pub use peer::{PeerIdentity, PeerRefused};
pub use region_identity::{Identity, LEAF_LIFE};

pub(crate) use verifier::{PeerVerifier, peer_from_chain, told_refusal};

#[cfg(test)]
mod tests;
