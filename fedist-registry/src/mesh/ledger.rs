//! What the traffic has paid towards links that are not open.

use std::collections::BTreeMap;

use crate::{LinkCost, Micros, RegionId};

/// Traffic to each region, and what it has lost so far on ways longer than a direct link.
///
/// A link is bought as skis are: rent until the rent paid reaches the price (A. R. Karlin, M. S. Manasse, L. Rudolph and
/// D. D. Sleator, "Competitive snoopy caching", Algorithmica 3, 1988). Whatever comes afterwards, that costs at most twice
/// what somebody would pay who knew the future, and one exchange more. What was paid fades with a half-life of
/// [`HALF_LIFE`](Self::HALF_LIFE), so that a rare message never buys a link.
#[derive(Clone, Debug, Default)]
pub struct TrafficLedger {
    accounts: BTreeMap<RegionId, Account>,
    faded_at: Option<Micros>,
}

/// The account of one region.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
pub struct Account {
    /// Messages sent there since the node started.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages per second, smoothed over about ten seconds.
    pub rate: f64,
    /// What they have paid by going around, in µs.
    pub paid_us: f64,
    /// Cost of the way in µs, smoothed over the last samples, and how many of them there are.
    path: (f64, u32),
    /// Messages since the account was settled last.
    pending: u64,
    /// Since when the price is reached, if it is.
    pub(super) ready_since: Option<Micros>,
}

impl TrafficLedger {
    /// Half of what was paid is forgotten after this time.
    pub const HALF_LIFE: Micros = Micros::from_secs(600);

    /// A ledger of no traffic.
    pub fn new() -> Self {
        Self::default()
    }

    /// Books messages to a region.
    pub fn note(&mut self, to: RegionId, messages: u64, bytes: u64) {
        let account = self.accounts.entry(to).or_default();
        account.messages = account.messages.saturating_add(messages);
        account.bytes = account.bytes.saturating_add(bytes);
        account.pending = account.pending.saturating_add(messages);
    }

    /// The account of a region that got messages.
    pub fn get(&self, to: RegionId) -> Option<&Account> {
        self.accounts.get(&to)
    }

    /// Forgets every account that `keep` does not name: regions that left, above all.
    pub(super) fn retain(&mut self, keep: impl Fn(RegionId) -> bool) {
        self.accounts.retain(|to, _| keep(*to));
    }

    /// Lets time pass: rates are smoothed and old payments fade.
    pub(super) fn fade(&mut self, now: Micros) {
        let since = self.faded_at.replace(now).map_or(Micros::ZERO, |at| now.saturating_sub(at));
        let seconds = since.as_millis() as f64 / 1000.0;
        if seconds <= 0.0 {
            return;
        }
        let left = (-seconds / (Self::HALF_LIFE.as_millis() as f64 / 1000.0)).exp2();
        let weight = (seconds / RATE_SECONDS).min(1.0);
        for account in self.accounts.values_mut() {
            account.paid_us *= left;
            account.rate += weight * (account.pending as f64 / seconds - account.rate);
        }
    }

    /// Regions with messages that have not been settled yet.
    pub(super) fn unsettled(&self) -> Vec<RegionId> {
        self.accounts.iter().filter(|(_, account)| account.pending > 0).map(|(to, _)| *to).collect()
    }

    /// The cost of the present way to a region, smoothed so that no moment's jitter counts as a detour.
    pub(super) fn smooth(&mut self, to: RegionId, path_us: u64) -> LinkCost {
        let Some(account) = self.accounts.get_mut(&to) else {
            return LinkCost::from_micros(path_us);
        };
        let (mean, samples) = &mut account.path;
        *samples = (*samples + 1).min(PATH_SAMPLES);
        *mean += (path_us as f64 - *mean) / f64::from(*samples);
        LinkCost::from_micros(*mean as u64)
    }

    /// Settles an account: its messages since the last time went over a way of cost `path` where a direct link would cost
    /// `direct`, and such a link has a price. True when they have paid it.
    pub(super) fn settle(
        &mut self,
        to: RegionId,
        now: Micros,
        path: LinkCost,
        direct: LinkCost,
        price_us: u64,
    ) -> bool {
        let Some(account) = self.accounts.get_mut(&to) else {
            return false;
        };
        let excess = path.as_micros().saturating_sub(direct.as_micros()) as f64;
        account.paid_us += std::mem::take(&mut account.pending) as f64 * excess;
        let ready = account.paid_us >= price_us as f64;
        account.ready_since = if ready { account.ready_since.or(Some(now)) } else { None };
        ready
    }

    /// Messages that need no account: they go over a direct link, or one is not worth having.
    pub(super) fn write_off(&mut self, to: RegionId) {
        if let Some(account) = self.accounts.get_mut(&to) {
            account.pending = 0;
            account.ready_since = None;
        }
    }

    /// The link was bought, or could not be had: the next one costs the whole price again.
    pub(super) fn close(&mut self, to: RegionId) {
        self.write_off(to);
        if let Some(account) = self.accounts.get_mut(&to) {
            account.paid_us = 0.0;
        }
    }
}

const RATE_SECONDS: f64 = 10.0;
/// As many settlements, about one a second.
const PATH_SAMPLES: u32 = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn to() -> RegionId {
        RegionId::new(7).unwrap()
    }

    fn micros(us: u64) -> LinkCost {
        LinkCost::from_micros(us)
    }

    #[test]
    fn a_link_is_bought_when_its_price_was_lost_and_not_before() {
        let mut ledger = TrafficLedger::new();
        let mut settle = |messages| {
            ledger.note(to(), messages, 100 * messages);
            ledger.settle(to(), Micros::ZERO, micros(60_000), micros(50_000), 100_000)
        };
        assert!(!settle(9), "90 ms lost");
        assert!(settle(1), "100 ms lost");
        assert_eq!(ledger.get(to()).unwrap().bytes, 1_000);
        ledger.close(to());
        assert_eq!(ledger.get(to()).unwrap().paid_us, 0.0);
    }

    #[test]
    fn a_way_that_is_not_longer_pays_nothing() {
        let mut ledger = TrafficLedger::new();
        ledger.note(to(), u64::MAX, u64::MAX);
        assert!(!ledger.settle(to(), Micros::ZERO, micros(40_000), micros(50_000), 1));
    }

    #[test]
    fn what_was_paid_long_ago_counts_half() {
        let mut ledger = TrafficLedger::new();
        ledger.fade(Micros::ZERO);
        ledger.note(to(), 1, 1);
        ledger.settle(to(), Micros::ZERO, micros(2_000), micros(1_000), 5_000);
        ledger.fade(TrafficLedger::HALF_LIFE);
        assert!((ledger.get(to()).unwrap().paid_us - 500.0).abs() < 0.001);
    }

    proptest! {
        /// Rent and price together, against whoever knows how many messages will come.
        #[test]
        fn never_more_than_twice_the_cost_of_knowing_the_future(
            messages in 1_u64..400, excess_us in 10_u64..100_000, price_us in 1_u64..1_000_000,
        ) {
            let excess_us = excess_us / 10 * 10;
            let mut ledger = TrafficLedger::new();
            let mut cost = 0;
            let mut open = false;
            for _ in 0..messages {
                if open {
                    continue;
                }
                cost += excess_us;
                ledger.note(to(), 1, 1);
                if ledger.settle(to(), Micros::ZERO, micros(50_000 + excess_us), micros(50_000), price_us) {
                    cost += price_us;
                    open = true;
                }
            }
            let best = (messages * excess_us).min(price_us);
            prop_assert!(cost <= 2 * best + excess_us, "{cost} against {best}");
        }
    }
}
