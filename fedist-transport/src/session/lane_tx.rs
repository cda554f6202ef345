use std::collections::VecDeque;
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use fedist_registry::Micros;

use super::SessionConfig;
use super::config::{FRAME_OVERHEAD, MAX_RECORDS_LEN};
use super::round_trip::RoundTrip;
use crate::wire::{Ack, Fragment, RecordHeader, Records};

/// The sending half of one lane: an open batch, closed frames that wait, and sent frames that are
/// not acknowledged.
///
/// ```text
///   acked | sent .. sent | waiting .. waiting | open batch
///           frames[..sent]  frames[sent..]
/// ```
#[derive(Debug, Default)]
pub(super) struct LaneTx {
    open: BytesMut,
    open_records: u16,
    open_barrier: u64,
    /// All closed frames that are not acknowledged; the front is frame `acked + 1`.
    frames: VecDeque<Frame>,
    acked: u64,
    /// How many of `frames`, from the front, have been handed out.
    sent: usize,
    /// How many of those the peer keeps without having delivered them.
    received: usize,
    sent_cost: usize,
    waiting_cost: usize,
    records: u64,
    /// Single frames that are known to be lost.
    lost: VecDeque<u64>,
    recovery: Option<Recovery>,
    deadline: Option<Micros>,
    backoff: u32,
}

#[derive(Debug)]
struct Frame {
    /// What goes before a piece of a large record.
    lead: Bytes,
    content: Bytes,
    barrier: u64,
    sent_at: Micros,
    transmissions: u32,
    /// Records in the frame on the wire; a fragment counts as one.
    count: u16,
    /// The peer has the frame and keeps it for its turn.
    received: bool,
    queued_again: bool,
    pieces: Pieces,
}

/// How the content of a frame counts as records.
#[derive(Debug)]
enum Pieces {
    Whole,
    Part,
    /// The last piece stands for its record.
    Last(Box<RecordHeader>),
}

/// Sending a range of frames again, at a pace that acknowledgements set.
#[derive(Debug)]
struct Recovery {
    next: u64,
    end: u64,
    /// What goes after that: frames that may well have arrived, only their acknowledgements did not.
    after: Option<Range<u64>>,
    allowance: usize,
}

/// A frame to hand out.
pub(super) struct Outgoing {
    pub(super) seq: u64,
    pub(super) barrier: u64,
    pub(super) count: u16,
    pub(super) lead: Bytes,
    pub(super) content: Bytes,
}

/// What an acknowledgement has brought.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Acked {
    pub(super) records: u32,
    pub(super) bytes: usize,
}

/// The peer acknowledges what was never sent.
#[derive(Debug, PartialEq)]
pub(super) struct NeverSent;

impl LaneTx {
    /// Adds one record to the open batch.
    pub(super) fn push(&mut self, header: &RecordHeader, body: &[u8], barrier: u64, batch: usize) {
        let need = header.encoded_len(body.len());
        if !self.open.is_empty() && self.open.len() + need > batch {
            self.close_batch();
        }
        if self.open.is_empty() && self.open.capacity() < need.max(batch) {
            // One block serves many batches; a batch never moves while it grows.
            self.open.reserve(need.max(batch).max(BLOCK_LEN));
        }
        header.encode_into(body, &mut self.open);
        self.open_records += 1;
        self.open_barrier = self.open_barrier.max(barrier);
        self.records += 1;
        if self.open.len() >= batch || self.open_records == u16::MAX {
            self.close_batch();
        }
    }

    /// Adds `count` encoded records. A batch of some size becomes a frame as it is; small ones are put together.
    pub(super) fn push_encoded(&mut self, records: &Bytes, count: u16, batch: usize) {
        let len = records.len();
        let fits = self.open.len() + len <= batch && self.open_records.checked_add(count).is_some();
        if !self.open.is_empty() && !fits {
            self.close_batch();
        }
        self.records += u64::from(count);
        if self.open.is_empty() && len >= batch / 4 {
            self.enqueue(Bytes::new(), records.clone(), count, 0, Pieces::Whole);
            return;
        }
        if self.open.is_empty() && self.open.capacity() < len.max(batch) {
            self.open.reserve(len.max(batch).max(BLOCK_LEN));
        }
        self.open.put_slice(records);
        self.open_records += count;
        if self.open.len() >= batch {
            self.close_batch();
        }
    }

