//! Memory of what a node holds, and the registry.

use crate::held;
use crate::many::BYTES;
use crate::work::{Figure, Group, KILO_RATE, Work};

pub(crate) const GROUP: Group = Group {
    name: "held",
    title: "What a node holds, and the registry",
    works: &[
        Work::alone("name", None, held::names, &[Figure::new(BYTES, "a name's memory", "B")]),
        Work::alone(
            "monitor",
            None,
            held::monitors,
            &[Figure::new(BYTES, "a monitor's memory", "B")],
        ),
        Work::alone(
            "actor-link",
            None,
            held::links,
            &[Figure::new(BYTES, "memory of a link of two actors", "B")],
        ),
        Work::alone(
            "session",
            None,
            held::sessions,
            &[Figure::new(BYTES, "memory of an idle session, one end", "B")],
        ),
        Work::alone(
            "registry",
            None,
            held::registry,
            &[
                Figure::new(KILO_RATE, "registry, signed entries checked and applied", "k/s"),
                Figure::new(BYTES, "memory of a region in the registry, its log too", "B"),
            ],
        ),
    ],
};
