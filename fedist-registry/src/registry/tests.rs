use proptest::prelude::*;

use super::*;
use crate::{Coordinates, KeyHash, RecordId, RegionPid, Seal};

fn region(id: u16) -> RegionId {
    RegionId::new(id).unwrap()
}

fn record(id: u16, parent: Option<u16>) -> RegionRecord {
    RegionRecord {
        id: region(id),
        name: format!("r{id}").parse().unwrap(),
        parent: parent.map(region),
        addresses: vec![format!("127.0.0.1:{}", 4000 + id)],
        key_hash: key(id).key_hash(),
        status: Status::Joining,
        coordinates: None,
    }
}

fn key(id: u16) -> RegionKey {
    RegionKey::from_seed(&[id as u8; 32]).unwrap()
}

/// The change as the root, region 1, makes it.
fn write(registry: &mut Registry, change: Change) -> Result<LogEntry, RegistryError> {
    registry.propose_signed(1, change, region(1), &key(1))
}

/// An entry of any shape that follows what `registry` holds, signed by `signer`.
fn forged(registry: &Registry, term: u64, signer: u16, change: Change) -> LogEntry {
    let head = registry.version();
    let mut entry = LogEntry { term, index: head.index + 1, prev: head.hash, change, seal: None };
    entry.sign(region(signer), &key(signer));
    entry
}

/// 1 is the root; 2 and 3 are hubs; 4 is below 2, 5 below 3. All live.
fn federation() -> Registry {
    let mut registry = Registry::new();
    for (id, parent) in [(1, None), (2, Some(1)), (3, Some(1)), (4, Some(2)), (5, Some(3))] {
        write(&mut registry, Change::Join(record(id, parent))).unwrap();
        write(&mut registry, Change::Live(region(id))).unwrap();
    }
    registry
}

fn log_of(registry: &Registry) -> Vec<LogEntry> {
    registry.log().iter().map(|entry| LogEntry::clone(entry)).collect()
}

fn refusal(registry: &Registry, change: Change) -> RegistryError {
    let mut copy = registry.clone();
    let error = copy.propose(1, change).unwrap_err();
    assert_eq!(copy.version(), registry.version(), "a refused change leaves no trace");
    assert!(copy.regions().eq(registry.regions()));
    error
}

#[test]
fn a_newcomer_is_joining_until_it_is_live() {
    let mut registry = federation();
    let eager = RegionRecord { status: Status::Live, ..record(6, Some(2)) };
    let entry = registry.propose(1, Change::Join(eager)).unwrap();
    assert_eq!(entry.change, Change::Join(record(6, Some(2))));
    assert_eq!(
        registry.get(region(6)).unwrap().status,
        Status::Joining,
        "nobody declares itself live by joining"
    );
    assert!(!registry.is_live(region(6)));
    registry.propose(1, Change::Live(region(6))).unwrap();
    assert!(registry.is_live(region(6)));
    assert_eq!(registry.by_name("r6").unwrap().id, region(6));
}

#[test]
fn the_same_number_with_another_key_is_a_conflict() {
    let error = refusal(
        &federation(),
        Change::Join(RegionRecord { key_hash: KeyHash([99; 32]), ..record(4, Some(2)) }),
    );
    assert_eq!(error, RegistryError::IdConflict { id: region(4), held_by: "r4".parse().unwrap() });
    assert!(
        error.to_string().starts_with("region id 4 is held by region 'r4' with another key;"),
        "{error}"
    );
}

#[test]
fn joining_again_with_the_same_key_is_no_change_or_an_update() {
    let mut registry = federation();
    assert_eq!(
        refusal(&registry, Change::Join(record(4, Some(2)))),
        RegistryError::NoChange { id: region(4) }
    );

    let moved = RegionRecord {
        addresses: vec!["10.0.0.9:1".into()],
        parent: Some(region(3)),
        ..record(4, None)
    };
    let entry = registry.propose(1, Change::Join(moved)).unwrap();
    assert!(matches!(entry.change, Change::Update { .. }));
    let held = registry.get(region(4)).unwrap();
    assert_eq!(
        (held.addresses.as_slice(), held.parent, held.status),
        (&["10.0.0.9:1".to_string()][..], Some(region(3)), Status::Live)
    );
    assert_eq!(
        refusal(&registry, Change::Live(region(4))),
        RegistryError::NoChange { id: region(4) }
    );
}

#[test]
fn a_region_that_crashed_while_joining_starts_over_and_becomes_live() {
    let mut registry = federation();
    registry.propose(1, Change::Join(record(6, Some(2)))).unwrap();
    let again = RegionRecord { addresses: vec!["10.0.0.9:1".into()], ..record(6, Some(2)) };
    registry.propose(1, Change::Join(again)).unwrap();
    assert!(!registry.is_live(region(6)));
    registry.propose(1, Change::Live(region(6))).unwrap();
    assert!(registry.is_live(region(6)));
}

