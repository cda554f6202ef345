//! The mesh: which links to open and to close, and doing it.
//!
//! The [`MeshPlanner`] decides; this room feeds it with what the links and sessions have carried, and carries out its plan: it
//! dials, takes a link that is to go out of the routes first, and closes it when nothing goes over it any more.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    rc::Rc,
};

use fedist_registry::{
    Admission, DialTurn, LinkReason, MeshConfig, MeshPlan, MeshPlanner, MeshView, Micros, OpenLink,
    RegionId, WantedLink,
};
use fedist_transport::link::{DialError, LinkError};

use super::{Core, connect::DISCONNECTED, control::Control, links::LinkPort};

/// The mesh as this region plans it, and its attempts to open links.
pub(super) struct Mesh {
    planner: MeshPlanner,
    wanted: Vec<WantedLink>,
    plan_at: Micros,
    /// What the last plan was made for: registry index and number of links.
    planned_for: (u64, usize),
    /// Messages and bytes that the planner knows of, by region.
    booked: HashMap<RegionId, (u64, u64)>,
    pub(super) dials: HashMap<RegionId, Dial>,
    pub(super) join_dial: Dial,
}

impl Mesh {
    pub(super) fn new(me: RegionId, config: MeshConfig) -> Self {
        Mesh {
            planner: MeshPlanner::new(me, config),
            wanted: Vec::new(),
            plan_at: Micros::ZERO,
            planned_for: (0, 0),
            booked: HashMap::new(),
            dials: HashMap::new(),
            join_dial: Dial::default(),
        }
    }

    /// Whom to keep a link to beside those that the configuration names, and whom to have none with. Planned for soon.
    pub(super) fn tell_contacts(
        &mut self,
        kept: BTreeMap<RegionId, LinkReason>,
        parted: BTreeSet<RegionId>,
    ) {
        self.planner.keep(kept);
        self.planner.part(parted);
        self.plan_at = Micros::ZERO;
    }

    pub(super) fn is_dialing(&self, region: RegionId) -> bool {
        self.dials.get(&region).is_some_and(|dial| dial.running)
    }

    pub(super) fn leaves_alone(&self, region: RegionId, now: Micros) -> bool {
        self.planner.leaves_alone(region, now)
    }
}

/// Attempts to open a link to one region.
#[derive(Default)]
pub(super) struct Dial {
    running: bool,
    failures: u32,
    not_before: Micros,
    pub(super) last_error: String,
    /// Where the last attempt went. Another address deserves an attempt at once.
    addresses: Vec<String>,
}

impl Dial {
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    fn ready(&self, now: Micros) -> bool {
        !self.running && now >= self.not_before
    }

    /// Exponential back-off from 100 ms to 5 s, with a fifth of jitter so that hubs do not dial in step.
    fn failed(&mut self, now: Micros, error: String, random: &mut fastrand::Rng) {
        let base = 100_u64.saturating_mul(1 << self.failures.min(6)).min(5_000);
        let jitter = random.u64(0..=base / 5);
        self.failures += 1;
        self.running = false;
        self.last_error = error;
        self.not_before = now + Micros::from_millis(base + jitter);
    }
}

impl Core {
    /// Plans the mesh when it is time, and dials whom this region wants a link to and has none.
    pub(super) fn open_links(&mut self, now: Micros) {
        if self.is_stopping() || self.watch.drain.is_on() {
            return;
        }
        let state = (self.registry.version().index, self.links.len());
        if now >= self.mesh.plan_at || state != self.mesh.planned_for {
            self.mesh.plan_at = now + PLAN_EVERY;
            self.mesh.planned_for = state;
            self.plan_mesh(now);
        }
        for index in 0..self.mesh.wanted.len() {
            if let Some(wanted) = self.mesh.wanted.get(index).copied() {
                self.dial_wanted(now, wanted);
            }
        }
        if self.wants_join()
            && !self.config.join.is_empty()
            && self.links.is_empty()
            && self.greeting.is_empty()
            && self.mesh.join_dial.ready(now)
        {
            self.mesh.join_dial.running = true;
            let join = self.config.join.clone();
            self.dial(None, join);
        }
    }

