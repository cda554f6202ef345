use super::*;
use crate::{RegionKey, RegionRecord};

fn region(id: u16) -> RegionId {
    RegionId::new(id).unwrap()
}

fn key(id: u16) -> RegionKey {
    RegionKey::from_seed(&[id as u8; 32]).unwrap()
}

fn ms(ms: u64) -> Micros {
    Micros::from_millis(ms)
}

fn write(registry: &mut Registry, change: Change) -> LogEntry {
    registry.propose_signed(1, change, region(1), &key(1)).unwrap()
}

fn join(registry: &mut Registry, id: u16, parent: Option<u16>) -> LogEntry {
    let record = RegionRecord {
        id: region(id),
        name: format!("r{id}").parse().unwrap(),
        parent: parent.map(region),
        addresses: vec![],
        key_hash: key(id).key_hash(),
        status: Status::Joining,
        coordinates: None,
    };
    write(registry, Change::Join(record))
}

/// 1 is the root, 2 and 3 are below it, 4 below 2.
fn federation() -> Registry {
    let mut registry = Registry::new();
    for (id, parent) in [(1, None), (2, Some(1)), (3, Some(1)), (4, Some(2))] {
        join(&mut registry, id, parent);
    }
    registry
}

/// Region `me` with links to `peers`, all as far as `registry` is.
fn linked(me: u16, peers: &[u16], registry: &Registry) -> Replication {
    let mut replication = Replication::new(region(me), ReplicationConfig::default());
    for peer in peers {
        let step = replication.link_up(ms(1), registry, region(*peer), registry.version());
        assert_eq!(step, Step::default());
    }
    replication
}

fn nobody(_: RegionId) -> Option<KeyHash> {
    None
}

fn kinds(send: &[(RegionId, RegistryMessage)]) -> Vec<(u16, &'static str)> {
    let kind = |message: &RegistryMessage| match message {
        RegistryMessage::Have(_) => "have",
        RegistryMessage::Pull(_) => "pull",
        RegistryMessage::Entries { .. } => "entries",
        RegistryMessage::Diverged(_) => "diverged",
        RegistryMessage::Snapshot(_) => "snapshot",
        RegistryMessage::Fetch { .. } => "fetch",
        RegistryMessage::Piece { .. } => "piece",
    };
    send.iter().map(|(to, message)| (to.get(), kind(message))).collect()
}

#[test]
fn new_entries_go_over_tree_links_and_only_the_version_over_others() {
    let mut registry = federation();
    let mut two = linked(2, &[1, 3, 4], &registry);
    let entry = write(&mut registry, Change::Live(region(3)));
    let pushed = two.announce(ms(10), &registry, &[entry], Some(region(1)));
    assert_eq!(kinds(&pushed), [(4, "entries")], "not back to where it came from");
    assert_eq!(two.poll_timeout(), Some(ms(60)));
    assert!(two.handle_timeout(ms(59), &registry).send.is_empty());
    // A second one within the moment is offered with the first.
    let entry = write(&mut registry, Change::Live(region(4)));
    two.announce(ms(20), &registry, &[entry], Some(region(1)));
    assert_eq!(kinds(&two.handle_timeout(ms(60), &registry).send), [(3, "have")]);
    assert!(two.handle_timeout(ms(61), &registry).send.is_empty(), "offered once");
}

#[test]
fn an_offer_is_left_to_the_tree_for_a_moment_and_pulled_then() {
    let old = federation();
    let mut master = old.clone();
    let entry = write(&mut master, Change::Live(region(3)));
    let have = RegistryMessage::Have(master.version());

    let (mut three, mut copy) = (linked(3, &[1, 2], &old), old.clone());
    let step = three.handle(ms(10), &mut copy, region(2), have.clone(), &nobody);
    assert!(step.send.is_empty(), "its parent will bring it");
    assert!(three.handle_timeout(ms(259), &copy).send.is_empty());
    assert_eq!(kinds(&three.handle_timeout(ms(260), &copy).send), [(2, "pull")]);

    let (mut three, mut copy) = (linked(3, &[1, 2], &old), old.clone());
    three.handle(ms(10), &mut copy, region(2), have.clone(), &nobody);
    let push = RegistryMessage::Entries { entries: vec![entry], more: false };
    let step = three.handle(ms(100), &mut copy, region(1), push, &nobody);
    assert_eq!(step.grown.len(), 1);
    three.announce(ms(100), &copy, &step.grown, Some(region(1)));
    assert!(three.handle_timeout(ms(300), &copy).send.is_empty(), "it came: nothing is pulled");

    let (mut alone, mut copy) = (linked(3, &[2], &old), old.clone());
    let step = alone.handle(ms(10), &mut copy, region(2), have, &nobody);
    assert_eq!(kinds(&step.send), [(2, "pull")], "without a tree link at once");
}

