//! Start, restart strategies, restart types, intensity: OTP's and Elixir's documented rules.
//!
//! Each test names its rule; the comment says where it is documented. "supervisor(3)" is the
//! reference page of OTP's `supervisor`, "sup_princ" the chapter Supervisor Behaviour of OTP's
//! design principles, "Supervisor" and "DynamicSupervisor" are Elixir's modules.

use std::time::Duration;

use super::{
    Outcome,
    world::{World, flags, of, panicked, worker},
};
use crate::{
    ExitReason,
    supervision::rules::{
        ChildKind, ChildRules, ChildState, Flags,
        Restart::{Temporary, Transient},
        Shutdown,
        Strategy::{self, Dynamic, OneForAll, OneForOne, RestForOne},
    },
};

const ALL: [Strategy; 3] = [OneForOne, OneForAll, RestForOne];

// ---- start -----------------------------------------------------------------------------------

// supervisor(3), Supervision Principles.
#[test]
fn children_are_started_in_the_order_of_their_specs() {
    for strategy in ALL {
        let mut world = World::new(flags(strategy), ["a", "b", "c"].map(worker).into());
        world.start();
        assert_eq!(world.log(), "start a, start b, start c");
        assert!(world.ready);
    }
}

// supervisor(3), Supervision Principles; start_link/2 returns when all children have been started.
#[test]
fn the_next_child_starts_only_when_the_one_before_it_has_started() {
    let mut world = World::new(flags(OneForOne), ["a", "b"].map(worker).into());
    world.slow("a");
    world.start();
    assert_eq!(world.log(), "start a");
    assert!(!world.ready);
    world.let_start("a");
    assert_eq!(world.log(), "start b");
    assert!(world.ready);
}

// supervisor(3), start_link/2: when a child fails to start, those already started are terminated.
#[test]
fn a_child_that_fails_at_the_first_start_ends_the_start_and_the_others_are_stopped_in_reverse() {
    for strategy in ALL {
        let mut world = World::new(flags(strategy), ["a", "b", "c", "d"].map(worker).into());
        world.fail("c", 1);
        world.start();
        assert_eq!(world.log(), "start a, start b, start c, stop b, stop a, end");
        let failed = Outcome::StartFailed { child: "c".into(), error: "no luck".into() };
        assert_eq!(world.outcome, Some(failed));
        assert!(!world.ready);
    }
}

// sup_princ: a supervisor takes note of exits once its start is done.
#[test]
fn a_child_that_ends_while_others_still_start_is_restarted_after_the_start() {
    let mut world = World::new(flags(OneForOne), ["a", "b"].map(worker).into());
    world.slow("b");
    world.start();
    world.crash("a");
    assert_eq!(world.log(), "start a, start b");
    world.let_start("b");
    assert_eq!(world.log(), "start a");
    assert_eq!(world.alive(), ["a", "b"]);
}

// supervisor(3), Restart Intensity and Period: also when the start has only just been done.
#[test]
fn more_ends_during_the_start_than_the_intensity_allows_end_the_supervisor_after_it() {
    let set = Flags { max_restarts: 1, ..flags(OneForOne) };
    let mut world = World::new(set, ["a", "b", "c"].map(worker).into());
    world.slow("c");
    world.start();
    world.crash("a");
    world.crash("b");
    world.log();
    world.let_start("c");
    assert_eq!(world.log(), "start a, stop c, stop a, end");
}

// ---- strategies --------------------------------------------------------------------------------

// supervisor(3), Restart Strategies.
#[test]
fn one_for_one_restarts_only_the_child_that_ended() {
    let mut world = World::abcd(OneForOne);
    world.crash("b");
    assert_eq!(world.log(), "start b");
}

// supervisor(3), Restart Strategies.
#[test]
fn one_for_all_stops_all_others_in_reverse_order_and_starts_all_in_order() {
    let mut world = World::abcd(OneForAll);
    world.crash("b");
    assert_eq!(world.log(), "stop d, stop c, stop a, start a, start b, start c, start d");
}

// supervisor(3), Restart Strategies.
#[test]
fn rest_for_one_stops_and_restarts_the_child_and_those_started_after_it() {
    let mut world = World::abcd(RestForOne);
    world.crash("b");
    assert_eq!(world.log(), "stop d, stop c, start b, start c, start d");
}

