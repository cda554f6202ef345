//! Routes: this region's own link state, those of the others, and the paths that follow from them.

use std::collections::BTreeMap;

use fedist_registry::{
    LinkAdvert, LinkCost, Micros, RegionId, Route, RouteExplanation, RouteNews, SetUp, SpfPace,
    Status, fibre_estimate,
};

use super::{Core, links::LinkPort};

/// What routing keeps.
#[derive(Default)]
pub(super) struct Routing {
    /// When shortest paths are computed next.
    pub(super) pace: SpfPace,
    /// Regions that could be reached until just now, and until when their senders wait for another route instead of
    /// being refused (C7).
    lost: BTreeMap<RegionId, Micros>,
    /// How many sessions there were when second paths were looked for, and when that was.
    seconds: (usize, Micros),
}

impl Core {
    /// Announces link costs that moved by more than max(5 %, 1 ms), or less while this region settles, at most every 5 s per
    /// link.
    pub(super) fn advertise_costs(&mut self, now: Micros) {
        let links_moved = self.links.iter().any(|(peer, port)| {
            self.registry.is_live(*peer)
                && self.may_announce(*peer, port, now)
                && port.estimate.cost(now).is_some_and(|cost| self.is_news_of(port, now, cost))
        });
        let moved = links_moved || self.relay_delay_moved(now);
        if moved {
            self.update_own_state();
            self.schedule_recompute(RouteNews::Moved);
        }
    }

    fn is_news_of(&self, port: &LinkPort, now: Micros, cost: LinkCost) -> bool {
        match self.measure.is_settling(now) {
            true => port.pace.wants_settling(now, cost),
            false => port.pace.wants(now, cost),
        }
    }

    /// Writes this region's link state anew, and floods it if links came or went, a cost moved, or others have not heard
    /// of it.
    pub(super) fn update_own_state(&mut self) {
        let now = self.now();
        let mut links: Vec<LinkAdvert> = Vec::new();
        let mut moved = false;
        for (peer, port) in &self.links {
            let announced = port.pace.is_up() && self.may_announce(*peer, port, now);
            if !self.registry.is_live(*peer) || !announced {
                continue;
            }
            if let Some(cost) = port.estimate.cost(now) {
                moved |= self.is_news_of(port, now, cost);
                let half_trip = port.estimate.min_rtt_us(now).map_or(0, |rtt| u64::from(rtt / 2));
                let propagation = LinkCost::from_micros(half_trip).units();
                let queueing = cost.units().saturating_sub(propagation);
                links.push(LinkAdvert {
                    queueing: LinkCost::from_units(queueing),
                    flags: if port.is_closing() { LinkAdvert::CLOSING } else { 0 },
                    ..LinkAdvert::new(*peer, cost)
                });
            }
        }
        links.sort_unstable_by_key(|link| link.to);
        let relay = self.own_cost();
        let no_transit = self.measure.refuses_transit() || self.watch.drain.is_on();
        moved |= self.relay_delay_moved(now) || no_transit != self.own_state.no_transit;
        let known = |links: &[LinkAdvert]| {
            links.iter().map(|link| (link.to, link.flags)).collect::<Vec<_>>()
        };
        let links_changed = known(&links) != known(&self.own_state.links);
        if links_changed {
            self.count("own_links_changed");
        }
        if moved || links_changed || !self.is_announced() {
            for link in &links {
                if let Some(port) = self.links.get_mut(&link.to) {
                    port.pace.record(now, link.cost);
                }
            }
            self.own_state.seq += 1;
            self.own_state.links = links;
            self.own_state.relay = relay;
            self.own_state.no_transit = no_transit;
            self.measure.note_relay_announced(now);
            self.db.apply(self.own_state.clone());
            self.forget_ways();
        }
        self.flood_own_state();
    }

    /// The states of these regions are new in the database: routes are computed as soon as that matters.
    pub(super) fn link_states_changed(&mut self, regions: &[RegionId]) {
        self.refresh_outdated_areas(regions);
        self.forget_ways();
        // A path of ours may have broken: that is acted upon at once, improvements can wait.
        if regions.iter().any(|region| self.routes.is_broken_at(self.graph(), *region)) {
            self.schedule_recompute(RouteNews::Broken);
            self.tick_routes(self.now());
            return;
        }
        let unreached = |region: RegionId| {
            region != self.region()
                && self.graph().contains(region)
                && self.routes.get(region).is_none()
        };
        let reached = |region: &RegionId| {
            unreached(*region) || self.graph().links(*region).any(|link| unreached(link.to))
        };
        let reached = regions.iter().any(reached);
        self.schedule_recompute(if reached { RouteNews::Reached } else { RouteNews::Moved });
    }

    fn has_left(&self, region: RegionId) -> bool {
        self.registry.get(region).is_some_and(|record| record.status == Status::Left)
    }

    /// The registry has changed: what regions that left once said about their links is forgotten.
    pub(super) fn forget_left_regions(&mut self) {
        let left: Vec<RegionId> = self
            .registry
            .regions()
            .filter(|record| record.status == Status::Left && self.db.contains(record.id))
            .map(|record| record.id)
            .collect();
        for region in left {
            self.db.remove(region);
            self.routes.forget(region);
            self.routing.lost.remove(&region);
            self.schedule_recompute(RouteNews::Moved);
        }
    }

