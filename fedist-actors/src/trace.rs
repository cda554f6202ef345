//! The way of a message, region by region, by real frames.

use std::{fmt, time::Duration};

use fedist_registry::RegionId;
use futures_util::future::{Either, join_all, select};
use serde::{Deserialize, Serialize};

use crate::{Node, hub::TraceAnswer};

/// What a trace has found out: the regions on the way, in order, this one first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// Where it began.
    pub from: RegionId,
    /// Where it was to go.
    pub to: RegionId,
    /// The regions that were heard of, this one first. The last one is `to` if [`reached`](Self::reached).
    pub hops: Vec<TraceHop>,
    /// The regions that the route names behind the last one that was heard of. One of them, or the link to the first, has
    /// swallowed the frames.
    pub silent: Vec<RegionId>,
    /// From the send to the answer of the last region heard of, in µs; `None` if nobody has answered.
    pub rtt_us: Option<u64>,
}

/// One region on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceHop {
    /// The region.
    pub region: RegionId,
    /// From reading the frame off the link to handing it to the next one (or to the answer), in µs. `None` for the origin.
    pub residence_us: Option<u32>,
    /// The region's own estimate of what the link costs one way by which it passed the frame on, in µs. `None` for the last
    /// one, and where the link is not measured yet.
    pub link_us: Option<u32>,
    /// The smoothed round trip of that link, in µs.
    pub link_rtt_us: Option<u32>,
}

/// Why there is no trace. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The registry copy has no such region that is live. Check the number.
    #[error("unknown region ({0}); a trace leads to a live region; list them: fedist regions")]
    UnknownRegion(RegionId),
    /// No chain of links leads there now. It may later.
    #[error(
        "no route to region {0}; a trace takes the way of messages; check `fedist links` on both and try again"
    )]
    NoRoute(RegionId),
    /// As many probes as there may be are under way. Try again when they have ended.
    #[error("too many traces (at most {max} probes at a time); try again in a moment")]
    Busy {
        /// The bound.
        max: usize,
    },
    /// The node is stopped, or has not joined yet.
    #[error("node (not running); a trace needs a live node; start it")]
    NotRunning,
}

impl Trace {
    /// Whether the destination has answered.
    pub fn reached(&self) -> bool {
        self.hops.last().is_some_and(|hop| hop.region == self.to)
    }

    /// The part of one hop in the whole way, residence and the link behind it together, in percent; `None` where nothing
    /// was measured.
    pub fn share(&self, hop: &TraceHop) -> Option<f64> {
        let cost = |hop: &TraceHop| {
            u64::from(hop.residence_us.unwrap_or(0)) + u64::from(hop.link_us.unwrap_or(0))
        };
        let all: u64 = self.hops.iter().map(cost).sum();
        #[allow(clippy::cast_precision_loss, reason = "microseconds are far below 2^53")]
        (all > 0).then(|| 100.0 * cost(hop) as f64 / all as f64)
    }
}

/// One line per region; what did not answer is a `*`.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |us: Option<u32>| {
            us.map_or("-".to_owned(), |us| format!("{:.3} ms", f64::from(us) / 1000.0))
        };
        for (place, hop) in self.hops.iter().enumerate() {
            writeln!(
                f,
                "{place}  region {}  residence {}  link {} (round trip {})",
                hop.region,
                ms(hop.residence_us),
                ms(hop.link_us),
                ms(hop.link_rtt_us)
            )?;
        }
        for (place, _) in self.silent.iter().enumerate() {
            writeln!(f, "{}  *", self.hops.len() + place)?;
        }
        Ok(())
    }
}

