//! Changes that a region makes to its own place in the federation: its addresses, its parent, its ids, its leave.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use fedist_registry::{
    Change, Forwarding, LocalId, RegionId, RegionPid, RegionRecord, RegistryError, Status, service,
};

use super::{
    Core,
    membership::{ProposeError, ReserveSeats},
    quorum::ask_master,
};
use crate::{AskError, Node, Origin, PidSend, View};

/// Why a change of the registry was not made, or is not known to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// A rule forbids it. Nothing was changed; the text says which rule and what to do.
    #[error("{0}")]
    Refused(String),
    /// Regions below this one have to be given another parent first. Nothing was changed.
    #[error(
        "region {region} is the parent of {}; a region leaves after its children; give them another parent",
        listed(children)
    )]
    HasChildren {
        /// The region that was to leave.
        region: RegionId,
        /// The regions directly below it.
        children: Vec<RegionId>,
    },
    /// The registry's master could not be asked, or did not answer in time: after a time-out the change may still be made.
    #[error("the registry's master, region {master}, could not be asked: {error}")]
    Master {
        /// Whom it was.
        master: RegionId,
        /// Why not.
        error: AskError,
    },
    /// The region that was to receive ids could not be asked. Nothing was changed.
    #[error("region {region} could not be asked to receive the ids: {error}")]
    Receiver {
        /// Which one.
        region: RegionId,
        /// Why not.
        error: AskError,
    },
    /// No master is elected now, as far as region `asked` knows. Nothing was changed; try again in a few seconds.
    #[error(
        "no master of the registry is known to region {asked}; changes wait for one; try again later"
    )]
    NoMaster {
        /// The candidate that was asked last.
        asked: RegionId,
    },
    /// The elected master has too much to decide. Nothing was changed; try again later.
    #[error("{0}")]
    Busy(String),
    /// No majority of the candidates said yes in time. The change may still be made.
    #[error(
        "the change is undecided; a majority of the candidates must hold it; see whether it was made before trying again"
    )]
    Undecided,
    /// The master could not save it. Nothing was changed.
    #[error("the registry's master could not save the change: {0}")]
    Storage(String),
    /// It was made, as this entry of the registry, and has not come here yet. It will; wait with
    /// [`Node::registry_at`].
    #[error("change {index} was made and is not here yet; it will come; wait for entry {index}")]
    Late {
        /// The entry.
        index: u64,
    },
    /// This region is not in its copy of the registry.
    #[error("this region has not joined a federation; there is nothing to change; join first")]
    NotJoined,
    /// The node is stopped.
    #[error("the node is stopped; it changes nothing any more; start it again")]
    Stopped,
}

impl Node {
    /// Waits until this node's copy of the registry has entry number `index`, and shows what it knows then. What was
    /// shown once is never taken back, restarts included (contract C21). `None` when the node is stopped before.
    pub async fn registry_at(&self, index: u64) -> Option<Arc<View>> {
        let mut indices = self.inner().registry_index.subscribe();
        loop {
            let view = self.view();
            if view.registry.version().index >= index {
                return Some(view);
            }
            let stopped = self.inner().stopped.load(std::sync::atomic::Ordering::Acquire);
            if stopped || indices.changed().await.is_err() {
                return None;
            }
        }
    }

