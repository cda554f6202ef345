//! How far the own clock is from the root's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{ClockInterval, ClockSample, LinkClock, Micros, RegionId};

/// What a region tells its neighbours about its clock.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockAdvert {
    /// Its clock now, in µs.
    pub reading: u64,
    /// What it knows about the root's.
    pub root: Option<RootView>,
}

/// What one region knows about the root's clock.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootView {
    /// Whose clock that is.
    pub root: RegionId,
    /// Which start of the root; a root that starts again has another clock.
    pub boot: u32,
    /// The root's clock less the teller's.
    pub interval: ClockInterval,
    /// Links to the root on the way that this came; zero from the root itself.
    pub hops: u8,
    /// Whether it holds even if one of the teller's sources has a bad clock.
    pub confirmed: bool,
}

/// An estimate of the difference between the root's clock and the own one.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockEstimate {
    /// The root whose clock it is about.
    pub root: RegionId,
    /// The moment, on the time line of the node.
    pub now: Micros,
    /// The own clock at this moment, in µs since 1970 by the machine's clock at the start of the node, undisturbed since.
    pub reading_us: u64,
    /// What to add to the own clock to get the root's, in µs.
    pub offset_us: i64,
    /// How far the offset is from the truth at most, in µs.
    pub error_us: u64,
    /// Neighbours whose word agrees with it; zero at the root.
    pub sources: usize,
    /// Links to the root by the shortest of them.
    pub hops: u8,
    /// Whether the bound holds even if one clock in the federation is bad; it takes a link to the root, or three sources.
    pub confirmed: bool,
}

impl ClockEstimate {
    /// What is left of it at a later moment: the bound has grown by what both clocks may drift.
    pub fn at(self, now: Micros) -> ClockEstimate {
        let age = now - self.now;
        let grown = ClockInterval::ZERO.aged(age).error_us();
        ClockEstimate {
            now: self.now + age,
            reading_us: self.reading_us.saturating_add(age.0),
            // The root's clock has no error however old the estimate is.
            error_us: if self.hops == 0 { 0 } else { self.error_us.saturating_add(grown) },
            ..self
        }
    }

    /// The root's clock at that moment, in µs since 1970, to [`error_us`](Self::error_us).
    pub fn root_time_us(&self) -> u64 {
        self.reading_us.saturating_add_signed(self.offset_us)
    }
}

/// Estimates the difference to the root's clock from what the links measure and the neighbours tell.
///
/// Each neighbour gives an interval: the link's own one, and on top of it what the neighbour says about the root. They are
/// combined by intersection (Marzullo 1984; RFC 5905, section 11.2.1) such that one of them may be wrong: of `n >= 3`
/// intervals the part that `n - 1` have in common is taken, with all in between. One bad clock is so outvoted, and the bound
/// holds. Two sources are not enough to see which one is wrong: then all that either allows is allowed. A link to the root
/// itself needs no vote.
///
/// An estimate from three confirmed sources is *confirmed*, and is told as such. Once confirmed, it is kept with a
/// bound that grows by 100 ppm, and new ones only narrow it.
///
/// No safety property of the federation uses it.
#[derive(Clone, Debug)]
pub struct RootClock {
    me: RegionId,
    boot: u32,
    base: u64,
    root: Option<RegionId>,
    sources: BTreeMap<RegionId, Source>,
    own: Option<Own>,
}

#[derive(Clone, Debug, Default)]
struct Source {
    clock: LinkClock,
    told: Option<(Micros, ClockAdvert)>,
}

#[derive(Copy, Clone, Debug)]
struct Own {
    at: Micros,
    /// When sources last agreed on it.
    fresh: Micros,
    boot: u32,
    interval: ClockInterval,
    sources: usize,
    hops: u8,
    confirmed: bool,
}

/// A source's word about the root, as seen from here.
#[derive(Copy, Clone)]
struct Word {
    interval: ClockInterval,
    boot: u32,
    hops: u8,
    confirmed: bool,
}

impl RootClock {
    /// The clock of region `me` in its `boot`th life, which read `base` µs at the moment that is [`Micros::ZERO`].
    pub fn new(me: RegionId, boot: u32, base: u64) -> Self {
        RootClock { me, boot, base, root: None, sources: BTreeMap::new(), own: None }
    }

