//! One authenticated connection between two regions, the same over QUIC and in memory.
//!
//! A [`Link`] comes apart into three: [`LinkTx`] queues frames from anywhere and never waits,
//! [`LinkWriter`] moves queued frames to the wire, [`LinkRx`] takes frames off it. Whoever runs the
//! link polls `writer.run()` and `rx.recv()` in its own future; nothing is spawned. Dropping the
//! writer or the receiver ends the link at once: queued frames are gone, the peer is told, and
//! each further [`LinkTx::send`] is [`Closed`](LinkSendError::Closed).
//!
//! ```text
//!  LinkTx::send -> [ control | message | bulk queue ] -> LinkWriter --\
//!                                                                      wire
//!  LinkRx::recv <- [ control | message | bulk stream ] <--------------/
//! ```
//!
//! Each class has its own queue, loop and stream, so bulk that is blocked by its reader delays no
//! control frame. Frames of one class arrive in the order sent; over QUIC none is lost while the
//! link lives. Whatever is on its way when a link ends may or may not have arrived: the session
//! above sends it again.

mod error;
mod node_clock;
mod race;
mod send_queue;
mod shared;
mod stamp_clock;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use fedist_registry::ClockSample;

use crate::identity::PeerIdentity;
use crate::memory::{MemoryReader, MemoryWriter};
use crate::quic::{QuicReader, QuicWriter};
use crate::wire::{Class, HopHeader};

pub(crate) use self::error::peer_text;
pub use self::error::{AcceptError, DialError, LinkError, LinkSendError, ProtocolViolation};
pub use self::node_clock::NodeClock;
pub(crate) use self::race::{STAGGER, race};
pub use self::send_queue::LinkLimits;
pub(crate) use self::send_queue::{Direct, QueuedFrame, Taken};
pub use self::shared::LinkStats;
pub(crate) use self::shared::{Carrier, LinkCore, LinkGuard};
pub(crate) use self::stamp_clock::StampClock;

/// A link that has just come up.
pub struct Link {
    /// Who is at the other end, as the handshake proved.
    pub peer: PeerIdentity,
    /// Whether this end dialed.
    pub dialed: bool,
    /// Queues frames.
    pub tx: LinkTx,
    /// Moves queued frames to the wire; must be polled.
    pub writer: LinkWriter,
    /// Takes frames off the wire; must be polled.
    pub rx: LinkRx,
    /// Where the other end is, for people to read.
    pub remote_address: String,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("peer", &self.peer.region)
            .field("dialed", &self.dialed)
            .field("remote_address", &self.remote_address)
            .finish_non_exhaustive()
    }
}

/// Queues frames of a link from any thread. Clones share the queues; holding one keeps no link alive.
#[derive(Clone)]
pub struct LinkTx(pub(crate) Arc<LinkCore>);

impl LinkTx {
    /// Queues one frame: `header`, whose length field and stamp are filled in here and at write
    /// time, and the payload in up to two parts (either may be empty). Never waits.
    ///
    /// # Errors
    /// [`LinkSendError::Full`] when the frame's class is at its bound: other classes still take
    /// frames. [`LinkSendError::Closed`] when the link ended or is ending.
    /// [`LinkSendError::TooLarge`] for a payload above the limit of one frame. Nothing is queued then.
    pub fn send(&self, header: HopHeader, parts: [Bytes; 2]) -> Result<(), LinkSendError> {
        self.0.send(header, parts, None)
    }

    /// As [`send`](Self::send), for a frame in transit that was `received` on another link. How long it stayed until this
    /// link's writer took it is kept for [`take_residences`](Self::take_residences).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn forward(
        &self,
        header: HopHeader,
        payload: Bytes,
        received: Instant,
    ) -> Result<(), LinkSendError> {
        self.0.send(header, [payload, Bytes::new()], Some(received))
    }

    /// Appends how long frames in transit stayed in this node, in microseconds, oldest first, and forgets them. Of those
    /// that left since the last call at most 1,024 are kept.
    pub fn take_residences(&self, out: &mut Vec<u32>) {
        self.0.take_residences(out);
    }

    /// Bytes of `class` that are queued or being written, headers included.
    pub fn queued(&self, class: Class) -> usize {
        self.0.queue(class).bytes()
    }

    /// How many bytes of `class` the link queues at most.
    pub fn limit(&self, class: Class) -> usize {
        self.0.queue(class).limit()
    }

    /// Takes back the message and bulk frames that wait and are not being written, in order within each class: for whoever
    /// has another link for them.
    pub fn take_queued(&self) -> Vec<(HopHeader, [Bytes; 2])> {
        let queues = [Class::Message, Class::Bulk].map(|class| self.0.queue(class));
        let frames = queues.into_iter().flat_map(|queue| queue.take_back());
        frames.map(|frame| (frame.header, frame.parts)).collect()
    }

    /// Takes no more frames, and ends the link once those queued have arrived at the other end or
    /// half a second has passed, whichever is first. `reason` is told to the peer; of several calls
    /// the first one counts. Works as long as the writer is polled.
    pub fn close(&self, reason: &str) {
        self.0.begin_close(reason);
    }

    /// Whether the link takes no frames any more.
    pub fn is_closed(&self) -> bool {
        self.0.is_closing()
    }

    /// Counters and measurements up to now.
    pub fn stats(&self) -> LinkStats {
        self.0.stats()
    }
}

