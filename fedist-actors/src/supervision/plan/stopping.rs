//! Shutdown, orders for single children, automatic shutdown: OTP's and Elixir's documented rules.
//! The pages are named as in `strategies`.

use std::time::Duration;

use super::{
    Outcome,
    world::{World, ending, flags, of, panicked, significant, worker},
};
use crate::{
    ExitReason,
    supervision::rules::{
        AutoShutdown, ChildError, ChildRef, ChildRules, ChildState, Flags,
        Restart::{Permanent, Temporary, Transient},
        Shutdown,
        Strategy::{Dynamic, OneForAll, OneForOne, RestForOne},
    },
};

// ---- the end -------------------------------------------------------------------------------------

// supervisor(3), Supervision Principles.
#[test]
fn children_are_stopped_in_reverse_order_of_their_start_before_the_supervisor_ends() {
    for strategy in [OneForOne, OneForAll, RestForOne] {
        let mut world = World::abcd(strategy);
        world.stop();
        assert_eq!(world.log(), "stop d, stop c, stop b, stop a, end");
        assert_eq!(world.outcome, Some(Outcome::Told(ExitReason::Shutdown)));
    }
}

// supervisor(3), Child Specification, shutdown.
#[test]
fn a_child_with_a_timeout_gets_shutdown_and_is_killed_when_the_time_is_over() {
    let children = vec![worker("a"), ending("b", Shutdown::Timeout(Duration::from_secs(2)))];
    let mut world = World::started(flags(OneForOne), children);
    world.deaf("b");
    world.stop();
    world.pass(Duration::from_millis(1_999));
    assert_eq!(world.log(), "stop b", "a waits its turn");
    world.pass(Duration::from_millis(1));
    assert_eq!(world.log(), "kill b, stop a, end");
}

// supervisor(3), Child Specification, shutdown: 5000 ms is the default of workers.
#[test]
fn a_worker_has_five_seconds_by_default() {
    let mut world = World::started(flags(OneForOne), vec![worker("a")]);
    world.deaf("a");
    world.stop();
    world.pass(Duration::from_millis(4_999));
    assert_eq!(world.log(), "stop a");
    world.pass(Duration::from_millis(1));
    assert_eq!(world.log(), "kill a, end");
}

// supervisor(3), Child Specification, shutdown: brutal_kill.
#[test]
fn a_child_with_brutal_kill_is_killed_without_a_shutdown_before_it() {
    let children = vec![ending("a", Shutdown::BrutalKill)];
    let mut world = World::started(flags(OneForOne), children);
    world.stop();
    assert_eq!(world.log(), "kill a, end");
}

// supervisor(3), Child Specification, shutdown: infinity is the default of supervisors.
#[test]
fn a_supervisor_has_all_the_time_it_needs() {
    let mut world = World::started(flags(OneForOne), vec![ChildRules::supervisor("a")]);
    world.deaf("a");
    world.stop();
    world.pass(Duration::from_secs(1_000_000));
    assert_eq!(world.log(), "stop a");
    world.exit("a", ExitReason::Shutdown);
    assert_eq!(world.log(), "end");
}

// supervisor(3), Restart Strategies: simple_one_for_one; DynamicSupervisor: stops run concurrently.
#[test]
fn a_dynamic_supervisor_stops_all_children_at_once_each_by_its_own_rule() {
    let children = vec![
        worker("a"),
        ending("b", Shutdown::BrutalKill),
        ending("c", Shutdown::Timeout(Duration::from_secs(1))),
    ];
    let mut world = World::started(flags(Dynamic), children);
    world.deaf("a");
    world.deaf("c");
    world.stop();
    assert_eq!(world.log(), "stop a, kill b, stop c");
    world.pass(Duration::from_secs(1));
    assert_eq!(world.log(), "kill c");
    world.pass(Duration::from_secs(4));
    assert_eq!(world.log(), "kill a, end");
}

