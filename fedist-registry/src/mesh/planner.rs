//! Decides which links to open, to keep and to close.

use std::collections::{BTreeMap, BTreeSet};

use super::backbone::{Backbone, is_below, mix};
use super::remembered::Remembered;
use super::survey::{Distances, Survey};
use super::{DETOUR_PERCENT, LinkReason, MeshConfig, Topology, TrafficLedger};
use crate::{LinkCost, LinkStateDb, Micros, RegionId, Registry, SetUpEstimate};

/// A link that is up, as the planner needs to see it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct OpenLink {
    /// The region at the other end.
    pub peer: RegionId,
    /// Whether this end opened it.
    pub dialed: bool,
    /// Since when it is up.
    pub since: Micros,
    /// Its measured cost in one direction, if it is known yet.
    pub cost: Option<LinkCost>,
    /// Frames with messages that it has carried since, in both directions, those in transit included.
    pub carried: u64,
    /// Whether the other end keeps it whatever happens.
    pub peer_wants: bool,
}

/// What the planner looks at.
#[derive(Copy, Clone)]
pub struct MeshView<'a> {
    /// Who belongs to the federation.
    pub registry: &'a Registry,
    /// All links of all regions, the own ones included.
    pub db: &'a LinkStateDb,
    /// The own links that are up.
    pub links: &'a [OpenLink],
    /// Whether this region has no processor time: then it measures itself, and nothing is learnt about what links cost. See
    /// [`Strain`](crate::Strain).
    pub strained: bool,
    /// What the present way to a region costs: how near it is taken to be while nothing better is known.
    pub path: &'a dyn Fn(RegionId) -> Option<LinkCost>,
    /// What it takes to open a link to a region.
    pub set_up: &'a dyn Fn(RegionId) -> SetUpEstimate,
    /// Whether an address is known at which a region can be dialed.
    pub dialable: &'a dyn Fn(RegionId) -> bool,
}

/// A link that should be open.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct WantedLink {
    /// The region at the other end.
    pub peer: RegionId,
    /// Why.
    pub reason: LinkReason,
    /// Whose turn it is to dial.
    pub turn: DialTurn,
}

/// Which end of a link that both may want opens it, so that one is opened and not two.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum DialTurn {
    /// This end, at once.
    First,
    /// The other end; this one if it did not in a few seconds.
    Second,
    /// The other end only: it is a child, and has this region to join.
    Theirs,
}

/// What should be done now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeshPlan {
    /// Links that should be open. Each is opened if it is not, and kept.
    pub wanted: Vec<WantedLink>,
    /// Open links that are about to be closed: they must not be advertised, so that no route uses them.
    pub retiring: Vec<RegionId>,
    /// Retiring links that nothing goes over any more.
    pub close: Vec<RegionId>,
}

/// What to do with a link that another region has opened.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// There is room.
    Take,
    /// There is room once the link to this region, the least useful, is retired.
    Replace(RegionId),
    /// Too many links, and all are wanted.
    Refuse,
}

/// Decides which links one region opens, keeps and closes. It acts on nothing: feed it with traffic, call
/// [`plan`](Self::plan) about once a second, and do what the plan says.
///
/// A link outside the always-set is opened when the traffic has paid for it ([`TrafficLedger`]): when the way to its region
/// costs more than [`open_percent`](MeshConfig::open_percent) of a direct link. It is closed when the way without it costs no
/// more than [`close_percent`](MeshConfig::close_percent), or when it was idle; the mesh is then a greedy spanner (I. Althöfer
/// et al., "On sparse spanners of weighted graphs", 1993). What a closed link had cost is remembered, so that one that was
/// opened in vain is not opened again.
#[derive(Clone, Debug)]
pub struct MeshPlanner {
    me: RegionId,
    config: MeshConfig,
    ledger: TrafficLedger,
    links: BTreeMap<RegionId, Judged>,
    /// What direct links cost when they were last up.
    memory: BTreeMap<RegionId, Remembered>,
    /// Links that the traffic has paid for and that are not up yet.
    bought: BTreeMap<RegionId, Micros>,
    /// Regions that would not have a link, or could not be reached, and until when they are left alone.
    refused: BTreeMap<RegionId, Refusal>,
    /// Attempts in a row that failed, by region that any other may stand in for.
    failures: BTreeMap<RegionId, u32>,
    base: Vec<(RegionId, LinkReason)>,
    /// Regions to keep a link to that are told at run time, and why.
    kept: BTreeMap<RegionId, LinkReason>,
    /// Regions that get no link, told at run time.
    parted: BTreeSet<RegionId>,
    /// Cost of a way as it is in reality, for one that light in fibre would need 100 for.
    detour_percent: u64,
    observed_at: Option<Micros>,
    /// When the always-set is chosen anew, and what it was chosen for: whether this region is live, and its links.
    base_at: Micros,
    base_for: (bool, Vec<RegionId>),
    judge_at: Micros,
}

