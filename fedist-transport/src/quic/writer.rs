//! The sending half of a QUIC link.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures_util::future::try_join3;
use quinn::{Connection, ConnectionError, SendStream, TransportErrorCode, VarInt, WriteError};

use crate::identity::told_refusal;
use crate::link::{
    Carrier, Direct, LinkCore, LinkError, LinkGuard, LinkStats, ProtocolViolation, QueuedFrame,
    StampClock, Taken, peer_text,
};
use crate::wire::{Class, HOP_HEADER_LEN, Stamp};

pub(crate) struct QuicWriter {
    core: Arc<LinkCore>,
    connection: Connection,
    streams: Arc<Streams>,
    guard: LinkGuard,
}

/// The streams of a link, in the order of [`Class::ALL`]. A frame that nothing is before is written by its sender, what
/// does not fit at once by the writer.
pub(super) struct Streams([Mutex<Stream>; 3]);

struct Stream {
    /// `None` once the writer has begun to finish it.
    quic: Option<SendStream>,
    buffer: BytesMut,
    chunks: Vec<Bytes>,
}

impl Streams {
    pub(super) fn new(streams: [SendStream; 3]) -> Arc<Self> {
        let stream =
            |quic| Stream { quic: Some(quic), buffer: BytesMut::new(), chunks: Vec::new() };
        Arc::new(Self(streams.map(|quic| Mutex::new(stream(quic)))))
    }

    fn lock(&self, class: Class) -> MutexGuard<'_, Stream> {
        let [control, message, bulk] = &self.0;
        let stream = match class {
            Class::Control => control,
            Class::Message => message,
            Class::Bulk => bulk,
        };
        stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    /// Adds a frame to what is to be written.
    fn lay_out(&mut self, mut frame: QueuedFrame, stamp: Stamp) {
        frame.header.stamp = stamp;
        let inline = match frame.header.class {
            Class::Bulk => INLINE,
            Class::Control | Class::Message => INLINE_BATCH,
        };
        let parts = frame.parts.iter().map(Bytes::len).filter(|len| *len <= inline);
        let need = HOP_HEADER_LEN + parts.sum::<usize>();
        if self.buffer.capacity() - self.buffer.len() < need {
            self.close_buffer();
            self.buffer.reserve(need.max(BLOCK_LEN));
        }
        self.buffer.extend_from_slice(&frame.header.encode());
        for part in frame.parts {
            if part.len() <= inline {
                self.buffer.extend_from_slice(&part);
            } else {
                self.chunks.push(self.buffer.split().freeze());
                self.chunks.push(part);
            }
        }
    }

    fn close_buffer(&mut self) {
        if !self.buffer.is_empty() {
            self.chunks.push(self.buffer.split().freeze());
        }
    }

    /// Writes what is to be written; ready when all of it is.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        let Some(quic) = &mut self.quic else {
            return Poll::Ready(Err(WriteError::ClosedStream));
        };
        let mut written = 0;
        while let Some(left) = self.chunks.get_mut(written..).filter(|left| !left.is_empty()) {
            let polled = pin!(quic.write_chunks(left)).poll(context);
            match polled {
                Poll::Ready(Ok(done)) => written += done.chunks,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.chunks.drain(..written);
                    return Poll::Pending;
                }
            }
        }
        self.chunks.clear();
        Poll::Ready(Ok(()))
    }
}

impl QuicWriter {
    pub(super) fn new(core: Arc<LinkCore>, connection: Connection, streams: Arc<Streams>) -> Self {
        Self { guard: LinkGuard(Arc::clone(&core)), core, connection, streams }
    }

    pub(crate) async fn run(self) -> LinkError {
        let Self { core, connection, streams, guard: _guard } = self;
        let lanes = try_join3(
            write_class(&core, Class::Control, &streams),
            write_class(&core, Class::Message, &streams),
            write_class(&core, Class::Bulk, &streams),
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

/// Writes what its senders could not write of one class until its queue is closed, then waits until the peer has all.
async fn write_class(core: &LinkCore, class: Class, streams: &Streams) -> Result<(), WriteError> {
    let mut taken = Taken::default();
    while poll_fn(|context| core.queue(class).poll_take(context, &mut taken)).await {
        let bytes = taken.len();
        {
            let mut stream = streams.lock(class);
            stream.chunks.append(&mut taken.rest);
            let now = Instant::now();
            core.count_sent(&taken.frames, now);
            for frame in taken.frames.drain(..) {
                stream.lay_out(frame, core.clock().stamp(now, class));
            }
            stream.close_buffer();
        }
        poll_fn(|context| streams.lock(class).poll_write(context)).await?;
        core.queue(class).release(bytes);
    }
    let stream = streams.lock(class).quic.take();
    if let Some(mut stream) = stream {
        // Already finished or stopped: the connection is ending, and says itself why.
        let _ = stream.finish();
        let _ = stream.stopped().await;
    }
    Ok(())
}

/// A QUIC connection as the link above it sees it.
pub(super) struct QuicCarrier {
    pub(super) connection: Connection,
    pub(super) streams: Arc<Streams>,
}

impl Carrier for QuicCarrier {
    fn write_now(&self, frame: QueuedFrame, clock: &StampClock, now: Instant) -> Direct {
        let class = frame.header.class;
        let mut stream = self.streams.lock(class);
        if stream.quic.is_none() {
            return Direct::Refused(frame);
        }
        stream.lay_out(frame, clock.stamp(now, class));
        stream.close_buffer();
        // An error is the writer's to tell, which comes upon it with what is left.
        match stream.poll_write(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => Direct::Written,
            Poll::Ready(Err(_)) | Poll::Pending => Direct::Rest(std::mem::take(&mut stream.chunks)),
        }
    }

    fn measure(&self, stats: &mut LinkStats) {
        let quic = self.connection.stats();
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
        if self.connection.close_reason().is_none() {
            self.connection.close(VarInt::from_u32(0), reason.as_bytes());
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
/// The same for batches of messages. For each packet quinn looks through the pieces of what is not acknowledged from the
/// first one on, so the fewer they are the better.
const INLINE_BATCH: usize = 33 * 1024;

/// Frames' headers and small parts are carved out of blocks of this size.
const BLOCK_LEN: usize = 64 * 1024;
