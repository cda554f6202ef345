//! When a link's cost is worth telling the whole federation.

use crate::{LinkCost, Micros};

/// Paces what is announced about one link, or about the relay delay of one region.
///
/// - *Up*: after two good exchanges, so that a link that cannot hold does not move anybody's routes.
/// - *Cost*: when it has moved by more than the greater of 5 % and 1 ms from what others know, and at most once in 5 s. While
///   the region settles ([`Strain`](crate::Strain)) 1 % and 0.3 ms are enough: what was told first had few measurements, and
///   routes differ by less than what would be left.
/// - *Down* and *no transit*: at once; nothing is asked of this pace.
///
/// An announcement carries all links of its region, so with each of them the owner [`record`](Self::record)s every link
/// at the cost that went out; a region whose costs all move then announces once in 5 s, not once per link.
///
/// ```
/// use fedist_registry::{AdvertPace, LinkCost, Micros};
///
/// let mut pace = AdvertPace::new();
/// let cost = LinkCost::from_micros(20_000);
/// pace.handle_exchange();
/// assert!(!pace.wants(Micros::ZERO, cost), "once is not enough");
/// pace.handle_exchange();
/// assert!(pace.wants(Micros::ZERO, cost));
/// pace.record(Micros::ZERO, cost);
/// assert!(!pace.wants(Micros::from_secs(60), LinkCost::from_micros(20_900)));
/// assert!(pace.wants(Micros::from_secs(60), LinkCost::from_micros(21_100)));
/// ```
#[derive(Copy, Clone, Debug, Default)]
pub struct AdvertPace {
    exchanges: u8,
    told: Option<(LinkCost, Micros)>,
}

impl AdvertPace {
    /// A link that is new.
    pub const fn new() -> AdvertPace {
        AdvertPace { exchanges: 0, told: None }
    }

    /// For what is up from the start, such as the relay delay of this region.
    pub const fn proven() -> AdvertPace {
        AdvertPace { exchanges: EXCHANGES, told: None }
    }

    /// Something that was sent over the link was answered; `true` if that was what was missing for it to be up.
    pub const fn handle_exchange(&mut self) -> bool {
        let missing = self.exchanges < EXCHANGES;
        if missing {
            self.exchanges += 1;
        }
        missing && self.is_up()
    }

    /// Whether the link has answered often enough to be announced.
    pub const fn is_up(&self) -> bool {
        self.exchanges >= EXCHANGES
    }

    /// What others were told last.
    pub const fn told(&self) -> Option<LinkCost> {
        match self.told {
            Some((cost, _)) => Some(cost),
            None => None,
        }
    }

    /// Whether the cost should be announced now.
    pub fn wants(&self, now: Micros, cost: LinkCost) -> bool {
        self.is_up()
            && match self.told {
                None => true,
                Some((told, at)) => moved(told, cost) && now >= at + PAUSE,
            }
    }

    /// Whether the cost should be announced now by a region that settles.
    pub fn wants_settling(&self, now: Micros, cost: LinkCost) -> bool {
        self.is_up()
            && match self.told {
                None => true,
                Some((told, at)) => moved_a_little(told, cost) && now >= at + PAUSE,
            }
    }

    /// When the cost may be announced, if it should be at all: now or later. For the owner's timer.
    pub fn due(&self, now: Micros, cost: LinkCost) -> Option<Micros> {
        match self.told {
            _ if !self.is_up() => None,
            None => Some(now),
            Some((told, at)) => moved(told, cost).then(|| (at + PAUSE).max(now)),
        }
    }

    /// An announcement with this cost goes out.
    pub const fn record(&mut self, now: Micros, cost: LinkCost) {
        self.told = Some((cost, now));
    }
}

/// Paces what a region announces of itself that is no bad news: at once, but once per second where changes go on and on, as
/// in a region that starts among many.
///
/// Sixteen announcements may follow each other, later ones come a second after the one before, until none was needed for
/// three seconds.
#[derive(Clone, Debug, Default)]
pub struct StatePace {
    last: Option<Micros>,
    /// Announcements since the last quiet time.
    runs: u32,
    due: Option<Micros>,
}

impl StatePace {
    /// Nothing was announced yet.
    pub const fn new() -> StatePace {
        StatePace { last: None, runs: 0, due: None }
    }

