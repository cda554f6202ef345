//! All copies of the registry become byte-equal after any sequence of joins, leaves, splits, moves, losses, partitions and
//! crashes, once healed (contract C21).
//!
//! A seeded simulation over the real engines, [`Registry`] and [`Replication`]: virtual time, one queue of events. On the
//! way it checks at every step that each copy holds a prefix of the one log and that what a copy has shown never goes
//! back, restarts included.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::OnceLock;

use fedist_registry::{
    Change, Forwarding, KeyHash, LocalId, LogEntry, Micros, RegionId, RegionKey, RegionRecord,
    Registry, RegistryMessage, Replication, ReplicationConfig, Snapshot, Status, Step, Version,
};

/// A mistake that the checks must notice.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Plant {
    None,
    /// Entries are shown before they are durable.
    ShownTooEarly,
    /// Nobody offers its version: what a push lost is lost for good.
    NoOffers,
    /// A copy forgets a forwarding that its snapshot had.
    StaleSnapshot,
}

#[derive(Default, Debug)]
pub(crate) struct Tally {
    entries: u64,
    restarts: u32,
    snapshots: u32,
    refused: u32,
    regions: usize,
}

fn region(id: u16) -> RegionId {
    RegionId::new(id).unwrap()
}

fn key(id: RegionId) -> &'static RegionKey {
    static KEYS: OnceLock<Vec<RegionKey>> = OnceLock::new();
    let keys =
        KEYS.get_or_init(|| (0..=99).map(|id| RegionKey::from_seed(&[id; 32]).unwrap()).collect());
    &keys[usize::from(id.get())]
}

/// What a crash leaves.
#[derive(Default)]
struct Disk {
    snapshot: Option<Snapshot>,
    log: Vec<LogEntry>,
}

struct Replica {
    registry: Registry,
    replication: Replication,
    disk: Disk,
    up: bool,
    /// The furthest version that a reader has seen.
    shown: Version,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive { to: RegionId, from: RegionId, message: usize },
    Timer(RegionId),
    Act,
}

struct World {
    random: fastrand::Rng,
    plant: Plant,
    now: Micros,
    events: BinaryHeap<Reverse<(Micros, u64, Event)>>,
    serial: u64,
    messages: BTreeMap<usize, RegistryMessage>,
    replicas: BTreeMap<RegionId, Replica>,
    /// Pairs that have a link when nothing is broken, lower number first, and its latency.
    links: BTreeMap<(RegionId, RegionId), Micros>,
    cut: BTreeSet<(RegionId, RegionId)>,
    loss: f64,
    master: RegionId,
    next_id: u16,
    checkpoint_every: u64,
    /// The hash of each entry that was ever written.
    history: Vec<[u8; 32]>,
    tally: Tally,
}

impl World {
    fn new(seed: u64, plant: Plant) -> World {
        let mut random = fastrand::Rng::with_seed(seed);
        let checkpoint_every = random.u64(4..20);
        let mut world = World {
            random,
            plant,
            now: Micros::from_millis(1),
            events: BinaryHeap::new(),
            serial: 0,
            messages: BTreeMap::new(),
            replicas: BTreeMap::new(),
            links: BTreeMap::new(),
            cut: BTreeSet::new(),
            loss: 0.0,
            master: region(1),
            next_id: 1,
            checkpoint_every,
            history: Vec::new(),
            tally: Tally::default(),
        };
        world.found();
        world
    }

    fn found(&mut self) {
        self.add_replica(region(1));
        self.next_id = 2;
        let record = self.record(region(1), None);
        self.write(Change::Join(record)).unwrap();
        self.write(Change::Live(region(1))).unwrap();
    }

    fn record(&mut self, id: RegionId, parent: Option<RegionId>) -> RegionRecord {
        RegionRecord {
            id,
            name: format!("r{id}").parse().unwrap(),
            parent,
            addresses: vec![format!("h{}:1", self.random.u8(..))],
            key_hash: key(id).key_hash(),
            status: Status::Joining,
            coordinates: None,
        }
    }

