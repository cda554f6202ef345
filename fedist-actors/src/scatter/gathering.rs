//! Gathering: one value out of many results.

use std::{collections::BTreeMap, fmt};

use fedist_registry::RegionId;
use futures_util::StreamExt;

use super::ScatterTask;
use crate::{Task, TaskError};

/// What was gathered.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Scattered<A> {
    /// What the results were combined to.
    pub value: A,
    /// Pieces whose result is in the value; each once.
    pub pieces: u64,
    /// How often a piece was tried again.
    pub retried: u64,
    /// What each region has done of it.
    pub regions: BTreeMap<RegionId, RegionShare>,
}

/// What one region has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegionShare {
    /// Pieces.
    pub pieces: u64,
    /// Units of work.
    pub work: u64,
}

/// A piece that came to nothing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FailedPiece {
    /// Its place in the row, from 0.
    pub index: u64,
    /// Where it was tried last.
    pub region: Option<RegionId>,
    /// How often it was tried.
    pub attempts: u32,
    /// Why it failed the last time.
    pub error: TaskError,
}

/// Some pieces came to nothing. All others were done, and what they gave is here.
#[derive(Clone)]
pub struct ScatterError<A> {
    /// What was gathered of the others.
    pub gathered: Scattered<A>,
    /// The pieces that failed; of more than 1,000 the first ones that did.
    pub failed: Vec<FailedPiece>,
}

// By hand, so that what is gathered need not be shown.
impl<A> fmt::Debug for ScatterError<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScatterError")
            .field("pieces", &self.gathered.pieces)
            .field("regions", &self.gathered.regions)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl<A> fmt::Display for ScatterError<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.failed.len() as u64;
        write!(f, "{failed} of {} scattered pieces failed", failed + self.gathered.pieces)?;
        match self.failed.first() {
            Some(first) => write!(f, "; the first is piece {}: {}", first.index, first.error),
            None => Ok(()),
        }
    }
}

impl<A> std::error::Error for ScatterError<A> {}

impl<T: Task> ScatterTask<T> {
    /// Does all the work and combines what comes of it, piece by piece as they come.
    ///
    /// # Errors
    /// [`ScatterError`] when pieces failed; the others are done and gathered all the same.
    ///
    /// # Cancel safety
    /// Dropping the future cancels what runs.
    pub async fn gather<A: Default>(
        self,
        mut combine: impl FnMut(&mut A, T::Output),
    ) -> Result<Scattered<A>, ScatterError<A>> {
        let mut gathered = Scattered {
            value: A::default(),
            pieces: 0,
            retried: 0,
            regions: BTreeMap::<RegionId, RegionShare>::new(),
        };
        let mut failed = Vec::new();
        let mut results = self.stream();
        while let Some(piece) = results.next().await {
            gathered.retried = results.progress().retried;
            match piece.result {
                Ok(output) => {
                    combine(&mut gathered.value, output);
                    gathered.pieces += 1;
                    if let Some(region) = piece.region {
                        let share = gathered.regions.entry(region).or_default();
                        share.pieces += 1;
                        share.work = share.work.saturating_add(piece.work);
                    }
                }
                Err(error) => {
                    let (index, region, attempts) = (piece.index, piece.region, piece.attempts);
                    if failed.len() < MOST_FAILED {
                        failed.push(FailedPiece { index, region, attempts, error });
                    }
                }
            }
        }
        if failed.is_empty() {
            return Ok(gathered);
        }
        Err(ScatterError { gathered, failed })
    }
}

const MOST_FAILED: usize = 1_000;
