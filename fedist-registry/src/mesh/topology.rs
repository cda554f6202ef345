//! The shape of the mesh, where it is not left to the traffic.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::{Excerpt, RegionId, Registry};

/// Which links a federation's regions keep open. Must be the same on all of them.
///
/// As text: `adaptive`, `full`, `ring`, `tree`, `torus`, `star`, or a list of links such as `1-2,2-3,3-1`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Topology {
    /// Parent, second parent, the nearest, two random far ones, and what the traffic pays for.
    #[default]
    Adaptive,
    /// Every region with every other. For small federations: links grow with the square of the regions.
    Full,
    /// Every live region with the one before and the one after it by number, the last with the first.
    Ring,
    /// Every region with its parent. Fewest links; each loss of an inner region cuts off those below it.
    Tree,
    /// Rows of about √n regions by number; every region with its neighbours in its row and in its column, both closed.
    Torus,
    /// Every region with the root of the hierarchy.
    Star,
    /// These links and no others.
    Edges(Vec<(RegionId, RegionId)>),
}

impl Topology {
    /// Links in an edge list, at most.
    pub const MAX_EDGES: usize = 4096;

    /// An edge list.
    ///
    /// # Errors
    /// [`TopologyError`] if it is empty, too long, or an edge joins a region with itself.
    pub fn edges(
        edges: impl IntoIterator<Item = (RegionId, RegionId)>,
    ) -> Result<Topology, TopologyError> {
        let mut list: Vec<(RegionId, RegionId)> = Vec::new();
        for (a, b) in edges {
            if a == b {
                return Err(TopologyError::Loop { region: a });
            }
            list.push((a.min(b), a.max(b)));
            if list.len() > Self::MAX_EDGES {
                return Err(TopologyError::TooMany);
            }
        }
        list.sort_unstable();
        list.dedup();
        if list.is_empty() { Err(TopologyError::Empty) } else { Ok(Topology::Edges(list)) }
    }

    /// The live regions that `me` has a link to in this shape, in the order of their numbers. Whoever is on the list has
    /// `me` on its own. Empty for [`Adaptive`](Self::Adaptive), which is no fixed shape, and while `me` is not live.
    ///
    /// Depends on the registry alone, so regions whose copies are alike agree. A join changes the ring at one place, the torus
    /// in the last row only while its width stays, and tree, star and lists where they name the newcomer.
    pub fn neighbours(&self, me: RegionId, registry: &Registry) -> Vec<RegionId> {
        if !registry.is_live(me) {
            return Vec::new();
        }
        let live = || registry.live_regions().map(|record| record.id);
        let mut found: Vec<RegionId> = match self {
            Topology::Adaptive => Vec::new(),
            Topology::Full => live().collect(),
            Topology::Ring => around(&live().collect::<Vec<_>>(), me).to_vec(),
            Topology::Tree => {
                let children = registry.hierarchy().children(me);
                children.chain(registry.hierarchy().parent(me)).collect()
            }
            Topology::Torus => torus(&live().collect::<Vec<_>>(), me),
            Topology::Star => match registry.hierarchy().root() {
                Some(root) if root == me => live().collect(),
                root => root.into_iter().collect(),
            },
            Topology::Edges(edges) => edges
                .iter()
                .filter_map(|(a, b)| match me {
                    _ if me == *a => Some(*b),
                    _ if me == *b => Some(*a),
                    _ => None,
                })
                .collect(),
        };
        found.retain(|id| *id != me && registry.is_live(*id));
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// The ones before and after `me` in a closed row; `me` itself in a row of one.
fn around(row: &[RegionId], me: RegionId) -> [RegionId; 2] {
    let at = row.iter().position(|id| *id == me).unwrap_or(0);
    let pick = |index: usize| row.get(index % row.len().max(1)).copied().unwrap_or(me);
    [pick(at + row.len().saturating_sub(1)), pick(at + 1)]
}

fn torus(live: &[RegionId], me: RegionId) -> Vec<RegionId> {
    let width = live.len().isqrt();
    let width = if width * width < live.len() { width + 1 } else { width };
    let Some(at) = live.iter().position(|id| *id == me) else {
        return Vec::new();
    };
    let (row, column) = (at / width, at % width);
    let along: Vec<RegionId> = live.iter().skip(row * width).take(width).copied().collect();
    let across: Vec<RegionId> = live.iter().skip(column).step_by(width).copied().collect();
    around(&along, me).into_iter().chain(around(&across, me)).collect()
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Topology::Adaptive => "adaptive",
            Topology::Full => "full",
            Topology::Ring => "ring",
            Topology::Tree => "tree",
            Topology::Torus => "torus",
            Topology::Star => "star",
            Topology::Edges(edges) => {
                for (index, (a, b)) in edges.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma}{a}-{b}")?;
                }
                return Ok(());
            }
        };
        f.write_str(name)
    }
}

impl FromStr for Topology {
    type Err = TopologyError;

    fn from_str(text: &str) -> Result<Topology, TopologyError> {
        Ok(match text.trim() {
            "adaptive" => Topology::Adaptive,
            "full" => Topology::Full,
            "ring" => Topology::Ring,
            "tree" => Topology::Tree,
            "torus" => Topology::Torus,
            "star" => Topology::Star,
            "" => return Err(TopologyError::Empty),
            list if list.starts_with(|first: char| first.is_ascii_digit()) => {
                let mut edges = Vec::new();
                for edge in list.split(',') {
                    let bad = || TopologyError::BadEdge { edge: Excerpt::new(edge) };
                    let (a, b) = edge.trim().split_once('-').ok_or_else(bad)?;
                    let number = |text: &str| text.trim().parse::<RegionId>().map_err(|_| bad());
                    edges.push((number(a)?, number(b)?));
                    if edges.len() > Self::MAX_EDGES {
                        return Err(TopologyError::TooMany);
                    }
                }
                Topology::edges(edges)?
            }
            name => return Err(TopologyError::Unknown { name: Excerpt::new(name) }),
        })
    }
}

