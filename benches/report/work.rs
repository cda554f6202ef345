//! What is measured: the list of works, and the figures that each gives.

use serde::{Deserialize, Serialize};

/// Something that FeDist and its floor both do.
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) task: Task,
    /// The sender runs on another thread than what it sends to, or than the node it sends by.
    pub(crate) apart: bool,
    /// Sender and receiver have a processor each, or share one.
    pub(crate) cores: u8,
    pub(crate) figures: &'static [Figure],
}

#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Task {
    LocalTell,
    LocalAsk,
    RemoteTell,
    RemoteAsk,
}

impl Task {
    pub(crate) fn needs_a_server(self) -> bool {
        matches!(self, Task::RemoteTell | Task::RemoteAsk)
    }
}

/// One number that a run of a work gives, under `key` in its outcome.
pub(crate) struct Figure {
    pub(crate) key: &'static str,
    pub(crate) label: &'static str,
    pub(crate) unit: &'static str,
}

pub(crate) const ALL: &[Work] = &[
    Work {
        name: "local-tell",
        task: Task::LocalTell,
        apart: false,
        cores: 1,
        figures: &[Figure { key: RATE, label: "local do_send, same thread", unit: "M/s" }],
    },
    Work {
        name: "local-tell-threads",
        task: Task::LocalTell,
        apart: true,
        cores: 2,
        figures: &[Figure {
            key: RATE,
            label: "local do_send, two threads on two cores",
            unit: "M/s",
        }],
    },
    Work {
        name: "local-ask",
        task: Task::LocalAsk,
        apart: false,
        cores: 1,
        figures: &[Figure { key: P50, label: "local send, same thread", unit: "µs" }],
    },
    Work {
        name: "local-ask-threads",
        task: Task::LocalAsk,
        apart: true,
        cores: 2,
        figures: &[Figure { key: P50, label: "local send, two threads on two cores", unit: "µs" }],
    },
    Work {
        name: "local-ask-threads-one-core",
        task: Task::LocalAsk,
        apart: true,
        cores: 1,
        figures: &[Figure { key: P50, label: "local send, two threads on one core", unit: "µs" }],
    },
    Work {
        name: "remote-ask",
        task: Task::RemoteAsk,
        apart: false,
        cores: 2,
        figures: &[
            Figure { key: P50, label: "ask, two cores, p50", unit: "µs" },
            Figure { key: P99, label: "ask, two cores, p99", unit: "µs" },
            Figure { key: CPU, label: "ask, two cores, CPU of both", unit: "µs" },
        ],
    },
    Work {
        name: "remote-ask-one-core",
        task: Task::RemoteAsk,
        apart: false,
        cores: 1,
        figures: &[
            Figure { key: P50, label: "ask, one core, p50", unit: "µs" },
            Figure { key: P99, label: "ask, one core, p99", unit: "µs" },
            Figure { key: CPU, label: "ask, one core, CPU of both", unit: "µs" },
        ],
    },
    Work {
        name: "remote-ask-threads",
        task: Task::RemoteAsk,
        apart: true,
        cores: 2,
        figures: &[
            Figure { key: P50, label: "ask from a thread outside the node, p50", unit: "µs" },
            Figure { key: P99, label: "ask from a thread outside the node, p99", unit: "µs" },
        ],
    },
    Work {
        name: "remote-tell",
        task: Task::RemoteTell,
        apart: false,
        cores: 2,
        figures: &[
            Figure { key: RATE, label: "one-way 64 B, two cores", unit: "M/s" },
            Figure { key: CPU_HERE, label: "one-way 64 B, CPU of the sender", unit: "µs" },
            Figure { key: CPU_THERE, label: "one-way 64 B, CPU of the receiver", unit: "µs" },
        ],
    },
    Work {
        name: "remote-tell-threads",
        task: Task::RemoteTell,
        apart: true,
        cores: 2,
        figures: &[
            Figure { key: RATE, label: "one-way from a thread outside the node", unit: "M/s" },
            Figure { key: CPU, label: "the same, CPU of both", unit: "µs" },
        ],
    },
];

/// Messages per microsecond, from the first send until the last is handled.
pub(crate) const RATE: &str = "rate";
/// Median and 99th percentile, in microseconds.
pub(crate) const P50: &str = "p50";
pub(crate) const P99: &str = "p99";
/// Processor time per message in microseconds: of the sending process, the receiving one, both.
pub(crate) const CPU_HERE: &str = "cpu_here";
pub(crate) const CPU_THERE: &str = "cpu_there";
pub(crate) const CPU: &str = "cpu";
