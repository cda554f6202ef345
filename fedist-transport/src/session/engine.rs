use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};
use fedist_registry::{Micros, RegionId};

use super::config::{FRAME_OVERHEAD, MAX_RECORDS_LEN, SessionConfig};
use super::epoch::Epochs;
use super::event::{EndReason, PushError, SessionEvent, Transmit};
use super::lane_rx::LaneRx;
use super::lane_tx::{LaneTx, Outgoing};
use super::order::BehindBulk;
use super::reassembly::Reassembly;
use super::round_trip::RoundTrip;
use super::stats::SessionStats;
use super::timers::Timers;
use crate::wire::{
    Ack, Class, FLAG_GOODBYE, FLAG_PROBE, Lane, RecordHeader, RecordKind, SESSION_HEADER_LEN,
    SessionHeader,
};

/// The ordered, exactly-once conversation with one region, both directions. The module text
/// describes the protocol.
///
/// Make one per peer and keep it while the node runs: a second one of the same boot would begin
/// again with an epoch that the peer has seen. It survives the ends of its conversations. Dropping
/// it drops what is unacknowledged without an event; use [`close`](Self::close) before.
///
/// After any call that takes `now`, poll transmits and events until `None`, then ask for the next
/// timeout.
#[derive(Debug)]
pub struct Session {
    pub(super) config: SessionConfig,
    local: RegionId,
    remote: RegionId,
    pub(super) epochs: Epochs,
    pub(super) tx: [LaneTx; 2],
    pub(super) rx: [LaneRx; 2],
    pub(super) reassembly: Reassembly,
    behind_bulk: BehindBulk,
    pub(super) trip: RoundTrip,
    pub(super) timers: Timers,
    pub(super) events: VecDeque<SessionEvent>,
    pub(super) opened: bool,
    pub(super) watched: bool,
    pub(super) ack_now: bool,
    pub(super) probe_now: bool,
    /// Frames with records since the last acknowledgement went out.
    pub(super) unacknowledged: u32,
    blocked: [bool; 3],
    /// After `close`: the frame that says so, and whether it is to be sent (again).
    pub(super) goodbye: Option<SessionHeader>,
    pub(super) goodbye_now: bool,
    header_block: BytesMut,
    pub(super) stats: SessionStats,
}

impl Session {
    /// A session of `local` with `remote` that has sent nothing yet. `boot` is the durable start
    /// counter of this node; it must grow with each start.
    pub fn new(
        config: SessionConfig,
        local: RegionId,
        remote: RegionId,
        boot: u32,
        now: Micros,
    ) -> Self {
        Self {
            config,
            local,
            remote,
            epochs: Epochs::new(boot),
            tx: Default::default(),
            rx: Default::default(),
            reassembly: Reassembly::default(),
            behind_bulk: BehindBulk::default(),
            trip: RoundTrip::default(),
            timers: Timers::new(now),
            events: VecDeque::new(),
            opened: false,
            watched: false,
            ack_now: false,
            probe_now: false,
            unacknowledged: 0,
            blocked: [false; 3],
            goodbye: None,
            goodbye_now: false,
            header_block: BytesMut::new(),
            stats: SessionStats::default(),
        }
    }

    /// The region of this side.
    pub fn local(&self) -> RegionId {
        self.local
    }

    /// The region at the other end.
    pub fn remote(&self) -> RegionId {
        self.remote
    }

    /// Accepts one record: from here on it is delivered once, in order, or reported by
    /// [`SessionEvent::Ended`]. The body is copied.
    ///
    /// # Errors
    /// [`PushError`]; nothing has changed then.
    pub fn push(
        &mut self,
        now: Micros,
        header: &RecordHeader,
        body: &[u8],
    ) -> Result<(), PushError> {
        if self.goodbye.is_some() {
            return Err(PushError::Closed);
        }
        let max = self.config.max_message.min(u32::MAX as usize);
        if body.len() > max {
            return Err(PushError::TooLarge { len: body.len(), max });
        }
        let need = header.encoded_len(body.len());
        let large = need > MAX_RECORDS_LEN;
        let [message, bulk] = &self.tx;
        let to_bulk = large || self.goes_to_bulk(header);
        let lane = if to_bulk { bulk } else { message };
        if lane.is_full(need, self.config.queue_bytes) {
            return Err(PushError::Full);
        }
        if large {
            self.place_large(now, header, &Bytes::copy_from_slice(body));
        } else {
            self.place(now, header, body);
        }
        Ok(())
    }

