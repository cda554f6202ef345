//! The part of the log that agreement needs: the last decided entries, and the undecided tail.

use std::collections::VecDeque;

use super::message::{LogPoint, QuorumEntry};

/// The last entries of a log. Everything up to `committed` is decided and never changes.
#[derive(Clone, Debug)]
pub(super) struct Window<E> {
    /// The point before the first entry held.
    base: LogPoint,
    held: VecDeque<(LogPoint, E)>,
    committed: LogPoint,
}

impl<E: QuorumEntry> Window<E> {
    /// A log that is decided up to `committed` and has nothing after it.
    pub(super) fn new(committed: LogPoint) -> Window<E> {
        Window { base: committed, held: VecDeque::new(), committed }
    }

    pub(super) fn committed(&self) -> LogPoint {
        self.committed
    }

    /// Where the log ends.
    pub(super) fn last(&self) -> LogPoint {
        self.held.back().map_or(self.base, |(point, _)| *point)
    }

    /// The point at an index, if it is held.
    pub(super) fn point_at(&self, index: u64) -> Option<LogPoint> {
        if index == self.base.version.index {
            return Some(self.base);
        }
        self.held.get(self.place(index)?).map(|(point, _)| *point)
    }

    /// Entries after an index, at most `max`.
    pub(super) fn after(&self, index: u64, max: usize) -> impl Iterator<Item = &E> {
        let skip = usize::try_from(index.saturating_sub(self.base.version.index));
        self.held.iter().skip(skip.unwrap_or(usize::MAX)).take(max).map(|(_, entry)| entry)
    }

    /// The undecided entries.
    pub(super) fn tail(&self) -> impl Iterator<Item = &E> {
        self.after(self.committed.version.index, usize::MAX)
    }

    pub(super) fn tail_len(&self) -> u64 {
        self.last().version.index.saturating_sub(self.committed.version.index)
    }

    /// Adds an entry that follows the last one; false, and nothing done, where it does not.
    pub(super) fn push(&mut self, entry: E) -> bool {
        let (last, point) = (self.last(), entry.point());
        let follows = entry.prev() == last.version.hash
            && last.version.index.checked_add(1) == Some(point.version.index)
            && point.term >= last.term;
        if follows {
            self.held.push_back((point, entry));
        }
        follows
    }

    /// Takes back all entries after an index, but never a decided one.
    pub(super) fn truncate_after(&mut self, index: u64) {
        let keep = index.max(self.committed.version.index);
        while self.last().version.index > keep {
            self.held.pop_back();
        }
    }

    /// Decides everything up to an index, and gives what was undecided of it.
    pub(super) fn commit(&mut self, index: u64) -> Vec<E> {
        let from = self.committed.version.index;
        let Some(point) = self.point_at(index).filter(|point| point.version.index > from) else {
            return Vec::new();
        };
        let count = usize::try_from(index - from).unwrap_or(usize::MAX);
        let entries = self.after(from, count).cloned().collect();
        self.committed = point;
        while self.held.len() as u64 > RECENT + self.tail_len() {
            if let Some((point, _)) = self.held.pop_front() {
                self.base = point;
            }
        }
        entries
    }

    fn place(&self, index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(self.base.version.index)?.checked_sub(1)?).ok()
    }
}

/// Decided entries that are kept for followers whose answers are on their way.
const RECENT: u64 = 64;
