//! A cluster of candidates in one thread: a net that loses, repeats, reorders and parts, machines that crash and stand still,
//! and proposals, changes of the candidates and log gossip while that goes on. All from one seed.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use super::{
    Plant, commit_never_undone, election_safety,
    entry::{Entry, region, regions},
    leader_completeness, log_matching, state_machine_safety,
};
use crate::{
    Micros, RegionId,
    quorum::{LogPoint, Quorum, QuorumConfig, QuorumEntry, QuorumMessage, Saved},
};

/// How bad it gets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    pub(super) loss: f64,
    pub(super) repeat: f64,
    pub(super) delay_ms_max: u64,
    /// Mean time between faults of each kind, in ms; 0 for never.
    pub(super) part_every_ms: u64,
    pub(super) crash_every_ms: u64,
    pub(super) pause_every_ms: u64,
    pub(super) change_every_ms: u64,
    /// How long a machine that crashed is down, at most.
    pub(super) down_ms_max: u64,
    /// How often a machine crashes at the worst moment: when it has just told its vote, when a leader's first entry is on
    /// disk and nobody has heard of it, and when it has just decided something and told nobody.
    pub(super) crash_at_worst: f64,
    /// How long a leader takes to make its first entry, at most.
    pub(super) begin_ms_max: u64,
}

impl Faults {
    pub(super) const CHAOS: Faults = Faults {
        loss: 0.1,
        repeat: 0.05,
        delay_ms_max: 300,
        part_every_ms: 4_000,
        crash_every_ms: 3_000,
        pause_every_ms: 5_000,
        change_every_ms: 8_000,
        down_ms_max: 2_500,
        crash_at_worst: 0.05,
        begin_ms_max: 50,
    };
    /// Three candidates that do nothing but crash and vote: votes and terms under pressure.
    pub(super) const ELECTIONS: Faults =
        Faults { crash_every_ms: 400, change_every_ms: 0, part_every_ms: 1_500, ..Faults::CHAOS };
}

/// One region: what is on its disk, and what runs.
pub(super) struct Machine {
    pub(super) id: RegionId,
    pub(super) engine: Option<Quorum<Entry>>,
    /// On disk: the decided log, and what the engine saved.
    pub(super) decided: Vec<Entry>,
    saved: Saved<Entry>,
    /// Its clock is this much ahead.
    skew: Micros,
    paused_until: Micros,
    waiting: Vec<(RegionId, QuorumMessage<Entry>)>,
}

enum Event {
    Arrives { from: usize, to: usize, message: QuorumMessage<Entry> },
    Tick(usize),
    Start(usize),
    Begin(usize),
    Wake(usize),
    Propose,
    Gossip,
    Part,
    Crash,
    Pause,
    Change,
}

pub(super) struct Cluster {
    pub(super) machines: Vec<Machine>,
    pub(super) now: Micros,
    faults: Faults,
    plant: Plant,
    rng: fastrand::Rng,
    queue: BinaryHeap<Reverse<(Micros, u64)>>,
    events: BTreeMap<u64, Event>,
    next_event: u64,
    /// Which side of the present cut each machine is on.
    side: Vec<u8>,
    payload: u64,
    healed: bool,
    pub(super) leaders: BTreeMap<u64, RegionId>,
    /// What was decided first at each index.
    pub(super) truth: Vec<LogPoint>,
    /// How much of each machine's decided log was looked at.
    pub(super) checked: Vec<usize>,
}

/// A broken invariant.
pub(super) type Broken = String;

