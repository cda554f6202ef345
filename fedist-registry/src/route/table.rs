//! The routes in use, and when they change.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use super::{
    Avoid, Hops, Route, RouteChange, ShortestPaths,
    hysteresis::{SmallTier, Verdict, weigh},
    second_path,
    shortest_paths::Length,
};
use crate::{LinkStateDb, Micros, RegionId, link_state_db::region_at};

/// The route from one region to every other that can be reached, and for those that are asked for a second one.
///
/// A clone shares its routes with the original until one of them changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTable {
    origin: RegionId,
    /// By region number.
    rows: Arc<Vec<Row>>,
    reached: usize,
    deadline: Option<Micros>,
    seconds: Arc<BTreeMap<RegionId, Second>>,
    settles_until: Micros,
}

/// When and why the route to one region changed last.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct RouteHistory {
    /// When: the path is in use, or no path has led there, since then.
    pub since: Micros,
    /// Why.
    pub change: RouteChange,
    /// How many changes there were, the first path included.
    pub changes: u32,
    /// A little cheaper path is taken then, if it still is that.
    pub leaves_at: Option<Micros>,
}

/// What is known about one destination: 48 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    /// Without hops while none leads there.
    route: Route,
    change: RouteChange,
    changes: u32,
    since: Micros,
    /// [`Micros::MAX`] for never.
    leaves_at: Micros,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Second {
    /// The route that it is the second to.
    best: Hops,
    route: Option<Route>,
    found_at: Micros,
}

impl RouteTable {
    /// A table that reaches nobody.
    pub fn empty(origin: RegionId) -> RouteTable {
        RouteTable {
            origin,
            rows: Arc::default(),
            reached: 0,
            deadline: None,
            seconds: Arc::default(),
            settles_until: Micros::ZERO,
        }
    }

    /// The cheapest routes, without a past.
    pub fn compute(origin: RegionId, db: &LinkStateDb) -> RouteTable {
        let mut table = RouteTable::empty(origin);
        table.update(Micros::ZERO, db, &|_| false);
        table
    }

    /// Until then a path is left for one that is cheaper by more than max(0.5 %, 0.15 ms) for 1 s, since the present ones were
    /// chosen by costs that were not worth much; see [`Strain`](crate::Strain). Counts from the next [`update`](Self::update).
    pub fn settle_until(&mut self, until: Micros) {
        self.settles_until = until;
    }

