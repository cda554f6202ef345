//! Two sessions, a network between them that does what its settings say, and an oracle that watches
//! every step.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};

use bytes::Bytes;
use fedist_registry::{LocalId, Micros, RegionId};

use super::super::config::MAX_RECORDS_LEN;
use super::super::*;
use crate::wire::{RecordHeader, RecordKind, Records, SessionHeader};

/// What the network does to frames.
#[derive(Clone, Debug)]
pub(super) struct Faults {
    pub(super) loss: f64,
    pub(super) duplication: f64,
    pub(super) delay_min: Micros,
    pub(super) delay_max: Micros,
    /// Share of frames that take up to `late_max` instead.
    pub(super) late: f64,
    pub(super) late_max: Micros,
    /// Swallows everything from side 0, from side 1.
    pub(super) cut: [bool; 2],
}

impl Faults {
    pub(super) fn none() -> Self {
        Self {
            loss: 0.0,
            duplication: 0.0,
            delay_min: Micros::from_millis(10),
            delay_max: Micros::from_millis(10),
            late: 0.0,
            late_max: Micros::ZERO,
            cut: [false; 2],
        }
    }
}

pub(super) struct Side {
    pub(super) session: Session,
    pub(super) boot: u32,
    next_id: u32,
    accepted: BTreeSet<u32>,
    /// Reported as undelivered in this life.
    pub(super) reported: BTreeSet<u32>,
    pub(super) ends: Vec<EndReason>,
    opened: bool,
    /// The epoch that the side speaks for, and when a frame of the present epochs last arrived.
    epoch: u64,
    heard: Micros,
    /// Last (life of sender, id) that each receiver has got in this life of the side.
    last_got: HashMap<LocalId, (u32, u32)>,
}

pub(super) struct World {
    pub(super) now: Micros,
    pub(super) faults: Faults,
    pub(super) rng: fastrand::Rng,
    pub(super) sides: [Side; 2],
    pub(super) config: SessionConfig,
    wire: BinaryHeap<Reverse<(Micros, u64)>>,
    cargo: HashMap<u64, (usize, Bytes)>,
    frames: u64,
    /// Ids that have arrived, by sending side and its life.
    got: BTreeMap<(usize, u32), BTreeSet<u32>>,
}

pub(super) fn local(number: u64) -> LocalId {
    LocalId::new(number).expect("a valid local id")
}

pub(super) fn tell(to: u64, id: u32) -> RecordHeader {
    RecordHeader {
        kind: RecordKind::Tell,
        to: Some(local(to)),
        from: Some(local(1_000)),
        type_hash: 0,
        version: 0,
        correlation: id,
        deadline_ms: 0,
    }
}

pub(super) fn small_config() -> SessionConfig {
    SessionConfig {
        window_bytes: 128 << 10,
        reorder_bytes: 128 << 10,
        queue_bytes: 512 << 10,
        batch_bytes: 1 << 10,
        max_message: 1 << 20,
        ..SessionConfig::default()
    }
}

impl World {
    pub(super) fn new(seed: u64, config: SessionConfig) -> Self {
        let now = Micros::from_millis(1_000_000);
        Self {
            now,
            faults: Faults::none(),
            rng: fastrand::Rng::with_seed(seed),
            sides: [Side::new(0, 1, now, &config), Side::new(1, 1, now, &config)],
            config,
            wire: BinaryHeap::new(),
            cargo: HashMap::new(),
            frames: 0,
            got: BTreeMap::new(),
        }
    }

