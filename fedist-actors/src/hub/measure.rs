//! What the traffic says about links, about this thread and about clocks.
//!
//! Most of it comes with frames that travel anyway. What is read from counters (losses, the transport's own round trip) is
//! read once per second; how busy the thread is, with each turn of the timer.

use std::{collections::HashMap, sync::Arc};

use fedist_registry::{
    ClockAdvert, ClockEstimate, ClockInterval, ClockSample, LinkCost, LossMeter, Micros, RegionId,
    RootClock, RouteNews, SetUpEstimate, Strain, Utilisation, is_cut_region,
};
use fedist_transport::link::LinkStats;

use super::{Core, control::Control, thread_time::ThreadTime};

/// What measuring keeps.
pub(super) struct Measure {
    utilisation: Utilisation,
    strain: Strain,
    /// Whether links are opened and closed by what they cost. Small differences would keep such a mesh at work when many
    /// regions start together, so it does without them.
    adaptive: bool,
    /// What the links' estimates were told of it last.
    hides_queues: bool,
    /// Of the hub's thread; made on it.
    thread: Option<ThreadTime>,
    turned_at: Micros,
    late: Micros,
    clock: RootClock,
    set_ups: HashMap<RegionId, SetUpEstimate>,
    /// Whether this region asks others to send frames in transit elsewhere, because it is swamped.
    swamped: bool,
    swamped_not_before: Micros,
    relay_announced_at: Micros,
    every_second_at: Micros,
    spares_at: Micros,
    residences: Vec<u32>,
}

/// What is measured of one link beside its round trips.
#[derive(Default)]
pub(super) struct LinkMeasures {
    losses: LossMeter,
    /// When a message travelled over the link last, from here, to here or in transit.
    used_at: Option<Micros>,
    /// Whether it is the second way of a route in use.
    spare: bool,
    /// After how long without a sign of life the link is probed.
    idle: Option<Micros>,
    probes_sent: u64,
    /// When a stamp came back last, and the datagrams received by then.
    sampled_at: Micros,
    datagrams: u64,
    /// Whether the last exchange contradicted the mean, so that the link is measured again although it is idle.
    contradicted: bool,
    /// Follow-up probes that were sent, and when the count was halved.
    follow_ups: u32,
    follow_ups_halved_at: Micros,
    /// When the clocks were compared aloud, and what was said.
    told: Option<(Micros, Option<u64>)>,
}

impl LinkMeasures {
    /// A message travels over the link.
    pub(super) fn note_use(&mut self, now: Micros) {
        self.used_at = Some(now);
    }

    /// Whether the link is to be probed before its time, because what it measured last contradicts its mean. Such probes
    /// are at most 20 in a row, and then one in 3 s.
    pub(super) fn wants_follow_up(&mut self, now: Micros) -> bool {
        if now.saturating_sub(self.follow_ups_halved_at) >= FOLLOW_UPS_HALVE {
            self.follow_ups_halved_at = now;
            self.follow_ups /= 2;
        }
        let wanted = std::mem::take(&mut self.contradicted) && self.follow_ups < FOLLOW_UPS;
        self.follow_ups += u32::from(wanted);
        wanted
    }

    pub(super) fn note_probe(&mut self) {
        self.probes_sent += 1;
    }

    /// Probes that this end sent since the link came up.
    pub(super) fn probes_sent(&self) -> u64 {
        self.probes_sent
    }

    /// After how long without a sign of life the link is to be probed.
    pub(super) fn probe_idle(&self) -> Micros {
        self.idle.unwrap_or(IDLE_IN_USE)
    }

    fn update_idle(&mut self, now: Micros) {
        let in_use = self.used_at.is_some_and(|used| now.saturating_sub(used) < IN_USE_FOR);
        self.idle = Some(match (in_use, self.spare) {
            (true, _) => IDLE_IN_USE,
            (false, true) => IDLE_SPARE,
            (false, false) => IDLE,
        });
    }
}

impl Measure {
    pub(super) fn new(me: RegionId, boot: u32, clock_base_us: u64, adaptive: bool) -> Measure {
        Measure {
            utilisation: Utilisation::new(),
            strain: Strain::new(Micros::ZERO),
            adaptive,
            hides_queues: false,
            thread: None,
            turned_at: Micros::ZERO,
            late: Micros::ZERO,
            clock: RootClock::new(me, boot, clock_base_us),
            set_ups: HashMap::new(),
            swamped: false,
            swamped_not_before: Micros::ZERO,
            relay_announced_at: Micros::ZERO,
            every_second_at: Micros::ZERO,
            spares_at: Micros::ZERO,
            residences: Vec::new(),
        }
    }

