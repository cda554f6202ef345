//! One run over the graph: the cheapest path to every region that the header can hold.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Add;

use petgraph::visit::{EdgeRef, IntoEdges};

use super::{Hops, Route};
use crate::{LinkCost, LinkStateDb, RegionId, link_state_db::region_at};

/// What paths must not use, beside what the link states forbid.
#[derive(Copy, Clone)]
pub struct Avoid<'a> {
    /// Own links to these regions.
    pub first_links: &'a dyn Fn(RegionId) -> bool,
    /// Regions that are not passed. They may still be destinations.
    pub relays: &'a dyn Fn(RegionId) -> bool,
}

impl Avoid<'_> {
    /// Everything may be used.
    pub const NOTHING: Avoid<'static> = Avoid { first_links: &|_| false, relays: &|_| false };
}

/// The cheapest path of at most [`Route::MAX_HOPS`] hops from one region to every other.
///
/// A link counts only if both ends advertise it; a region that says *no transit* is never in between. Of all paths, those
/// with the fewest links that are about to close come first, of these the cheapest, then those with fewer hops, then the
/// one with the lower region numbers towards its end: the result depends on the arguments only.
///
/// Dijkstra's algorithm over arrays by region number ("A note on two problems in connexion with graphs", 1959), with a
/// binary heap that keeps outdated entries. Where a cheapest path is too long for the header, a dearer one may fit: those
/// regions get the cheapest of the first layers of Bellman and Ford's algorithm, one layer per hop.
pub struct ShortestPaths {
    origin: RegionId,
    /// By region number; [`Length::NONE`] where no path leads.
    lengths: Vec<Length>,
    /// By region number: the region before on the path.
    before: Vec<u16>,
    /// Paths that fit the header, where the run above left some that do not.
    layers: Option<Layers>,
}

impl ShortestPaths {
    /// All paths from `origin`.
    pub fn compute(origin: RegionId, db: &LinkStateDb, avoid: &Avoid<'_>) -> ShortestPaths {
        Self::run(origin, db, avoid, None)
    }

    /// The path to one region; the run ends there.
    pub fn find(
        origin: RegionId,
        destination: RegionId,
        db: &LinkStateDb,
        avoid: &Avoid<'_>,
    ) -> Option<Route> {
        Self::run(origin, db, avoid, Some(destination)).route(destination)
    }

    fn run(
        origin: RegionId,
        db: &LinkStateDb,
        avoid: &Avoid<'_>,
        only: Option<RegionId>,
    ) -> ShortestPaths {
        let mut lengths = vec![Length::NONE; db.bound()];
        let mut before = vec![0_u16; db.bound()];
        let mut heap = BinaryHeap::new();
        let (mut too_long, mut cut_off) = (false, false);
        if let Some(length) = lengths.get_mut(index(origin)) {
            *length = Length::ZERO;
            heap.push(Reverse((Length::ZERO, origin)));
        }
        while let Some(Reverse((length, here))) = heap.pop() {
            if lengths.get(index(here)) != Some(&length) {
                continue;
            }
            if length.hops() > Route::MAX_HOPS {
                too_long |= only.is_none_or(|only| only == here);
                if length.hops() >= Length::MOST_HOPS {
                    cut_off = true;
                    continue;
                }
            }
            if only == Some(here) {
                break;
            }
            for (to, step) in steps(origin, here, db, avoid) {
                let reached = length + step;
                let (Some(best), Some(by)) =
                    (lengths.get_mut(index(to)), before.get_mut(index(to)))
                else {
                    continue;
                };
                if reached < *best {
                    *best = reached;
                    *by = here.get();
                    heap.push(Reverse((reached, to)));
                } else if reached == *best {
                    *by = here.get().min(*by);
                }
            }
        }
        if cut_off {
            // What lies beyond got no label, or not its best one: the layers are right for all.
            lengths.fill(Length::NONE);
        }
        let layers = (too_long || cut_off).then(|| Layers::compute(origin, db, avoid));
        ShortestPaths { origin, lengths, before, layers }
    }

    /// Where all these paths start.
    pub fn origin(&self) -> RegionId {
        self.origin
    }