    /// Pushes a tell with a body of `len` bytes; `None` if the session is full.
    pub(super) fn push(&mut self, from: usize, to: u64, len: usize) -> Option<u32> {
        let side = &mut self.sides[from];
        let id = side.next_id;
        let body: Vec<u8> = (0..len).map(|at| body_byte(id, at)).collect();
        let mut header = tell(to, id);
        header.type_hash = side.boot;
        header.deadline_ms = len as u32;
        // By itself, or as a batch of one that the caller has encoded.
        let need = header.encoded_len(len);
        let outcome = match id.is_multiple_of(2) && need <= MAX_RECORDS_LEN {
            true => {
                let mut encoded = Vec::with_capacity(need);
                header.encode_into(&body, &mut encoded);
                side.session.push_records(self.now, &encoded.into(), 1)
            }
            false => side.session.push(self.now, &header, &body),
        };
        match outcome {
            Ok(()) => {
                side.next_id += 1;
                side.accepted.insert(id);
                Some(id)
            }
            Err(PushError::Full) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Moves time to the next thing that happens, at most to `until`.
    pub(super) fn step(&mut self, until: Micros) {
        self.settle();
        let arrival = self.wire.peek().map(|Reverse((at, _))| *at);
        let timers = self.sides.iter().filter_map(|side| side.session.poll_timeout());
        let next = timers.chain(arrival).min().unwrap_or(until);
        self.now = self.now.max(next).min(until);
        for side in &mut self.sides {
            if side.session.poll_timeout().is_some_and(|due| due <= self.now) {
                side.session.handle_timeout(self.now);
            }
        }
        self.settle();
        while let Some(Reverse((at, number))) = self.wire.peek().copied() {
            if at > self.now {
                break;
            }
            self.wire.pop();
            let (to, payload) = self.cargo.remove(&number).expect("each frame has a cargo");
            let header = SessionHeader::decode(&payload).expect("sessions send proper frames");
            let present = [header.epoch, header.peer_epoch];
            if present == [self.sides[1 - to].epoch, self.sides[to].epoch] {
                self.sides[to].heard = self.now;
            }
            self.sides[to].session.handle_frame(self.now, payload);
            self.settle();
        }
        self.settle();
    }

    pub(super) fn run(&mut self, span: Micros) {
        let until = self.now + span;
        while self.now < until {
            self.step(until);
        }
    }

    pub(super) fn restart(&mut self, which: usize) {
        let boot = self.sides[which].boot + 1;
        self.sides[which] = Side::new(which, boot, self.now, &self.config);
    }

    pub(super) fn got(&self, from: usize) -> usize {
        self.got.get(&(from, self.sides[from].boot)).map_or(0, BTreeSet::len)
    }

    /// Every record of the present lives that is not reported has arrived.
    pub(super) fn check_nothing_lost(&self) {
        for (from, side) in self.sides.iter().enumerate() {
            let got = self.got.get(&(from, side.boot)).cloned().unwrap_or_default();
            let lost: Vec<_> = side
                .accepted
                .iter()
                .filter(|id| !got.contains(id) && !side.reported.contains(id))
                .collect();
            assert!(lost.is_empty(), "side {from} lost {lost:?} without a word");
            let stats = side.session.stats();
            assert_eq!(stats.in_flight, 0, "side {from}: {stats:?}");
        }
    }

    /// Takes what the sessions have to say until they are silent.
    fn settle(&mut self) {
        for from in 0..2 {
            self.check_events(from);
            while let Some(transmit) = self.sides[from].session.poll_transmit(self.now) {
                assert!(transmit.payload_len() <= crate::wire::MAX_FRAME_PAYLOAD);
                let payload = transmit.to_payload();
                let header = SessionHeader::decode(&payload).expect("a proper header");
                self.sides[from].epoch = header.epoch;
                self.carry(from, &payload);
            }
            let stats = self.sides[from].session.stats();
            assert_eq!(stats.accepted, self.sides[from].accepted.len() as u64);
        }
    }

    fn carry(&mut self, from: usize, payload: &Bytes) {
        let copies = 1 + usize::from(self.rng.f64() < self.faults.duplication);
        for _ in 0..copies {
            if self.faults.cut[from] || self.rng.f64() < self.faults.loss {
                continue;
            }
            let late = self.rng.f64() < self.faults.late;
            let max = if late { self.faults.late_max } else { self.faults.delay_max };
            let delay = self.rng.u64(self.faults.delay_min.0..=max.0);
            self.frames += 1;
            self.wire.push(Reverse((self.now + Micros(delay), self.frames)));
            self.cargo.insert(self.frames, (1 - from, payload.clone()));
        }
    }

    fn check_events(&mut self, at: usize) {
        while let Some(event) = self.sides[at].session.poll_event() {
            let side = &mut self.sides[at];
            match event {
                SessionEvent::Opened { .. } => {
                    assert!(!side.opened, "opened twice without an end");
                    side.opened = true;
                }
                SessionEvent::Ended { reason, undelivered } => {
                    side.opened = false;
                    side.ends.push(reason);
                    let mut last = HashMap::new();
                    for header in undelivered {
                        let id = header.correlation;
                        assert!(side.reported.insert(id), "{id} is reported twice");
                        let before = last.insert(header.to, id);
                        assert!(before.is_none_or(|before| before < id), "reported out of order");
                    }
                    if let EndReason::TimedOut { silent_for } = reason {
                        assert!(silent_for >= self.config.session_timeout);
                        let heard = self.now - side.heard;
                        assert!(heard >= self.config.session_timeout, "heard {heard} ago");
                    }
                }
                SessionEvent::Deliver { records } => {
                    for record in Records::new(records) {
                        let (header, body) = record.expect("delivered records are well-formed");
                        self.check_arrival(at, header, &body);
                    }
                }
                SessionEvent::DeliverLarge { header, body } => {
                    self.check_arrival(at, header, &body);
                }
                SessionEvent::Acked { .. } => {}
            }
        }
    }

    fn check_arrival(&mut self, at: usize, header: RecordHeader, body: &[u8]) {
        let side = &mut self.sides[at];
        assert!(side.opened, "a delivery outside a conversation");
        let (life, id) = (header.type_hash, header.correlation);
        let to = header.to.expect("each test record has a receiver");
        let before = side.last_got.insert(to, (life, id));
        assert!(before < Some((life, id)), "{to:?} got {before:?} and then {:?}", (life, id));
        assert_eq!(body.len(), header.deadline_ms as usize, "a body has changed its length");
        let intact = body.iter().enumerate().all(|(place, byte)| *byte == body_byte(id, place));
        assert!(intact, "a body has changed");
        self.got.entry((1 - at, life)).or_default().insert(id);
    }
}

impl Side {
    fn new(which: usize, boot: u32, now: Micros, config: &SessionConfig) -> Self {
        let [local, remote] = [which as u16 + 1, 2 - which as u16]
            .map(|number| RegionId::new(number).expect("a valid region"));
        Self {
            session: Session::new(config.clone(), local, remote, boot, now),
            boot,
            next_id: 1,
            accepted: BTreeSet::new(),
            reported: BTreeSet::new(),
            ends: Vec::new(),
            opened: false,
            epoch: 0,
            heard: now,
            last_got: HashMap::new(),
        }
    }
}

fn body_byte(id: u32, place: usize) -> u8 {
    (id as usize).wrapping_mul(31).wrapping_add(place) as u8
}