#[test]
fn a_new_name_with_the_same_key_frees_the_old_one_and_keeps_the_status() {
    let mut registry = federation();
    registry
        .propose(
            1,
            Change::Join(RegionRecord { name: "renamed".parse().unwrap(), ..record(4, Some(2)) }),
        )
        .unwrap();
    assert!(registry.is_live(region(4)));
    assert_eq!(registry.by_name("r4"), None);
    assert_eq!(registry.by_name("renamed").unwrap().id, region(4));
}

#[test]
fn a_taken_name_is_refused_until_its_region_left() {
    let mut registry = federation();
    let wants = RegionRecord { name: "r4".parse().unwrap(), ..record(6, Some(1)) };
    assert_eq!(
        refusal(&registry, Change::Join(wants.clone())),
        RegistryError::NameTaken { name: "r4".parse().unwrap(), by: region(4) }
    );
    registry.propose(1, Change::Leave(region(4))).unwrap();
    registry.propose(1, Change::Join(wants)).unwrap();
    assert_eq!(registry.by_name("r4").unwrap().id, region(6));
    assert_eq!(
        registry.get(region(4)).unwrap().name.as_str(),
        "r4",
        "the tombstone still says who it was"
    );
}

#[test]
fn a_tombstone_keeps_its_number_for_its_key() {
    let mut registry = federation();
    registry.propose(1, Change::Leave(region(4))).unwrap();
    let id = region(4);
    assert_eq!(registry.get(id).unwrap().status, Status::Left);
    assert_eq!(
        refusal(
            &registry,
            Change::Join(RegionRecord { key_hash: KeyHash([99; 32]), ..record(4, Some(2)) })
        ),
        RegistryError::Left { id }
    );
    assert_eq!(refusal(&registry, Change::Live(id)), RegistryError::NotJoining { id });
    assert_eq!(refusal(&registry, Change::Leave(id)), RegistryError::NoChange { id });
    assert_eq!(refusal(&registry, Change::Join(record(6, Some(4)))), RegistryError::Left { id });
    let update =
        Change::Update { id, addresses: vec![], parent: Some(region(1)), coordinates: None };
    assert_eq!(refusal(&registry, update), RegistryError::Left { id });

    registry.propose(1, Change::Join(record(4, Some(2)))).unwrap();
    assert_eq!(registry.get(id).unwrap().status, Status::Joining);
}

#[test]
fn the_hierarchy_stays_one_tree() {
    let registry = federation();
    let update = |id: u16, parent: Option<u16>| Change::Update {
        id: region(id),
        addresses: vec![],
        parent: parent.map(region),
        coordinates: None,
    };
    assert_eq!(
        refusal(&registry, Change::Join(record(6, None))),
        RegistryError::SecondRoot { id: region(6), root: region(1) }
    );
    assert_eq!(
        refusal(&registry, Change::Join(record(6, Some(77)))),
        RegistryError::UnknownParent { parent: region(77) }
    );
    assert_eq!(
        refusal(&registry, Change::Join(record(6, Some(6)))),
        RegistryError::ParentLoop { id: region(6), parent: region(6) }
    );
    assert_eq!(
        refusal(&registry, update(2, Some(4))),
        RegistryError::ParentLoop { id: region(2), parent: region(4) }
    );
    assert_eq!(
        refusal(&registry, update(1, Some(5))),
        RegistryError::ParentLoop { id: region(1), parent: region(5) }
    );
    assert_eq!(
        refusal(&registry, update(2, None)),
        RegistryError::SecondRoot { id: region(2), root: region(1) }
    );
    assert_eq!(
        refusal(&registry, Change::Leave(region(2))),
        RegistryError::HasChildren { id: region(2), child: region(4) }
    );
}

#[test]
fn unknown_regions_and_bad_fields_are_refused() {
    let registry = federation();
    let id = region(9);
    assert_eq!(refusal(&registry, Change::Live(id)), RegistryError::UnknownRegion { id });
    assert_eq!(refusal(&registry, Change::Leave(id)), RegistryError::UnknownRegion { id });
    let with =
        |addresses: Vec<String>| Change::Join(RegionRecord { addresses, ..record(6, Some(1)) });
    assert_eq!(
        refusal(&registry, with(vec!["a:1".into(); 9])),
        RegistryError::TooManyAddresses { count: 9 }
    );
    for bad in ["", "a b:1", "a:1\n", "ä:1", &"x".repeat(256)] {
        assert!(
            matches!(refusal(&registry, with(vec![bad.into()])), RegistryError::BadAddress { .. }),
            "{bad:?}"
        );
    }
    let off = RegionRecord {
        coordinates: Some(Coordinates { lat: f64::NAN, lon: 0.0 }),
        ..record(6, Some(1))
    };
    assert_eq!(refusal(&registry, Change::Join(off)), RegistryError::BadCoordinates);
    assert!(federation().propose(1, with(vec!["x".repeat(255); 8])).is_ok());
}

