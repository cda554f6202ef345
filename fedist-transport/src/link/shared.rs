//! What the parts of one link share.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;

use super::send_queue::{Direct, QueuedFrame, SendQueue};
use super::stamp_clock::StampClock;
use super::{LinkLimits, LinkSendError, NodeClock};
use crate::wire::{Class, HopHeader, MAX_FRAME_PAYLOAD};

/// Counters and measurements of one link since it came up.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// The transport's own estimate of the round trip, microseconds.
    pub rtt_us: u64,
    /// UDP datagrams sent; frames in the memory fabric.
    pub datagrams_sent: u64,
    /// UDP datagrams received; frames in the memory fabric.
    pub datagrams_received: u64,
    /// Bytes sent in datagrams, encryption and repeats included.
    pub bytes_sent: u64,
    /// Bytes received in datagrams.
    pub bytes_received: u64,
    /// Frames handed to the wire.
    pub frames_sent: u64,
    /// Frames handed out by [`LinkRx`](super::LinkRx).
    pub frames_received: u64,
    /// Packets that the transport sent; frames in the memory fabric.
    pub sent_packets: u64,
    /// Packets that the transport found lost, without those that only probed for a larger size.
    pub lost_packets: u64,
    /// How long the handshake took, microseconds.
    pub handshake_us: u64,
}

/// The wire below a link, seen from any thread.
pub(crate) trait Carrier: Send + Sync + 'static {
    /// Adds what the wire knows to `stats`.
    fn measure(&self, stats: &mut LinkStats);
    /// Puts a frame on the wire without waiting, if the wire takes it now. Nothing of its class is before it.
    fn write_now(&self, frame: QueuedFrame, _clock: &StampClock, _now: Instant) -> Direct {
        Direct::Refused(frame)
    }
    /// Ends the connection at once and tells the peer why. Only the first call counts.
    fn close(&self, reason: &str);
}

pub(crate) struct LinkCore {
    queues: [SendQueue; 3],
    clock: StampClock,
    carrier: Box<dyn Carrier>,
    closing: Mutex<Option<String>>,
    closing_noticed: Notify,
    frames_sent: AtomicU64,
    frames_received: AtomicU64,
    handshake_us: u64,
    residences: Mutex<Vec<u32>>,
}

impl LinkCore {
    pub(crate) fn new(
        limits: &LinkLimits,
        carrier: Box<dyn Carrier>,
        clock: NodeClock,
        handshake: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            queues: Class::ALL.map(|class| SendQueue::new(class, limits.of(class))),
            clock: StampClock::new(clock),
            carrier,
            closing: Mutex::new(None),
            closing_noticed: Notify::new(),
            frames_sent: AtomicU64::new(0),
            frames_received: AtomicU64::new(0),
            handshake_us: u64::try_from(handshake.as_micros()).unwrap_or(u64::MAX),
            residences: Mutex::default(),
        })
    }

    pub(super) fn send(
        &self,
        mut header: HopHeader,
        parts: [Bytes; 2],
        received: Option<Instant>,
    ) -> Result<(), LinkSendError> {
        let [first, second] = &parts;
        let len = first.len().saturating_add(second.len());
        if len > MAX_FRAME_PAYLOAD {
            let max = MAX_FRAME_PAYLOAD;
            return Err(LinkSendError::TooLarge { len, max });
        }
        header.payload_len = len as u32;
        self.queue(header.class).push(QueuedFrame { header, parts, received }, |frame| {
            let now = Instant::now();
            let direct = self.carrier.write_now(frame, &self.clock, now);
            if !matches!(direct, Direct::Refused(_)) {
                self.frames_sent.fetch_add(1, Relaxed);
                self.note_residences(received.into_iter(), now);
            }
            direct
        })
    }

    pub(crate) fn queue(&self, class: Class) -> &SendQueue {
        let [control, message, bulk] = &self.queues;
        match class {
            Class::Control => control,
            Class::Message => message,
            Class::Bulk => bulk,
        }
    }

    pub(crate) fn clock(&self) -> &StampClock {
        &self.clock
    }

    /// Notes frames that the writer took from their queue at `now`.
    pub(crate) fn count_sent(&self, frames: &[QueuedFrame], now: Instant) {
        self.frames_sent.fetch_add(frames.len() as u64, Relaxed);
        self.note_residences(frames.iter().filter_map(|frame| frame.received), now);
    }

    fn note_residences(&self, in_transit: impl Iterator<Item = Instant>, now: Instant) {
        let mut in_transit = in_transit.peekable();
        if in_transit.peek().is_none() {
            return;
        }
        let mut residences = self.residences.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MAX_RESIDENCES.saturating_sub(residences.len());
        let stayed = |received| {
            let stayed = now.saturating_duration_since(received);
            u32::try_from(stayed.as_micros()).unwrap_or(u32::MAX)
        };
        residences.extend(in_transit.take(room).map(stayed));
    }

    pub(super) fn take_residences(&self, out: &mut Vec<u32>) {
        out.append(&mut self.residences.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn count_received(&self, frames: usize) {
        self.frames_received.fetch_add(frames as u64, Relaxed);
    }

    pub(super) fn stats(&self) -> LinkStats {
        let mut stats = LinkStats {
            frames_sent: self.frames_sent.load(Relaxed),
            frames_received: self.frames_received.load(Relaxed),
            handshake_us: self.handshake_us,
            ..LinkStats::default()
        };
        self.carrier.measure(&mut stats);
        stats
    }

    pub(super) fn begin_close(&self, reason: &str) {
        self.closing().get_or_insert_with(|| reason.to_owned());
        for queue in &self.queues {
            queue.close();
        }
        self.closing_noticed.notify_waiters();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing().is_some()
    }

    /// Waits until somebody begins to close the link and the queues had their time to drain.
    pub(crate) async fn drain_time_is_over(&self) {
        let noticed = self.closing_noticed.notified();
        let mut noticed = std::pin::pin!(noticed);
        // Listens before it looks, so that no call in between goes unnoticed.
        noticed.as_mut().enable();
        if !self.is_closing() {
            noticed.await;
        }
        tokio::time::sleep(DRAIN_TIME).await;
    }

    /// Ends the link now: frames still queued are gone.
    pub(crate) fn end(&self, reason: &str) {
        self.begin_close(reason);
        for queue in &self.queues {
            queue.discard();
        }
        self.carrier.close(&self.close_reason());
    }

    /// Why this end closed the link.
    pub(crate) fn close_reason(&self) -> String {
        self.closing().clone().unwrap_or_default()
    }

    fn closing(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.closing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the link when dropped. The writer and the receiver hold one each.
pub(crate) struct LinkGuard(pub(crate) Arc<LinkCore>);

impl Drop for LinkGuard {
    fn drop(&mut self) {
        self.0.end("the other end has dropped the link");
    }
}

/// How long a closing link goes on to deliver what is queued; above the longest round trip on earth.
const DRAIN_TIME: Duration = Duration::from_millis(500);

/// Residences kept until they are asked for.
const MAX_RESIDENCES: usize = 1024;