    /// Routes are computed when the pace of such news says so.
    pub(super) fn schedule_recompute(&mut self, news: RouteNews) {
        self.routing.pace.handle_news(self.now(), news);
        self.arm_recompute();
    }

    fn arm_recompute(&mut self) {
        if let Some(at) = self.routing.pace.poll_timeout() {
            self.arm(at);
        }
    }

    /// What is due now.
    pub(super) fn tick_routes(&mut self, now: Micros) {
        if self.routing.pace.poll_timeout().is_some_and(|at| at <= now) {
            self.recompute_routes();
        }
        self.arm_recompute();
        let (sessions, at) = self.routing.seconds;
        if sessions != self.sessions.len() || now.saturating_sub(at) >= SECONDS_STALE {
            // A second path is at hand before it is needed, for a session of a moment ago too.
            let graph = self.areas.engine.graph(&self.db);
            let suspects = &self.watch.suspects;
            let suspect = |region: RegionId| suspects.contains_key(&region);
            self.routes.refresh_seconds(now, graph, &suspect, self.sessions.keys().copied());
            self.routing.seconds = (self.sessions.len(), now);
        }
        while let Some((region, _)) =
            self.routing.lost.iter().map(|(region, at)| (*region, *at)).find(|(_, at)| *at <= now)
        {
            self.routing.lost.remove(&region);
            self.update_gate(region);
        }
    }

    /// Whether the region was reached until less than a session's patience ago, so that another route may still be found.
    pub(super) fn was_reached_lately(&self, region: RegionId) -> bool {
        self.routing.lost.contains_key(&region)
    }

    /// The session with the region has ended: nobody waits for another route any more.
    pub(super) fn give_up_route(&mut self, region: RegionId) {
        self.routing.lost.remove(&region);
    }

    pub(super) fn recompute_routes(&mut self) {
        self.recompute_routes_after(None);
    }

    /// `silent` names a link that was given up, and since when what went over it is lost.
    pub(super) fn recompute_routes_after(&mut self, silent: Option<(RegionId, Micros)>) {
        let now = self.now();
        if self.areas.engine.is_split() {
            self.refresh_areas();
        }
        self.watch.suspects.retain(|_, until| *until > now);
        self.watch.failover.forget_detours();
        let doubted = self.suspect_links();
        let suspects = &self.watch.suspects;
        let suspect =
            |region: RegionId| suspects.contains_key(&region) || doubted.contains(&region);
        let before: BTreeMap<RegionId, Route> = self
            .sessions
            .keys()
            .filter_map(|region| Some((*region, self.routes.get(*region)?.clone())))
            .collect();
        let graph = self.areas.engine.graph(&self.db);
        self.routes.settle_until(self.measure.settling_until());
        let changed = self.routes.update(now, graph, &suspect);
        self.routes.refresh_seconds(now, graph, &suspect, self.sessions.keys().copied());
        self.routing.seconds = (self.sessions.len(), now);
        self.routing.pace.handle_run(now);
        let trust_again = self.watch.suspects.values().min().copied();
        for at in trust_again.into_iter().chain(self.routes.next_deadline()) {
            self.routing.pace.plan(at);
        }
        self.arm_recompute();
        for region in &changed {
            let reached = self.routes.get(*region).is_some();
            if reached || self.has_left(*region) {
                self.routing.lost.remove(region);
            } else {
                let until = now + self.config.session.session_timeout;
                self.routing.lost.insert(*region, until);
                self.arm(until);
            }
        }
        self.publish_view();
        for region in changed {
            // A path that still works delivers what is on it; only what may be lost goes again.
            let works = before.get(&region).is_some_and(|route| self.still_carries(route));
            if works {
                self.mark_dirty(region);
            } else if let Some(slot) = self.sessions.get_mut(&region) {
                let lost_since =
                    silent.filter(|(peer, _)| slot.last_hop == Some(*peer)).map(|(_, since)| since);
                slot.session.handle_path_change(now, lost_since);
                self.mark_dirty(region);
            }
        }
        self.flush();
    }

    /// Why messages to the region take their way; none for this region, and for one that the registry copy does not have.
    pub(super) fn explain_route(&self, region: RegionId) -> Option<RouteExplanation> {
        self.registry.get(region)?;
        let doubted = self.suspect_links();
        let suspect = |region: RegionId| {
            self.watch.suspects.contains_key(&region) || doubted.contains(&region)
        };
        let estimate = self.estimated_link(region);
        self.routes.explain(self.now(), region, self.graph(), &suspect, estimate)
    }

    /// What a link to the region would cost, from where the two are on the map; none where that is not known.
    fn estimated_link(&self, region: RegionId) -> Option<SetUp> {
        let own = self.registry.get(self.region())?.coordinates?;
        let other = self.registry.get(region)?.coordinates?;
        let propagation = fibre_estimate(&own, &other);
        let round_trip = Micros(2 * propagation.as_micros());
        let set_up = self.measure.set_up(region).cost(round_trip, EXPECTED_EXCHANGES);
        Some(SetUp { propagation, set_up })
    }
}

/// Exchanges that a new link is expected to serve, at least.
const EXPECTED_EXCHANGES: u64 = 35;
/// Second paths are looked for again after this time, although no route changed.
const SECONDS_STALE: Micros = Micros::from_millis(10_000);