impl std::fmt::Debug for LinkTx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkTx").finish_non_exhaustive()
    }
}

/// Moves queued frames to the wire.
#[must_use = "a link whose writer is dropped ends"]
pub struct LinkWriter(pub(crate) WriterKind);

pub(crate) enum WriterKind {
    Quic(QuicWriter),
    Memory(MemoryWriter),
}

impl LinkWriter {
    /// Runs until the link has ended, and says why it did. All frames of a class that wait go into
    /// one write (up to 256 KiB); a lone frame goes at once.
    ///
    /// # Cancel safety
    /// Dropping the future ends the link.
    pub async fn run(self) -> LinkError {
        match self.0 {
            WriterKind::Quic(writer) => writer.run().await,
            WriterKind::Memory(writer) => writer.run().await,
        }
    }
}

impl std::fmt::Debug for LinkWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkWriter").finish_non_exhaustive()
    }
}

/// Takes frames off the wire.
#[must_use = "a link whose receiver is dropped ends"]
pub struct LinkRx(pub(crate) ReaderKind);

pub(crate) enum ReaderKind {
    Quic(Box<QuicReader>),
    Memory(MemoryReader),
}

impl LinkRx {
    /// Stops taking frames of one class, or goes on. What arrives meanwhile stays with the transport, which holds the peer
    /// back once its window is full; the other classes go on. A paused class keeps [`recv`](Self::recv) waiting for the
    /// others, so whoever pauses it has to call again by itself.
    pub fn set_paused(&mut self, class: Class, paused: bool) {
        match &mut self.0 {
            ReaderKind::Quic(reader) => reader.set_paused(class, paused),
            ReaderKind::Memory(reader) => reader.set_paused(class, paused),
        }
    }

    /// Waits for at least one frame and appends to `out` what has arrived by then, control first, at
    /// most 64 frames. Not calling this holds the peer back, class by class; nothing is dropped.
    ///
    /// # Errors
    /// The end of the link, once everything that arrived before it has been handed out. Each later
    /// call gives the same error.
    ///
    /// # Cancel safety
    /// No frame is lost when the future is dropped before it is ready.
    pub async fn recv(&mut self, out: &mut Vec<InFrame>) -> Result<(), LinkError> {
        // A link that is never idle must not keep its thread from everybody else.
        tokio::task::coop::consume_budget().await;
        match &mut self.0 {
            ReaderKind::Quic(reader) => reader.recv(out).await,
            ReaderKind::Memory(reader) => reader.recv(out).await,
        }
    }
}

impl std::fmt::Debug for LinkRx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkRx").finish_non_exhaustive()
    }
}

/// A frame that arrived.
#[derive(Clone, Debug)]
pub struct InFrame {
    /// Its header as the peer wrote it.
    pub header: HopHeader,
    /// Its payload, `header.payload_len` bytes.
    pub payload: Bytes,
    /// When it was taken off the wire; in the memory fabric when it came out of it, however late it was read.
    pub received: Instant,
    /// The exchange of stamps that this frame completes, if it echoed a stamp of ours.
    pub exchange: Option<ClockSample>,
}

impl InFrame {
    /// The round trip of this link, in microseconds, if the frame echoed a stamp of ours.
    pub fn rtt_sample_us(&self) -> Option<u32> {
        self.exchange.map(ClockSample::round_trip_us)
    }
}

/// How many frames of each class one call of [`LinkRx::recv`] takes at most. Each class has a share,
/// so that a flood of one never keeps the others from being read; bulk frames are the large ones.
pub(crate) const RECV_SHARE: [usize; 3] = [32, 24, 8];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_may_be_handed_to_another_thread() {
        fn is_send<T: Send>() {}
        fn is_sync<T: Sync + Clone>() {}
        is_send::<Link>();
        is_sync::<LinkTx>();
    }
}
