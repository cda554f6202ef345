//! The other end of a link, once it has proven itself, and why it may fail to.

use fedist_registry::{KeyHash, RegionId};
use thiserror::Error;

use super::FederationId;

/// The region at the other end of a link, as its certificate proved.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerIdentity {
    /// Its number.
    pub region: RegionId,
    /// SHA-256 of its public key. Compare it with the registry's record before believing the number:
    /// a certificate proves what the root once signed, the registry says what holds now.
    pub key_hash: KeyHash,
}

/// Why a peer's certificate was refused. No link came to be; a retry gives the same until one of
/// the two ends changes its certificate or clock.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PeerRefused {
    /// The peer's certificate leads to another root.
    #[error(
        "the peer's certificate belongs to another federation (theirs {theirs}, ours {ours}); regions link within one federation"
    )]
    OtherFederation {
        /// The federation that it names.
        theirs: FederationId,
        /// Our own.
        ours: FederationId,
    },
    /// The peer is of our federation and not the region that was called.
    #[error("the peer's certificate says region {says}, expected {expected}; check the address")]
    OtherRegion {
        /// The number in the certificate.
        says: RegionId,
        /// The number that was called.
        expected: RegionId,
    },
    /// The peer's certificate is past its end, by our clock.
    #[error(
        "the peer's certificate has expired (since {since}); renew it, or correct this machine's clock"
    )]
    Expired {
        /// End of its validity, UTC.
        since: String,
    },
    /// The peer's certificate is not valid yet, by our clock.
    #[error(
        "the peer's certificate is not valid yet (from {from}); correct the clock of this machine or of the peer"
    )]
    NotYetValid {
        /// Start of its validity, UTC.
        from: String,
    },
    /// The certificate is not of the form that a federation's root signs.
    #[error("the peer's certificate is malformed: {detail}")]
    Malformed {
        /// What is wrong with it.
        detail: String,
    },
    /// The certificate names our federation and our root has not signed it.
    #[error("the peer's certificate is not signed by this federation's root ({detail})")]
    Untrusted {
        /// The verifier's text.
        detail: String,
    },
}
