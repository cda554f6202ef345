//! The check of a peer's certificate inside the TLS handshake; the same on both ends.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use fedist_registry::RegionId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::certificate::{self, SIGNATURE_ALGORITHMS};
use super::{FederationId, PeerIdentity, PeerRefused};

/// Decides whether the other end of a handshake may speak.
///
/// rustls passes an error on as text at best, so a refusal is also kept here for whoever made the
/// verifier; a dialer makes one per call.
#[derive(Debug)]
pub(crate) struct PeerVerifier {
    root: TrustAnchor<'static>,
    federation: FederationId,
    expect: Option<RegionId>,
    refused: Mutex<Option<PeerRefused>>,
}

impl PeerVerifier {
    pub(super) fn new(
        root: TrustAnchor<'static>,
        federation: FederationId,
        expect: Option<RegionId>,
    ) -> Self {
        Self { root, federation, expect, refused: Mutex::new(None) }
    }

    /// The last refusal, if there was one.
    pub(crate) fn take_refusal(&self) -> Option<PeerRefused> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), PeerRefused> {
        let certificate = EndEntityCert::try_from(end_entity).map_err(|error| {
            let detail = error.to_string();
            PeerRefused::Malformed { detail }
        })?;
        let claim = certificate::claim(&certificate);
        certificate::verify_chain(&certificate, intermediates, &self.root, now, usage)
            .map_err(|error| self.chain_refusal(error, claim.as_ref().ok()))?;
        let (federation, region) = claim.map_err(|detail| PeerRefused::Malformed { detail })?;
        if federation != self.federation {
            // Our own root signed it for a name that is not ours.
            return Err(PeerRefused::OtherFederation {
                theirs: federation,
                ours: self.federation.clone(),
            });
        }
        match self.expect {
            Some(expected) if expected != region => {
                Err(PeerRefused::OtherRegion { says: region, expected })
            }
            _ => Ok(()),
        }
    }

    /// A stranger's certificate fails by its chain before we may believe a word of it; what it
    /// claims is good enough to say why.
    fn chain_refusal(
        &self,
        error: webpki::Error,
        claim: Option<&(FederationId, RegionId)>,
    ) -> PeerRefused {
        match claim {
            Some((theirs, _)) if *theirs != self.federation => {
                return PeerRefused::OtherFederation {
                    theirs: theirs.clone(),
                    ours: self.federation.clone(),
                };
            }
            _ => {}
        }
        match error {
            webpki::Error::CertExpired { not_after, .. } => {
                PeerRefused::Expired { since: certificate::date(not_after.as_secs()) }
            }
            webpki::Error::CertNotValidYet { not_before, .. } => {
                PeerRefused::NotYetValid { from: certificate::date(not_before.as_secs()) }
            }
            other => PeerRefused::Untrusted { detail: other.to_string() },
        }
    }

    fn note(&self, refused: PeerRefused) -> rustls::Error {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(refused.clone());
        // The kind decides the TLS alert; the text travels to the peer in QUIC's close frame, where
        // `Other` is the only kind that keeps ours.
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Plain(
            refused,
        )))))
    }
}

/// A refusal as rustls keeps it. rustls puts the debug form into the text for the other end; ours reads
/// like a sentence, so that [`told_refusal`] can give it to people there.
struct Plain(PeerRefused);

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for Plain {}

/// The sentence in what a peer's rustls said when it refused a certificate; all of it if there is none.
pub(crate) fn told_refusal(text: &str) -> &str {
    text.split_once("Other(OtherError(")
        .map_or(text, |(_, rest)| rest.strip_suffix("))").unwrap_or(rest))
}

/// The proven identity of a peer whose chain one of our verifiers has let through.
pub(crate) fn peer_from_chain(chain: &[CertificateDer<'_>]) -> Option<PeerIdentity> {
    let certificate = EndEntityCert::try_from(chain.first()?).ok()?;
    let (_, region) = certificate::claim(&certificate).ok()?;
    Some(PeerIdentity { region, key_hash: certificate::key_hash(&certificate) })
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end_entity, intermediates, now, KeyUsage::server_auth())
            .map(|()| ServerCertVerified::assertion())
            .map_err(|refused| self.note(refused))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(refuse_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &HANDSHAKE_SIGNATURES)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(end_entity, intermediates, now, KeyUsage::client_auth())
            .map(|()| ClientCertVerified::assertion())
            .map_err(|refused| self.note(refused))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(refuse_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &HANDSHAKE_SIGNATURES)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

fn refuse_tls12() -> rustls::Error {
    rustls::Error::General("links are TLS 1.3 only".to_owned())
}

static HANDSHAKE_SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: SIGNATURE_ALGORITHMS,
    mapping: &[(SignatureScheme::ED25519, SIGNATURE_ALGORITHMS)],
};
