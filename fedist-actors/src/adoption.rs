//! Pids of a region that was split: where their actors live now, and giving them actors here.
//!
//! The registry gives a range of ids that was handed over as many *seats* among the receiver's own numbers
//! ([`Registry::seat`](fedist_registry::Registry::seat)). A pid of the range keeps its text for ever; whoever sends to it,
//! asks, watches or links it by this node reaches the seat. That translation is made here and at no other place.

use std::sync::{PoisonError, atomic::Ordering};

use actix::Actor;
use fedist_registry::{RegionId, RegionPid};

use crate::{Context, LocalAddr, Node, SpawnError};

/// Why an actor was not put under a pid of another region. Nothing was spawned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdoptError {
    /// The pid was not handed over to anybody, as far as the registry copy here knows.
    #[error(
        "pid {pid} was not handed over; a region adopts what was split off to it; wait for the registry's entry"
    )]
    NotHandedOver {
        /// The pid.
        pid: RegionPid,
    },
    /// The pid was handed over to another region.
    #[error(
        "pid {pid} is served by region {by}; a region adopts what was split off to it; adopt it there"
    )]
    ServedElsewhere {
        /// The pid.
        pid: RegionPid,
        /// Who serves it.
        by: RegionId,
    },
    /// An actor lives under it. Retry when it has ended.
    #[error("pid {pid} has an actor here; a pid is of one actor at a time; end that one first")]
    Occupied {
        /// The pid.
        pid: RegionPid,
    },
    /// This region did not set the seat aside, so the split was not made with [`Node::split`]. Have it made anew.
    #[error(
        "pid {pid} has seat {seat}, which was not set aside here; a receiver reserves the seats; split the range anew"
    )]
    SeatNotReserved {
        /// The pid.
        pid: RegionPid,
        /// The seat.
        seat: RegionPid,
    },
    /// The node is stopped, or its store could not be read.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

impl Node {
    /// Starts an actor under a pid that was split off to this region ([`Node::split`]): messages, asks, monitors and links
    /// to the old pid reach it from everywhere, in the order sent by each sender. Export it as any actor.
    ///
    /// The actor itself is known by its seat: [`Context::pid`](crate::Context::pid) and the address that is returned say a
    /// pid of this region, which is valid too. After a restart of the node it is adopted anew.
    ///
    /// # Errors
    /// [`AdoptError`].
    pub fn adopt<A>(&self, pid: RegionPid, actor: A) -> Result<LocalAddr<A>, AdoptError>
    where
        A: Actor<Context = Context<A>> + Send,
    {
        let seat = self.view().registry.seat(pid);
        if seat == pid {
            return Err(AdoptError::NotHandedOver { pid });
        }
        if seat.region() != self.region() {
            return Err(AdoptError::ServedElsewhere { pid, by: seat.region() });
        }
        let reserved = match &*self.inner().ids.load() {
            Some(ids) => ids.is_in_run(seat.local()).map_err(SpawnError::Ids)?,
            None => return Err(SpawnError::Stopped.into()),
        };
        if !reserved {
            return Err(AdoptError::SeatNotReserved { pid, seat });
        }
        // One at a time: between the look and the entry nobody else enters.
        let _entering = self.inner().adopting.lock().unwrap_or_else(PoisonError::into_inner);
        if self.inner().processes.get(seat.local()).is_some() {
            return Err(AdoptError::Occupied { pid });
        }
        Ok(self.spawn_seated(seat.local(), move |_| actor)?)
    }

    /// Where the actor lives that a pid names.
    pub(crate) fn seat(&self, pid: RegionPid) -> RegionPid {
        match self.inner().any_split.load(Ordering::Relaxed) {
            // So it is nearly everywhere, and each send asks.
            false => pid,
            true => self.view().registry.seat(pid),
        }
    }

    /// Whether a pid's actor lives in another region than this one.
    pub(crate) fn is_elsewhere(&self, pid: RegionPid) -> bool {
        self.seat(pid).region() != self.region()
    }
}