// supervisor(3), Restart Strategies.
#[test]
fn rest_for_one_leaves_all_others_alone_when_the_last_child_ends() {
    let mut world = World::abcd(RestForOne);
    world.crash("d");
    assert_eq!(world.log(), "start d");
}

// supervisor(3), Restart Strategies.
#[test]
fn rest_for_one_restarts_everybody_when_the_first_child_ends() {
    let mut world = World::abcd(RestForOne);
    world.crash("a");
    assert_eq!(world.log(), "stop d, stop c, stop b, start a, start b, start c, start d");
}

// supervisor(3), Restart Strategies: simple_one_for_one; DynamicSupervisor, strategy.
#[test]
fn a_dynamic_supervisor_restarts_only_the_child_that_ended() {
    let mut world = World::abcd(Dynamic);
    world.crash("b");
    assert_eq!(world.log(), "start b");
}

// supervisor(3), Restart Strategies: a restart is due only if the child "is to be restarted".
#[test]
fn siblings_are_left_alone_when_the_child_that_ended_is_not_to_be_restarted() {
    for strategy in [OneForAll, RestForOne] {
        let children = vec![worker("a"), of("b", Transient), of("c", Temporary), worker("d")];
        let mut world = World::started(flags(strategy), children);
        world.exit("b", ExitReason::Normal);
        world.crash("c");
        assert_eq!(world.log(), "");
        assert_eq!(world.alive(), ["a", "d"]);
    }
}

// supervisor(3), Restart Strategies: all children are restarted.
#[test]
fn one_for_all_also_starts_a_transient_child_that_had_ended_normally() {
    let mut world = World::started(flags(OneForAll), vec![worker("a"), of("b", Transient)]);
    world.exit("b", ExitReason::Normal);
    world.crash("a");
    assert_eq!(world.log(), "start a, start b");
}

// supervisor(3), terminate_child/2: the child can later be restarted by the supervisor.
#[test]
fn one_for_all_also_starts_a_child_that_was_terminated() {
    let mut world = World::abcd(OneForAll);
    world.terminate("c");
    world.log();
    world.crash("a");
    assert_eq!(world.log(), "stop d, stop b, start a, start b, start c, start d");
}

// supervisor(3), Child Specification, shutdown: siblings are stopped by their own rules.
#[test]
fn siblings_are_stopped_by_their_own_shutdown_rule_in_a_restart() {
    let children = vec![ending("a", Shutdown::BrutalKill), worker("b")];
    let mut world = World::started(flags(OneForAll), children);
    world.crash("b");
    assert_eq!(world.log(), "kill a, start a, start b");
}

fn ending(name: &str, shutdown: Shutdown) -> ChildRules {
    super::world::ending(name, shutdown)
}

// supervisor(3), Restart Strategies: all others are terminated "and then" all are restarted.
#[test]
fn no_child_is_started_before_the_last_sibling_has_ended() {
    let mut world = World::abcd(OneForAll);
    world.deaf("c");
    world.crash("a");
    assert_eq!(world.log(), "stop d, stop c");
    assert_eq!(world.state("a"), Some(ChildState::Restarting));
    world.pass(Duration::from_secs(5));
    assert_eq!(world.log(), "kill c, stop b, start a, start b, start c, start d");
}

// supervisor(3): exits of children that the supervisor itself terminates are no failures.
#[test]
fn a_sibling_that_crashes_while_it_is_being_stopped_counts_as_stopped() {
    let mut world = World::started(
        Flags { max_restarts: 1, ..flags(OneForAll) },
        ["a", "b", "c"].map(worker).into(),
    );
    world.deaf("c");
    world.crash("a");
    assert_eq!(world.log(), "stop c");
    world.crash("c");
    assert_eq!(world.log(), "stop b, start a, start b, start c");
    assert_eq!(world.outcome, None);
}

// supervisor(3), Restart Strategies; a start that fails is tried again by the same strategy.
#[test]
fn one_for_all_stops_everybody_again_when_a_start_of_the_restart_fails() {
    let mut world = World::abcd(OneForAll);
    world.fail("c", 1);
    world.crash("a");
    assert_eq!(
        world.log(),
        "stop d, stop c, stop b, start a, start b, start c, \
         stop b, stop a, start a, start b, start c, start d"
    );
}

