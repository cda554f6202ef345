//! What a region proves itself with.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fedist_registry::{KeyHash, RegionId, RegionKey};
use rcgen::{KeyPair, PKCS_ED25519};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use webpki::{EndEntityCert, anchor_from_trusted_cert};

use super::authority::{self, CA_CERT};
use super::key_file::{self, Secrecy};
use super::{CertificateAuthority, FederationId, IdentityError, PeerVerifier, certificate};

/// How long a region's certificate is valid.
pub const LEAF_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);

/// A region's key, its certificate, and the root that both ends of a link trust.
///
/// Clones share it. Its `Debug` form shows the number and the federation, never the key.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    region: RegionId,
    federation: FederationId,
    key_hash: KeyHash,
    key_pem: String,
    key_der: PrivatePkcs8KeyDer<'static>,
    certificate: CertificateDer<'static>,
    root: CertificateDer<'static>,
    /// Start and end of the certificate's validity, seconds since 1970.
    validity: (u64, u64),
}

impl Identity {
    /// The identity of `region` in `dir`: `region.key`, `region.pem` and `ca.pem`.
    ///
    /// # Errors
    /// See [`IdentityError`]; nothing is written. An expired certificate is
    /// [`Expired`](IdentityError::Expired).
    pub fn load(dir: &Path, region: RegionId) -> Result<Self, IdentityError> {
        let identity = Self::load_expired_too(dir, region)?;
        identity.refuse_expired(dir, seconds_since_1970(SystemTime::now()))?;
        Ok(identity)
    }

    /// The identity of `region` in `dir`, made or renewed there as far as needed.
    ///
    /// The key is made once and kept for ever. A certificate is issued by `ca` if there is none, and
    /// renewed for the same key once two thirds of its life have passed.
    ///
    /// # Errors
    /// See [`IdentityError`]; without `ca`, a missing certificate is
    /// [`Missing`](IdentityError::Missing) and an expired one [`Expired`](IdentityError::Expired). A
    /// key that was made before the error stays, and is used by the next call.
    pub fn load_or_issue(
        dir: &Path,
        region: RegionId,
        ca: Option<&CertificateAuthority>,
    ) -> Result<Self, IdentityError> {
        Self::load_or_issue_at(dir, region, ca, SystemTime::now())
    }

    pub(super) fn load_or_issue_at(
        dir: &Path,
        region: RegionId,
        ca: Option<&CertificateAuthority>,
        now: SystemTime,
    ) -> Result<Self, IdentityError> {
        key_file::prepare_directory(dir)?;
        let Some(ca) = ca else {
            let identity = Self::load_expired_too(dir, region)?;
            identity.refuse_expired(dir, seconds_since_1970(now))?;
            return Ok(identity);
        };
        let (key_path, cert_path) = (dir.join(REGION_KEY), dir.join(REGION_CERT));
        settle_root(dir, ca.certificate(), ca.federation())?;
        if key_file::read(&cert_path, Secrecy::Public)?.is_some() {
            let held = Self::load_expired_too(dir, region)?;
            if !held.wants_renewal(seconds_since_1970(now)) {
                return Ok(held);
            }
        }
        if key_file::read(&key_path, Secrecy::Secret)?.is_none() {
            let key = KeyPair::generate_for(&PKCS_ED25519)?;
            key_file::create(&key_path, &key.serialize_pem(), Secrecy::Secret)?;
        }
        let key = authority::read_key(&key_path)?;
        let leaf = ca.sign(region, &key, now, LEAF_LIFE)?;
        let identity = Self::assemble(&key, leaf, ca.certificate().clone())?;
        identity.save_certificate(dir)?;
        Ok(identity)
    }

    /// Writes key, certificate and root into `dir`, so that [`load`](Self::load) finds them.
    ///
    /// # Errors
    /// [`IdentityError::OtherFederation`], [`IdentityError::OtherRegion`] or
    /// [`IdentityError::KeyMismatch`] if the directory holds another identity already: keys are
    /// never overwritten. [`IdentityError::Io`].
    pub fn save(&self, dir: &Path) -> Result<(), IdentityError> {
        key_file::prepare_directory(dir)?;
        let (key_path, cert_path) = (dir.join(REGION_KEY), dir.join(REGION_CERT));
        settle_root(dir, &self.0.root, self.federation())?;
        if key_file::read(&cert_path, Secrecy::Public)?.is_some() {
            Self::load_expired_too(dir, self.region())?;
        }
        if !key_file::create(&key_path, &self.0.key_pem, Secrecy::Secret)? {
            let held = authority::read_key(&key_path)?;
            if held.serialized_der() != self.0.key_der.secret_pkcs8_der() {
                return Err(IdentityError::KeyMismatch { key: key_path, certificate: cert_path });
            }
        }
        self.save_certificate(dir)
    }

    /// An identity that lives in memory only, under `ca`; for tests.
    ///
    /// # Errors
    /// [`IdentityError::Crypto`].
    pub fn ephemeral(region: RegionId, ca: &CertificateAuthority) -> Result<Self, IdentityError> {
        ca.issue(region, LEAF_LIFE)
    }

    /// The region's number.
    pub fn region(&self) -> RegionId {
        self.0.region
    }

    /// SHA-256 of the region's public key: what the registry holds for its number.
    pub fn key_hash(&self) -> KeyHash {
        self.0.key_hash
    }