#[test]
fn an_old_term_writes_nothing() {
    let mut registry = federation();
    registry.propose(3, Change::Master(region(1))).unwrap();
    registry.propose(3, Change::Join(record(6, Some(1)))).unwrap();
    assert_eq!(
        registry.propose(2, Change::Live(region(6))),
        Err(RegistryError::StaleTerm { have: 3, got: 2 })
    );
    let head = registry.version();
    assert_eq!(head.index, 12);
    let stale = forged(&registry, 2, 1, Change::Live(region(6)));
    assert_eq!(registry.apply(stale), Err(ApplyError::StaleTerm { have: 3, got: 2 }));
}

#[test]
fn a_term_begins_with_its_master_and_with_nothing_else() {
    let mut registry = federation();
    assert_eq!(registry.master(), Some(region(1)), "before any election the root writes");
    let eager = Change::Join(record(6, Some(1)));
    assert_eq!(registry.propose(2, eager), Err(RegistryError::TermWithoutMaster { term: 2 }));
    assert_eq!(
        refusal(&registry, Change::Master(region(2))),
        RegistryError::TermWithoutMaster { term: 1 },
        "nobody takes over within a term"
    );
    assert_eq!(
        registry.propose(2, Change::Master(region(9))),
        Err(RegistryError::UnknownRegion { id: region(9) })
    );
    let error =
        registry.propose_signed(2, Change::Master(region(2)), region(3), &key(3)).unwrap_err();
    assert_eq!(error, RegistryError::NotMaster { id: region(3) }, "nobody puts another in place");
    let entry = registry.propose_signed(2, Change::Master(region(2)), region(2), &key(2)).unwrap();
    assert_eq!((registry.master(), registry.term()), (Some(region(2)), 2));
    let mut replica = federation();
    let stolen = LogEntry { change: Change::Live(region(9)), ..entry.clone() };
    assert!(matches!(replica.apply(stolen), Err(ApplyError::Rule(_))));
    replica.apply(entry).unwrap();
    assert_eq!(replica.master(), Some(region(2)));
}

#[test]
fn candidates_are_one_three_or_five_live_regions_and_do_not_leave() {
    let set = |ids: &[u16]| Change::Candidates(ids.iter().copied().map(region).collect());
    let mut registry = federation();
    registry.propose(1, Change::Join(record(6, Some(1)))).unwrap();
    for (bad, count) in [(&[][..], 0), (&[1, 2], 2), (&[1, 2, 2], 3), (&[2, 1, 3], 3)] {
        assert_eq!(refusal(&registry, set(bad)), RegistryError::BadCandidates { count });
    }
    assert_eq!(refusal(&registry, set(&[1, 2, 6])), RegistryError::NotLive { id: region(6) });
    registry.propose(1, set(&[2, 4, 5])).unwrap();
    assert_eq!(registry.candidates(), [region(2), region(4), region(5)]);
    assert_eq!(refusal(&registry, set(&[2, 4, 5])), RegistryError::SameCandidates);
    let leave = Change::Leave(region(5));
    assert_eq!(refusal(&registry, leave), RegistryError::IsCandidate { id: region(5) });
}

#[test]
fn delegated_blocks_never_overlap_and_may_change_hands() {
    let block = |to, first, last| Change::Delegate {
        to: region(to),
        first: region(first),
        last: region(last),
    };
    let mut registry = federation();
    registry.propose(1, block(2, 100, 199)).unwrap();
    registry.propose(1, block(3, 200, 200)).unwrap();
    for overlap in [(99, 100), (199, 199), (1, 300), (150, 160), (199, 200), (100, 198)] {
        let error = refusal(&registry, block(3, overlap.0, overlap.1));
        assert!(matches!(error, RegistryError::BlockOverlaps { .. }), "{overlap:?}: {error}");
    }
    let again = refusal(&registry, block(2, 100, 199));
    assert_eq!(again, RegistryError::NoChange { id: region(2) });
    let swapped = refusal(&registry, block(2, 20, 10));
    assert_eq!(swapped, RegistryError::BadBlock { first: region(20), last: region(10) });
    let of = |registry: &Registry, id| registry.delegate_of(region(id)).map(RegionId::get);
    assert_eq!(
        [99, 100, 199, 200, 201].map(|id| of(&registry, id)),
        [None, Some(2), Some(2), Some(3), None]
    );
    registry.propose(1, block(4, 100, 199)).unwrap();
    assert_eq!(of(&registry, 150), Some(4));
    assert_eq!(registry.blocks().count(), 2);
}

