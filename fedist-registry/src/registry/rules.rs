//! Which changes the registry allows.

use super::{Registry, state::Order};
use crate::forwarding::overlay;
use crate::{Change, Excerpt, Forwarding, RegionId, RegionRecord, RegistryError, Status, Version};

impl Registry {
    /// Only a [`Change::Master`] begins a term, so that every copy knows who may write in it, and it never goes on with one.
    pub(super) fn check_term(&self, term: u64, change: &Change) -> Result<(), RegistryError> {
        let begins = term > self.term() && self.version() != Version::EMPTY;
        if begins == matches!(change, Change::Master(_)) {
            Ok(())
        } else {
            Err(RegistryError::TermWithoutMaster { term })
        }
    }

    /// Whether the rules allow a change now. Every replica must come to the same answer, so only the log's state counts.
    pub(super) fn check(&self, change: &Change) -> Result<(), RegistryError> {
        match change {
            Change::Join(record) => self.check_join(record),
            Change::Live(id) => match self.known(*id)?.status {
                Status::Joining => Ok(()),
                Status::Live => Err(RegistryError::NoChange { id: *id }),
                Status::Left => Err(RegistryError::NotJoining { id: *id }),
            },
            Change::Update { id, addresses, parent, coordinates } => {
                let held = self.known(*id)?;
                if held.status == Status::Left {
                    return Err(RegistryError::Left { id: *id });
                }
                check_addresses(addresses)?;
                if coordinates.is_some_and(|place| !place.is_valid()) {
                    return Err(RegistryError::BadCoordinates);
                }
                self.check_parent(*id, *parent)?;
                if held.addresses == *addresses
                    && held.parent == *parent
                    && held.coordinates == *coordinates
                {
                    return Err(RegistryError::NoChange { id: *id });
                }
                Ok(())
            }
            Change::Leave(id) => {
                if self.known(*id)?.status == Status::Left {
                    return Err(RegistryError::NoChange { id: *id });
                }
                if let Some(range) = self.forwardings().find(|range| range.to == *id) {
                    return Err(RegistryError::ServesIds { id: *id, of: range.from });
                }
                match self.hierarchy().children(*id).next() {
                    Some(child) => Err(RegistryError::HasChildren { id: *id, child }),
                    None if self.candidates().contains(id) => {
                        Err(RegistryError::IsCandidate { id: *id })
                    }
                    None => Ok(()),
                }
            }
            Change::Split(range) => self.check_split(*range),
            Change::Master(id) => self.check_live(*id),
            Change::Candidates(ids) => self.check_candidates(ids),
            Change::Delegate { to, first, last } => self.check_block(*to, *first, *last),
            Change::Checkpoint { state_hash } => {
                if *state_hash == self.state_hash() {
                    Ok(())
                } else {
                    Err(RegistryError::StateMismatch)
                }
            }
        }
    }

    fn check_join(&self, record: &RegionRecord) -> Result<(), RegistryError> {
        let id = record.id;
        if let Some(held) = self.get(id)
            && held.key_hash != record.key_hash
        {
            return Err(match held.status {
                Status::Left => RegistryError::Left { id },
                _ => RegistryError::IdConflict { id, held_by: held.name.clone() },
            });
        }
        if let Some(holder) = self.state.by_name(&record.name)
            && holder.id != id
        {
            return Err(RegistryError::NameTaken { name: record.name.clone(), by: holder.id });
        }
        check_addresses(&record.addresses)?;
        if record.coordinates.is_some_and(|place| !place.is_valid()) {
            return Err(RegistryError::BadCoordinates);
        }
        self.check_parent(id, record.parent)
    }

    /// Regions that have not left form one tree. That stays so if every new parent has not left, and does not have the
    /// region among its own ancestors.
    fn check_parent(&self, id: RegionId, parent: Option<RegionId>) -> Result<(), RegistryError> {
        let Some(parent) = parent else {
            return match self.hierarchy().root() {
                Some(root) if root != id => Err(RegistryError::SecondRoot { id, root }),
                _ => Ok(()),
            };
        };
        if parent == id {
            return Err(RegistryError::ParentLoop { id, parent });
        }
        match self.get(parent) {
            None => return Err(RegistryError::UnknownParent { parent }),
            Some(record) if record.status == Status::Left => {
                return Err(RegistryError::Left { id: parent });
            }
            Some(_) => {}
        }
        if self.hierarchy().ancestors(parent).any(|above| above == id) {
            return Err(RegistryError::ParentLoop { id, parent });
        }
        Ok(())
    }