    /// The region's key, for signing what it writes into the registry.
    ///
    /// # Errors
    /// [`IdentityError::Crypto`] where it is no Ed25519 key.
    pub fn signing_key(&self) -> Result<RegionKey, IdentityError> {
        RegionKey::from_pkcs8(self.0.key_der.secret_pkcs8_der())
            .map_err(|error| IdentityError::Crypto { detail: error.to_string() })
    }

    /// The federation that the certificate leads to.
    pub fn federation(&self) -> &FederationId {
        &self.0.federation
    }

    pub(super) fn assemble(
        key: &KeyPair,
        leaf: CertificateDer<'static>,
        root: CertificateDer<'static>,
    ) -> Result<Self, IdentityError> {
        let crypto = |detail: String| IdentityError::Crypto { detail };
        let anchor = anchor_from_trusted_cert(&root).map_err(|error| crypto(error.to_string()))?;
        let parsed = EndEntityCert::try_from(&leaf).map_err(|error| crypto(error.to_string()))?;
        let (federation, region) = certificate::claim(&parsed).map_err(crypto)?;
        let validity = certificate::validity(&parsed, &anchor)
            .ok_or_else(|| crypto("the root has not signed this certificate".to_owned()))?;
        let inner = Inner {
            region,
            federation,
            key_hash: certificate::key_hash(&parsed),
            key_pem: key.serialize_pem(),
            key_der: PrivatePkcs8KeyDer::from(key.serialize_der()),
            validity,
            certificate: leaf.clone(),
            root: root.clone(),
        };
        Ok(Self(Arc::new(inner)))
    }

    /// What TLS presents: the leaf alone, since both ends have the root.
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.0.certificate.clone()]
    }

    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.0.key_der.clone_key())
    }

    /// A verifier for one handshake, or for all handshakes of an accepting end.
    pub(crate) fn verifier(&self, expect: Option<RegionId>) -> Result<PeerVerifier, IdentityError> {
        let anchor = anchor_from_trusted_cert(&self.0.root)
            .map_err(|error| IdentityError::Crypto { detail: error.to_string() })?
            .to_owned();
        Ok(PeerVerifier::new(anchor, self.0.federation.clone(), expect))
    }

    /// The TLS server name to ask for when dialing `region`.
    pub(crate) fn server_name(&self, region: Option<RegionId>) -> String {
        match region {
            Some(region) => certificate::region_dns(&self.0.federation, region),
            None => format!("any.{}.fedist.internal", self.0.federation),
        }
    }

    fn load_expired_too(dir: &Path, region: RegionId) -> Result<Self, IdentityError> {
        let (key_path, cert_path) = (dir.join(REGION_KEY), dir.join(REGION_CERT));
        let text =
            key_file::read(&cert_path, Secrecy::Public)?.ok_or_else(|| IdentityError::Missing {
                what: "region certificate",
                path: cert_path.clone(),
                hint: "have it issued by the federation's root",
            })?;
        let damaged = |detail: String| key_file::damaged(&cert_path, detail);
        let leaf = CertificateDer::from_pem_slice(text.as_bytes())
            .map_err(|error| damaged(error.to_string()))?;
        let (root, federation) = authority::read_root(&dir.join(CA_CERT))?;
        let key = authority::read_key(&key_path)?;
        {
            let parsed =
                EndEntityCert::try_from(&leaf).map_err(|error| damaged(error.to_string()))?;
            let (theirs, holds) = certificate::claim(&parsed).map_err(damaged)?;
            if theirs != federation {
                return Err(IdentityError::OtherFederation {
                    path: cert_path,
                    holds: theirs.to_string(),
                    asked: federation,
                });
            }
            if holds != region {
                return Err(IdentityError::OtherRegion { path: cert_path, holds, asked: region });
            }
            use rcgen::PublicKeyData;
            if parsed.subject_public_key_info().as_ref() != key.subject_public_key_info() {
                return Err(IdentityError::KeyMismatch { key: key_path, certificate: cert_path });
            }
        }
        Self::assemble(&key, leaf, root).map_err(|error| match error {
            IdentityError::Crypto { detail } => key_file::damaged(&cert_path, detail),
            other => other,
        })
    }

    fn save_certificate(&self, dir: &Path) -> Result<(), IdentityError> {
        let leaf = certificate::pem(&self.0.certificate);
        key_file::replace(&dir.join(REGION_CERT), &leaf, Secrecy::Public)
    }

    fn wants_renewal(&self, now: u64) -> bool {
        let (from, until) = self.0.validity;
        let two_thirds = until.saturating_sub(from) / 3 * 2;
        now >= from.saturating_add(two_thirds)
    }

    fn refuse_expired(&self, dir: &Path, now: u64) -> Result<(), IdentityError> {
        let (_, until) = self.0.validity;
        if now <= until {
            return Ok(());
        }
        Err(IdentityError::Expired { path: dir.join(REGION_CERT), since: certificate::date(until) })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({} of {})", self.0.region, self.0.federation)
    }
}

/// Makes sure that `ca.pem` in `dir` is there and of this federation.
fn settle_root(
    dir: &Path,
    root: &CertificateDer<'_>,
    asked: &FederationId,
) -> Result<(), IdentityError> {
    let path = dir.join(CA_CERT);
    if key_file::read(&path, Secrecy::Public)?.is_none() {
        return key_file::replace(&path, &certificate::pem(root), Secrecy::Public);
    }
    let (_, holds) = authority::read_root(&path)?;
    if holds == *asked {
        return Ok(());
    }
    Err(IdentityError::OtherFederation { path, holds: holds.to_string(), asked: asked.clone() })
}

fn seconds_since_1970(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

const REGION_CERT: &str = "region.pem";
const REGION_KEY: &str = "region.key";
