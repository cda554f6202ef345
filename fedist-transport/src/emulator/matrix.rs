//! Round-trip times between places, measured or given as a file.

use std::path::Path;
use std::time::Duration;

use super::matrix_text::{self, MatrixError};

/// A place that a row of a matrix stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// The id in the matrix, such as `eu-central-1`.
    pub id: String,
    /// The city, or the provider's name of the region (Azure).
    pub city: String,
    /// Empty where the source does not state it (Azure).
    pub country: String,
    /// Degrees north.
    pub lat: f64,
    /// Degrees east.
    pub lon: f64,
}

/// Round-trip times between places, in milliseconds.
///
/// The text form is CSV: the first row and the first column are ids, rows are sources, columns
/// are destinations, an empty cell was not measured. Rows may stand in any order, but each id
/// has one.
///
/// ```
/// use fedist_transport::emulator::LatencyMatrix;
///
/// let aws = LatencyMatrix::aws();
/// assert_eq!(aws.len(), 32);
/// let places: Vec<_> = aws.pick(3).into_iter().filter_map(|i| aws.id(i)).collect();
/// assert_eq!(places, ["us-east-1", "eu-central-1", "ap-southeast-1"]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LatencyMatrix {
    ids: Vec<String>,
    places: Vec<Option<Place>>,
    /// Row by row, `None` where not measured.
    rtt_ms: Vec<Option<f64>>,
    /// Ids that [`LatencyMatrix::pick`] takes first.
    preferred: &'static [&'static str],
}

impl LatencyMatrix {
    /// `rtt_ms` holds a cell for each pair, row by row.
    pub(crate) fn new(ids: Vec<String>, rtt_ms: Vec<Option<f64>>) -> Self {
        Self { places: vec![None; ids.len()], ids, rtt_ms, preferred: &[] }
    }

    /// 32 AWS regions, complete: one-year medians of 2024/25 (source in `data/README.md`).
    pub fn aws() -> Self {
        built_in(
            include_str!("../../data/aws-rtt-ms.csv"),
            include_str!("../../data/aws-regions.csv"),
            AWS_SPREAD,
        )
        .expect("a test reads the built-in AWS matrix")
    }

    /// 50 Azure regions, 6 of 1,225 pairs missing: monthly figures (source in `data/README.md`).
    pub fn azure() -> Self {
        built_in(
            include_str!("../../data/azure-rtt-ms.csv"),
            include_str!("../../data/azure-regions.csv"),
            AZURE_SPREAD,
        )
        .expect("a test reads the built-in Azure matrix")
    }

    /// Reads a matrix of the text form from a file. Its places are not known.
    ///
    /// # Errors
    ///
    /// [`MatrixError`] with the place in the file.
    pub fn from_csv_file(path: impl AsRef<Path>) -> Result<Self, MatrixError> {
        matrix_text::read_file(path.as_ref())
    }

    /// Reads a matrix from text; `source_name` stands in the errors.
    ///
    /// # Errors
    ///
    /// [`MatrixError::Cell`] or [`MatrixError::Whole`].
    pub fn parse(text: &str, source_name: &str) -> Result<Self, MatrixError> {
        matrix_text::read(text, source_name)
    }

    /// The number of ids.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Never true: a matrix has two ids at least.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The id with this number, counted from 0 in the order of the header.
    pub fn id(&self, i: usize) -> Option<&str> {
        self.ids.get(i).map(String::as_str)
    }

    /// Where that is; `None` for matrices from files.
    pub fn place(&self, i: usize) -> Option<&Place> {
        self.places.get(i)?.as_ref()
    }

    /// The round trip as measured from `i`; `None` if it was not measured or there is no such id.
    pub fn rtt_ms(&self, i: usize, j: usize) -> Option<f64> {
        if j >= self.len() {
            return None;
        }
        let cell = i.checked_mul(self.len())?.checked_add(j)?;
        self.rtt_ms.get(cell).copied().flatten()
    }