    fn add_replica(&mut self, id: RegionId) {
        let config = ReplicationConfig {
            // Small, so that a few dozen entries are far behind and need several rounds.
            window: 2,
            ..ReplicationConfig::default()
        };
        let replica = Replica {
            registry: Registry::new(),
            replication: Replication::new(id, config),
            disk: Disk::default(),
            up: true,
            shown: Version::EMPTY,
        };
        self.replicas.insert(id, replica);
    }

    fn at(&mut self, time: Micros, event: Event) {
        self.serial += 1;
        self.events.push(Reverse((time, self.serial, event)));
    }

    fn carries(&self, a: RegionId, b: RegionId) -> bool {
        let pair = (a.min(b), a.max(b));
        let up = |id| self.replicas.get(&id).is_some_and(|replica| replica.up);
        self.links.contains_key(&pair) && !self.cut.contains(&pair) && up(a) && up(b)
    }

    fn send(&mut self, from: RegionId, messages: Vec<(RegionId, RegistryMessage)>) {
        for (to, message) in messages {
            let is_have = matches!(message, RegistryMessage::Have(_));
            let lost = self.random.f64() < self.loss || (is_have && self.plant == Plant::NoOffers);
            let Some(latency) = self.links.get(&(from.min(to), from.max(to))).copied() else {
                continue;
            };
            if lost || !self.carries(from, to) {
                continue;
            }
            // A link keeps its order: no jitter.
            self.serial += 1;
            let number = self.serial as usize;
            self.messages.insert(number, message);
            self.at(self.now + latency, Event::Arrive { to, from, message: number });
        }
    }

    /// The master's side of the hub.
    fn write(&mut self, change: Change) -> Result<(), String> {
        let master = self.master;
        let term = self.replicas[&master].registry.term().max(1);
        self.write_in(master, term, change)
    }

    fn write_in(&mut self, master: RegionId, term: u64, change: Change) -> Result<(), String> {
        let replica = self.replicas.get_mut(&master).unwrap();
        if !replica.up {
            return Ok(());
        }
        // A refused change is part of the game.
        let Ok(entry) = replica.registry.propose_signed(term, change, master, key(master)) else {
            self.tally.refused += 1;
            return Ok(());
        };
        self.history.push(entry.hash());
        self.tally.entries += 1;
        self.persist(master);
        self.announce(master, vec![entry], None);
        let replica = self.replicas.get_mut(&master).unwrap();
        if replica.registry.checkpoint_due(self.checkpoint_every) {
            let checkpoint = replica.registry.checkpoint();
            return self.write_in(master, term, checkpoint);
        }
        self.check(master)
    }

    fn persist(&mut self, id: RegionId) {
        let replica = self.replicas.get_mut(&id).unwrap();
        if self.plant == Plant::ShownTooEarly && self.random.bool() {
            return;
        }
        replica.disk.snapshot = replica.registry.snapshot().map(|it| Snapshot::clone(it));
        replica.disk.log =
            replica.registry.log().iter().map(|entry| LogEntry::clone(entry)).collect();
    }

    fn announce(&mut self, id: RegionId, entries: Vec<LogEntry>, from: Option<RegionId>) {
        let replica = self.replicas.get_mut(&id).unwrap();
        let send = replica.replication.announce(self.now, &replica.registry, &entries, from);
        self.send(id, send);
        self.settle_links(id);
        self.arm(id);
    }

    /// The mesh: once a copy knows it, a region has a link to its parent.
    fn settle_links(&mut self, id: RegionId) {
        let parent = self.replicas[&id].registry.get(id).and_then(|record| record.parent);
        if let Some(parent) = parent {
            self.link(id, parent);
        }
    }

    fn arm(&mut self, id: RegionId) {
        if let Some(at) = self.replicas[&id].replication.poll_timeout() {
            let at = at.max(self.now + Micros::from_millis(1));
            self.at(at, Event::Timer(id));
        }
    }

    fn link(&mut self, a: RegionId, b: RegionId) {
        let pair = (a.min(b), a.max(b));
        if a == b || self.links.contains_key(&pair) {
            return;
        }
        let latency = Micros::from_millis(self.random.u64(2..150));
        self.links.insert(pair, latency);
        self.greet(pair);
    }

