use std::collections::HashSet;
use std::sync::Arc;

use super::*;
use crate::{Change, ID_BLOCK_LEN, IdAllocator, RegionKey, RegionRecord, Registry, Status};

fn region(id: u16) -> RegionId {
    RegionId::new(id).unwrap()
}

fn log_of(ids: std::ops::RangeInclusive<u16>) -> Vec<LogEntry> {
    let mut registry = Registry::new();
    let root = region(*ids.start());
    let key = RegionKey::from_seed(&[1; 32]).unwrap();
    for id in ids {
        let record = RegionRecord {
            id: region(id),
            name: format!("r{id}").parse().unwrap(),
            parent: registry.hierarchy().root(),
            addresses: vec![],
            key_hash: key.key_hash(),
            status: Status::Joining,
            coordinates: None,
        };
        registry.propose_signed(1, Change::Join(record), root, &key).unwrap();
    }
    registry.log().iter().map(|entry| LogEntry::clone(entry)).collect()
}

#[test]
fn boots_and_blocks_go_on_where_they_were_after_each_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.redb");
    for round in 1..=3_u32 {
        let store = Store::open(&path).unwrap();
        assert_eq!(store.next_boot().unwrap(), round);
        let first = 256 + u64::from(round - 1) * ID_BLOCK_LEN;
        assert_eq!(store.reserve_block().unwrap(), IdBlock { first, len: ID_BLOCK_LEN });
    }
}

#[test]
fn a_copy_taken_at_any_moment_never_gives_out_what_was_given_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.redb");
    let mut random = fastrand::Rng::with_seed(7);
    let store = Arc::new(Store::open(&path).unwrap());
    let mut given = HashSet::new();
    let mut boots = HashSet::new();
    for round in 0..30 {
        // What was acknowledged up to here counts, and the file as it is now is what a SIGKILL would leave.
        for _ in 0..random.u32(1..4) {
            match random.u8(0..3) {
                0 => assert!(boots.insert(store.next_boot().unwrap())),
                _ => assert!(
                    given.insert(IdAllocator::new(Box::new(Arc::clone(&store))).next().unwrap())
                ),
            }
        }
        let copy = dir.path().join(format!("copy-{round}.redb"));
        std::fs::copy(&path, &copy).unwrap();
        let copy = Arc::new(Store::open(&copy).unwrap());
        for _ in 0..2 {
            let id = IdAllocator::new(Box::new(Arc::clone(&copy))).next().unwrap();
            assert!(!given.contains(&id), "{id} was given before the crash");
        }
        assert!(!boots.contains(&copy.next_boot().unwrap()));
    }
}

#[test]
fn a_second_opening_is_refused_while_the_first_lasts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.redb");
    let first = Store::open(&path).unwrap();
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(&error, StoreError::InUse { path: named } if *named == path), "{error}");
    drop(first);
    Store::open(&path).unwrap();
}

#[test]
fn a_store_serves_one_region_and_one_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.redb");
    let key = KeyHash([1; 32]);
    {
        let store = Store::open(&path).unwrap();
        assert_eq!(store.region().unwrap(), None);
        store.bind_region(region(7), key).unwrap();
        store.bind_region(region(7), key).unwrap();
    }
    let store = Store::open(&path).unwrap();
    assert_eq!(store.region().unwrap(), Some(region(7)));
    store.bind_region(region(7), key).unwrap();
    let error = store.bind_region(region(8), key).unwrap_err();
    assert!(
        matches!(error, StoreError::OtherRegion { holds, asked, .. } if holds == region(7) && asked == region(8))
    );
    assert!(error.to_string().contains("belongs to region 7, not to region 8"), "{error}");
    let other = store.bind_region(region(7), KeyHash([2; 32])).unwrap_err();
    assert!(matches!(other, StoreError::OtherKey { .. }), "{other}");
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.redb");
    let _store = Store::open(&path).unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(
            entry.metadata().unwrap().permissions().mode() & 0o777,
            0o600,
            "{:?}",
            entry.path()
        );
    }
}

#[test]
fn a_crash_while_the_file_is_made_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.redb");
    std::fs::write(beside(&path, ".new"), vec![0; 100_000]).unwrap();
    let store = Store::open(&path).unwrap();
    assert_eq!(store.next_boot().unwrap(), 1);
    assert!(!beside(&path, ".new").exists());
}

