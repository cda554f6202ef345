//! Messages inside one process, beside actix.

use crate::cores::Places;
use crate::local::{Task, Threads, fedist, floor};
use crate::work::{Figure, Goal, Group, P50, RATE, Work};

pub(crate) const GROUP: Group = Group {
    name: "local",
    title: "Inside one process, beside actix",
    works: &[
        Work::alone(
            "local-tell",
            Some(|run| floor(run, Task::Tell, Threads::Same)),
            |run| fedist(run, Task::Tell, Threads::Same),
            &[Figure::new(RATE, "local do_send, same thread", "M/s").goal(Goal::RatioAtLeast(0.9))],
        ),
        Work::alone(
            "local-tell-threads",
            Some(|run| floor(run, Task::Tell, Threads::Apart)),
            |run| fedist(run, Task::Tell, Threads::Apart),
            &[Figure::new(RATE, "local do_send, two threads on two cores", "M/s")],
        )
        .places(Places::TwoCores),
        Work::alone(
            "local-ask",
            Some(|run| floor(run, Task::Ask, Threads::Same)),
            |run| fedist(run, Task::Ask, Threads::Same),
            &[Figure::new(P50, "local send, same thread", "µs").goal(Goal::RatioAtMost(1.15))],
        ),
        Work::alone(
            "local-ask-threads",
            Some(|run| floor(run, Task::Ask, Threads::Apart)),
            |run| fedist(run, Task::Ask, Threads::Apart),
            &[Figure::new(P50, "local send, two threads on two cores", "µs")],
        )
        .places(Places::TwoCores),
        Work::alone(
            "local-ask-threads-one-core",
            Some(|run| floor(run, Task::Ask, Threads::Apart)),
            |run| fedist(run, Task::Ask, Threads::Apart),
            &[Figure::new(P50, "local send, two threads on one core", "µs")],
        ),
    ],
};
