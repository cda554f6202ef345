//! rustls as links use it: TLS 1.3, certificates on both ends, one ALPN, nothing remembered.

use std::sync::{Arc, Mutex, PoisonError};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::Resumption;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::identity::{Identity, IdentityError, PeerVerifier};

/// The protocol and version that both ends must name in the handshake.
pub const ALPN: &str = "fedist/1";

/// What all handshakes of an endpoint share.
pub(super) struct TlsMaterial {
    provider: Arc<rustls::crypto::CryptoProvider>,
    key: Arc<CertifiedKey>,
}

impl TlsMaterial {
    pub(super) fn new(identity: &Identity) -> Result<Self, IdentityError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key =
            provider.key_provider.load_private_key(identity.private_key()).map_err(crypto_error)?;
        let key = Arc::new(CertifiedKey::new(identity.chain(), key));
        Ok(Self { provider, key })
    }

    /// The dialing end of one handshake.
    pub(super) fn client(
        &self,
        verifier: Arc<PeerVerifier>,
        alpn: &str,
    ) -> Result<Arc<QuicClientConfig>, IdentityError> {
        let resolver = SingleCertAndKey::from(Arc::clone(&self.key));
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(crypto_error)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        config.resumption = Resumption::disabled();
        let config = QuicClientConfig::try_from(config).map_err(crypto_error)?;
        Ok(Arc::new(config))
    }

    /// The accepting end of one handshake; also gives what the caller offers.
    pub(super) fn server(
        &self,
        verifier: Arc<PeerVerifier>,
    ) -> Result<(Arc<QuicServerConfig>, Arc<Offer>), IdentityError> {
        let offer = Arc::new(Offer { key: Arc::clone(&self.key), protocols: Mutex::new(None) });
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(crypto_error)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&offer) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![ALPN.as_bytes().to_vec()];
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        let config = QuicServerConfig::try_from(config).map_err(crypto_error)?;
        Ok((Arc::new(config), offer))
    }
}

/// Our certificate for a caller, and the protocols that the caller named when it asked for it: the
/// only moment at which rustls shows them.
#[derive(Debug)]
pub(super) struct Offer {
    key: Arc<CertifiedKey>,
    protocols: Mutex<Option<String>>,
}

impl Offer {
    /// The protocols as text, if the handshake came that far.
    pub(super) fn protocols(&self) -> Option<String> {
        self.protocols.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for Offer {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.alpn().into_iter().flatten().take(4);
        let named: Vec<String> = named.map(crate::link::peer_text).collect();
        let text = if named.is_empty() { "no protocol".to_owned() } else { named.join(", ") };
        *self.protocols.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
        Some(Arc::clone(&self.key))
    }
}

fn crypto_error(error: impl ToString) -> IdentityError {
    IdentityError::Crypto { detail: error.to_string() }
}
