//! What one directed link did, in figures.

use std::fmt;
use std::time::Duration;

use fedist_registry::RegionId;
use hdrhistogram::Histogram;

use super::profile::LinkProfile;
use super::shaper::Shaper;

/// What one directed link did since the emulator started.
///
/// Packets received and copies made are `packets` + `dropped` + `on_the_way`, at any moment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LinkReport {
    /// The sending region.
    pub from: RegionId,
    /// The receiving region.
    pub to: RegionId,
    /// Packets passed on, copies included.
    pub packets: u64,
    /// UDP payload passed on, in bytes.
    pub bytes: u64,
    /// Packets that were not passed on, for whatever reason.
    pub dropped: u64,
    /// The same by reason.
    pub dropped_by: DropCounts,
    /// Packets that wait for their time.
    pub on_the_way: u64,
    /// The delay that the present profile asks for.
    pub asked: Duration,
    /// How many packets the three figures below rest on: those under the present delay, jitter
    /// and rate. Zero leaves the figures at zero.
    pub measured: u64,
    /// The least delay given: the time of sending on minus the time of receipt.
    pub given_min: Duration,
    /// The median of the delays given, to 0.1 % of what exceeds the least possible delay.
    pub given_median: Duration,
    /// The delay that 99 of 100 packets did not exceed.
    pub given_p99: Duration,
}

impl fmt::Display for LinkReport {
    /// One line, such as `1→2 asked 44.20 ms, gave 44.26 min 44.29 median 44.51 p99 (120 packets, 9600 bytes, 0 dropped)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}→{} asked {:.2} ms, ", self.from, self.to, millis(self.asked))?;
        if self.measured == 0 {
            write!(f, "gave nothing yet")?;
        } else {
            let given = [self.given_min, self.given_median, self.given_p99].map(millis);
            let [min, median, p99] = given;
            write!(f, "gave {min:.2} min {median:.2} median {p99:.2} p99")?;
        }
        let (packets, bytes, dropped) = (self.packets, self.bytes, self.dropped);
        write!(f, " ({packets} packets, {bytes} bytes, {dropped} dropped)")
    }
}

/// Why packets were dropped.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DropCounts {
    /// Drawn by [`LinkProfile::loss`].
    pub loss: u64,
    /// The link was cut, or was cut while the packet was on the way.
    pub cut: u64,
    /// The queue before a limited rate was full.
    pub rate: u64,
    /// More packets or bytes on the way than the emulator holds.
    pub too_many_on_the_way: u64,
    /// The operating system did not take the packet, or gave no socket for a new client.
    pub system: u64,
}

impl DropCounts {
    fn sum(&self) -> u64 {
        self.loss + self.cut + self.rate + self.too_many_on_the_way + self.system
    }
}

/// The reasons of [`DropCounts`].
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum DropReason {
    Loss,
    Cut,
    Rate,
    TooManyOnTheWay,
    System,
}

/// Counts and measures one directed link.
///
/// The histogram holds what exceeds the least possible delay, not the delay itself: that is
/// small, so it is both exact to a microsecond and cheap to hold.
pub(crate) struct Meter {
    packets: u64,
    bytes: u64,
    dropped_by: DropCounts,
    floor: Duration,
    least: Option<Duration>,
    excess_us: Option<Histogram<u32>>,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self {
            packets: 0,
            bytes: 0,
            dropped_by: DropCounts::default(),
            floor: Duration::ZERO,
            least: None,
            excess_us: None,
        }
    }

    /// Starts the figures of the delay anew; the counters go on.
    pub(crate) fn restart(&mut self, profile: &LinkProfile) {
        self.floor = profile.floor();
        self.least = None;
        self.excess_us = None;
    }

    pub(crate) fn dropped(&mut self, reason: DropReason) {
        let count = match reason {
            DropReason::Loss => &mut self.dropped_by.loss,
            DropReason::Cut => &mut self.dropped_by.cut,
            DropReason::Rate => &mut self.dropped_by.rate,
            DropReason::TooManyOnTheWay => &mut self.dropped_by.too_many_on_the_way,
            DropReason::System => &mut self.dropped_by.system,
        };
        *count += 1;
    }

    pub(crate) fn passed(&mut self, len: usize, given: Option<Duration>) {
        self.packets += 1;
        self.bytes += len as u64;
        let Some(given) = given else { return };
        self.least = Some(self.least.map_or(given, |least| least.min(given)));
        let excess = given.saturating_sub(self.floor).min(MAX_EXCESS).as_micros();
        if self.excess_us.is_none() {
            // Three figures are within what the histogram accepts, so this is always Some.
            self.excess_us = Histogram::new(3).ok();
        }
        if let Some(histogram) = &mut self.excess_us {
            // A self-resizing histogram refuses only values past 64 bits' range.
            let _ = histogram.record(u64::try_from(excess).unwrap_or(u64::MAX));
        }
    }

    pub(crate) fn report(&self, from: RegionId, to: RegionId, shaper: &Shaper) -> LinkReport {
        let quantile = |q| {
            self.excess_us.as_ref().map_or(Duration::ZERO, |histogram| {
                self.floor + Duration::from_micros(histogram.value_at_quantile(q))
            })
        };
        LinkReport {
            from,
            to,
            packets: self.packets,
            bytes: self.bytes,
            dropped: self.dropped_by.sum(),
            dropped_by: self.dropped_by,
            on_the_way: shaper.on_the_way() as u64,
            asked: shaper.profile().delay,
            measured: self.excess_us.as_ref().map_or(0, Histogram::len),
            given_min: self.least.unwrap_or_default(),
            given_median: quantile(0.5),
            given_p99: quantile(0.99),
        }
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Bounds the histogram's memory; a delay beyond is counted as this.
const MAX_EXCESS: Duration = Duration::from_secs(600);
