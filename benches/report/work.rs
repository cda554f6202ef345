//! What is measured: works in groups, the figures that each gives, and the goals of these.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use anyhow::Result;

use crate::cores::Places;
use crate::run::{Outcome, Run, Side};

/// Works that share a table and a plot.
pub(crate) struct Group {
    /// Names the plot's file.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) works: &'static [Work],
}

/// Something that FeDist does, and its floor, too, where it has one.
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) places: Places,
    /// How long a run measures, after a warm-up of a third of it.
    pub(crate) span: Duration,
    pub(crate) floor: Option<Cast>,
    pub(crate) fedist: Cast,
    pub(crate) figures: &'static [Figure],
}

/// The processes of one side of a work.
pub(crate) struct Cast {
    /// Started in this order, each when those before it are ready; the first is what messages go
    /// to, the others lie on the way there.
    pub(crate) servers: &'static [Serve],
    /// Measures.
    pub(crate) client: Measure,
}

/// Says [`Ready`](crate::run::Said::Ready). What it gives is kept until the process ends.
pub(crate) type Serve = fn(&Run) -> Result<Box<dyn Any>>;

pub(crate) type Measure = fn(&Run) -> Result<Outcome>;

impl Cast {
    /// One process that needs no other.
    pub(crate) const fn alone(client: Measure) -> Self {
        Self { servers: &[], client }
    }

    /// A client and its server, which may be reached at the only element of [`Run::servers`].
    pub(crate) const fn pair(server: &'static [Serve; 1], client: Measure) -> Self {
        Self { servers: server, client }
    }
}

impl Work {
    /// A work of one process on one processor.
    pub(crate) const fn alone(
        name: &'static str,
        floor: Option<Measure>,
        fedist: Measure,
        figures: &'static [Figure],
    ) -> Self {
        let floor = match floor {
            Some(floor) => Some(Cast::alone(floor)),
            None => None,
        };
        Self {
            name,
            places: Places::OneCore,
            span: SPAN,
            floor,
            fedist: Cast::alone(fedist),
            figures,
        }
    }

    pub(crate) const fn places(self, places: Places) -> Self {
        Self { places, ..self }
    }

    pub(crate) const fn span(self, span: Duration) -> Self {
        Self { span, ..self }
    }

    pub(crate) fn cast(&self, side: Side) -> Option<&Cast> {
        match side {
            Side::Floor => self.floor.as_ref(),
            Side::Fedist => Some(&self.fedist),
        }
    }
}

/// One number that a run of a work gives, under `key` in its outcome.
pub(crate) struct Figure {
    pub(crate) key: &'static str,
    pub(crate) label: &'static str,
    pub(crate) unit: &'static str,
    /// The key in FeDist's own outcome of what to compare with, instead of the floor's `key`.
    pub(crate) beside: Option<&'static str>,
    pub(crate) goal: Option<Goal>,
}

/// What a figure is to hold, by the median of the rounds.
#[derive(Copy, Clone, PartialEq, Debug)]
pub(crate) enum Goal {
    RatioAtLeast(f64),
    RatioAtMost(f64),
    ValueAtMost(f64),
}

impl Figure {
    pub(crate) const fn new(key: &'static str, label: &'static str, unit: &'static str) -> Self {
        Self { key, label, unit, beside: None, goal: None }
    }

    pub(crate) const fn goal(self, goal: Goal) -> Self {
        Self { goal: Some(goal), ..self }
    }

    pub(crate) const fn beside(self, key: &'static str) -> Self {
        Self { beside: Some(key), ..self }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Goal::RatioAtLeast(least) => write!(f, "ratio >= {least}"),
            Goal::RatioAtMost(most) => write!(f, "ratio <= {most}"),
            Goal::ValueAtMost(most) => write!(f, "fedist <= {most}"),
        }
    }
}

/// The usual span.
pub(crate) const SPAN: Duration = Duration::from_millis(600);

/// Messages per microsecond, from the first send until the last is handled.
pub(crate) const RATE: &str = "rate";
/// The same per millisecond.
pub(crate) const KILO_RATE: &str = "kilo_rate";
/// The first without what disturbs it.
pub(crate) const RATE_WITHOUT: &str = "rate_without";
/// Median and higher percentiles, in microseconds.
pub(crate) const P50: &str = "p50";
pub(crate) const P99: &str = "p99";
pub(crate) const P999: &str = "p999";
/// The median of an ask to the neighbour, and what the median of one to the far end is above it.
pub(crate) const DIRECT: &str = "direct";
pub(crate) const ADDED: &str = "added";
/// Processor time per message in microseconds: of the sending process, of the receiving one, of
/// those between, of all.
pub(crate) const CPU_HERE: &str = "cpu_here";
pub(crate) const CPU_THERE: &str = "cpu_there";
pub(crate) const CPU_BETWEEN: &str = "cpu_between";
pub(crate) const CPU: &str = "cpu";