    /// Brings the routes up to date with the link states, and returns the destinations whose path is another one than
    /// before, those that came or went included, in order. A cost alone is no change.
    ///
    /// A path stays, at its present cost, while it is sound and no other one is cheaper by enough: by more than max(5 %,
    /// 1 ms), or by more than max(1 %, 0.3 ms) for 60 s. That holds for the way back as well. A path that is not sound is
    /// left at once if there is another: one with a link that is down or about to close, with a relay that takes no transit,
    /// or through a neighbour that `suspects` names, that is, one that does not answer and may be dead. The last is left
    /// before anybody else knows; it stays where there is no other way, and is taken again by the normal rule.
    ///
    /// Costs one run of [`ShortestPaths`], and a second one only if there are suspects and somebody is reached through them
    /// alone. Call it whenever the states or the suspects changed, and at [`next_deadline`](Self::next_deadline).
    pub fn update(
        &mut self,
        now: Micros,
        db: &LinkStateDb,
        suspects: &dyn Fn(RegionId) -> bool,
    ) -> Vec<RegionId> {
        let avoid = Avoid { first_links: suspects, relays: suspects };
        let best = ShortestPaths::compute(self.origin, db, &avoid);
        let anybody_suspect = db.regions().any(suspects);
        let mut otherwise: Option<ShortestPaths> = None;
        let mut changed = Vec::new();
        let mut deadline = Micros::MAX;
        let mut reached = 0;
        let settles = now < self.settles_until;
        let small = if settles { SmallTier::SETTLING } else { SmallTier::USUAL };
        let rows = Arc::make_mut(&mut self.rows);
        if rows.len() < best.bound() {
            rows.resize_with(best.bound(), Row::default);
        }
        for (index, row) in rows.iter_mut().enumerate() {
            let Some(destination) = region_at(index).filter(|region| *region != self.origin) else {
                continue;
            };
            let mut paths = &best;
            let mut sound = true;
            if anybody_suspect && best.length(destination).is_none() {
                let all = || ShortestPaths::compute(self.origin, db, &Avoid::NOTHING);
                paths = otherwise.get_or_insert_with(all);
                sound = false;
            }
            if paths.length(destination).is_none() {
                if row.is_reached() {
                    let change = match present_length(self.origin, db, &row.route.hops) {
                        Err(change) => change,
                        Ok(_) => row.change,
                    };
                    row.take(now, Route { hops: Hops::NONE, ..row.route }, change);
                    changed.push(destination);
                }
                continue;
            }
            reached += 1;
            row.route.cost = match row.verdict(
                now,
                self.origin,
                db,
                paths,
                destination,
                sound.then_some(suspects),
                small,
            ) {
                Ok(present) => present.cost(),
                Err(change) => {
                    let Some(route) = paths.route(destination) else {
                        continue;
                    };
                    let cost = route.cost;
                    row.take(now, route, change);
                    changed.push(destination);
                    cost
                }
            };
            deadline = deadline.min(row.leaves_at);
        }
        self.reached = reached;
        self.deadline = (deadline != Micros::MAX).then_some(deadline);
        changed
    }

    /// When [`update`](Self::update) is to be called although nothing changed: a small advantage will have lasted then.
    pub fn next_deadline(&self) -> Option<Micros> {
        self.deadline
    }

    /// Finds second paths for `wanted`, and forgets those of all others. What is still sound, belongs to the present best
    /// path and is younger than 10 s stays. Some of them are searched for one by one, to share no relay with the best path (64
    /// at 1,024 regions, 8 at 8,192); beyond that, those that start with another link must do until the next call.
    pub fn refresh_seconds(
        &mut self,
        now: Micros,
        db: &LinkStateDb,
        suspects: &dyn Fn(RegionId) -> bool,
        wanted: impl IntoIterator<Item = RegionId>,
    ) {
        let mut kept = BTreeMap::new();
        let mut missing: BTreeMap<RegionId, Vec<(RegionId, &Route)>> = BTreeMap::new();
        for destination in wanted {
            let Some(best) = self.get(destination) else {
                continue;
            };
            let Some(first) = best.next_hop() else {
                continue;
            };
            let usable = |second: &&Second| {
                // That there was none says nothing about what has come up since.
                let sound = second.route.as_ref().is_some_and(|route| {
                    present_length(self.origin, db, &route.hops).is_ok()
                        && !route.next_hop().is_some_and(suspects)
                        && !route.relays().iter().any(|relay| suspects(*relay))
                });
                sound && second.best == best.hops && now.saturating_sub(second.found_at) < STALE
            };
            match self.seconds.get(&destination).filter(usable) {
                Some(second) => {
                    kept.insert(destination, second.clone());
                }
                None => missing.entry(first).or_default().push((destination, best)),
            }
        }
        let mut budget = SEARCHED_REGIONS / db.len().max(1);
        for (first, destinations) in missing {
            let first_links = |region| region == first || suspects(region);
            let avoid = Avoid { first_links: &first_links, relays: suspects };
            let paths = ShortestPaths::compute(self.origin, db, &avoid);
            for (destination, best) in destinations {
                let mut route = paths.route(destination);
                if budget > 0 && route.as_ref().is_some_and(|route| route.shares_relay(best)) {
                    budget -= 1;
                    let relays = |region| suspects(region) || best.relays().contains(&region);
                    let avoid = Avoid { first_links: &first_links, relays: &relays };
                    route = ShortestPaths::find(self.origin, destination, db, &avoid).or(route);
                }
                kept.insert(destination, Second { best: best.hops, route, found_at: now });
            }
        }
        self.seconds = Arc::new(kept);
    }