impl Node {
    /// Follows the way that messages to `to` take now: a frame passes the same relays over the same links, each writes
    /// down how long it held the frame and what the next link costs, and the destination sends the list back.
    ///
    /// Where that gets no answer within half of `timeout`, one probe for each region on the way is sent, as traceroute
    /// does, and the answer of the furthest is the result, with the others in [`Trace::silent`].
    ///
    /// A relay answers at most 50 such frames per second of each neighbour; what is beyond gets no answer.
    ///
    /// # Errors
    /// [`TraceError`]; that nobody answers is none.
    pub async fn trace(&self, to: RegionId, timeout: Duration) -> Result<Trace, TraceError> {
        let from = self.region();
        let begin = move |ttl: Option<u8>| self.on_hub(move |core| core.begin_trace(to, ttl));
        let (path, probe) = begin(None).await.ok_or(TraceError::NotRunning)??;
        let Some(probe) = probe else {
            let here =
                TraceHop { region: from, residence_us: None, link_us: None, link_rtt_us: None };
            return Ok(Trace { from, to, hops: vec![here], silent: Vec::new(), rtt_us: Some(0) });
        };
        let half = timeout / 2;
        if let Some(answer) = self.within(half, probe).await {
            return Ok(outcome(from, to, &path, Some(answer)));
        }
        let mut probes = Vec::new();
        // The origin's own part is known without asking; the last probe goes to the destination itself.
        for distance in 1..path.len() {
            let ttl = u8::try_from(distance).unwrap_or(u8::MAX);
            let begun = begin(Some(ttl)).await.ok_or(TraceError::NotRunning)?;
            if let Ok((_, Some(probe))) = begun {
                probes.push(self.within(timeout - half, probe));
            }
        }
        let answers = join_all(probes).await.into_iter().flatten();
        let furthest = answers.max_by_key(|answer| answer.hops.len());
        Ok(outcome(from, to, &path, furthest))
    }

    async fn within(
        &self,
        timeout: Duration,
        probe: tokio::sync::oneshot::Receiver<TraceAnswer>,
    ) -> Option<TraceAnswer> {
        let timer = std::pin::pin!(self.sleep(timeout));
        match select(probe, timer).await {
            Either::Left((answer, _)) => answer.ok(),
            Either::Right(_) => None,
        }
    }
}

/// `path` is the route as it was when the trace began, both ends included.
fn outcome(from: RegionId, to: RegionId, path: &[RegionId], answer: Option<TraceAnswer>) -> Trace {
    let here = TraceHop { region: from, residence_us: None, link_us: None, link_rtt_us: None };
    let (hops, rtt_us) = match answer {
        Some(answer) => (answer.hops, Some(answer.rtt_us)),
        None => (vec![here], None),
    };
    let last = hops.last().map(|hop| hop.region);
    let heard =
        path.iter().position(|region| Some(*region) == last).map_or(hops.len(), |at| at + 1);
    let silent = match last == Some(to) {
        true => Vec::new(),
        false => path.get(heard..).unwrap_or_default().to_vec(),
    };
    Trace { from, to, hops, silent, rtt_us }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u16) -> RegionId {
        RegionId::new(number).unwrap()
    }

    fn hop(number: u16, residence_us: u32, link_us: Option<u32>) -> TraceHop {
        let residence_us = Some(residence_us);
        TraceHop { region: id(number), residence_us, link_us, link_rtt_us: None }
    }

    #[test]
    fn what_lies_behind_the_last_answer_is_silent() {
        let path = [1, 2, 3, 4].map(id);
        let check = |heard: &[u16], reached: bool, silent: &[u16]| {
            let answer = (!heard.is_empty()).then(|| TraceAnswer {
                hops: heard.iter().map(|number| hop(*number, 1, None)).collect(),
                rtt_us: 9,
            });
            let trace = outcome(id(1), id(4), &path, answer);
            assert_eq!(trace.reached(), reached, "{heard:?}");
            let silent: Vec<RegionId> = silent.iter().map(|number| id(*number)).collect();
            assert_eq!(trace.silent, silent, "{heard:?}");
        };
        check(&[1, 2, 3, 4], true, &[]);
        check(&[1, 2, 3], false, &[4]);
        check(&[1, 2], false, &[3, 4]);
        check(&[], false, &[2, 3, 4]);
        // Repaired on the way: another path than the one that was meant.
        check(&[1, 2, 7, 4], true, &[]);
        check(&[1, 2, 7], false, &[4]);
    }

    #[test]
    fn shares_add_up_and_nothing_measured_has_none() {
        let trace = Trace {
            from: id(1),
            to: id(2),
            hops: vec![hop(1, 0, Some(900)), hop(2, 100, None)],
            silent: vec![id(3)],
            rtt_us: Some(2_000),
        };
        assert_eq!(trace.share(&trace.hops[0]), Some(90.0));
        assert_eq!(trace.share(&trace.hops[1]), Some(10.0));
        assert!(trace.to_string().ends_with("2  *\n"), "{trace}");
        let empty = Trace { hops: vec![hop(1, 0, None)], ..trace };
        assert_eq!(empty.share(&empty.hops[0]), None);
    }
}