    /// Adds one record that is larger than a frame, in pieces of their own frames.
    /// The pieces share its body.
    pub(super) fn push_large(&mut self, header: &RecordHeader, body: &Bytes, barrier: u64) {
        self.close_batch();
        let mut rest = body.clone();
        let mut first = true;
        while first || !rest.is_empty() {
            let mut lead = BytesMut::with_capacity(Fragment::HEADER_LEN + RecordHeader::MAX_LEN);
            lead.put_u8(0);
            if first {
                header.encode_header(u32::try_from(body.len()).unwrap_or(u32::MAX), &mut lead);
            }
            let room = FRAGMENT_LEN + Fragment::HEADER_LEN - lead.len();
            let content = rest.split_to(room.min(rest.len()));
            let last = rest.is_empty();
            if let Some(byte) = lead.first_mut() {
                *byte = Fragment::lead(first, last);
            }
            let pieces = if last { Pieces::Last(Box::new(*header)) } else { Pieces::Part };
            self.enqueue(lead.freeze(), content, 1, barrier, pieces);
            first = false;
        }
        self.records += 1;
    }

    /// Closes the open batch if it holds anything.
    pub(super) fn close_batch(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let content = self.open.split().freeze();
        let count = std::mem::take(&mut self.open_records);
        let barrier = std::mem::take(&mut self.open_barrier);
        self.enqueue(Bytes::new(), content, count, barrier, Pieces::Whole);
    }

    /// Number of the last closed frame.
    pub(super) fn last_closed(&self) -> u64 {
        self.acked + self.frames.len() as u64
    }

    /// Number that the last frame has or will have when the open batch is closed.
    pub(super) fn last_seq(&self) -> u64 {
        self.last_closed() + u64::from(!self.open.is_empty())
    }

    pub(super) fn acked(&self) -> u64 {
        self.acked
    }

    /// The peer has acknowledged nothing at all.
    pub(super) fn is_untouched(&self) -> bool {
        self.acked == 0 && self.received == 0
    }

