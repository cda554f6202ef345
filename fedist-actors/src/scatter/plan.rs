//! Which piece is placed, started and tried again when.

use std::collections::{BTreeMap, VecDeque};

use fedist_registry::{Micros, RegionId};

use super::Progress;

/// What there is to do, decided from what has happened.
///
/// A piece is taken, placed by the rule, waits for its turn in its region, runs, and is done, or is placed again. As many run
/// in a region as is allowed; as many again are placed ahead, over all regions.
pub(super) struct Plan {
    pieces: BTreeMap<u64, Piece>,
    /// To be placed.
    unplaced: VecDeque<u64>,
    lanes: BTreeMap<RegionId, Lane>,
    per_region: usize,
    attempts: u32,
    at_most_once: bool,
    progress: Progress,
}

#[derive(Default)]
struct Lane {
    waiting: VecDeque<u64>,
    running: usize,
    /// It failed: until then pieces go elsewhere where they can.
    avoided_until: Micros,
}

struct Piece {
    work: u64,
    attempts: u32,
    /// Where it was tried.
    tried: Vec<RegionId>,
    /// Where it waits or runs.
    at: Option<RegionId>,
    running: bool,
    /// How often its region was busy.
    rests: u32,
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Its region has too much to do; it has not run.
    Busy,
    /// It has not run.
    NotRun,
    /// Its region could not be reached; it has not run.
    Unreached,
    /// Its region was lost; it may have run.
    Lost,
    /// It may have run, or half.
    Unknown,
    /// It ran and panicked.
    Panicked,
    /// It would fail in the same way again.
    Hopeless,
}

impl Failure {
    /// Whether other pieces had better not go to this region either.
    pub(super) fn is_of_region(self) -> bool {
        matches!(self, Failure::Unreached | Failure::Lost)
    }

    fn has_certainly_not_run(self) -> bool {
        matches!(self, Failure::Busy | Failure::NotRun | Failure::Unreached)
    }
}

/// What becomes of a piece that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is placed again.
    Again,
    /// It is placed again after a pause.
    Rest,
    /// It has failed.
    GiveUp,
}

impl Plan {
    pub(super) fn new(per_region: usize, attempts: u32, at_most_once: bool) -> Self {
        Self {
            pieces: BTreeMap::new(),
            unplaced: VecDeque::new(),
            lanes: BTreeMap::new(),
            per_region: per_region.max(1),
            attempts: attempts.max(1),
            at_most_once,
            progress: Progress::default(),
        }
    }

    /// Whether another piece may be taken.
    pub(super) fn may_take(&self, regions: usize) -> bool {
        self.pieces.len() < 2 * self.per_region * regions.max(1)
    }

    pub(super) fn handle_taken(&mut self, index: u64, work: u64) {
        let piece =
            Piece { work, attempts: 0, tried: Vec::new(), at: None, running: false, rests: 0 };
        self.pieces.insert(index, piece);
        self.unplaced.push_back(index);
    }

    /// The next piece to ask the rule about. It must be told what came of it.
    pub(super) fn next_to_place(&mut self) -> Option<u64> {
        while let Some(index) = self.unplaced.pop_front() {
            if self.pieces.contains_key(&index) {
                return Some(index);
            }
        }
        None
    }

    /// The rule has named a home. It is taken, unless the piece was tried there, or the region cannot be reached or has just
    /// failed, and one of `others`, which can be, is better. Gives where the piece goes.
    pub(super) fn handle_home(
        &mut self,
        now: Micros,
        index: u64,
        home: RegionId,
        others: &[RegionId],
    ) -> RegionId {
        let lanes = &self.lanes;
        let avoided =
            |region: &RegionId| lanes.get(region).is_some_and(|lane| now < lane.avoided_until);
        let Some(piece) = self.pieces.get_mut(&index) else { return home };
        let tried = |region: &RegionId| piece.tried.contains(region);
        let region = if others.contains(&home) && !tried(&home) && !avoided(&home) {
            home
        } else {
            let others = || others.iter().copied().filter(|region| !avoided(region));
            // Where everybody was tried, whoever has not just failed, and otherwise where it belongs.
            others().find(|region| !tried(region)).or_else(|| others().next()).unwrap_or(home)
        };
        piece.at = Some(region);
        self.lanes.entry(region).or_default().waiting.push_back(index);
        region
    }

    /// The next piece whose region has room.
    pub(super) fn next_start(&mut self) -> Option<(u64, RegionId)> {
        let per_region = self.per_region;
        let (region, lane) = self
            .lanes
            .iter_mut()
            .find(|(_, lane)| lane.running < per_region && !lane.waiting.is_empty())?;
        let index = lane.waiting.pop_front()?;
        lane.running += 1;
        if let Some(piece) = self.pieces.get_mut(&index) {
            piece.running = true;
            piece.attempts += 1;
            piece.tried.push(*region);
        }
        self.progress.running += 1;
        Some((index, *region))
    }

