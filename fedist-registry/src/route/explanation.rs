//! Why messages take the way that they take.

use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};

use super::{Route, RouteChange, RouteTable};
use crate::{LinkCost, LinkStateDb, Micros, RegionId};

/// Why messages to a region take the way that they take: each term of its cost, and what the others would cost.
///
/// Prints as a paragraph for people, with region numbers; [`describe`](Self::describe) takes names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteExplanation {
    /// Where the way starts.
    pub origin: RegionId,
    /// Where it ends.
    pub destination: RegionId,
    /// The way in use; none where no chain of links leads there.
    pub path: Option<ExplainedPath>,
    /// The way that is taken when that one breaks.
    pub second: Option<ExplainedPath>,
    /// What is to be said about a link straight there.
    pub direct: DirectWay,
    /// Why the way changed last; none for a region that was never reached.
    pub change: Option<RouteChange>,
    /// How long ago that was, in µs.
    pub age: Option<Micros>,
    /// How often it changed, the first way included.
    pub changes: u32,
    /// A little cheaper way is taken after this span, in µs, if it still is that then.
    pub leaves_in: Option<Micros>,
}

/// One way with the terms of its cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedPath {
    /// In the order of travel.
    pub hops: Vec<ExplainedHop>,
    /// The sum of all terms.
    pub cost: LinkCost,
}

/// One link of a way. What it costs is the sum of the three terms.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedHop {
    /// The near end.
    pub from: RegionId,
    /// The far end.
    pub to: RegionId,
    /// P: half the least round trip.
    pub propagation: LinkCost,
    /// Q: queueing and loss.
    pub queueing: LinkCost,
    /// R: how long frames in transit stay at the far end; nothing at the destination.
    pub relay: LinkCost,
    /// Whether the link is about to be closed, or its near end to leave.
    pub closing: bool,
}

/// What is to be said about a link straight to the destination.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DirectWay {
    /// It is the way in use.
    Taken,
    /// It is there, and dearer than the way in use.
    Dearer {
        /// What it costs.
        cost: LinkCost,
        /// By how much more.
        by: LinkCost,
    },
    /// It is there and not dearer, but not cheaper by enough to leave the way in use for it.
    NotWorthIt {
        /// What it costs.
        cost: LinkCost,
        /// By how much less.
        by: LinkCost,
    },
    /// It is there, but the other end does not answer at present.
    Silent {
        /// What it costs.
        cost: LinkCost,
    },
    /// It is there, but about to be closed.
    Closing {
        /// What it costs.
        cost: LinkCost,
    },
    /// Only one end says that it is there.
    OneSided {
        /// Which.
        says: RegionId,
    },
    /// There is none. What it would cost, if there is a guess.
    NotOpen {
        /// P and S.
        estimate: Option<SetUp>,
    },
}

/// What a link that is not open would cost.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetUp {
    /// P: one way, once it is open.
    pub propagation: LinkCost,
    /// S: opening it, spread over the exchanges to be expected.
    pub set_up: LinkCost,
}

impl RouteTable {
    /// Explains the route to a region. None for the origin itself.
    ///
    /// `suspects` are the neighbours that do not answer, as for [`update`](Self::update); `estimate` is what a link straight
    /// there would cost, for the case that there is none.
    pub fn explain(
        &self,
        now: Micros,
        destination: RegionId,
        db: &LinkStateDb,
        suspects: &dyn Fn(RegionId) -> bool,
        estimate: Option<SetUp>,
    ) -> Option<RouteExplanation> {
        let origin = self.origin();
        if destination == origin {
            return None;
        }
        let route = self.get(destination);
        let history = self.history(destination);
        let second = route.and_then(|best| self.second_or_found(db, best));
        Some(RouteExplanation {
            origin,
            destination,
            path: route.map(|route| explained(origin, db, route)),
            second: second.map(|route| explained(origin, db, &route)),
            direct: direct_way(origin, destination, db, route, suspects, estimate),
            change: history.map(|history| history.change),
            age: history.map(|history| now.saturating_sub(history.since)),
            changes: history.map_or(0, |history| history.changes),
            leaves_in: history
                .and_then(|history| history.leaves_at)
                .map(|at| at.saturating_sub(now)),
        })
    }
}

