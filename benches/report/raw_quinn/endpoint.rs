//! Sockets, certificates and settings of the floor: the values of FeDist's links.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use quinn::congestion::CubicConfig;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Endpoint, EndpointConfig, MtuDiscoveryConfig, TokioRuntime, TransportConfig, VarInt};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PKCS_ED25519,
};
use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use socket2::{Domain, Protocol, Socket, Type};

use crate::run::Run;

pub(super) const SERVER_NAME: &str = "floor.internal";

/// An endpoint that takes clients with a certificate of the run's root, and dials servers of it.
/// The first process of a run makes the root.
pub(super) fn open(run: &Run) -> Result<Endpoint> {
    if run.servers.is_empty() {
        make_root(run)?;
    }
    let (roots, chain, key) = identity(run)?;
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots.clone()), provider()).build()?;
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain.clone(), key.clone_key())?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.send_tls13_tickets = 0;
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    server.transport_config(transport(run));

    let mut tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.resumption = Resumption::disabled();
    let mut client = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    client.transport_config(transport(run));

    let mut endpoint = endpoint(run, server)?;
    endpoint.set_default_client_config(client);
    Ok(endpoint)
}

fn endpoint(run: &Run, server: quinn::ServerConfig) -> Result<Endpoint> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    let mut config = EndpointConfig::default();
    config.max_udp_payload_size(run.mtu.max(1472)).map_err(|error| anyhow!("{error}"))?;
    Ok(Endpoint::new(config, Some(server), UdpSocket::from(socket), Arc::new(TokioRuntime))?)
}

/// The same as in `fedist-transport/src/quic/config.rs`.
fn transport(run: &Run) -> Arc<TransportConfig> {
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(run.mtu);
    let mut congestion = CubicConfig::default();
    congestion.initial_window(128 << 10);
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(3))
        .stream_receive_window(VarInt::from_u32(8 << 20))
        .receive_window(VarInt::from_u32(20 << 20))
        .send_window(20 << 20)
        .max_idle_timeout(Some(VarInt::from_u32(15_000).into()))
        .keep_alive_interval(None)
        .initial_mtu(1200)
        .mtu_discovery_config(Some(discovery))
        .initial_rtt(Duration::from_millis(100))
        .congestion_controller_factory(Arc::new(congestion))
        .crypto_buffer_size(8 << 10)
        .datagram_receive_buffer_size(None);
    Arc::new(transport)
}

/// Makes a root whose certificate and key both processes of the run find in its directory.
fn make_root(run: &Run) -> Result<()> {
    let key = KeyPair::generate_for(&PKCS_ED25519)?;
    let certificate = root_params().self_signed(&key)?;
    fs::write(run.directory.join(ROOT_KEY), key.serialize_der())?;
    fs::write(run.directory.join(ROOT_CERTIFICATE), certificate.der())?;
    Ok(())
}

type OwnIdentity = (RootCertStore, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A new key with a certificate by the run's root.
fn identity(run: &Run) -> Result<OwnIdentity> {
    let root = PrivatePkcs8KeyDer::from(fs::read(run.directory.join(ROOT_KEY))?);
    let root = KeyPair::from_pkcs8_der_and_sign_algo(&root, &PKCS_ED25519)?;
    let mut roots = RootCertStore::empty();
    roots.add(fs::read(run.directory.join(ROOT_CERTIFICATE))?.into())?;
    let key = KeyPair::generate_for(&PKCS_ED25519)?;
    let mut params = CertificateParams::new([SERVER_NAME.to_owned()])?;
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let leaf = params.signed_by(&key, &Issuer::new(root_params(), &root))?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    Ok((roots, vec![leaf.der().clone()], key.into()))
}

fn root_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

const ALPN: &[u8] = b"floor/1";
const SOCKET_BUFFER: usize = 4 << 20;
const ROOT_KEY: &str = "floor-root.key";
const ROOT_CERTIFICATE: &str = "floor-root.der";