// supervisor(3), Supervision Principles: nothing is restarted by a supervisor that ends.
#[test]
fn a_child_that_crashes_during_the_shutdown_is_not_restarted() {
    let mut world = World::abcd(OneForOne);
    world.deaf("d");
    world.stop();
    world.crash("a");
    world.exit("d", panicked());
    assert_eq!(world.log(), "stop d, stop c, stop b, end");
}

// supervisor(3), Supervision Principles.
#[test]
fn a_child_whose_restart_is_due_is_not_started_by_a_supervisor_that_ends() {
    let set = Flags {
        backoff: Duration::from_secs(1),
        backoff_max: Duration::from_secs(1),
        ..flags(OneForOne)
    };
    let mut world = World::started(set, ["a", "b"].map(worker).into());
    world.crash("b");
    world.stop();
    world.pass(Duration::from_secs(10));
    assert_eq!(world.log(), "stop a, end");
}

// gen_server(3), terminate: the process ends with the reason of its parent's exit.
#[test]
fn the_supervisor_ends_for_the_reason_it_was_told() {
    let mut world = World::abcd(OneForOne);
    world.plan.handle_stop(world.now, ExitReason::Killed);
    world.stop();
    assert_eq!(world.outcome, Some(Outcome::Told(ExitReason::Killed)));
}

#[test]
fn a_start_that_is_under_way_is_waited_for_and_then_stopped() {
    let mut world = World::new(flags(OneForOne), ["a", "b", "c"].map(worker).into());
    world.slow("b");
    world.start();
    world.stop();
    assert_eq!(world.log(), "start a, start b");
    world.let_start("b");
    assert_eq!(world.log(), "stop b, stop a, end");
}

// ---- start_child -----------------------------------------------------------------------------------

// supervisor(3), start_child/2.
#[test]
fn a_child_that_is_added_is_started_and_becomes_the_last_in_order() {
    let mut world = World::abcd(RestForOne);
    let answer = world.start_child(worker("e"));
    assert_eq!(world.log(), "start e");
    assert_eq!(answer, Some(Ok(Some(world.pid("e")))));
    world.crash("d");
    assert_eq!(world.log(), "stop e, start d, start e");
}

// supervisor(3), start_child/2: already_started and already_present.
#[test]
fn a_name_is_used_once_whether_its_child_runs_or_not() {
    let mut world = World::abcd(OneForOne);
    let pid = world.pid("a");
    let running = ChildError::AlreadyStarted { name: "a".into(), pid };
    assert_eq!(world.start_child(worker("a")), Some(Err(running)));
    world.terminate("a");
    let present = ChildError::AlreadyPresent("a".into());
    assert_eq!(world.start_child(worker("a")), Some(Err(present)));
}

// supervisor(3), start_child/2: if the start fails the spec is discarded.
#[test]
fn the_spec_of_an_added_child_that_does_not_start_is_discarded() {
    for strategy in [OneForOne, OneForAll, RestForOne, Dynamic] {
        let mut world = World::abcd(strategy);
        world.fail("e", 1);
        let failed = ChildError::StartFailed { name: "e".into(), error: "no luck".into() };
        assert_eq!(world.start_child(worker("e")), Some(Err(failed)));
        assert_eq!(world.log(), "start e", "it is not tried again, and nobody else is restarted");
        assert_eq!(world.state("e"), None);
        assert_eq!(world.outcome, None);
    }
}

// DynamicSupervisor, start_link/1, max_children.
#[test]
fn a_dynamic_supervisor_refuses_more_than_max_children() {
    let mut world = World::started(Flags { max_children: 2, ..flags(Dynamic) }, vec![worker("a")]);
    assert!(matches!(world.start_child(worker("b")), Some(Ok(_))));
    assert_eq!(world.start_child(worker("c")), Some(Err(ChildError::MaxChildren(2))));
    let pid = world.pid("a");
    world.terminate(pid);
    assert!(matches!(world.start_child(worker("c")), Some(Ok(_))), "there is room again");
}