    /// Says who the root is. Another one makes everything known about the one before useless.
    pub fn set_root(&mut self, root: Option<RegionId>) {
        if self.root != root {
            self.root = root;
            self.own = None;
        }
    }

    /// The own clock's reading.
    pub fn reading(&self, now: Micros) -> u64 {
        self.base.saturating_add(now.0)
    }

    /// Takes an exchange of stamps on the link to `peer`.
    pub fn sample(&mut self, now: Micros, peer: RegionId, sample: ClockSample) {
        self.sources.entry(peer).or_default().clock.sample(now, sample);
    }

    /// Takes what `peer` told over its link; what cannot be true is ignored.
    pub fn handle_advert(&mut self, now: Micros, peer: RegionId, advert: ClockAdvert) {
        let plausible = advert
            .root
            .is_none_or(|view| view.interval.is_valid() && (view.hops > 0) == (view.root != peer));
        if !plausible {
            return;
        }
        let reading = self.reading(now);
        let source = self.sources.entry(peer).or_default();
        source.clock.set_readings(reading, advert.reading);
        source.told = Some((now, advert));
        self.update(now);
    }

    /// Forgets a link that is gone.
    pub fn remove_link(&mut self, peer: RegionId) {
        self.sources.remove(&peer);
    }

    /// The clock at the other end of a link, less the own one.
    pub fn link(&self, now: Micros, peer: RegionId) -> Option<ClockInterval> {
        self.sources.get(&peer)?.clock.interval(now)
    }

    /// What to tell the neighbours.
    pub fn advert(&self, now: Micros) -> ClockAdvert {
        let reading = self.reading(now);
        let Some(root) = self.root else {
            return ClockAdvert { reading, root: None };
        };
        let root = if root == self.me {
            let interval = ClockInterval::ZERO;
            Some(RootView { root, boot: self.boot, interval, hops: 0, confirmed: true })
        } else {
            self.own.map(|own| RootView {
                root,
                boot: own.boot,
                interval: own.interval.aged(now - own.at),
                hops: own.hops,
                confirmed: own.confirmed,
            })
        };
        ClockAdvert { reading, root }
    }

    /// The estimate; none before a neighbour knew the root's clock.
    pub fn estimate(&self, now: Micros) -> Option<ClockEstimate> {
        let root = self.root?;
        let reading_us = self.reading(now);
        if root == self.me {
            return Some(ClockEstimate {
                root,
                now,
                reading_us,
                offset_us: 0,
                error_us: 0,
                sources: 0,
                hops: 0,
                confirmed: true,
            });
        }
        let own = self.own?;
        let interval = own.interval.aged(now - own.at);
        Some(ClockEstimate {
            root,
            now,
            reading_us,
            offset_us: interval.offset_us(),
            error_us: interval.error_us(),
            sources: own.sources,
            hops: own.hops,
            confirmed: own.confirmed,
        })
    }

    /// Combines what is known; to be called about once per second.
    pub fn update(&mut self, now: Micros) {
        let Some(root) = self.root.filter(|root| *root != self.me) else {
            return;
        };
        let words: Vec<(RegionId, Word)> = self
            .sources
            .iter()
            .filter_map(|(peer, source)| Some((*peer, self.word(now, root, source)?)))
            .collect();
        let Some(mut new) = combine(root, &words, now) else {
            return;
        };
        let held = self.own.filter(|own| own.boot == new.boot);
        if let Some(held) = held.filter(|own| own.confirmed) {
            let before = held.interval.aged(now - held.at);
            if new.confirmed {
                new.interval = new.interval.intersection(before).unwrap_or(new.interval);
            } else if now - held.fresh < CONFIRMED_FOR {
                return;
            }
        }
        self.own = Some(new);
    }

    fn word(&self, now: Micros, root: RegionId, source: &Source) -> Option<Word> {
        let link = source.clock.interval(now)?;
        let (told_at, advert) = source.told?;
        let view = advert.root.filter(|view| view.root == root && view.hops < MOST_HOPS)?;
        // The word is as old as the teller's clock says, which the link knows.
        let there = i128::from(self.reading(now)) + i128::from(link.high);
        let age = u64::try_from(there - i128::from(advert.reading)).unwrap_or(0);
        let age = Micros(age).max(now - told_at);
        Some(Word {
            interval: link.then(view.interval.aged(age)),
            boot: view.boot,
            hops: view.hops.saturating_add(1),
            confirmed: view.confirmed,
        })
    }
}