#[test]
fn a_replica_refuses_gaps_forks_and_rule_breakers_and_stays_as_it_was() {
    let master = federation();
    let log = log_of(&master);
    let mut replica = Registry::from_log(log_of(&master)[..4].to_vec()).unwrap();
    let before = replica.version();
    assert_eq!(replica.apply(log[5].clone()), Err(ApplyError::Gap { have: 4, got: 6 }));

    let forked = LogEntry { prev: [9; 32], ..log[4].clone() };
    assert_eq!(replica.apply(forked), Err(ApplyError::HashMismatch { index: 5 }));
    let rewritten = LogEntry { change: Change::Leave(region(2)), ..log[2].clone() };
    assert_eq!(replica.apply(rewritten), Err(ApplyError::HashMismatch { index: 3 }));
    let zero = LogEntry { index: 0, ..log[2].clone() };
    assert_eq!(replica.apply(zero), Err(ApplyError::HashMismatch { index: 0 }));

    let rogue = forged(&replica, 1, 1, Change::Live(region(50)));
    assert_eq!(
        replica.apply(rogue),
        Err(ApplyError::Rule(RegistryError::UnknownRegion { id: region(50) }))
    );
    assert_eq!(replica.version(), before);

    assert_eq!(replica.apply(log[1].clone()), Ok(()), "an entry that is held is no error");
    assert_eq!(replica.version(), before);
}

#[test]
fn pulling_finds_what_is_missing_and_what_diverged() {
    let master = federation();
    let replica = Registry::from_log(log_of(&master)[..4].to_vec()).unwrap();
    assert_eq!(master.missing_for(Version::EMPTY), Pull::Entries(master.log()));
    assert_eq!(master.missing_for(replica.version()), Pull::Entries(&master.log()[4..]));
    assert_eq!(master.missing_for(master.version()), Pull::UpToDate);
    assert_eq!(replica.missing_for(master.version()), Pull::UpToDate, "the asker is ahead");
    assert_eq!(master.missing_for(Version { index: 4, hash: [9; 32] }), Pull::Diverged);
    assert_eq!(master.missing_for(Version { index: 0, hash: [9; 32] }), Pull::Diverged);
    assert_eq!(master.entries_after(4, 2), &master.log()[4..6]);
    assert!(master.entries_after(u64::MAX, 2).is_empty());
    assert!(master.agrees_with(replica.version()) && !replica.agrees_with(master.version()));
}

#[test]
fn an_entry_that_its_master_did_not_sign_is_refused() {
    let mut replica = federation();
    let before = replica.version();
    let change = Change::Join(record(6, Some(1)));
    let honest = forged(&replica, 1, 1, change.clone());
    let index = honest.index;

    let unsigned = LogEntry { seal: None, ..honest.clone() };
    assert_eq!(replica.apply(unsigned), Err(ApplyError::Unsigned { index }));
    let by_another = forged(&replica, 1, 4, change.clone());
    assert_eq!(
        replica.apply(by_another),
        Err(ApplyError::NotMaster { index, signer: region(4) }),
        "a region may not write, whatever it signs"
    );
    let mut in_the_roots_name = honest.clone();
    in_the_roots_name.sign(region(1), &key(4));
    assert_eq!(
        replica.apply(in_the_roots_name),
        Err(ApplyError::Forged { index, signer: region(1) }),
        "the key is not the one of the record"
    );
    let seal = Seal { key: key(1).public(), ..key(4).sign(region(1), &honest.hash()) };
    assert_eq!(
        replica.apply(LogEntry { seal: Some(seal), ..honest.clone() }),
        Err(ApplyError::Forged { index, signer: region(1) }),
        "the right key and another's signature"
    );
    let changed = LogEntry { change: Change::Leave(region(5)), ..honest.clone() };
    assert_eq!(replica.apply(changed), Err(ApplyError::Forged { index, signer: region(1) }));
    assert_eq!(replica.version(), before);
    assert_eq!(replica.apply(honest), Ok(()));
}

#[test]
fn a_federation_is_founded_by_its_root_alone() {
    let empty = Registry::new();
    let by_a_stranger = forged(&empty, 1, 2, Change::Join(record(1, None)));
    assert_eq!(
        empty.clone().apply(by_a_stranger),
        Err(ApplyError::NotMaster { index: 1, signer: region(2) })
    );
    let founder = forged(&empty, 1, 1, Change::Join(record(1, None)));
    assert_eq!(empty.clone().apply(founder), Ok(()));
    let error = empty
        .clone()
        .propose_signed(1, Change::Join(record(1, None)), region(2), &key(2))
        .unwrap_err();
    assert_eq!(error, RegistryError::NotMaster { id: region(2) });
}

