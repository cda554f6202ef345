//! What the application tells about its regions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Coordinates, RegionId};

/// What the application tells about one region, for rules to go by. Every field may be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionFacts {
    /// Which region.
    pub region: RegionId,
    /// How fast it works beside others; only the ratios count. 1 where nothing is said; 0 takes no work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<f64>,
    /// Where it is, in place of what the registry says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coordinates: Option<Coordinates>,
    /// Beginnings of the names of keys that this region and those below it cover: `"eu/"`, and below it `"eu/de/"`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub covers: Vec<String>,
    /// Beginnings of the names of keys whose data lies in this region.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<String>,
    /// What data of other regions costs here, beside what the links say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub affinities: Vec<Affinity>,
}

/// A relation between two regions: what bringing data from one to the other costs, as a factor of the links' cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Affinity {
    /// Whose data.
    pub to: RegionId,
    /// 0 is free, below 1 is wanted, above 1 is to be avoided.
    pub factor: f64,
}

impl RegionFacts {
    /// Nothing but the number.
    pub fn new(region: RegionId) -> Self {
        Self {
            region,
            capacity: None,
            coordinates: None,
            covers: Vec::new(),
            holds: Vec::new(),
            affinities: Vec::new(),
        }
    }

    /// With a capacity.
    pub fn capacity(mut self, capacity: f64) -> Self {
        self.capacity = Some(capacity);
        self
    }

    /// With a place on the globe.
    pub fn coordinates(mut self, coordinates: Coordinates) -> Self {
        self.coordinates = Some(coordinates);
        self
    }

    /// Covers keys whose name begins like this.
    pub fn covers(mut self, prefix: impl Into<String>) -> Self {
        self.covers.push(prefix.into());
        self
    }

    /// Holds the data of keys whose name begins like this.
    pub fn holds(mut self, prefix: impl Into<String>) -> Self {
        self.holds.push(prefix.into());
        self
    }

    /// Gets data of `to` at this factor of the links' cost.
    pub fn affinity(mut self, to: RegionId, factor: f64) -> Self {
        self.affinities.push(Affinity { to, factor });
        self
    }

    /// The factor for data of `other`.
    pub(super) fn factor(&self, other: RegionId) -> f64 {
        let told = self.affinities.iter().find(|affinity| affinity.to == other);
        told.map_or(1.0, |affinity| affinity.factor)
    }

    fn check(&self) -> Result<(), RegionTableError> {
        let region = self.region;
        let number = |what: &'static str, value: f64| match value.is_finite() && value >= 0.0 {
            true => Ok(()),
            false => Err(RegionTableError::BadNumber { what, region, value: value.to_string() }),
        };
        number("capacity", self.capacity.unwrap_or(1.0))?;
        self.affinities.iter().try_for_each(|affinity| number("factor", affinity.factor))?;
        if self.coordinates.is_some_and(|place| !place.is_valid()) {
            return Err(RegionTableError::BadPlace { region });
        }
        let words = self.covers.iter().chain(&self.holds);
        let listed = self.covers.len().max(self.holds.len()).max(self.affinities.len());
        if listed > Self::MAX_ENTRIES || words.into_iter().any(|word| word.len() > Self::MAX_PREFIX)
        {
            return Err(RegionTableError::TooMuch { region });
        }
        Ok(())
    }

    /// Entries in each list of one region.
    pub const MAX_ENTRIES: usize = 4_096;
    /// Bytes of one prefix.
    pub const MAX_PREFIX: usize = 1_024;
}

/// What the application tells about its regions: a table that it seeds from a file, from its database, or by hand.
///
/// ```
/// let table = fedist_registry::RegionTable::from_toml(
///     r#"
///     [[region]]
///     region = 1
///     capacity = 1.0
///     covers = ["eu/"]
///
///     [[region]]
///     region = 2
///     capacity = 4.0
///     coordinates = { lat = 48.9, lon = 2.4 }
///     covers = ["eu/fr/"]
///     holds = ["logs/paris/"]
///     affinities = [{ to = 1, factor = 0.5 }]
///     "#,
/// )?;
/// assert_eq!(table.len(), 2);
/// # Ok::<(), fedist_registry::RegionTableError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Listing", into = "Listing")]
pub struct RegionTable {
    regions: BTreeMap<RegionId, RegionFacts>,
}

/// The table as it is written down.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    #[serde(default)]
    region: Vec<RegionFacts>,
}

/// Why a table of regions was not taken. What was known before stays.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RegionTableError {
    /// The text is no table; the message says where.
    #[error(
        "table of regions ({0}); it is TOML with a [[region]] for each region; correct that place"
    )]
    Malformed(String),
    /// A region stands there twice.
    #[error("region {region} is told of twice; a region has one entry; join the two")]
    Twice {
        /// The region.
        region: RegionId,
    },
    /// A number that is none, or below zero.
    #[error("{what} ({value}, region {region}); it is a number from 0 up; correct it")]
    BadNumber {
        /// Which field.
        what: &'static str,
        /// Of which region.
        region: RegionId,
        /// The value.
        value: String,
    },
    /// Coordinates off the globe.
    #[error(
        "coordinates (region {region}); latitude is -90 to 90 and longitude -180 to 180; correct them"
    )]
    BadPlace {
        /// Of which region.
        region: RegionId,
    },
    /// Lists or prefixes that are too long.
    #[error(
        "entry of region {region} is too large; a list has at most 4096 entries and a prefix 1024 bytes; shorten it"
    )]
    TooMuch {
        /// Which region.
        region: RegionId,
    },
}

