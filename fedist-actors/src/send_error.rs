//! How a send, a tell or an ask can fail. A failed send hands the message back.

use std::{fmt, time::Duration};

use fedist_registry::{RegionId, RegionPid};

/// Why a message was not accepted; the message comes back with it.
///
/// Nothing was sent in any of the cases. `Full`, `NoRoute` and `NotLive` pass with time and may
/// be tried again; the others need a change on one of the two sides.
#[non_exhaustive]
pub enum SendError<M> {
    /// The mailbox (same region) or the queue towards the region is at its bound.
    Full(M),
    /// The region is known, but no path leads to it now and no session is open.
    NoRoute(RegionId, M),
    /// The registry copy of this node has no such region.
    UnknownRegion(RegionId, M),
    /// This node has not finished joining the federation.
    NotLive(M),
    /// The encoded message is longer than a message may be.
    TooLarge {
        /// Length of the encoded message in bytes.
        len: usize,
        /// The longest allowed, in bytes.
        max: usize,
        /// The message.
        message: M,
    },
    /// The message's `Serialize` failed.
    Encode(crate::EncodeError, M),
    /// No actor of this node has the pid (any more).
    NoActor(RegionPid, M),
    /// The actor is not exported, or not for this type of message.
    Denied(RegionPid, M),
    /// The address was decoded outside of a node; bind it with `bind(&node)`.
    Unbound(M),
    /// The node is stopped.
    Stopped(M),
}

impl<M> SendError<M> {
    /// The message that was not sent.
    pub fn into_message(self) -> M {
        match self {
            SendError::Full(m)
            | SendError::NoRoute(_, m)
            | SendError::UnknownRegion(_, m)
            | SendError::NotLive(m)
            | SendError::TooLarge { message: m, .. }
            | SendError::Encode(_, m)
            | SendError::NoActor(_, m)
            | SendError::Denied(_, m)
            | SendError::Unbound(m)
            | SendError::Stopped(m) => m,
        }
    }

    /// The same reason without the message.
    pub fn reason(&self) -> AskError {
        match self {
            SendError::Full(_) => AskError::Full,
            SendError::NoRoute(region, _) => AskError::NoRoute(*region),
            SendError::UnknownRegion(region, _) => AskError::UnknownRegion(*region),
            SendError::NotLive(_) => AskError::NotLive,
            SendError::TooLarge { len, max, .. } => {
                AskError::TooLarge { len: *len as u64, max: *max as u64 }
            }
            SendError::Encode(error, _) => AskError::Encode(error.to_string()),
            SendError::NoActor(pid, _) => AskError::NoActor(*pid),
            SendError::Denied(pid, _) => AskError::Denied(*pid),
            SendError::Unbound(_) => AskError::Unbound,
            SendError::Stopped(_) => AskError::Stopped,
        }
    }
}

impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SendError({:?})", self.reason())
    }
}

impl<M> fmt::Display for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason().fmt(f)
    }
}

impl<M> std::error::Error for SendError<M> {}

/// How an ask (or a remote operation built on one) ended other than with its answer.
///
/// `Timeout` and `Unreachable` leave the outcome unknown: the message may have been handled.
/// All others mean that it was not handled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum AskError {
    /// The mailbox or the queue towards the region stayed full until the deadline.
    #[error(
        "the queue towards the receiver is full; its bound holds senders back; send less or wait"
    )]
    Full,
    /// No path leads to the region now.
    #[error(
        "no route to region {0}; no chain of links leads there now; try again or check `fedist links`"
    )]
    NoRoute(RegionId),
    /// The registry copy of this node has no such region.
    #[error(
        "unknown region ({0}); it is not in this node's copy of the registry; check the number or wait for its join"
    )]
    UnknownRegion(RegionId),
    /// This node has not finished joining.
    #[error(
        "this region is not live yet; a newcomer may not send across regions before it is; wait for `start` to return"
    )]
    NotLive,
    /// The encoded message is longer than a message may be.
    #[error(
        "message too large ({len} bytes); at most {max} bytes; split it or raise `max_message`"
    )]
    TooLarge {
        /// Length in bytes.
        len: u64,
        /// Longest allowed, in bytes.
        max: u64,
    },
    /// `Serialize` of the message or of its answer failed.
    #[error("{0}")]
    Encode(String),
    /// Nothing lives at the pid (any more).
    #[error("no actor ({0}); it never lived or has ended; look its name up again")]
    NoActor(RegionPid),
    /// The actor exists, but is not exported for this type of message.
    #[error(
        "denied ({0}); the actor does not export this message type; list it with `export(..).handles::<M>()`"
    )]
    Denied(RegionPid),
    /// The receiving node has no decoder for the type at all.
    #[error(
        "unknown message type ({name} version {version}, at {pid}); the receiving node knows no such type; export an actor that handles it"
    )]
    UnknownType {
        /// The receiver.
        pid: RegionPid,
        /// The stable name of the type.
        name: String,
        /// Its version as sent.
        version: u16,
    },
    /// The bytes do not decode as the type at the receiver (or the answer at the sender).
    #[error(
        "undecodable body (for {pid}: {detail}); both sides must agree on the type's shape; compare its version"
    )]
    Undecodable {
        /// The receiver.
        pid: RegionPid,
        /// What the decoder said.
        detail: String,
    },
    /// The actor asked itself from a handler that keeps its own mailbox waiting.
    #[error(
        "actor {0} asks itself; its mailbox waits for the very handler that asks; spawn the ask into its context instead"
    )]
    CallsItself(RegionPid),
    /// The receiver ended (or panicked) before it answered.
    #[error(
        "the receiver ended before it answered ({0}); the message may have been handled in part"
    )]
    NoReply(RegionPid),
    /// No answer within the deadline: outcome unknown.
    #[error("no answer within {0:?}; the outcome is unknown; ask again only if that is safe")]
    Timeout(Duration),
    /// The session with the region ended before the answer came: outcome unknown.
    #[error("region {0} became unreachable; the outcome is unknown; ask again when it is back")]
    Unreachable(RegionId),
    /// The address was decoded outside of a node.
    #[error("address not bound to a node; it was decoded outside of one; call `bind(&node)`")]
    Unbound,
    /// The node is stopped.
    #[error("the node is stopped; nothing is sent any more")]
    Stopped,
}