    /// Forgets a region that left, and its past.
    pub fn forget(&mut self, region: RegionId) {
        if self.row(region).is_some() {
            self.reached -= usize::from(self.get(region).is_some());
            if let Some(row) = Arc::make_mut(&mut self.rows).get_mut(usize::from(region.get())) {
                *row = Row::default();
            }
        }
        if self.seconds.contains_key(&region) {
            Arc::make_mut(&mut self.seconds).remove(&region);
        }
    }

    /// Where all these routes start.
    pub fn origin(&self) -> RegionId {
        self.origin
    }

    /// The route to a region; none for one that cannot be reached, and for the origin itself.
    pub fn get(&self, destination: RegionId) -> Option<&Route> {
        self.rows
            .get(usize::from(destination.get()))
            .filter(|row| row.is_reached())
            .map(|row| &row.route)
    }

    /// The second route to a region, with another first link, and where that can be sharing no relay with the best one.
    ///
    /// It is there for the destinations that [`refresh_seconds`](Self::refresh_seconds) was last called with. It may be as
    /// old as that call: whoever takes it looks whether its first link is up. None where no other link leads there.
    pub fn second(&self, destination: RegionId) -> Option<&Route> {
        let best = self.get(destination)?;
        self.seconds
            .get(&destination)
            .filter(|second| second.best == best.hops)
            .and_then(|second| second.route.as_ref())
    }

    /// When and why the route to a region changed last; none for one that was never reached.
    pub fn history(&self, destination: RegionId) -> Option<RouteHistory> {
        self.row(destination).map(|row| RouteHistory {
            since: row.since,
            change: row.change,
            changes: row.changes,
            leaves_at: (row.leaves_at != Micros::MAX).then_some(row.leaves_at),
        })
    }

    /// Whether what `region` says, or what its neighbours say about it, breaks a path that is in use: then an
    /// [`update`](Self::update) cannot wait.
    pub fn is_broken_at(&self, db: &LinkStateDb, region: RegionId) -> bool {
        let no_transit = db.no_transit(region);
        let gone = |from: RegionId, to: RegionId| {
            (from == region || to == region) && db.link(from, to).is_none()
        };
        self.iter().any(|(destination, route)| {
            let mut from = self.origin;
            route.hops.iter().any(|hop| {
                let broken =
                    gone(from, *hop) || (no_transit && *hop == region && *hop != destination);
                from = *hop;
                broken
            })
        })
    }

    /// All routes in the order of their destinations.
    pub fn iter(&self) -> impl Iterator<Item = (RegionId, &Route)> {
        let reached = self.rows.iter().enumerate().filter(|(_, row)| row.is_reached());
        reached.filter_map(|(index, row)| Some((region_at(index)?, &row.route)))
    }

    /// How many regions can be reached.
    pub fn len(&self) -> usize {
        self.reached
    }

    /// Whether nobody can be reached.
    pub fn is_empty(&self) -> bool {
        self.reached == 0
    }

    /// Bytes of heap that this holds, shared with its clones.
    pub fn memory_bytes(&self) -> usize {
        self.rows.capacity() * size_of::<Row>()
            + self.seconds.len() * (size_of::<(RegionId, Second)>() + 8)
    }

    fn row(&self, destination: RegionId) -> Option<&Row> {
        self.rows.get(usize::from(destination.get())).filter(|row| row.changes > 0)
    }

    /// The second route that is held, or one that is looked for now.
    pub(super) fn second_or_found(&self, db: &LinkStateDb, best: &Route) -> Option<Route> {
        let held = best.destination().and_then(|destination| self.seconds.get(&destination));
        match held.filter(|second| second.best == best.hops) {
            Some(second) => second.route.clone(),
            None => second_path(self.origin, db, best),
        }
    }
}