#[test]
fn in_each_term_the_region_writes_that_began_it() {
    let mut registry = federation();
    let candidates: Vec<_> = [1, 2, 3].map(region).into();
    write(&mut registry, Change::Candidates(candidates)).unwrap();
    let join = Change::Join(record(6, Some(1)));
    let error = registry.clone().propose_signed(1, join.clone(), region(2), &key(2)).unwrap_err();
    assert_eq!(error, RegistryError::NotMaster { id: region(2) });
    let second = forged(&registry, 1, 2, join.clone());
    let index = second.index;
    let not_master = |signer| Err(ApplyError::NotMaster { index, signer: region(signer) });
    assert_eq!(registry.clone().apply(second), not_master(2));
    let no_candidate = forged(&registry, 2, 4, Change::Master(region(4)));
    assert_eq!(registry.clone().apply(no_candidate), not_master(4));
    let anothers = forged(&registry, 2, 1, Change::Master(region(2)));
    assert_eq!(registry.clone().apply(anothers), not_master(1), "each begins a term itself");

    registry.apply(forged(&registry, 2, 2, Change::Master(region(2)))).unwrap();
    registry.apply(forged(&registry, 2, 2, join)).unwrap();
    let index = index + 2;
    let old = forged(&registry, 2, 1, Change::Live(region(6)));
    assert_eq!(registry.apply(old), Err(ApplyError::NotMaster { index, signer: region(1) }));
    let late = forged(&registry, 1, 1, Change::Live(region(6)));
    assert_eq!(registry.apply(late), Err(ApplyError::StaleTerm { have: 2, got: 1 }));
}

/// The seats lie a million and as many times a hundred thousand as the region's number further up.
fn split(from: u16, to: u16, first: u64, last: u64) -> Change {
    seated(from, to, first, last, 1_000_000 + 100_000 * u64::from(from) + first)
}

fn seated(from: u16, to: u16, first: u64, last: u64, seat: u64) -> Change {
    let id = |local| LocalId::new(local).unwrap();
    let (from, to) = (region(from), region(to));
    Change::Split(Forwarding { from, first: id(first), last: id(last), to, seat: id(seat) })
}

#[test]
fn a_split_moves_pids_and_record_ids_of_its_range_and_no_others() {
    let mut registry = federation();
    write(&mut registry, split(4, 5, 1_000, 1_999)).unwrap();
    let pid = |id: &str| registry.serving(id.parse::<RegionPid>().unwrap()).get();
    assert_eq!([pid("4.999"), pid("4.1000"), pid("4.1999"), pid("4.2000")], [4, 5, 5, 4]);
    assert_eq!(pid("5.1500"), 5);
    assert_eq!(registry.serving("4#1500".parse::<RecordId>().unwrap()), region(5));
    assert_eq!(pid("77.1500"), 77, "of an unknown region nothing is known");

    // The receiver passes a part on, and gives another part back.
    write(&mut registry, split(4, 2, 1_500, 1_600)).unwrap();
    write(&mut registry, split(4, 4, 1_000, 1_099)).unwrap();
    let pid = |id: &str| registry.serving(id.parse::<RegionPid>().unwrap()).get();
    assert_eq!([pid("4.1099"), pid("4.1100"), pid("4.1500"), pid("4.1601")], [4, 5, 2, 5]);
}

#[test]
fn bad_splits_are_refused_by_name() {
    let mut registry = federation();
    write(&mut registry, Change::Join(record(6, Some(1)))).unwrap();
    write(&mut registry, split(4, 5, 1_000, 1_999)).unwrap();
    let (from, id) = (region(4), LocalId::new);
    assert_eq!(
        refusal(&registry, split(9, 5, 1_000, 2_000)),
        RegistryError::UnknownRegion { id: region(9) }
    );
    assert_eq!(
        refusal(&registry, split(4, 6, 1_000, 1_999)),
        RegistryError::NotLive { id: region(6) }
    );
    for (first, last) in [(255, 300), (300, 299)] {
        assert_eq!(
            refusal(&registry, split(4, 5, first, last)),
            RegistryError::BadRange { first: id(first).unwrap(), last: id(last).unwrap() }
        );
    }
    for (first, last) in [(900, 1_500), (1_500, 2_500), (900, 2_500)] {
        assert_eq!(
            refusal(&registry, split(4, 3, first, last)),
            RegistryError::SeveralHolders {
                from,
                first: id(first).unwrap(),
                last: id(last).unwrap()
            }
        );
    }
    assert_eq!(refusal(&registry, split(4, 5, 1_200, 1_300)), RegistryError::NoChange { id: from });
    assert_eq!(
        refusal(&registry, Change::Leave(region(5))),
        RegistryError::ServesIds { id: region(5), of: from }
    );
    write(&mut registry, split(4, 4, 1_000, 1_999)).unwrap();
    for range in 0..64 {
        write(&mut registry, split(4, 5, 1_000 + 10 * range, 1_005 + 10 * range)).unwrap();
    }
    assert_eq!(
        refusal(&registry, split(4, 5, 9_000, 9_001)),
        RegistryError::TooManyRanges { from }
    );
    write(&mut registry, split(4, 5, 1_006, 1_009)).unwrap();
}

