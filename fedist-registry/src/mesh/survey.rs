//! Questions to the present mesh: how far without this link, and who would be cut off.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::{LinkCost, LinkStateDb, RegionId};

/// The links that both ends advertise and mean to keep, as a compact graph.
#[derive(Clone, Debug, Default)]
pub(super) struct Survey {
    ids: Vec<RegionId>,
    relays: Vec<Option<u64>>,
    /// Where each region's links begin in `links`; one more entry than regions.
    starts: Vec<usize>,
    links: Vec<(usize, u64)>,
}

impl Survey {
    pub(super) fn new(db: &LinkStateDb) -> Survey {
        let ids: Vec<RegionId> = db.regions().collect();
        let mut survey = Survey { starts: vec![0], ..Survey::default() };
        for region in &ids {
            survey.links.extend(db.links(*region).filter_map(|there| {
                let back = db.link(there.to, *region)?;
                // What is about to be closed counts as closed.
                let stays = !there.is_discouraged() && !back.is_discouraged();
                let to = ids.binary_search(&there.to).ok().filter(|_| stays)?;
                Some((to, there.cost.as_micros()))
            }));
            survey.starts.push(survey.links.len());
            let relay = db.relay(*region).filter(|_| !db.no_transit(*region));
            survey.relays.push(relay.map(LinkCost::as_micros));
        }
        survey.ids = ids;
        survey
    }

    fn index(&self, id: RegionId) -> Option<usize> {
        self.ids.binary_search(&id).ok()
    }

    fn links_of(&self, at: usize) -> &[(usize, u64)] {
        let (start, end) = (self.starts.get(at), self.starts.get(at + 1));
        let range = start.copied().unwrap_or(0)..end.copied().unwrap_or(0);
        self.links.get(range).unwrap_or_default()
    }

    /// The cost in µs of the best way from one region to every other, without the direct link to `without`.
    pub(super) fn distances(&self, from: RegionId, without: Option<RegionId>) -> Distances<'_> {
        let mut costs = vec![u64::MAX; self.ids.len()];
        let Some(origin) = self.index(from) else {
            return Distances { survey: self, costs };
        };
        let missing = without.and_then(|id| self.index(id));
        if let Some(cost) = costs.get_mut(origin) {
            *cost = 0;
        }
        let mut queue = BinaryHeap::from([Reverse((0_u64, origin))]);
        while let Some(Reverse((cost, at))) = queue.pop() {
            if costs.get(at).is_none_or(|best| cost > *best) {
                continue;
            }
            // Where frames must not pass, they may still end.
            let relay = if at == origin { Some(0) } else { self.relays.get(at).copied().flatten() };
            let Some(relay) = relay else {
                continue;
            };
            for (to, link) in self.links_of(at) {
                if at == origin && Some(*to) == missing {
                    continue;
                }
                let reached = cost.saturating_add(relay).saturating_add(*link);
                if let Some(best) = costs.get_mut(*to)
                    && reached < *best
                {
                    *best = reached;
                    queue.push(Reverse((reached, *to)));
                }
            }
        }
        Distances { survey: self, costs }
    }

    /// Whether without the link between them the loss of one other region would separate the two, or whether they are
    /// separated at once. By Menger's theorem no such region means that closing the link makes no region a cut vertex that
    /// was none.
    pub(super) fn depends_on_link(&self, a: RegionId, b: RegionId) -> bool {
        let (Some(a), Some(b)) = (self.index(a), self.index(b)) else {
            return true;
        };
        // Whoever separates the two is on every way between them, so on this one.
        match self.way(a, b, None) {
            None => true,
            Some(between) => between.into_iter().any(|lost| self.way(a, b, Some(lost)).is_none()),
        }
    }

    /// Regions between two on a way of fewest links, without the link that joins them and without one region.
    fn way(&self, a: usize, b: usize, lost: Option<usize>) -> Option<Vec<usize>> {
        let mut before: Vec<Option<usize>> = vec![None; self.ids.len()];
        let mut queue = VecDeque::from([a]);
        while let Some(at) = queue.pop_front() {
            for (to, _) in self.links_of(at) {
                let is_the_link = at == a && *to == b;
                if is_the_link || *to == a || Some(*to) == lost {
                    continue;
                }
                let Some(slot) = before.get_mut(*to) else {
                    continue;
                };
                if slot.is_none() {
                    *slot = Some(at);
                    if *to == b {
                        let step = |at: &usize| before.get(*at).copied().flatten();
                        let back = std::iter::successors(step(&b), step);
                        return Some(back.take_while(|at| *at != a).collect());
                    }
                    queue.push_back(*to);
                }
            }
        }
        None
    }
}