// DynamicSupervisor, start_child/2: the id need not be unique.
#[test]
fn children_of_a_dynamic_supervisor_may_share_a_name() {
    let mut world = World::started(flags(Dynamic), vec![worker("a"), worker("a")]);
    assert!(matches!(world.start_child(worker("a")), Some(Ok(_))));
    assert_eq!(world.plan.count_children().active, 3);
}

#[test]
fn a_child_that_is_added_during_a_restart_starts_when_its_turn_comes() {
    let mut world = World::abcd(OneForAll);
    world.slow("b");
    world.crash("b");
    world.log();
    assert_eq!(world.start_child(of("e", Temporary)), None);
    assert_eq!(world.log(), "");
    world.let_start("b");
    assert_eq!(world.log(), "start c, start d, start e");
    assert_eq!(world.late_answers(), [Ok(Some(world.pid("e")))]);
}

// ---- terminate_child, restart_child, delete_child ----------------------------------------------------

// supervisor(3), terminate_child/2.
#[test]
fn a_child_that_is_terminated_is_stopped_by_its_rule_and_not_restarted_and_its_spec_stays() {
    for strategy in [OneForOne, OneForAll, RestForOne] {
        let mut world = World::abcd(strategy);
        assert_eq!(world.terminate("b"), Some(Ok(None)));
        assert_eq!(world.log(), "stop b");
        assert_eq!(world.state("b"), Some(ChildState::Stopped));
    }
}

// supervisor(3), terminate_child/2: the answer comes when the child has ended.
#[test]
fn the_answer_to_terminate_comes_when_the_child_is_gone() {
    let mut world = World::abcd(OneForOne);
    world.deaf("b");
    assert_eq!(world.terminate("b"), None);
    assert_eq!(world.terminate("b"), None, "a second one waits as well");
    world.pass(Duration::from_secs(5));
    assert_eq!(world.log(), "stop b, kill b");
    assert_eq!(world.late_answers(), [Ok(None), Ok(None)]);
}

// supervisor(3), terminate_child/2: the spec of a temporary child is deleted.
#[test]
fn the_spec_of_a_temporary_child_that_is_terminated_is_deleted() {
    let mut world = World::started(flags(OneForOne), vec![of("a", Temporary)]);
    assert_eq!(world.terminate("a"), Some(Ok(None)));
    let unknown = ChildError::NotFound(ChildRef::from("a"));
    assert_eq!(world.restart("a"), Some(Err(unknown.clone())));
    assert_eq!(world.delete("a"), Err(unknown));
}

// supervisor(3), terminate_child/2: not_found.
#[test]
fn a_child_that_is_not_there_cannot_be_terminated() {
    let mut world = World::abcd(OneForOne);
    let unknown = ChildError::NotFound(ChildRef::from("z"));
    assert_eq!(world.terminate("z"), Some(Err(unknown)));
}

// supervisor(3), terminate_child/2; a pending restart is taken back.
#[test]
fn a_child_that_waits_for_its_restart_can_be_terminated() {
    let set = Flags {
        backoff: Duration::from_secs(1),
        backoff_max: Duration::from_secs(1),
        ..flags(OneForOne)
    };
    let mut world = World::started(set, ["a", "b"].map(worker).into());
    world.crash("a");
    assert_eq!(world.terminate("a"), Some(Ok(None)));
    world.pass(Duration::from_secs(10));
    assert_eq!(world.log(), "");
}

// DynamicSupervisor, terminate_child/2; supervisor(3), simple_one_for_one: by pid, never by name.
#[test]
fn a_dynamic_supervisor_terminates_by_pid_and_forgets_the_child() {
    let mut world = World::abcd(Dynamic);
    let by_name = ChildError::Dynamic(ChildRef::from("a"));
    assert_eq!(world.terminate("a"), Some(Err(by_name)));
    let pid = world.pid("a");
    assert_eq!(world.terminate(pid), Some(Ok(None)));
    assert_eq!(world.state("a"), None);
    assert_eq!(world.terminate(pid), Some(Err(ChildError::NotFound(pid.into()))));
}

