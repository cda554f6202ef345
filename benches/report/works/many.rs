//! Many actors on one thread, beside actix.

use crate::many::{self, BYTES, SPAWN, STARTED};
use crate::work::{Figure, Goal, Group, RATE, Work};

pub(crate) const GROUP: Group = Group {
    name: "many",
    title: "Many actors in one process, beside actix",
    works: &[
        Work::alone(
            "fan-in",
            Some(many::fan_in_of_actix),
            many::fan_in_of_fedist,
            &[Figure::new(RATE, "8 senders, one receiver", "M/s")],
        ),
        Work::alone(
            "ring",
            Some(many::ring_of_actix),
            many::ring_of_fedist,
            &[Figure::new(RATE, "a token in a ring of 1,000", "M/s")],
        ),
        Work::alone(
            "spawn",
            Some(many::spawn_in_actix),
            many::spawn_in_fedist,
            &[
                Figure::new(SPAWN, "an actor with a pid, to spawn it", "µs")
                    .goal(Goal::RatioAtMost(1.5)),
                Figure::new(STARTED, "the same, until it has started", "µs"),
                Figure::new(BYTES, "an idle actor's memory", "B")
                    .goal(Goal::ValueAtMost(1.2 * 1024.0)),
            ],
        ),
    ],
};