/// What the planner knows of an open link.
#[derive(Clone, Debug)]
struct Judged {
    since: Micros,
    reason: LinkReason,
    carried: u64,
    used_at: Micros,
    /// Frames per second, smoothed.
    rate: f64,
    /// What the next best way costs more, in µs, when it was looked at last.
    saving_us: u64,
    review_at: Micros,
    retiring: Option<Retiring>,
    /// Reviews in a row by which it was not worth keeping.
    doubts: u32,
    /// How often it was to be closed and turned out to be needed.
    holds: u32,
}

#[derive(Copy, Clone, Debug)]
struct Retiring {
    since: Micros,
    quiet_since: Micros,
    /// It makes room: that there is a use for it does not save it.
    forced: bool,
    /// It goes because it is worth nothing, not because nobody talks.
    vain: bool,
}

#[derive(Copy, Clone, Debug, Default)]
struct Refusal {
    until: Micros,
    times: u32,
}

impl Judged {
    /// What its traffic would lose without it, in µs per second.
    fn usefulness(&self) -> f64 {
        self.rate * self.saving_us as f64
    }
}

impl MeshPlanner {
    /// A planner for one region.
    pub fn new(me: RegionId, config: MeshConfig) -> Self {
        MeshPlanner {
            me,
            config,
            ledger: TrafficLedger::new(),
            links: BTreeMap::new(),
            memory: BTreeMap::new(),
            bought: BTreeMap::new(),
            refused: BTreeMap::new(),
            failures: BTreeMap::new(),
            base: Vec::new(),
            kept: BTreeMap::new(),
            parted: BTreeSet::new(),
            detour_percent: DETOUR_PERCENT,
            observed_at: None,
            base_at: Micros::ZERO,
            base_for: (false, Vec::new()),
            judge_at: Micros::ZERO,
        }
    }

    /// What it was made with.
    pub fn config(&self) -> &MeshConfig {
        &self.config
    }

    /// Traffic so far.
    pub fn ledger(&self) -> &TrafficLedger {
        &self.ledger
    }

    /// Books messages that were sent to a region, over whatever way.
    pub fn handle_traffic(&mut self, to: RegionId, messages: u64, bytes: u64) {
        if to != self.me {
            self.ledger.note(to, messages, bytes);
        }
    }

    /// A region did not answer at any address. After a few such attempts a link that the traffic wanted is given up, and
    /// another region takes the place of a near or a random one, unless it is this region that is cut off from all.
    pub fn handle_unreachable(&mut self, peer: RegionId, now: Micros) {
        let replaceable = self.base.iter().any(|(id, reason)| {
            use LinkReason::{Nearest, Random, SecondParent};
            *id == peer && matches!(reason, SecondParent | Nearest | Random)
        });
        if self.links.is_empty() || !(replaceable || self.bought.contains_key(&peer)) {
            return;
        }
        let failures = self.failures.entry(peer).or_default();
        *failures += 1;
        if *failures >= ATTEMPTS {
            self.failures.remove(&peer);
            self.refuse(peer, now);
        }
    }

    /// Keeps links to these regions from now on, besides those that the configuration names: the places of all that were told
    /// before. A link that is kept no longer is judged at once, and stays if the mesh has a use for it.
    pub fn keep(&mut self, kept: BTreeMap<RegionId, LinkReason>) {
        let dropped = self.kept.keys().filter(|id| !kept.contains_key(id));
        for id in dropped {
            if let Some(link) = self.links.get_mut(id)
                && matches!(link.reason, LinkReason::Connected | LinkReason::Discovered)
            {
                link.reason = LinkReason::Traffic;
                link.review_at = Micros::ZERO;
            }
        }
        self.kept = kept;
        self.base_at = Micros::ZERO;
    }

