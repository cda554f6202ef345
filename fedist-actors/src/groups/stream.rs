//! The two ends of the stream of letters from one region to another: ordered, once, bounded.
//!
//! Letters are numbered from 1. They travel from neighbour to neighbour and may come late, twice
//! or not at all; the target puts them in order and says what is missing, the source keeps them
//! until they are acknowledged and sends the missing ones straight to the target. A stream lasts
//! as long as the session of its two regions: with the session's end the source counts what is
//! outstanding as lost and begins a new epoch at 1, and the target takes nothing more of the old.

use std::collections::BTreeMap;

use fedist_registry::Micros;

use super::protocol::{Ack, Letter, Notice};

/// The source's end.
pub(super) struct Outgoing {
    epoch: u32,
    next: u64,
    acked: u64,
    sent: BTreeMap<u64, Letter>,
    bytes: usize,
    /// When to ask what has come, if nothing is heard until then; `None` with nothing outstanding.
    probe_at: Option<Micros>,
    patience: Micros,
    /// Until when letters go straight to the target, because the way over neighbours lost some.
    straight_until: Micros,
}

/// Letters of one stream that are not acknowledged.
pub(super) const WINDOW: u64 = 1024;
/// Bytes of one stream that are not acknowledged; one letter may pass it.
pub(super) const WINDOW_BYTES: usize = 4 << 20;

const PATIENCE: Micros = Micros::from_millis(1_000);
const PATIENCE_MAX: Micros = Micros::from_secs(8);
const STRAIGHT: Micros = Micros::from_secs(5);

/// What an acknowledgement asks of the source.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// To be sent straight to the target.
    pub(super) repairs: Vec<(u64, Letter)>,
    /// Will not arrive: the target has closed the stream.
    pub(super) lost: Vec<Letter>,
}

impl Outgoing {
    pub(super) fn new() -> Self {
        Self {
            epoch: 1,
            next: 1,
            acked: 0,
            sent: BTreeMap::new(),
            bytes: 0,
            probe_at: None,
            patience: PATIENCE,
            straight_until: Micros::ZERO,
        }
    }

    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    pub(super) fn has_room(&self) -> bool {
        (self.sent.len() as u64) < WINDOW && self.bytes < WINDOW_BYTES
    }

    pub(super) fn goes_straight(&self, now: Micros) -> bool {
        now < self.straight_until
    }

    pub(super) fn outstanding(&self) -> usize {
        self.sent.len()
    }

    /// Keeps a letter and gives its number.
    pub(super) fn push(&mut self, now: Micros, letter: Letter) -> u64 {
        let seq = self.next;
        self.next += 1;
        self.bytes += letter.weight();
        self.sent.insert(seq, letter);
        self.probe_at.get_or_insert(now.saturating_add(self.patience));
        seq
    }

    pub(super) fn handle_ack(&mut self, now: Micros, ack: &Ack) -> Settled {
        let mut settled = Settled::default();
        if ack.epoch != self.epoch || ack.upto >= self.next {
            return settled;
        }
        // A target that asks for what it has acknowledged has lost its memory of the stream.
        let forgotten = ack.missing.first().is_some_and(|(first, _)| *first <= self.acked);
        if ack.closed || forgotten {
            settled.lost = self.restart();
            return settled;
        }
        self.acked = self.acked.max(ack.upto);
        while let Some(entry) = self.sent.first_entry()
            && *entry.key() <= ack.upto
        {
            self.bytes -= entry.remove().weight();
        }
        let mut from = ack.upto + 1;
        for (first, last) in ack.missing.iter().take(GAPS_NAMED) {
            // Ascending, so that no letter is sent twice however the gaps are named.
            if *first < from || last < first {
                break;
            }
            let gap = self.sent.range(first..=last);
            settled.repairs.extend(gap.map(|(seq, letter)| (*seq, letter.clone())));
            from = last.saturating_add(1);
        }
        if !settled.repairs.is_empty() {
            self.straight_until = now.saturating_add(STRAIGHT);
        }
        self.patience = PATIENCE;
        self.probe_at = (!self.sent.is_empty()).then(|| now.saturating_add(PATIENCE));
        settled
    }