/// What [`Survey::distances`] found.
pub(super) struct Distances<'a> {
    survey: &'a Survey,
    costs: Vec<u64>,
}

impl Distances<'_> {
    /// In µs; `None` where no way leads.
    pub(super) fn to(&self, id: RegionId) -> Option<u64> {
        let cost = self.costs.get(self.survey.index(id)?)?;
        (*cost < u64::MAX).then_some(*cost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LinkAdvert, LinkState};

    fn region(id: u16) -> RegionId {
        RegionId::new(id).unwrap()
    }

    fn survey(links: &[(u16, u16, u64)], silent: &[u16]) -> Survey {
        let mut db = LinkStateDb::new();
        for id in 1..=6 {
            let links = links
                .iter()
                .filter_map(|(a, b, ms)| {
                    let to = if *a == id { *b } else { *a };
                    let cost = LinkCost::from_micros(ms * 1000);
                    (*a == id || *b == id).then_some(LinkAdvert::new(region(to), cost))
                })
                .collect();
            db.apply(LinkState {
                region: region(id),
                seq: 1,
                relay: LinkCost::from_micros(50),
                no_transit: silent.contains(&id),
                links,
            });
        }
        Survey::new(&db)
    }

    #[test]
    fn the_way_around_a_link_counts_its_relays() {
        let square = survey(&[(1, 2, 10), (2, 3, 10), (3, 4, 10), (4, 1, 100)], &[]);
        assert_eq!(square.distances(region(1), None).to(region(4)), Some(30_100));
        assert_eq!(square.distances(region(1), Some(region(2))).to(region(2)), Some(120_100));
        assert_eq!(square.distances(region(1), None).to(region(5)), None);
        assert_eq!(square.distances(region(77), None).to(region(1)), None);
        let closed = survey(&[(1, 2, 10), (2, 3, 10)], &[2]);
        assert_eq!(closed.distances(region(1), None).to(region(2)), Some(10_000));
        assert_eq!(closed.distances(region(1), None).to(region(3)), None, "no transit");
    }

    #[test]
    fn a_link_is_needed_where_one_loss_would_separate_its_ends() {
        let square = survey(&[(1, 2, 1), (2, 3, 1), (3, 4, 1), (4, 1, 1), (1, 3, 1)], &[]);
        assert!(!square.depends_on_link(region(1), region(3)), "2 and 4 both lead around");
        assert!(square.depends_on_link(region(1), region(2)), "3 would be the only way");
        let bridge = survey(&[(1, 2, 1)], &[]);
        assert!(bridge.depends_on_link(region(1), region(2)));
        // Two triangles that share 3: the link 1-4 is what makes 3 dispensable.
        let bow = [(1, 2, 1), (2, 3, 1), (3, 1, 1), (3, 4, 1), (4, 5, 1), (5, 3, 1), (1, 4, 1)];
        assert!(survey(&bow, &[]).depends_on_link(region(1), region(4)));
        let two = [&bow[..], &[(2, 5, 1)]].concat();
        assert!(!survey(&two, &[]).depends_on_link(region(1), region(4)));
    }
}
