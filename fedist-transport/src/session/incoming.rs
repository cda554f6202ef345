use bytes::{Buf, Bytes};
use fedist_registry::Micros;

use super::Session;
use super::epoch::{PeerView, Verdict};
use super::event::{EndReason, SessionEvent};
use super::lane_rx::Admission;
use super::lane_tx::LaneTx;
use crate::wire::{
    FLAG_GOODBYE, FLAG_PROBE, Fragment, Lane, SESSION_HEADER_LEN, SessionHeader, WireError,
    check_records,
};

impl Session {
    /// Takes the payload of a session frame from the peer. Any bytes are allowed: what is not a
    /// proper frame of this session is dropped and counted, and changes nothing else.
    pub fn handle_frame(&mut self, now: Micros, payload: Bytes) {
        let Ok((header, content)) = split(payload) else {
            self.stats.malformed_frames += 1;
            return;
        };
        if let Some(goodbye) = &mut self.goodbye {
            // The peer has missed the goodbye, or has forgotten it by an epoch of its own: say it
            // to that epoch. A goodbye itself needs no answer.
            if !header.has(FLAG_GOODBYE) && self.timers.may_answer(now) {
                goodbye.peer_epoch = header.epoch;
                goodbye.flags = FLAG_GOODBYE;
                self.goodbye_now = true;
            }
            return;
        }
        if header.has(FLAG_GOODBYE) {
            self.take_goodbye(now, &header);
            return;
        }
        if !self.enter(now, &header) {
            return;
        }
        // Only a peer that knows our present epoch can say something about what we sent in it.
        if self.epochs.view(&header) == PeerView::Present {
            self.timers.heard(now);
            self.take_acks(now, &header);
        }
        if let Some(lane) = header.lane {
            self.take_content(now, lane, &header, content);
        }
        if header.has(FLAG_PROBE) {
            self.ack_now = true;
        }
    }

    /// The peer leaves. A goodbye counts for the peer's epoch whatever it knew of ours: it will not
    /// be said in another way.
    fn take_goodbye(&mut self, now: Micros, header: &SessionHeader) {
        // An old one may still answer what we have sent in our newest epoch.
        let present = self.epochs.view(header) == PeerView::Present;
        let answers_us = present && self.epochs.remote().is_none();
        if self.epochs.is_over(header.epoch) && !answers_us {
            self.stats.stale_frames += 1;
            return;
        }
        let current = self.epochs.remote() == Some(header.epoch);
        if current && present {
            self.take_acks(now, header);
        }
        if !self.epochs.is_over(header.epoch) {
            self.epochs.adopt(header.epoch);
        }
        self.end(EndReason::Goodbye);
        self.ack_now = false;
    }

    /// Judges the epochs of a frame and does what they ask for. Says whether the frame is to be
    /// taken.
    fn enter(&mut self, now: Micros, header: &SessionHeader) -> bool {
        let view = self.epochs.view(header);
        let untouched = self.tx.iter().all(LaneTx::is_untouched);
        match self.epochs.judge(header.epoch, view, untouched) {
            Verdict::Current => true,
            Verdict::Adopt => {
                self.open(now, header.epoch);
                true
            }
            Verdict::Switch => {
                self.forget_received();
                self.note_end(EndReason::PeerReset, Vec::new());
                self.open(now, header.epoch);
                self.ack_now = true;
                view != PeerView::Past
            }
            Verdict::Reset { restarted } => {
                self.end(if restarted { EndReason::PeerRestarted } else { EndReason::PeerReset });
                self.open(now, header.epoch);
                self.ack_now = true;
                // Our epoch has just changed: only a frame that opens is not meant for the old one.
                matches!(view, PeerView::Opening | PeerView::Over)
            }
            Verdict::Stale => {
                self.stats.stale_frames += 1;
                self.ack_now |= self.timers.may_answer(now);
                false
            }
            Verdict::Future => {
                self.stats.stale_frames += 1;
                false
            }
        }
    }

    /// The peer's node is known to have started again, as its start number `boot` says, although no frame of the new life has
    /// come yet: what is accepted from here on is for that one. Does nothing if the conversation is with this life already, or
    /// with none.
    pub fn handle_peer_boot(&mut self, boot: u32) {
        if self.epochs.peer_boot().is_some_and(|held| held < boot) {
            self.end(EndReason::PeerRestarted);
            // Whoever watches is to hear of the new life, whether or not anybody has something to say to it.
            self.probe_now = self.watched;
        }
    }

