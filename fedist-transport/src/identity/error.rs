//! What can go wrong with keys and certificates on disk.

use std::io;
use std::path::PathBuf;

use fedist_registry::RegionId;
use thiserror::Error;

use super::FederationId;

/// Why an identity or a federation root could not be loaded, made or saved.
///
/// Files that existed before are never changed by a call that fails.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A file operation failed. May be retried once the cause is gone.
    #[error("cannot {action} ({}): {source}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A needed file is not there. Retry once it is.
    #[error("no {what} ({}); {hint}", path.display())]
    Missing {
        /// What the file would hold.
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
        /// Where it comes from.
        hint: &'static str,
    },
    /// A file with a secret key can be read by others. Retry after the `chmod`, and think about who
    /// may have read the key.
    #[error(
        "key file is open to others ({}, mode {mode:04o}); keys are for their owner only; fix: chmod 600 '{}'",
        path.display(), path.display()
    )]
    KeyOpen {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others may replace files in the directory. Retry after the `chmod`.
    #[error(
        "key directory is writable by others ({}, mode {mode:04o}); keys are for their owner only; fix: chmod 700 '{}'",
        path.display(), path.display()
    )]
    DirectoryOpen {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file does not hold what it should. Restore it from a copy; a retry gives the same.
    #[error("damaged file ({}): {detail}; restore it from a copy", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// Key and certificate do not belong together. Restore both from the same copy.
    #[error("key does not match certificate ({} and {}); restore both from one copy", key.display(), certificate.display())]
    KeyMismatch {
        /// The key file.
        key: PathBuf,
        /// The certificate file.
        certificate: PathBuf,
    },
    /// The certificate on disk leads to another root than the one asked for.
    #[error("certificate belongs to another federation ({}: {holds}, asked for {asked}); a region keeps its federation; use another directory", path.display())]
    OtherFederation {
        /// The certificate file.
        path: PathBuf,
        /// The federation it names.
        holds: String,
        /// The federation asked for.
        asked: FederationId,
    },
    /// The certificate on disk is for another region number.
    #[error("certificate belongs to another region ({}: {holds}, asked for {asked}); a directory holds one region; use another directory", path.display())]
    OtherRegion {
        /// The certificate file.
        path: PathBuf,
        /// The region it names.
        holds: RegionId,
        /// The region asked for.
        asked: RegionId,
    },
    /// The certificate on disk has expired and no authority is at hand to renew it.
    #[error("certificate has expired ({}, since {since}); renew it with the federation's root", path.display())]
    Expired {
        /// The certificate file.
        path: PathBuf,
        /// End of its validity, UTC.
        since: String,
    },
    /// A public key that is not Ed25519 was given to be certified. Nothing to retry.
    #[error("unsupported public key; region keys are Ed25519")]
    UnsupportedKey,
    /// The cryptographic library refused. Nothing was changed.
    #[error("certificate operation failed: {detail}")]
    Crypto {
        /// The library's text.
        detail: String,
    },
}

impl From<rcgen::Error> for IdentityError {
    fn from(error: rcgen::Error) -> Self {
        Self::Crypto { detail: error.to_string() }
    }
}
