//! How links fail to come up, to take a frame, and how they end.

use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;

use crate::identity::PeerRefused;
use crate::wire::{Class, WireError};

/// Why a frame was not queued. Nothing was queued; the caller still has its bytes.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LinkSendError {
    /// The frame's class is at its bound. Retry when the link has written some of it.
    #[error("the link's {class:?} queue is full")]
    Full {
        /// The class that is full.
        class: Class,
    },
    /// The link has ended or is ending. Retry on another link.
    #[error("the link is closed")]
    Closed,
    /// The payload is above the limit of one frame. Never retry; split it.
    #[error("payload of {len} bytes is too long for a frame; the limit is {max}")]
    TooLarge {
        /// The payload's length.
        len: usize,
        /// The greatest length allowed.
        max: usize,
    },
}

/// Why a link ended. It is gone; dial again if it is still wanted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The peer closed it and said why.
    #[error("the peer closed the link: {reason}")]
    ClosedByPeer {
        /// The peer's words, shortened and without control characters.
        reason: String,
    },
    /// This end closed it.
    #[error("the link was closed here: {reason}")]
    ClosedHere {
        /// The reason given.
        reason: String,
    },
    /// Nothing was heard for the idle timeout.
    #[error("nothing was heard from the peer for too long")]
    TimedOut,
    /// The peer broke the protocol; this end closed the link.
    #[error("the peer broke the protocol: {0}")]
    Protocol(#[from] ProtocolViolation),
    /// The peer took back the handshake after it had seen our certificate. Dialing again gives the
    /// same until one end's certificate or clock changes.
    #[error("the peer refused this region and says: {reason}")]
    RefusedByPeer {
        /// The peer's words, shortened and without control characters.
        reason: String,
    },
    /// The connection broke.
    #[error("the link was lost: {detail}")]
    Lost {
        /// What the transport says.
        detail: String,
    },
}

/// What a peer did that no correct peer does.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProtocolViolation {
    /// The bytes are no frame.
    #[error("bad frame header, {0}")]
    BadFrame(#[from] WireError),
    /// More streams than there are classes.
    #[error("more than three streams")]
    ExtraStream,
    /// A second stream of a class.
    #[error("a second stream of class {0:?}")]
    RepeatedClass(Class),
    /// The first byte of a stream names no class.
    #[error("a stream of unknown class {0}")]
    UnknownClass(u8),
    /// A frame on the stream of another class.
    #[error("a {frame:?} frame on the {stream:?} stream")]
    WrongClass {
        /// The class of the stream.
        stream: Class,
        /// The class in the frame's header.
        frame: Class,
    },
    /// A stream ended inside a frame or before it named its class, or was reset.
    #[error("a stream was cut off inside a frame")]
    CutOff,
}

/// Why no link came up. Nothing is left behind; retry as each variant says.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum DialError {
    /// The address is not `host:port` (or `memory:<region>` in the memory fabric). Never retry.
    #[error("malformed address ({address}); an address is {form}")]
    BadAddress {
        /// The address given.
        address: String,
        /// What it should look like.
        form: &'static str,
    },
    /// The host name leads nowhere. Retry later, or correct it.
    #[error("cannot resolve address ({address}): {detail}")]
    Unresolved {
        /// The address given.
        address: String,
        /// The resolver's text.
        detail: String,
    },
    /// Nobody answered. Retry later.
    #[error("no answer from {address} within {} ms; check that the peer runs and that UDP gets through", after.as_millis())]
    TimedOut {
        /// The address tried last.
        address: String,
        /// How long.
        after: Duration,
    },
    /// The system or the peer's machine refused. Retry later.
    #[error("cannot reach {address}: {detail}")]
    Unreachable {
        /// The address tried last.
        address: String,
        /// What the transport says.
        detail: String,
    },
    /// Whoever answered is not whom we may speak to.
    #[error("refused the peer at {address}: {reason}")]
    PeerRefused {
        /// The address that answered.
        address: String,
        /// What is wrong with its certificate.
        #[source]
        reason: PeerRefused,
    },
    /// The peer refused us, or is too busy. Retry later.
    #[error("the peer at {address} refused the connection and says: {reason}")]
    RefusedByPeer {
        /// The address that answered.
        address: String,
        /// The peer's words, shortened and without control characters.
        reason: String,
    },
    /// The peer speaks another version of the wire protocol. Retry after one end was updated.
    #[error(
        "the peer at {address} does not speak this wire version (ours is {ours}); run the same version on both ends"
    )]
    WireVersion {
        /// The address that answered.
        address: String,
        /// Our version, as offered.
        ours: &'static str,
    },
    /// This end's fabric has been closed. Never retry.
    #[error("this region's endpoint is closed")]
    Stopped,
}

/// Why somebody who called did not become a link. Only that caller is affected; keep accepting.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The caller's certificate was refused.
    #[error("refused {from}: {reason}")]
    PeerRefused {
        /// The caller's address.
        from: SocketAddr,
        /// What is wrong with its certificate.
        #[source]
        reason: PeerRefused,
    },
    /// The caller speaks another version of the wire protocol, or another protocol.
    #[error(
        "refused {from}: it offers {theirs}, this region speaks {ours}; run the same version on both ends"
    )]
    WireVersion {
        /// The caller's address.
        from: SocketAddr,
        /// What it offered.
        theirs: String,
        /// Our version.
        ours: &'static str,
    },
    /// The caller refused our certificate.
    #[error("{from} refused this region and says: {reason}")]
    RefusedByPeer {
        /// The caller's address.
        from: SocketAddr,
        /// The caller's words, shortened and without control characters.
        reason: String,
    },
    /// The caller did not finish its handshake in time.
    #[error("{from} did not finish its handshake within {} ms", after.as_millis())]
    TimedOut {
        /// The caller's address.
        from: SocketAddr,
        /// How long it had.
        after: Duration,
    },
    /// The handshake failed otherwise.
    #[error("handshake with {from} failed: {detail}")]
    Failed {
        /// The caller's address.
        from: SocketAddr,
        /// What the transport says.
        detail: String,
    },
}

/// A peer's words as they may be shown and logged: at most 300 characters, none of them control
/// characters.
pub(crate) fn peer_text(bytes: &[u8]) -> String {
    let shown = bytes.get(..1_200).unwrap_or(bytes);
    let text = String::from_utf8_lossy(shown);
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(300).collect()
}