#[test]
fn each_seat_is_of_one_id() {
    let mut registry = federation();
    write(&mut registry, seated(4, 5, 1_000, 1_009, 7_000)).unwrap();
    let seat = |registry: &Registry, id: &str| registry.seat(id.parse().unwrap()).to_string();
    assert_eq!(seat(&registry, "4.1003"), "5.7003");
    assert_eq!(seat(&registry, "4.1010"), "4.1010");
    let taken = Err(RegistryError::SeatsTaken { to: region(5), of: region(4) });
    for seat in [6_991, 7_000, 7_009] {
        assert_eq!(write(&mut registry, seated(3, 5, 300, 309, seat)), taken);
        assert_eq!(write(&mut registry, seated(4, 5, 300, 309, seat)), taken);
    }
    write(&mut registry, seated(3, 5, 300, 309, 7_010)).unwrap();
    write(&mut registry, seated(3, 2, 310, 319, 7_000)).unwrap();
    let past = LocalId::MAX.get() - 3;
    let error = refusal(&registry, seated(3, 2, 400, 409, past));
    assert!(matches!(error, RegistryError::BadRange { .. }), "{error}");
}

#[test]
fn ids_of_a_region_that_left_go_on_where_they_were_split_off_to() {
    let mut registry = federation();
    write(&mut registry, split(4, 5, 1_000, 1_999)).unwrap();
    write(&mut registry, Change::Leave(region(4))).unwrap();
    assert_eq!(registry.serving("4.1500".parse::<RegionPid>().unwrap()), region(5));
}

fn checkpointed() -> Registry {
    let mut registry = federation();
    write(&mut registry, split(4, 5, 1_000, 1_999)).unwrap();
    write(&mut registry, Change::Candidates(vec![region(1)])).unwrap();
    for id in 70..80 {
        write(&mut registry, Change::Join(record(id, Some(2)))).unwrap();
    }
    let checkpoint = registry.checkpoint();
    write(&mut registry, checkpoint).unwrap();
    registry
}

#[test]
fn entries_before_the_last_checkpoint_but_one_are_let_go() {
    let mut registry = checkpointed();
    let first = registry.version();
    assert_eq!(registry.log_start(), Version::EMPTY, "the first checkpoint keeps what is before");
    assert!(!registry.checkpoint_due(1) && registry.snapshot().is_some());
    write(&mut registry, Change::Live(region(70))).unwrap();
    assert!(registry.checkpoint_due(1) && !registry.checkpoint_due(2));
    let checkpoint = registry.checkpoint();
    write(&mut registry, checkpoint).unwrap();
    assert_eq!(registry.log_start(), first);
    assert_eq!(registry.log().len(), 2);
    assert_eq!(registry.snapshot().unwrap().version(), registry.version());
    assert!(matches!(registry.missing_for(Version::EMPTY), Pull::Snapshot(_)));
    assert!(matches!(registry.missing_for(first), Pull::Entries(entries) if entries.len() == 2));
    assert_eq!(
        registry.missing_for(Version { hash: [1; 32], ..first }),
        Pull::Diverged,
        "the point where the held log starts is known too"
    );
}

#[test]
fn a_checkpoint_of_another_state_is_refused() {
    let registry = federation();
    assert_eq!(
        refusal(&registry, Change::Checkpoint { state_hash: [7; 32] }),
        RegistryError::StateMismatch
    );
}

/// Carries a snapshot over in pieces of `size` bytes.
fn carry(
    snapshot: &Snapshot,
    mut assembly: SnapshotAssembly,
    size: usize,
) -> Result<Snapshot, SnapshotError> {
    while !assembly.is_complete() {
        for (number, here) in assembly.missing().collect::<Vec<_>>() {
            let bytes = snapshot.bucket(number).unwrap();
            let end = (here + size).min(bytes.len());
            assembly.take(number, here, &bytes[here..end], end == bytes.len())?;
        }
    }
    assembly.finish(&|_| None)
}