#[test]
fn what_is_no_store_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.redb");
    for contents in [&b""[..], b"hello", &[0; 70_000], &[0xff; 4_096]] {
        std::fs::write(&path, contents).unwrap();
        let error = Store::open(&path).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), contents);
    }
    let folder = dir.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    let missing = dir.path().join("nowhere").join("node.redb");
    assert!(matches!(Store::open(&missing), Err(StoreError::Io { .. })));
    assert!(matches!(
        Store::open(&folder),
        Err(StoreError::Io { .. } | StoreError::Damaged { .. })
    ));
}

#[test]
fn flipped_bits_and_cut_ends_are_refused_or_harmless_never_a_step_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.redb");
    let store = Store::open(&path).unwrap();
    store.bind_region(region(7), KeyHash([1; 32])).unwrap();
    store.append_log(&log_of(1..=20)).unwrap();
    for _ in 0..3 {
        store.next_boot().unwrap();
        store.reserve_block().unwrap();
    }
    let killed = std::fs::read(&path).unwrap();
    drop(store);
    let closed = std::fs::read(&path).unwrap();
    check_damaged_copies(dir.path(), &closed);
    check_damaged_copies(dir.path(), &killed);
}

#[test]
fn no_single_wrong_bit_in_the_header_leads_back_to_an_older_state() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.redb");
    let store = Store::open(&path).unwrap();
    for round in 1..=3 {
        // What a SIGKILL would leave after each kind of write, as the last one.
        assert_eq!(store.next_boot().unwrap(), round);
        check_header_bits(dir.path(), &std::fs::read(&path).unwrap(), round, round - 1);
        store.reserve_block().unwrap();
        check_header_bits(dir.path(), &std::fs::read(&path).unwrap(), round, round);
    }
}

fn check_header_bits(dir: &Path, good: &[u8], boots: u32, blocks: u32) {
    // The magic number is 9 bytes; the flags that choose between the commits follow.
    for bit in 9 * 8..10 * 8 {
        let mut bytes = good.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let damaged = dir.join("damaged.redb");
        std::fs::write(&damaged, &bytes).unwrap();
        match Store::open(&damaged) {
            Err(StoreError::Damaged { .. }) => {}
            Err(other) => panic!("bit {bit}: {other}"),
            Ok(store) => {
                assert_eq!(store.next_boot().unwrap(), boots + 1, "bit {bit}");
                let first = 256 + u64::from(blocks) * ID_BLOCK_LEN;
                assert_eq!(store.reserve_block().unwrap().first, first, "bit {bit}");
            }
        }
    }
}

fn check_damaged_copies(dir: &Path, good: &[u8]) {
    let written: Vec<usize> = (0..good.len()).filter(|at| good[*at] != 0).collect();
    let mut random = fastrand::Rng::with_seed(11);
    let mut refused = 0;
    for round in 0..ROUNDS {
        let mut bytes = good.to_vec();
        if round % 10 == 0 {
            bytes.truncate(random.usize(1..good.len()));
        } else {
            // Half of the flips in the header, where each bit steers.
            let header = random.bool();
            let at =
                if header { random.usize(0..320) } else { written[random.usize(0..written.len())] };
            bytes[at] ^= 1 << random.u8(0..8);
        }
        let damaged = dir.join("damaged.redb");
        std::fs::write(&damaged, &bytes).unwrap();
        match Store::open(&damaged) {
            Err(StoreError::Damaged { .. }) => refused += 1,
            Err(other) => panic!("round {round}: {other}"),
            Ok(store) => {
                assert_eq!(store.next_boot().unwrap(), 4, "round {round}");
                assert_eq!(
                    store.reserve_block().unwrap().first,
                    256 + 3 * ID_BLOCK_LEN,
                    "round {round}"
                );
                assert_eq!(store.load_log().unwrap(), log_of(1..=20), "round {round}");
            }
        }
    }
    assert!(refused > ROUNDS / 8, "only {refused} were noticed");
}

const ROUNDS: usize = 50;

#[test]
fn the_log_comes_back_as_it_was_appended() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.redb");
    let log = log_of(1..=6);
    {
        let store = Store::open(&path).unwrap();
        assert!(store.load_log().unwrap().is_empty());
        store.append_log(&[]).unwrap();
        store.append_log(&log[..2]).unwrap();
        store.append_log(&log[1..5]).unwrap();
    }
    let store = Store::open(&path).unwrap();
    assert_eq!(store.load_log().unwrap(), log[..5]);
    Registry::from_log(store.load_log().unwrap()).unwrap();
}