    fn greet(&mut self, (a, b): (RegionId, RegionId)) {
        if !self.carries(a, b) {
            return;
        }
        for (me, peer) in [(a, b), (b, a)] {
            let theirs = self.replicas[&peer].registry.version();
            let now = self.now;
            let replica = self.replicas.get_mut(&me).unwrap();
            let step = replica.replication.link_up(now, &replica.registry, peer, theirs);
            self.send(me, step.send);
            self.arm(me);
        }
    }

    fn part(&mut self, (a, b): (RegionId, RegionId)) {
        for (me, peer) in [(a, b), (b, a)] {
            if let Some(replica) = self.replicas.get_mut(&me) {
                replica.replication.link_down(peer);
            }
        }
    }

    fn crash(&mut self, id: RegionId) {
        for pair in self.links_of(id) {
            self.part(pair);
        }
        self.replicas.get_mut(&id).unwrap().up = false;
    }

    fn restart(&mut self, id: RegionId) -> Result<(), String> {
        let replica = self.replicas.get_mut(&id).unwrap();
        if replica.up {
            return Ok(());
        }
        let config = ReplicationConfig { window: 2, ..ReplicationConfig::default() };
        let log = replica.disk.log.clone();
        replica.registry = Registry::from_parts(replica.disk.snapshot.clone(), log)
            .map_err(|error| format!("region {id} does not come back: {error}"))?;
        replica.replication = Replication::new(id, config);
        replica.up = true;
        self.tally.restarts += 1;
        self.check(id)?;
        for pair in self.links_of(id) {
            self.greet(pair);
        }
        Ok(())
    }

    fn links_of(&self, id: RegionId) -> Vec<(RegionId, RegionId)> {
        self.links.keys().copied().filter(|(a, b)| *a == id || *b == id).collect()
    }

    /// What the hub does with a step: durable first, then shown and passed on.
    fn carry_out(
        &mut self,
        id: RegionId,
        from: RegionId,
        before: Registry,
        step: Step,
    ) -> Result<(), String> {
        if let Some(refusal) = &step.refused {
            return Err(format!("region {id} refused what region {from} sent: {refusal:?}"));
        }
        if step.grown.is_empty() && !step.installed {
            self.send(id, step.send);
            self.arm(id);
            return Ok(());
        }
        self.tally.snapshots += u32::from(step.installed);
        if self.loss > 0.0 && self.random.u8(..) < 5 {
            // The disk refuses, or the power goes: nothing was shown and nothing sent.
            if self.random.bool() {
                self.replicas.get_mut(&id).unwrap().registry = before;
            } else {
                self.crash(id);
            }
            return Ok(());
        }
        self.persist(id);
        self.check(id)?;
        self.send(id, step.send);
        self.announce(id, step.grown, Some(from));
        Ok(())
    }

    /// Each copy is a prefix of the one log, and nobody sees a version go back.
    fn check(&mut self, id: RegionId) -> Result<(), String> {
        let replica = self.replicas.get_mut(&id).unwrap();
        let version = replica.registry.version();
        if version.index < replica.shown.index {
            return Err(format!("region {id} went back from {} to {version}", replica.shown));
        }
        replica.shown = version;
        let at = usize::try_from(version.index).unwrap();
        if at > 0 && self.history.get(at - 1) != Some(&version.hash) {
            return Err(format!("region {id} holds no prefix at {version}"));
        }
        Ok(())
    }

    fn step(&mut self) -> Result<bool, String> {
        let Some(Reverse((time, _, event))) = self.events.pop() else {
            return Ok(false);
        };
        self.now = self.now.max(time);
        match event {
            Event::Arrive { to, from, message } => {
                let message = self.messages.remove(&message).unwrap();
                if !self.carries(from, to) {
                    return Ok(true);
                }
                let proven: BTreeMap<RegionId, KeyHash> = self
                    .links_of(to)
                    .into_iter()
                    .map(|(a, b)| if a == to { b } else { a })
                    .map(|peer| (peer, key(peer).key_hash()))
                    .collect();
                let now = self.now;
                let replica = self.replicas.get_mut(&to).unwrap();
                let before = replica.registry.clone();
                let step =
                    replica.replication.handle(now, &mut replica.registry, from, message, &|id| {
                        proven.get(&id).copied()
                    });
                self.carry_out(to, from, before, step)?;
            }
            Event::Timer(id) => {
                let now = self.now;
                let replica = self.replicas.get_mut(&id).unwrap();
                let due = replica.replication.poll_timeout().is_some_and(|at| at <= now);
                if replica.up && due {
                    let step = replica.replication.handle_timeout(now, &replica.registry);
                    self.send(id, step.send);
                    self.arm(id);
                }
            }
            Event::Act => self.act()?,
        }
        Ok(true)
    }

