//! The sending half of a QUIC link.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use futures_util::future::try_join3;
use quinn::{Connection, ConnectionError, SendStream, TransportErrorCode, VarInt, WriteError};

use crate::identity::told_refusal;
use crate::link::{
    Carrier, LinkCore, LinkError, LinkGuard, LinkStats, ProtocolViolation, QueuedFrame, peer_text,
};
use crate::wire::{Class, HOP_HEADER_LEN};

pub(crate) struct QuicWriter {
    core: Arc<LinkCore>,
    connection: Connection,
    /// In the order of [`Class::ALL`].
    streams: [SendStream; 3],
    guard: LinkGuard,
}

impl QuicWriter {
    pub(super) fn new(
        core: Arc<LinkCore>,
        connection: Connection,
        streams: [SendStream; 3],
    ) -> Self {
        Self { guard: LinkGuard(Arc::clone(&core)), core, connection, streams }
    }

    pub(crate) async fn run(self) -> LinkError {
        let Self { core, connection, streams: [control, message, bulk], guard: _guard } = self;
        let lanes = try_join3(
            write_class(&core, Class::Control, control),
            write_class(&core, Class::Message, message),
            write_class(&core, Class::Bulk, bulk),
        );
        let ended = tokio::select! {
            biased;
            drained = lanes => drained.err(),
            error = connection.closed() => Some(WriteError::ConnectionLost(error)),
            () = core.drain_time_is_over() => None,
        };
        // A stream that the peer no longer reads is a symptom; the connection knows the cause.
        let cause = connection.close_reason();
        let error = match (cause, ended) {
            (Some(cause), _) | (None, Some(WriteError::ConnectionLost(cause))) => {
                link_error(cause, &core)
            }
            (None, Some(other)) => LinkError::Lost { detail: other.to_string() },
            (None, None) => LinkError::ClosedHere { reason: core.close_reason() },
        };
        core.end("the link was lost");
        error
    }
}

/// Writes the frames of one class until its queue is closed, then waits until the peer has them.
async fn write_class(
    core: &LinkCore,
    class: Class,
    mut stream: SendStream,
) -> Result<(), WriteError> {
    let mut frames = Vec::new();
    let mut chunks = Vec::new();
    let mut buffer = BytesMut::new();
    while poll_fn(|context| core.queue(class).poll_take(context, &mut frames)).await {
        let bytes = frames.iter().map(QueuedFrame::len).sum();
        let now = Instant::now();
        core.count_sent(&frames, now);
        buffer.reserve(frames.len() * HOP_HEADER_LEN);
        for mut frame in frames.drain(..) {
            frame.header.stamp = core.clock().stamp(now, class);
            buffer.extend_from_slice(&frame.header.encode());
            for part in frame.parts {
                if part.len() <= INLINE {
                    buffer.extend_from_slice(&part);
                } else {
                    chunks.push(buffer.split().freeze());
                    chunks.push(part);
                }
            }
        }
        if !buffer.is_empty() {
            chunks.push(buffer.split().freeze());
        }
        stream.write_all_chunks(&mut chunks).await?;
        chunks.clear();
        core.queue(class).release(bytes);
    }
    // Already finished or stopped: the connection is ending, and says itself why.
    let _ = stream.finish();
    let _ = stream.stopped().await;
    Ok(())
}

/// A QUIC connection as the link above it sees it.
pub(super) struct QuicCarrier(pub(super) Connection);

impl Carrier for QuicCarrier {
    fn measure(&self, stats: &mut LinkStats) {
        let quic = self.0.stats();
        stats.rtt_us = u64::try_from(quic.path.rtt.as_micros()).unwrap_or(u64::MAX);
        stats.datagrams_sent = quic.udp_tx.datagrams;
        stats.datagrams_received = quic.udp_rx.datagrams;
        stats.bytes_sent = quic.udp_tx.bytes;
        stats.bytes_received = quic.udp_rx.bytes;
        stats.sent_packets = quic.path.sent_packets;
        stats.lost_packets = quic.path.lost_packets;
    }

    fn close(&self, reason: &str) {
        // quinn would forget why a connection ended that is closed once more.
        if self.0.close_reason().is_none() {
            self.0.close(VarInt::from_u32(0), reason.as_bytes());
        }
    }
}

/// Why a connection ended, in the words of links.
pub(super) fn link_error(error: ConnectionError, core: &LinkCore) -> LinkError {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            LinkError::ClosedByPeer { reason: peer_text(&close.reason) }
        }
        ConnectionError::ConnectionClosed(close) if is_tls(close.error_code) => {
            LinkError::RefusedByPeer { reason: refusal_text(&close.reason) }
        }
        ConnectionError::LocallyClosed => LinkError::ClosedHere {
            reason: match core.close_reason() {
                reason if reason.is_empty() => "the endpoint was closed".to_owned(),
                reason => reason,
            },
        },
        ConnectionError::TimedOut => LinkError::TimedOut,
        ConnectionError::TransportError(error)
            if error.code == TransportErrorCode::STREAM_LIMIT_ERROR =>
        {
            LinkError::Protocol(ProtocolViolation::ExtraStream)
        }
        other => LinkError::Lost { detail: peer_text(other.to_string().as_bytes()) },
    }
}

/// A peer's reason for refusing our certificate.
pub(super) fn refusal_text(reason: &[u8]) -> String {
    told_refusal(&peer_text(reason)).to_owned()
}

/// Whether a close code is a TLS alert (RFC 9001, section 4.8).
pub(super) fn is_tls(code: TransportErrorCode) -> bool {
    (0x100..0x200).contains(&u64::from(code))
}

/// Parts up to this are copied behind their header: cheaper than a piece of their own in quinn's
/// send buffer.
const INLINE: usize = 1024;