#[test]
fn an_append_that_does_not_fit_adds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("node.redb")).unwrap();
    let log = log_of(1..=6);
    store.append_log(&log[..3]).unwrap();
    let gap = store.append_log(&log[4..]).unwrap_err();
    assert!(matches!(gap, StoreError::LogMismatch { held: 3, index: 5, .. }), "{gap}");
    let fork = [log[3].clone(), LogEntry { term: 9, ..log[1].clone() }];
    assert!(matches!(store.append_log(&fork), Err(StoreError::LogMismatch { index: 2, .. })));
    assert_eq!(store.load_log().unwrap(), log[..3]);
}

#[test]
fn a_log_is_replaced_as_a_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("node.redb")).unwrap();
    store.append_log(&log_of(1..=6)).unwrap();
    let other = log_of(11..=12);
    assert!(store.replace_log(&other[1..]).is_err());
    assert_eq!(store.load_log().unwrap().len(), 6);
    store.replace_log(&other).unwrap();
    assert_eq!(store.load_log().unwrap(), other);
    store.replace_log(&[]).unwrap();
    assert!(store.load_log().unwrap().is_empty());
}

/// A registry of `count` regions whose master writes a checkpoint every `every` entries, saved as it grows.
fn saved(store: &Store, count: u16, every: u64) -> Registry {
    let mut registry = Registry::new();
    let key = RegionKey::from_seed(&[1; 32]).unwrap();
    let root = region(1);
    let mut write = |change: Change| {
        let entry = registry.propose_signed(1, change, root, &key).unwrap();
        store.append_log(&[entry]).unwrap();
        if registry.checkpoint_due(every) {
            let checkpoint = registry.checkpoint();
            let entry = registry.propose_signed(1, checkpoint, root, &key).unwrap();
            store.append_log(&[entry]).unwrap();
            store.compact(&registry).unwrap();
        }
    };
    for id in 1..=count {
        write(Change::Join(RegionRecord {
            id: region(id),
            name: format!("r{id}").parse().unwrap(),
            parent: (id > 1).then_some(root),
            addresses: vec![],
            key_hash: key.key_hash(),
            status: Status::Joining,
            coordinates: None,
        }));
    }
    registry
}

#[test]
fn a_run_of_ids_is_remembered_as_one_and_never_given_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.redb");
    let run = {
        let store = Store::open(&path).unwrap();
        store.reserve_block().unwrap();
        let run = store.reserve_run(10).unwrap();
        assert!(store.reserve_run(0).is_err());
        assert_eq!(store.reserve_block().unwrap().first, run.end());
        run
    };
    let store = Store::open(&path).unwrap();
    let in_run = |id: u64| store.is_in_run(LocalId::new(id).unwrap()).unwrap();
    assert!(in_run(run.first) && in_run(run.end() - 1));
    assert!(!in_run(run.first - 1) && !in_run(run.end()) && !in_run(1));
}

#[test]
fn a_compacted_registry_comes_back_whole_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.redb");
    let store = Store::open(&path).unwrap();
    assert!(store.load_registry().unwrap().is_empty());
    let registry = saved(&store, 200, 7);
    assert!(store.load_log().unwrap().len() < 16, "older entries are let go");
    drop(store);
    let store = Store::open(&path).unwrap();
    let mut back = store.load_registry().unwrap();
    assert_eq!(back.version(), registry.version());
    assert_eq!(back.state_hash(), registry.state_hash());
    let key = RegionKey::from_seed(&[1; 32]).unwrap();
    for _ in 0..3 {
        // With and without entries after the snapshot.
        let entry = back.propose_signed(1, back.checkpoint(), region(1), &key).unwrap();
        store.append_log(&[entry]).unwrap();
        store.compact(&back).unwrap();
        assert_eq!(store.load_registry().unwrap().version(), back.version());
    }
}

