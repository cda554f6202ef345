//! Single rules, one at a time.

use fedist_registry::Micros;

use super::super::*;
use super::world::{World, small_config, tell};
use crate::wire::{Class, Fragment, Lane, Records, SessionHeader};

fn ms(ms: u64) -> Micros {
    Micros::from_millis(ms)
}

/// A world in which both sides have talked.
fn talking(config: SessionConfig) -> World {
    let mut world = World::new(1, config);
    world.push(0, 1, 1);
    world.push(1, 1, 1);
    world.run(ms(100));
    world.check_nothing_lost();
    world
}

fn transmits(world: &mut World, side: usize) -> Vec<Transmit> {
    let now = world.now;
    std::iter::from_fn(|| world.sides[side].session.poll_transmit(now)).collect()
}

fn header(transmit: &Transmit) -> SessionHeader {
    SessionHeader::decode(&transmit.header).expect("a proper header")
}

#[test]
fn a_lone_message_leaves_at_once_and_many_share_frames() {
    let mut world = World::new(1, SessionConfig::default());
    world.push(0, 1, 10);
    assert_eq!(transmits(&mut world, 0).len(), 1);
    for _ in 0..1_000 {
        world.push(0, 1, 64);
    }
    let frames = transmits(&mut world, 0);
    assert!(frames.len() <= 7, "{} frames for 1000 messages", frames.len());
    let records: usize = frames.iter().map(|f| Records::new(f.records.clone()).count()).sum();
    assert_eq!(records, 1_000);
}

#[test]
fn a_refused_push_changes_nothing() {
    let mut world = World::new(1, small_config());
    let now = world.now;
    let session = &mut world.sides[0].session;
    let too_large = vec![0; (1 << 20) + 1];
    let error = session.push(now, &tell(1, 1), &too_large);
    assert_eq!(error, Err(PushError::TooLarge { len: (1 << 20) + 1, max: 1 << 20 }));
    assert_eq!(session.stats(), SessionStats::default());
    while session.push(now, &tell(1, 1), &[0; 1_000]).is_ok() {}
    let full = session.stats();
    assert!(full.queued_bytes <= 512 << 10);
    assert_eq!(session.push(now, &tell(1, 1), &[0; 1_000]), Err(PushError::Full));
    assert_eq!(session.stats(), full);
    session.push(now, &tell(2, 1), &[0; 100_000]).expect("the other lane has its own room");
}

#[test]
fn no_more_than_a_window_is_sent_without_acknowledgement() {
    let mut world = World::new(1, small_config());
    for _ in 0..400 {
        world.push(0, 1, 1_000);
    }
    let sent: usize = transmits(&mut world, 0).iter().map(|f| f.records.len()).sum();
    assert!(sent <= 128 << 10, "{sent} bytes");
    assert!(sent > 100 << 10, "{sent} bytes");
    world.run(ms(20_000));
    world.check_nothing_lost();
}

#[test]
fn what_follows_a_large_message_to_the_same_receiver_does_not_overtake() {
    let mut world = talking(SessionConfig::default());
    world.push(0, 1, 10);
    world.push(0, 1, 200_000);
    world.push(0, 1, 10);
    world.push(0, 2, 10);
    let frames = transmits(&mut world, 0);
    let lanes: Vec<_> = frames.iter().map(|frame| header(frame).lane).collect();
    assert_eq!(lanes[..2], [Some(Lane::Message); 2], "before it, and to others");
    assert!(lanes[2..].iter().all(|lane| *lane == Some(Lane::Bulk)));
    let last = frames.last().expect("frames");
    assert!(!Fragment::is_fragment(&last.records), "the small one behind the large one");
    assert!(frames[2..].iter().all(|frame| header(frame).barrier == header(&frames[0]).seq));
    // The bulk frames first: they must wait for their barrier. World checks order and content.
    let now = world.now;
    for frame in frames.iter().rev() {
        world.sides[1].session.handle_frame(now, frame.to_payload());
    }
    world.run(ms(100));
    world.check_nothing_lost();
    world.push(0, 1, 10);
    let frames = transmits(&mut world, 0);
    assert_eq!(header(&frames[0]).lane, Some(Lane::Message), "all is acknowledged");
}

#[test]
fn a_lost_frame_goes_again_as_soon_as_three_behind_it_have_arrived() {
    let mut world = talking(small_config());
    for id in 0..4 {
        world.push(0, 1, 10);
        let frames = transmits(&mut world, 0);
        let now = world.now;
        if id > 0 {
            world.sides[1].session.handle_frame(now, frames[0].to_payload());
        }
    }
    let start = world.now;
    world.run(ms(25));
    assert_eq!(world.got(0), 5, "long before the retransmission timeout");
    assert_eq!(world.sides[0].session.stats().retransmitted_frames, 1);
    assert!(world.now - start < world.config.min_rto);
}