#[test]
fn a_long_lag_is_pulled_in_windows() {
    let old = federation();
    let mut master = old.clone();
    for id in 5..105 {
        join(&mut master, id, Some(2));
    }
    let config = ReplicationConfig { window: 2, ..ReplicationConfig::default() };
    let mut one = Replication::new(region(1), config);
    one.link_up(ms(1), &master, region(3), old.version());
    let mut three = Replication::new(region(3), ReplicationConfig::default());
    let mut copy = old;
    let mut step = three.link_up(ms(1), &copy, region(1), master.version());
    let mut pulls = 0;
    while let Some((_, message)) =
        step.send.iter().find(|(_, it)| matches!(it, RegistryMessage::Pull(_)))
    {
        pulls += 1;
        let answer = one.handle(ms(2), &mut master, region(3), message.clone(), &nobody);
        assert!(answer.send.len() <= 3, "two of entries, and how far it is");
        step = Step::default();
        for (_, message) in answer.send {
            let next = three.handle(ms(3), &mut copy, region(1), message, &nobody);
            step.send.extend(next.send);
        }
    }
    assert_eq!((copy.version(), pulls), (master.version(), 4));
    assert!(!three.is_behind(&copy));
}

#[test]
fn who_does_not_answer_is_left_alone_and_another_one_is_asked() {
    let mut copy = federation();
    let mut master = copy.clone();
    write(&mut master, Change::Live(region(3)));
    let mut three = linked(3, &[1, 2], &copy);
    let have = RegistryMessage::Have(master.version());
    let step = three.handle(ms(10), &mut copy, region(1), have.clone(), &nobody);
    assert_eq!(kinds(&step.send), [(1, "pull")]);
    three.handle(ms(20), &mut copy, region(2), have, &nobody);
    assert!(three.handle_timeout(ms(2_000), &copy).send.is_empty(), "one at a time");
    assert_eq!(kinds(&three.handle_timeout(ms(3_010), &copy).send), [(2, "pull")]);
    three.link_down(region(2));
    assert_eq!(
        kinds(&three.handle_timeout(ms(7_000), &copy).send),
        [(1, "pull")],
        "it may be back"
    );
}

#[test]
fn forged_entries_are_refused_and_their_sender_is_not_asked_again_for_a_while() {
    let mut copy = federation();
    let before = copy.version();
    let mut three = linked(3, &[1, 2], &copy);
    let head = copy.version();
    let change = Change::Live(region(4));
    let mut forged =
        LogEntry { term: 1, index: head.index + 1, prev: head.hash, change, seal: None };
    forged.sign(region(1), &key(2));
    let push = RegistryMessage::Entries { entries: vec![forged], more: false };
    let step = three.handle(ms(10), &mut copy, region(2), push, &nobody);
    assert!(matches!(step.refused, Some(Refusal::Entry(ApplyError::Forged { .. }))));
    assert!(step.grown.is_empty() && copy.version() == before);
    let mut master = copy.clone();
    write(&mut master, Change::Live(region(3)));
    three.handle(ms(20), &mut copy, region(2), RegistryMessage::Have(master.version()), &nobody);
    assert!(three.handle_timeout(ms(1_000), &copy).send.is_empty(), "it is the only one ahead");
    let many = vec![write(&mut master, Change::Live(region(4))); 17];
    let flood = RegistryMessage::Entries { entries: many, more: false };
    let step = three.handle(ms(30), &mut copy, region(1), flood, &nobody);
    assert_eq!(step.refused, Some(Refusal::TooLarge));
}