    /// Half of the smaller round trip of the two directions: a round trip is the same from either
    /// end, so the larger figure holds more of the ends' own time. Same for `(i, j)` and `(j, i)`.
    pub fn one_way_ms(&self, i: usize, j: usize) -> Option<f64> {
        match (self.rtt_ms(i, j), self.rtt_ms(j, i)) {
            (Some(there), Some(back)) => Some(there.min(back) / 2.0),
            (one, other) => one.or(other).map(|rtt_ms| rtt_ms / 2.0),
        }
    }

    /// [`one_way_ms`](Self::one_way_ms) as the delay of a link.
    pub fn one_way(&self, i: usize, j: usize) -> Option<Duration> {
        let seconds = self.one_way_ms(i, j)? / 1e3;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// `n` places far from one another, every pair of them measured.
    ///
    /// Always the same: known ids of all continents first, then whatever is farthest from those
    /// already taken. `pick(n)` starts with `pick(n - 1)` as long as there are complete places.
    /// Fewer than `n` if no more fit (48 of Azure's 50).
    pub fn pick(&self, n: usize) -> Vec<usize> {
        let mut picked = Vec::new();
        for id in self.preferred {
            let found = self.ids.iter().position(|known| known == id);
            if let Some(i) = found.filter(|i| picked.len() < n && self.fits(*i, &picked)) {
                picked.push(i);
            }
        }
        // Places that lack few pairs come first, since each of them keeps others out.
        let mut left: Vec<(usize, usize)> = (0..self.len())
            .filter(|i| !picked.contains(i))
            .map(|i| (self.pairs_missing(i), i))
            .collect();
        while picked.len() < n {
            left.retain(|(_, i)| self.fits(*i, &picked));
            let next = left.iter().copied().min_by(|a, b| {
                let farther = self.distance(b.1, &picked).total_cmp(&self.distance(a.1, &picked));
                a.0.cmp(&b.0).then(farther).then(a.1.cmp(&b.1))
            });
            let Some(next) = next else { break };
            picked.push(next.1);
            left.retain(|candidate| *candidate != next);
        }
        picked
    }

    fn fits(&self, i: usize, picked: &[usize]) -> bool {
        picked.iter().all(|j| self.one_way_ms(i, *j).is_some())
    }

    fn pairs_missing(&self, i: usize) -> usize {
        (0..self.len()).filter(|j| *j != i && self.one_way_ms(i, *j).is_none()).count()
    }

    fn distance(&self, i: usize, picked: &[usize]) -> f64 {
        let distances = picked.iter().filter_map(|j| self.one_way_ms(i, *j));
        distances.fold(f64::INFINITY, f64::min)
    }
}

fn built_in(
    matrix: &str,
    places: &str,
    preferred: &'static [&'static str],
) -> Option<LatencyMatrix> {
    let mut matrix = LatencyMatrix::parse(matrix, "built-in matrix").ok()?;
    matrix.preferred = preferred;
    for record in csv::Reader::from_reader(places.as_bytes()).into_records() {
        let record = record.ok()?;
        let place = match record.iter().collect::<Vec<_>>()[..] {
            [id, city, country, lat, lon] => (id, city, country, lat, lon),
            [id, name, lat, lon] => (id, name, "", lat, lon),
            _ => return None,
        };
        let place = Place {
            id: place.0.to_owned(),
            city: place.1.to_owned(),
            country: place.2.to_owned(),
            lat: place.3.parse().ok()?,
            lon: place.4.parse().ok()?,
        };
        let i = matrix.ids.iter().position(|id| *id == place.id)?;
        *matrix.places.get_mut(i)? = Some(place);
    }
    matrix.places.iter().all(Option::is_some).then_some(matrix)
}

