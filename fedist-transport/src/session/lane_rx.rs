use std::collections::BTreeMap;

use bytes::Bytes;

use super::config::FRAME_OVERHEAD;
use crate::wire::Ack;

/// The receiving half of one lane: what has been delivered, and what came before its turn.
#[derive(Debug, Default)]
pub(super) struct LaneRx {
    ack: Ack,
    held: BTreeMap<u64, Held>,
    held_cost: usize,
}

#[derive(Debug)]
struct Held {
    content: Bytes,
    barrier: u64,
}

/// What became of a frame.
#[derive(Debug, PartialEq)]
pub(super) enum Admission {
    /// Its turn has come; it counts as delivered.
    Deliver(Bytes),
    /// Kept for later.
    Kept,
    /// It was here before.
    Duplicate,
    /// No room to keep it.
    Overflow,
}

impl LaneRx {
    /// What to tell the peer.
    pub(super) fn ack(&self) -> Ack {
        self.ack
    }

    /// Number of the last delivered frame.
    pub(super) fn delivered(&self) -> u64 {
        self.ack.delivered
    }

    /// Takes frame `seq`, which may be delivered once the other lane has delivered `barrier`.
    pub(super) fn admit(
        &mut self,
        seq: u64,
        barrier: u64,
        content: Bytes,
        other_delivered: u64,
        limit: usize,
    ) -> Admission {
        let Some(ahead) = seq.checked_sub(self.ack.delivered + 1) else {
            return Admission::Duplicate;
        };
        if self.held.contains_key(&seq) {
            return Admission::Duplicate;
        }
        if ahead == 0 && barrier <= other_delivered {
            self.advance();
            return Admission::Deliver(content);
        }
        let cost = content.len() + FRAME_OVERHEAD;
        // The next frame is always kept, or a full buffer could never empty itself.
        if ahead > 0 && self.held_cost + cost > limit {
            return Admission::Overflow;
        }
        self.held_cost += cost;
        self.held.insert(seq, Held { content, barrier });
        if ahead < 64 {
            self.ack.received |= 1 << ahead;
        }
        Admission::Kept
    }

    /// The next kept frame if its turn has come; it counts as delivered.
    pub(super) fn take_ready(&mut self, other_delivered: u64) -> Option<Bytes> {
        let entry = self.held.first_entry()?;
        if *entry.key() != self.ack.delivered + 1 || entry.get().barrier > other_delivered {
            return None;
        }
        let held = entry.remove();
        self.held_cost -= held.content.len() + FRAME_OVERHEAD;
        self.advance();
        Some(held.content)
    }

    fn advance(&mut self) {
        self.ack.delivered += 1;
        self.ack.received >>= 1;
        let edge = self.ack.delivered.saturating_add(64);
        if !self.held.is_empty() && self.held.contains_key(&edge) {
            self.ack.received |= 1 << 63;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(lane: &mut LaneRx, seq: u64) -> Admission {
        lane.admit(seq, 0, Bytes::from_static(b"r"), 0, 100_000)
    }

    #[test]
    fn frames_are_delivered_in_order_and_once() {
        let mut lane = LaneRx::default();
        assert_eq!(admit(&mut lane, 2), Admission::Kept);
        assert_eq!(admit(&mut lane, 2), Admission::Duplicate);
        assert_eq!(lane.ack(), Ack { delivered: 0, received: 0b10 });
        assert!(matches!(admit(&mut lane, 1), Admission::Deliver(_)));
        assert!(lane.take_ready(0).is_some());
        assert!(lane.take_ready(0).is_none());
        assert_eq!(lane.ack(), Ack { delivered: 2, received: 0 });
        assert_eq!(admit(&mut lane, 1), Admission::Duplicate);
        assert_eq!(admit(&mut lane, 0), Admission::Duplicate);
    }

    #[test]
    fn a_frame_waits_for_its_barrier_and_says_that_it_is_there() {
        let mut lane = LaneRx::default();
        let admission = lane.admit(1, 5, Bytes::new(), 4, 1_000);
        assert_eq!(admission, Admission::Kept);
        assert_eq!(lane.ack(), Ack { delivered: 0, received: 1 });
        assert!(lane.take_ready(4).is_none());
        assert!(lane.take_ready(5).is_some());
    }

    #[test]
    fn the_buffer_is_bounded_but_takes_the_next_frame() {
        let mut lane = LaneRx::default();
        let kept = (2..1_000).filter(|seq| {
            lane.admit(*seq, 0, Bytes::new(), 0, 10 * FRAME_OVERHEAD) == Admission::Kept
        });
        assert_eq!(kept.count(), 10);
        assert_eq!(lane.admit(1, 9, Bytes::new(), 0, 0), Admission::Kept);
        assert_eq!(lane.admit(u64::MAX, 0, Bytes::new(), 0, 0), Admission::Overflow);
    }

    #[test]
    fn the_bitmap_follows_frames_from_beyond_its_edge() {
        let mut lane = LaneRx::default();
        for seq in (2..=150).rev() {
            assert_eq!(admit(&mut lane, seq), Admission::Kept);
        }
        assert_eq!(lane.ack().received, u64::MAX - 1);
        assert!(matches!(admit(&mut lane, 1), Admission::Deliver(_)));
        assert_eq!(lane.ack().received, u64::MAX);
        for _ in 0..100 {
            assert!(lane.take_ready(0).is_some());
        }
        assert_eq!(lane.ack(), Ack { delivered: 101, received: (1 << 49) - 1 });
    }
}
