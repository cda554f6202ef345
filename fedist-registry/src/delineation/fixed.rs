//! One region for everything.

use super::{Caching, Delineator, FederationView, NoHome, PlaceKey, present};
use crate::RegionId;

/// One region for everything, as long as it has not left.
#[derive(Clone, Copy, Debug)]
pub struct Fixed {
    region: RegionId,
}

impl Fixed {
    /// Everything belongs to `region`.
    pub const fn new(region: RegionId) -> Self {
        Fixed { region }
    }
}

impl Delineator for Fixed {
    type Key = PlaceKey;

    fn home(&self, _: &PlaceKey, view: &FederationView<'_>) -> Result<RegionId, NoHome> {
        present(self.region, view)
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
    fn everything_belongs_to_the_region_until_it_leaves() {
        let mut registry = federation(&[1, 7]);
        assert_eq!(home(&Fixed::new(region(7)), "x", &registry), Ok(region(7)));
        registry.propose(1, Change::Leave(region(7))).unwrap();
        let gone = home(&Fixed::new(region(7)), "x", &registry);
        assert_eq!(gone, Err(NoHome::Left { region: region(7) }));
    }
}
