//! A node that is killed at any moment and started again never gives a pid twice (contract C1).

use std::{
    collections::HashSet,
    io::{Read, Write},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use fedist::prelude::*;

const CHILD_DIR: &str = "FEDIST_KILL_NINE_DIR";
const REGISTRY_DIR: &str = "FEDIST_KILL_NINE_REGISTRY_DIR";
const ROUNDS: &str = "FEDIST_TEST_ROUNDS";

struct Idle;

impl Actor for Idle {
    type Context = Context<Self>;
}

/// The process that gets killed: this very test, started again with [`CHILD_DIR`] set. It spawns
/// actors and says each pid before it goes on.
fn run_child(dir: &Path) -> ! {
    let node = Node::builder(RegionId::new(7).unwrap()).data_dir(dir).start_blocking().unwrap();
    let mut out = std::io::stdout().lock();
    writeln!(out, "boot {}", node.boot()).unwrap();
    out.flush().unwrap();
    loop {
        let pid = node.spawn(Idle).unwrap().pid();
        if writeln!(out, "pid {pid}").and_then(|()| out.flush()).is_err() {
            std::process::exit(0);
        }
    }
}

#[test]
fn a_killed_node_never_gives_a_pid_twice() {
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        run_child(Path::new(&dir));
    }
    let rounds: u32 = std::env::var(ROUNDS).ok().and_then(|text| text.parse().ok()).unwrap_or(100);
    let dir = tempfile::tempdir().unwrap();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut seen: HashSet<RegionPid> = HashSet::new();
    let (mut last_boot, mut lives) = (0, 0);
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_killed_node_never_gives_a_pid_twice", "--nocapture"])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = child.stdout.take().unwrap();
        let read = std::thread::spawn(move || {
            let mut text = String::new();
            output.read_to_string(&mut text).map(|_| text)
        });
        // Some die while they open the store, some after a few pids, some after thousands.
        std::thread::sleep(Duration::from_micros(random.u64(0..160_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        let text = read.join().unwrap().unwrap();
        // The kill may have torn the last line: only whole ones count.
        let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        for line in whole {
            if let Some(boot) = line.strip_prefix("boot ") {
                let boot: u32 = boot.parse().unwrap();
                assert!(boot > last_boot, "round {round}: boot {boot} after {last_boot}");
                last_boot = boot;
                lives += 1;
            }
            if let Some(pid) = line.strip_prefix("pid ") {
                let pid: RegionPid = pid.parse().unwrap();
                assert!(seen.insert(pid), "round {round}, seed {seed}: {pid} was given twice");
            }
        }
    }
    println!("{rounds} kills, {lives} lives, {} pids", seen.len());
    assert!(lives > rounds / 10, "the node hardly ever came up: {lives} of {rounds}");
    assert!(seen.len() > 1_000, "too few pids to mean anything: {}", seen.len());
}

/// The process that gets killed: a root that changes its registry and says each entry that is here.
fn change_registry(dir: &Path) -> ! {
    let node = Node::builder(RegionId::new(7).unwrap())
        .data_dir(dir)
        .registry_checkpoint_every(3)
        .start_blocking()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut out = std::io::stdout().lock();
    writeln!(out, "start {}", node.view().registry.version().index).unwrap();
    for port in 1_u64.. {
        let address = format!("127.0.0.1:{}", 1 + port % 60_000);
        let index = runtime.block_on(node.advertise([address])).unwrap();
        if writeln!(out, "entry {index}").and_then(|()| out.flush()).is_err() {
            break;
        }
    }
    std::process::exit(0);
}

#[test]
fn a_killed_master_never_goes_back_behind_what_it_has_shown() {
    if let Some(dir) = std::env::var_os(REGISTRY_DIR) {
        change_registry(Path::new(&dir));
    }
    let rounds: u32 = std::env::var(ROUNDS).ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let dir = tempfile::tempdir().unwrap();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut shown, mut entries) = (0, 0);
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "a_killed_master_never_goes_back_behind_what_it_has_shown",
                "--nocapture",
            ])
            .env(REGISTRY_DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = child.stdout.take().unwrap();
        let read = std::thread::spawn(move || {
            let mut text = String::new();
            output.read_to_string(&mut text).map(|_| text)
        });
        std::thread::sleep(Duration::from_micros(random.u64(50_000..400_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        let text = read.join().unwrap().unwrap();
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            if let Some(index) = line.strip_prefix("start ") {
                let index: u64 = index.parse().unwrap();
                assert!(index >= shown, "round {round}, seed {seed}: {index} after {shown}");
            }
            if let Some(index) = line.strip_prefix("entry ") {
                shown = index.parse().unwrap();
                entries += 1;
            }
        }
    }
    println!("{rounds} kills, {entries} entries, the last is {shown}");
    assert!(entries > 20, "too few entries to mean anything: {entries}");
}
