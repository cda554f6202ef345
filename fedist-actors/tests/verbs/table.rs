//! The table: each verb, what it does between two nodes, and the one outcome it must have.

use std::{fmt::Debug, time::Instant};

use fedist_actors::{AskError, Node, NodeBuilder};
use futures_util::future::{FutureExt, LocalBoxFuture};

use crate::{groups::*, life::*, messages::*, naming::*, probe::within, supervisors::*, tasks::*};

/// One line of the table.
pub(crate) struct Verb {
    pub(crate) name: &'static str,
    pub(crate) act: for<'a> fn(&'a Node, &'a Node) -> LocalBoxFuture<'a, String>,
    pub(crate) outcome: &'static str,
}

macro_rules! table {
    ($($(#[$_:meta])* $verb:ident => $outcome:literal,)*) => {
        /// Every verb.
        pub(crate) const TABLE: &[Verb] = &[$(Verb {
            name: stringify!($verb),
            act: |near, far| $verb(near, far).boxed_local(),
            outcome: $outcome,
        },)*];
    };
}

table! {
    // Messages.
    do_send => "[1]",
    try_send => "Ok(()), [1]",
    tell => "Ok(()), [1]",
    send => "Ok([1])",
    send_by_region_addr => "Ok([1])",
    send_by_recipient => "Ok(()), [1]",
    send_past_its_deadline => "Timeout(50ms)",
    send_to_nobody => "NoActor",
    send_to_one_that_panics => "NoReply",
    send_to_one_that_is_killed => "NoReply",
    do_send_to_nobody => "[NoActor]",
    try_send_to_a_full_mailbox => "Full, and what was accepted came in order",
    tell_to_a_full_mailbox => "waits, and all came in order",
    send_to_a_full_mailbox => "waits, and is answered behind the others",
    undelivered => "once, NoActor",
    send_after => "[Note(1)], cancelled true, again false",
    ping => "Ok(true), then Ok(false)",

    // Monitors.
    monitor_stop => "Normal",
    monitor_panic => "Panicked(\"a bug\")",
    monitor_kill => "Killed",
    monitor_exit => "Custom(\"mine\")",
    monitor_nobody => "NoActor",
    monitor_in_plain_code => "Shutdown",
    monitor_twice => "[Normal, Normal]",
    demonitor => "true, then false, and no Down",

    // Links and exit signals.
    link => "Custom(\"over\"), both ways",
    link_trapped => "[Custom(\"over\")]",
    link_nobody => "[NoActor]",
    unlink => "alive",
    exit => "Custom(\"go\")",
    exit_shutdown => "Shutdown",
    exit_normal => "alive",
    exit_trapped => "[Custom(\"go\")]",
    kill => "Killed",
    kill_a_trapping_one => "Killed, trapped []",
    kill_through_a_link => "Killed",
    order_of_signals => "notes, then the exit signal and the Down",

    // Names.
    name_and_whereis => "found",
    whereis_unknown => "NotFound",
    whereis_after_its_end => "NotFound",
    name_taken => "NameTaken",
    lookup => "Ok([1])",
    register => "found, then Taken",
    unregister => "true, then NotFound",
    via_send => "Ok(()), Ok(1)",
    via_do_send => "[Note(0), Note(1), Note(2)]",
    via_after_a_new_start => "[Ok(0), Ok(0)]",
    via_unknown => "NotFound, NotFound",
    alias => "found, Ok(0), held: true, then free",
    alias_ends_with_its_actor => "Released",

    // Actors and tasks started from afar.
    spawn_at => "counts",
    spawn_at_unknown => "UnknownFactory",
    spawn_link_at => "Custom(\"over\"), both ways",
    spawn_monitor_at => "Custom(\"at once\")",
    task_await => "Ok(14)",
    task_await_past_its_time => "Timeout, and it was cancelled",
    task_that_panics => "Panicked(\"a bug\")",
    task_unknown => "Refused",
    task_yield => "None, then Ok(14), then Settled",
    task_shutdown => "None, and it was cancelled",
    task_shutdown_with_time => "finished",
    task_dropped => "cancelled",
    task_of_an_actor_that_ends => "cancelled",
    task_that_panics_takes_its_actor_along => "Panicked(\"a bug\")",
    task_nolink_outlives_its_handle => "ran to its end",
    task_start_child => "ran to its end",
    task_prints => "one, two, then 2",
    task_stream_ordered => "[0, 2, 4, 6, 8, 10]",
    task_stream_with_a_late_one => "[Ok(1), Timeout, Ok(2)]",
    task_call => "Ok(14)",
    task_call_past_its_deadline => "Timeout, and it was cancelled",
    task_multicall => "Ok(14), Ok(14)",
    task_await_many => "[Ok(2), Ok(4), Ok(6)]",

    // Supervisors.
    which_children => "[(\"a\", Running, 0), (\"b\", Running, 0)]",
    count_children => "2 of 2",
    terminate_and_restart_child => "Ok(()), NoActor, another: true",
    delete_child => "Running, then Ok(()), 1 left",
    restart_of_a_killed_child => "[(\"a\", Running, 0), (\"b\", Running, 1)]",
    remote_child_is_restarted => "in place: true, Shutdown, Shutdown",
    supervisor_ends_its_remote_child_when_killed => "Killed",

    // Groups.
    group_join => "[\"hello\"]",
    group_leave => "[]",
    group_end_of_a_member => "Left, Ended(Custom(\"over\"))",
    group_update_meta => "Updated to \"new\"",
    group_watch => "Snapshot of 1, Joined, Left",
    group_publish => "[1, 2, 3]",
    group_publish_both_ways => "[1], [2]",
    group_groups => "one with the prefix",
}

/// What a node needs for the table: small mailboxes, so that they are full soon; tasks and factories.
pub(crate) fn ready(builder: NodeBuilder) -> NodeBuilder {
    offers(builder.mailbox_capacity(64))
}

/// Runs one line and says what is wrong, if anything is.
pub(crate) async fn check(verb: &Verb, near: &Node, far: &Node) -> Result<(), String> {
    let started = Instant::now();
    let outcome = within(verb.name, (verb.act)(near, far)).await;
    let (from, to) = (near.region(), far.region());
    println!("{} from {from} to {to} took {} ms", verb.name, started.elapsed().as_millis());
    if outcome == verb.outcome {
        return Ok(());
    }
    Err(format!("{} from {from} to {to}: {outcome}, not {}", verb.name, verb.outcome))
}

pub(crate) fn debug(value: impl Debug) -> String {
    format!("{value:?}")
}

/// The reason of a failed ask, without pids.
pub(crate) fn name_of<T: Debug>(outcome: Result<T, AskError>) -> String {
    match outcome {
        Ok(answer) => format!("Ok({answer:?})"),
        Err(AskError::NoActor(_)) => "NoActor".to_owned(),
        Err(AskError::NoReply(_)) => "NoReply".to_owned(),
        Err(other) => debug(other),
    }
}
