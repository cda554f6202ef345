use std::collections::HashMap;

use fedist_registry::LocalId;

/// Which receivers have something on the bulk lane that is not yet acknowledged. What follows to
/// such a receiver must take the bulk lane as well, or it would overtake.
#[derive(Debug, Default)]
pub(super) struct BehindBulk {
    last: HashMap<LocalId, u64>,
    pruned_len: usize,
}

impl BehindBulk {
    /// Notes that bulk frame `seq` carries something to `to`.
    pub(super) fn note(&mut self, to: LocalId, seq: u64, acked: u64) {
        self.last.insert(to, seq);
        // Amortised: the table is swept only after it has doubled since the last sweep.
        if self.last.len() >= 64.max(2 * self.pruned_len) {
            self.last.retain(|_, last| *last > acked);
            self.pruned_len = self.last.len();
        }
    }

    /// Whether a record to `to` must go behind bulk frames, of which all up to `acked` are done.
    pub(super) fn holds(&self, to: LocalId, acked: u64) -> bool {
        !self.last.is_empty() && self.last.get(&to).is_some_and(|last| *last > acked)
    }

    /// Forgets everything: the bulk lane is empty.
    pub(super) fn clear(&mut self) {
        if !self.last.is_empty() {
            self.last.clear();
            self.pruned_len = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_does_not_grow_with_receivers_that_are_done() {
        let mut behind = BehindBulk::default();
        for number in 1..=10_000 {
            let to = LocalId::new(number).expect("a valid local id");
            behind.note(to, number, number.saturating_sub(10));
            assert!(behind.holds(to, number - 1));
            assert!(!behind.holds(to, number));
        }
        assert!(behind.last.len() <= 64, "{}", behind.last.len());
    }
}