// supervisor(3), Restart Strategies; a start that fails is tried again by the same strategy.
#[test]
fn rest_for_one_goes_on_from_the_child_whose_restart_failed() {
    let mut world = World::abcd(RestForOne);
    world.fail("c", 1);
    world.crash("b");
    assert_eq!(world.log(), "stop d, stop c, start b, start c, start c, start d");
}

// supervisor(3), Restart Strategies: the rest is what comes after in the start order.
#[test]
fn an_earlier_child_that_ends_during_a_restart_widens_it() {
    let mut world = World::abcd(RestForOne);
    world.slow("c");
    world.crash("c");
    assert_eq!(world.log(), "stop d, start c");
    world.crash("a");
    assert_eq!(world.log(), "", "the start under way is waited for");
    world.let_start("c");
    assert_eq!(world.log(), "stop c, stop b, start a, start b, start c");
}

// ---- restart types -------------------------------------------------------------------------------

/// All reasons a child can end with by itself, and whether they are normal.
fn reasons() -> Vec<(ExitReason, bool)> {
    vec![
        (ExitReason::Normal, true),
        (ExitReason::Shutdown, true),
        (panicked(), false),
        (ExitReason::Killed, false),
        (ExitReason::NoActor, false),
    ]
}

// supervisor(3), Child Specification, restart.
#[test]
fn a_permanent_child_is_always_restarted() {
    for (reason, _) in reasons() {
        let mut world = World::started(flags(OneForOne), vec![worker("a")]);
        world.exit("a", reason.clone());
        assert_eq!(world.log(), "start a", "{reason}");
    }
}

// supervisor(3), Child Specification, restart.
#[test]
fn a_transient_child_is_restarted_only_after_an_abnormal_end() {
    for (reason, normal) in reasons() {
        let mut world = World::started(flags(OneForOne), vec![of("a", Transient)]);
        world.exit("a", reason.clone());
        assert_eq!(world.log(), if normal { "" } else { "start a" }, "{reason}");
    }
}

// supervisor(3), Child Specification, restart.
#[test]
fn a_temporary_child_is_never_restarted() {
    for (reason, _) in reasons() {
        let mut world = World::started(flags(OneForOne), vec![of("a", Temporary)]);
        world.exit("a", reason.clone());
        assert_eq!(world.log(), "", "{reason}");
    }
}

// supervisor(3), Child Specification, restart: not even for a sibling's sake.
#[test]
fn a_temporary_child_is_stopped_with_its_siblings_but_not_restarted_with_them() {
    for strategy in [OneForAll, RestForOne] {
        let children = vec![worker("a"), of("b", Temporary), worker("c")];
        let mut world = World::started(flags(strategy), children);
        world.crash("a");
        assert_eq!(world.log(), "stop c, stop b, start a, start c");
        assert_eq!(world.state("b"), None, "its spec went with it");
    }
}

// supervisor(3), restart_child/2: the spec of a temporary child is deleted when it terminates.
#[test]
fn the_spec_of_a_temporary_child_goes_with_its_process() {
    let mut world = World::started(flags(OneForOne), vec![of("a", Temporary), worker("b")]);
    world.exit("a", ExitReason::Normal);
    assert_eq!(world.state("a"), None);
    assert_eq!(world.plan.count_children().specs, 1);
}

// supervisor(3), restart_child/2, delete_child/2: other specs stay until they are deleted.
#[test]
fn the_spec_of_a_transient_child_that_ended_normally_stays() {
    let mut world = World::started(flags(OneForOne), vec![of("a", Transient)]);
    world.exit("a", ExitReason::Normal);
    assert_eq!(world.state("a"), Some(ChildState::Stopped));
}

// DynamicSupervisor: a child that is not restarted is not kept either.
#[test]
fn a_dynamic_supervisor_forgets_a_transient_child_that_ended_normally() {
    let mut world = World::started(flags(Dynamic), vec![of("a", Transient)]);
    world.exit("a", ExitReason::Normal);
    assert_eq!(world.plan.count_children().specs, 0);
}

// ---- intensity -----------------------------------------------------------------------------------

