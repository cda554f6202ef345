//! Two processes and one link, beside nothing but quinn.

use std::time::Duration;

use crate::actors::BODY_LEN;
use crate::cores::Places;
use crate::federation::{self, From};
use crate::raw_quinn;
use crate::work::{
    CPU, CPU_HERE, CPU_THERE, Cast, Figure, Goal, Group, KILO_RATE, Measure, P50, P99, P999, RATE,
    RATE_WITHOUT, SPAN, Work,
};

pub(crate) const GROUP: Group = Group {
    name: "remote",
    title: "Over one link, beside raw quinn",
    works: &[
        remote(
            "remote-ask",
            raw_quinn::ask,
            |run| federation::ask(run, From::Node),
            &[
                Figure::new(P50, "ask, two cores, p50", "µs").goal(Goal::RatioAtMost(1.15)),
                Figure::new(P99, "ask, two cores, p99", "µs"),
                Figure::new(P999, "ask, two cores, p99.9", "µs"),
                Figure::new(CPU, "ask, two cores, CPU of both", "µs"),
            ],
        )
        .span(ASK_SPAN),
        remote(
            "remote-ask-one-core",
            raw_quinn::ask,
            |run| federation::ask(run, From::Node),
            &[
                Figure::new(P50, "ask, one core, p50", "µs").goal(Goal::RatioAtMost(1.3)),
                Figure::new(P99, "ask, one core, p99", "µs"),
                Figure::new(P999, "ask, one core, p99.9", "µs"),
                Figure::new(CPU, "ask, one core, CPU of both", "µs"),
            ],
        )
        .places(Places::OneCore)
        .span(ASK_SPAN),
        remote(
            "remote-ask-threads",
            raw_quinn::ask,
            |run| federation::ask(run, From::Outside),
            &[
                Figure::new(P50, "ask from a thread outside the node, p50", "µs"),
                Figure::new(P99, "ask from a thread outside the node, p99", "µs"),
            ],
        ),
        remote(
            "remote-ask-256",
            |run| raw_quinn::ask_at_once(run, 256),
            |run| federation::ask_at_once(run, 256),
            &[
                Figure::new(RATE, "256 asks in flight", "M/s").goal(Goal::RatioAtLeast(0.45)),
                Figure::new(CPU, "256 asks in flight, CPU of both", "µs"),
            ],
        ),
        remote(
            "remote-tell",
            |run| raw_quinn::tell(run, BODY_LEN),
            |run| federation::tell(run, From::Node),
            &[
                Figure::new(RATE, "one-way 64 B", "M/s").goal(Goal::RatioAtLeast(0.5)),
                Figure::new(CPU_HERE, "one-way 64 B, CPU of the sender", "µs"),
                Figure::new(CPU_THERE, "one-way 64 B, CPU of the receiver", "µs"),
                Figure::new(CPU, "one-way 64 B, CPU of both", "µs").goal(Goal::RatioAtMost(2.0)),
            ],
        ),
        remote(
            "remote-tell-threads",
            |run| raw_quinn::tell(run, BODY_LEN),
            |run| federation::tell(run, From::Outside),
            &[
                Figure::new(RATE, "one-way 64 B from outside the node", "M/s"),
                Figure::new(CPU, "the same, CPU of both", "µs"),
            ],
        ),
        remote(
            "remote-tell-1k",
            |run| raw_quinn::tell(run, 1 << 10),
            |run| federation::tell_bytes(run, 1 << 10),
            &[
                Figure::new(RATE, "one-way 1 KiB", "M/s").goal(Goal::RatioAtLeast(0.7)),
                Figure::new(CPU, "one-way 1 KiB, CPU of both", "µs"),
            ],
        ),
        remote(
            "remote-tell-64k",
            |run| raw_quinn::tell(run, 64 << 10),
            |run| federation::tell_bytes(run, 64 << 10),
            &[
                Figure::new(KILO_RATE, "one-way 64 KiB", "k/s").goal(Goal::RatioAtLeast(0.9)),
                Figure::new(CPU, "one-way 64 KiB, CPU of both", "µs"),
            ],
        ),
        remote(
            "remote-tell-1m",
            |run| raw_quinn::tell(run, 1 << 20),
            |run| federation::tell_bytes(run, 1 << 20),
            &[
                Figure::new(KILO_RATE, "one-way 1 MiB", "k/s").goal(Goal::RatioAtLeast(0.9)),
                Figure::new(CPU, "one-way 1 MiB, CPU of both", "µs"),
            ],
        )
        .span(Duration::from_millis(1000)),
        remote(
            "remote-tell-16",
            raw_quinn::tell_from_many,
            federation::tell_from_many,
            &[
                Figure::new(RATE, "16 senders to 16 actors, 64 B", "M/s"),
                Figure::new(CPU, "16 senders to 16 actors, CPU of both", "µs"),
            ],
        ),
        Work {
            name: "remote-tell-slow",
            places: Places::TwoCores,
            span: Duration::from_millis(2000),
            floor: None,
            fedist: Cast::pair(&[federation::serve], federation::tell_beside_a_slow_one),
            figures: &[Figure::new(RATE, "15 of 16 senders; one receiver is slow / absent", "M/s")
                .beside(RATE_WITHOUT)
                .goal(Goal::RatioAtLeast(0.9))],
        },
    ],
};

const fn remote(
    name: &'static str,
    floor: Measure,
    fedist: Measure,
    figures: &'static [Figure],
) -> Work {
    Work {
        name,
        places: Places::TwoCores,
        span: SPAN,
        floor: Some(Cast::pair(&[raw_quinn::serve], floor)),
        fedist: Cast::pair(&[federation::serve], fedist),
        figures,
    }
}

/// Enough for a p99.9.
const ASK_SPAN: Duration = Duration::from_millis(1200);