    fn any_region(&mut self) -> RegionId {
        let ids: Vec<RegionId> = self.replicas.keys().copied().collect();
        ids[self.random.usize(0..ids.len())]
    }

    /// Something happens to the federation.
    fn act(&mut self) -> Result<(), String> {
        let (one, other) = (self.any_region(), self.any_region());
        match self.random.u8(0..24) {
            0..=5 if self.next_id <= 12 => {
                let id = region(self.next_id);
                self.next_id += 1;
                self.add_replica(id);
                // The hub that it joins at need not be its parent.
                self.link(id, other);
                let record = self.record(id, Some(one));
                self.write(Change::Join(record))?;
            }
            0..=8 => {
                let joining = self.registry().regions().find(|it| it.status == Status::Joining);
                if let Some(id) = joining.map(|record| record.id) {
                    self.write(Change::Live(id))?;
                }
            }
            9 => self.write(Change::Leave(one))?,
            10 => {
                // One that left comes back with its key.
                let left = self.registry().regions().find(|it| it.status == Status::Left);
                if let Some(id) = left.map(|record| record.id) {
                    let record = self.record(id, Some(other));
                    self.write(Change::Join(record))?;
                }
            }
            11 | 12 => {
                let first = self.random.u64(256..1_000);
                let last = first + self.random.u64(0..200);
                let id = |local| LocalId::new(local).unwrap();
                let to = self.any_region();
                // Seats never meet where they lie this far apart.
                let seat = id(1_000_000 * self.history.len() as u64 + 256);
                let range = Forwarding { from: one, first: id(first), last: id(last), to, seat };
                self.write(Change::Split(range))?;
            }
            13 | 14 => {
                let addresses = vec![format!("h{}:2", self.random.u8(..))];
                let parent = if one == region(1) { None } else { Some(other) };
                self.write(Change::Update { id: one, addresses, parent, coordinates: None })?;
            }
            15 => self.link(one, other),
            16 | 17 => {
                let pairs: Vec<_> = self.links.keys().copied().collect();
                if !pairs.is_empty() {
                    let pair = pairs[self.random.usize(0..pairs.len())];
                    if self.cut.insert(pair) {
                        self.part(pair);
                    }
                }
            }
            18 | 19 => {
                if let Some(pair) = self.cut.pop_first() {
                    self.greet(pair);
                }
            }
            20 => self.crash(one),
            21 => self.restart(one)?,
            22 => {
                // Another region takes over; it holds all that was written, as an elected one would.
                let head = self.registry().version();
                let ready = self.replicas.get(&one).is_some_and(|it| {
                    it.up && it.registry.version() == head && it.registry.is_live(one)
                });
                if ready && self.random.bool() {
                    let term = self.registry().term() + 1;
                    self.write_in(one, term, Change::Master(one))?;
                    self.master = one;
                }
            }
            _ => {
                self.loss = self.random.f64() * 0.3;
            }
        }
        Ok(())
    }

    fn registry(&self) -> &Registry {
        &self.replicas[&self.master].registry
    }

    fn heal(&mut self) -> Result<(), String> {
        self.loss = 0.0;
        while let Some(pair) = self.cut.pop_first() {
            self.greet(pair);
        }
        let ids: Vec<RegionId> = self.replicas.keys().copied().collect();
        for id in &ids {
            self.restart(*id)?;
        }
        Ok(())
    }
}