    /// Wants no link to these regions from now on, whatever speaks for it: in the place of all that were told before. One that
    /// is open leaves the routes and is closed, at the latest after ten seconds.
    pub fn part(&mut self, parted: BTreeSet<RegionId>) {
        self.parted = parted;
        self.base_at = Micros::ZERO;
    }

    /// Whether a region that would not have a link, or could not be reached, is to be left alone now.
    pub fn leaves_alone(&self, peer: RegionId, now: Micros) -> bool {
        self.refused.get(&peer).is_some_and(|refusal| refusal.until > now)
    }

    fn avoids(&self, peer: RegionId) -> bool {
        self.config.avoid.contains(&peer) || self.parted.contains(&peer)
    }

    /// A region said that it has too many links, or wants none from here. It is left alone for a while; another one takes its place, where any will do.
    pub fn handle_refused(&mut self, peer: RegionId, now: Micros) {
        self.refuse(peer, now);
    }

    fn refuse(&mut self, peer: RegionId, now: Micros) {
        self.bought.remove(&peer);
        self.ledger.close(peer);
        let refusal = self.refused.entry(peer).or_default();
        let wait = REFUSED_FIRST.0.saturating_mul(1 << refusal.times.min(4));
        refusal.until = now + Micros(wait);
        refusal.times = refusal.times.saturating_add(1);
    }

    /// Why a link is open, and whether it is about to be closed.
    pub fn reason(&self, peer: RegionId) -> Option<(LinkReason, bool)> {
        let link = self.links.get(&peer)?;
        Some((link.reason, link.retiring.is_some()))
    }

    /// What a direct link to a region would cost in one direction: measured, remembered, or guessed from the coordinates.
    pub fn estimate(&self, to: RegionId, now: Micros, registry: &Registry) -> Option<LinkCost> {
        self.remembered(to, now).or_else(|| {
            let light = light_us(self.me, to, registry)?;
            Some(LinkCost::from_micros(light.saturating_mul(self.detour_percent) / 100))
        })
    }

    fn remembered(&self, to: RegionId, now: Micros) -> Option<LinkCost> {
        let held = self.memory.get(&to)?;
        let fresh =
            self.links.contains_key(&to) || now.saturating_sub(held.at) <= self.config.memory;
        fresh.then_some(held.cost())
    }

    /// Looks at everything and says what to do. Costs one run of Dijkstra, and one more for each link that is reviewed; in
    /// large federations it judges less often.
    pub fn plan(&mut self, now: Micros, view: &MeshView<'_>) -> MeshPlan {
        self.observe(now, view);
        if self.base_is_due(now, view) {
            self.base = self.choose_base(now, view);
            self.base_at = now + pace(view.registry);
        }
        for (peer, reason) in &self.base {
            if let Some(link) = self.links.get_mut(peer) {
                link.reason = *reason;
            }
        }
        for peer in self.parted.clone() {
            self.make_room(peer, now);
        }
        let mut close = Vec::new();
        if view.registry.is_live(self.me) && now >= self.judge_at {
            self.judge_at = now + pace(view.registry);
            let survey = Survey::new(view.db);
            let distances = survey.distances(self.me, None);
            if self.config.topology == Topology::Adaptive {
                self.spend(now, view, &distances);
            }
            close = self.retire(now, view, &survey, &distances);
            self.review(now, view, &survey);
        }
        let retiring = self.links.iter().filter(|(_, link)| link.retiring.is_some());
        MeshPlan {
            wanted: self.wanted(now, view),
            retiring: retiring.map(|(peer, _)| *peer).collect(),
            close,
        }
    }

    /// Whether to take a link that `peer` has opened. Parents take their children, and everybody takes newcomers, who have
    /// nobody else; how many there may be at most is for the caller to say.
    pub fn admit(&self, peer: RegionId, now: Micros, view: &MeshView<'_>) -> Admission {
        if self.parted.contains(&peer) {
            return Admission::Refuse;
        }
        let record = view.registry.get(peer).filter(|record| record.is_live());
        let incoming = view.links.iter().filter(|link| !link.dialed && link.peer != peer).count();
        if record.is_none_or(|record| record.parent == Some(self.me))
            || self.is_base(peer)
            || incoming < self.config.max_in
        {
            return Admission::Take;
        }
        let dispensable = view.links.iter().filter(|link| {
            !link.dialed
                && !link.peer_wants
                && !self.is_base(link.peer)
                && now.saturating_sub(link.since) >= self.config.settle
        });
        let least = dispensable
            .filter_map(|link| Some((link.peer, self.links.get(&link.peer)?)))
            .filter(|(_, judged)| judged.retiring.is_none())
            .min_by(|(_, a), (_, b)| a.usefulness().total_cmp(&b.usefulness()));
        least.map_or(Admission::Refuse, |(victim, _)| Admission::Replace(victim))
    }