    /// Gives how often it was tried.
    pub(super) fn handle_done(&mut self, index: u64) -> u32 {
        self.leave_lane(index);
        let Some(piece) = self.pieces.remove(&index) else { return 0 };
        self.progress.done += 1;
        self.progress.work_done = self.progress.work_done.saturating_add(piece.work);
        piece.attempts
    }

    pub(super) fn handle_failed(&mut self, index: u64, failure: Failure) -> Verdict {
        let ran = self.leave_lane(index);
        let (attempts, at_most_once) = (self.attempts, self.at_most_once);
        let Some(piece) = self.pieces.get_mut(&index) else { return Verdict::GiveUp };
        if !ran {
            // No home: that counts as an attempt too, or it would be asked for without end.
            piece.attempts += 1;
        }
        if failure == Failure::Busy && piece.rests < MOST_RESTS {
            piece.rests += 1;
            piece.attempts -= 1;
            piece.tried.pop();
            return Verdict::Rest;
        }
        let again = failure != Failure::Hopeless
            && piece.attempts < attempts
            && (!at_most_once || failure.has_certainly_not_run());
        if !again {
            return Verdict::GiveUp;
        }
        self.progress.retried += 1;
        self.unplaced.push_front(index);
        Verdict::Again
    }

    /// Its pause is over.
    pub(super) fn handle_rested(&mut self, index: u64) {
        self.unplaced.push_front(index);
    }

    /// A region cannot be reached: what waits for it is placed again, and goes elsewhere for a while. Gives those pieces and
    /// their work.
    pub(super) fn handle_region_failed(
        &mut self,
        now: Micros,
        region: RegionId,
    ) -> Vec<(u64, u64)> {
        let lane = self.lanes.entry(region).or_default();
        lane.avoided_until = now + AVOIDED;
        let waiting = std::mem::take(&mut lane.waiting);
        let mut sent_back = Vec::new();
        for index in waiting.into_iter().rev() {
            if let Some(piece) = self.pieces.get_mut(&index) {
                piece.at = None;
                sent_back.push((index, piece.work));
                self.unplaced.push_front(index);
            }
        }
        sent_back
    }

    /// Gives how often it was tried.
    pub(super) fn handle_given_up(&mut self, index: u64) -> u32 {
        self.leave_lane(index);
        self.progress.failed += 1;
        self.pieces.remove(&index).map_or(0, |piece| piece.attempts)
    }

    /// How much work a piece is.
    pub(super) fn work(&self, index: u64) -> u64 {
        self.pieces.get(&index).map_or(0, |piece| piece.work)
    }

    /// Where pieces wait or run, and how much work each is.
    pub(super) fn outstanding(&self) -> impl Iterator<Item = (RegionId, u64)> + '_ {
        self.pieces.values().filter_map(|piece| Some((piece.at?, piece.work)))
    }

    /// How far it has come; without how many were taken.
    pub(super) fn progress(&self) -> Progress {
        self.progress
    }

    /// It runs no longer. Whether it did.
    fn leave_lane(&mut self, index: u64) -> bool {
        let Some(piece) = self.pieces.get_mut(&index) else { return false };
        let at = piece.at.take();
        if !std::mem::replace(&mut piece.running, false) {
            return false;
        }
        self.progress.running -= 1;
        if let Some(lane) = at.and_then(|region| self.lanes.get_mut(&region)) {
            lane.running = lane.running.saturating_sub(1);
        }
        true
    }
}

/// How long a region that could not be reached is left alone.
const AVOIDED: Micros = Micros::from_millis(3_000);
/// How often a piece waits for a busy region before that counts as an attempt.
const MOST_RESTS: u32 = 1_200;

#[cfg(test)]
mod tests {
    use super::*;

    fn region(id: u16) -> RegionId {
        RegionId::new(id).unwrap()
    }

    /// Places everything that waits in one region.
    fn place_all(plan: &mut Plan, home: u16) -> Vec<u16> {
        let mut went = Vec::new();
        while let Some(index) = plan.next_to_place() {
            let others = [1, 2, 3].map(region);
            went.push(plan.handle_home(Micros::ZERO, index, region(home), &others).get());
        }
        went
    }

    fn starts(plan: &mut Plan) -> Vec<(u64, u16)> {
        std::iter::from_fn(|| plan.next_start()).map(|(index, at)| (index, at.get())).collect()
    }