    /// Records that are neither acknowledged nor dropped.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.open.is_empty()
    }

    pub(super) fn queued_bytes(&self) -> usize {
        let open = if self.open.is_empty() { 0 } else { self.open.len() + FRAME_OVERHEAD };
        self.waiting_cost + open
    }

    pub(super) fn unacked_bytes(&self) -> usize {
        self.sent_cost
    }

    /// Whether `need` more bytes would be too many. An empty queue takes anything.
    pub(super) fn is_full(&self, need: usize, queue_bytes: usize) -> bool {
        let queued = self.queued_bytes();
        let overhead = FRAME_OVERHEAD * (1 + need / FRAGMENT_LEN);
        queued > 0 && queued.saturating_add(need + overhead) > queue_bytes
    }

    /// When the lane wants [`on_timeout`](Self::on_timeout).
    pub(super) fn deadline(&self) -> Option<Micros> {
        self.deadline
    }

    /// Whether anything waits to be handed out, room in the window or not.
    pub(super) fn has_transmit(&self) -> bool {
        self.sent < self.frames.len()
            || !self.open.is_empty()
            || !self.lost.is_empty()
            || self.recovery.is_some()
    }

    /// Hands out the next frame that was never sent, if the window has room.
    pub(super) fn take_new(&mut self, now: Micros, window: usize, rto: Micros) -> Option<Outgoing> {
        let cost = match self.frames.get(self.sent) {
            Some(frame) => frame.cost(),
            None if self.open.is_empty() => return None,
            None => self.open.len() + FRAME_OVERHEAD,
        };
        if self.sent_cost > 0 && self.sent_cost + cost > window {
            return None;
        }
        if self.sent == self.frames.len() {
            self.close_batch();
        }
        let seq = self.acked + self.sent as u64 + 1;
        let frame = self.frames.get_mut(self.sent)?;
        frame.sent_at = now;
        frame.transmissions = 1;
        self.sent += 1;
        self.waiting_cost -= cost;
        self.sent_cost += cost;
        self.deadline.get_or_insert(now + rto);
        Some(frame.outgoing(seq))
    }

    /// Hands out the next frame that has to go again.
    pub(super) fn take_again(&mut self, now: Micros) -> Option<Outgoing> {
        while let Some(seq) = self.lost.pop_front() {
            if let Some(outgoing) = self.send_again(seq, now) {
                return Some(outgoing);
            }
        }
        loop {
            let recovery = self.recovery.as_mut()?;
            if recovery.next >= recovery.end {
                if let Some(after) = recovery.after.take() {
                    (recovery.next, recovery.end) = (after.start, after.end);
                    continue;
                }
                self.recovery = None;
                return None;
            }
            if recovery.allowance == 0 {
                return None;
            }
            let seq = recovery.next;
            recovery.next += 1;
            if let Some(outgoing) = self.send_again(seq, now) {
                if let Some(recovery) = &mut self.recovery {
                    let len = outgoing.content.len() + FRAME_OVERHEAD;
                    recovery.allowance = recovery.allowance.saturating_sub(len);
                }
                return Some(outgoing);
            }
        }
    }

    /// Takes the peer's word on this lane.
    pub(super) fn on_ack(
        &mut self,
        now: Micros,
        ack: Ack,
        trip: &mut RoundTrip,
        config: &SessionConfig,
    ) -> Result<Acked, NeverSent> {
        if ack.delivered > self.acked + self.sent as u64 {
            return Err(NeverSent);
        }
        if ack.delivered < self.acked {
            // Overtaken by a later one, which said all that this one says.
            return Ok(Acked::default());
        }
        let mut sample = None;
        let mut done = Acked::default();
        let mut progress = ack.delivered > self.acked;
        while self.acked < ack.delivered {
            let Some(frame) = self.frames.pop_front() else {
                break;
            };
            self.acked += 1;
            self.sent -= 1;
            self.sent_cost -= frame.cost();
            if frame.received {
                self.received -= 1;
            } else if frame.transmissions == 1 {
                sample = Some(frame.sent_at);
            }
            let records = frame.records();
            self.records -= u64::from(records);
            done.records += records;
            done.bytes += frame.content.len();
        }
        if ack.received != 0 {
            progress |= self.note_received(ack.received, &mut sample);
            self.find_lost(now, ack.received, trip.smoothed());
        }
        if let Some(sent_at) = sample {
            trip.sample(now - sent_at);
        }
        if progress {
            self.backoff = 0;
            self.deadline = (self.sent > 0).then(|| now + trip.timeout(config, 0));
            self.pace_recovery(done.bytes);
        }
        Ok(done)
    }

    /// The time-out of the lane has passed: starts to send again what is not acknowledged. Says
    /// whether there is no such frame and the peer has to be asked instead.
    pub(super) fn on_timeout(
        &mut self,
        now: Micros,
        trip: &RoundTrip,
        config: &SessionConfig,
    ) -> bool {
        self.backoff = self.backoff.saturating_add(1);
        self.deadline = (self.sent > 0).then(|| now + trip.timeout(config, self.backoff));
        self.start_recovery(RECOVERY_START, Micros::ZERO);
        self.sent > 0 && self.received == self.sent
    }

    /// Sends everything unacknowledged again, at once: what went since `lost_since` first, as that
    /// is lost for certain, then what was sent before.
    pub(super) fn resend_all(&mut self, now: Micros, rto: Micros, lost_since: Micros) {
        self.backoff = 0;
        self.deadline = (self.sent > 0).then(|| now + rto);
        self.start_recovery(usize::MAX, lost_since);
    }

    /// Empties the lane for a new epoch and gives the headers of all its records in order.
    pub(super) fn end(&mut self, undelivered: &mut Vec<RecordHeader>) {
        self.close_batch();
        for frame in std::mem::take(&mut self.frames) {
            match frame.pieces {
                Pieces::Whole => {
                    undelivered.extend(Records::new(frame.content).flatten().map(|(head, _)| head));
                }
                Pieces::Part => {}
                Pieces::Last(header) => undelivered.push(*header),
            }
        }
        *self = Self { open: std::mem::take(&mut self.open), ..Self::default() };
    }

    fn enqueue(&mut self, lead: Bytes, content: Bytes, count: u16, barrier: u64, pieces: Pieces) {
        debug_assert!(lead.len() + content.len() <= MAX_RECORDS_LEN);
        let frame = Frame {
            lead,
            content,
            barrier,
            sent_at: Micros::ZERO,
            transmissions: 0,
            count,
            received: false,
            queued_again: false,
            pieces,
        };
        self.waiting_cost += frame.cost();
        self.frames.push_back(frame);
    }

    /// The frame `seq` if it was sent and is not acknowledged.
    fn sent_frame(&mut self, seq: u64) -> Option<&mut Frame> {
        let place = usize::try_from(seq.checked_sub(self.acked + 1)?).ok()?;
        if place < self.sent { self.frames.get_mut(place) } else { None }
    }

    fn send_again(&mut self, seq: u64, now: Micros) -> Option<Outgoing> {
        let frame = self.sent_frame(seq)?;
        frame.queued_again = false;
        if frame.received {
            return None;
        }
        frame.sent_at = now;
        frame.transmissions = frame.transmissions.saturating_add(1);
        Some(frame.outgoing(seq))
    }

    fn note_received(&mut self, received: u64, sample: &mut Option<Micros>) -> bool {
        let mut progress = false;
        let mut bits = received;
        while bits != 0 {
            let place = bits.trailing_zeros() as usize;
            bits &= bits - 1;
            if place >= self.sent {
                break;
            }
            let Some(frame) = self.frames.get_mut(place) else {
                break;
            };
            if !frame.received {
                frame.received = true;
                self.received += 1;
                progress = true;
                if frame.transmissions == 1 {
                    *sample = Some(frame.sent_at);
                }
            }
        }
        progress
    }

    /// A frame with three received ones behind it is taken as lost: at once if it was sent only
    /// once, else not before a round trip has passed since it went again.
    fn find_lost(&mut self, now: Micros, received: u64, round_trip: Micros) {
        let mut behind = received;
        for _ in 0..LOST_AFTER - 1 {
            behind &= !(1_u64.checked_shl(behind.checked_ilog2().unwrap_or(0)).unwrap_or(0));
        }
        let Some(third_last) = behind.checked_ilog2() else {
            return;
        };
        let mut holes = !received & ((1_u64 << third_last) - 1);
        while holes != 0 {
            let place = holes.trailing_zeros() as usize;
            holes &= holes - 1;
            if place >= self.sent {
                return;
            }
            let seq = self.acked + 1 + place as u64;
            let Some(frame) = self.frames.get_mut(place) else {
                return;
            };
            let due = frame.transmissions <= 1 || now - frame.sent_at >= round_trip;
            if due && !frame.received && !frame.queued_again {
                frame.queued_again = true;
                self.lost.push_back(seq);
            }
        }
    }

    fn start_recovery(&mut self, allowance: usize, lost_since: Micros) {
        self.lost.clear();
        for frame in self.frames.iter_mut().take(self.sent) {
            frame.queued_again = false;
        }
        // From the back: frames at the front may carry the younger date of a retransmission.
        let sent = self.frames.range(..self.sent);
        let doubtful = sent.rev().position(|frame| frame.sent_at < lost_since);
        let doubtful = doubtful.map_or(0, |behind| self.sent - behind);
        let first = self.acked + 1;
        let next = first + doubtful as u64;
        self.recovery = (self.sent > 0).then_some(Recovery {
            next,
            end: first + self.sent as u64,
            after: (doubtful > 0).then_some(first..next),
            allowance,
        });
    }

    fn pace_recovery(&mut self, acked_bytes: usize) {
        let Some(recovery) = &mut self.recovery else {
            return;
        };
        if self.acked >= recovery.next {
            // The originals arrive: they were slow, not lost.
            self.recovery = None;
        } else {
            let more = acked_bytes.saturating_mul(2);
            recovery.allowance = recovery.allowance.saturating_add(more);
        }
    }
}

