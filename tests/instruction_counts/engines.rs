//! Pure engines by themselves: no thread, no clock.

use std::hint::black_box;

use fedist::{
    IdError, LocalId, RegionId,
    registry::{LinkAdvert, LinkCost, LinkState, LinkStateDb, Micros, RouteTable},
    transport::{
        session::{Session, SessionConfig, SessionEvent},
        wire::{RecordHeader, RecordKind, Records},
    },
};
use fedist_testkit::TestResult;

use crate::messages::BODY;

/// The next hop to one region after the other, of 1,024.
pub(crate) fn look_up(messages: u64) -> TestResult {
    let table = RouteTable::compute(RegionId::new(1)?, &hubs_and_leaves(1_024)?);
    if table.len() != 1_023 {
        return Err(format!("{} of 1,023 regions are reached", table.len()).into());
    }
    let mut number: u16 = 1;
    for _ in 0..messages {
        // An odd step visits all of them, and none beside the one before.
        number = (number + 331) & 1_023;
        let region = RegionId::new(number.max(2))?;
        black_box(table.get(black_box(region)).and_then(|route| route.next_hop()));
    }
    Ok(())
}

/// Every 32nd region is a hub: linked with all other hubs, and with the regions that follow it.
fn hubs_and_leaves(regions: u16) -> Result<LinkStateDb, IdError> {
    let mut db = LinkStateDb::new();
    for region in 1..=regions {
        let hub = (region - 1) / 32 * 32 + 1;
        let to: Vec<u16> = if region == hub {
            let hubs = (1..=regions).step_by(32).filter(|other| *other != hub);
            hubs.chain(hub + 1..hub + 32).collect()
        } else {
            vec![hub]
        };
        let cost = LinkCost::from_micros(1_000);
        let links: Result<_, _> =
            to.into_iter().map(|to| Ok(LinkAdvert::new(RegionId::new(to)?, cost))).collect();
        let relay = LinkCost::ZERO;
        db.apply(LinkState {
            region: RegionId::new(region)?,
            seq: 1,
            relay,
            no_transit: false,
            links: links?,
        });
    }
    Ok(db)
}

/// Records into a session, and frames out of it.
pub(crate) fn session_sends(messages: u64) -> TestResult {
    let (mut session, header) = sender()?;
    frames(&mut session, &header, messages, |frame| drop(black_box(frame)))
}

/// Frames into a session, and records out of it. As many frames are made whatever `messages` is, so that only what is done
/// with them differs.
pub(crate) fn session_receives(messages: u64) -> TestResult {
    let (mut session, header) = sender()?;
    let mut made = Vec::new();
    frames(&mut session, &header, ENOUGH, |frame| made.push(frame.to_payload()))?;
    let (one, two) = (RegionId::new(1)?, RegionId::new(2)?);
    let mut receiver = Session::new(SessionConfig::default(), two, one, 1, NOW);
    let mut received = 0;
    for frame in made {
        if received >= messages {
            break;
        }
        receiver.handle_frame(NOW, frame);
        while let Some(event) = receiver.poll_event() {
            if let SessionEvent::Deliver { records } = event {
                for record in Records::new(records) {
                    black_box(record?);
                    received += 1;
                }
            }
        }
        // The acknowledgements.
        while let Some(frame) = receiver.poll_transmit(NOW) {
            black_box(frame);
        }
    }
    if received < messages {
        return Err(format!("{received} of {messages} records were received").into());
    }
    Ok(())
}

fn frames(
    session: &mut Session,
    header: &RecordHeader,
    messages: u64,
    mut take: impl FnMut(fedist::transport::session::Transmit),
) -> TestResult {
    for number in 1..=messages {
        session.push(NOW, header, &BODY.0)?;
        if number % BATCH == 0 {
            while let Some(frame) = session.poll_transmit(NOW) {
                take(frame);
            }
        }
    }
    Ok(())
}

/// A session that needs no acknowledgement to go on.
fn sender() -> Result<(Session, RecordHeader), IdError> {
    let unbounded = SessionConfig { window_bytes: usize::MAX / 4, ..SessionConfig::default() };
    let session = Session::new(unbounded, RegionId::new(1)?, RegionId::new(2)?, 1, NOW);
    let header = RecordHeader {
        kind: RecordKind::Tell,
        to: Some(LocalId::new(1_000)?),
        from: Some(LocalId::new(1_001)?),
        type_hash: 7,
        version: 1,
        correlation: 0,
        deadline_ms: 0,
    };
    Ok((session, header))
}

const NOW: Micros = Micros::from_secs(1_000);
/// Records between two moments at which frames are taken.
const BATCH: u64 = 100;
/// More than any run receives.
const ENOUGH: u64 = 50_000;