/// Runs one sequence to its end; what is wrong, if anything is.
fn run(seed: u64, plant: Plant) -> Result<Tally, String> {
    let mut world = World::new(seed, plant);
    world.loss = world.random.f64() * 0.2;
    let acts = world.random.u64(20..60);
    for act in 0..acts {
        // Bursts and pauses.
        let pause = if world.random.u8(..) < 100 { 5 } else { 900 };
        let time = world.now + Micros::from_millis(act * 300 + world.random.u64(0..=pause));
        world.at(time, Event::Act);
    }
    let end = world.now + Micros::from_millis(acts * 300 + 1_000);
    while world.now < end && world.step()? {}
    world.heal()?;
    let healed = world.now + HEALED_WITHIN;
    let equal = |world: &World| {
        let head = world.registry().version();
        world.replicas.values().all(|replica| replica.registry.version() == head)
    };
    while !equal(&world) {
        if world.now > healed || !world.step()? {
            let versions: Vec<String> = world
                .replicas
                .iter()
                .map(|(id, replica)| format!("{id}: {}", replica.registry.version()))
                .collect();
            return Err(format!("not equal after the heal: {}", versions.join(", ")));
        }
    }
    if plant == Plant::StaleSnapshot {
        plant_stale_snapshot(&mut world);
    }
    let state = world.registry().state_hash();
    for (id, replica) in &world.replicas {
        let registry = &replica.registry;
        if registry.state_hash() != state || !registry.regions().eq(world.registry().regions()) {
            return Err(format!("region {id} has another state at the same version"));
        }
        if !registry.forwardings().eq(world.registry().forwardings()) {
            return Err(format!("region {id} has other forwardings at the same version"));
        }
    }
    world.tally.regions = world.replicas.len();
    Ok(world.tally)
}

/// One replica is made anew from a log in which a region never left its first address.
fn plant_stale_snapshot(world: &mut World) {
    let id = *world.replicas.keys().next_back().unwrap();
    let mut registry = Registry::new();
    for record in world.registry().regions().take(1) {
        let joined = Change::Join(RegionRecord { addresses: vec![], ..record.clone() });
        registry.propose_signed(1, joined, record.id, key(record.id)).unwrap();
    }
    world.replicas.get_mut(&id).unwrap().registry = registry;
}

/// A lost offer is made good by the next refresh, 30 s later at most, hop by hop.
const HEALED_WITHIN: Micros = Micros::from_millis(400_000);

/// Sequences in all, over all of these tests.
pub(crate) const SEQUENCES: u64 = 1_000;
/// Tests that share them, so that they run side by side.
pub(crate) const SHARES: u64 = 4;

/// Runs the sequences of one share; what went wrong, with its seed.
pub(crate) fn run_share(which: u64) -> Result<Tally, String> {
    let mut sum = Tally::default();
    for seed in (0..SEQUENCES).filter(|seed| seed % SHARES == which) {
        let tally = run(seed, Plant::None).map_err(|wrong| format!("seed {seed}: {wrong}"))?;
        sum.entries += tally.entries;
        sum.restarts += tally.restarts;
        sum.snapshots += tally.snapshots;
        sum.refused += tally.refused;
        sum.regions += tally.regions;
    }
    Ok(sum)
}

#[cfg(test)]
fn share(which: u64) {
    let sum = run_share(which).unwrap_or_else(|wrong| panic!("{wrong}"));
    println!("seeds = {which} modulo {SHARES}: {sum:?}");
    // The sequences mean something only if all of it happened.
    assert!(sum.entries > 2_000 && sum.restarts > 100 && sum.snapshots > 100 && sum.refused > 100);
}

#[test]
fn all_copies_are_equal_after_any_sequence_first_share() {
    share(0);
}

#[test]
fn all_copies_are_equal_after_any_sequence_second_share() {
    share(1);
}

#[test]
fn all_copies_are_equal_after_any_sequence_third_share() {
    share(2);
}

#[test]
fn all_copies_are_equal_after_any_sequence_fourth_share() {
    share(3);
}

#[test]
fn mistakes_that_were_planted_are_noticed() {
    for (plant, says) in [
        (Plant::ShownTooEarly, "went back"),
        (Plant::NoOffers, "not equal"),
        (Plant::StaleSnapshot, "another state"),
    ] {
        let noticed = (0..20).filter_map(|seed| run(seed, plant).err()).collect::<Vec<_>>();
        assert!(noticed.iter().any(|wrong| wrong.contains(says)), "{plant:?}: {noticed:?}");
    }
}