    fn dial_wanted(&mut self, now: Micros, wanted: WantedLink) {
        let peer = wanted.peer;
        if self.links.contains_key(&peer) || wanted.turn == DialTurn::Theirs {
            return;
        }
        // A region that is only discovered is dialed where it was discovered; see `contacts.rs`.
        if wanted.reason == LinkReason::Discovered || self.contacts.book.is_dialing(peer) {
            return;
        }
        if self.is_held_down(peer, now) {
            return;
        }
        let addresses = self.addresses_of(peer);
        let running = self.mesh.dials.values().filter(|dial| dial.running).count();
        let random = &mut self.random;
        let dial = self.mesh.dials.entry(peer).or_insert_with(|| {
            // After a change of the registry many regions want new links at the same moment.
            let wait = match (wanted.reason, wanted.turn) {
                (LinkReason::Parent | LinkReason::Configured | LinkReason::Connected, _) => 0,
                (_, DialTurn::First) => random.u64(0..=DIAL_SPREAD_MS),
                _ => SECOND_DIALS_AFTER_MS + random.u64(0..=DIAL_SPREAD_MS),
            };
            Dial { not_before: now + Micros::from_millis(wait), ..Dial::default() }
        });
        if !dial.addresses.is_empty() && dial.addresses != addresses && dial.failures > 0 {
            (dial.failures, dial.not_before) = (0, now);
        }
        let urgent = wanted.reason == LinkReason::Parent;
        if dial.ready(now) && !addresses.is_empty() && (urgent || running < DIALS_AT_ONCE) {
            dial.running = true;
            dial.addresses.clone_from(&addresses);
            self.dial(Some(peer), addresses);
        }
    }