// supervisor(3), Restart Intensity and Period.
#[test]
fn more_restarts_than_the_intensity_within_the_period_end_all_children_and_then_the_supervisor() {
    for strategy in [OneForOne, RestForOne] {
        let set = Flags { max_restarts: 2, period: Duration::from_secs(5), ..flags(strategy) };
        let mut world = World::started(set, ["a", "b", "c"].map(worker).into());
        world.crash("c");
        world.crash("c");
        assert_eq!(world.log(), "start c, start c");
        world.crash("c");
        assert_eq!(world.log(), "stop b, stop a, end");
        let outcome = Outcome::Intensity { child: "c".into(), why: panicked().to_string() };
        assert_eq!(world.outcome, Some(outcome));
    }
}

// supervisor(3), Restart Intensity and Period.
#[test]
fn restarts_that_lie_further_apart_than_the_period_allows_go_on_for_ever() {
    let set = Flags { max_restarts: 2, period: Duration::from_secs(5), ..flags(OneForOne) };
    let mut world = World::started(set, vec![worker("a")]);
    for _ in 0..50 {
        world.crash("a");
        world.pass(Duration::from_millis(2_600));
    }
    assert_eq!(world.outcome, None);
}

// supervisor(3), Restart Intensity and Period: the count is the supervisor's, not the child's.
#[test]
fn restarts_of_all_children_count_together() {
    let set = Flags { max_restarts: 2, ..flags(OneForOne) };
    let mut world = World::started(set, ["a", "b", "c"].map(worker).into());
    for name in ["a", "b", "c"] {
        world.crash(name);
    }
    assert!(matches!(world.outcome, Some(Outcome::Intensity { .. })));
}

// sup_princ, Maximum Restart Intensity: one failure that restarts many is one restart.
#[test]
fn a_one_for_all_restart_counts_once_however_many_children_it_restarts() {
    let set = Flags { max_restarts: 1, ..flags(OneForAll) };
    let mut world = World::started(set, ["a", "b", "c"].map(worker).into());
    world.crash("a");
    assert_eq!(world.outcome, None);
    world.crash("a");
    assert!(world.outcome.is_some());
}

// supervisor(3), Restart Intensity and Period: an intensity of 0 allows no restart.
#[test]
fn with_an_intensity_of_zero_the_first_restart_is_one_too_many() {
    let set = Flags { max_restarts: 0, ..flags(OneForOne) };
    let mut world = World::started(set, ["a", "b"].map(worker).into());
    world.crash("a");
    assert_eq!(world.log(), "stop b, end");
}

// supervisor(3), Restart Intensity and Period: an attempt that fails is followed by another, counted.
#[test]
fn a_restart_that_fails_counts_again() {
    let set = Flags { max_restarts: 3, ..flags(OneForOne) };
    let mut world = World::started(set, vec![worker("a")]);
    world.fail("a", 10);
    world.crash("a");
    assert_eq!(world.log(), "start a, start a, start a, end");
    let outcome = Outcome::Intensity { child: "a".into(), why: "no luck".into() };
    assert_eq!(world.outcome, Some(outcome));
}

// supervisor(3), Child Specification, restart: ends without a restart are no restarts.
#[test]
fn ends_of_temporary_and_normal_ends_of_transient_children_do_not_count() {
    let set = Flags { max_restarts: 0, ..flags(OneForOne) };
    let mut world = World::started(set, vec![of("a", Temporary), of("b", Transient)]);
    world.crash("a");
    world.exit("b", ExitReason::Shutdown);
    assert_eq!(world.outcome, None);
}

// DynamicSupervisor, start_link/1: max_restarts 3 and max_seconds 5 are the defaults.
#[test]
fn three_restarts_in_five_seconds_are_the_default_intensity() {
    let set = Flags { backoff: Duration::ZERO, ..Flags::new(Dynamic) };
    let mut world = World::started(set, vec![worker("a")]);
    for _ in 0..3 {
        world.crash("a");
    }
    assert_eq!(world.outcome, None);
    world.pass(Duration::from_millis(4_900));
    world.crash("a");
    assert!(world.outcome.is_some());
}

// Not OTP's: the loss of a region would take down every supervisor with a few children there.
#[test]
fn children_that_became_unreachable_are_restarted_without_being_counted() {
    let set = Flags { max_restarts: 0, ..flags(OneForOne) };
    let mut world = World::started(set, vec![worker("a")]);
    let pid = world.pid("a");
    world.exit("a", unreachable());
    assert_eq!(world.log(), "start a");
    assert_ne!(world.pid("a"), pid);
}

