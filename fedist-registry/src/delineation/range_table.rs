//! A table of ranges of names.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Caching, Delineator, FederationView, NoHome, PlaceKey, present};
use crate::{Excerpt, RegionId};

/// A routing table by the beginning of the name: `a..m` belongs to one region, `n..z` to another.
///
/// Both ends are part of a range, and each is compared with as many bytes of the name as it has itself, so `a..m` covers
/// every name whose first byte is one from `a` to `m`. The first entry that covers a name counts. A name that no entry
/// covers has no home: [`NoHome::NoEntry`] shows the key and the table.
///
/// ```
/// use fedist_registry::RangeTable;
///
/// let table: RangeTable = "a..m => 1, n..z => 2".parse()?;
/// assert_eq!(table.find(b"shopping").map(|region| region.get()), Some(2));
/// assert_eq!(table.find(b"9lives"), None);
/// # Ok::<(), fedist_registry::RangeTableError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RangeTable {
    entries: Vec<RangeEntry>,
}

/// One line of a [`RangeTable`]. Written `{ keys = "a..m", region = 1 }` in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "EntryText", into = "EntryText")]
pub struct RangeEntry {
    from: String,
    to: String,
    region: RegionId,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryText {
    keys: String,
    region: RegionId,
}

/// Why a text is no table of ranges.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RangeTableError {
    /// No range.
    #[error("range ({0}); a range is written a..m, both ends included; correct it")]
    Malformed(Excerpt),
    /// The end lies before the beginning.
    #[error("range ({0}); its end lies before its beginning and it covers nothing; turn it round")]
    Reversed(Excerpt),
    /// No region.
    #[error(
        "table entry ({0}); an entry is written a..m => 1, with the number of a region; correct it"
    )]
    NoRegion(Excerpt),
}

impl RangeEntry {
    /// Everything from `from` to `to` belongs to `region`.
    ///
    /// # Errors
    /// [`RangeTableError`] for an end that is empty or lies before the beginning.
    pub fn new(from: &str, to: &str, region: RegionId) -> Result<Self, RangeTableError> {
        let text = || Excerpt::new(&format!("{from}..{to}"));
        if from.is_empty() || to.is_empty() {
            return Err(RangeTableError::Malformed(text()));
        }
        let shorter = from.len().min(to.len());
        if from.as_bytes()[..shorter] > to.as_bytes()[..shorter] {
            return Err(RangeTableError::Reversed(text()));
        }
        Ok(Self { from: from.to_owned(), to: to.to_owned(), region })
    }

    fn covers(&self, name: &[u8]) -> bool {
        let begin = |len: usize| &name[..name.len().min(len)];
        !name.is_empty()
            && begin(self.from.len()) >= self.from.as_bytes()
            && begin(self.to.len()) <= self.to.as_bytes()
    }
}

impl RangeTable {
    /// A table with these entries; the first that covers a name counts.
    pub fn new(entries: impl IntoIterator<Item = RangeEntry>) -> Self {
        Self { entries: entries.into_iter().collect() }
    }

    /// The region of the first entry that covers the name.
    pub fn find(&self, name: &[u8]) -> Option<RegionId> {
        self.entries.iter().find(|entry| entry.covers(name)).map(|entry| entry.region)
    }

    /// The regions of the table, each as often as it stands there.
    pub fn regions(&self) -> impl Iterator<Item = RegionId> + '_ {
        self.entries.iter().map(|entry| entry.region)
    }
}

impl Delineator for RangeTable {
    type Key = PlaceKey;

    fn home(&self, key: &PlaceKey, view: &FederationView<'_>) -> Result<RegionId, NoHome> {
        match self.find(&key.bytes()) {
            Some(region) => present(region, view),
            None => Err(NoHome::NoEntry { key: key.to_string(), table: self.to_string() }),
        }
    }

    fn caching(&self) -> Caching {
        Caching::Registry
    }
}

impl fmt::Display for RangeTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (at, entry) in self.entries.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{}..{} => {}", entry.from, entry.to, entry.region)?;
        }
        f.write_str("]")
    }
}