    /// As [`push`](Self::push), for a body that is shared: a large one is not copied.
    ///
    /// # Errors
    /// [`PushError`]; nothing has changed then.
    pub fn push_shared(
        &mut self,
        now: Micros,
        header: &RecordHeader,
        body: &Bytes,
    ) -> Result<(), PushError> {
        let (need, max) = (header.encoded_len(body.len()), self.config.max_message);
        if need <= MAX_RECORDS_LEN || body.len() > max || self.goodbye.is_some() {
            return self.push(now, header, body);
        }
        if self.tx[Lane::Bulk as usize].is_full(need, self.config.queue_bytes) {
            return Err(PushError::Full);
        }
        self.place_large(now, header, body);
        Ok(())
    }

    /// Accepts records that are encoded already, one behind the other, all of them or none: each as by
    /// [`push`](Self::push), but the bytes are not copied as long as nothing large is under way. The caller has encoded
    /// them: what is no record ends the batch, and the records before it are accepted.
    ///
    /// # Errors
    /// [`PushError`]; nothing has changed then.
    pub fn push_records(
        &mut self,
        now: Micros,
        records: &Bytes,
        count: u16,
    ) -> Result<(), PushError> {
        if self.goodbye.is_some() {
            return Err(PushError::Closed);
        }
        let (len, max) = (records.len(), self.config.queue_bytes);
        let [message, bulk] = &mut self.tx;
        if message.is_full(len, max) || (!bulk.is_empty() && bulk.is_full(len, max)) {
            return Err(PushError::Full);
        }
        if len <= MAX_RECORDS_LEN && bulk.is_empty() {
            if message.is_empty() {
                self.timers.begin_waiting(now);
            }
            message.push_encoded(records, count, self.config.batch_len());
            self.stats.accepted += u64::from(count);
            return Ok(());
        }
        // What follows something large to the same actor waits behind it, one by one.
        let mut rest = &records[..];
        while let Ok((header, body, len)) = RecordHeader::decode_first(rest) {
            self.place(now, &header, body);
            rest = rest.get(len..).unwrap_or_default();
        }
        Ok(())
    }

    /// Whether a record that is not large has to go behind a large one.
    fn goes_to_bulk(&self, header: &RecordHeader) -> bool {
        let bulk_acked = self.tx[Lane::Bulk as usize].acked();
        header.to.is_some_and(|to| self.behind_bulk.holds(to, bulk_acked))
    }

    /// Puts a record that is larger than a frame into the bulk lane.
    fn place_large(&mut self, now: Micros, header: &RecordHeader, body: &Bytes) {
        let [message, bulk] = &mut self.tx;
        let bulk_acked = bulk.acked();
        if message.is_empty() && bulk.is_empty() {
            self.timers.begin_waiting(now);
        }
        // The barrier must name a closed frame: one that is still open could later be given a
        // barrier of its own that points back here.
        message.close_batch();
        bulk.push_large(header, body, message.last_closed());
        if let Some(to) = header.to {
            self.behind_bulk.note(to, bulk.last_seq(), bulk_acked);
        }
        self.stats.accepted += 1;
    }

    /// Puts a record that fits into a frame into its lane.
    fn place(&mut self, now: Micros, header: &RecordHeader, body: &[u8]) {
        let to_bulk = self.goes_to_bulk(header);
        let [message, bulk] = &mut self.tx;
        let bulk_acked = bulk.acked();
        if message.is_empty() && bulk.is_empty() {
            self.timers.begin_waiting(now);
        }
        let batch = self.config.batch_len();
        if to_bulk {
            // As for a large one.
            message.close_batch();
            bulk.push(header, body, message.last_closed(), batch);
            if let Some(to) = header.to {
                self.behind_bulk.note(to, bulk.last_seq(), bulk_acked);
            }
        } else if header.kind == RecordKind::Signal && header.to.is_none() && !bulk.is_empty() {
            bulk.close_batch();
            message.close_batch();
            message.push(header, body, bulk.last_closed(), batch);
        } else {
            message.push(header, body, 0, batch);
        }
        self.stats.accepted += 1;
    }

