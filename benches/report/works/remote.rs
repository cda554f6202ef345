//! Two processes and one link, beside nothing but quinn.

use crate::cores::Places;
use crate::federation::{self, From};
use crate::raw_quinn;
use crate::work::{
    CPU, CPU_HERE, CPU_THERE, Cast, Figure, Goal, Group, Measure, P50, P99, P999, RATE, SPAN, Work,
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
        ),
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
        .places(Places::OneCore),
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
            "remote-tell",
            raw_quinn::tell,
            |run| federation::tell(run, From::Node),
            &[
                Figure::new(RATE, "one-way 64 B, two cores", "M/s").goal(Goal::RatioAtLeast(0.5)),
                Figure::new(CPU_HERE, "one-way 64 B, CPU of the sender", "µs"),
                Figure::new(CPU_THERE, "one-way 64 B, CPU of the receiver", "µs"),
                Figure::new(CPU, "one-way 64 B, CPU of both", "µs").goal(Goal::RatioAtMost(2.0)),
            ],
        ),
        remote(
            "remote-tell-threads",
            raw_quinn::tell,
            |run| federation::tell(run, From::Outside),
            &[
                Figure::new(RATE, "one-way from a thread outside the node", "M/s"),
                Figure::new(CPU, "the same, CPU of both", "µs"),
            ],
        ),
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
