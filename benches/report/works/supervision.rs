//! Tasks in another region, and monitors on its actors.

use crate::cores::Places;
use crate::federation::{self, DOWN, SET};
use crate::raw_quinn;
use crate::work::{CPU, Cast, Figure, Group, P50, P99, SPAN, Work};

pub(crate) const GROUP: Group = Group {
    name: "supervision",
    title: "Tasks and monitors over one link",
    works: &[
        Work {
            name: "task",
            places: Places::TwoCores,
            span: SPAN,
            floor: Some(Cast::pair(&[raw_quinn::serve], raw_quinn::ask)),
            fedist: Cast::pair(&[federation::serve], federation::call),
            figures: &[
                Figure::new(P50, "a task's start and result, beside an echo, p50", "µs"),
                Figure::new(P99, "the same, p99", "µs"),
                Figure::new(CPU, "the same, CPU of both", "µs"),
            ],
        },
        Work {
            name: "monitor-storm",
            places: Places::TwoCores,
            span: SPAN,
            floor: None,
            fedist: Cast::pair(&[federation::serve], federation::monitor),
            figures: &[
                Figure::new(SET, "10,000 monitors, to set one", "µs"),
                Figure::new(DOWN, "10,000 monitored actors killed, per Down", "µs"),
            ],
        },
    ],
};