impl RegionTable {
    /// A table with these entries.
    ///
    /// # Errors
    /// [`RegionTableError`]; the text names region and value.
    pub fn new(facts: impl IntoIterator<Item = RegionFacts>) -> Result<Self, RegionTableError> {
        let mut table = Self::default();
        for one in facts {
            let region = one.region;
            one.check()?;
            if table.regions.insert(region, one).is_some() {
                return Err(RegionTableError::Twice { region });
            }
        }
        Ok(table)
    }

    /// Whether these entries could stand in a table; one region may be told of twice.
    ///
    /// # Errors
    /// [`RegionTableError`] of the first that could not.
    pub fn check(facts: &[RegionFacts]) -> Result<(), RegionTableError> {
        facts.iter().try_for_each(RegionFacts::check)
    }

    /// The table that a TOML text describes.
    ///
    /// # Errors
    /// [`RegionTableError`].
    pub fn from_toml(text: &str) -> Result<Self, RegionTableError> {
        let listing: Listing = toml::from_str(text)
            .map_err(|error| RegionTableError::Malformed(error.to_string().trim().to_owned()))?;
        Self::new(listing.region)
    }

    /// Puts the entry of one region in place of what was told of it before.
    ///
    /// # Errors
    /// [`RegionTableError`]; the table is as it was.
    pub fn tell(&mut self, facts: RegionFacts) -> Result<(), RegionTableError> {
        facts.check()?;
        self.regions.insert(facts.region, facts);
        Ok(())
    }

    /// Forgets what was told of a region.
    pub fn forget(&mut self, region: RegionId) {
        self.regions.remove(&region);
    }

    /// What is told of a region.
    pub fn get(&self, region: RegionId) -> Option<&RegionFacts> {
        self.regions.get(&region)
    }

    /// All entries, in the order of the regions.
    pub fn iter(&self) -> impl Iterator<Item = &RegionFacts> {
        self.regions.values()
    }

    /// How many regions are told of.
    pub fn len(&self) -> usize {
        self.regions.len()
    }

    /// Whether nothing is told.
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }
}

impl TryFrom<Listing> for RegionTable {
    type Error = RegionTableError;

    fn try_from(listing: Listing) -> Result<Self, RegionTableError> {
        Self::new(listing.region)
    }
}

impl From<RegionTable> for Listing {
    fn from(table: RegionTable) -> Self {
        Self { region: table.regions.into_values().collect() }
    }
}

/// How many bytes of `name` the longest of `prefixes` covers; `None` where none does.
pub(super) fn longest_prefix(prefixes: &[String], name: &[u8]) -> Option<usize> {
    prefixes
        .iter()
        .filter(|prefix| name.starts_with(prefix.as_bytes()))
        .map(|prefix| prefix.len())
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delineation::testing::region;

    #[test]
    fn a_table_is_read_from_toml_and_survives_encoding() {
        let table = RegionTable::from_toml(
            "[[region]]\nregion = 3\ncapacity = 2.5\ncoordinates = { lat = 1.0, lon = 2.0 }\n\
             covers = ['a']\nholds = ['b']\naffinities = [{ to = 4, factor = 0.0 }]\n\
             [[region]]\nregion = 4\n",
        )
        .unwrap();
        let three = table.get(region(3)).unwrap();
        assert_eq!(three.capacity, Some(2.5));
        assert_eq!((three.factor(region(4)), three.factor(region(5))), (0.0, 1.0));
        assert_eq!(table.get(region(4)), Some(&RegionFacts::new(region(4))));
        let bytes = rmp_serde::to_vec_named(&table).unwrap();
        assert_eq!(rmp_serde::from_slice::<RegionTable>(&bytes).unwrap(), table);
        assert!(RegionTable::from_toml("").unwrap().is_empty());
    }

    #[test]
    fn a_wrong_table_is_refused_with_the_place() {
        let check = |text: &str, says: &str| {
            let error = RegionTable::from_toml(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text:?}: {error}");
        };
        check("[[region]]\nregion = 1\nspeed = 3", "unknown field `speed`");
        check("[[region]]\nregion = 1\nspeed = 3", "line 3");
        check("[[region]]\nregion = 0", "reserved");
        check("[[region]]\ncapacity = 1", "missing field `region`");
        check("[[region]]\nregion = 1\n[[region]]\nregion = 1", "told of twice");
        check("[[region]]\nregion = 1\ncapacity = -1.0", "capacity (-1, region 1)");
        check("[[region]]\nregion = 1\ncapacity = nan", "capacity (NaN, region 1)");
        check("[[region]]\nregion = 1\naffinities = [{to = 2, factor = inf}]", "factor (inf");
        check("[[region]]\nregion = 1\ncoordinates = {lat = 91.0, lon = 0.0}", "coordinates");
        let long = format!("[[region]]\nregion = 1\nholds = ['{}']", "x".repeat(2_000));
        check(&long, "too large");
        assert!(
            rmp_serde::from_slice::<RegionTable>(
                &rmp_serde::to_vec_named(
                    &serde_json::json!({"region": [{"region": 1, "capacity": -2.0}]})
                )
                .unwrap()
            )
            .is_err(),
            "what came in a message is checked too"
        );
    }

    #[test]
    fn telling_replaces_and_forgetting_removes() {
        let mut table = RegionTable::new([RegionFacts::new(region(1)).capacity(1.0)]).unwrap();
        table.tell(RegionFacts::new(region(1)).capacity(3.0)).unwrap();
        assert!(table.tell(RegionFacts::new(region(1)).capacity(f64::NAN)).is_err());
        assert_eq!(table.get(region(1)).unwrap().capacity, Some(3.0));
        table.forget(region(1));
        assert_eq!((table.len(), table.iter().count()), (0, 0));
    }
}