    /// The peer's region has left for good: ends the conversation, if there is one. Should the region come back, the next
    /// `push` opens a new one.
    pub fn handle_peer_left(&mut self) {
        if self.opened || !self.all_acked() {
            self.end(EndReason::PeerLeft);
        }
    }

    fn open(&mut self, now: Micros, epoch: u64) {
        self.epochs.adopt(epoch);
        self.opened = true;
        self.timers.heard(now);
        self.events.push_back(SessionEvent::Opened { peer_epoch: epoch });
    }

    fn take_acks(&mut self, now: Micros, header: &SessionHeader) {
        let (mut records, mut bytes) = (0, 0);
        for (lane, ack) in self.tx.iter_mut().zip(header.acks) {
            match lane.on_ack(now, ack, &mut self.trip, &self.config) {
                Ok(done) => {
                    records += done.records;
                    bytes += done.bytes;
                }
                Err(_) => self.stats.malformed_frames += 1,
            }
        }
        if bytes > 0 {
            self.stats.acked += u64::from(records);
            self.events.push_back(SessionEvent::Acked { records, bytes });
            self.after_ack();
        }
    }

    fn take_content(&mut self, now: Micros, lane: Lane, header: &SessionHeader, content: Bytes) {
        let other_delivered = self.rx[lane.other() as usize].delivered();
        let limit = self.config.reorder_bytes;
        let rx = &mut self.rx[lane as usize];
        let mut in_turn = false;
        match rx.admit(header.seq, header.barrier, content, other_delivered, limit) {
            Admission::Deliver(content) => {
                in_turn = true;
                self.stats.frames_received += 1;
                self.deliver(content);
                self.deliver_kept();
            }
            Admission::Kept => {
                self.stats.frames_received += 1;
                self.stats.reordered_frames += 1;
            }
            Admission::Duplicate => self.stats.duplicate_frames += 1,
            Admission::Overflow => self.stats.overflowed_frames += 1,
        }
        self.unacknowledged += 1;
        // Anything out of turn is told at once: the sender learns of a hole, of a hole that is
        // filled, or of an acknowledgement that it has missed.
        if in_turn && self.unacknowledged < self.config.ack_every {
            self.timers.owe_ack(now, self.config.ack_delay);
        } else {
            self.ack_now = true;
        }
    }

    /// Delivers what was kept for its turn, in both lanes, until none is left whose turn it is.
    fn deliver_kept(&mut self) {
        loop {
            let mut delivered_any = false;
            for lane in Lane::ALL {
                let other_delivered = self.rx[lane.other() as usize].delivered();
                while let Some(content) = self.rx[lane as usize].take_ready(other_delivered) {
                    delivered_any = true;
                    self.deliver(content);
                }
            }
            if !delivered_any {
                return;
            }
            // What was kept has changed, and the peer should not wait to learn it.
            self.ack_now = true;
        }
    }

    fn deliver(&mut self, content: Bytes) {
        if !Fragment::is_fragment(&content) {
            self.events.push_back(SessionEvent::Deliver { records: content });
            return;
        }
        let whole = Fragment::decode(content)
            .and_then(|fragment| self.reassembly.take(fragment, self.config.max_message));
        match whole {
            Ok(Some((header, body))) => {
                self.events.push_back(SessionEvent::DeliverLarge { header, body });
            }
            Ok(None) => {}
            Err(_) => self.stats.malformed_frames += 1,
        }
    }
}

/// Takes a payload apart and checks all that can be checked without the session's state, so that a
/// frame is either taken as a whole or not at all.
fn split(mut payload: Bytes) -> Result<(SessionHeader, Bytes), WireError> {
    let header = SessionHeader::decode(&payload)?;
    payload.advance(SESSION_HEADER_LEN);
    if Fragment::is_fragment(&payload) {
        if header.lane != Some(Lane::Bulk) || header.record_count != 1 {
            return Err(WireError::Inconsistent("a fragment travels alone, on the bulk lane"));
        }
        Fragment::decode(payload.clone())?;
    } else {
        check_records(&payload, header.record_count)?;
    }
    Ok((header, payload))
}