    /// The path to a region; none for one that cannot be reached, and for the origin itself.
    pub fn route(&self, destination: RegionId) -> Option<Route> {
        let cost = self.length(destination)?.cost();
        let mut hops = Hops::NONE;
        for hop in self.backwards(destination) {
            *hops.ids.get_mut(usize::from(hops.len))? = hop;
            hops.len += 1;
        }
        let len = usize::from(hops.len);
        hops.ids.get_mut(..len)?.reverse();
        Some(Route { hops, cost })
    }

    /// What the path to a region costs; none for one that cannot be reached, and for the origin itself.
    pub fn cost(&self, destination: RegionId) -> Option<LinkCost> {
        self.length(destination).map(Length::cost)
    }

    /// Bytes of heap that this holds.
    pub fn memory_bytes(&self) -> usize {
        let layers = self.layers.as_ref().map_or(0, |layers| {
            layers.lengths.capacity() * size_of::<Length>()
                + layers.before.iter().map(|layer| layer.capacity() * 4).sum::<usize>()
        });
        self.lengths.capacity() * size_of::<Length>() + self.before.capacity() * 2 + layers
    }

    /// Regions by number below this one may have a path.
    pub(super) fn bound(&self) -> usize {
        self.lengths.len()
    }

    pub(super) fn length(&self, destination: RegionId) -> Option<Length> {
        if destination == self.origin {
            return None;
        }
        let at = index(destination);
        let length = *self.lengths.get(at)?;
        if length.hops() <= Route::MAX_HOPS {
            return Some(length);
        }
        let length = *self.layers.as_ref()?.lengths.get(at)?;
        (length != Length::NONE).then_some(length)
    }

    /// From the destination to the first hop. Ends early rather than never.
    pub(super) fn backwards(&self, destination: RegionId) -> impl Iterator<Item = RegionId> {
        let layers = self.layers.as_ref().filter(|_| {
            self.lengths.get(index(destination)).is_some_and(|l| l.hops() > Route::MAX_HOPS)
        });
        let mut left = self.length(destination).map_or(0, Length::hops);
        let mut at = destination;
        std::iter::from_fn(move || {
            if left == 0 || at == self.origin {
                return None;
            }
            let hop = at;
            let (before, hops) = match layers {
                Some(layers) => *layers.before.get(left)?.get(index(at))?,
                None => (*self.before.get(index(at))?, 1),
            };
            left = left.saturating_sub(usize::from(hops));
            at = region_at(usize::from(before)).unwrap_or(self.origin);
            Some(hop)
        })
    }
}

/// Bellman and Ford's layers: the cheapest ways with exactly so many hops, where they are cheaper than all with fewer. What
/// is no cheaper than a way with fewer hops is not followed, so no way here passes a region twice.
struct Layers {
    /// The best of all layers.
    lengths: Vec<Length>,
    /// By hops, then by region number: the region before on the way that has this many hops, and the hops from there.
    before: Vec<Vec<(u16, u8)>>,
}

impl Layers {
    fn compute(origin: RegionId, db: &LinkStateDb, avoid: &Avoid<'_>) -> Layers {
        let bound = db.bound();
        let mut lengths = vec![Length::NONE; bound];
        let mut layers: Vec<Layer> = (0..=Route::MAX_HOPS).map(|_| Layer::default()).collect();
        if let Some(first) = layers.first_mut() {
            first.offer(bound, origin, Length::ZERO, origin, 0);
        }
        for hops in 0..=Route::MAX_HOPS {
            let Some((layer, ahead)) = layers.get_mut(hops..).and_then(<[Layer]>::split_first_mut)
            else {
                break;
            };
            for here in std::mem::take(&mut layer.reached) {
                let Some(length) = layer.lengths.get(index(here)).copied() else { continue };
                match lengths.get_mut(index(here)) {
                    Some(best) if length < *best => *best = length,
                    _ => continue,
                }
                for (to, step) in steps(origin, here, db, avoid) {
                    if let Some(layer) = ahead.get_mut(step.hops() - 1) {
                        layer.offer(bound, to, length + step, here, step.hops());
                    }
                }
            }
        }
        Layers { lengths, before: layers.into_iter().map(|layer| layer.before).collect() }
    }
}

/// The ways that have one number of hops.
#[derive(Default)]
struct Layer {
    lengths: Vec<Length>,
    before: Vec<(u16, u8)>,
    reached: Vec<RegionId>,
}