impl Frame {
    fn cost(&self) -> usize {
        self.content.len() + FRAME_OVERHEAD
    }

    fn records(&self) -> u32 {
        match self.pieces {
            Pieces::Whole => self.count.into(),
            Pieces::Part => 0,
            Pieces::Last(_) => 1,
        }
    }

    fn outgoing(&self, seq: u64) -> Outgoing {
        Outgoing {
            seq,
            barrier: self.barrier,
            count: self.count,
            lead: self.lead.clone(),
            content: self.content.clone(),
        }
    }
}

/// Open batches are carved out of blocks of this size.
const BLOCK_LEN: usize = 64 * 1024;
/// Bytes of a large record in one frame: large enough to be cheap, small enough not to hold up a
/// link for long.
const FRAGMENT_LEN: usize = 32 * 1024;
/// What goes again at a time-out before anything is heard.
const RECOVERY_START: usize = 64 * 1024;
/// Frames received behind a hole that make it a loss.
const LOST_AFTER: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::RecordKind;

    fn lane_with(frames: u32) -> LaneTx {
        let header = RecordHeader {
            kind: RecordKind::Tell,
            to: None,
            from: None,
            type_hash: 0,
            version: 0,
            correlation: 0,
            deadline_ms: 0,
        };
        let mut lane = LaneTx::default();
        for _ in 0..frames {
            lane.push(&header, b"body", 0, 1);
            lane.take_new(Micros(1), 1 << 20, Micros(100)).expect("there is room");
        }
        lane
    }

    fn ack(lane: &mut LaneTx, delivered: u64, received: u64) -> Result<Acked, NeverSent> {
        let ack = Ack { delivered, received };
        lane.on_ack(Micros(50), ack, &mut RoundTrip::default(), &SessionConfig::default())
    }

    #[test]
    fn a_peer_that_keeps_everything_is_asked_instead_of_sent_copies() {
        let mut lane = lane_with(1);
        assert_eq!(ack(&mut lane, 0, 1), Ok(Acked::default()));
        let ask = lane.on_timeout(Micros(999), &RoundTrip::default(), &SessionConfig::default());
        assert!(ask);
        assert!(lane.take_again(Micros(999)).is_none());
        assert!(lane.deadline().is_some(), "and asked again later");
    }

    #[test]
    fn what_was_never_sent_cannot_be_acknowledged() {
        let mut lane = lane_with(2);
        assert_eq!(ack(&mut lane, 3, 0), Err(NeverSent));
        assert_eq!(ack(&mut lane, 0, u64::MAX), Ok(Acked::default()));
        assert_eq!(ack(&mut lane, 2, u64::MAX).map(|done| done.records), Ok(2));
        assert!(lane.is_empty());
        assert_eq!(lane.deadline(), None);
    }
}
