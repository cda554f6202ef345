//! The table of regions, seeded by the application from wherever it keeps it.

use std::{future::Future, time::Duration};

use fedist_registry::{RegionTable, RegionTableError};
use futures_util::future::BoxFuture;

use crate::Node;

/// Where the application keeps what it knows of its regions: a database, a file, a service.
///
/// A [`RegionTable`] is a source itself, and so is any function that gives a future of one.
pub trait RegionSource: Send + 'static {
    /// Reads the whole table.
    fn load(&mut self) -> BoxFuture<'_, Result<RegionTable, SeedError>>;
}

/// Why a table of regions was not read. The one that was known before stays in effect.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeedError {
    /// It is wrong.
    #[error(transparent)]
    Table(#[from] RegionTableError),
    /// Its source has failed.
    #[error("table of regions could not be read ({0})")]
    Source(String),
}

impl RegionSource for RegionTable {
    fn load(&mut self) -> BoxFuture<'_, Result<RegionTable, SeedError>> {
        Box::pin(std::future::ready(Ok(self.clone())))
    }
}

impl<F, R> RegionSource for F
where
    F: FnMut() -> R + Send + 'static,
    R: Future<Output = Result<RegionTable, SeedError>> + Send + 'static,
{
    fn load(&mut self) -> BoxFuture<'_, Result<RegionTable, SeedError>> {
        Box::pin(self())
    }
}

impl Node {
    /// Reads the table of regions from the application's own source now, and again every `every` until the node stops, or never if
    /// that is zero. A table that is the same as before changes nothing; one that cannot be read later is logged, and the last
    /// good one stays.
    ///
    /// # Errors
    /// [`SeedError`] of the first reading; it is not read again then.
    ///
    /// # Cancel safety
    /// Dropped before it resolves, the table may have been read once.
    pub async fn seed_regions(
        &self,
        mut source: impl RegionSource,
        every: Duration,
    ) -> Result<(), SeedError> {
        let mut known = source.load().await?;
        self.set_region_table(known.clone());
        if every.is_zero() {
            return Ok(());
        }
        let node = self.clone();
        let read_again = async move {
            while !node.is_stopped() {
                tokio::time::sleep(every).await;
                match source.load().await {
                    Ok(table) if table == known => {}
                    Ok(table) => {
                        known = table.clone();
                        node.set_region_table(table);
                    }
                    Err(error) => tracing::warn!(%error, "the last good table of regions stays"),
                }
            }
        };
        // It ends with the node's thread; the arbiter refuses only when that has ended.
        let _ = self.inner().hub_arbiter.spawn(read_again);
        Ok(())
    }
}
