//! The region in an id's upper bits.

use super::{Caching, Delineator, FederationView, NoHome, PlaceKey, present};
use crate::{LocalId, RecordId, RegionId, RegionPid};

/// Whatever carries its region in its upper bits.
pub trait Homed: 'static {
    /// That region.
    fn home_region(&self) -> RegionId;

    /// The number inside the region: the lower 48 bits.
    fn local_id(&self) -> LocalId;
}

impl Homed for RegionPid {
    fn home_region(&self) -> RegionId {
        self.region()
    }

    fn local_id(&self) -> LocalId {
        self.local()
    }
}

impl Homed for RecordId {
    fn home_region(&self) -> RegionId {
        self.region()
    }

    fn local_id(&self) -> LocalId {
        self.local()
    }
}

/// The region in the id's upper 16 bits, or the one that serves the id since a split, as long as it has not left.
#[derive(Clone, Copy, Debug, Default)]
pub struct ById;

impl Delineator for ById {
    type Key = PlaceKey;

    fn home(&self, key: &PlaceKey, view: &FederationView<'_>) -> Result<RegionId, NoHome> {
        let Some((region, local)) = key.id() else {
            return Err(NoHome::WrongKey { reason: format!("{key} is no pid and no record id") });
        };
        present(view.registry.serving_local(region, local), view)
    }

    fn caching(&self) -> Caching {
        Caching::Registry
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Change,
        delineation::testing::{federation, home, region},
    };

    #[test]
    fn an_id_belongs_to_the_region_in_its_upper_bits() {
        let mut registry = federation(&[1, 7]);
        let pid = |id| RegionPid::new(region(id), LocalId::MIN);
        assert_eq!(home(&ById, pid(7), &registry), Ok(region(7)));
        assert_eq!(home(&ById, "7#42".parse::<RecordId>().unwrap(), &registry), Ok(region(7)));
        assert_eq!(
            home(&ById, pid(8), &registry),
            Err(NoHome::UnknownRegion { region: region(8) })
        );
        registry.propose(1, Change::Leave(region(7))).unwrap();
        assert_eq!(home(&ById, pid(7), &registry), Err(NoHome::Left { region: region(7) }));
    }

    #[test]
    fn what_is_no_id_is_told_so() {
        let registry = federation(&[1]);
        for key in [PlaceKey::named("user-1"), PlaceKey::numbered(7), PlaceKey::default()] {
            let refused = home(&ById, key, &registry).unwrap_err();
            assert!(matches!(&refused, NoHome::WrongKey { .. }), "{refused}");
        }
    }
}
