//! The works, and how many instructions each of their parts may take.

use fedist_testkit::TestResult;

use crate::{callgrind, engines, nodes, table};

/// Something that is done again and again, in a process of its own.
pub(crate) struct Work {
    pub(crate) name: &'static str,
    /// The name of its test.
    pub(crate) sentence: &'static str,
    /// Messages of the first run; the second has twice as many.
    pub(crate) messages: u64,
    pub(crate) perform: fn(messages: u64) -> TestResult,
    pub(crate) parts: &'static [Part],
}

/// What one thread of a work does for each message.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    /// In the order in which threads begin: the process's own is 0; then come the nodes, each with one for tasks behind it.
    pub(crate) thread: usize,
    /// Instructions per message, at most: half as many again as were counted when it was written, so that another compiler or
    /// `memcpy` does not matter.
    pub(crate) ceiling: f64,
}

/// Messages have 64 bytes. What has a second node goes over the memory fabric, one thread for each node.
pub(crate) const WORKS: &[Work] = &[
    Work {
        name: "route",
        sentence: "looking up a route among 1,024 regions stays below its ceiling",
        messages: 100_000,
        perform: engines::look_up,
        parts: &[Part { name: "route look-up", thread: 0, ceiling: 60.0 }],
    },
    Work {
        name: "session-send",
        sentence: "sending by a session stays below its ceiling",
        messages: 20_000,
        perform: engines::session_sends,
        parts: &[Part { name: "session, sending", thread: 0, ceiling: 550.0 }],
    },
    Work {
        name: "session-receive",
        sentence: "receiving by a session stays below its ceiling",
        messages: 20_000,
        perform: engines::session_receives,
        parts: &[Part { name: "session, receiving", thread: 0, ceiling: 550.0 }],
    },
    Work {
        name: "encode",
        sentence: "encoding a message and queueing it for another region stays below its ceiling",
        messages: 10_000,
        perform: nodes::encode,
        parts: &[Part { name: "encode and queue", thread: 1, ceiling: 1_400.0 }],
    },
    Work {
        name: "local-tell",
        sentence: "a tell through a mailbox stays below its ceiling",
        messages: 20_000,
        perform: nodes::local_tells,
        parts: &[Part { name: "tell, own node", thread: 1, ceiling: 1_100.0 }],
    },
    Work {
        name: "local-ask",
        sentence: "an ask through a mailbox stays below its ceiling",
        messages: 10_000,
        perform: nodes::local_asks,
        parts: &[Part { name: "ask, own node", thread: 1, ceiling: 4_600.0 }],
    },
    Work {
        name: "remote-tell",
        sentence: "a tell to another node stays below its ceilings at both ends",
        messages: 10_000,
        perform: nodes::remote_tells,
        parts: &[
            Part { name: "tell, sending node", thread: 1, ceiling: 1_700.0 },
            Part { name: "tell, receiving node", thread: 3, ceiling: 1_800.0 },
        ],
    },
    Work {
        name: "relayed-ask",
        sentence: "an ask over a relay stays below its ceilings at both ends and at the relay",
        messages: 1_000,
        perform: nodes::relayed_asks,
        parts: &[
            Part { name: "ask, asking node", thread: 1, ceiling: 40_000.0 },
            Part { name: "ask, relay, two frames", thread: 3, ceiling: 34_000.0 },
            Part { name: "ask, answering node", thread: 5, ceiling: 41_000.0 },
        ],
    },
];

/// Counts a work and holds each part against its ceiling.
pub(crate) fn check(work: &Work) -> TestResult {
    let threads = callgrind::count(work)?;
    let mut wrong = Vec::new();
    for part in work.parts {
        let counted = *threads.get(part.thread).ok_or("a thread of the work is missing")?;
        table::note(part, counted);
        if counted > part.ceiling {
            wrong.push(format!(
                "instructions per message ({counted:.0}, {}) are above the ceiling of {}; \
                 make the path shorter, or raise the ceiling and say why",
                part.name, part.ceiling
            ));
        } else if counted < 1.0 {
            wrong.push(format!(
                "instructions per message ({counted:.0}, {}) are too few to be true; \
                 the work has moved to another thread; look which one does it",
                part.name
            ));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ").into()) }
}