#[test]
fn a_path_change_sends_everything_unacknowledged_again_at_once() {
    let mut world = talking(small_config());
    for _ in 0..50 {
        world.push(0, 1, 1_000);
    }
    let lost = transmits(&mut world, 0).len();
    let now = world.now;
    let session = &mut world.sides[0].session;
    session.handle_path_change(now, None);
    let again = std::iter::from_fn(|| session.poll_transmit(now)).filter(|f| f.retransmit);
    assert_eq!(again.count(), lost);
    session.handle_path_change(now + ms(1), None);
    assert!(session.poll_transmit(now + ms(1)).is_none(), "at most every 20 ms");
    assert_eq!(session.poll_timeout(), Some(now + ms(20)));
    world.run(ms(500));
    world.check_nothing_lost();
}

#[test]
fn a_retransmission_timeout_on_a_slow_path_does_not_flood_it() {
    let mut world = talking(SessionConfig::default());
    world.faults.delay_min = ms(1_500);
    world.faults.delay_max = ms(1_500);
    for _ in 0..2_000 {
        world.push(0, 1, 2_000);
    }
    world.run(ms(9_000));
    world.check_nothing_lost();
    let stats = world.sides[0].session.stats();
    assert!(stats.retransmitted_frames * 5 < stats.frames_sent, "{stats:?}");
}

#[test]
fn silence_ends_the_session_only_while_something_waits() {
    let mut world = talking(small_config());
    world.faults.cut = [true, true];
    world.run(ms(60_000));
    assert_eq!(world.sides[0].ends, []);
    let id = world.push(0, 1, 10).expect("room");
    world.run(ms(9_900));
    assert_eq!(world.sides[0].ends, []);
    world.run(ms(200));
    assert!(matches!(world.sides[0].ends[..], [EndReason::TimedOut { .. }]));
    assert!(world.sides[0].reported.contains(&id));
    assert_eq!(world.sides[1].ends, []);
    world.run(ms(40_000));
    assert_eq!(world.sides[0].session.poll_timeout(), None, "it gives up showing its new epoch");
}

#[test]
fn a_side_that_missed_the_end_hears_of_it_when_the_route_is_back() {
    let mut world = talking(small_config());
    world.faults.cut = [true, true];
    world.push(0, 1, 10);
    world.run(ms(100_000));
    world.faults.cut = [false, false];
    let now = world.now;
    world.sides[0].session.handle_path_change(now, None);
    world.run(ms(50));
    assert_eq!(world.sides[1].ends, [EndReason::PeerReset]);
    world.push(1, 1, 10);
    world.run(ms(100));
    world.check_nothing_lost();
    assert_eq!(world.sides[1].reported.len(), 0);
}

#[test]
fn a_watched_peer_is_probed_and_its_silence_noticed() {
    let mut world = talking(small_config());
    world.sides[0].session.set_watched(true);
    world.run(ms(60_000));
    assert_eq!(world.sides[0].ends, []);
    world.faults.cut = [false, true];
    world.run(ms(12_600));
    assert!(matches!(world.sides[0].ends[..], [EndReason::TimedOut { .. }]));
    world.run(ms(100));
    assert_eq!(world.sides[1].ends, [EndReason::PeerReset], "it still hears, so it is told");
    world.run(ms(60_000));
    assert_eq!(world.sides[0].ends.len(), 1, "not one every ten seconds");
    assert_eq!(world.sides[0].session.poll_timeout(), None);
}

#[test]
fn news_of_a_restart_saves_what_is_accepted_after_it() {
    let mut world = talking(SessionConfig::default());
    world.restart(1);
    let boot = world.sides[1].session.epochs.own() >> 32;
    world.sides[0].session.handle_peer_boot(u32::try_from(boot).unwrap());
    world.push(0, 1, 1);
    world.run(ms(200));
    let ends = world.sides[0].session.stats().ends;
    assert_eq!((world.got(0), ends), (2, 1), "one before and one after, and one end between");
    world.sides[0].session.handle_peer_boot(u32::try_from(boot).unwrap());
    assert_eq!(world.sides[0].session.stats().ends, 1, "the same news again is none");
}