#[test]
fn a_newcomer_refuses_a_founder_whose_key_is_not_the_one_that_the_root_has_proven() {
    let founder = LogEntry::clone(&federation().log()[0]);
    let begin = |proven: &dyn Fn(RegionId) -> Option<KeyHash>| {
        let mut copy = Registry::new();
        let mut nine = linked(9, &[], &copy);
        nine.link_up(ms(1), &copy, region(2), Version::EMPTY);
        let push = RegistryMessage::Entries { entries: vec![founder.clone()], more: false };
        nine.handle(ms(2), &mut copy, region(2), push, proven).refused
    };
    assert_eq!(begin(&nobody), None);
    assert_eq!(begin(&|id| Some(key(id.get()).key_hash())), None);
    assert_eq!(begin(&|_| Some(key(77).key_hash())), Some(Refusal::OtherRoot));
}

#[test]
fn a_snapshot_goes_on_at_another_neighbour_where_the_first_one_stopped() {
    let mut master = federation();
    for id in 100..400 {
        join(&mut master, id, Some(2));
    }
    for _ in 0..2 {
        let checkpoint = master.checkpoint();
        write(&mut master, checkpoint);
    }
    let mut servers: Vec<Replication> = vec![linked(1, &[], &master), linked(2, &[], &master)];
    let mut copy = Registry::new();
    let mut nine = Replication::new(
        region(9),
        ReplicationConfig { window: 1, ..ReplicationConfig::default() },
    );
    for server in &mut servers {
        server.link_up(ms(1), &master, region(9), Version::EMPTY);
    }
    let mut inbox: Vec<(RegionId, RegistryMessage)> = Vec::new();
    let mut out = nine.link_up(ms(1), &copy, region(1), master.version()).send;
    nine.link_up(ms(1), &copy, region(2), master.version());
    let (mut fetched, mut installed, mut now) = ([0, 0], false, ms(1));
    while !installed {
        now += ms(1);
        if fetched == [3, 0] {
            // The first one falls silent with a piece on its way.
            inbox.clear();
            out.clear();
            nine.link_down(region(1));
            fetched[0] = 99;
        }
        if out.is_empty() && inbox.is_empty() {
            now += ms(5_000);
            out = nine.handle_timeout(now, &copy).send;
        }
        for (to, message) in std::mem::take(&mut out) {
            let server = usize::from(to.get() - 1);
            fetched[server] += u32::from(matches!(message, RegistryMessage::Fetch { .. }));
            let answer = servers[server].handle(now, &mut master, region(9), message, &nobody);
            inbox.extend(answer.send.into_iter().map(|(_, message)| (to, message)));
        }
        for (from, message) in std::mem::take(&mut inbox) {
            let step = nine.handle(now, &mut copy, from, message, &nobody);
            assert_eq!(step.refused, None);
            installed |= step.installed;
            out.extend(step.send);
        }
    }
    assert_eq!(copy.version(), master.snapshot().unwrap().version());
    let buckets = master.snapshot().unwrap().header().buckets.len() as u32;
    assert!(fetched[1] > 0 && fetched[1] <= buckets - 2, "{fetched:?} of {buckets}");
}

#[test]
fn messages_of_a_neighbour_without_a_link_are_passed_over() {
    let mut copy = federation();
    let mut three = linked(3, &[1], &copy);
    let have = RegistryMessage::Have(Version { index: 99, hash: [1; 32] });
    assert_eq!(three.handle(ms(1), &mut copy, region(2), have, &nobody), Step::default());
    assert!(!three.is_behind(&copy));
}

#[test]
fn messages_survive_messagepack_with_and_without_field_names() {
    let piece = RegistryMessage::Piece {
        version: Version { index: 7, hash: [1; 32] },
        bucket: 3,
        offset: 9,
        bytes: vec![0; 100],
        last: true,
    };
    let packed = rmp_serde::to_vec_named(&piece).unwrap();
    assert!(packed.len() < 220, "bytes as bytes: {}", packed.len());
    assert_eq!(rmp_serde::from_slice::<RegistryMessage>(&packed).unwrap(), piece);
    let mut registry = federation();
    let checkpoint = registry.checkpoint();
    write(&mut registry, checkpoint);
    let header = RegistryMessage::Snapshot(Box::new(registry.snapshot().unwrap().header()));
    for packed in [rmp_serde::to_vec_named(&header), rmp_serde::to_vec(&header)] {
        let back = rmp_serde::from_slice::<RegistryMessage>(&packed.unwrap()).unwrap();
        assert_eq!(back, header);
    }
}