impl Row {
    fn is_reached(&self) -> bool {
        !self.route.hops.is_empty()
    }

    fn take(&mut self, now: Micros, route: Route, change: RouteChange) {
        self.route = route;
        self.change = change;
        self.changes = self.changes.saturating_add(1);
        self.since = now;
        self.leaves_at = Micros::MAX;
    }

    /// What the path in use costs now, or why the one of `paths` takes its place. `paths` has one. `suspects` is none where
    /// all ways lead through them.
    #[allow(
        clippy::too_many_arguments,
        reason = "they are one update's, of which this is the inner part"
    )]
    fn verdict(
        &mut self,
        now: Micros,
        origin: RegionId,
        db: &LinkStateDb,
        paths: &ShortestPaths,
        destination: RegionId,
        suspects: Option<&dyn Fn(RegionId) -> bool>,
        small: SmallTier,
    ) -> Result<Length, RouteChange> {
        let leaves_at = mem::replace(&mut self.leaves_at, Micros::MAX);
        let Some(best) = paths.length(destination).filter(|_| self.is_reached()) else {
            let seen = self.changes > 0;
            return Err(if seen { RouteChange::Recovered } else { RouteChange::FirstSeen });
        };
        if paths.backwards(destination).eq(self.route.hops.iter().rev().copied()) {
            return Ok(best);
        }
        let hops = &self.route.hops;
        let present = present_length(origin, db, hops)?;
        if let Some(suspects) = suspects {
            let passed = hops.first().into_iter().chain(self.route.relays());
            if let Some(neighbour) = passed.copied().find(|region| suspects(*region)) {
                return Err(RouteChange::Suspect { neighbour });
            }
        }
        if present.discouraged() > best.discouraged() {
            let ends = std::iter::once(origin).chain(hops.iter().copied()).zip(hops);
            let closing = ends
                .into_iter()
                .find(|(from, to)| db.link(*from, **to).is_some_and(|link| link.is_discouraged()));
            if let Some((from, to)) = closing {
                return Err(RouteChange::Closing { from, to: *to });
            }
        }
        let deadline = (leaves_at != Micros::MAX).then_some(leaves_at);
        match weigh(now, present.cost(), best.cost(), deadline, small) {
            Verdict::Stay => Ok(present),
            Verdict::Wait(at) => {
                self.leaves_at = at;
                Ok(present)
            }
            Verdict::Leave(change) => Err(change),
        }
    }
}

impl Default for Row {
    fn default() -> Self {
        Row {
            route: Route { hops: Hops::NONE, cost: crate::LinkCost::ZERO },
            change: RouteChange::FirstSeen,
            changes: 0,
            since: Micros::ZERO,
            leaves_at: Micros::MAX,
        }
    }
}

/// How long a path is now, or why it does not lead there any more.
fn present_length(
    origin: RegionId,
    db: &LinkStateDb,
    hops: &[RegionId],
) -> Result<Length, RouteChange> {
    let mut length = Length::ZERO;
    let mut from = origin;
    for to in hops {
        let mut relay = crate::LinkCost::ZERO;
        if from != origin {
            relay = db.relay(from).unwrap_or_default();
            if db.no_transit(from) {
                return Err(RouteChange::NoTransit { relay: from });
            }
        }
        let link = db.link(from, *to).ok_or(RouteChange::LinkDown { from, to: *to })?;
        length = length + Length::step(link.cost, relay, link.is_discouraged(), link.hops());
        from = *to;
    }
    Ok(length)
}

/// Regions that a refresh looks at, at most, while it searches for second paths one by one: about 10 ms.
const SEARCHED_REGIONS: usize = 65_536;
/// Costs have moved since a second path was found: it is looked for again.
const STALE: Micros = Micros::from_secs(10);
