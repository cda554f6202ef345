//! Everything through one and two relays, beside a chain of raw quinn links.

use std::time::Duration;

use crate::actors::BODY_LEN;
use crate::cores::Places;
use crate::federation::{self, From};
use crate::raw_quinn;
use crate::work::{
    ADDED, CPU, CPU_BETWEEN, Cast, Figure, Goal, Group, KILO_RATE, Measure, P50, P99, RATE, SPAN,
    Serve, Work,
};

pub(crate) const GROUP: Group = Group {
    name: "relay",
    title: "Over relays, beside a chain of raw quinn links",
    works: &[
        over(
            &ONE,
            "relay-ask",
            raw_quinn::ask_near_and_far,
            federation::ask_near_and_far,
            &[
                Figure::new(P50, "ask over a relay, p50", "µs"),
                Figure::new(P99, "ask over a relay, p99", "µs"),
                Figure::new(ADDED, "what the relay adds to p50", "µs").goal(Goal::RatioAtMost(1.1)),
                Figure::new(CPU, "ask over a relay, CPU of all", "µs"),
            ],
        )
        .span(ASK_SPAN),
        over(
            &ONE,
            "relay-ask-one-core",
            raw_quinn::ask_near_and_far,
            federation::ask_near_and_far,
            &[
                Figure::new(P50, "ask over a relay, one core, p50", "µs"),
                Figure::new(ADDED, "what the relay adds to it", "µs").goal(Goal::RatioAtMost(1.1)),
            ],
        )
        .span(ASK_SPAN)
        .places(Places::OneCore),
        over(
            &TWO,
            "relays-ask",
            raw_quinn::ask_near_and_far,
            federation::ask_near_and_far,
            &[
                Figure::new(P50, "ask over two relays, p50", "µs"),
                Figure::new(P99, "ask over two relays, p99", "µs"),
                Figure::new(ADDED, "what two relays add to p50", "µs").goal(Goal::RatioAtMost(1.1)),
                Figure::new(CPU, "ask over two relays, CPU of all", "µs"),
            ],
        )
        .span(ASK_SPAN),
        over(
            &ONE,
            "relay-tell",
            |run| raw_quinn::tell(run, BODY_LEN),
            |run| federation::tell(run, From::Node),
            &[
                Figure::new(RATE, "one-way 64 B over a relay", "M/s").goal(Goal::RatioAtLeast(0.7)),
                Figure::new(CPU_BETWEEN, "one-way 64 B, CPU of the relay", "µs"),
                Figure::new(CPU, "one-way 64 B over a relay, CPU of all", "µs"),
            ],
        ),
        over(
            &TWO,
            "relays-tell",
            |run| raw_quinn::tell(run, BODY_LEN),
            |run| federation::tell(run, From::Node),
            &[
                Figure::new(RATE, "one-way 64 B over two relays", "M/s"),
                Figure::new(CPU, "one-way 64 B over two relays, CPU of all", "µs"),
            ],
        ),
        over(
            &ONE,
            "relay-tell-64k",
            |run| raw_quinn::tell(run, 64 << 10),
            |run| federation::tell_bytes(run, 64 << 10),
            &[
                Figure::new(KILO_RATE, "one-way 64 KiB over a relay", "k/s")
                    .goal(Goal::RatioAtLeast(0.7)),
                Figure::new(CPU, "one-way 64 KiB over a relay, CPU of all", "µs"),
            ],
        ),
        over(
            &ONE,
            "relay-ask-256",
            |run| raw_quinn::ask_at_once(run, 256),
            |run| federation::ask_at_once(run, 256),
            &[
                Figure::new(RATE, "256 asks in flight over a relay", "M/s"),
                Figure::new(CPU, "256 asks over a relay, CPU of all", "µs"),
            ],
        ),
    ],
};

/// The servers of a line: whom it is for, and the relays.
struct Line {
    floor: &'static [Serve],
    fedist: &'static [Serve],
}

const FLOOR: Serve = raw_quinn::serve;
const FEDIST: Serve = federation::serve;
const ONE: Line = Line { floor: &[FLOOR; 2], fedist: &[FEDIST; 2] };
const TWO: Line = Line { floor: &[FLOOR; 3], fedist: &[FEDIST; 3] };

const fn over(
    line: &Line,
    name: &'static str,
    floor: Measure,
    fedist: Measure,
    figures: &'static [Figure],
) -> Work {
    Work {
        name,
        places: Places::TwoCores,
        span: SPAN,
        floor: Some(Cast { servers: line.floor, client: floor }),
        fedist: Cast { servers: line.fedist, client: fedist },
        figures,
    }
}

/// Half of it for the neighbour, half for the far end.
const ASK_SPAN: Duration = Duration::from_millis(1200);
