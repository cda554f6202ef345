use bytes::Bytes;
use fedist_registry::Micros;
use thiserror::Error;

use crate::wire::{Class, RecordHeader};

/// What happened in a session, in the order of its effects.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SessionEvent {
    /// The records of one frame, whole and well-formed, next in order: hand them to
    /// [`Records::new`](crate::wire::Records::new).
    Deliver {
        /// The records, one after another.
        records: Bytes,
    },
    /// A record that came in pieces, next in order.
    DeliverLarge {
        /// Its header.
        header: RecordHeader,
        /// Its whole body.
        body: Bytes,
    },
    /// The peer has delivered records, so there is room again.
    Acked {
        /// How many records.
        records: u32,
        /// Their encoded bytes; pieces of large records count as they are acknowledged.
        bytes: usize,
    },
    /// A conversation with this epoch of the peer has begun. An [`Ended`](Self::Ended) closes it
    /// before the next one opens.
    Opened {
        /// The peer's epoch.
        peer_epoch: u64,
    },
    /// The conversation is over, and so is each record that was accepted and not acknowledged. The
    /// session itself goes on: the next `push` opens a new one.
    ///
    /// An undelivered record may still have arrived: its acknowledgement may be what got lost. It
    /// will not arrive from now on.
    Ended {
        /// Why.
        reason: EndReason,
        /// The headers of the unacknowledged records, for each receiver in the order of acceptance.
        undelivered: Vec<RecordHeader>,
    },
}

/// Why a session ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndReason {
    /// Nothing was heard of the peer for the session timeout while something waited for it.
    TimedOut {
        /// How long it was silent.
        silent_for: Micros,
    },
    /// The peer's region has left the federation.
    PeerLeft,
    /// One of the two sides closed the session.
    Goodbye,
    /// The peer's node has started again.
    PeerRestarted,
    /// The peer had ended the session on its side, after a silence that only it noticed.
    PeerReset,
}

/// Why a session did not accept a record. Its state is unchanged in each case.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PushError {
    /// The body is longer than the session carries. Trying again will not help.
    #[error("message body of {len} bytes is too large; the limit is {max}")]
    TooLarge {
        /// Length of the body.
        len: usize,
        /// Greatest length accepted.
        max: usize,
    },
    /// The queue of its lane is full. Try again after the next [`SessionEvent::Acked`].
    #[error("the session's queue is full")]
    Full,
    /// The session has been closed by [`Session::close`](super::Session::close), for ever.
    #[error("the session is closed")]
    Closed,
}

/// One frame to send. Its payload is `header` and then `records`.
///
/// The records are shared with the session, which keeps them until they are acknowledged, so a frame
/// may be dropped on the way at no loss but time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Priority class of the frame.
    pub class: Class,
    /// The encoded session header, and what goes before a piece of a large record.
    pub header: Bytes,
    /// The records, or the piece; empty for a frame that only acknowledges, probes or says goodbye.
    pub records: Bytes,
    /// The frame has been handed out before.
    pub retransmit: bool,
}

impl Transmit {
    /// Length of the payload: what the hop header's `payload_len` is to say.
    pub fn payload_len(&self) -> usize {
        self.header.len() + self.records.len()
    }

    /// The payload in one piece, for tests and for fabrics without vectored writes.
    pub fn to_payload(&self) -> Bytes {
        [&self.header[..], &self.records[..]].concat().into()
    }
}