    /// The next frame to send; call until `None`.
    ///
    /// A frame that is handed out counts as sent. A shell that cannot pass it on may drop it, at the
    /// price of a retransmission time-out; better it says [`set_blocked`](Self::set_blocked) before.
    pub fn poll_transmit(&mut self, now: Micros) -> Option<Transmit> {
        if let Some(goodbye) = &self.goodbye {
            let header = Bytes::copy_from_slice(&goodbye.encode());
            return std::mem::take(&mut self.goodbye_now).then(|| bare(header));
        }
        for lane in Lane::ALL {
            if !self.blocked[class_of(lane).index()]
                && let Some(outgoing) = self.tx[lane as usize].take_again(now)
            {
                self.stats.retransmitted_frames += 1;
                return Some(self.frame(lane, outgoing, true));
            }
        }
        for lane in Lane::ALL {
            if self.blocked[class_of(lane).index()] {
                continue;
            }
            let rto = self.trip.timeout(&self.config, 0);
            let window = self.config.window_bytes;
            if let Some(outgoing) = self.tx[lane as usize].take_new(now, window, rto) {
                self.stats.frames_sent += 1;
                return Some(self.frame(lane, outgoing, false));
            }
        }
        if self.blocked[Class::Control.index()] || !(self.ack_now || self.probe_now) {
            return None;
        }
        let flags = if self.probe_now { FLAG_PROBE } else { 0 };
        self.probe_now = false;
        let header = self.header(SessionHeader { flags, ..BARE }, &[]);
        Some(bare(header))
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) may give something. Costs less than asking for it.
    pub fn has_transmit(&self) -> bool {
        self.goodbye_now
            || self.ack_now
            || self.probe_now
            || self.tx.iter().any(LaneTx::has_transmit)
    }

    /// Says that frames of `class` cannot be passed on now, or can again. While blocked they stay
    /// here, in order, instead of being handed out and dropped.
    pub fn set_blocked(&mut self, class: Class, blocked: bool) {
        self.blocked[class.index()] = blocked;
    }

    /// Whether something depends on hearing from the peer (a monitor, an ask, a task). While it
    /// does and a conversation is open, the session probes a silent peer, and ends when the silence
    /// reaches the session timeout. Without it silence counts only while records are unacknowledged.
    pub fn set_watched(&mut self, watched: bool) {
        if watched && !self.watched {
            self.timers.begin_watching();
        }
        self.watched = watched;
    }

    /// The next event; call until `None`. Events wait until they are taken, so a shell that does not
    /// poll lets them grow with what arrives.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    /// Ends the session for good: tells the peer once (and again whenever it still talks), and
    /// reports what is unacknowledged as ended by [`EndReason::Goodbye`]. Records that should still
    /// arrive must be waited for before. A second call does nothing.
    pub fn close(&mut self, _now: Micros) {
        if self.goodbye.is_some() {
            return;
        }
        // The frame speaks for the epoch that ends here; later ones will never be used.
        self.goodbye = Some(self.complete(SessionHeader { flags: FLAG_GOODBYE, ..BARE }));
        self.goodbye_now = self.epochs.remote().is_some() || self.stats.frames_sent > 0;
        self.end(EndReason::Goodbye);
        self.ack_now = false;
    }

    /// Counters and levels.
    pub fn stats(&self) -> SessionStats {
        let [message, bulk] = &self.tx;
        let stats = SessionStats {
            in_flight: message.records() + bulk.records(),
            srtt_us: self.trip.smoothed().0,
            queued_bytes: message.queued_bytes() + bulk.queued_bytes(),
            unacked_bytes: message.unacked_bytes() + bulk.unacked_bytes(),
            ..self.stats
        };
        debug_assert_eq!(
            stats.accepted,
            stats.acked + stats.dropped_ended + stats.in_flight,
            "a record is acknowledged, dropped, or in flight"
        );
        stats
    }

