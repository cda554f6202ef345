//! The root of a federation.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fedist_registry::RegionId;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SanType,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use time::OffsetDateTime;
use webpki::EndEntityCert;

use super::key_file::{self, Secrecy};
use super::{FederationId, Identity, IdentityError, certificate};

/// The root key of a federation, which signs the certificates of its regions.
///
/// It lives in two files of one directory: `ca.key` (for its owner only) and `ca.pem` (for
/// everybody). Whoever has the key decides who is a region; keep it where the registry's master
/// runs, or offline. Clones share the key. Its `Debug` form names the federation only.
#[derive(Clone)]
pub struct CertificateAuthority {
    key: Arc<KeyPair>,
    certificate: CertificateDer<'static>,
    federation: FederationId,
}

impl CertificateAuthority {
    /// The root in `dir`, made if there is none; the flag says whether it was made now. Of several
    /// processes that start at once, one makes the key and all get the same.
    ///
    /// # Errors
    /// See [`IdentityError`]. In particular [`Missing`](IdentityError::Missing) for a directory with
    /// a root's certificate and no key: that is a member's directory, and a second root made there
    /// would split the federation.
    pub fn load_or_create(dir: &Path) -> Result<(Self, bool), IdentityError> {
        key_file::prepare_directory(dir)?;
        let (key_path, cert_path) = (dir.join(CA_KEY), dir.join(CA_CERT));
        let have_key = key_file::read(&key_path, Secrecy::Secret)?.is_some();
        let have_cert = key_file::read(&cert_path, Secrecy::Public)?.is_some();
        if have_cert {
            return Ok((Self::load(dir)?, false));
        }
        let mut created = false;
        if !have_key {
            let key = KeyPair::generate_for(&PKCS_ED25519)?;
            created = key_file::create(&key_path, &key.serialize_pem(), Secrecy::Secret)?;
        }
        // From here on the key on disk counts, whoever made it. The federation is named after the
        // key, so it does not matter whose certificate for it is the last one written.
        let authority = Self::self_signed(read_key(&key_path)?)?;
        let pem = certificate::pem(&authority.certificate);
        key_file::replace(&cert_path, &pem, Secrecy::Public)?;
        Ok((authority, created))
    }

    /// The root in `dir`.
    ///
    /// # Errors
    /// See [`IdentityError`]; nothing is written.
    pub fn load(dir: &Path) -> Result<Self, IdentityError> {
        let (key_path, cert_path) = (dir.join(CA_KEY), dir.join(CA_CERT));
        let key = read_key(&key_path)?;
        let (certificate, federation) = read_root(&cert_path)?;
        if FederationId::of_key(&key.subject_public_key_info()) != federation {
            return Err(IdentityError::KeyMismatch { key: key_path, certificate: cert_path });
        }
        Ok(Self { key: Arc::new(key), certificate, federation })
    }

    /// A root that lives in memory only, for tests.
    ///
    /// # Errors
    /// [`IdentityError::Crypto`] if the system gives no randomness.
    pub fn ephemeral() -> Result<Self, IdentityError> {
        Self::self_signed(KeyPair::generate_for(&PKCS_ED25519)?)
    }

    /// The federation of this root.
    pub fn federation(&self) -> &FederationId {
        &self.federation
    }

    /// A new key for `region` and a certificate for it, valid from now on.
    ///
    /// # Errors
    /// [`IdentityError::Crypto`].
    pub fn issue(&self, region: RegionId, valid: Duration) -> Result<Identity, IdentityError> {
        self.issue_at(region, SystemTime::now(), valid)
    }