/// All continents within the first seven.
const AWS_SPREAD: &[&str] = &[
    "us-east-1",
    "eu-central-1",
    "ap-southeast-1",
    "sa-east-1",
    "ap-northeast-1",
    "af-south-1",
    "ap-southeast-2",
    "us-west-2",
    "ap-south-1",
    "me-central-1",
    "eu-north-1",
    "ca-central-1",
];

const AZURE_SPREAD: &[&str] = &[
    "eastus",
    "westeurope",
    "southeastasia",
    "brazilsouth",
    "japaneast",
    "southafricanorth",
    "australiaeast",
    "westus2",
    "centralindia",
    "uaenorth",
    "swedencentral",
    "canadacentral",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(text: &str) -> LatencyMatrix {
        LatencyMatrix::parse(text, "m").expect("a valid matrix")
    }

    fn complete(matrix: &LatencyMatrix, picked: &[usize]) -> bool {
        picked.iter().all(|i| picked.iter().all(|j| i == j || matrix.one_way_ms(*i, *j).is_some()))
    }

    #[test]
    fn aws_has_32_places_and_every_pair() {
        let aws = LatencyMatrix::aws();
        assert_eq!(aws.len(), 32);
        assert!(complete(&aws, &(0..32).collect::<Vec<_>>()));
        assert_eq!(aws.pick(32).len(), 32);
        assert_eq!(aws.pick(99).len(), 32);
        let frankfurt = (0..32).find(|i| aws.id(*i) == Some("eu-central-1"));
        let place = frankfurt.and_then(|i| aws.place(i)).expect("Frankfurt is known");
        assert_eq!((place.city.as_str(), place.country.as_str()), ("Frankfurt", "Germany"));
        assert_eq!(aws.rtt_ms(0, 1), Some(350.17));
        assert_eq!(aws.one_way_ms(1, 0), Some(350.17 / 2.0));
    }

    #[test]
    fn azure_has_50_places_of_which_48_are_complete() {
        let azure = LatencyMatrix::azure();
        assert_eq!(azure.len(), 50);
        assert!((0..50).all(|i| azure.place(i).is_some()));
        let missing: usize = (0..50).map(|i| azure.pairs_missing(i)).sum();
        assert_eq!(missing, 2 * 6);
        let picked = azure.pick(50);
        assert_eq!(picked.len(), 48);
        assert!(complete(&azure, &picked));
    }

    #[test]
    fn every_preferred_id_exists() {
        for (matrix, ids) in
            [(LatencyMatrix::aws(), AWS_SPREAD), (LatencyMatrix::azure(), AZURE_SPREAD)]
        {
            let picked = matrix.pick(ids.len());
            let picked: Vec<_> = picked.iter().filter_map(|i| matrix.id(*i)).collect();
            assert_eq!(picked, ids);
        }
    }

    #[test]
    fn each_pick_extends_the_one_before_without_repeats() {
        for matrix in [LatencyMatrix::aws(), LatencyMatrix::azure()] {
            let all = matrix.pick(matrix.len());
            for n in 0..=all.len() {
                assert_eq!(matrix.pick(n), all[..n]);
            }
            let distinct: std::collections::BTreeSet<_> = all.iter().collect();
            assert_eq!(distinct.len(), all.len());
        }
    }

    #[test]
    fn one_way_is_half_of_the_smaller_direction_or_of_the_only_one() {
        let m = matrix("x,a,b,c\na,,10,\nb,8,,6\nc,,,1");
        assert_eq!(m.one_way_ms(0, 1), Some(4.0));
        assert_eq!(m.one_way_ms(1, 0), Some(4.0));
        assert_eq!(m.one_way_ms(2, 1), Some(3.0));
        assert_eq!(m.one_way(2, 1), Some(Duration::from_millis(3)));
        assert_eq!(m.one_way_ms(0, 2), None);
        assert_eq!(m.rtt_ms(0, 3), None);
        assert_eq!(m.rtt_ms(usize::MAX, 0), None);
        assert_eq!(m.place(0), None);
        assert_eq!(m.pick(3).len(), 2);
    }
}