    /// Retires a link although it may be of use: another one needs its place.
    pub fn make_room(&mut self, victim: RegionId, now: Micros) {
        if let Some(link) = self.links.get_mut(&victim) {
            link.retiring.get_or_insert(Retiring {
                since: now,
                quiet_since: now,
                forced: true,
                vain: false,
            });
        }
    }

    fn is_base(&self, peer: RegionId) -> bool {
        self.base.iter().any(|(id, _)| *id == peer)
    }

    fn observe(&mut self, now: Micros, view: &MeshView<'_>) {
        let registry = view.registry;
        let past = self.observed_at.replace(now).map_or(Micros::ZERO, |at| now.saturating_sub(at));
        let seconds = past.as_millis() as f64 / 1000.0;
        let replaced: BTreeMap<RegionId, LinkReason> = view
            .links
            .iter()
            .filter_map(|link| Some((link.peer, self.links.get(&link.peer)?.reason)))
            .collect();
        self.links.retain(|peer, judged| {
            view.links.iter().any(|link| link.peer == *peer && link.since == judged.since)
        });
        for link in view.links {
            let bought = self.bought.remove(&link.peer).is_some();
            if bought {
                self.ledger.close(link.peer);
            }
            if let Some(refusal) = self.refused.get_mut(&link.peer) {
                refusal.until = Micros::ZERO;
            }
            self.failures.remove(&link.peer);
            let me = self.me;
            let judged = self.links.entry(link.peer).or_insert_with(|| Judged {
                since: link.since,
                reason: match (replaced.get(&link.peer), registry.get(link.peer)) {
                    (Some(before), _) => *before,
                    _ if bought => LinkReason::Traffic,
                    (_, Some(record)) if record.parent == Some(me) => LinkReason::Child,
                    _ if link.dialed => LinkReason::Join,
                    _ => LinkReason::Incoming,
                },
                carried: link.carried,
                used_at: now,
                rate: 0.0,
                saving_us: 0,
                review_at: link.since
                    + self.config.settle
                    + stagger(me, link.peer, self.config.settle),
                retiring: None,
                doubts: 0,
                holds: 0,
            });
            let carried = link.carried.saturating_sub(judged.carried);
            judged.carried = link.carried;
            if carried > 0 {
                judged.used_at = now;
                if let Some(retiring) = &mut judged.retiring {
                    retiring.quiet_since = now;
                }
            }
            if seconds > 0.0 {
                let weight = (seconds / RATE_SECONDS).min(1.0);
                judged.rate += weight * (carried as f64 / seconds - judged.rate);
            }
            if let Some(cost) = link.cost.filter(|_| !view.strained) {
                let fresh = Remembered::new(now, cost);
                let held = self.memory.entry(link.peer).or_insert(fresh);
                if now.saturating_sub(held.at) > self.config.memory {
                    *held = fresh;
                }
                held.take(now, cost);
            }
        }
        self.ledger.fade(now);
        self.ledger.retain(|to| registry.is_live(to));
        self.memory.retain(|to, _| registry.is_live(*to));
        self.bought.retain(|to, since| {
            registry.is_live(*to) && now.saturating_sub(*since) < PURCHASE_TIMEOUT
        });
        self.failures.retain(|to, _| registry.is_live(*to));
        self.refused.retain(|to, refusal| {
            registry.is_live(*to) && now.saturating_sub(refusal.until) < self.config.memory
        });
        self.calibrate(registry);
    }

    /// Learns from the measured links how much longer cables are than the way on the globe.
    fn calibrate(&mut self, registry: &Registry) {
        let mut ratios: Vec<u64> = self
            .memory
            .iter()
            .filter_map(|(to, held)| {
                let light = light_us(self.me, *to, registry).filter(|light| *light >= FAR_LIGHT)?;
                Some(held.cost().as_micros().saturating_mul(100) / light)
            })
            .collect();
        if ratios.len() >= 3 {
            let low = ratios.len() / 10;
            let (_, low, _) = ratios.select_nth_unstable(low);
            self.detour_percent = (*low).clamp(100, 400);
        }
    }