impl FromStr for RangeTable {
    type Err = RangeTableError;

    fn from_str(text: &str) -> Result<Self, RangeTableError> {
        let inner = text.trim();
        let inner = inner.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(inner);
        let entries = inner.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let entries = entries.map(|entry| {
            let no_region = || RangeTableError::NoRegion(Excerpt::new(entry));
            let (keys, region) = entry.split_once("=>").ok_or_else(no_region)?;
            let region = region.trim().parse().map_err(|_| no_region())?;
            RangeEntry::try_from(EntryText { keys: keys.trim().to_owned(), region })
        });
        Ok(Self { entries: entries.collect::<Result<_, _>>()? })
    }
}

impl TryFrom<EntryText> for RangeEntry {
    type Error = RangeTableError;

    fn try_from(text: EntryText) -> Result<Self, RangeTableError> {
        let malformed = || RangeTableError::Malformed(Excerpt::new(&text.keys));
        let (from, to) = text.keys.split_once("..").ok_or_else(malformed)?;
        RangeEntry::new(from, to, text.region)
    }
}

impl From<RangeEntry> for EntryText {
    fn from(entry: RangeEntry) -> Self {
        EntryText { keys: format!("{}..{}", entry.from, entry.to), region: entry.region }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delineation::testing::{federation, home, region};

    fn table(text: &str) -> RangeTable {
        text.parse().unwrap()
    }

    #[test]
    fn names_find_their_entry() {
        let check = |text: &str, name: &[u8], found: Option<u16>| {
            assert_eq!(table(text).find(name), found.map(region), "{text} {name:?}");
        };
        let halves = "a..m => 1, n..z => 2";
        for (name, found) in [
            (&b"a"[..], Some(1)),
            (b"apple", Some(1)),
            (b"mzzz", Some(1)),
            (b"n", Some(2)),
            (b"zebra", Some(2)),
            (b"Zebra", None),
            (b"9", None),
            (b"", None),
            (b"\xff\xfe", None),
        ] {
            check(halves, name, found);
        }
        check("aa..am => 1, an..az => 2", b"amber", Some(1));
        check("aa..am => 1, an..az => 2", b"ant", Some(2));
        check("aa..am => 1, an..az => 2", b"a", None);
        check("a..c => 1, b..d => 2", b"bee", Some(1));
        check("ab..c => 1", b"cat", Some(1));
        check("a..a => 1", b"ab", Some(1));
        check("", b"a", None);
    }

    #[test]
    fn a_name_without_an_entry_is_told_with_the_table() {
        let registry = federation(&[1, 2]);
        let refused = home(&table("[a..m => 1, n..z => 2]"), "9lives", &registry).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "could not find entry for \"9lives\" in table [a..m => 1, n..z => 2]"
        );
        let unknown = home(&table("a..z => 9"), "a", &registry);
        assert_eq!(unknown, Err(NoHome::UnknownRegion { region: region(9) }));
    }

    #[test]
    fn tables_are_written_and_read_in_text_and_in_files() {
        let halves = table("a..m=>1,n..z  =>  2");
        assert_eq!(halves.to_string().parse(), Ok(halves.clone()));
        let text = "table = [{ keys = \"a..m\", region = 1 }, { keys = \"n..z\", region = 2 }]";
        #[derive(Deserialize)]
        struct File {
            table: RangeTable,
        }
        assert_eq!(toml::from_str::<File>(text).unwrap().table, halves);
        let bytes = rmp_serde::to_vec_named(&halves).unwrap();
        assert_eq!(rmp_serde::from_slice::<RangeTable>(&bytes).unwrap(), halves);
        assert_eq!(halves.regions().collect::<Vec<_>>(), [region(1), region(2)]);
    }

    #[test]
    fn wrong_tables_are_refused() {
        for (text, says) in [
            ("a-m => 1", "range (a-m)"),
            ("..m => 1", "range (..m)"),
            ("z..a => 1", "end lies before"),
            ("a..m", "table entry (a..m)"),
            ("a..m => one", "table entry"),
            ("a..m => 0", "table entry"),
        ] {
            let error = text.parse::<RangeTable>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