impl RouteExplanation {
    /// The paragraph for people, with `name` for each region.
    pub fn describe(&self, name: &dyn Fn(RegionId) -> String) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut text, name);
        text
    }

    fn write(&self, f: &mut dyn Write, name: &dyn Fn(RegionId) -> String) -> fmt::Result {
        write!(f, "from {} to {}: ", name(self.origin), name(self.destination))?;
        match &self.path {
            None => writeln!(f, "no way; no chain of links leads there")?,
            Some(path) => {
                let links = match path.hops.len() {
                    1 => "1 link".to_owned(),
                    links => format!("{links} links"),
                };
                writeln!(f, "{} one way over {links}", path.cost)?;
                for hop in &path.hops {
                    let cost = hop.propagation + hop.queueing + hop.relay;
                    write!(
                        f,
                        "  {} → {}: {cost} = propagation {} + queueing {}",
                        name(hop.from),
                        name(hop.to),
                        hop.propagation,
                        hop.queueing
                    )?;
                    if hop.to != self.destination {
                        write!(f, " + relay {}", hop.relay)?;
                    }
                    f.write_str(if hop.closing { " (about to close)\n" } else { "\n" })?;
                }
            }
        }
        match (&self.second, &self.path) {
            (Some(second), Some(path)) => {
                let ids = second.hops.iter().map(|hop| hop.to);
                let stops: Vec<String> =
                    std::iter::once(self.origin).chain(ids).map(name).collect();
                let compared = comparison(second.cost, path.cost);
                writeln!(f, "second way: {}: {}, {compared}", stops.join(" → "), second.cost)?;
            }
            (None, Some(_)) => writeln!(f, "second way: none starts with another link")?,
            (_, None) => {}
        }
        self.write_direct(f, name)?;
        if let (Some(change), Some(age)) = (self.change, self.age) {
            let changes = match self.changes {
                1 => "1 change".to_owned(),
                changes => format!("{changes} changes"),
            };
            let change = described(change, name);
            writeln!(f, "last change: {} ago: {change}; {changes} in all", span(age))?;
        }
        if let Some(left) = self.leaves_in {
            writeln!(
                f,
                "a way that is a little cheaper is taken in {}, if it still is then",
                span(left)
            )?;
        }
        Ok(())
    }

    fn write_direct(&self, f: &mut dyn Write, name: &dyn Fn(RegionId) -> String) -> fmt::Result {
        f.write_str("direct link: ")?;
        match self.direct {
            DirectWay::Taken => writeln!(f, "in use"),
            DirectWay::Dearer { cost, by } => writeln!(f, "{cost}, dearer by {by}"),
            DirectWay::NotWorthIt { cost, by } => {
                writeln!(f, "{cost}, cheaper by {by}: not enough to change for it now")
            }
            DirectWay::Silent { cost } => writeln!(f, "{cost}, but it does not answer"),
            DirectWay::Closing { cost } => writeln!(f, "{cost}, but it is about to close"),
            DirectWay::OneSided { says } => {
                writeln!(f, "only {} says that there is one", name(says))
            }
            DirectWay::NotOpen { estimate: None } => writeln!(f, "none; nothing is known about it"),
            DirectWay::NotOpen { estimate: Some(SetUp { propagation, set_up }) } => {
                let cost = propagation + set_up;
                write!(
                    f,
                    "none; it would cost about {cost} = propagation {propagation} + set-up {set_up}"
                )?;
                match &self.path {
                    Some(path) => writeln!(f, ", {}", comparison(cost, path.cost)),
                    None => writeln!(f),
                }
            }
        }
    }
}

impl fmt::Display for RouteExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, &|region| region.to_string())
    }
}

fn described(change: RouteChange, name: &dyn Fn(RegionId) -> String) -> String {
    match change {
        RouteChange::LinkDown { from, to } => {
            format!("link {} → {} is down", name(from), name(to))
        }
        RouteChange::NoTransit { relay } => format!("{} takes no transit", name(relay)),
        RouteChange::Closing { from, to } => {
            format!("link {} → {} is about to close", name(from), name(to))
        }
        RouteChange::Suspect { neighbour } => format!("{} does not answer", name(neighbour)),
        other => other.to_string(),
    }
}

