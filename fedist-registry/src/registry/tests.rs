use proptest::prelude::*;

use super::*;
use crate::{Coordinates, KeyHash};

fn region(id: u16) -> RegionId {
    RegionId::new(id).unwrap()
}

fn record(id: u16, parent: Option<u16>) -> RegionRecord {
    RegionRecord {
        id: region(id),
        name: format!("r{id}").parse().unwrap(),
        parent: parent.map(region),
        addresses: vec![format!("127.0.0.1:{}", 4000 + id)],
        key_hash: KeyHash([id as u8; 32]),
        status: Status::Joining,
        coordinates: None,
    }
}

/// 1 is the root; 2 and 3 are hubs; 4 is below 2, 5 below 3. All live.
fn federation() -> Registry {
    let mut registry = Registry::new();
    for (id, parent) in [(1, None), (2, Some(1)), (3, Some(1)), (4, Some(2)), (5, Some(3))] {
        registry.propose(1, Change::Join(record(id, parent))).unwrap();
        registry.propose(1, Change::Live(region(id))).unwrap();
    }
    registry
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
    let stale = LogEntry {
        term: 2,
        index: head.index + 1,
        prev: head.hash,
        change: Change::Live(region(6)),
    };
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
    let entry = registry.propose(2, Change::Master(region(2))).unwrap();
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
    let mut replica = Registry::from_log(master.log()[..4].to_vec()).unwrap();
    let before = replica.version();
    assert_eq!(replica.apply(master.log()[5].clone()), Err(ApplyError::Gap { have: 4, got: 6 }));

    let forked = LogEntry { prev: [9; 32], ..master.log()[4].clone() };
    assert_eq!(replica.apply(forked), Err(ApplyError::HashMismatch { index: 5 }));
    let rewritten = LogEntry { change: Change::Leave(region(2)), ..master.log()[2].clone() };
    assert_eq!(replica.apply(rewritten), Err(ApplyError::HashMismatch { index: 3 }));
    let zero = LogEntry { index: 0, ..master.log()[2].clone() };
    assert_eq!(replica.apply(zero), Err(ApplyError::HashMismatch { index: 0 }));

    let rogue = LogEntry { term: 1, index: 5, prev: before.hash, change: Change::Live(region(50)) };
    assert_eq!(
        replica.apply(rogue),
        Err(ApplyError::Rule(RegistryError::UnknownRegion { id: region(50) }))
    );
    assert_eq!(replica.version(), before);

    assert_eq!(replica.apply(master.log()[1].clone()), Ok(()), "an entry that is held is no error");
    assert_eq!(replica.version(), before);
}

#[test]
fn pulling_finds_what_is_missing_and_what_diverged() {
    let master = federation();
    let replica = Registry::from_log(master.log()[..4].to_vec()).unwrap();
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
        for change in changes {
            let _ = master.propose(1, change);
        }
        let mut replica = Registry::new();
        for arrival in arrivals {
            if master.log().is_empty() { break }
            let before = replica.version().index;
            let entry = arrival.get(master.log()).clone();
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
                replica.apply(entry.clone()).unwrap();
            }
        }
        prop_assert_eq!(replica.version(), master.version());
        prop_assert!(replica.regions().eq(master.regions()));
    }
}
