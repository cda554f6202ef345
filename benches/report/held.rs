//! What a node holds for each thing it knows of: bytes of resident memory, tables included.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use fedist::FnAddr;
use fedist::prelude::{Mailbox, Node, RegionId, RegionPid};
use fedist::registry::{
    Change, LocalId, LogEntry, Micros, RegionKey, RegionRecord, Registry, Status,
};
use fedist::transport::session::{Session, SessionConfig};
use fedist::transport::wire::{RecordHeader, RecordKind};
use tokio::sync::oneshot;

use crate::actors::{BODY, Ours, Total};
use crate::many::{BYTES, Idle, ours, things};
use crate::resident::Growth;
use crate::run::{Outcome, Run};
use crate::work::KILO_RATE;

/// Names of one region, each of an actor of its own.
pub(crate) fn names(run: &Run) -> Result<Outcome> {
    ours(run, async |run: Run, node: Node| {
        let pids = idle(&node, things(&run, 100_000))?;
        let growth = Growth::start()?;
        for (number, pid) in pids.iter().enumerate() {
            node.register(format!("name-{number}"), *pid)?;
        }
        bytes(&growth, pids.len())
    })
}

/// Monitors of one actor on others of its node.
pub(crate) fn monitors(run: &Run) -> Result<Outcome> {
    ties(run, |mailbox, pid| {
        mailbox.monitor(pid);
    })
}

/// Links of one actor with others of its node.
pub(crate) fn links(run: &Run) -> Result<Outcome> {
    ties(run, |mailbox, pid| mailbox.link(pid))
}

fn ties(run: &Run, tie: fn(&mut Mailbox<Total>, RegionPid)) -> Result<Outcome> {
    ours(run, async move |run: Run, node: Node| {
        let pids = idle(&node, things(&run, 100_000))?;
        let (tell, told) = oneshot::channel();
        let _: FnAddr<Total> = node.spawn_fn(move |mut mailbox: Mailbox<Total>| async move {
            let growth = Growth::start();
            pids.iter().for_each(|pid| tie(&mut mailbox, *pid));
            let outcome = growth.and_then(|growth| bytes(&growth, pids.len()));
            let _ = tell.send(outcome);
            // The ties last as long as this process.
            std::future::pending::<()>().await;
        })?;
        told.await.context("the process that ties has ended")?
    })
}

fn idle(node: &Node, count: usize) -> Result<Vec<RegionPid>> {
    (0..count).map(|_| Ok(node.spawn(Idle::<Ours>::new())?.pid())).collect()
}

/// Sessions that have carried a message each way and have nothing to do.
pub(crate) fn sessions(run: &Run) -> Result<Outcome> {
    let (one, two) = (RegionId::new(1)?, RegionId::new(2)?);
    let header = RecordHeader {
        kind: RecordKind::Tell,
        to: Some(LocalId::new(1_000)?),
        from: None,
        type_hash: 7,
        version: 1,
        correlation: 0,
        deadline_ms: 0,
    };
    let pairs = things(run, 20_000);
    let mut held = Vec::with_capacity(pairs);
    let growth = Growth::start()?;
    for _ in 0..pairs {
        let config = SessionConfig::default;
        let mut ends = [(one, two), (two, one)]
            .map(|(here, there)| Session::new(config(), here, there, 1, Micros::ZERO));
        for end in &mut ends {
            end.push(Micros::ZERO, &header, &BODY.0)?;
        }
        // Whatever is to be said, the acknowledgements too; those wait for their time.
        for now in [Micros::ZERO, Micros::from_secs(1), Micros::from_secs(2)] {
            let [near, far] = &mut ends;
            near.handle_timeout(now);
            far.handle_timeout(now);
            carry(now, near, far);
            carry(now, far, near);
        }
        ensure!(ends.iter().all(|end| end.stats().in_flight == 0), "records are on their way");
        held.push(ends);
    }
    let outcome = bytes(&growth, 2 * pairs);
    black_box(held);
    outcome
}

fn carry(now: Micros, from: &mut Session, to: &mut Session) {
    while let Some(frame) = from.poll_transmit(now) {
        to.handle_frame(now, frame.to_payload());
    }
    while let Some(event) = to.poll_event() {
        black_box(event);
    }
}

/// A copy of the registry takes the log: two signed entries for each region.
pub(crate) fn registry(run: &Run) -> Result<Outcome> {
    let regions = u16::try_from(things(run, 4_000))?;
    // Stays, so that the copy does not live in what it leaves.
    let original = registry_of(regions)?;
    let (growth, start) = (Growth::start()?, Instant::now());
    let mut copy = Registry::new();
    for entry in original.log() {
        copy.apply(LogEntry::clone(entry))?;
    }
    let elapsed = start.elapsed();
    ensure!(copy.live_regions().count() == usize::from(regions), "not all regions are live");
    let mut outcome = bytes(&growth, usize::from(regions))?;
    let rate = original.log().len() as f64 / elapsed.as_secs_f64() / 1e3;
    outcome.insert(KILO_RATE.to_owned(), rate);
    black_box(copy);
    Ok(outcome)
}

/// A federation of a root and regions below it, all live, as its root has written it.
fn registry_of(regions: u16) -> Result<Registry> {
    let root = RegionId::new(1)?;
    let key = RegionKey::from_seed(&[1; 32])?;
    let mut registry = Registry::new();
    for number in 1..=regions {
        let id = RegionId::new(number)?;
        let record = RegionRecord {
            id,
            name: format!("region-{number}").parse()?,
            parent: (number > 1).then_some(root),
            addresses: vec![format!("198.51.100.{}:4433", number % 256)],
            key_hash: key.key_hash(),
            status: Status::Joining,
            coordinates: None,
        };
        for change in [Change::Join(record), Change::Live(id)] {
            registry.propose_signed(1, change, root, &key)?;
        }
    }
    Ok(registry)
}

fn bytes(growth: &Growth, count: usize) -> Result<Outcome> {
    Ok([(BYTES.to_owned(), growth.each(count)?)].into())
}