    /// Whether it was time to measure the thread.
    fn note_turn(&mut self, now: Micros, late: Micros) -> bool {
        self.late += late - TIMER_STEP;
        if now.saturating_sub(self.turned_at) < TURN {
            return false;
        }
        self.turned_at = now;
        let spent = self.thread.get_or_insert_with(ThreadTime::of_this_thread).read();
        let late = std::mem::take(&mut self.late);
        self.utilisation.sample(now, spent.working, spent.waiting, late);
        self.strain.handle_share(now, self.utilisation.share());
        true
    }

    /// Share of the time in which the hub's thread was not free, 0 to 1.
    pub(super) fn utilisation(&self) -> f64 {
        self.utilisation.share()
    }

    /// Whether this region has no processor time, so that it must not judge links.
    pub(super) fn is_strained(&self) -> bool {
        self.strain.is_strained()
    }

    /// Whether what the links seem to queue is this region's own queue for the processor.
    pub(super) fn hides_queues(&self, now: Micros) -> bool {
        !self.adaptive && self.strain.hides_queues(now)
    }

    /// Whether small differences are told and acted upon as well.
    pub(super) fn is_settling(&self, now: Micros) -> bool {
        !self.adaptive && self.strain.is_settling(now)
    }

    /// Until when that is, or was.
    pub(super) fn settling_until(&self) -> Micros {
        if self.adaptive { Micros::ZERO } else { self.strain.settling_until() }
    }

    /// Whether frames in transit should go elsewhere.
    pub(super) fn refuses_transit(&self) -> bool {
        self.swamped
    }

    /// How long it takes to set up a link to `region`, as far as it was ever dialed.
    pub(super) fn set_up(&self, region: RegionId) -> SetUpEstimate {
        self.set_ups.get(&region).copied().unwrap_or_default()
    }

    /// Takes note of a dial that succeeded.
    pub(super) fn note_dial(&mut self, peer: RegionId, stats: &LinkStats) {
        if stats.handshake_us > 0 && stats.rtt_us > 0 {
            let (took, rtt) = (Micros(stats.handshake_us), Micros(stats.rtt_us));
            self.set_ups.entry(peer).or_default().sample(took, rtt);
        }
    }

    /// The clock at the other end of a link, less the own one.
    pub(super) fn link_clock(&self, now: Micros, peer: RegionId) -> Option<ClockInterval> {
        self.clock.link(now, peer)
    }

    pub(super) fn link_ended(&mut self, peer: RegionId) {
        self.clock.remove_link(peer);
    }

    pub(super) fn note_relay_announced(&mut self, now: Micros) {
        self.relay_announced_at = now;
    }
}

impl Core {
    /// Takes the round trip that a frame has measured.
    pub(super) fn note_exchange(
        &mut self,
        now: Micros,
        peer: RegionId,
        serial: u64,
        exchange: ClockSample,
    ) {
        let Some(port) = self.port_mut(peer, serial) else {
            return;
        };
        let round_trip = exchange.round_trip_us();
        port.estimate.sample(now, round_trip);
        // Where messages travel the next ones measure, and no probe is needed.
        let busy = port.measures.used_at.is_some_and(|used| now.saturating_sub(used) < SECOND);
        port.measures.contradicted = !busy && port.estimate.contradicts(round_trip);
        port.measures.sampled_at = now;
        if self.links.get(&peer).is_some_and(|port| port.serial == serial) {
            self.measure.clock.sample(now, peer, exchange);
        }
    }

    /// With each turn of the timer: `late` is by how much it fired too late.
    pub(super) fn measure_thread(&mut self, now: Micros, late: Micros) {
        if !self.measure.note_turn(now, late) {
            return;
        }
        let mut residences = std::mem::take(&mut self.measure.residences);
        for port in self.links.values() {
            port.tx.take_residences(&mut residences);
        }
        for stayed in residences.drain(..) {
            self.relay_delay.record(now, stayed);
        }
        self.measure.residences = residences;
        self.judge_swamped(now);
        let hides_queues = self.measure.hides_queues(now);
        if hides_queues != self.measure.hides_queues {
            self.measure.hides_queues = hides_queues;
            let ports = self.links.values_mut().chain(self.greeting.values_mut());
            ports.for_each(|port| port.estimate.set_own_queue(now, hides_queues));
            tracing::debug!(hides_queues, utilisation = self.measure.utilisation(), "own queue");
        }
        if now >= self.measure.every_second_at {
            self.measure.every_second_at = now + SECOND;
            self.measure_links(now);
            self.compare_clocks(now);
        }
    }

