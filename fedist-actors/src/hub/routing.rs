//! Routes: this region's own link state, those of the others, and the paths that follow from them.

use fedist_registry::{LinkAdvert, LinkState, Micros, RegionId, RouteTable};

use super::{
    Core,
    control::{Control, STATES_PER_FRAME},
    watch::SETTLING,
};

/// What routing keeps.
#[derive(Default)]
pub(super) struct Routing {
    /// When shortest paths are computed next.
    pub(super) recompute_at: Option<Micros>,
}

impl Core {
    /// Announces link costs that moved by more than max(5 %, 1 ms), at most every 5 s per link.
    pub(super) fn advertise_costs(&mut self, now: Micros) {
        let mut moved = false;
        for port in self.links.values_mut() {
            let Some(cost) = port.estimate.cost(now) else {
                continue;
            };
            let pause = if now.saturating_sub(port.since) < SETTLING + SETTLING {
                Micros::from_millis(500)
            } else {
                ADVERTISE_PAUSE
            };
            let worth_it = match port.advertised {
                None => true,
                Some((old, at)) => {
                    let slack = (old.as_micros() / 20).max(1_000);
                    cost.as_micros().abs_diff(old.as_micros()) > slack
                        && now.saturating_sub(at) >= pause
                }
            };
            moved |= worth_it;
        }
        if moved {
            self.update_own_state();
            self.schedule_recompute(SPF_DELAY);
        }
    }

    /// Writes this region's link state anew and floods it.
    pub(super) fn update_own_state(&mut self) {
        let now = self.now();
        let mut links: Vec<LinkAdvert> = Vec::new();
        for (peer, port) in &mut self.links {
            if !self.registry.is_live(*peer) {
                continue;
            }
            if let Some(cost) = port.estimate.cost(now) {
                port.advertised = Some((cost, now));
                links.push(LinkAdvert { to: *peer, cost });
            }
        }
        links.sort_unstable_by_key(|link| link.to);
        let relay = self.own_cost();
        self.own_state.seq += 1;
        self.own_state.links = links;
        self.own_state.relay = relay;
        self.db.apply(self.own_state.clone());
        if self.is_live() {
            let message = Control::LinkState(vec![self.own_state.clone()]);
            self.broadcast(&message, None);
        }
    }

    pub(super) fn handle_link_states(&mut self, peer: RegionId, states: Vec<LinkState>) {
        let mut news = Vec::new();
        for state in states {
            if state.region == self.region() {
                // Somebody remembers an earlier life of this region: outbid it.
                if state.seq >= self.own_state.seq && state != self.own_state {
                    self.own_state.seq = state.seq;
                    self.update_own_state();
                }
                continue;
            }
            let life = |state: &LinkState| u32::try_from(state.seq >> 32).unwrap_or(u32::MAX);
            let before = self.db.get(state.region).map(life);
            if self.db.apply(state.clone()) {
                if before.is_some_and(|before| before < life(&state)) {
                    self.peer_restarted(state.region, life(&state));
                }
                // Whoever says something new is alive, whatever became of the link to it.
                self.watch.suspects.remove(&state.region);
                news.push(state);
            }
        }
        if news.is_empty() {
            return;
        }
        for chunk in news.chunks(STATES_PER_FRAME) {
            self.broadcast(&Control::LinkState(chunk.to_vec()), Some(peer));
        }
        // A path of ours may have broken: that is acted upon at once, improvements can wait.
        if self.routes_broken() {
            self.recompute_routes();
        } else {
            self.schedule_recompute(SPF_DELAY);
        }
    }

    pub(super) fn routes_broken(&self) -> bool {
        self.routes.iter().any(|(_, route)| {
            let advertised =
                |from, to| self.db.get(from).is_some_and(|state| state.cost_to(to).is_some());
            std::iter::once(self.region())
                .chain(route.hops.iter().copied())
                .zip(route.hops.iter().copied())
                .any(|(from, to)| !advertised(from, to) || !advertised(to, from))
        })
    }

    pub(super) fn schedule_recompute(&mut self, delay: Micros) {
        let at = self.now() + delay;
        if self.routing.recompute_at.is_none_or(|planned| at < planned) {
            self.routing.recompute_at = Some(at);
            self.arm(at);
        }
    }

    pub(super) fn recompute_routes(&mut self) {
        self.recompute_routes_after(None);
    }

    /// `silent` names a link that was given up, and since when what went over it is lost.
    pub(super) fn recompute_routes_after(&mut self, silent: Option<(RegionId, Micros)>) {
        self.routing.recompute_at = None;
        let now = self.now();
        self.watch.suspects.retain(|_, until| *until > now);
        let suspects: Vec<RegionId> = self.watch.suspects.keys().copied().collect();
        let routes = RouteTable::compute(self.region(), &self.db, Some(&self.routes))
            .around(&self.db, &suspects);
        if let Some(until) = self.watch.suspects.values().min().copied() {
            self.schedule_recompute(until.saturating_sub(now));
        }
        let changed = routes.changed_from(&self.routes);
        self.routes = routes;
        self.publish_view();
        for region in changed {
            if let Some(slot) = self.sessions.get_mut(&region) {
                let lost_since =
                    silent.filter(|(peer, _)| slot.last_hop == Some(*peer)).map(|(_, since)| since);
                slot.session.handle_path_change(now, lost_since);
                self.mark_dirty(region);
            }
        }
        self.flush();
    }
}

const ADVERTISE_PAUSE: Micros = Micros::from_millis(5_000);
/// Shortest paths are computed this long after a change, so that a burst is one computation.
const SPF_DELAY: Micros = Micros::from_millis(50);