    /// In a large federation the choice takes milliseconds, so not every news of the registry is a reason for it.
    fn base_is_due(&mut self, now: Micros, view: &MeshView<'_>) -> bool {
        let state = (view.registry.is_live(self.me), self.links.keys().copied().collect());
        let small = view.registry.len() < AT_ANY_TIME;
        let due = small || now >= self.base_at || state != self.base_for;
        self.base_for = state;
        due
    }

    fn choose_base(&self, now: Micros, view: &MeshView<'_>) -> Vec<(RegionId, LinkReason)> {
        let possible = |id: RegionId| {
            self.links.contains_key(&id) || ((view.dialable)(id) && !self.leaves_alone(id, now))
        };
        let fixed = match self.config.topology {
            Topology::Adaptive => None,
            _ => Some(self.config.topology.neighbours(self.me, view.registry)),
        };
        let nearness = |id: RegionId| {
            let estimate = self.estimate(id, now, view.registry);
            estimate.or_else(|| (view.path)(id)).unwrap_or(LinkCost::MAX)
        };
        // A shape says it all, but a newcomer needs its parent to get in.
        let adaptive = fixed.is_none();
        let backbone = Backbone {
            me: self.me,
            registry: view.registry,
            config: &self.config,
            kept: &self.kept,
            avoided: &|id| self.avoids(id),
            possible: &possible,
            nearness: &nearness,
            before: &self.base,
            nearest: if adaptive { self.config.nearest } else { 0 },
            second_parent: adaptive && self.lacks_second_parent(now, view),
            random: if adaptive { self.lacking_far_links(now, view) } else { 0 },
        };
        let chosen = backbone.choose();
        let Some(shape) = fixed.filter(|_| view.registry.is_live(self.me)) else {
            return chosen;
        };
        use LinkReason::{Configured, Connected, Discovered};
        let named = |reason| matches!(reason, Configured | Connected | Discovered);
        let mut base: Vec<_> = chosen.into_iter().filter(|(_, reason)| named(*reason)).collect();
        for id in shape {
            let wanted = !self.avoids(id);
            if wanted && base.iter().all(|(held, _)| *held != id) {
                base.push((id, LinkReason::Topology));
            }
        }
        base
    }

    /// Links that are here to stay, those of one kind not counted.
    fn settled(&self, now: Micros, but: LinkReason) -> impl Iterator<Item = RegionId> {
        self.links.iter().filter_map(move |(peer, link)| {
            let stays = link.reason != but
                && link.retiring.is_none()
                && now.saturating_sub(link.since) >= self.config.settle;
            stays.then_some(*peer)
        })
    }

    /// Whether no settled link but the parent's leads out of the parent's subtree. Below the root, where nothing is outside,
    /// out of the own one.
    fn lacks_second_parent(&self, now: Micros, view: &MeshView<'_>) -> bool {
        let registry = view.registry;
        let Some(parent) = registry.get(self.me).and_then(|record| record.parent) else {
            return false;
        };
        let below_root = registry.get(parent).is_none_or(|record| record.parent.is_none());
        let top = if below_root { self.me } else { parent };
        !self
            .settled(now, LinkReason::SecondParent)
            .any(|peer| peer != parent && !is_below(registry, peer, top))
    }

    /// How many links are missing that lead beyond the nearest eighth of all regions, the random ones not counted.
    fn lacking_far_links(&self, now: Micros, view: &MeshView<'_>) -> usize {
        let mut all: Vec<LinkCost> = view
            .registry
            .live_regions()
            .filter(|record| record.id != self.me)
            .filter_map(|record| self.estimate(record.id, now, view.registry))
            .collect();
        let near = all.len() / 8;
        if all.is_empty() {
            return self.config.random;
        }
        let (_, beyond, _) = all.select_nth_unstable(near);
        let far = self
            .settled(now, LinkReason::Random)
            .filter(|peer| self.memory.get(peer).is_some_and(|held| held.cost() > *beyond));
        self.config.random.saturating_sub(far.count())
    }

