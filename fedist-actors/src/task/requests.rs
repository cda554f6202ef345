//! The requests that this node has made of others and that are not settled yet.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use fedist_registry::{Micros, RegionId, RegionPid};

/// Names one request for a task or an actor, among all requests of all regions (contract C14).
///
/// It is met in errors that say *indeterminate*: the request may have been carried out.
/// [`Node::settle`](crate::Node::settle) of the node that made it asks what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId {
    pub(crate) source: RegionId,
    pub(crate) target: RegionId,
    pub(crate) reference: u64,
    /// When it was made, by the source's clock.
    pub(crate) made: Micros,
}

impl RequestId {
    /// The region that was asked.
    pub fn target(&self) -> RegionId {
        self.target
    }

    /// The region that asked.
    pub fn source(&self) -> RegionId {
        self.source
    }

    /// How many times the source had been started when it asked.
    pub fn boot(&self) -> u32 {
        u32::try_from(self.reference >> 32).unwrap_or(u32::MAX)
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let low = self.reference & u64::from(u32::MAX);
        write!(f, "{}/{}.{low} at region {}", self.source, self.boot(), self.target)
    }
}

/// Requests by the region that was asked. The lowest open reference is told with every request,
/// so that the target forgets what lies below it.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    open: HashMap<RegionId, BTreeMap<u64, Open>>,
}

#[derive(Debug)]
struct Open {
    standing: Standing,
    /// The actor that what is started will link itself to, until it has.
    link: Option<RegionPid>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// The answer is waited for.
    Asked,
    /// No answer came; it may be asked about.
    Indeterminate,
}

/// Indeterminate requests that are kept for each region; the oldest are given up beyond.
const INDETERMINATE: usize = 1_024;

impl Requests {
    /// Opens a request; gives the reference below which everything at `target` is settled.
    pub(crate) fn open(
        &mut self,
        target: RegionId,
        reference: u64,
        link: Option<RegionPid>,
    ) -> u64 {
        let open = self.open.entry(target).or_default();
        open.insert(reference, Open { standing: Standing::Asked, link });
        open.keys().next().copied().unwrap_or(reference)
    }

    /// The request is answered, or nobody wants to know any more.
    pub(crate) fn close(&mut self, target: RegionId, reference: u64) {
        if let Some(open) = self.open.get_mut(&target) {
            open.remove(&reference);
            if open.is_empty() {
                self.open.remove(&target);
            }
        }
    }

    /// Whether what was started at `target` by this request may link itself to `caller`; once.
    pub(crate) fn take_link(
        &mut self,
        target: RegionId,
        reference: u64,
        caller: RegionPid,
    ) -> bool {
        let request = self.open.get_mut(&target).and_then(|open| open.get_mut(&reference));
        request.is_some_and(|request| request.link.take_if(|link| *link == caller).is_some())
    }

    /// No answer came: the target keeps what it knows until this is closed.
    pub(crate) fn leave_open(&mut self, target: RegionId, reference: u64) {
        let Some(open) = self.open.get_mut(&target) else { return };
        if let Some(request) = open.get_mut(&reference) {
            request.standing = Standing::Indeterminate;
        }
        let unsettled =
            || open.iter().filter(|(_, request)| request.standing == Standing::Indeterminate);
        if unsettled().count() > INDETERMINATE
            && let Some(oldest) = unsettled().map(|(reference, _)| *reference).next()
        {
            open.remove(&oldest);
        }
    }
}

/// Whether a request may have reached an earlier life of a target that does not know it.
///
/// `age` is the request's at the source when the answer was there, `uptime` the target's when it
/// answered. The answer is younger than the age: so a request with `age < uptime` was made when
/// the target ran already, and what it does not know it has never seen.
pub(crate) fn may_be_of_an_earlier_life(age: Duration, uptime: Duration) -> bool {
    age >= uptime
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(number: u16) -> RegionId {
        RegionId::new(number).unwrap()
    }

    #[test]
    fn everything_below_the_lowest_open_request_is_settled() {
        let mut requests = Requests::default();
        assert_eq!(requests.open(region(2), 10, None), 10);
        assert_eq!(requests.open(region(2), 11, None), 10);
        requests.close(region(2), 10);
        assert_eq!(requests.open(region(2), 12, None), 11);
        assert_eq!(requests.open(region(3), 13, None), 13, "regions are apart");
    }

    #[test]
    fn an_indeterminate_request_stays_open_until_it_is_closed() {
        let mut requests = Requests::default();
        requests.open(region(2), 10, None);
        requests.leave_open(region(2), 10);
        assert_eq!(requests.open(region(2), 11, None), 10);
        requests.close(region(2), 10);
        requests.close(region(2), 11);
        assert_eq!(requests.open(region(2), 12, None), 12);
    }

    #[test]
    fn the_oldest_indeterminate_requests_are_given_up_beyond_the_bound() {
        let mut requests = Requests::default();
        for reference in 0..=INDETERMINATE as u64 {
            requests.open(region(2), reference, None);
            requests.leave_open(region(2), reference);
        }
        assert_eq!(requests.open(region(2), 5_000, None), 1);
    }

    #[test]
    fn a_request_lets_one_link_in_to_the_actor_that_made_it() {
        let pid = |local| RegionPid::new(region(1), fedist_registry::LocalId::new(local).unwrap());
        let mut requests = Requests::default();
        requests.open(region(2), 10, Some(pid(300)));
        assert!(!requests.take_link(region(3), 10, pid(300)), "another region");
        assert!(!requests.take_link(region(2), 10, pid(301)), "another actor");
        assert!(requests.take_link(region(2), 10, pid(300)));
        assert!(!requests.take_link(region(2), 10, pid(300)), "a second time");
        requests.open(region(2), 11, Some(pid(300)));
        requests.close(region(2), 11);
        assert!(!requests.take_link(region(2), 11, pid(300)), "nobody waits for it any more");
    }

    #[test]
    fn a_target_that_started_after_the_request_may_have_run_it_before() {
        let secs = Duration::from_secs;
        assert!(may_be_of_an_earlier_life(secs(10), secs(3)));
        assert!(may_be_of_an_earlier_life(secs(3), secs(3)));
        assert!(!may_be_of_an_earlier_life(secs(3), secs(10)));
    }

    #[test]
    fn a_request_is_written_with_source_boot_and_target() {
        let request = RequestId {
            source: region(1),
            target: region(2),
            reference: (3 << 32) | 77,
            made: Micros::ZERO,
        };
        assert_eq!(request.to_string(), "1/3.77 at region 2");
        assert_eq!(request.boot(), 3);
    }
}