/// Why a text or a list is no topology. The same one is refused every time.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TopologyError {
    /// No shape has this name.
    #[error(
        "topology ({name}) is unknown; there are adaptive, full, ring, tree, torus and star; name one, or list links as in 1-2,2-3"
    )]
    Unknown {
        /// What was given.
        name: Excerpt,
    },
    /// Part of a list is no link.
    #[error(
        "edge ({edge}) is no link; a link is two region numbers, 1..=65534, with a dash; write e.g. 1-2,2-3"
    )]
    BadEdge {
        /// The part.
        edge: Excerpt,
    },
    /// A link with itself.
    #[error("edge ({region}-{region}) joins a region with itself; a link has two ends; remove it")]
    Loop {
        /// The region.
        region: RegionId,
    },
    /// Nothing in it.
    #[error("topology (empty); a shape has a name or links; write e.g. ring, or 1-2,2-3")]
    Empty,
    /// More than [`Topology::MAX_EDGES`].
    #[error(
        "edge list (over {}) is too long; a list by hand is for small federations; choose a shape by name",
        Topology::MAX_EDGES
    )]
    TooMany,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{federation, region, regions};
    use super::*;

    fn neighbours(shape: &str, count: u16) -> Vec<Vec<RegionId>> {
        let registry = federation(count);
        let shape: Topology = shape.parse().unwrap();
        (1..=count).map(|me| shape.neighbours(region(me), &registry)).collect()
    }

    #[test]
    fn each_shape_has_its_links() {
        assert_eq!(
            neighbours("ring", 5),
            [[2, 5], [1, 3], [2, 4], [3, 5], [1, 4]].map(|ids| regions(&ids))
        );
        assert_eq!(neighbours("star", 4)[0], regions(&[2, 3, 4]));
        assert_eq!(neighbours("star", 4)[2], regions(&[1]));
        assert_eq!(neighbours("full", 4)[1], regions(&[1, 3, 4]));
        // The parent of n is n / 2.
        assert_eq!(neighbours("tree", 7)[1], regions(&[1, 4, 5]));
        assert_eq!(neighbours("torus", 9)[0], regions(&[2, 3, 4, 7]));
        assert_eq!(neighbours("torus", 9)[4], regions(&[2, 4, 6, 8]));
        assert_eq!(neighbours("1-2, 2-3,3-9", 4)[1], regions(&[1, 3]));
        assert_eq!(neighbours("1-2,2-3,3-9", 4)[2], regions(&[2]), "9 is not there");
        assert!(neighbours("adaptive", 4).iter().all(Vec::is_empty));
        assert_eq!(neighbours("ring", 1), [regions(&[])]);
        assert_eq!(neighbours("ring", 2), [regions(&[2]), regions(&[1])]);
    }

    #[test]
    fn a_region_that_is_not_live_is_in_no_shape() {
        let registry = federation(4);
        for shape in ["full", "ring", "tree", "torus", "star", "4-5,5-1"] {
            let shape: Topology = shape.parse().unwrap();
            assert_eq!(shape.neighbours(region(5), &registry), []);
            assert!(!shape.neighbours(region(4), &registry).contains(&region(5)));
        }
    }

    #[test]
    fn a_text_that_is_no_shape_is_refused_with_the_rule() {
        let refused = |text: &str| text.parse::<Topology>().unwrap_err().to_string();
        assert!(refused("rnig").contains("topology (rnig) is unknown"));
        assert!(refused("").contains("topology (empty)"));
        assert!(refused("3-3").contains("edge (3-3) joins a region with itself"));
        for text in ["1", "1-", "1-2,", "1-65535", "1-02", "1-2-3", "0-1"] {
            assert!(refused(text).contains("is no link"), "{text}: {}", refused(text));
        }
        let long = vec!["1-2"; Topology::MAX_EDGES + 1].join(",");
        assert_eq!(long.parse::<Topology>(), Err(TopologyError::TooMany));
    }

    #[test]
    fn a_shape_prints_as_it_reads() {
        for text in ["adaptive", "full", "ring", "tree", "torus", "star", "1-2,2-3"] {
            assert_eq!(text.parse::<Topology>().unwrap().to_string(), text);
        }
        assert_eq!("2-1,1-2".parse::<Topology>().unwrap().to_string(), "1-2");
    }

    proptest! {
        #[test]
        fn whatever_the_number_of_regions_both_ends_know_a_link_and_all_are_connected(
            count in 1_u16..60, shape in prop::sample::select(vec!["full", "ring", "tree", "torus", "star"]),
        ) {
            let near = neighbours(shape, count);
            let mut reached = vec![false; usize::from(count)];
            let mut open = vec![0];
            reached[0] = true;
            while let Some(at) = open.pop() {
                let me = region(at as u16 + 1);
                for peer in &near[at] {
                    let to = usize::from(peer.get()) - 1;
                    prop_assert!(near[to].contains(&me), "{peer} knows {me}");
                    prop_assert_ne!(*peer, me);
                    if !std::mem::replace(&mut reached[to], true) {
                        open.push(to);
                    }
                }
            }
            prop_assert!(reached.iter().all(|reached| *reached));
            let most = match shape { "ring" => 2, "torus" => 4, _ => 60 };
            prop_assert!(near.iter().all(|near| near.len() <= most));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[a-z0-9,\\- ]{0,40}|.*") {
            let _ = text.parse::<Topology>();
        }
    }
}