#[test]
fn a_snapshot_in_pieces_makes_the_same_registry() {
    let mut master = checkpointed();
    let snapshot = Arc::clone(master.snapshot().unwrap());
    write(&mut master, Change::Live(region(70))).unwrap();
    for size in [7, 100, 1 << 20] {
        let mut replica = Registry::new();
        let assembly = SnapshotAssembly::new(snapshot.header(), &replica, None, &|_| None).unwrap();
        assert_eq!(assembly.missing().count(), 2, "regions 1 to 5, and 70 to 79");
        replica.install(carry(&snapshot, assembly, size).unwrap()).unwrap();
        assert_eq!(replica.version(), snapshot.version());
        replica.apply(log_of(&master).last().unwrap().clone()).unwrap();
        assert_eq!(replica.state_hash(), master.state_hash());
        assert!(replica.regions().eq(master.regions()));
        assert!(replica.forwardings().eq(master.forwardings()));
        assert_eq!(replica.candidates(), master.candidates());
        assert_eq!(replica.by_name("r71"), master.by_name("r71"));
        assert_eq!(replica.hierarchy().root(), Some(region(1)));
        let again = replica.install(Snapshot::clone(&snapshot)).unwrap_err();
        assert!(matches!(again, SnapshotError::Older { .. }), "versions never go back");
    }
}

#[test]
fn who_is_far_behind_fetches_only_the_buckets_that_differ() {
    let master = checkpointed();
    let behind = federation();
    let snapshot = master.snapshot().unwrap();
    let assembly = SnapshotAssembly::new(snapshot.header(), &behind, None, &|_| None).unwrap();
    assert_eq!(
        assembly.missing().collect::<Vec<_>>(),
        [(0, 0), (1, 0)],
        "the split changed bucket 0"
    );
    let mut joined = federation();
    write(&mut joined, split(4, 5, 1_000, 1_999)).unwrap();
    let mut assembly = SnapshotAssembly::new(snapshot.header(), &joined, None, &|_| None).unwrap();
    assert_eq!(assembly.missing().collect::<Vec<_>>(), [(1, 0)]);
    // The peer goes away in the middle, and another one goes on with the same checkpoint.
    let bytes = snapshot.bucket(1).unwrap();
    assembly.take(1, 0, &bytes, true).unwrap();
    let resumed =
        SnapshotAssembly::new(snapshot.header(), &Registry::new(), Some(assembly), &|_| None);
    assert!(
        resumed.unwrap().is_complete(),
        "what was gathered, or held before, is not fetched again"
    );
}

#[test]
fn a_snapshot_that_its_master_did_not_sign_is_refused() {
    let master = checkpointed();
    let snapshot = master.snapshot().unwrap();
    let header = snapshot.header();
    let fresh = Registry::new();
    let begin = |header: SnapshotHeader| {
        SnapshotAssembly::new(header, &fresh, None, &|_| None).map(drop).unwrap_err()
    };
    let with = |edit: fn(&mut SnapshotHeader)| {
        let mut header = header.clone();
        edit(&mut header);
        header
    };
    assert_eq!(begin(with(|h| h.checkpoint.seal = None)), SnapshotError::Forged);
    assert_eq!(begin(with(|h| h.checkpoint.term += 1)), SnapshotError::Forged);
    assert_eq!(begin(with(|h| h.order.candidates.clear())), SnapshotError::WrongHash);
    assert_eq!(begin(with(|h| h.buckets[0].1[0] ^= 1)), SnapshotError::WrongHash);
    assert_eq!(begin(with(|h| h.buckets.truncate(1))), SnapshotError::WrongHash);
    let not_one = with(|h| h.checkpoint.change = Change::Live(RegionId::MIN));
    assert_eq!(begin(not_one), SnapshotError::NoCheckpoint);

    // Region 4 signs its own world: it is not the master in it, and where the master's key is known it differs.
    let by_another = with(|h| h.checkpoint.sign(region(4), &key(4)));
    let assembly = SnapshotAssembly::new(by_another, &fresh, None, &|_| None).unwrap();
    assert_eq!(carry(snapshot, assembly, 1 << 20), Err(SnapshotError::Forged));
    let in_the_roots_name = with(|h| h.checkpoint.sign(region(1), &key(4)));
    let assembly =
        SnapshotAssembly::new(in_the_roots_name.clone(), &fresh, None, &|_| None).unwrap();
    assert_eq!(carry(snapshot, assembly, 1 << 20), Err(SnapshotError::Forged));
    let proven = |id: RegionId| (id == region(1)).then(|| key(1).key_hash());
    let known = SnapshotAssembly::new(in_the_roots_name.clone(), &fresh, None, &proven);
    assert_eq!(known.unwrap_err(), SnapshotError::Forged);
    let held = SnapshotAssembly::new(in_the_roots_name, &federation(), None, &|_| None);
    assert_eq!(held.unwrap_err(), SnapshotError::Forged);

    // A neighbour that has proven another key than the snapshot says.
    let assembly = SnapshotAssembly::new(header.clone(), &fresh, None, &|_| None).unwrap();
    let mut assembly = assembly;
    for (number, _) in assembly.missing().collect::<Vec<_>>() {
        assembly.take(number, 0, &snapshot.bucket(number).unwrap(), true).unwrap();
    }
    let stranger = |id: RegionId| (id == region(3)).then(|| key(99).key_hash());
    assert_eq!(assembly.finish(&stranger), Err(SnapshotError::Forged));

    // Buckets are checked one by one.
    let mut assembly = SnapshotAssembly::new(header, &fresh, None, &|_| None).unwrap();
    let good = snapshot.bucket(0).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert_eq!(assembly.take(0, 0, &bad, true), Err(SnapshotError::WrongHash), "byte {at}");
    }
    let long = vec![0; SnapshotAssembly::MAX_BUCKET_BYTES + 1];
    assert_eq!(assembly.take(0, 0, &long, false), Err(SnapshotError::WrongHash));
    assert_eq!(assembly.take(900, 0, &good, true), Ok(()), "a bucket that nobody asked for");
    assembly.take(0, 0, &good, true).unwrap();
    assert!(!assembly.is_complete());
}