    fn check_split(&self, new: Forwarding) -> Result<(), RegistryError> {
        let Forwarding { from, first, last, to, seat } = new;
        self.known(from)?;
        self.check_live(to)?;
        let last_seat = match new.last_seat() {
            Some(last_seat) if !first.is_service() && !seat.is_service() => last_seat,
            _ => return Err(RegistryError::BadRange { first, last }),
        };
        if to != from {
            // Each seat is of one id. What the range itself had before is let go by this change.
            let taken = |held: &&Forwarding| {
                held.to == to
                    && (held.from != from || held.last < first || held.first > last)
                    && held.seat <= last_seat
                    && held.last_seat().is_some_and(|held_last| held_last >= seat)
            };
            if let Some(held) = self.forwardings().find(taken) {
                return Err(RegistryError::SeatsTaken { to, of: held.from });
            }
        }
        let holder = self.state.serving(from, first);
        let ranges = self.state.forwardings_of(from);
        // One holder: the same range covers both ends, or none lies between them.
        let whole =
            ranges.iter().any(|range| range.covers(from, first) && range.covers(from, last))
                || ranges.iter().all(|range| range.last < first || range.first > last);
        if !whole {
            return Err(RegistryError::SeveralHolders { from, first, last });
        }
        if holder == to {
            return Err(RegistryError::NoChange { id: from });
        }
        if overlay(ranges, new).len() > Forwarding::MAX_PER_REGION {
            return Err(RegistryError::TooManyRanges { from });
        }
        Ok(())
    }

    fn check_live(&self, id: RegionId) -> Result<(), RegistryError> {
        match self.known(id)?.status {
            Status::Live => Ok(()),
            Status::Joining | Status::Left => Err(RegistryError::NotLive { id }),
        }
    }

    fn check_candidates(&self, ids: &[RegionId]) -> Result<(), RegistryError> {
        if !matches!(ids.len(), 1 | 3 | 5) || !ids.is_sorted_by(|a, b| a < b) {
            return Err(RegistryError::BadCandidates { count: ids.len() });
        }
        ids.iter().try_for_each(|id| self.check_live(*id))?;
        match self.candidates() == ids {
            true => Err(RegistryError::SameCandidates),
            false => Ok(()),
        }
    }

    fn check_block(
        &self,
        to: RegionId,
        first: RegionId,
        last: RegionId,
    ) -> Result<(), RegistryError> {
        self.check_live(to)?;
        if first > last {
            return Err(RegistryError::BadBlock { first, last });
        }
        // Blocks are apart, so the one that begins last before the end is the only one that can overlap and begin before.
        match self.state.order().block_before(last) {
            Some((held, end, holder)) if end >= first => match (held, end) == (first, last) {
                true if holder == to => Err(RegistryError::NoChange { id: to }),
                true => Ok(()),
                false => Err(RegistryError::BlockOverlaps { first: held, last: end }),
            },
            _ if self.state.order().blocks.len() >= Order::MAX_BLOCKS => {
                Err(RegistryError::TooManyBlocks)
            }
            _ => Ok(()),
        }
    }

    fn known(&self, id: RegionId) -> Result<&RegionRecord, RegistryError> {
        self.get(id).ok_or(RegistryError::UnknownRegion { id })
    }
}

fn check_addresses(addresses: &[String]) -> Result<(), RegistryError> {
    if addresses.len() > RegionRecord::MAX_ADDRESSES {
        return Err(RegistryError::TooManyAddresses { count: addresses.len() });
    }
    let good = |a: &str| {
        !a.is_empty()
            && a.len() <= RegionRecord::MAX_ADDRESS_LEN
            && a.bytes().all(|b| b.is_ascii_graphic())
    };
    match addresses.iter().find(|address| !good(address)) {
        Some(address) => Err(RegistryError::BadAddress { address: Excerpt::new(address) }),
        None => Ok(()),
    }
}