fn comparison(cost: LinkCost, with: LinkCost) -> String {
    match cost.units().checked_sub(with.units()) {
        Some(0) => "as dear".to_owned(),
        Some(more) => format!("dearer by {}", LinkCost::from_units(more)),
        None => format!("cheaper by {}", LinkCost::from_units(with.units() - cost.units())),
    }
}

/// `0.4 s`, `12 s`, `3 min`, `5 h`.
fn span(time: Micros) -> String {
    match time.as_millis() {
        ms @ ..10_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        ms @ ..120_000 => format!("{} s", ms / 1_000),
        ms @ ..7_200_000 => format!("{} min", ms / 60_000),
        ms => format!("{} h", ms / 3_600_000),
    }
}

/// With the costs of now, which may have moved since the route was found. A link that has gone since then costs nothing
/// here; the next update leaves it.
fn explained(origin: RegionId, db: &LinkStateDb, route: &Route) -> ExplainedPath {
    let destination = route.destination();
    let mut from = origin;
    let mut hops = Vec::with_capacity(route.hops.len());
    for to in &route.hops {
        let link = db.link(from, *to);
        hops.push(ExplainedHop {
            from,
            to: *to,
            propagation: link.map(|link| link.propagation()).unwrap_or_default(),
            queueing: link.map(|link| link.queueing).unwrap_or_default(),
            relay: db.relay(*to).filter(|_| Some(*to) != destination).unwrap_or_default(),
            closing: link.is_some_and(|link| link.is_discouraged()),
        });
        from = *to;
    }
    let cost = hops.iter().map(|hop| hop.propagation + hop.queueing + hop.relay).sum();
    ExplainedPath { hops, cost }
}

