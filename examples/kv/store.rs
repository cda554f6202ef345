//! The store of one region: its part of a running node, from the buckets to the door for clients.

use std::sync::Arc;

use fedist::{
    ReplaceRuleError, SupervisorError,
    prelude::*,
    registry::{RangeTable, Rule},
};

use super::{
    bucket::Room,
    buckets::{Buckets, Keeper},
    front::{Front, Manners},
    home,
};

/// Opens the store on a node: from now on it goes by the table, and clients are served. Without a table all buckets are at home
/// in the node's own region.
///
/// It ends with the node.
pub(crate) async fn open(
    node: &Node,
    table: Option<&RangeTable>,
    front: Front,
    manners: Manners,
    max_bytes: u64,
) -> Result<(), OpenError> {
    node.delineate_by(&rule(node.region(), table))?;
    let buckets = Buckets::default();
    home::serve(node, &buckets);
    let room = Arc::new(Room::new(max_bytes));
    // The front comes last: clients find everything else running.
    Supervisor::one_for_one()
        .child(child("keeper", move || Keeper::new(buckets.clone(), Arc::clone(&room))))
        .child(front.acceptor(manners))
        .start_wait(node)
        .await?;
    Ok(())
}

fn rule(region: RegionId, table: Option<&RangeTable>) -> Rule {
    match table {
        Some(table) => table.clone().into(),
        None => Rule::Fixed { region },
    }
}

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The table was refused.
    #[error(transparent)]
    Table(#[from] ReplaceRuleError),
    /// Something did not start.
    #[error(transparent)]
    Start(#[from] SupervisorError),
}

/// What the buckets of a region hold together at most, unless told otherwise.
pub(crate) const MAX_BYTES: u64 = 1 << 30;