impl Layer {
    fn offer(&mut self, bound: usize, to: RegionId, length: Length, by: RegionId, hops: usize) {
        if self.lengths.is_empty() {
            self.lengths = vec![Length::NONE; bound];
            self.before = vec![(0, 1); bound];
        }
        let (Some(best), Some(before)) =
            (self.lengths.get_mut(index(to)), self.before.get_mut(index(to)))
        else {
            return;
        };
        if *best == Length::NONE {
            self.reached.push(to);
        }
        if length < *best || (length == *best && by.get() < before.0) {
            *best = length;
            *before = (by.get(), hops as u8);
        }
    }
}

/// The links by which a path may go on from `here`. What the region costs as a relay is part of each.
fn steps<'a>(
    origin: RegionId,
    here: RegionId,
    db: &'a LinkStateDb,
    avoid: &'a Avoid<'_>,
) -> impl Iterator<Item = (RegionId, Length)> + 'a {
    let transit = here != origin;
    let closed = transit && (db.no_transit(here) || (avoid.relays)(here));
    let relay = db.relay(here).filter(|_| transit).unwrap_or_default();
    let edges = (!closed).then(|| db.edges(here)).into_iter().flatten();
    edges
        .filter(move |edge| {
            edge.target() != origin && (transit || !(avoid.first_links)(edge.target()))
        })
        .map(move |edge| {
            (edge.target(), Length::step(edge.cost(), relay, edge.is_discouraged(), edge.hops()))
        })
}

/// How good a path is, the smaller the better: links that are about to close (8 bits), cost (48 bits), hops (8 bits). It
/// grows along any path, so that equal costs make no loops. No field overflows into the next within
/// [`MOST_HOPS`](Self::MOST_HOPS) hops, whatever costs somebody advertises.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Length(u64);

impl Length {
    pub(super) const ZERO: Length = Length(0);
    const NONE: Length = Length(u64::MAX);
    const MOST_HOPS: usize = 246;

    /// One advert of `hops` links, 1 to 8, and the region before it.
    pub(super) fn step(link: LinkCost, relay: LinkCost, discouraged: bool, hops: usize) -> Length {
        let cost = u64::from(link.units()) + u64::from(relay.units());
        Length(u64::from(discouraged) << 56 | cost << 8 | hops as u64)
    }

    pub(super) fn cost(self) -> LinkCost {
        let units = (self.0 >> 8) & ((1 << 48) - 1);
        LinkCost::from_units(u32::try_from(units).unwrap_or(u32::MAX))
    }

    pub(super) fn discouraged(self) -> u64 {
        self.0 >> 56
    }

    pub(super) fn hops(self) -> usize {
        (self.0 & 0xFF) as usize
    }
}

impl Add for Length {
    type Output = Length;

    fn add(self, other: Length) -> Length {
        Length(self.0 + other.0)
    }
}

fn index(region: RegionId) -> usize {
    usize::from(region.get())
}

/// The spare for when the first link of `best` breaks, or a region on it: the cheapest path to the same region that starts
/// with another link and passes none of the same relays, or where there is none, one that only starts with another link.
pub fn second_path(origin: RegionId, db: &LinkStateDb, best: &Route) -> Option<Route> {
    let (first, destination) = (best.next_hop()?, best.destination()?);
    let first_links = |region| region == first;
    let relays = |region: RegionId| best.relays().contains(&region);
    let apart = Avoid { first_links: &first_links, relays: &relays };
    ShortestPaths::find(origin, destination, db, &apart).or_else(|| {
        let other_link = Avoid { first_links: &first_links, relays: &|_| false };
        ShortestPaths::find(origin, destination, db, &other_link)
    })
}

/// The cheapest path with none of `avoid` in between, nor over an own link to one of them: how a relay whose next link is
/// dead sends a frame on, around every region that the frame's header already names. Where that dead link led to the
/// destination itself, name the destination too; it is then reached from another side.
pub fn detour(
    origin: RegionId,
    destination: RegionId,
    db: &LinkStateDb,
    avoid: &[RegionId],
) -> Option<Route> {
    let avoided = |region: RegionId| avoid.contains(&region);
    let avoid = Avoid { first_links: &avoided, relays: &avoided };
    ShortestPaths::find(origin, destination, db, &avoid)
}