    /// Ends the conversation: see the module text. The peer's next epoch, if known, is adopted by
    /// the caller.
    pub(super) fn end(&mut self, reason: EndReason) {
        let mut undelivered = Vec::new();
        for lane in &mut self.tx {
            lane.end(&mut undelivered);
        }
        self.behind_bulk.clear();
        self.stats.dropped_ended += undelivered.len() as u64;
        self.epochs.end();
        self.forget_received();
        self.timers.stop();
        self.probe_now = false;
        self.note_end(reason, undelivered);
    }

    /// Drops what came from the peer's old epoch.
    pub(super) fn forget_received(&mut self) {
        self.rx = Default::default();
        self.reassembly = Reassembly::default();
        self.unacknowledged = 0;
    }

    pub(super) fn note_end(&mut self, reason: EndReason, undelivered: Vec<RecordHeader>) {
        if std::mem::take(&mut self.opened) || !undelivered.is_empty() {
            self.stats.ends += 1;
            self.events.push_back(SessionEvent::Ended { reason, undelivered });
        }
    }

    /// Both lanes are acknowledged to their ends.
    pub(super) fn all_acked(&self) -> bool {
        self.tx.iter().all(LaneTx::is_empty)
    }

    pub(super) fn after_ack(&mut self) {
        if self.tx[Lane::Bulk as usize].is_empty() {
            self.behind_bulk.clear();
        }
        if self.all_acked() {
            self.timers.end_waiting();
        }
    }

    fn frame(&mut self, lane: Lane, outgoing: Outgoing, retransmit: bool) -> Transmit {
        let fields = SessionHeader {
            lane: Some(lane),
            record_count: outgoing.count,
            seq: outgoing.seq,
            barrier: outgoing.barrier,
            ..BARE
        };
        let header = self.header(fields, &outgoing.lead);
        Transmit { class: class_of(lane), header, records: outgoing.content, retransmit }
    }

    /// Fills in epochs and acknowledgements.
    fn complete(&self, fields: SessionHeader) -> SessionHeader {
        let (peer_epoch, flag) = self.epochs.peer_fields();
        SessionHeader {
            epoch: self.epochs.own(),
            peer_epoch,
            flags: fields.flags | flag,
            acks: [self.rx[0].ack(), self.rx[1].ack()],
            ..fields
        }
    }

    /// Encodes the completed header. Each frame acknowledges, so no acknowledgement is due
    /// afterwards.
    fn header(&mut self, fields: SessionHeader, lead: &[u8]) -> Bytes {
        let header = self.complete(fields);
        self.ack_now = false;
        self.unacknowledged = 0;
        self.timers.ack_sent();
        if self.header_block.capacity() < SESSION_HEADER_LEN + lead.len() {
            self.header_block.reserve(HEADER_BLOCK_LEN);
        }
        self.header_block.put_slice(&header.encode());
        self.header_block.put_slice(lead);
        self.header_block.split().freeze()
    }
}

fn class_of(lane: Lane) -> Class {
    match lane {
        Lane::Message => Class::Message,
        Lane::Bulk => Class::Bulk,
    }
}

fn bare(header: Bytes) -> Transmit {
    Transmit { class: Class::Control, header, records: Bytes::new(), retransmit: false }
}

/// A header without records, before [`Session::complete`].
const BARE: SessionHeader = SessionHeader {
    epoch: 0,
    peer_epoch: 0,
    lane: None,
    flags: 0,
    record_count: 0,
    seq: 0,
    barrier: 0,
    acks: [Ack { delivered: 0, received: 0 }; 2],
};

/// Headers are carved out of blocks, so that a frame costs no allocation.
const HEADER_BLOCK_LEN: usize = 60 * SESSION_HEADER_LEN;

const _: () = assert!(FRAME_OVERHEAD >= SESSION_HEADER_LEN);