    /// Asks others to go elsewhere while this thread is swamped, unless some of them have no other way.
    fn judge_swamped(&mut self, now: Micros) {
        let swamped = self.measure.utilisation.swamped();
        if swamped == self.measure.swamped && !swamped {
            return;
        }
        if swamped && now < self.measure.swamped_not_before {
            return;
        }
        let refuses = swamped && !is_cut_region(self.region(), self.graph());
        if swamped && !refuses {
            // Looked at again later; not by all neighbours at the same time.
            let spread = Micros::from_millis(self.random.u64(0..5_000));
            self.measure.swamped_not_before = now + STILL_NEEDED + spread;
        } else {
            self.measure.swamped_not_before = now + SECOND;
        }
        if refuses != self.measure.swamped {
            self.measure.swamped = refuses;
            let utilisation = self.measure.utilisation();
            tracing::info!(refuses, utilisation, "frames in transit");
            self.count(if refuses { "transit_refused" } else { "transit_resumed" });
            self.update_own_state();
            self.schedule_recompute(RouteNews::Moved);
        }
    }

    /// Whether the delay that frames in transit have here moved by more than a quarter and 0.3 ms since it was announced; at
    /// most once per 5 s.
    pub(super) fn relay_delay_moved(&self, now: Micros) -> bool {
        let (announced, present) = (self.own_state.relay.as_micros(), self.own_cost().as_micros());
        let slack = (announced / 4).max(LEAST_RELAY_CHANGE_US);
        present.abs_diff(announced) > slack
            && now.saturating_sub(self.measure.relay_announced_at) >= RELAY_PAUSE
    }

    /// What a frame in transit costs here.
    pub(super) fn own_cost(&self) -> LinkCost {
        self.relay_delay.advertised(self.measure.utilisation())
    }

    fn measure_links(&mut self, now: Micros) {
        if now >= self.measure.spares_at {
            self.measure.spares_at = now + SPARES_EVERY;
            self.find_spares(now);
        }
        for port in self.links.values_mut() {
            let stats = port.tx.stats();
            let measures = &mut port.measures;
            measures.losses.update(now, stats.sent_packets, stats.lost_packets);
            port.estimate.set_loss_permille(measures.losses.permille());
            // Where no stamps come back (bulk in one direction), the transport still measures.
            let silent = now.saturating_sub(measures.sampled_at) >= NO_STAMPS_FOR;
            if silent
                && stats.datagrams_received > measures.datagrams
                && let Ok(rtt @ 1..) = u32::try_from(stats.rtt_us)
            {
                port.estimate.sample(now, rtt);
            }
            measures.datagrams = stats.datagrams_received;
            measures.update_idle(now);
        }
    }

    /// The first links of the second ways to where messages travel now.
    fn find_spares(&mut self, now: Micros) {
        let used = |at: Micros| now.saturating_sub(at) < IN_USE_FOR;
        let mut recent: Vec<(Micros, RegionId)> = self
            .sessions
            .iter()
            .map(|(region, slot)| (slot.last_heard, *region))
            .filter(|(heard, _)| used(*heard))
            .collect();
        recent.sort_unstable_by(|a, b| b.cmp(a));
        let mut spares: Vec<RegionId> = recent
            .into_iter()
            .take(MOST_SPARED)
            .filter_map(|(_, region)| self.spare_for(region))
            .collect();
        spares.sort_unstable();
        spares.dedup();
        for (peer, port) in &mut self.links {
            port.measures.spare = spares.binary_search(peer).is_ok();
        }
    }

    fn spare_for(&self, region: RegionId) -> Option<RegionId> {
        self.routes.second(region)?.next_hop()
    }

    // ---- clocks ------------------------------------------------------------------------------

    /// Tells the neighbours about this clock: at once what is new, and every 30 s.
    fn compare_clocks(&mut self, now: Micros) {
        self.measure.clock.set_root(self.registry.hierarchy().root());
        self.measure.clock.update(now);
        let estimate = self.measure.clock.estimate(now);
        self.node.inner().clock_estimate.store(estimate.map(Arc::new));
        let error = estimate.map(|estimate| estimate.error_us);
        let mut due: Vec<(RegionId, u64)> = Vec::new();
        for (peer, port) in &self.links {
            let tell = match port.measures.told {
                None => true,
                Some((at, said)) => {
                    let age = now.saturating_sub(at);
                    age >= CLOCK_EVERY || (age >= CLOCK_PAUSE && is_news(said, error))
                }
            };
            if tell {
                due.push((*peer, port.serial));
            }
        }
        due.sort_unstable();
        for (peer, serial) in due {
            self.tell_clock(peer, serial);
        }
    }