/// The estimate that follows from the neighbours' words.
///
/// With three confirmed words of the root's present start those alone vote: one of them may be wrong. With fewer, the words
/// that came over the fewest links do; others may come from here, and would widen their own echo for ever.
fn combine(root: RegionId, words: &[(RegionId, Word)], now: Micros) -> Option<Own> {
    let direct = words.iter().find(|(peer, _)| *peer == root).map(|(_, word)| *word);
    let all = || words.iter().map(|(_, word)| *word);
    let confirmed: Vec<Word> = all().filter(|word| word.confirmed).collect();
    let boot = direct.map(|word| word.boot).or_else(|| second_highest_boot(&confirmed));
    let mut voters: Vec<Word> =
        confirmed.into_iter().filter(|word| Some(word.boot) == boot).collect();
    let full_vote = voters.len() >= 3;
    if !full_vote {
        let fewest = all().map(|word| word.hops).min()?;
        let nearest = || all().filter(|word| word.hops == fewest);
        let newest = nearest().map(|word| word.boot).max()?;
        voters = nearest().filter(|word| word.boot == newest).collect();
    }
    let intervals: Vec<ClockInterval> = voters.iter().map(|word| word.interval).collect();
    let voted = vote(&intervals)?;
    let interval = match direct {
        // Others only narrow what the root says itself, and only with a full vote.
        Some(word) if full_vote => word.interval.intersection(voted).unwrap_or(word.interval),
        Some(word) => word.interval,
        None => voted,
    };
    let agreeing: Vec<&Word> =
        voters.iter().filter(|word| word.interval.intersection(interval).is_some()).collect();
    let nearest = direct.as_ref().or(agreeing.iter().copied().min_by_key(|word| word.hops))?;
    Some(Own {
        at: now,
        fresh: now,
        boot: nearest.boot,
        interval,
        sources: agreeing.len().max(usize::from(direct.is_some())),
        hops: nearest.hops,
        confirmed: direct.is_some() || full_vote,
    })
}

/// One of them may be wrong, so the highest start that two say is the present one.
fn second_highest_boot(words: &[Word]) -> Option<u32> {
    let mut boots: Vec<u32> = words.iter().map(|word| word.boot).collect();
    boots.sort_unstable_by(|a, b| b.cmp(a));
    boots.get(1).copied()
}

/// Where the truth is, if one of three or more intervals may be wrong; of one or two, where either allows it.
///
/// If more than one is wrong, the largest group that agrees counts, as long as it is more than half; else nothing is
/// excluded.
fn vote(intervals: &[ClockInterval]) -> Option<ClockInterval> {
    let everything = intervals.iter().copied().reduce(ClockInterval::hull)?;
    let count = intervals.len();
    if count < 3 {
        return Some(everything);
    }
    let agreed = (1..=(count - 1) / 2).find_map(|wrong| covered_by(intervals, count - wrong));
    Some(agreed.unwrap_or(everything))
}

/// The smallest interval with all points that lie in `wanted` of the intervals or more.
fn covered_by(intervals: &[ClockInterval], wanted: usize) -> Option<ClockInterval> {
    let depth = |point: i64| {
        intervals.iter().filter(|interval| interval.low <= point && point <= interval.high).count()
    };
    // The outermost such points are ends of intervals.
    let low = intervals.iter().map(|i| i.low).filter(|low| depth(*low) >= wanted).min()?;
    let high = intervals.iter().map(|i| i.high).filter(|high| depth(*high) >= wanted).max()?;
    Some(ClockInterval { low, high })
}

/// How long a confirmed estimate is preferred to newer ones without confirmation. By then its bound has grown by 60 ms.
const CONFIRMED_FOR: Micros = Micros::from_secs(600);

/// Words from further away run in circles.
const MOST_HOPS: u8 = 32;

#[cfg(test)]
mod tests;
