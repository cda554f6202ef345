//! Whether a region has the processor time that measuring takes.

use crate::Micros;

/// Follows how busy the thread is that measures, and says what of its measurements to rely upon.
///
/// A region is *strained* when its thread is not free for more than half of its time. Then it judges no link
/// ([`is_strained`](Self::is_strained)): it measures itself. It does so again as soon as it has time, or one that is strained
/// by all its links would never close one. A strain is over when there was none for two seconds.
///
/// A region that has just started, and one that is no longer strained, *settles* for a minute: what it told others, and chose
/// its routes by, was not worth much. A strain within that minute prolongs it, to five minutes at most, and a region that is
/// strained again and again settles once in ten minutes. Meanwhile:
///
/// - while its thread is not free for more than a fifth of its time, links seem to queue, and it is the region that does, or
///   others beside it that start as well ([`hides_queues`](Self::hides_queues)). The minimum of a round trip stands, since a
///   queue only ever adds to it. Later the same load is what the region has to do, and frames do wait there;
/// - once it is free, it tells and takes what is a little better too ([`is_settling`](Self::is_settling)). Not before: that
///   makes work for all, and regions that start together would keep each other busy by it.
///
/// ```
/// use fedist_registry::{Micros, Strain};
///
/// let mut strain = Strain::new(Micros::ZERO);
/// strain.handle_share(Micros::from_secs(1), 0.8);
/// assert!(strain.is_strained() && strain.hides_queues(Micros::from_secs(2)));
/// strain.handle_share(Micros::from_secs(100), 0.8);
/// assert!(strain.is_strained() && !strain.hides_queues(Micros::from_secs(200)));
/// ```
#[derive(Clone, Debug)]
pub struct Strain {
    strained: bool,
    /// Whether a strain is not over yet.
    lasts: bool,
    /// Since when the share is low again, while it lasts.
    low_since: Option<Micros>,
    /// Whether it is busy enough to delay what it measures.
    loud: bool,
    quiet_since: Option<Micros>,
    settling_since: Micros,
    settling_until: Micros,
}

impl Strain {
    /// A region that starts now: it is free, and settles.
    pub fn new(now: Micros) -> Strain {
        Strain {
            strained: false,
            lasts: false,
            low_since: None,
            loud: false,
            quiet_since: None,
            settling_since: now,
            settling_until: now + SETTLING,
        }
    }

    /// Takes the share of its time in which the thread was not free; see [`Utilisation`](crate::Utilisation).
    pub fn handle_share(&mut self, now: Micros, share: f64) {
        if share > LOUD {
            (self.loud, self.quiet_since) = (true, None);
        } else if self.loud && now - *self.quiet_since.get_or_insert(now) >= QUIET_FOR {
            self.loud = false;
        }
        self.strained = share > STRAINED;
        if self.strained {
            (self.lasts, self.low_since) = (true, None);
            if now < self.settling_until {
                self.prolong(now);
            }
        } else if self.lasts && now - *self.low_since.get_or_insert(now) >= LOW_FOR {
            (self.lasts, self.low_since) = (false, None);
            if now < self.settling_until {
                self.prolong(now);
            } else if now >= self.settling_since + SETTLES_EVERY {
                (self.settling_since, self.settling_until) = (now, now + SETTLING);
            }
        }
    }

    /// Whether the thread has no time, so that no link should be judged by what it measures.
    pub fn is_strained(&self) -> bool {
        self.strained
    }

    /// Whether what the links seem to queue is this region's own queue for the processor.
    pub fn hides_queues(&self, now: Micros) -> bool {
        self.loud && now < self.settling_until
    }

    /// Whether small differences should be told and acted upon as well.
    pub fn is_settling(&self, now: Micros) -> bool {
        now < self.settling_until()
    }

    /// Until when that will be so, or was; never while the region is not free.
    pub fn settling_until(&self) -> Micros {
        if self.lasts || self.loud { Micros::ZERO } else { self.settling_until }
    }

    fn prolong(&mut self, now: Micros) {
        let until = (now + SETTLING).min(self.settling_since + SETTLES_FOR);
        self.settling_until = self.settling_until.max(until);
    }
}