#[test]
fn a_snapshot_that_was_installed_takes_the_place_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let theirs = Store::open(&dir.path().join("theirs.redb")).unwrap();
    let registry = saved(&theirs, 105, 10);
    let ours = Store::open(&dir.path().join("ours.redb")).unwrap();
    let mut behind = saved(&ours, 4, 100);
    behind.install(crate::Snapshot::clone(registry.snapshot().unwrap())).unwrap();
    ours.compact(&behind).unwrap();
    assert!(ours.load_log().unwrap().is_empty());
    assert_eq!(ours.load_registry().unwrap().version(), behind.version());
    let rest: Vec<LogEntry> = registry
        .entries_after(behind.version().index, 100)
        .iter()
        .map(|entry| LogEntry::clone(entry))
        .collect();
    assert!(!rest.is_empty(), "the snapshot is not the end of the log");
    ours.append_log(&rest).unwrap();
    assert_eq!(ours.load_registry().unwrap().version(), registry.version());
}

#[test]
fn a_copy_taken_at_any_moment_of_compacting_holds_a_prefix_with_all_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.redb");
    let store = Store::open(&path).unwrap();
    let mut registry = Registry::new();
    let key = RegionKey::from_seed(&[1; 32]).unwrap();
    for id in 1..=12_u16 {
        let record = RegionRecord {
            id: region(id * 60),
            name: format!("r{id}").parse().unwrap(),
            parent: registry.hierarchy().root(),
            addresses: vec![],
            key_hash: key.key_hash(),
            status: Status::Joining,
            coordinates: None,
        };
        let root = registry.hierarchy().root().unwrap_or(region(60));
        for change in [Change::Join(record), registry.checkpoint()] {
            // The second is of the state before the first, so take it anew.
            let change = match change {
                Change::Checkpoint { .. } => registry.checkpoint(),
                other => other,
            };
            let entry = registry.propose_signed(1, change, root, &key).unwrap();
            store.append_log(&[entry]).unwrap();
            check_copy(dir.path(), &path, &registry);
            store.compact(&registry).unwrap();
            check_copy(dir.path(), &path, &registry);
        }
    }
}

/// What a SIGKILL would leave now is a store with this registry.
fn check_copy(dir: &Path, path: &Path, registry: &Registry) {
    let copy = dir.join("copy.redb");
    std::fs::copy(path, &copy).unwrap();
    let back = Store::open(&copy).unwrap().load_registry().unwrap();
    assert_eq!(back.version(), registry.version());
    assert_eq!(back.state_hash(), registry.state_hash());
}

#[test]
fn boots_and_ids_end_and_never_wrap() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("node.redb")).unwrap();
    store
        .write(|txn| {
            let mut numbers = txn.open_table(NUMBERS).map_err(store.redb())?;
            numbers.insert(BOOT, u64::from(u32::MAX) - 1).map_err(store.redb())?;
            numbers.insert(NEXT_ID, (1 << 48) - 5).map_err(store.redb())?;
            Ok(())
        })
        .unwrap();
    assert_eq!(store.next_boot().unwrap(), u32::MAX);
    assert_eq!(store.reserve_block().unwrap(), IdBlock { first: (1 << 48) - 5, len: 5 });
    for _ in 0..2 {
        assert!(matches!(store.next_boot(), Err(StoreError::BootsExhausted { .. })));
        assert!(matches!(store.reserve_block(), Err(StoreError::IdsExhausted { .. })));
    }
}

#[test]
fn a_vote_and_undecided_entries_outlive_a_restart_and_replace_the_earlier_ones() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.redb");
    let log = log_of(1..=4);
    assert_eq!(Store::open(&path).unwrap().load_quorum().unwrap(), Saved::default());
    let first = Saved { term: 7, vote: Some(region(3)), tail: log[1..].to_vec() };
    let second = Saved { term: 8, vote: None, tail: log[1..2].to_vec() };
    for saved in [first, second] {
        Store::open(&path).unwrap().save_quorum(&saved).unwrap();
        assert_eq!(Store::open(&path).unwrap().load_quorum().unwrap(), saved);
    }
}

#[test]
fn a_fork_is_replaced_in_one_step_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("node.redb")).unwrap();
    let log = log_of(1..=6);
    store.append_log(&log).unwrap();
    assert!(matches!(store.fork_log(2, &log[3..]), Err(StoreError::LogMismatch { held: 2, .. })));
    assert_eq!(store.load_log().unwrap(), log, "nothing was let go");
    store.fork_log(3, &log[3..5]).unwrap();
    assert_eq!(store.load_log().unwrap(), log[..5]);
}