fn unreachable() -> ExitReason {
    ExitReason::Unreachable { since: Duration::from_secs(3), last_hop: None }
}

// ---- back-off: not OTP's, which restarts at once ---------------------------------------------------

fn patient(strategy: Strategy) -> Flags {
    Flags {
        backoff: Duration::from_millis(100),
        backoff_max: Duration::from_secs(1),
        ..flags(strategy)
    }
}

#[test]
fn a_child_is_started_again_after_its_back_off_which_doubles() {
    let mut world = World::started(patient(OneForOne), vec![worker("a")]);
    for pause in [100, 200, 400, 800, 1_000, 1_000] {
        world.crash("a");
        world.pass(Duration::from_millis(pause - 1));
        assert_eq!(world.log(), "", "{pause} ms");
        assert_eq!(world.state("a"), Some(ChildState::Restarting));
        world.pass(Duration::from_millis(pause / 5 + 1));
        assert_eq!(world.log(), "start a", "{pause} ms");
    }
}

#[test]
fn the_back_off_starts_over_after_a_quiet_period() {
    let mut world = World::started(patient(OneForOne), vec![worker("a")]);
    for _ in 0..5 {
        world.crash("a");
        world.pass(Duration::from_secs(2));
    }
    world.pass(Duration::from_secs(5));
    world.log();
    world.crash("a");
    world.pass(Duration::from_millis(120));
    assert_eq!(world.log(), "start a");
}

#[test]
fn siblings_are_stopped_at_once_and_started_after_the_back_off() {
    let mut world = World::started(patient(OneForAll), ["a", "b"].map(worker).into());
    world.crash("a");
    assert_eq!(world.log(), "stop b");
    world.pass(Duration::from_millis(120));
    assert_eq!(world.log(), "start a, start b");
}

#[test]
fn children_of_a_one_for_one_back_off_each_by_itself() {
    let mut world = World::started(patient(OneForOne), ["a", "b"].map(worker).into());
    world.crash("a");
    world.pass(Duration::from_millis(60));
    world.crash("b");
    world.pass(Duration::from_millis(61));
    assert_eq!(world.log(), "start a");
    world.pass(Duration::from_millis(60));
    assert_eq!(world.log(), "start b");
}

#[test]
fn a_start_without_a_place_is_tried_again_and_not_counted() {
    let set = Flags { max_restarts: 0, ..patient(OneForOne) };
    let mut world = World::new(set, ["a", "b"].map(worker).into());
    world.no_place("a", 3);
    world.start();
    assert_eq!(world.log(), "start a, start b", "b does not wait for a");
    assert!(world.ready);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.log(), "start a, start a, start a");
    assert_eq!(world.alive(), ["a", "b"]);
}

#[test]
fn in_an_order_the_next_child_waits_for_one_that_has_no_place() {
    let mut world = World::new(patient(RestForOne), ["a", "b"].map(worker).into());
    world.no_place("a", 1);
    world.start();
    assert_eq!(world.log(), "start a");
    world.pass(Duration::from_millis(120));
    assert_eq!(world.log(), "start a, start b");
}

// supervisor(3), which_children/1: a child that is about to be restarted is shown as such.
#[test]
fn the_books_show_pid_kind_state_and_restarts() {
    let children = vec![worker("a"), ChildRules::supervisor("b"), of("c", Transient)];
    let mut world = World::started(patient(OneForOne), children);
    world.crash("a");
    world.pass(Duration::from_millis(200));
    world.crash("b");
    world.exit("c", ExitReason::Normal);
    let all = world.plan.which_children();
    let shown: Vec<_> =
        all.iter().map(|c| (c.name.as_str(), c.kind, c.state, c.restarts)).collect();
    assert_eq!(
        shown,
        [
            ("a", ChildKind::Worker, ChildState::Running, 1),
            ("b", ChildKind::Supervisor, ChildState::Restarting, 0),
            ("c", ChildKind::Worker, ChildState::Stopped, 0),
        ]
    );
    assert_eq!(all[0].pid, Some(world.pid("a")));
    // supervisor(3), count_children/1.
    let counts = world.plan.count_children();
    assert_eq!((counts.specs, counts.active, counts.supervisors, counts.workers), (3, 1, 1, 2));
}