    /// Tells one neighbour what this clock reads and what is known about the root's.
    pub(super) fn tell_clock(&mut self, peer: RegionId, serial: u64) {
        let now = self.now();
        let advert = self.measure.clock.advert(now);
        let error = advert.root.map(|view| view.interval.error_us());
        if let Some(port) = self.links.get_mut(&peer).filter(|port| port.serial == serial) {
            port.measures.told = Some((now, error));
            self.send_control(peer, serial, &Control::Clock(advert));
        }
    }

    pub(super) fn handle_clock(&mut self, peer: RegionId, serial: u64, advert: ClockAdvert) {
        let now = self.now();
        // Of a link that is not up nothing is kept, so that nothing outlives its link.
        if self.links.get(&peer).is_some_and(|port| port.serial == serial) {
            self.measure.clock.handle_advert(now, peer, advert);
        }
    }

    pub(super) fn clock_estimate(&self, now: Micros) -> Option<ClockEstimate> {
        self.measure.clock.estimate(now)
    }
}

/// Whether neighbours should hear of an estimate before its time: the first one, and one that is twice as good.
fn is_news(said: Option<u64>, error: Option<u64>) -> bool {
    match (said, error) {
        (None, Some(_)) => true,
        (Some(said), Some(error)) => error.saturating_mul(2) < said,
        _ => false,
    }
}

/// Shortest time over which the work of the thread is measured.
const TURN: Micros = Micros::from_millis(20);
/// Timers have steps of a millisecond, and a wake-up takes its time on an idle machine too.
const TIMER_STEP: Micros = Micros::from_millis(2);
const SECOND: Micros = Micros::from_secs(1);
/// A link counts as in use for this long after the last message.
const IN_USE_FOR: Micros = Micros::from_secs(60);
/// Silence after which a link on a route in use is probed, one on the second way of such a route, and any other.
const IDLE_IN_USE: Micros = Micros::from_secs(1);
const IDLE_SPARE: Micros = Micros::from_secs(5);
const IDLE: Micros = Micros::from_secs(15);
const SPARES_EVERY: Micros = Micros::from_secs(5);
/// Destinations whose second way is kept warm.
const MOST_SPARED: usize = 16;
/// Stamps are believed before the transport's own measurement for this long.
const NO_STAMPS_FOR: Micros = Micros::from_secs(2);
const RELAY_PAUSE: Micros = Micros::from_secs(5);
const LEAST_RELAY_CHANGE_US: u64 = 300;
/// How long a swamped region that others need waits before it looks again whether they do.
const STILL_NEEDED: Micros = Micros::from_secs(5);
const CLOCK_EVERY: Micros = Micros::from_secs(30);
const CLOCK_PAUSE: Micros = Micros::from_secs(2);
/// Follow-up probes in a row, and how fast they are forgotten.
const FOLLOW_UPS: u32 = 20;
const FOLLOW_UPS_HALVE: Micros = Micros::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_probed_by_what_it_is_used_for() {
        let mut link = LinkMeasures::default();
        assert_eq!(link.probe_idle(), IDLE_IN_USE, "a fresh one is about to be used");
        link.update_idle(Micros::from_secs(1));
        assert_eq!(link.probe_idle(), IDLE);
        link.spare = true;
        link.update_idle(Micros::from_secs(2));
        assert_eq!(link.probe_idle(), IDLE_SPARE);
        link.note_use(Micros::from_secs(2));
        link.update_idle(Micros::from_secs(61));
        assert_eq!(link.probe_idle(), IDLE_IN_USE);
        link.update_idle(Micros::from_secs(63));
        assert_eq!(link.probe_idle(), IDLE_SPARE);
    }

    #[test]
    fn an_idle_link_is_probed_several_times_before_quic_gives_it_up() {
        let gives_up = fedist_transport::quic::QuicConfig::default().idle_timeout;
        assert!(gives_up >= 3 * IDLE.as_duration());
    }

    #[test]
    fn neighbours_hear_of_a_first_estimate_and_of_one_twice_as_good() {
        assert!(is_news(None, Some(9)) && is_news(Some(9), Some(4)));
        assert!(!is_news(None, None) && !is_news(Some(9), Some(5)) && !is_news(Some(9), None));
    }
}