    /// There is something to announce.
    pub fn handle_news(&mut self, now: Micros) {
        if self.last.is_none_or(|last| now - last >= QUIET) {
            self.runs = 0;
        }
        let at = match self.last {
            Some(last) if self.runs >= FREE => now.max(last + LATER),
            _ => now,
        };
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// When to announce: at once or later; none while there is nothing.
    pub const fn poll_timeout(&self) -> Option<Micros> {
        self.due
    }

    /// It was announced, when it was due or because it could not wait.
    pub const fn handle_announced(&mut self, now: Micros) {
        self.last = Some(now);
        self.runs = self.runs.saturating_add(1);
        self.due = None;
    }
}

fn moved(told: LinkCost, cost: LinkCost) -> bool {
    let slack = (told.units() / 20).max(SLACK.units());
    cost.units().abs_diff(told.units()) > slack
}

fn moved_a_little(told: LinkCost, cost: LinkCost) -> bool {
    let slack = (told.units() / 100).max(LITTLE_SLACK.units());
    cost.units().abs_diff(told.units()) > slack
}

/// Good exchanges before a link is announced.
const EXCHANGES: u8 = 2;
const PAUSE: Micros = Micros::from_secs(5);
/// Announcements in a row that need not keep their distance.
const FREE: u32 = 16;
const LATER: Micros = Micros::from_secs(1);
/// Without an announcement for this long, the next is a first one again.
const QUIET: Micros = Micros::from_secs(3);
/// 1 ms.
const SLACK: LinkCost = LinkCost::from_units(100);
/// 0.3 ms.
const LITTLE_SLACK: LinkCost = LinkCost::from_units(30);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Announcements of a region in which something changes every 10 ms until `until`, in ms.
    fn announced(until: u64) -> Vec<u64> {
        let (mut pace, mut at) = (StatePace::new(), Vec::new());
        for now in 0..until + 5_000 {
            if now % 10 == 0 && now < until {
                pace.handle_news(Micros::from_millis(now));
            }
            if pace.poll_timeout().is_some_and(|due| due <= Micros::from_millis(now)) {
                pace.handle_announced(Micros::from_millis(now));
                at.push(now);
            }
        }
        at
    }

    #[test]
    fn a_few_announcements_go_out_at_once_and_many_come_once_per_second() {
        assert_eq!(announced(1), [0]);
        assert_eq!(announced(40), [0, 10, 20, 30]);
        let at = announced(10_000);
        assert!(at[..16].iter().all(|at| *at < 160), "{at:?}");
        assert!(at[15..].windows(2).all(|two| two[1] - two[0] >= 1_000), "{at:?}");
        assert_eq!(at.len(), 26, "{at:?}");
        assert!(at.last().is_some_and(|at| *at >= 9_990), "the last change is told: {at:?}");
    }

    fn ms(ms: u64) -> LinkCost {
        LinkCost::from_micros(ms * 1_000)
    }

    #[test]
    fn a_move_is_told_when_it_is_beyond_one_millisecond_and_a_twentieth() {
        let cases = [
            // told, now, worth it
            (ms(4), ms(5), false),
            (ms(4), LinkCost::from_micros(5_010), true),
            (ms(200), ms(210), false),
            (ms(200), ms(211), true),
            (ms(200), ms(189), true),
            (LinkCost::MAX, LinkCost::ZERO, true),
            (LinkCost::ZERO, LinkCost::MAX, true),
        ];
        for (told, cost, worth_it) in cases {
            let mut pace = AdvertPace::proven();
            pace.record(Micros::ZERO, told);
            assert_eq!(pace.wants(Micros::from_secs(5), cost), worth_it, "{told} to {cost}");
            assert!(!pace.wants(Micros::from_millis(4_999), cost), "not within 5 s");
            let due = worth_it.then_some(Micros::from_secs(5));
            assert_eq!(pace.due(Micros::from_secs(1), cost), due);
        }
    }

    #[test]
    fn a_region_that_settles_tells_a_move_beyond_a_third_of_a_millisecond_and_a_hundredth() {
        let us = LinkCost::from_micros;
        let cases = [
            // told, now, worth it
            (ms(4), us(4_300), false),
            (ms(4), us(4_310), true),
            (ms(200), us(202_000), false),
            (ms(200), us(197_990), true),
        ];
        for (told, cost, worth_it) in cases {
            let mut pace = AdvertPace::proven();
            pace.record(Micros::ZERO, told);
            assert_eq!(
                pace.wants_settling(Micros::from_secs(5), cost),
                worth_it,
                "{told} to {cost}"
            );
            assert!(!pace.wants_settling(Micros::from_millis(4_999), cost), "not within 5 s");
            assert!(!pace.wants(Micros::from_secs(5), cost), "no other region does");
        }
        assert!(!AdvertPace::new().wants_settling(Micros::ZERO, ms(1)), "it is not up");
        assert!(AdvertPace::proven().wants_settling(Micros::ZERO, ms(1)));
    }

    proptest! {
        #[test]
        fn whatever_the_cost_does_it_is_told_at_most_once_in_five_seconds(costs in prop::collection::vec(0_u32..1_000_000, 1..200)) {
            let mut pace = AdvertPace::proven();
            let mut told = Vec::new();
            for (step, cost) in costs.iter().enumerate() {
                let (now, cost) = (Micros::from_millis(step as u64 * 500), LinkCost::from_units(*cost));
                if pace.wants(now, cost) {
                    pace.record(now, cost);
                    told.push(now);
                }
                let known = pace.told().unwrap();
                prop_assert!(!pace.wants(now, known));
            }
            prop_assert!(told.windows(2).all(|pair| pair[1] - pair[0] >= Micros::from_secs(5)));
        }
    }
}