// supervisor(3), Restart Strategies: invalid for simple_one_for_one.
#[test]
fn a_dynamic_supervisor_does_not_restart_or_delete_single_children() {
    let mut world = World::abcd(Dynamic);
    let pid = world.pid("a");
    assert_eq!(world.restart(pid), Some(Err(ChildError::Dynamic(pid.into()))));
    assert_eq!(world.delete(pid), Err(ChildError::Dynamic(pid.into())));
}

// supervisor(3), restart_child/2.
#[test]
fn a_terminated_child_can_be_restarted_and_only_that_one_starts() {
    let mut world = World::abcd(OneForAll);
    world.terminate("b");
    world.log();
    let answer = world.restart("b");
    assert_eq!(answer, Some(Ok(Some(world.pid("b")))));
    assert_eq!(world.log(), "start b");
}

// supervisor(3), restart_child/2: running, restarting, not_found.
#[test]
fn only_a_child_that_rests_can_be_restarted_or_deleted() {
    let set = Flags {
        backoff: Duration::from_secs(1),
        backoff_max: Duration::from_secs(1),
        ..flags(OneForOne)
    };
    let mut world = World::started(set, ["a", "b"].map(worker).into());
    let pid = world.pid("a");
    let running = ChildError::Running { name: "a".into(), pid };
    assert_eq!(world.restart("a"), Some(Err(running.clone())));
    assert_eq!(world.delete("a"), Err(running));
    world.crash("a");
    let restarting = ChildError::Restarting("a".into());
    assert_eq!(world.restart("a"), Some(Err(restarting.clone())));
    assert_eq!(world.delete("a"), Err(restarting));
    let unknown = ChildError::NotFound(ChildRef::from("z"));
    assert_eq!(world.restart("z"), Some(Err(unknown.clone())));
    assert_eq!(world.delete("z"), Err(unknown));
}

// supervisor(3), restart_child/2: a start that fails is an error, and the child stays as it was.
#[test]
fn a_restart_that_was_asked_for_and_fails_is_not_tried_again() {
    let mut world = World::abcd(OneForOne);
    world.terminate("b");
    world.fail("b", 1);
    let failed = ChildError::StartFailed { name: "b".into(), error: "no luck".into() };
    assert_eq!(world.restart("b"), Some(Err(failed)));
    assert_eq!(world.state("b"), Some(ChildState::Stopped));
    assert!(matches!(world.restart("b"), Some(Ok(Some(_)))));
}

// supervisor(3), delete_child/2.
#[test]
fn a_deleted_child_is_forgotten_and_its_name_is_free() {
    let mut world = World::abcd(OneForOne);
    world.terminate("b");
    assert_eq!(world.delete("b"), Ok(()));
    assert_eq!(world.plan.count_children().specs, 3);
    assert!(matches!(world.start_child(worker("b")), Some(Ok(_))));
}

// gen_server(3): a process that terminates serves no further calls.
#[test]
fn a_supervisor_that_ends_takes_no_orders() {
    let mut world = World::abcd(OneForOne);
    world.deaf("d");
    world.stop();
    assert_eq!(world.start_child(worker("e")), Some(Err(ChildError::Stopping)));
    assert_eq!(world.terminate("a"), Some(Err(ChildError::Stopping)));
    assert_eq!(world.restart("a"), Some(Err(ChildError::Stopping)));
    assert_eq!(world.delete("a"), Err(ChildError::Stopping));
}

// ---- automatic shutdown ------------------------------------------------------------------------------

fn auto(when: AutoShutdown) -> Flags {
    Flags { auto_shutdown: when, ..flags(OneForOne) }
}