#[test]
fn a_registry_comes_back_from_its_snapshot_and_its_entries() {
    let mut master = checkpointed();
    write(&mut master, Change::Live(region(70))).unwrap();
    let snapshot = Snapshot::clone(master.snapshot().unwrap());
    let back = Registry::from_parts(Some(snapshot), log_of(&master)).unwrap();
    assert_eq!(back.version(), master.version());
    assert_eq!(back.state_hash(), master.state_hash());
    assert_eq!((back.term(), back.log().len()), (1, 1));
}

/// Changes of which some are allowed and some are not.
fn any_change() -> impl Strategy<Value = Change> {
    let id = 1_u16..8;
    prop_oneof![
        4 => (id.clone(), prop::option::weighted(0.85, id.clone()), 1_u8..4, id.clone()).prop_map(|(id, parent, key, name)| {
            let name = format!("n{name}").parse().unwrap();
            Change::Join(RegionRecord { key_hash: KeyHash([key; 32]), name, ..record(id, parent) })
        }),
        2 => id.clone().prop_map(|id| Change::Live(region(id))),
        2 => (id.clone(), prop::option::weighted(0.85, id.clone()), 0_u8..3).prop_map(|(id, parent, port)| Change::Update {
            id: region(id), addresses: vec![format!("h:{port}")], parent: parent.map(region), coordinates: None
        }),
        1 => id.prop_map(|id| Change::Leave(region(id))),
    ]
}

/// The rules of the tree, said in another way than the code that keeps them.
fn check_invariants(registry: &Registry) {
    let staying: Vec<_> = registry.regions().filter(|r| r.status != Status::Left).collect();
    assert!(
        staying.iter().filter(|r| r.parent.is_none()).count() == usize::from(!staying.is_empty()),
        "one root"
    );
    for record in &staying {
        assert_eq!(
            registry.by_name(record.name.as_str()).map(|r| r.id),
            Some(record.id),
            "one region per name"
        );
        let mut at = *record;
        for _ in 0..registry.len() {
            let Some(parent) = at.parent else { break };
            at = registry.get(parent).unwrap();
            assert_ne!(at.status, Status::Left, "nobody stays below one that left");
        }
        assert_eq!(at.parent, None, "every way up ends at the root");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_proposals_keep_one_tree_and_keys_keep_their_numbers(changes in prop::collection::vec(any_change(), 0..40)) {
        let mut master = Registry::new();
        let mut keys = std::collections::HashMap::new();
        for change in changes {
            let before = master.version();
            match master.propose(1, change) {
                Ok(entry) => prop_assert_eq!(entry.version(), master.version()),
                Err(_) => prop_assert_eq!(before, master.version()),
            }
            check_invariants(&master);
            for record in master.regions() {
                prop_assert_eq!(*keys.entry(record.id).or_insert(record.key_hash), record.key_hash);
            }
        }
    }

    #[test]
    fn replicas_that_get_entries_in_any_order_hold_prefixes_and_converge(
        changes in prop::collection::vec(any_change(), 0..30),
        arrivals in prop::collection::vec(any::<prop::sample::Index>(), 0..80),
    ) {
        let mut master = Registry::new();
        write(&mut master, Change::Join(record(1, None))).unwrap();
        for change in changes {
            let _ = write(&mut master, change);
        }
        let mut replica = Registry::new();
        for arrival in arrivals {
            let before = replica.version().index;
            let entry = log_of(&master)[arrival.index(master.log().len())].clone();
            match replica.apply(entry) {
                Ok(()) => {}
                Err(ApplyError::Gap { have, .. }) => prop_assert_eq!(have, before),
                Err(other) => prop_assert!(false, "{}", other),
            }
            prop_assert!(replica.version().index >= before);
            prop_assert!(master.agrees_with(replica.version()));
        }
        if let Pull::Entries(entries) = master.missing_for(replica.version()) {
            for entry in entries {
                replica.apply(LogEntry::clone(entry)).unwrap();
            }
        }
        prop_assert_eq!(replica.version(), master.version());
        prop_assert!(replica.regions().eq(master.regions()));
    }
}