    pub(super) fn deadline(&self) -> Option<Micros> {
        self.probe_at
    }

    pub(super) fn handle_timeout(&mut self, now: Micros, boot: u32) -> Option<Notice> {
        if self.probe_at.is_none_or(|at| now < at) {
            return None;
        }
        self.patience = Micros((self.patience.0 * 2).min(PATIENCE_MAX.0));
        self.probe_at = Some(now.saturating_add(self.patience));
        Some(Notice::Probe { boot, epoch: self.epoch, high: self.next - 1 })
    }

    /// Begins the next epoch; gives what was outstanding.
    pub(super) fn restart(&mut self) -> Vec<Letter> {
        let lost = std::mem::take(&mut self.sent).into_values().collect();
        *self = Self { epoch: self.epoch.saturating_add(1), ..Self::new() };
        lost
    }
}

/// The target's end.
pub(super) struct Incoming {
    boot: u32,
    epoch: u32,
    closed: bool,
    next: u64,
    /// Came before one with a lower number.
    early: BTreeMap<u64, Letter>,
    early_bytes: usize,
    /// The highest number known to be sent.
    high: u64,
    unacked: u32,
    unacked_bytes: usize,
    ack_at: Option<Micros>,
    /// When to ask for what is missing.
    gap_at: Option<Micros>,
}

/// Acknowledged at once after so many letters or bytes, else after the delay.
const ACK_EVERY: u32 = 128;
const ACK_EVERY_BYTES: usize = 512 << 10;
const ACK_DELAY: Micros = Micros::from_millis(200);
/// Between the first sight of a gap and the first request: copies over two routes may cross.
const GAP_GRACE: Micros = Micros::from_millis(100);
/// Between two requests for the same gap.
const GAP_AGAIN: Micros = Micros::from_secs(1);
/// Gaps named in one acknowledgement.
const GAPS_NAMED: usize = 64;

impl Incoming {
    pub(super) fn new() -> Self {
        Self {
            boot: 0,
            epoch: 0,
            closed: false,
            next: 1,
            early: BTreeMap::new(),
            early_bytes: 0,
            high: 0,
            unacked: 0,
            unacked_bytes: 0,
            ack_at: None,
            gap_at: None,
        }
    }

    /// Takes a letter in; gives what can be delivered now, in order.
    pub(super) fn accept(
        &mut self,
        now: Micros,
        boot: u32,
        epoch: u32,
        seq: u64,
        letter: Letter,
    ) -> Vec<Letter> {
        if !self.is_current(now, boot, epoch) || seq < self.next || seq - self.next >= WINDOW {
            // A letter that comes again may mean that the acknowledgement did not arrive.
            self.ack_at.get_or_insert(now.saturating_add(ACK_DELAY));
            return Vec::new();
        }
        self.high = self.high.max(seq);
        if seq > self.next {
            // The source never has more under way; whoever sends more is not believed.
            if self.early_bytes >= WINDOW_BYTES {
                return Vec::new();
            }
            let weight = letter.weight();
            if self.early.insert(seq, letter).is_none() {
                self.early_bytes += weight;
            }
            self.gap_at.get_or_insert(now.saturating_add(GAP_GRACE));
            return Vec::new();
        }
        let mut ready = vec![letter];
        self.next += 1;
        while let Some(letter) = self.early.remove(&self.next) {
            self.early_bytes -= letter.weight();
            ready.push(letter);
            self.next += 1;
        }
        self.unacked += u32::try_from(ready.len()).unwrap_or(u32::MAX);
        self.unacked_bytes += ready.iter().map(Letter::weight).sum::<usize>();
        let due = if self.unacked >= ACK_EVERY || self.unacked_bytes >= ACK_EVERY_BYTES {
            now
        } else {
            now.saturating_add(ACK_DELAY)
        };
        self.ack_at = Some(self.ack_at.map_or(due, |at| at.min(due)));
        self.gap_at =
            (self.next <= self.high).then(|| self.gap_at.unwrap_or(now.saturating_add(GAP_GRACE)));
        ready
    }