    /// Where a region can be dialed: as the configuration says, else as its record says and where else it was found.
    pub(super) fn addresses_of(&self, region: RegionId) -> Vec<String> {
        if let Some(address) = self.config.dial.get(&region) {
            return vec![address.clone()];
        }
        let record = self.registry.get(region);
        let mut addresses = record.map(|record| record.addresses.clone()).unwrap_or_default();
        for address in self.contacts.addresses_of(region) {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        addresses
    }

    /// Runs the planner over the links as they are.
    fn with_planner<T>(&mut self, run: impl FnOnce(&mut MeshPlanner, &MeshView<'_>) -> T) -> T {
        let now = self.now();
        let links: Vec<OpenLink> = self
            .links
            .iter_mut()
            .map(|(peer, port)| OpenLink {
                peer: *peer,
                dialed: port.dialed,
                since: port.since,
                cost: port.estimate.cost(now),
                carried: port.carried.get(),
                peer_wants: port.peer_wants,
            })
            .collect();
        let (registry, config, routes, measure) =
            (&self.registry, &self.config, &self.routes, &self.measure);
        let view = MeshView {
            registry,
            db: self.areas.engine.graph(&self.db),
            links: &links,
            strained: measure.is_strained(),
            path: &|to| routes.get(to).map(|route| route.cost),
            set_up: &|to| measure.set_up(to),
            dialable: &|to| {
                config.dial.contains_key(&to)
                    || registry.get(to).is_some_and(|record| !record.addresses.is_empty())
            },
        };
        run(&mut self.mesh.planner, &view)
    }

    fn plan_mesh(&mut self, now: Micros) {
        if self.registry.get(self.region()).is_none() {
            self.mesh.wanted.clear();
            return;
        }
        self.book_traffic();
        let plan = self.with_planner(|planner, view| planner.plan(now, view));
        self.mesh.dials.retain(|peer, dial| {
            dial.running || plan.wanted.iter().any(|wanted| wanted.peer == *peer)
        });
        self.retire_links(&plan);
        self.tell_wanted(&plan.wanted);
        self.mesh.wanted = plan.wanted;
    }

    /// Tells the planner what the sessions have taken since the last time.
    fn book_traffic(&mut self) {
        for (region, slot) in &self.sessions {
            let total = (slot.session.stats().accepted, slot.bytes_sent);
            let booked = self.mesh.booked.entry(*region).or_default();
            let (messages, bytes) =
                (total.0.saturating_sub(booked.0), total.1.saturating_sub(booked.1));
            if messages > 0 {
                self.mesh.planner.handle_traffic(*region, messages, bytes);
            }
            *booked = total;
        }
        let sessions = &self.sessions;
        self.mesh.booked.retain(|region, _| sessions.contains_key(region));
    }

    /// Takes links out of the routes, or back into them, and closes those that nothing uses.
    fn retire_links(&mut self, plan: &MeshPlan) {
        let mut changed = false;
        let mut news = Vec::new();
        for (peer, port) in &mut self.links {
            let retiring = plan.retiring.contains(peer);
            if retiring != port.retiring {
                port.retiring = retiring;
                news.push((*peer, port.serial, retiring));
            }
        }
        for (peer, serial, retiring) in news {
            self.send_control(peer, serial, &Control::LinkClosing(retiring));
            changed = true;
        }
        for peer in &plan.close {
            if let Some(port) = self.links.remove(peer) {
                if self.contacts.parted.contains_key(peer) {
                    tracing::info!(%peer, "link closed: disconnected");
                    port.tx.close(DISCONNECTED);
                } else {
                    tracing::info!(%peer, "link closed: not worth keeping");
                    port.tx.close(NOT_NEEDED);
                    self.count("links_retired");
                }
                changed = true;
            }
        }
        if changed {
            self.link_changed(true);
        }
    }

    /// Says to the other ends which links this end keeps, where that has changed.
    fn tell_wanted(&mut self, wanted: &[WantedLink]) {
        let mut news = Vec::new();
        for (peer, port) in &mut self.links {
            let keeps = wanted.iter().any(|wanted| wanted.peer == *peer);
            if keeps != port.told_wants {
                port.told_wants = keeps;
                news.push((*peer, port.serial, keeps));
            }
        }
        for (peer, serial, keeps) in news {
            self.send_control(peer, serial, &Control::LinkWanted(keeps));
        }
    }

    /// The other end is about to close a link, or has thought better of it: routes leave it in this direction too.
    pub(super) fn peer_closes_link(&mut self, peer: RegionId, serial: u64, closing: bool) {
        if let Some(port) = self.port_mut(peer, serial)
            && port.peer_retiring != closing
        {
            port.peer_retiring = closing;
            self.link_changed(true);
        }
    }

    pub(super) fn peer_wants_link(&mut self, peer: RegionId, serial: u64, wanted: bool) {
        if let Some(port) = self.port_mut(peer, serial) {
            port.peer_wants = wanted;
        }
    }

    /// Whether there is room for a link that a region has opened. Another one may have to go for it.
    pub(super) fn admit_link(&mut self, peer: RegionId) -> bool {
        let now = self.now();
        if self.links.contains_key(&peer) {
            return true;
        }
        self.with_planner(|planner, view| match planner.admit(peer, now, view) {
            Admission::Take => true,
            Admission::Replace(victim) => {
                planner.make_room(victim, now);
                true
            }
            Admission::Refuse => false,
        })
    }

    /// A link ended: perhaps because the other end had too many, or wants none with this region.
    pub(super) fn note_refused_link(&mut self, peer: RegionId, end: &LinkError) {
        if let LinkError::ClosedByPeer { reason } = end
            && reason == DISCONNECTED
        {
            let now = self.now();
            self.count("links_refused_by_peer");
            self.mesh.planner.handle_refused(peer, now);
        }
        if let LinkError::ClosedByPeer { reason } = end
            && reason == TOO_MANY_LINKS
        {
            let now = self.now();
            self.count("links_refused_by_peer");
            self.mesh.planner.handle_refused(peer, now);
            let dial = self.mesh.dials.entry(peer).or_default();
            dial.not_before = dial.not_before.max(now + REFUSED_PAUSE);
        }
    }

    /// Why a link is open.
    pub(super) fn link_reason(&self, peer: RegionId, port: &LinkPort) -> LinkReason {
        let unplanned = if port.dialed { LinkReason::Join } else { LinkReason::Incoming };
        self.mesh.planner.reason(peer).map_or(unplanned, |(reason, _)| reason)
    }

    pub(super) fn dial_failed(&mut self, peer: RegionId, now: Micros, error: String) {
        self.mesh.dials.entry(peer).or_default().failed(now, error, &mut self.random);
    }

    pub(super) fn dial(&mut self, expect: Option<RegionId>, addresses: Vec<String>) {
        let Some(core) = self.handle() else {
            return;
        };
        let fabric = Rc::clone(&self.fabric);
        actix_rt::spawn(async move {
            let dialed = fabric.dial_any(&addresses, expect).await;
            let mut core = core.borrow_mut();
            match dialed {
                Ok(link) => {
                    // Until the link has settled this counts as a failure: a peer that closes it
                    // at once is not dialed again at once.
                    core.dial_ended(expect, "no hello yet".to_owned());
                    let _ = core.link_ready(link);
                }
                Err(error) => {
                    core.count("dials_failed");
                    tracing::debug!(region = ?expect, %error, "dialing failed");
                    match expect {
                        None => {
                            let refused = matches!(error, DialError::PeerRefused { .. });
                            core.join_dial_failed(&error.to_string(), refused);
                        }
                        Some(peer) => {
                            let now = core.now();
                            core.mesh.planner.handle_unreachable(peer, now);
                        }
                    }
                    core.dial_ended(expect, error.to_string());
                }
            }
        });
    }

    /// An attempt to dial a region, or the join address, is over.
    pub(super) fn dial_ended(&mut self, expect: Option<RegionId>, error: String) {
        let now = self.now();
        match expect {
            Some(region) => self.dial_failed(region, now, error),
            None => self.mesh.join_dial.failed(now, error, &mut self.random),
        }
    }
}

/// What a region is told that opened one link too many.
pub(super) const TOO_MANY_LINKS: &str = "too many links";
/// What the other end of a link is told that is closed because it is not worth keeping.
const NOT_NEEDED: &str = "the link is not needed";
/// How often the mesh is planned while nothing changes.
const PLAN_EVERY: Micros = Micros::from_millis(1_000);
/// Over how long regions that all want new links spread their dialing.
const DIAL_SPREAD_MS: u64 = 250;
/// After this long the other end of a link dials, if the one whose turn it is has not.
const SECOND_DIALS_AFTER_MS: u64 = 2_000;
/// Attempts under way at the same time. The parent is always dialed.
const DIALS_AT_ONCE: usize = 8;
const REFUSED_PAUSE: Micros = Micros::from_millis(30_000);