    #[test]
    fn as_many_run_in_a_region_as_is_allowed_and_as_many_again_are_taken_ahead() {
        let mut plan = Plan::new(2, 3, false);
        let mut taken = 0;
        while plan.may_take(3) {
            plan.handle_taken(taken, 1);
            taken += 1;
        }
        assert_eq!(taken, 12);
        place_all(&mut plan, 2);
        assert_eq!(starts(&mut plan), [(0, 2), (1, 2)]);
        assert_eq!(plan.handle_done(0), 1);
        assert!(plan.may_take(3));
        assert_eq!(starts(&mut plan), [(2, 2)]);
        let seen = plan.progress();
        assert_eq!((seen.running, seen.done, seen.work_done), (2, 1, 1));
    }

    #[test]
    fn a_piece_that_failed_goes_to_another_region_and_fails_for_good_after_its_attempts() {
        let mut plan = Plan::new(1, 3, false);
        plan.handle_taken(0, 5);
        let mut went = Vec::new();
        for last in [false, false, true] {
            went.extend(place_all(&mut plan, 2));
            assert_eq!(starts(&mut plan).len(), 1);
            let verdict = plan.handle_failed(0, Failure::Panicked);
            assert_eq!(verdict, if last { Verdict::GiveUp } else { Verdict::Again });
        }
        assert_eq!(went, [2, 1, 3]);
        assert_eq!(plan.handle_given_up(0), 3);
        let seen = plan.progress();
        assert_eq!((seen.failed, seen.retried, seen.running), (1, 2, 0));
        assert_eq!(plan.outstanding().count(), 0);
    }

    #[test]
    fn at_most_once_tries_again_only_what_has_not_run() {
        for (failure, again) in [
            (Failure::NotRun, true),
            (Failure::Unreached, true),
            (Failure::Lost, false),
            (Failure::Unknown, false),
            (Failure::Panicked, false),
            (Failure::Hopeless, false),
        ] {
            let mut plan = Plan::new(1, 3, true);
            plan.handle_taken(0, 1);
            place_all(&mut plan, 1);
            starts(&mut plan);
            let verdict = plan.handle_failed(0, failure);
            assert_eq!(verdict == Verdict::Again, again, "{failure:?}");
        }
        let mut plan = Plan::new(1, 3, false);
        plan.handle_taken(0, 1);
        place_all(&mut plan, 1);
        starts(&mut plan);
        assert_eq!(plan.handle_failed(0, Failure::Hopeless), Verdict::GiveUp);
    }

    #[test]
    fn what_waits_for_a_lost_region_goes_elsewhere_untried() {
        let mut plan = Plan::new(1, 3, false);
        (0..4).for_each(|index| plan.handle_taken(index, 10 + index));
        place_all(&mut plan, 2);
        assert_eq!(starts(&mut plan), [(0, 2)]);
        let sent_back = plan.handle_region_failed(Micros::ZERO, region(2));
        assert_eq!(sent_back, [(3, 13), (2, 12), (1, 11)]);
        assert_eq!(plan.handle_failed(0, Failure::Lost), Verdict::Again);
        assert_eq!(place_all(&mut plan, 2), [1, 1, 1, 1]);
        assert_eq!(starts(&mut plan), [(0, 1)]);
        assert_eq!(plan.outstanding().count(), 4);
        // Later the region is good again.
        plan.handle_taken(9, 1);
        let index = plan.next_to_place().unwrap();
        let later = Micros::from_millis(10_000);
        assert_eq!(plan.handle_home(later, index, region(2), &[region(1), region(2)]), region(2));
    }

    #[test]
    fn a_home_that_cannot_be_reached_is_waited_for_only_where_nobody_else_can_be() {
        let mut plan = Plan::new(1, 3, false);
        (0..2).for_each(|index| plan.handle_taken(index, 1));
        let now = Micros::ZERO;
        assert_eq!(plan.handle_home(now, 0, region(9), &[region(3), region(1)]), region(3));
        assert_eq!(plan.handle_home(now, 1, region(9), &[]), region(9));
    }

    #[test]
    fn a_busy_region_is_asked_again_without_that_counting() {
        let mut plan = Plan::new(1, 1, true);
        plan.handle_taken(0, 1);
        for _ in 0..100 {
            assert_eq!(place_all(&mut plan, 2), [2]);
            starts(&mut plan);
            assert_eq!(plan.handle_failed(0, Failure::Busy), Verdict::Rest);
            plan.handle_rested(0);
        }
        place_all(&mut plan, 2);
        starts(&mut plan);
        assert_eq!(plan.handle_done(0), 1);
    }

    #[test]
    fn a_piece_without_a_home_is_asked_about_as_often_as_it_may_be_tried() {
        let mut plan = Plan::new(1, 3, false);
        plan.handle_taken(0, 1);
        for verdict in [Verdict::Again, Verdict::Again, Verdict::GiveUp] {
            assert_eq!(plan.next_to_place(), Some(0));
            assert_eq!(plan.handle_failed(0, Failure::NotRun), verdict);
        }
    }
}
