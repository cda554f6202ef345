//! The work: a region reads a file, from its own disk or from the region where it lies, and hashes it at its own pace.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{LazyLock, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use fedist::prelude::*;

use super::pieces::{Piece, Tree};

/// Where the files of a region are read.
pub(crate) struct Store {
    root: PathBuf,
}

impl Actor for Store {
    type Context = Context<Self>;
}

/// Asks for a file.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Result<Bytes, String>")]
#[wire(name = "delineation.read", version = 1)]
pub(crate) struct Read {
    path: String,
}

impl Handler<Read> for Store {
    type Result = Result<Bytes, String>;

    fn handle(&mut self, Read { path }: Read, _: &mut Context<Self>) -> Self::Result {
        let read = std::fs::read(self.root.join(path));
        read.map(Bytes::from).map_err(|error| error.to_string())
    }
}

/// Opens the store of a region.
pub(crate) fn open_store(node: &Node, tree: &Tree) -> anyhow::Result<()> {
    let store = node.spawn(Store { root: tree.root.clone() })?;
    node.export(&store).handles::<Read>().name("store").publish()?;
    Ok(())
}

/// Reads a file where it lies and hashes it; one at a time in each region, at the region's pace.
#[fedist::task(name = "delineation.hash", version = 1)]
pub(crate) async fn hash_piece(cx: TaskCx, piece: Piece) -> Result<(u64, u64), String> {
    let node = cx.node();
    let store = node.lookup::<Store>(&format!("region-{}/store", piece.home)).await;
    let store = store.map_err(|error| error.to_string())?;
    let read = store.send(Read { path: piece.path }).deadline(Duration::from_secs(20)).await;
    let content = read.map_err(|error| error.to_string())??;
    let processor = PROCESSORS.get(usize::from(node.region().get()) - 1).ok_or("no processor")?;
    let _busy = processor.lock().await;
    tokio::time::sleep(time_for(node.region(), content.len())).await;
    *runs().entry(piece.number).or_default() += 1;
    Ok((piece.number, fnv1a(&content)))
}

/// What is gathered: the hash of each piece.
#[derive(Default)]
pub(crate) struct Digests(BTreeMap<u64, Result<u64, String>>);

impl Digests {
    pub(crate) fn add(&mut self, part: Result<(u64, u64), String>) {
        match part {
            Ok((number, hash)) => self.0.insert(number, Ok(hash)),
            Err(error) => self.0.insert(u64::MAX, Err(error)),
        };
    }

    /// One text for all of them.
    pub(crate) fn result(&self) -> String {
        let mut all = Vec::new();
        for (number, digest) in &self.0 {
            match digest {
                Ok(hash) => all.extend([*number, *hash].into_iter().flat_map(u64::to_be_bytes)),
                Err(error) => return format!("failed: {error}"),
            }
        }
        format!("{:016x}", fnv1a(&all))
    }
}

/// FNV-1a, 64 bits (G. Fowler, L. C. Noll, K.-P. Vo): a check sum, no cryptography.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// One processor a region.
static PROCESSORS: [tokio::sync::Mutex<()>; 4] = [const { tokio::sync::Mutex::const_new(()) }; 4];

/// Seconds for each byte, by region.
static PACE: LazyLock<Mutex<Vec<f64>>> = LazyLock::new(Mutex::default);

/// A region of capacity 1 takes so many seconds for each byte.
pub(crate) fn set_pace(seconds_per_byte: f64, capacities: &[f64]) {
    let pace = capacities.iter().map(|capacity| seconds_per_byte / capacity);
    *PACE.lock().unwrap_or_else(PoisonError::into_inner) = pace.collect();
}

/// How long the processor of a region works on so many bytes.
fn time_for(region: RegionId, bytes: usize) -> Duration {
    let paces = PACE.lock().unwrap_or_else(PoisonError::into_inner);
    let pace = paces.get(usize::from(region.get()) - 1).copied().unwrap_or_default();
    Duration::from_secs_f64(pace * bytes as f64)
}

/// How often each piece was done.
static RUNS: LazyLock<Mutex<HashMap<u64, u64>>> = LazyLock::new(Mutex::default);

fn runs() -> std::sync::MutexGuard<'static, HashMap<u64, u64>> {
    RUNS.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn forget_runs() {
    runs().clear();
}

pub(crate) fn each_ran_once(pieces: usize) -> bool {
    let runs = runs();
    runs.len() == pieces && runs.values().all(|times| *times == 1)
}