impl Cluster {
    /// Five machines, of which the first three are candidates.
    pub(super) fn new(seed: u64, faults: Faults, plant: Plant) -> Cluster {
        let mut rng = fastrand::Rng::with_seed(seed);
        let first = Entry::setting(LogPoint::EMPTY, 1, &[1, 2, 3]);
        let machines = (1..=5)
            .map(|id| Machine {
                id: region(id),
                engine: None,
                decided: vec![first.clone()],
                saved: Saved::default(),
                skew: Micros::from_millis(rng.u64(0..10_000)),
                paused_until: Micros::ZERO,
                waiting: Vec::new(),
            })
            .collect();
        let mut cluster = Cluster {
            machines,
            now: Micros::ZERO,
            faults,
            plant,
            rng,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            next_event: 0,
            side: vec![0; 5],
            payload: 0,
            healed: false,
            leaders: BTreeMap::new(),
            truth: vec![first.point()],
            checked: vec![1; 5],
        };
        for machine in 0..5 {
            cluster.start(machine);
        }
        let ms = Micros::from_millis;
        cluster.at(ms(500), Event::Propose);
        cluster.at(ms(700), Event::Gossip);
        for (mean, event) in [
            (faults.part_every_ms, Event::Part),
            (faults.crash_every_ms, Event::Crash),
            (faults.pause_every_ms, Event::Pause),
            (faults.change_every_ms, Event::Change),
        ] {
            if mean > 0 {
                cluster.at(ms(mean), event);
            }
        }
        cluster
    }

    /// Runs for a span, and checks every invariant after every event.
    pub(super) fn run(&mut self, span: Micros) -> Result<(), Broken> {
        let end = self.now + span;
        while let Some(Reverse((at, number))) = self.queue.peek().copied() {
            if at > end {
                break;
            }
            self.queue.pop();
            let Some(event) = self.events.remove(&number) else {
                continue;
            };
            self.now = at;
            let touched = self.handle(event);
            self.check(touched)?;
        }
        self.now = end;
        Ok(())
    }

    /// Ends all faults, starts whoever is down, and lets time pass.
    pub(super) fn heal(&mut self, span: Micros) -> Result<(), Broken> {
        self.faults = Faults { loss: 0.0, repeat: 0.0, ..self.faults };
        self.faults.crash_at_worst = 0.0;
        self.healed = true;
        self.side.fill(0);
        for machine in 0..self.machines.len() {
            self.machines[machine].paused_until = Micros::ZERO;
            self.wake(machine);
            if self.machines[machine].engine.is_none() {
                self.start(machine);
            }
        }
        self.run(span)
    }

    pub(super) fn leader(&self) -> Option<&Machine> {
        let leading = self
            .machines
            .iter()
            .filter(|machine| machine.engine.as_ref().is_some_and(|engine| engine.is_leader()));
        leading.max_by_key(|machine| machine.engine.as_ref().map(|engine| engine.term()))
    }

    pub(super) fn propose_to(&mut self, id: RegionId) {
        self.propose(usize::from(id.get()) - 1, None);
    }

    fn check(&mut self, touched: Option<usize>) -> Result<(), Broken> {
        let Some(machine) = touched else {
            return Ok(());
        };
        election_safety::check(self, machine)?;
        leader_completeness::check(self, machine)?;
        log_matching::check(self, machine)?;
        commit_never_undone::check(self, machine)?;
        state_machine_safety::check(self, machine)
    }

    fn at(&mut self, wait: Micros, event: Event) {
        let number = self.next_event;
        self.next_event += 1;
        self.queue.push(Reverse((self.now + wait, number)));
        self.events.insert(number, event);
    }

    /// The next fault of a kind: after an exponentially distributed time.
    fn again(&mut self, mean_ms: u64, event: Event) {
        if mean_ms > 0 {
            let wait = -(1.0 - self.rng.f64()).ln() * mean_ms as f64;
            self.at(Micros::from_millis(wait as u64 + 1), event);
        }
    }