    /// The source asks what has come.
    pub(super) fn handle_probe(&mut self, now: Micros, boot: u32, epoch: u32, high: u64) {
        if self.is_current(now, boot, epoch) {
            self.high = self.high.max(high.min(self.next.saturating_add(WINDOW - 1)));
            if self.next <= self.high {
                self.gap_at = Some(now);
            }
        }
        self.ack_at = Some(now);
    }

    pub(super) fn deadline(&self) -> Option<Micros> {
        match (self.ack_at, self.gap_at) {
            (Some(ack), Some(gap)) => Some(ack.min(gap)),
            (ack, gap) => ack.or(gap),
        }
    }

    /// The acknowledgement that is due.
    pub(super) fn poll_ack(&mut self, now: Micros) -> Option<Ack> {
        if self.deadline().is_none_or(|at| now < at) {
            return None;
        }
        let mut missing = Vec::new();
        if self.gap_at.is_some_and(|at| now >= at) && !self.closed {
            missing = self.gaps();
            self.gap_at = Some(now.saturating_add(GAP_AGAIN));
        }
        self.ack_at = None;
        self.unacked = 0;
        self.unacked_bytes = 0;
        Some(Ack {
            boot: self.boot,
            epoch: self.epoch,
            upto: self.next - 1,
            missing,
            closed: self.closed,
        })
    }

    /// Takes nothing more of this epoch: the session with the source has ended.
    pub(super) fn close(&mut self) {
        *self = Self { boot: self.boot, epoch: self.epoch, closed: self.epoch > 0, ..Self::new() };
    }

    /// Whether this is the stream being read; a later one takes its place.
    fn is_current(&mut self, now: Micros, boot: u32, epoch: u32) -> bool {
        if (boot, epoch) > (self.boot, self.epoch) {
            *self = Self { boot, epoch, ..Self::new() };
        }
        if (boot, epoch) == (self.boot, self.epoch) && self.closed {
            self.ack_at.get_or_insert(now);
        }
        (boot, epoch) == (self.boot, self.epoch) && !self.closed
    }

    fn gaps(&self) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        let mut from = self.next;
        for seq in self.early.keys().copied().chain([self.high + 1]) {
            if seq > from {
                gaps.push((from, seq - 1));
                if gaps.len() == GAPS_NAMED {
                    break;
                }
            }
            from = seq + 1;
        }
        gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(n: u64) -> Letter {
        Letter {
            group: "g".to_owned(),
            wire_type: 1,
            version: 1,
            from: None,
            body: bytes::Bytes::from(n.to_string()),
        }
    }

    const NOW: Micros = Micros::from_secs(1);

    fn at(ms: u64) -> Micros {
        NOW.saturating_add(Micros::from_millis(ms))
    }

    #[test]
    fn letters_that_overtake_each_other_are_put_in_order() {
        let mut target = Incoming::new();
        assert!(target.accept(NOW, 1, 1, 2, letter(2)).is_empty());
        assert!(target.accept(NOW, 1, 1, 3, letter(3)).is_empty());
        assert_eq!(target.accept(NOW, 1, 1, 1, letter(1)), [letter(1), letter(2), letter(3)]);
        assert!(target.accept(NOW, 1, 1, 2, letter(2)).is_empty(), "it came already");
    }

    #[test]
    fn what_is_missing_is_asked_for_after_a_grace_and_sent_again() {
        let (mut source, mut target) = (Outgoing::new(), Incoming::new());
        for n in 1..=4 {
            assert_eq!(source.push(NOW, letter(n)), n);
        }
        target.accept(NOW, 1, 1, 1, letter(1));
        target.accept(NOW, 1, 1, 4, letter(4));
        assert_eq!(target.poll_ack(NOW), None);
        let ack = target.poll_ack(at(100)).unwrap();
        assert_eq!(ack.missing, [(2, 3)]);
        let settled = source.handle_ack(at(150), &ack);
        assert_eq!(settled.repairs, [(2, letter(2)), (3, letter(3))]);
        assert!(source.goes_straight(at(150)));
        assert_eq!(source.outstanding(), 3);
        assert!(target.accept(at(200), 1, 1, 3, letter(3)).is_empty());
        assert_eq!(target.accept(at(200), 1, 1, 2, letter(2)).len(), 3);
        let ack = target.poll_ack(at(400)).unwrap();
        assert!(ack.missing.is_empty());
        source.handle_ack(at(450), &ack);
        assert_eq!(source.outstanding(), 0);
        assert_eq!(source.deadline(), None);
    }