    /// A certificate for `region` and a key that it keeps to itself. `public_key` is the key's
    /// SubjectPublicKeyInfo (DER).
    ///
    /// # Errors
    /// [`IdentityError::UnsupportedKey`] if that is no Ed25519 key; [`IdentityError::Crypto`].
    pub fn issue_for_key(
        &self,
        region: RegionId,
        public_key: &[u8],
        valid: Duration,
    ) -> Result<CertificateDer<'static>, IdentityError> {
        let key = Ed25519Key::from_spki(public_key).ok_or(IdentityError::UnsupportedKey)?;
        self.sign(region, &key, SystemTime::now(), valid)
    }

    pub(crate) fn issue_at(
        &self,
        region: RegionId,
        from: SystemTime,
        valid: Duration,
    ) -> Result<Identity, IdentityError> {
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let certificate = self.sign(region, &key, from, valid)?;
        Identity::assemble(&key, certificate, self.certificate.clone())
    }

    pub(super) fn sign(
        &self,
        region: RegionId,
        public_key: &impl PublicKeyData,
        from: SystemTime,
        valid: Duration,
    ) -> Result<CertificateDer<'static>, IdentityError> {
        let mut params = CertificateParams::default();
        let from = OffsetDateTime::from(from);
        params.not_before = from - CLOCK_SKEW;
        params.not_after = from
            .checked_add(valid.try_into().unwrap_or(time::Duration::MAX))
            .unwrap_or(params.not_after);
        params.distinguished_name = DistinguishedName::new();
        let uri = certificate::region_uri(&self.federation, region);
        let dns = certificate::region_dns(&self.federation, region);
        params.distinguished_name.push(DnType::CommonName, dns.as_str());
        params.subject_alt_names = vec![
            SanType::URI(uri.as_str().try_into()?),
            SanType::DnsName(dns.as_str().try_into()?),
        ];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::new(root_params(&self.federation), &*self.key);
        Ok(params.signed_by(public_key, &issuer)?.into())
    }

    pub(super) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// A leaf of ours with whatever names a test wants.
    #[cfg(test)]
    pub(super) fn sign_names(&self, names: Vec<SanType>) -> CertificateDer<'static> {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let issuer = Issuer::new(root_params(&self.federation), &*self.key);
        params.signed_by(&key, &issuer).unwrap().into()
    }

    fn self_signed(key: KeyPair) -> Result<Self, IdentityError> {
        let federation = FederationId::of_key(&key.subject_public_key_info());
        let certificate = root_params(&federation).self_signed(&key)?.into();
        Ok(Self { key: Arc::new(key), certificate, federation })
    }
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateAuthority({})", self.federation)
    }
}

/// A public key that somebody else holds the other half of.
struct Ed25519Key([u8; 32]);

impl Ed25519Key {
    fn from_spki(spki: &[u8]) -> Option<Self> {
        let key = spki.strip_prefix(&ED25519_SPKI_PREFIX)?;
        key.try_into().ok().map(Self)
    }
}

impl PublicKeyData for Ed25519Key {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_ED25519
    }
}

/// The root certificate in a file, and the federation that its key names.
pub(super) fn read_root(
    path: &Path,
) -> Result<(CertificateDer<'static>, FederationId), IdentityError> {
    let text = key_file::read(path, Secrecy::Public)?.ok_or_else(|| IdentityError::Missing {
        what: "federation root certificate",
        path: path.to_owned(),
        hint: "copy ca.pem from the federation's first region",
    })?;
    let certificate = CertificateDer::from_pem_slice(text.as_bytes())
        .map_err(|error| key_file::damaged(path, error))?;
    let federation = federation_of(&certificate).map_err(|error| key_file::damaged(path, error))?;
    Ok((certificate, federation))
}

/// The federation of a root certificate.
pub(super) fn federation_of(root: &CertificateDer<'_>) -> Result<FederationId, webpki::Error> {
    // The check that it may sign others is made by webpki with each chain.
    let parsed = EndEntityCert::try_from(root)?;
    Ok(FederationId::of_key(parsed.subject_public_key_info().as_ref()))
}

pub(super) fn read_key(path: &Path) -> Result<KeyPair, IdentityError> {
    let text = key_file::read(path, Secrecy::Secret)?.ok_or_else(|| IdentityError::Missing {
        what: "key",
        path: path.to_owned(),
        hint: "restore it from a copy",
    })?;
    KeyPair::from_pkcs8_pem_and_sign_algo(&text, &PKCS_ED25519)
        .map_err(|error| key_file::damaged(path, error))
}

/// Everything about the root certificate follows from its key, so a lost `ca.pem` can be made again.
fn root_params(federation: &FederationId) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let name = format!("FeDist federation {federation}");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

pub(super) const CA_CERT: &str = "ca.pem";
const CA_KEY: &str = "ca.key";

/// A certificate made now is valid for machines whose clocks are this much behind.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);

/// The SubjectPublicKeyInfo of an Ed25519 key up to the 32 bytes of the key (RFC 8410, section 4).
const ED25519_SPKI_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
