//! A node that has much and does little.

use crate::cores::Places;
use crate::scale::{self, LINK, RESIDENT, REST};
use crate::work::{CPU_THERE, Cast, Figure, Goal, Group, Measure, P50, Serve, Work};

pub(crate) const GROUP: Group = Group {
    name: "scale",
    title: "A node that has much and does little",
    works: &[
        resting(
            "idle",
            &[scale::serve_nothing],
            |run| scale::idle(run, 8),
            &[Figure::new(CPU_THERE, "idle node, 8 links, share of a core", "%")
                .goal(Goal::ValueAtMost(0.5))],
        ),
        resting(
            "million",
            &[scale::serve_a_million],
            scale::loaded,
            &[
                Figure::new(RESIDENT, "1 M actors, 100 k names, 64 links: memory", "MiB"),
                Figure::new(LINK, "the same, for each link", "KiB"),
                Figure::new(CPU_THERE, "the same, idle, share of a core", "%"),
                Figure::new(P50, "the same, ask of a named actor, p50", "µs"),
            ],
        ),
    ],
};

const fn resting(
    name: &'static str,
    server: &'static [Serve; 1],
    client: Measure,
    figures: &'static [Figure],
) -> Work {
    let fedist = Cast::pair(server, client);
    Work { name, places: Places::TwoCores, span: REST, floor: None, fedist, figures }
}