    #[test]
    fn the_loss_of_the_last_letter_shows_when_the_source_asks() {
        let (mut source, mut target) = (Outgoing::new(), Incoming::new());
        source.push(NOW, letter(1));
        assert_eq!(source.handle_timeout(at(999), 1), None);
        let Some(Notice::Probe { boot, epoch, high }) = source.handle_timeout(at(1_000), 1) else {
            panic!("an acknowledgement is overdue");
        };
        target.handle_probe(at(1_050), boot, epoch, high);
        let ack = target.poll_ack(at(1_050)).unwrap();
        assert_eq!(source.handle_ack(at(1_100), &ack).repairs.len(), 1);
    }

    #[test]
    fn a_window_that_is_full_has_no_room_until_it_is_acknowledged() {
        let mut source = Outgoing::new();
        for n in 0..WINDOW {
            assert!(source.has_room());
            source.push(NOW, letter(n));
        }
        assert!(!source.has_room());
        let ack = Ack { boot: 1, epoch: 1, upto: 1, missing: Vec::new(), closed: false };
        source.handle_ack(NOW, &ack);
        assert!(source.has_room());
    }

    #[test]
    fn nothing_of_a_closed_epoch_is_taken_and_the_source_learns_it() {
        let (mut source, mut target) = (Outgoing::new(), Incoming::new());
        for n in 1..=3 {
            source.push(NOW, letter(n));
        }
        target.accept(NOW, 1, 1, 1, letter(1));
        target.close();
        assert!(target.accept(NOW, 1, 1, 2, letter(2)).is_empty());
        let ack = target.poll_ack(NOW).unwrap();
        assert!(ack.closed);
        assert_eq!(source.handle_ack(NOW, &ack).lost.len(), 3);
        let seq = source.push(NOW, letter(4));
        assert_eq!((source.epoch(), seq), (2, 1));
        assert_eq!(target.accept(NOW, 1, 2, 1, letter(4)), [letter(4)]);
    }

    #[test]
    fn an_acknowledgement_of_what_was_never_sent_is_not_believed() {
        let mut source = Outgoing::new();
        source.push(NOW, letter(1));
        let missing = vec![(1, u64::MAX), (1, u64::MAX), (5, 2)];
        let forged = Ack { boot: 1, epoch: 1, upto: 9, missing: missing.clone(), closed: false };
        assert!(source.handle_ack(NOW, &forged).repairs.is_empty());
        assert_eq!(source.outstanding(), 1);
        let wide = Ack { boot: 1, epoch: 1, upto: 0, missing, closed: false };
        assert_eq!(source.handle_ack(NOW, &wide).repairs.len(), 1, "once, however often named");
    }

    #[test]
    fn a_target_without_memory_of_the_stream_gets_a_new_one() {
        let mut source = Outgoing::new();
        for n in 1..=3 {
            source.push(NOW, letter(n));
        }
        let ack = Ack { boot: 1, epoch: 1, upto: 2, missing: Vec::new(), closed: false };
        source.handle_ack(NOW, &ack);
        let mut restarted = Incoming::new();
        restarted.accept(NOW, 1, 1, 3, letter(3));
        let ack = restarted.poll_ack(at(100)).unwrap();
        assert_eq!(source.handle_ack(at(100), &ack).lost, [letter(3)]);
        assert_eq!(source.epoch(), 2);
    }

    #[test]
    fn a_probe_with_an_absurd_number_asks_for_no_more_than_a_window() {
        let mut target = Incoming::new();
        target.handle_probe(NOW, 1, 1, u64::MAX);
        assert_eq!(target.poll_ack(NOW).unwrap().missing, [(1, WINDOW)]);
    }
}
