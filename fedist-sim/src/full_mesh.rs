//! A small federation in which every measured pair has a link.

use fedist_registry::{
    AdvertPace, LinkAdvert, LinkCost, LinkEstimate, LinkState, LinkStateDb, Micros, RouteTable,
    Strain,
};

use crate::RttMatrix;
use crate::wiring::region_id;

/// Every region's estimates of its links, the link states that it has advertised, and its routes.
///
/// Floods take no time here: all regions share one database. What they decide, each decides for itself.
#[derive(Debug)]
pub struct FullMesh {
    len: usize,
    /// Row by row; none where there is no link.
    links: Vec<Option<Measured>>,
    db: LinkStateDb,
    tables: Vec<RouteTable>,
    changes: u64,
    relay: LinkCost,
    /// Of all regions: they start together, and on one machine.
    strain: Strain,
}

#[derive(Clone, Debug)]
struct Measured {
    estimate: LinkEstimate,
    pace: AdvertPace,
}

impl FullMesh {
    /// A federation of `len` regions that know nothing yet, in which a frame in transit costs `relay`.
    pub fn new(len: usize, relay: LinkCost) -> FullMesh {
        let tables = (0..len).filter_map(region_id).map(RouteTable::empty).collect();
        FullMesh {
            len,
            links: vec![None; len * len],
            db: LinkStateDb::new(),
            tables,
            changes: 0,
            relay,
            strain: Strain::new(Micros::ZERO),
        }
    }

    /// The share of their time in which the regions' threads are not free.
    pub fn load(&mut self, now: Micros, share: f64) {
        self.strain.handle_share(now, share);
        let own_queue = self.strain.hides_queues(now);
        self.links
            .iter_mut()
            .flatten()
            .for_each(|link| link.estimate.set_own_queue(now, own_queue));
    }

    /// Every link measures one round trip, and what moved by enough is advertised. True if anything was.
    pub fn sample(&mut self, now: Micros, matrix: &RttMatrix) -> bool {
        let mut moved = false;
        for from in 0..self.len {
            let mut due = false;
            for to in (0..self.len).filter(|to| *to != from) {
                let Some(one_way) = matrix.one_way_us(from, to) else { continue };
                let Some(link) = self.links.get_mut(from * self.len + to) else { continue };
                let link = link.get_or_insert_with(|| Measured {
                    estimate: LinkEstimate::new(),
                    pace: AdvertPace::proven(),
                });
                link.estimate.sample(now, u32::try_from(2 * one_way).unwrap_or(u32::MAX));
                let cost = link.estimate.cost(now);
                due |= cost.is_some_and(|cost| match self.strain.is_settling(now) {
                    true => link.pace.wants_settling(now, cost),
                    false => link.pace.wants(now, cost),
                });
            }
            if due {
                self.advertise(from, now);
                moved = true;
            }
        }
        moved
    }

    /// Brings the routes of all regions up to date.
    pub fn update_routes(&mut self, now: Micros) {
        for table in &mut self.tables {
            table.settle_until(self.strain.settling_until());
            self.changes += table.update(now, &self.db, &|_| false).len() as u64;
        }
    }

    /// When some region wants its routes updated although nothing changed.
    pub fn next_deadline(&self) -> Option<Micros> {
        self.tables.iter().filter_map(RouteTable::next_deadline).min()
    }

    /// Each region sends everything over its own links, as one does that knows of no others yet.
    pub fn start_direct(&mut self, now: Micros) {
        for (from, table) in self.tables.iter_mut().enumerate() {
            let mut alone = LinkStateDb::new();
            let Some(own) = region_id(from).and_then(|id| self.db.get(id)) else { continue };
            // The far ends are known with the one link that leads to them.
            for link in &own.links {
                let back = LinkAdvert::new(own.region, link.cost);
                let relay = LinkCost::ZERO;
                let state = LinkState {
                    region: link.to,
                    seq: 1,
                    relay,
                    no_transit: false,
                    links: vec![back],
                };
                alone.apply(state);
            }
            alone.apply(own);
            table.update(now, &alone, &|_| false);
        }
        self.changes = 0;
    }

    /// Changes of a path, of any region to any other, since the start.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// What every pair with a link pays now by `matrix`: (direct, over the path in use), one way in µs.
    pub fn paid(&self, matrix: &RttMatrix) -> Vec<(u64, u64)> {
        let mut pairs = Vec::new();
        for (from, table) in self.tables.iter().enumerate() {
            for (to, route) in table.iter() {
                let to = usize::from(to.get()) - 1;
                let path = route.hops.iter().map(|hop| usize::from(hop.get()) - 1);
                let mut at = from;
                let mut cost = route.relays().len() as u64 * self.relay.as_micros();
                let mut whole = true;
                for hop in path {
                    match matrix.one_way_us(at, hop) {
                        Some(way) => cost += way,
                        None => whole = false,
                    }
                    at = hop;
                }
                if let (Some(direct), true) = (matrix.one_way_us(from, to), whole) {
                    pairs.push((direct, cost));
                }
            }
        }
        pairs
    }

    fn advertise(&mut self, from: usize, now: Micros) {
        let Some(region) = region_id(from) else { return };
        let row = self.links.get_mut(from * self.len..(from + 1) * self.len).unwrap_or_default();
        let mut links = Vec::new();
        for (to, link) in row.iter_mut().enumerate() {
            if let Some(link) = link
                && let Some(cost) = link.estimate.cost(now)
                && let Some(to) = region_id(to)
            {
                link.pace.record(now, cost);
                links.push(LinkAdvert::new(to, cost));
            }
        }
        let seq = self.db.seq(region).map_or(1, |seq| seq + 1);
        self.db.apply(LinkState { region, seq, relay: self.relay, no_transit: false, links });
    }
}

/// The cheapest ways of all pairs by Floyd and Warshall, each relay at its price; in µs, row by row. The largest value where
/// there is none.
pub(crate) fn cheapest_us(matrix: &RttMatrix, relay_us: u64) -> Vec<u64> {
    let len = matrix.len();
    let mut best: Vec<u64> = (0..len * len)
        .map(|at| match at / len == at % len {
            true => 0,
            false => matrix.one_way_us(at / len, at % len).unwrap_or(u64::MAX),
        })
        .collect();
    for via in 0..len {
        for from in (0..len).filter(|from| *from != via) {
            let first = best.get(from * len + via).copied().unwrap_or(u64::MAX);
            for to in (0..len).filter(|to| *to != via && *to != from) {
                let second = best.get(via * len + to).copied().unwrap_or(u64::MAX);
                let over = first.saturating_add(second).saturating_add(relay_us);
                if let Some(held) = best.get_mut(from * len + to) {
                    *held = over.min(*held);
                }
            }
        }
    }
    best
}
