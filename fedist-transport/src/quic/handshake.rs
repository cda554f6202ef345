//! From a QUIC connection to a link, and how that fails.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use quinn::{Connection, ConnectionError, SendStream, TransportErrorCode};
use rustls_pki_types::CertificateDer;

use super::reader::QuicReader;
use super::tls::{ALPN, Offer};
use super::writer::{QuicCarrier, QuicWriter, Streams, is_tls, refusal_text};
use crate::identity::{PeerVerifier, peer_from_chain};
use crate::link::{
    AcceptError, DialError, Link, LinkCore, LinkLimits, LinkRx, LinkTx, LinkWriter, NodeClock,
    ReaderKind, WriterKind, peer_text,
};
use crate::wire::Class;

/// Opens our streams on a connection whose handshake is done. Nothing here waits for the peer.
pub(super) async fn link_up(
    connection: Connection,
    dialed: bool,
    limits: &LinkLimits,
    clock: NodeClock,
    handshake: Duration,
    violations: Arc<AtomicU64>,
) -> Result<Link, ConnectionError> {
    let chain = connection
        .peer_identity()
        .and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
    let Some(peer) = chain.and_then(|chain| peer_from_chain(&chain)) else {
        // The verifier has let through what it cannot read: impossible, and not a link.
        connection.close(quinn::VarInt::from_u32(1), b"unreadable certificate");
        return Err(ConnectionError::LocallyClosed);
    };
    let streams = [
        open_stream(&connection, Class::Control).await?,
        open_stream(&connection, Class::Message).await?,
        open_stream(&connection, Class::Bulk).await?,
    ];
    let streams = Streams::new(streams);
    let carrier =
        Box::new(QuicCarrier { connection: connection.clone(), streams: Arc::clone(&streams) });
    let core = LinkCore::new(limits, carrier, clock, handshake);
    let remote_address = connection.remote_address().to_string();
    let writer = QuicWriter::new(Arc::clone(&core), connection.clone(), streams);
    let reader = QuicReader::new(Arc::clone(&core), connection, violations);
    Ok(Link {
        peer,
        dialed,
        tx: LinkTx(core),
        writer: LinkWriter(WriterKind::Quic(writer)),
        rx: LinkRx(ReaderKind::Quic(Box::new(reader))),
        remote_address,
    })
}

pub(super) fn dial_error(
    error: ConnectionError,
    address: SocketAddr,
    timeout: Duration,
    verifier: &PeerVerifier,
) -> DialError {
    let address = address.to_string();
    if let Some(reason) = verifier.take_refusal() {
        return DialError::PeerRefused { address, reason };
    }
    match error {
        ConnectionError::ConnectionClosed(close) if close.error_code == no_alpn() => {
            DialError::WireVersion { address, ours: ALPN }
        }
        ConnectionError::VersionMismatch => DialError::WireVersion { address, ours: ALPN },
        ConnectionError::ConnectionClosed(close)
            if is_tls(close.error_code)
                || close.error_code == TransportErrorCode::CONNECTION_REFUSED =>
        {
            let reason = match refusal_text(&close.reason) {
                text if text.is_empty() => "it takes no more callers now".to_owned(),
                text => text,
            };
            DialError::RefusedByPeer { address, reason }
        }
        ConnectionError::ApplicationClosed(close) => {
            DialError::RefusedByPeer { address, reason: peer_text(&close.reason) }
        }
        ConnectionError::TransportError(error) if error.code == no_alpn() => {
            DialError::WireVersion { address, ours: ALPN }
        }
        ConnectionError::TimedOut => DialError::TimedOut { address, after: timeout },
        ConnectionError::LocallyClosed => DialError::Stopped,
        other => {
            DialError::Unreachable { address, detail: peer_text(other.to_string().as_bytes()) }
        }
    }
}

pub(super) fn accept_error(
    error: ConnectionError,
    from: SocketAddr,
    timeout: Duration,
    verifier: &PeerVerifier,
    offer: &Offer,
) -> AcceptError {
    if let Some(reason) = verifier.take_refusal() {
        return AcceptError::PeerRefused { from, reason };
    }
    match (error, offer.protocols()) {
        (ConnectionError::TransportError(error), Some(theirs)) if error.code == no_alpn() => {
            AcceptError::WireVersion { from, theirs, ours: ALPN }
        }
        (ConnectionError::ConnectionClosed(close), _) if is_tls(close.error_code) => {
            AcceptError::RefusedByPeer { from, reason: refusal_text(&close.reason) }
        }
        (ConnectionError::TimedOut, _) => AcceptError::TimedOut { from, after: timeout },
        (other, _) => AcceptError::Failed { from, detail: peer_text(other.to_string().as_bytes()) },
    }
}

async fn open_stream(connection: &Connection, class: Class) -> Result<SendStream, ConnectionError> {
    let mut stream = connection.open_uni().await?;
    // Lower classes send only what the higher ones leave of a packet.
    let _ = stream.set_priority(-(class as i32));
    match stream.write_all(&[class as u8]).await {
        Ok(()) => Ok(stream),
        Err(quinn::WriteError::ConnectionLost(error)) => Err(error),
        Err(_) => Err(connection.close_reason().unwrap_or(ConnectionError::LocallyClosed)),
    }
}

/// The TLS alert `no_application_protocol` as a QUIC error code (RFC 7301, RFC 9001).
fn no_alpn() -> TransportErrorCode {
    TransportErrorCode::crypto(120)
}
