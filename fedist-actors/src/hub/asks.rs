//! Asks that wait for their answer, by correlation number and by deadline.

use std::collections::BTreeSet;

use crate::{AskError, outbox::Reply, process::IdMap};
use bytes::Bytes;
use fedist_registry::{Micros, RegionId};
use fedist_transport::wire::{RecordHeader, RecordKind, Records};

#[derive(Default)]
pub(super) struct Asks {
    next: u32,
    pending: IdMap<u32, Pending>,
    deadlines: BTreeSet<(Micros, u32)>,
    by_region: IdMap<RegionId, usize>,
}

struct Pending {
    region: RegionId,
    deadline: Micros,
    reply: Reply,
}

impl Asks {
    /// Takes an ask in and gives its correlation number, never 0. At the bound the ask ends at
    /// once as `Full`, and its number names nobody.
    pub(super) fn add(&mut self, region: RegionId, deadline: Micros, reply: Reply) -> u32 {
        if self.pending.len() >= MAX_PENDING {
            let _ = reply.send(Err(AskError::Full));
            return 0;
        }
        loop {
            self.next = self.next.wrapping_add(1);
            if self.next != 0 && !self.pending.contains_key(&self.next) {
                break;
            }
        }
        self.deadlines.insert((deadline, self.next));
        *self.by_region.entry(region).or_default() += 1;
        self.pending.insert(self.next, Pending { region, deadline, reply });
        self.next
    }

    /// Ends an ask. False when nobody waits (any more), or when another region answers it.
    pub(super) fn settle(
        &mut self,
        from: RegionId,
        correlation: u32,
        outcome: Result<Bytes, AskError>,
    ) -> bool {
        if self.pending.get(&correlation).is_none_or(|ask| ask.region != from) {
            return false;
        }
        self.take(correlation).is_some_and(|reply| reply.send(outcome).is_ok())
    }

    /// The time left of an ask, `None` when it has ended or its caller has gone.
    pub(super) fn time_left(&self, correlation: u32, now: Micros) -> Option<Micros> {
        let ask = self.pending.get(&correlation)?;
        let left = ask.deadline.saturating_sub(now);
        (left > Micros::ZERO && !ask.reply.is_closed()).then_some(left)
    }

    /// Writes the time that an ask has left into its header. False for one that is not to be sent any more: a request past
    /// its deadline is not (C11).
    pub(super) fn refreshed(&self, header: &mut RecordHeader, now: Micros) -> bool {
        if header.kind != RecordKind::Ask {
            return true;
        }
        let Some(left) = self.time_left(header.correlation, now) else {
            return false;
        };
        header.deadline_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1);
        true
    }

    /// The same for a batch: its records with the asks' deadlines of now, without those that are over, and how many they are.
    pub(super) fn written_anew(&self, records: &Bytes, now: Micros) -> (Bytes, u16) {
        let (mut kept, mut count) = (Vec::with_capacity(records.len()), 0);
        for (mut header, body) in Records::new(records.clone()).flatten() {
            if self.refreshed(&mut header, now) {
                header.encode_into(&body, &mut kept);
                count += 1;
            }
        }
        (kept.into(), count)
    }

    pub(super) fn next_deadline(&self) -> Option<Micros> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Ends every ask whose deadline has passed.
    pub(super) fn expire(&mut self, now: Micros) {
        while let Some((deadline, correlation)) = self.deadlines.first().copied() {
            if deadline > now {
                return;
            }
            match self.take(correlation) {
                Some(reply) => {
                    let _ = reply.send(Err(AskError::Timeout(std::time::Duration::ZERO)));
                }
                None => {
                    self.deadlines.remove(&(deadline, correlation));
                }
            }
        }
    }

    /// Ends every ask to a region whose session ended.
    pub(super) fn fail_region(&mut self, region: RegionId) -> usize {
        let mut ended: Vec<u32> = self
            .pending
            .iter()
            .filter(|(_, ask)| ask.region == region)
            .map(|(correlation, _)| *correlation)
            .collect();
        ended.sort_unstable();
        for correlation in &ended {
            if let Some(reply) = self.take(*correlation) {
                let _ = reply.send(Err(AskError::Unreachable(region)));
            }
        }
        ended.len()
    }

    pub(super) fn waits_for(&self, region: RegionId) -> bool {
        self.by_region.contains_key(&region)
    }

    fn take(&mut self, correlation: u32) -> Option<Reply> {
        let ask = self.pending.remove(&correlation)?;
        self.deadlines.remove(&(ask.deadline, correlation));
        if let Some(count) = self.by_region.get_mut(&ask.region) {
            *count -= 1;
            if *count == 0 {
                self.by_region.remove(&ask.region);
            }
        }
        Some(ask.reply)
    }
}

/// Asks of one node that may wait for their answers at the same time.
const MAX_PENDING: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn region(n: u16) -> RegionId {
        RegionId::new(n).unwrap()
    }

    #[test]
    fn an_ask_ends_exactly_once() {
        let mut asks = Asks::default();
        let (reply, mut answer) = oneshot::channel();
        let n = asks.add(region(1), Micros(10), reply);
        assert!(!asks.settle(region(2), n, Ok(Bytes::new())), "another region cannot answer");
        assert!(asks.settle(region(1), n, Ok(Bytes::from_static(b"x"))));
        assert!(!asks.settle(region(1), n, Ok(Bytes::new())));
        assert_eq!(answer.try_recv().unwrap().unwrap(), Bytes::from_static(b"x"));
        assert!(!asks.waits_for(region(1)));
        assert_eq!(asks.next_deadline(), None);
    }

    #[test]
    fn asks_expire_in_the_order_of_their_deadlines() {
        let mut asks = Asks::default();
        let (late, mut late_answer) = oneshot::channel();
        let (soon, mut soon_answer) = oneshot::channel();
        asks.add(region(1), Micros(20), late);
        asks.add(region(1), Micros(10), soon);
        asks.expire(Micros(10));
        assert!(matches!(soon_answer.try_recv(), Ok(Err(AskError::Timeout(_)))));
        assert!(late_answer.try_recv().is_err());
        assert_eq!(asks.fail_region(region(1)), 1);
        assert_eq!(late_answer.try_recv().unwrap(), Err(AskError::Unreachable(region(1))));
    }
}