fn direct_way(
    origin: RegionId,
    destination: RegionId,
    db: &LinkStateDb,
    route: Option<&Route>,
    suspects: &dyn Fn(RegionId) -> bool,
    estimate: Option<SetUp>,
) -> DirectWay {
    if route.is_some_and(|route| route.hops.len() == 1) {
        return DirectWay::Taken;
    }
    let Some(link) = db.link(origin, destination) else {
        let ours = db.advert(origin, destination).map(|_| origin);
        let theirs = db.advert(destination, origin).map(|_| destination);
        return match ours.or(theirs) {
            Some(says) => DirectWay::OneSided { says },
            None => DirectWay::NotOpen { estimate },
        };
    };
    let cost = link.cost;
    if suspects(destination) {
        return DirectWay::Silent { cost };
    }
    if link.is_discouraged() {
        return DirectWay::Closing { cost };
    }
    let used = route.map_or(cost, |route| route.cost).units();
    match cost.units().checked_sub(used) {
        Some(more @ 1..) => DirectWay::Dearer { cost, by: LinkCost::from_units(more) },
        _ => DirectWay::NotWorthIt { cost, by: LinkCost::from_units(used - cost.units()) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LinkAdvert, LinkState};

    fn region(id: u16) -> RegionId {
        RegionId::new(id).unwrap()
    }

    fn us(us: u64) -> LinkCost {
        LinkCost::from_micros(us)
    }

    fn state(id: u16, relay: LinkCost, links: &[(u16, u64, u64)]) -> LinkState {
        let advert = |(to, cost, queueing): &(u16, u64, u64)| LinkAdvert {
            queueing: us(*queueing),
            ..LinkAdvert::new(region(*to), us(*cost))
        };
        let links = links.iter().map(advert).collect();
        LinkState { region: region(id), seq: 1, relay, no_transit: false, links }
    }

    /// 1 - 2 - 4 is the cheapest way, 1 - 3 - 4 the second, the link from 1 to 4 is dear; 5 is linked to 2 only.
    fn db() -> LinkStateDb {
        let mut db = LinkStateDb::new();
        db.apply(state(1, us(50), &[(2, 10_000, 400), (3, 12_000, 0), (4, 60_000, 0)]));
        db.apply(state(2, us(50), &[(1, 10_000, 0), (4, 20_000, 1_000), (5, 1_000, 0)]));
        db.apply(state(3, us(70), &[(1, 12_000, 0), (4, 25_000, 0)]));
        db.apply(state(4, us(50), &[(1, 60_000, 0), (2, 20_000, 0), (3, 25_000, 0)]));
        db.apply(state(5, us(50), &[(2, 1_000, 0)]));
        db
    }

    #[test]
    fn every_term_the_second_way_and_the_direct_link_are_told() {
        let db = db();
        let mut table = RouteTable::empty(region(1));
        table.update(Micros::from_secs(5), &db, &|_| false);
        let now = Micros::from_secs(17);
        let explained = table.explain(now, region(4), &db, &|_| false, None).unwrap();
        let text = explained.to_string();
        assert_eq!(
            text,
            "from 1 to 4: 30.05 ms one way over 2 links\n  \
             1 → 2: 10.05 ms = propagation 9.60 ms + queueing 0.40 ms + relay 0.05 ms\n  \
             2 → 4: 20.00 ms = propagation 19.00 ms + queueing 1.00 ms\n\
             second way: 1 → 3 → 4: 37.07 ms, dearer by 7.02 ms\n\
             direct link: 60.00 ms, dearer by 29.95 ms\n\
             last change: 12 s ago: the region was seen for the first time; 1 change in all\n"
        );
        let path = explained.path.as_ref().unwrap();
        let terms = path.hops.iter().map(|hop| hop.propagation + hop.queueing + hop.relay);
        assert_eq!(terms.sum::<LinkCost>(), path.cost);
        let named = explained.describe(&|region| format!("r{region}"));
        assert!(named.starts_with("from r1 to r4: ") && named.contains("r1 → r3 → r4"), "{named}");
        let json = serde_json::to_string(&explained).unwrap();
        assert_eq!(serde_json::from_str::<RouteExplanation>(&json).unwrap(), explained);
    }

    #[test]
    fn why_a_direct_link_is_not_taken_is_told_in_every_case() {
        let mut db = db();
        let table = RouteTable::compute(region(1), &db);
        let direct = |db: &LinkStateDb, to, silent: bool, estimate| {
            table.explain(Micros::ZERO, region(to), db, &|_| silent, estimate).unwrap().direct
        };
        assert_eq!(direct(&db, 2, false, None), DirectWay::Taken);
        assert_eq!(direct(&db, 4, true, None), DirectWay::Silent { cost: us(60_000) });
        let guess = Some(SetUp { propagation: us(8_000), set_up: us(2_000) });
        assert_eq!(direct(&db, 5, false, guess), DirectWay::NotOpen { estimate: guess });
        let text = table.explain(Micros::ZERO, region(5), &db, &|_| false, guess).unwrap();
        assert!(text.to_string().contains("would cost about 10.00 ms"), "{text}");

        let mut own = db.get(region(1)).unwrap();
        own.seq += 1;
        own.links.retain(|link| link.to != region(4));
        db.apply(own.clone());
        assert_eq!(direct(&db, 4, false, None), DirectWay::OneSided { says: region(4) });
        own.seq += 1;
        own.links.push(LinkAdvert::new(region(4), us(29_900)));
        db.apply(own.clone());
        let close = DirectWay::NotWorthIt { cost: us(29_900), by: us(150) };
        assert_eq!(direct(&db, 4, false, None), close);
        own.seq += 1;
        own.links.retain(|link| link.to != region(4));
        own.links
            .push(LinkAdvert { flags: LinkAdvert::CLOSING, ..LinkAdvert::new(region(4), us(100)) });
        db.apply(own);
        assert_eq!(direct(&db, 4, false, None), DirectWay::Closing { cost: us(100) });
    }

    #[test]
    fn a_region_without_a_way_and_the_origin_are_explained_as_such() {
        let mut db = db();
        let mut table = RouteTable::compute(region(1), &db);
        assert_eq!(table.explain(Micros::ZERO, region(1), &db, &|_| false, None), None);
        db.remove(region(2));
        table.update(Micros::from_secs(1), &db, &|_| false);
        let now = Micros::from_secs(301);
        let lost = table.explain(now, region(5), &db, &|_| false, None).unwrap();
        assert_eq!((&lost.path, &lost.second), (&None, &None));
        assert_eq!(
            lost.to_string(),
            "from 1 to 5: no way; no chain of links leads there\n\
             direct link: none; nothing is known about it\n\
             last change: 5 min ago: link 1 → 2 is down; 2 changes in all\n"
        );
        let never = table.explain(now, region(77), &db, &|_| false, None).unwrap();
        assert_eq!((never.change, never.changes), (None, 0));
    }
}