#[test]
fn a_restarted_peer_is_noticed_and_nothing_of_before_reaches_it() {
    let mut world = talking(small_config());
    world.restart(1);
    world.push(0, 1, 10);
    world.run(ms(100));
    assert_eq!(world.sides[0].ends, [EndReason::PeerRestarted]);
    assert_eq!(world.sides[0].reported.len(), 1);
    world.push(0, 1, 10);
    world.push(1, 1, 10);
    world.run(ms(100));
    world.check_nothing_lost();
    assert_eq!(world.sides[1].ends, []);
}

#[test]
fn a_late_opening_of_a_former_life_costs_the_new_one_nothing() {
    let mut world = World::new(1, small_config());
    world.push(0, 1, 10);
    let opening = transmits(&mut world, 0).remove(0).to_payload();
    let now = world.now;
    world.sides[1].session.handle_frame(now, opening.clone());
    world.run(ms(100));
    world.restart(1);
    let now = world.now;
    world.sides[1].session.handle_frame(now, opening);
    for _ in 0..5 {
        world.push(1, 1, 10);
        world.run(ms(10));
    }
    world.run(ms(2_000));
    assert_eq!(world.sides[1].reported.len(), 0);
    assert_eq!(world.got(1), 5);
    world.check_nothing_lost();
}

#[test]
fn goodbye_ends_both_sides_at_once() {
    let mut world = talking(small_config());
    let id = world.push(0, 1, 10).expect("room");
    let now = world.now;
    world.sides[0].session.close(now);
    assert_eq!(world.sides[0].session.push(now, &tell(1, 1), b""), Err(PushError::Closed));
    world.run(ms(100));
    assert_eq!(world.sides[0].ends, [EndReason::Goodbye]);
    assert!(world.sides[0].reported.contains(&id));
    assert_eq!(world.sides[1].ends, [EndReason::Goodbye]);
    world.push(1, 1, 10);
    world.run(ms(100));
    assert_eq!(world.sides[1].reported.len(), 1, "who still talks hears it again");
    world.run(ms(30_000));
    assert_eq!(world.sides[1].session.poll_timeout(), None);
}

#[test]
fn a_blocked_class_waits_and_does_not_hold_up_the_other() {
    let mut world = talking(small_config());
    world.push(0, 1, 100_000);
    world.push(0, 2, 10);
    world.sides[0].session.set_blocked(Class::Bulk, true);
    let frames = transmits(&mut world, 0);
    assert!(frames.iter().all(|frame| frame.class == Class::Message));
    assert_eq!(frames.len(), 1);
    world.sides[0].session.set_blocked(Class::Bulk, false);
    assert_eq!(transmits(&mut world, 0).len(), 4);
    world.run(ms(2_000));
    world.check_nothing_lost();
}

#[test]
fn an_idle_session_is_silent() {
    let mut world = talking(small_config());
    for side in 0..2 {
        assert_eq!(world.sides[side].session.poll_timeout(), None);
        assert_eq!(transmits(&mut world, side), []);
    }
}

#[test]
fn acknowledgements_travel_with_traffic_or_a_little_later() {
    let mut world = talking(small_config());
    world.push(0, 1, 10);
    world.run(ms(10));
    assert_eq!(transmits(&mut world, 1), [], "it waits for company");
    world.run(ms(25));
    assert_eq!(world.sides[0].session.stats().in_flight, 0);
}

#[test]
fn a_node_that_was_asleep_does_not_blame_its_peer() {
    let mut world = talking(small_config());
    world.push(0, 1, 10);
    transmits(&mut world, 0);
    world.now += ms(30_000);
    let now = world.now;
    world.sides[0].session.handle_timeout(now);
    world.run(ms(1_000));
    assert_eq!(world.sides[0].ends, []);
    world.check_nothing_lost();
}

#[test]
fn a_signal_to_nobody_in_particular_keeps_its_place_among_all() {
    let mut world = talking(SessionConfig::default());
    world.push(0, 1, 100_000);
    let now = world.now;
    let mut signal = tell(1, 7);
    signal.kind = crate::wire::RecordKind::Signal;
    signal.to = None;
    let [a, b] = &mut world.sides;
    a.session.push(now, &signal, b"down").expect("room");
    a.session.push(now, &tell(1, 8), &[0; 100_000]).expect("room");
    let frames: Vec<_> = std::iter::from_fn(|| a.session.poll_transmit(now)).collect();
    for frame in frames.iter().rev() {
        b.session.handle_frame(now, frame.to_payload());
    }
    let order: Vec<_> = std::iter::from_fn(|| b.session.poll_event())
        .map(|event| matches!(event, SessionEvent::Deliver { .. }))
        .collect();
    assert_eq!(order, [false, true, false], "large, signal, large");
}