    fn wanted(&self, now: Micros, view: &MeshView<'_>) -> Vec<WantedLink> {
        let own = view.registry.get(self.me);
        let parent = own.and_then(|record| record.parent);
        let can_be_dialed = own.is_some_and(|record| !record.addresses.is_empty());
        let is_child = |id: RegionId| {
            view.registry.get(id).is_some_and(|record| record.parent == Some(self.me))
        };
        let turn = |peer: RegionId, reason: LinkReason| match reason {
            LinkReason::Parent | LinkReason::Configured => DialTurn::First,
            LinkReason::Connected | LinkReason::Discovered => DialTurn::First,
            _ if parent == Some(peer) => DialTurn::First,
            _ if is_child(peer) => DialTurn::Theirs,
            LinkReason::SecondParent | LinkReason::Traffic => DialTurn::First,
            _ if !can_be_dialed || goes_first(self.me, peer) => DialTurn::First,
            _ => DialTurn::Second,
        };
        // A parent that wants no link is asked again where there is no other way to it.
        let left_alone = |id: RegionId| {
            self.leaves_alone(id, now) && (parent != Some(id) || (view.path)(id).is_some())
        };
        let bought = self.bought.keys().map(|peer| (*peer, LinkReason::Traffic));
        self.base
            .iter()
            .copied()
            .filter(|(peer, _)| view.registry.is_live(*peer))
            .filter(|(peer, _)| self.links.contains_key(peer) || !left_alone(*peer))
            .chain(bought.filter(|(peer, _)| !self.is_base(*peer)))
            .map(|(peer, reason)| WantedLink { peer, reason, turn: turn(peer, reason) })
            .collect()
    }

    /// Settles the accounts of the traffic, and buys the links that it has paid for.
    fn spend(&mut self, now: Micros, view: &MeshView<'_>, distances: &Distances<'_>) {
        let mut paid: Vec<(f64, RegionId)> = Vec::new();
        for to in self.ledger.unsettled() {
            let left_alone = self.leaves_alone(to, now);
            let has_link = self.links.contains_key(&to) || self.bought.contains_key(&to);
            let path = distances.to(to).map(|cost| self.ledger.smooth(to, cost));
            let Some(path) = path.filter(|_| !has_link && !left_alone && !self.is_base(to)) else {
                self.ledger.write_off(to);
                continue;
            };
            let avoided = self.avoids(to) || !(view.dialable)(to);
            let percent = self.config.open_percent;
            let (direct, price) = self.worth_of_link(to, now, view, path);
            if avoided || !exceeds(path, direct, percent) {
                self.ledger.write_off(to);
                continue;
            }
            if self.ledger.settle(to, now, path, direct, price)
                && let Some(account) = self.ledger.get(to)
            {
                // Both ends may pay at the same time: one of them goes first.
                let waited = account.ready_since.map_or(Micros::ZERO, |at| now.saturating_sub(at));
                if goes_first(self.me, to) || waited >= SECOND_WAITS {
                    paid.push((account.rate * (path.units() - direct.units()) as f64, to));
                }
            }
        }
        paid.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        for (benefit, to) in paid {
            if self.bought.len() >= AT_ONCE {
                break;
            }
            let dialed = view.links.iter().filter(|link| link.dialed).count() + self.bought.len();
            if dialed >= self.config.max_out {
                self.swap(now, view, benefit * LinkCost::UNIT_MICROS as f64);
                break;
            }
            self.bought.insert(to, now);
        }
    }

    /// What a direct link would cost, and the price of opening it in µs. A guess that promises nothing may be wrong: the link
    /// is then taken for as good as it can be at all, and is that much dearer.
    fn worth_of_link(
        &self,
        to: RegionId,
        now: Micros,
        view: &MeshView<'_>,
        path: LinkCost,
    ) -> (LinkCost, u64) {
        let set_up = (view.set_up)(to);
        let price_us = |direct: LinkCost| {
            set_up.cost(Micros(direct.as_micros().saturating_mul(2)), 1).as_micros()
        };
        if let Some(direct) = self.remembered(to, now) {
            let dearer = self.memory.get(&to).map_or(0, |held| held.dearer(now));
            return (direct, price_us(direct).saturating_mul(1 << dearer));
        }
        let Some(light) = light_us(self.me, to, view.registry) else {
            // Where nothing is known, that a link saves a third is a guess worth one attempt: then it is measured.
            let direct = LinkCost::from_units(path.units() / 3 * 2);
            return (direct, price_us(direct));
        };
        let likely = LinkCost::from_micros(light.saturating_mul(self.detour_percent) / 100);
        if exceeds(path, likely, self.config.open_percent) {
            return (likely, price_us(likely));
        }
        let best = LinkCost::from_micros(light);
        (best, price_us(best).saturating_mul(UNLIKELY))
    }

