//! What is measured: the list of works, and the figures that each gives.

use crate::cores::Places;
use serde::{Deserialize, Serialize};

/// Something that FeDist and its peers all do.
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) task: Task,
    /// Sender and receiver have a processor each, or share one.
    pub(crate) places: Places,
    pub(crate) figures: &'static [Figure],
}

#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Task {
    /// Bursts of messages to an actor of the same process; `apart`: on a thread of its own.
    LocalTell { apart: bool },
    /// The same with an answer, one after the other.
    LocalAsk { apart: bool },
    /// Many actors that do nothing.
    Idle,
    /// Messages of so many bytes to an actor of another process.
    OneWay { bytes: usize },
    /// So many asks under way at any time.
    Ask { in_flight: usize },
}

impl Task {
    pub(crate) fn needs_a_server(self) -> bool {
        matches!(self, Task::OneWay { .. } | Task::Ask { .. })
    }

    /// Sender and receiver have threads of their own in one process.
    pub(crate) fn is_apart(self) -> bool {
        matches!(self, Task::LocalTell { apart: true } | Task::LocalAsk { apart: true })
    }

    /// Bytes of the body of a message.
    pub(crate) fn bytes(self) -> usize {
        if let Task::OneWay { bytes } = self { bytes } else { BODY_LEN }
    }
}

/// One number that a run of a work gives, under `key` in its outcome.
pub(crate) struct Figure {
    pub(crate) key: &'static str,
    pub(crate) label: &'static str,
    pub(crate) unit: &'static str,
    /// More is better.
    pub(crate) rate: bool,
}

const fn rate(key: &'static str, label: &'static str, unit: &'static str) -> Figure {
    Figure { key, label, unit, rate: true }
}

const fn cost(key: &'static str, label: &'static str, unit: &'static str) -> Figure {
    Figure { key, label, unit, rate: false }
}

pub(crate) const ALL: &[Work] = &[
    Work {
        name: "local-tell",
        task: Task::LocalTell { apart: false },
        places: Places::OneCore,
        figures: &[rate(RATE, "local tell, same thread", "M/s")],
    },
    Work {
        name: "local-tell-threads",
        task: Task::LocalTell { apart: true },
        places: Places::TwoCores,
        figures: &[rate(RATE, "local tell, two threads on two cores", "M/s")],
    },
    Work {
        name: "local-ask",
        task: Task::LocalAsk { apart: false },
        places: Places::OneCore,
        figures: &[cost(P50, "local ask, same thread", "µs")],
    },
    Work {
        name: "local-ask-threads",
        task: Task::LocalAsk { apart: true },
        places: Places::TwoCores,
        figures: &[cost(P50, "local ask, two threads on two cores", "µs")],
    },
    Work {
        name: "idle",
        task: Task::Idle,
        places: Places::OneCore,
        figures: &[
            cost(SPAWN, "spawn of an actor", "µs"),
            cost(MEMORY, "memory of an idle actor", "B"),
        ],
    },
    Work {
        name: "remote-ask",
        task: Task::Ask { in_flight: 1 },
        places: Places::TwoCores,
        figures: &[
            cost(P50, "ask 64 B, two cores, p50", "µs"),
            cost(P99, "ask 64 B, two cores, p99", "µs"),
            cost(CPU, "ask 64 B, two cores, CPU of all", "µs"),
        ],
    },
    Work {
        name: "remote-ask-one-core",
        task: Task::Ask { in_flight: 1 },
        places: Places::OneCore,
        figures: &[
            cost(P50, "ask 64 B, one core, p50", "µs"),
            cost(P99, "ask 64 B, one core, p99", "µs"),
            cost(CPU, "ask 64 B, one core, CPU of all", "µs"),
        ],
    },
    Work {
        name: "remote-ask-256",
        task: Task::Ask { in_flight: 256 },
        places: Places::TwoCores,
        figures: &[
            rate(RATE, "256 asks in flight", "M/s"),
            cost(CPU, "256 asks in flight, CPU of all", "µs"),
        ],
    },
    Work {
        name: "remote-tell",
        task: Task::OneWay { bytes: BODY_LEN },
        places: Places::TwoCores,
        figures: &[rate(RATE, "one-way 64 B", "M/s"), cost(CPU, "one-way 64 B, CPU of all", "µs")],
    },
    Work {
        name: "remote-tell-1k",
        task: Task::OneWay { bytes: 1 << 10 },
        places: Places::TwoCores,
        figures: &[
            rate(RATE, "one-way 1 KiB", "M/s"),
            cost(CPU, "one-way 1 KiB, CPU of all", "µs"),
        ],
    },
    Work {
        name: "remote-tell-64k",
        task: Task::OneWay { bytes: 64 << 10 },
        places: Places::TwoCores,
        figures: &[
            rate(BYTE_RATE, "one-way 64 KiB", "GB/s"),
            cost(CPU, "one-way 64 KiB, CPU of all", "µs"),
        ],
    },
    Work {
        name: "remote-tell-1m",
        task: Task::OneWay { bytes: 1 << 20 },
        places: Places::TwoCores,
        figures: &[
            rate(BYTE_RATE, "one-way 1 MiB", "GB/s"),
            cost(CPU, "one-way 1 MiB, CPU of all", "µs"),
        ],
    },
];

/// The body of every message that is not longer on purpose.
pub(crate) const BODY_LEN: usize = 64;

/// Messages per microsecond, from the first send until the last is handled.
pub(crate) const RATE: &str = "rate";
/// The same in bytes of body per nanosecond.
pub(crate) const BYTE_RATE: &str = "byte_rate";
/// Median and 99th percentile, in microseconds.
pub(crate) const P50: &str = "p50";
pub(crate) const P99: &str = "p99";
/// Processor time per message in microseconds, of all processes together.
pub(crate) const CPU: &str = "cpu";
/// How many messages that was.
pub(crate) const COUNT: &str = "count";
/// Microseconds per actor until it has started, and the memory that it then takes.
pub(crate) const SPAWN: &str = "spawn";
pub(crate) const MEMORY: &str = "bytes";