// supervisor(3), Automatic Shutdown, any_significant.
#[test]
fn any_significant_ends_the_supervisor_with_the_first_significant_child() {
    for (restart, reason) in
        [(Transient, ExitReason::Normal), (Temporary, ExitReason::Normal), (Temporary, panicked())]
    {
        let children = vec![worker("a"), significant("b", restart), significant("c", Transient)];
        let mut world = World::started(auto(AutoShutdown::AnySignificant), children);
        world.exit("b", reason);
        assert_eq!(world.log(), "stop c, stop a, end");
        assert_eq!(world.outcome, Some(Outcome::AutoShutdown));
    }
}

// supervisor(3), Automatic Shutdown, all_significant.
#[test]
fn all_significant_ends_the_supervisor_with_the_last_significant_child() {
    let children = vec![worker("a"), significant("b", Transient), significant("c", Temporary)];
    let mut world = World::started(auto(AutoShutdown::AllSignificant), children);
    world.crash("c");
    assert_eq!(world.log(), "");
    world.exit("b", ExitReason::Normal);
    assert_eq!(world.log(), "stop a, end");
}

// supervisor(3), Automatic Shutdown: a transient child that ends abnormally is restarted instead.
#[test]
fn a_significant_child_that_is_restarted_does_not_end_the_supervisor() {
    let children = vec![significant("a", Transient)];
    let mut world = World::started(auto(AutoShutdown::AnySignificant), children);
    world.crash("a");
    assert_eq!(world.log(), "start a");
    assert_eq!(world.outcome, None);
}

// sup_princ, Automatic Shutdown: only children that end by themselves matter.
#[test]
fn a_significant_child_that_is_terminated_does_not_end_the_supervisor() {
    let children = vec![worker("a"), significant("b", Transient)];
    let mut world = World::started(auto(AutoShutdown::AnySignificant), children);
    world.terminate("b");
    assert_eq!(world.outcome, None);
    assert_eq!(world.alive(), ["a"]);
}

// sup_princ, Automatic Shutdown: nor those that end because of a sibling.
#[test]
fn a_significant_child_that_is_stopped_for_a_sibling_does_not_end_the_supervisor() {
    let set = Flags { auto_shutdown: AutoShutdown::AnySignificant, ..flags(OneForAll) };
    let children = vec![worker("a"), significant("b", Temporary), significant("c", Transient)];
    let mut world = World::started(set, children);
    world.crash("a");
    assert_eq!(world.log(), "stop c, stop b, start a, start c");
    assert_eq!(world.outcome, None);
}

// supervisor(3), Child Specification, significant: both combinations are invalid.
#[test]
fn permanent_children_and_children_without_auto_shutdown_cannot_be_significant() {
    let mut world = World::started(auto(AutoShutdown::AnySignificant), vec![]);
    let answer = world.start_child(significant("a", Permanent));
    assert!(matches!(answer, Some(Err(ChildError::InvalidSpec { .. }))), "{answer:?}");
    let mut world = World::started(auto(AutoShutdown::Never), vec![]);
    let answer = world.start_child(significant("a", Transient));
    assert!(matches!(answer, Some(Err(ChildError::InvalidSpec { .. }))), "{answer:?}");
}

// ---- disorder ------------------------------------------------------------------------------------------

// supervisor(3): exit signals of strangers are not about children.
#[test]
fn the_end_of_a_stranger_or_of_an_earlier_life_is_ignored() {
    let mut world = World::abcd(OneForAll);
    let old = world.pid("a");
    world.crash("a");
    world.log();
    let stranger = world.new_pid();
    for pid in [old, stranger] {
        world.plan.handle_exited(world.now, pid, &panicked());
        assert_eq!(world.plan.poll_action(), None);
    }
}

#[test]
fn an_end_that_is_told_before_the_start_it_belongs_to_is_not_lost() {
    let mut world = World::new(flags(OneForOne), vec![worker("a")]);
    world.slow("a");
    world.start();
    let pid = world.new_pid();
    world.plan.handle_exited(world.now, pid, &panicked());
    world.let_start_late("a", pid);
    assert_eq!(world.log(), "start a, start a", "it is started again");
}