    /// At the limit: the least useful of the own links makes room for one that would save half as much again.
    fn swap(&mut self, now: Micros, view: &MeshView<'_>, benefit: f64) {
        if self.links.values().any(|link| link.retiring.is_some()) {
            return;
        }
        let least = view
            .links
            .iter()
            .filter(|link| link.dialed && !link.peer_wants && !self.is_base(link.peer))
            .filter(|link| now.saturating_sub(link.since) >= self.config.settle)
            .filter_map(|link| Some((self.links.get(&link.peer)?.usefulness(), link.peer)))
            .min_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((usefulness, peer)) = least
            && benefit > usefulness * 1.5
        {
            self.make_room(peer, now);
        }
    }

    /// Goes on with links that are about to be closed: lets them go when nothing uses them, or takes them back.
    fn retire(
        &mut self,
        now: Micros,
        view: &MeshView<'_>,
        survey: &Survey,
        distances: &Distances<'_>,
    ) -> Vec<RegionId> {
        let mut close = Vec::new();
        for link in view.links {
            let peer = link.peer;
            let Some(retiring) = self.links.get(&peer).and_then(|judged| judged.retiring) else {
                continue;
            };
            let waited = now.saturating_sub(retiring.since);
            // Until everybody has heard, routes may still lead over it; then they tell what its loss costs.
            let heard = waited >= self.config.drain;
            let way = distances.to(peer).map(LinkCost::from_micros);
            let adaptive = self.config.topology == Topology::Adaptive;
            let needed = way.is_none()
                || (adaptive && survey.depends_on_link(self.me, peer))
                || (adaptive
                    && !retiring.forced
                    && !self.is_idle(peer, now)
                    && way.zip(self.memory.get(&peer)).is_some_and(|(way, held)| {
                        exceeds(way, held.cost(), self.config.open_percent)
                    }));
            let quiet = now.saturating_sub(retiring.quiet_since) >= QUIET;
            if self.parted.contains(&peer) {
                if (heard && quiet) || waited >= PART_TIMEOUT {
                    close.push(peer);
                }
                continue;
            }
            let stays = self.is_base(peer) || link.peer_wants || (heard && needed);
            if stays || waited >= DRAIN_TIMEOUT {
                if let Some(judged) = self.links.get_mut(&peer) {
                    judged.retiring = None;
                    let wait = HOLD.0.saturating_mul(1 << judged.holds.min(5));
                    judged.holds = judged.holds.saturating_add(1);
                    judged.review_at = now + Micros(wait) + stagger(self.me, peer, REVIEW_EVERY);
                }
            } else if heard && quiet {
                close.push(peer);
                if let Some(held) = self.memory.get_mut(&peer).filter(|_| retiring.vain) {
                    held.closed = held.closed.saturating_add(1);
                    held.closed_at = now;
                }
            }
        }
        close
    }

    fn is_idle(&self, peer: RegionId, now: Micros) -> bool {
        self.links
            .get(&peer)
            .is_some_and(|link| now.saturating_sub(link.used_at) >= self.config.idle_after)
    }