    fn handle(&mut self, event: Event) -> Option<usize> {
        match event {
            Event::Arrives { from, to, message } => {
                if self.side[from] == self.side[to] {
                    return self.deliver(self.machines[from].id, to, message);
                }
                None
            }
            Event::Tick(machine) => {
                if self.runs(machine) {
                    let now = self.clock(machine);
                    let rng = &mut self.rng;
                    if let Some(engine) = &mut self.machines[machine].engine {
                        engine.tick(now, &mut || rng.u64(..));
                    }
                    self.act(machine);
                }
                // Looked after at a pace of its own, like a hub's.
                self.at(Micros::from_millis(100), Event::Tick(machine));
                Some(machine)
            }
            Event::Begin(machine) => {
                self.begin(machine);
                Some(machine)
            }
            Event::Start(machine) => {
                self.start(machine);
                Some(machine)
            }
            Event::Wake(machine) => {
                self.wake(machine);
                Some(machine)
            }
            Event::Propose => {
                let machine = self.rng.usize(0..5);
                self.propose(machine, None);
                let wait = self.rng.u64(50..600);
                self.at(Micros::from_millis(wait), Event::Propose);
                Some(machine)
            }
            Event::Gossip => {
                let (from, to) = (self.rng.usize(0..5), self.rng.usize(0..5));
                if self.side[from] == self.side[to] {
                    self.gossip(from, to);
                }
                let wait = self.rng.u64(100..3_000);
                self.at(Micros::from_millis(wait), Event::Gossip);
                Some(to)
            }
            Event::Part | Event::Crash | Event::Pause | Event::Change if self.healed => None,
            Event::Part => {
                for side in &mut self.side {
                    *side = self.rng.u8(0..2) * self.rng.u8(0..2);
                }
                self.again(self.faults.part_every_ms, Event::Part);
                None
            }
            Event::Crash => {
                let machine = self.rng.usize(0..5);
                self.crash(machine);
                self.again(self.faults.crash_every_ms, Event::Crash);
                None
            }
            Event::Pause => {
                let machine = self.rng.usize(0..5);
                let pause = Micros::from_millis(self.rng.u64(100..8_000));
                self.machines[machine].paused_until = self.now + pause;
                self.at(pause, Event::Wake(machine));
                self.again(self.faults.pause_every_ms, Event::Pause);
                None
            }
            Event::Change => {
                let mut ids = [1, 2, 3, 4, 5];
                self.rng.shuffle(&mut ids);
                let count = [1, 3, 3, 3, 5][self.rng.usize(0..5)];
                let mut set = ids[..count].to_vec();
                set.sort_unstable();
                let leading = self.leader().map(|machine| usize::from(machine.id.get()) - 1);
                if let Some(machine) = leading {
                    self.propose(machine, Some(&set));
                }
                self.again(self.faults.change_every_ms, Event::Change);
                leading
            }
        }
    }

    fn deliver(
        &mut self,
        from: RegionId,
        to: usize,
        message: QuorumMessage<Entry>,
    ) -> Option<usize> {
        if self.machines[to].paused_until > self.now {
            self.machines[to].waiting.push((from, message));
            return None;
        }
        let now = self.clock(to);
        self.machines[to].engine.as_mut()?.handle_message(now, from, message);
        self.act(to);
        Some(to)
    }

    fn propose(&mut self, machine: usize, set: Option<&[u16]>) {
        if !self.runs(machine) {
            return;
        }
        let now = self.clock(machine);
        self.payload += 1;
        if let Some(engine) = &mut self.machines[machine].engine {
            if engine.last().term < engine.term() {
                return;
            }
            let entry = match set {
                Some(set) => Entry::setting(engine.last(), engine.term(), set),
                None => Entry::after(engine.last(), engine.term(), self.payload),
            };
            let _ = engine.propose(now, entry);
        }
        self.act(machine);
    }

    /// What the shell does: save, commit, send.
    fn act(&mut self, machine: usize) {
        let Some(engine) = &mut self.machines[machine].engine else {
            return;
        };
        let ready = engine.poll();
        let engine_leads = engine.is_leader();
        if let Some(saved) = ready.save {
            let vote = match self.plant.forgets_votes {
                true => None,
                false => saved.vote,
            };
            self.machines[machine].saved = Saved { vote, ..saved };
        }
        let decided = engine_leads && !ready.committed.is_empty();
        self.machines[machine].decided.extend(ready.committed);
        if decided && self.rng.f64() < self.faults.crash_at_worst {
            return self.crash(machine);
        }
        let votes = |message: &QuorumMessage<Entry>| {
            matches!(message, QuorumMessage::VoteReply { granted: true, .. })
        };
        let voted = ready.messages.iter().any(|(_, message)| votes(message));
        for (to, message) in ready.messages {
            self.send(machine, usize::from(to.get()) - 1, message);
        }
        if voted && self.rng.f64() < self.faults.crash_at_worst {
            return self.crash(machine);
        }
        if let Some(from) = ready.fetch {
            let from = usize::from(from.get()) - 1;
            if self.side[from] == self.side[machine] && self.machines[from].engine.is_some() {
                self.gossip(from, machine);
            }
        }
        if ready.elected {
            let wait = self.rng.u64(0..=self.faults.begin_ms_max);
            self.at(Micros::from_millis(wait), Event::Begin(machine));
        }
    }