    /// Announces other addresses of this region, best first; the others dial them from then on. Links that are up stay.
    /// Gives the registry's entry with the change. A restart announces what the builder says again.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn advertise<S: Into<String>>(
        &self,
        addresses: impl IntoIterator<Item = S>,
    ) -> Result<u64, ChangeError> {
        let addresses: Vec<String> = addresses.into_iter().map(Into::into).collect();
        self.change_own_record(move |record| record.addresses = addresses).await
    }

    /// Puts this region, with all that is below it, below another parent. Gives the registry's entry with the change. A
    /// restart asks for the builder's parent again, unless that has left.
    ///
    /// # Errors
    /// [`ChangeError`]; a parent that is below this region is refused by name.
    pub async fn set_parent(&self, parent: RegionId) -> Result<u64, ChangeError> {
        self.change_own_record(move |record| record.parent = Some(parent)).await
    }

    /// Hands a range of the ids that this region serves over to another live region: pids and record ids of the range keep
    /// their text and are served there from now on. `of` is the region in the ids' upper bits, mostly this one. Handed to
    /// `of` itself the range goes back. Gives the registry's entry with the change.
    ///
    /// Actors do not move by themselves: the receiver [adopts](Self::adopt) the pids for actors of its own, and this
    /// region's actors under such pids are to end before. What others send by the old registry comes here and is passed
    /// on, once; see the guide for what holds at the moment of the switch.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn split(
        &self,
        of: RegionId,
        ids: RangeInclusive<LocalId>,
        to: RegionId,
    ) -> Result<u64, ChangeError> {
        let (first, last) = ids.into_inner();
        let range = |seat| Change::Split(Forwarding { from: of, first, last, to, seat });
        // What the rules say without knowing the seats is known before any are reserved.
        let held = self.view();
        match held.registry.draft(held.registry.term().max(1), range(first)) {
            Ok(_) | Err(RegistryError::SeatsTaken { .. }) => {}
            Err(error) => return Err(ChangeError::Refused(error.to_string())),
        }
        let seat = match to == of {
            true => first,
            false => self.seats_in(to, last.get() - first.get() + 1).await?,
        };
        self.propose(range(seat)).await
    }

    /// Has a region reserve as many of its own ids; gives the first.
    async fn seats_in(&self, region: RegionId, len: u64) -> Result<LocalId, ChangeError> {
        let answer = RegionPid::new(region, service::REGISTRAR)
            .send(self, ReserveSeats { len, origin: Origin::here() })
            .await
            .map_err(|error| ChangeError::Receiver { region, error })?;
        answer.map_err(ChangeError::Refused)
    }

    /// Leaves the federation for good and stops the node: its actors end, what is under way arrives, the registry keeps a
    /// tombstone, and nobody but this key is ever given its number. To stop for a while there is [`stop`](Self::stop).
    ///
    /// # Errors
    /// [`ChangeError`]. Children, ids of other regions that are served here and the like are refused before anything is
    /// done. When the master cannot be reached, the actors have ended already and the node runs on; call it again.
    pub async fn leave(&self) -> Result<(), ChangeError> {
        let region = self.region();
        let view = self.view();
        let children: Vec<RegionId> = view.registry.hierarchy().children(region).collect();
        if !children.is_empty() {
            return Err(ChangeError::HasChildren { region, children });
        }
        let leave = Change::Leave(region);
        match view.registry.draft(view.registry.term().max(1), leave.clone()) {
            Ok(_) => {}
            Err(RegistryError::UnknownRegion { .. }) => return Err(ChangeError::NotJoined),
            // Left before, and stopped too early.
            Err(RegistryError::NoChange { .. }) => {
                self.stop().await;
                return Ok(());
            }
            Err(error) => return Err(ChangeError::Refused(error.to_string())),
        }
        // Others route around it before it goes, as before any stop.
        let limit = self.on_hub(|core| core.config.drain_timeout).await;
        self.drain(limit.ok_or(ChangeError::Stopped)?).await;
        let _ = within(self, TREES, self.stop_trees()).await;
        self.end_all_actors();
        for _ in 0..DRAIN_CHECKS {
            let drained = self.on_hub(|core| core.is_drained()).await;
            if drained.ok_or(ChangeError::Stopped)? && self.inner().processes.is_quiet() {
                break;
            }
            self.sleep(DRAIN_CHECK).await;
        }
        self.on_hub(|core| core.membership.leaving = true).await.ok_or(ChangeError::Stopped)?;
        if let Err(error) = self.propose(leave).await {
            // After a time-out it may have been made all the same: what the copy says by now decides.
            if !matches!(error, ChangeError::Late { .. }) && self.view().registry.is_live(region) {
                self.on_hub(|core| core.membership.leaving = false).await;
                self.undrain().await;
                return Err(error);
            }
        }
        self.stop().await;
        Ok(())
    }

    async fn change_own_record(
        &self,
        edit: impl FnOnce(&mut RegionRecord) + Send + 'static,
    ) -> Result<u64, ChangeError> {
        let (before, wanted) =
            self.on_hub(move |core| core.want_record(edit)).await.ok_or(ChangeError::Stopped)?;
        let change = Change::Update {
            id: wanted.id,
            addresses: wanted.addresses,
            parent: wanted.parent,
            coordinates: wanted.coordinates,
        };
        let outcome = self.propose(change).await;
        if let Err(ChangeError::Refused(_) | ChangeError::Storage(_)) = &outcome {
            // Else it would be asked for again and again.
            self.on_hub(move |core| core.want_record(move |record| *record = before)).await;
        }
        outcome
    }

    /// Asks the master for a change, wherever it is, and waits until it is here. Gives the entry's number.
    pub(super) async fn propose(&self, change: Change) -> Result<u64, ChangeError> {
        let masters = self.on_hub(|core| core.masters()).await.ok_or(ChangeError::Stopped)?;
        if masters.is_empty() {
            return Err(ChangeError::NotJoined);
        }
        let index = ask_master(self, masters, change).await.map_err(|error| match error {
            ProposeError::Refused(text) => ChangeError::Refused(text),
            ProposeError::Storage(text) => ChangeError::Storage(text),
            ProposeError::NotMaster { region, .. } => ChangeError::NoMaster { asked: region },
            ProposeError::Busy(text) => ChangeError::Busy(text),
            ProposeError::Undecided => ChangeError::Undecided,
            ProposeError::Unreachable { region: master, error } => {
                ChangeError::Master { master, error }
            }
        })?;
        match within(self, ARRIVAL, self.registry_at(index)).await {
            Some(Some(_)) => Ok(index),
            Some(None) => Err(ChangeError::Stopped),
            None => Err(ChangeError::Late { index }),
        }
    }
}

