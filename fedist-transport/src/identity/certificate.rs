//! What our certificates say, and how to read it back.

use fedist_registry::{KeyHash, RegionId};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use webpki::{EndEntityCert, KeyUsage};

use super::FederationId;

/// Signatures that a certificate of ours may carry.
pub(super) static SIGNATURE_ALGORITHMS: &[&dyn rustls_pki_types::SignatureVerificationAlgorithm] =
    &[webpki::ring::ED25519];

/// The URI SAN of a region.
pub(super) fn region_uri(federation: &FederationId, region: RegionId) -> String {
    format!("fedist://{federation}/region/{region}")
}

/// The DNS SAN of a region, also the TLS server name that its dialer asks for.
pub(super) fn region_dns(federation: &FederationId, region: RegionId) -> String {
    format!("region-{region}.{federation}.fedist.internal")
}

/// Reads a region's URI SAN. Only the printed form is taken.
pub(super) fn parse_region_uri(uri: &str) -> Option<(FederationId, RegionId)> {
    let (federation, region) = uri.strip_prefix("fedist://")?.split_once("/region/")?;
    let (federation, region) = (federation.parse().ok()?, region.parse().ok()?);
    (region_uri(&federation, region) == uri).then_some((federation, region))
}

/// The federation and region that a certificate claims. Says nothing about whether that is true.
pub(super) fn claim(certificate: &EndEntityCert<'_>) -> Result<(FederationId, RegionId), String> {
    let mut uris = certificate.valid_uri_names();
    let (Some(uri), None) = (uris.next(), uris.next()) else {
        return Err("it must have exactly one URI name".to_owned());
    };
    let (federation, region) = parse_region_uri(uri)
        .ok_or("its URI name is not fedist://<federation>/region/<id>".to_owned())?;
    let mut names = certificate.valid_dns_names();
    let (Some(name), None) = (names.next(), names.next()) else {
        return Err("it must have exactly one DNS name".to_owned());
    };
    if name != region_dns(&federation, region) {
        return Err("its DNS name and its URI name disagree".to_owned());
    }
    Ok((federation, region))
}

/// SHA-256 over the certificate's public key (SubjectPublicKeyInfo, DER).
pub(super) fn key_hash(certificate: &EndEntityCert<'_>) -> KeyHash {
    KeyHash(Sha256::digest(certificate.subject_public_key_info().as_ref()).into())
}

/// Start and end of a certificate's validity in seconds since 1970, if `root` has signed it.
///
/// webpki keeps the two times to itself and names them only in its complaints; so ask for a
/// complaint about either.
pub(super) fn validity(
    certificate: &EndEntityCert<'_>,
    root: &TrustAnchor<'_>,
) -> Option<(u64, u64)> {
    let check_at = |seconds| {
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        verify_chain(certificate, &[], root, time, KeyUsage::client_auth()).err()
    };
    let Some(webpki::Error::CertNotValidYet { not_before, .. }) = check_at(0) else {
        return None;
    };
    let Some(webpki::Error::CertExpired { not_after, .. }) = check_at(FAR_FUTURE) else {
        return None;
    };
    // Both complaints come before the signature is looked at; this one does not.
    check_at(not_before.as_secs()).is_none().then_some((not_before.as_secs(), not_after.as_secs()))
}

/// The chain from a leaf to the federation's root.
pub(super) fn verify_chain(
    certificate: &EndEntityCert<'_>,
    intermediates: &[CertificateDer<'_>],
    root: &TrustAnchor<'_>,
    now: UnixTime,
    usage: KeyUsage,
) -> Result<(), webpki::Error> {
    let roots = [root.clone()];
    certificate
        .verify_for_usage(SIGNATURE_ALGORITHMS, &roots, intermediates, now, usage, None, None)
        .map(|_| ())
}

/// A certificate as PEM text (RFC 7468): base64 in lines of 64 characters.
pub(super) fn pem(certificate: &CertificateDer<'_>) -> String {
    let mut body = String::new();
    for (group, bytes) in certificate.chunks(3).enumerate() {
        if group > 0 && group % 16 == 0 {
            body.push('\n');
        }
        let byte = |at: usize| u32::from(bytes.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = (bits >> (18 - 6 * place)) & 0x3f;
            body.push(match digit {
                _ if place > bytes.len() => '=',
                0..=25 => char::from(b'A' + digit as u8),
                26..=51 => char::from(b'a' + (digit - 26) as u8),
                52..=61 => char::from(b'0' + (digit - 52) as u8),
                62 => '+',
                _ => '/',
            });
        }
    }
    format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
}

/// A time as people read it, UTC.
pub(super) fn date(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .map_or_else(|| format!("second {seconds}"), |time| time.to_string())
}

/// The year 9999, past any certificate.
const FAR_FUTURE: u64 = 253_402_300_000;