const STRAINED: f64 = 0.5;
const LOW_FOR: Micros = Micros::from_secs(2);
const LOUD: f64 = 0.2;
const QUIET_FOR: Micros = Micros::from_secs(1);
const SETTLING: Micros = Micros::from_secs(60);
/// With all that prolongs it.
const SETTLES_FOR: Micros = Micros::from_secs(300);
const SETTLES_EVERY: Micros = Micros::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(s: u64) -> Micros {
        Micros::from_secs(s)
    }

    /// Shares from one second to another, ten per second.
    fn run(strain: &mut Strain, from: u64, to: u64, share: f64) {
        for tick in from * 10..to * 10 {
            strain.handle_share(Micros::from_millis(tick * 100), share);
        }
    }

    #[test]
    fn it_is_strained_above_one_half_and_that_is_over_after_two_seconds_below() {
        let mut strain = Strain::new(secs(0));
        run(&mut strain, 0, 10, 0.5);
        assert!(!strain.is_strained());
        run(&mut strain, 10, 11, 0.51);
        assert!(strain.is_strained());
        run(&mut strain, 11, 12, 0.1);
        assert!(!strain.is_strained(), "links are judged whenever there is time");
        run(&mut strain, 12, 13, 0.6);
        run(&mut strain, 13, 15, 0.1);
        assert!(!strain.is_settling(secs(15)), "not two seconds in a row yet");
        run(&mut strain, 15, 16, 0.1);
        assert!(strain.is_settling(secs(16)));
    }

    #[test]
    fn small_differences_wait_until_it_is_free() {
        let mut strain = Strain::new(secs(0));
        run(&mut strain, 0, 10, 0.2);
        assert!(strain.is_settling(secs(10)));
        run(&mut strain, 10, 20, 0.3);
        assert!(!strain.is_settling(secs(20)) && strain.settling_until() == Micros::ZERO);
        run(&mut strain, 20, 22, 0.1);
        assert!(strain.is_settling(secs(22)));
    }

    #[test]
    fn queues_are_its_own_while_it_settles_and_is_not_free_for_a_fifth_of_its_time() {
        let mut strain = Strain::new(secs(0));
        run(&mut strain, 0, 10, 0.2);
        assert!(!strain.hides_queues(secs(10)));
        run(&mut strain, 10, 20, 0.25);
        assert!(strain.hides_queues(secs(20)) && !strain.is_strained());
        run(&mut strain, 20, 21, 0.1);
        assert!(strain.hides_queues(secs(21)), "not a second yet");
        run(&mut strain, 21, 22, 0.1);
        assert!(!strain.hides_queues(secs(22)));
    }

    #[test]
    fn the_load_of_a_region_that_has_settled_hides_no_queue() {
        let mut strain = Strain::new(secs(0));
        run(&mut strain, 50, 70, 0.4);
        assert!(strain.hides_queues(secs(59)) && !strain.hides_queues(secs(60)));
        let mut later = Strain::new(secs(0));
        run(&mut later, 1_000, 1_100, 0.9);
        assert!(later.is_strained() && !later.hides_queues(secs(1_099)));
        run(&mut later, 1_100, 1_110, 0.3);
        assert!(later.hides_queues(secs(1_110)), "but that of one that comes out of a strain");
    }

    #[test]
    fn it_settles_for_a_minute_after_the_start_and_after_a_strain_in_that_minute() {
        let mut strain = Strain::new(secs(7));
        assert!(strain.is_settling(secs(66)) && !strain.is_settling(secs(67)));
        run(&mut strain, 20, 100, 0.9);
        assert!(!strain.is_settling(secs(100)), "what is told now would not be worth more");
        run(&mut strain, 100, 103, 0.1);
        assert!(strain.is_settling(secs(161)) && !strain.is_settling(secs(163)));
        assert_eq!(strain.settling_until(), secs(162));
    }

    #[test]
    fn a_strain_later_makes_it_settle_when_it_is_over() {
        let mut strain = Strain::new(secs(0));
        run(&mut strain, 1_000, 1_100, 0.9);
        assert!(!strain.is_settling(secs(1_099)), "nothing is known better yet");
        run(&mut strain, 1_100, 1_103, 0.1);
        assert!(strain.is_settling(secs(1_161)) && !strain.is_settling(secs(1_163)));
    }

    #[test]
    fn a_region_that_is_strained_again_and_again_does_not_settle_for_ever() {
        let mut strain = Strain::new(secs(0));
        let mut settling = 0;
        for round in 0..600 {
            run(&mut strain, round * 10, round * 10 + 5, 0.9);
            run(&mut strain, round * 10 + 5, round * 10 + 10, 0.1);
            settling += u64::from(strain.is_settling(secs(round * 10 + 10)));
        }
        assert!(settling <= 5 * 60 * 6_000 / 600 / 10, "{settling} of 600 times");
        let mut steady = Strain::new(secs(0));
        run(&mut steady, 0, 1_000, 0.9);
        assert!(steady.hides_queues(secs(299)) && !steady.hides_queues(secs(300)));
    }
}