impl Core {
    /// Changes what this region wants its record to say; gives how it was and how it is.
    fn want_record(
        &mut self,
        edit: impl FnOnce(&mut RegionRecord),
    ) -> (RegionRecord, RegionRecord) {
        let before = self.config.record.clone();
        edit(&mut self.config.record);
        (before, self.config.record.clone())
    }

    /// Ends the sessions with regions that have left since the last view was published.
    pub(super) fn end_sessions_of_left_regions(&mut self) {
        let tombstones = self.registry.regions().filter(|it| it.status == Status::Left);
        self.membership.left = tombstones.map(|record| record.id).collect();
        let shown = self.node.view();
        let has_left = |record: Option<&RegionRecord>| {
            record.is_some_and(|record| record.status == Status::Left)
        };
        let left: Vec<RegionId> = self
            .sessions
            .keys()
            .copied()
            .filter(|region| {
                has_left(self.registry.get(*region)) && !has_left(shown.registry.get(*region))
            })
            .collect();
        for region in left {
            if let Some(slot) = self.sessions.get_mut(&region) {
                slot.session.handle_peer_left();
            }
            self.mark_dirty(region);
        }
    }
}

/// `None` when `work` takes longer. Works in any executor.
async fn within<T>(node: &Node, after: Duration, work: impl Future<Output = T>) -> Option<T> {
    match futures_util::future::select(std::pin::pin!(work), node.sleep(after)).await {
        futures_util::future::Either::Left((outcome, _)) => Some(outcome),
        futures_util::future::Either::Right(_) => None,
    }
}

fn listed(regions: &[RegionId]) -> String {
    let shown: Vec<String> =
        regions.iter().take(LISTED).map(|region| format!("region {region}")).collect();
    match regions.len().saturating_sub(LISTED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Children that an error names.
const LISTED: usize = 8;
/// How long the supervision trees of a leaving region may take to end in their order.
const TREES: Duration = Duration::from_secs(1);
/// How long a leaving region waits for what is under way: this often, this long.
const DRAIN_CHECKS: usize = 500;
const DRAIN_CHECK: Duration = Duration::from_millis(10);
/// How long a change may take from the master to here.
const ARRIVAL: Duration = Duration::from_secs(10);
