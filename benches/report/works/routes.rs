//! Routes of a federation of 1,024 regions.

use crate::routes::{self, LOOK_UP};
use crate::work::{Figure, Goal, Group, P50, Work};

pub(crate) const GROUP: Group = Group {
    name: "routes",
    title: "Routes among 1,024 regions",
    works: &[
        Work::alone(
            "route-change",
            None,
            routes::change,
            &[Figure::new(P50, "the cost of a link moves, table brought up to date", "µs")
                .goal(Goal::ValueAtMost(300.0))],
        ),
        Work::alone(
            "route-look-up",
            None,
            routes::look_up,
            &[Figure::new(LOOK_UP, "look-up of a message's route", "ns")
                .goal(Goal::ValueAtMost(10.0))],
        ),
    ],
};