    /// Looks at the links whose turn it is, and retires those that are not worth keeping.
    fn review(&mut self, now: Micros, view: &MeshView<'_>, survey: &Survey) {
        let adaptive = self.config.topology == Topology::Adaptive;
        let mut retiring = self.links.values().filter(|link| link.retiring.is_some()).count();
        let many = self.links.len() > self.config.target;
        let percent = if many { self.config.open_percent } else { self.config.close_percent };
        let mut candidates: Vec<(f64, RegionId, bool)> = Vec::new();
        for link in view.links {
            let peer = link.peer;
            let due = self.links.get(&peer).is_some_and(|judged| judged.review_at <= now);
            if !due {
                continue;
            }
            // One that the other end is closing has no judge here.
            let advertised = view.db.link(peer, self.me).is_some_and(|link| !link.is_discouraged());
            let way = survey.distances(self.me, Some(peer)).to(peer).map(LinkCost::from_micros);
            let (idle, kept) = (self.is_idle(peer, now), link.peer_wants || self.is_base(peer));
            let Some(judged) = self.links.get_mut(&peer) else {
                continue;
            };
            judged.review_at = now + REVIEW_EVERY.min(self.config.settle);
            let Some((way, held)) = way.zip(self.memory.get(&peer).copied()) else {
                continue;
            };
            let direct = held.cost();
            judged.saving_us = way.as_micros().saturating_sub(direct.as_micros());
            let usefulness = judged.usefulness();
            if !advertised || judged.retiring.is_some() || kept {
                continue;
            }
            // The more often it came and went, the less it takes to keep it.
            let vain = !exceeds(way, direct, percent.saturating_sub(held.band()).max(100));
            let doubts = if vain { judged.doubts.saturating_add(1) } else { 0 };
            judged.doubts = doubts;
            let worth_nothing = idle || doubts >= DOUBTS + 2 * held.closed.min(4);
            if !adaptive || (worth_nothing && !survey.depends_on_link(self.me, peer)) {
                candidates.push((usefulness, peer, vain && !idle));
            }
        }
        candidates.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        for (_, peer, vain) in candidates {
            if retiring >= AT_ONCE {
                break;
            }
            retiring += 1;
            if let Some(judged) = self.links.get_mut(&peer) {
                judged.doubts = 0;
                judged.retiring =
                    Some(Retiring { since: now, quiet_since: now, forced: false, vain });
            }
        }
    }
}

fn exceeds(path: LinkCost, direct: LinkCost, percent: u32) -> bool {
    path.as_micros().saturating_mul(100) > direct.as_micros().saturating_mul(u64::from(percent))
}

/// How often the mesh is judged: less often where there is more to look at.
fn pace(registry: &Registry) -> Micros {
    let regions = u64::try_from(registry.len()).unwrap_or(u64::MAX);
    Micros(JUDGE_EVERY.0.saturating_mul(1 + regions / 1024))
}

/// The time that light in a fibre along the globe takes, in µs.
fn light_us(from: RegionId, to: RegionId, registry: &Registry) -> Option<u64> {
    let from = registry.get(from)?.coordinates?;
    Some(super::light_us(&from, &registry.get(to)?.coordinates?))
}

/// Which end of a link dials when both want it, so that all regions open about as many links as are opened to them.
fn goes_first(me: RegionId, peer: RegionId) -> bool {
    let seed = (u64::from(me.min(peer).get()) << 16) | u64::from(me.max(peer).get());
    (mix(seed) & 1 == 1) == (me < peer)
}

/// A time of its own for each end of each link, so that regions do not judge in step.
fn stagger(me: RegionId, peer: RegionId, within: Micros) -> Micros {
    let seed = (u64::from(me.get()) << 16) | u64::from(peer.get());
    Micros(mix(seed) % within.min(REVIEW_EVERY).0.max(1))
}

/// 200 km: below that the ends' own time counts for more than the way.
const FAR_LIGHT: u64 = 980;
/// With fewer regions than this the always-set is chosen with every plan.
const AT_ANY_TIME: usize = 256;
const RATE_SECONDS: f64 = 10.0;
/// Links bought, and links retired, at the same time.
const AT_ONCE: usize = 2;
const ATTEMPTS: u32 = 3;
/// How many times dearer a link is of which only hope says that it is worth it.
const UNLIKELY: u64 = 4;
/// Reviews that must agree before a link goes, the first time.
const DOUBTS: u32 = 2;
const SECOND_WAITS: Micros = Micros::from_secs(1);
const PURCHASE_TIMEOUT: Micros = Micros::from_secs(60);
const REFUSED_FIRST: Micros = Micros::from_secs(60);
/// How often each link is judged; as often as it may be, if links settle sooner.
const REVIEW_EVERY: Micros = Micros::from_secs(8);
/// A link that was taken back is left in peace for this long, doubling each time.
const HOLD: Micros = Micros::from_secs(60);
/// Nothing carried for this long: no route uses the link any more.
const QUIET: Micros = Micros::from_millis(900);
/// A link that is still used so long after it left the routes is kept.
const DRAIN_TIMEOUT: Micros = Micros::from_secs(30);
/// A link that is to go in any case goes after so long, even if something still passes over it.
const PART_TIMEOUT: Micros = Micros::from_secs(10);
/// Time between two judgements, and that again for every 1,024 regions.
const JUDGE_EVERY: Micros = Micros::from_millis(900);