    /// A leader's first entry.
    fn begin(&mut self, machine: usize) {
        if !self.runs(machine) {
            return self.at(Micros::from_millis(100), Event::Begin(machine));
        }
        let now = self.clock(machine);
        if let Some(engine) = &mut self.machines[machine].engine
            && engine.is_leader()
            && engine.last().term < engine.term()
        {
            self.payload += 1;
            let first = Entry::after(engine.last(), engine.term(), self.payload);
            engine.propose(now, first).expect("a leader begins its term");
            if self.rng.f64() < self.faults.crash_at_worst {
                // On disk, and nobody heard of it.
                self.machines[machine].saved = engine.poll().save.expect("a new entry is saved");
                return self.crash(machine);
            }
        }
        self.act(machine);
    }

    fn send(&mut self, from: usize, to: usize, message: QuorumMessage<Entry>) {
        let copies = 1 + usize::from(self.rng.f64() < self.faults.repeat);
        for _ in 0..copies {
            if self.rng.f64() >= self.faults.loss && self.side[from] == self.side[to] {
                let delay = Micros::from_millis(self.rng.u64(1..=self.faults.delay_ms_max));
                self.at(delay, Event::Arrives { from, to, message: message.clone() });
            }
        }
    }

    /// `to` pulls what `from` has more of the decided log, as any region does.
    fn gossip(&mut self, from: usize, to: usize) {
        if !self.runs(to) || from == to {
            return;
        }
        let have = self.machines[to].decided.len();
        let news: Vec<Entry> =
            self.machines[from].decided.get(have..).map(<[Entry]>::to_vec).unwrap_or_default();
        let now = self.clock(to);
        if let Some(engine) = &mut self.machines[to].engine {
            engine.handle_committed(now, &news);
        }
        self.machines[to].decided.extend(news);
        self.act(to);
    }

    fn start(&mut self, machine: usize) {
        let now = self.clock(machine);
        let first_time = self.next_event < 5;
        let this = &mut self.machines[machine];
        if this.engine.is_some() {
            return;
        }
        let committed = this.decided.last().map_or(LogPoint::EMPTY, QuorumEntry::point);
        let voters = this.decided.iter().rev().find_map(|entry| entry.candidates.clone());
        let (config, saved) = (QuorumConfig::default(), this.saved.clone());
        let rng = &mut self.rng;
        let mut engine = Quorum::new(
            this.id,
            config,
            now,
            committed,
            &voters.unwrap_or_else(|| regions(&[1, 2, 3])),
            saved,
            &mut || rng.u64(..),
        );
        engine.plant = self.plant;
        this.engine = Some(engine);
        if first_time {
            let wait = self.rng.u64(1..100);
            self.at(Micros::from_millis(wait), Event::Tick(machine));
        }
        self.act(machine);
    }

    fn crash(&mut self, machine: usize) {
        self.machines[machine].engine = None;
        self.machines[machine].waiting.clear();
        let down = self.rng.u64(10..self.faults.down_ms_max);
        self.at(Micros::from_millis(down), Event::Start(machine));
    }

    fn wake(&mut self, machine: usize) {
        if self.machines[machine].paused_until > self.now {
            return;
        }
        for (from, message) in std::mem::take(&mut self.machines[machine].waiting) {
            self.deliver(from, machine, message);
        }
    }

    fn runs(&self, machine: usize) -> bool {
        let this = &self.machines[machine];
        this.engine.is_some() && this.paused_until <= self.now
    }

    fn clock(&self, machine: usize) -> Micros {
        self.now + self.machines[machine].skew
    }
}

/// Runs many seeds and says which one broke what.
pub(super) fn run_seeds(
    seeds: std::ops::Range<u64>,
    faults: Faults,
    plant: Plant,
    span: Micros,
) -> Result<(), Broken> {
    for seed in seeds {
        Cluster::new(seed, faults, plant)
            .run(span)
            .map_err(|broken| format!("seed {seed}: {broken}"))?;
    }
    Ok(())
}
