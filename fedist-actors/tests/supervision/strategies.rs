//! Who is restarted, and when a supervisor gives up.

use std::time::Duration;

use fedist_actors::{
    ChildState, ExitReason, Restart, Supervisor, SupervisorError, child, supervisor_child,
};

use crate::{
    support::{eventually, run},
    workers::{Journal, Worker, alone, end, panicked, pid_of, worker},
};

fn abc(supervisor: Supervisor, journal: &Journal) -> Supervisor {
    supervisor
        .backoff(Duration::from_millis(1))
        .child(worker("a", journal))
        .child(worker("b", journal))
        .child(worker("c", journal))
}

/// Crashes `b` of `a`, `b`, `c`, and compares what is written down then.
fn crash_of_b(supervisor: Supervisor, expected: &[&str]) {
    run(async {
        let (node, journal) = (alone().await, Journal::default());
        let supervisor = abc(supervisor, &journal).start_wait(&node).await.unwrap();
        journal.reads(&["start a", "start b", "start c"]).await;
        end(&node, pid_of(&supervisor, "b").await, panicked()).await;
        journal.reads(expected).await;
        let children = supervisor.which_children().await.unwrap();
        let names: Vec<&str> = children.iter().map(|child| child.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        node.stop().await;
    });
}

#[test]
fn one_for_one_builds_the_crashed_child_anew_and_leaves_the_others() {
    crash_of_b(Supervisor::one_for_one(), &["end b", "start b"]);
}

#[test]
fn one_for_all_ends_the_others_in_reverse_and_starts_all_in_order() {
    let expected = ["end b", "end c", "end a", "start a", "start b", "start c"];
    crash_of_b(Supervisor::one_for_all(), &expected);
}

#[test]
fn rest_for_one_restarts_the_child_and_those_after_it() {
    crash_of_b(Supervisor::rest_for_one(), &["end b", "end c", "start b", "start c"]);
}

#[test]
fn a_kill_is_a_crash_to_the_supervisor() {
    run(async {
        let (node, journal) = (alone().await, Journal::default());
        let supervisor = abc(Supervisor::one_for_one(), &journal).start_wait(&node).await.unwrap();
        journal.take();
        node.kill(pid_of(&supervisor, "a").await);
        journal.reads(&["end a", "start a"]).await;
        node.stop().await;
    });
}

#[test]
fn a_transient_child_comes_back_after_a_crash_and_not_after_a_normal_end() {
    run(async {
        let (node, journal) = (alone().await, Journal::default());
        let supervisor = Supervisor::one_for_one()
            .child(worker("a", &journal).restart(Restart::Transient))
            .start_wait(&node)
            .await
            .unwrap();
        end(&node, pid_of(&supervisor, "a").await, ExitReason::Custom("odd".into())).await;
        journal.reads(&["start a", "end a", "start a"]).await;
        end(&node, pid_of(&supervisor, "a").await, ExitReason::Normal).await;
        eventually("it rests", || async {
            supervisor.which_children().await.unwrap()[0].state == ChildState::Stopped
        })
        .await;
        journal.reads(&["end a"]).await;
        node.stop().await;
    });
}

#[test]
fn more_restarts_than_the_intensity_end_the_children_and_then_the_supervisor() {
    run(async {
        let (node, journal) = (alone().await, Journal::default());
        let supervisor = abc(Supervisor::one_for_one(), &journal)
            .intensity(1, Duration::from_secs(60))
            .start_wait(&node)
            .await
            .unwrap();
        let ended = node.monitor(supervisor.pid());
        journal.take();
        end(&node, pid_of(&supervisor, "b").await, panicked()).await;
        journal.reads(&["end b", "start b"]).await;
        end(&node, pid_of(&supervisor, "b").await, panicked()).await;
        assert_eq!(ended.await.reason, ExitReason::Shutdown);
        journal.reads(&["end b", "end c", "end a"]).await;
        node.stop().await;
    });
}

#[test]
fn what_one_supervisor_cannot_mend_its_own_supervisor_does() {
    run(async {
        let (node, journal) = (alone().await, Journal::default());
        let inner = journal.clone();
        let supervisor = Supervisor::one_for_one()
            .child(supervisor_child("inner", move || {
                Supervisor::one_for_all()
                    .intensity(0, Duration::from_secs(5))
                    .child(worker("a", &inner))
                    .child(worker("b", &inner))
            }))
            .start_wait(&node)
            .await
            .unwrap();
        journal.reads(&["start a", "start b"]).await;
        let first = pid_of(&supervisor, "inner").await;
        let pid = node.whereis("1/b").await.unwrap();
        end(&node, pid, panicked()).await;
        journal.reads(&["end b", "end a", "start a", "start b"]).await;
        assert_ne!(pid_of(&supervisor, "inner").await, first);
        assert_eq!(supervisor.which_children().await.unwrap()[0].restarts, 1);
        node.stop().await;
    });
}

#[test]
fn a_start_that_fails_is_told_and_leaves_nobody_behind() {
    run(async {
        let (node, journal) = (alone().await, Journal::default());
        let before = node.process_count();
        let failed = Supervisor::one_for_one()
            .child(worker("a", &journal))
            .child(worker("b", &journal))
            .child(child("c", || -> Worker { panic!("no such luck") }))
            .child(worker("d", &journal))
            .start_wait(&node)
            .await;
        let text = match failed {
            Err(SupervisorError::Start(text)) => text,
            other => panic!("{:?}", other.map(|addr| addr.pid())),
        };
        assert!(text.contains("child c") && text.contains("no such luck"), "{text}");
        journal.reads(&["start a", "start b", "end b", "end a"]).await;
        eventually("all have gone", || async { node.process_count() == before }).await;
        node.stop().await;
    });
}

#[test]
fn a_name_that_is_used_twice_is_refused_before_anybody_starts() {
    run(async {
        let (node, journal) = (alone().await, Journal::default());
        let twice = Supervisor::one_for_one()
            .child(worker("a", &journal))
            .child(worker("a", &journal))
            .start(&node);
        assert!(matches!(twice, Err(SupervisorError::Child(_))));
        let first = Supervisor::dynamic().name("rooms").start_wait(&node).await.unwrap();
        let second = Supervisor::dynamic().name("rooms").start(&node);
        assert!(matches!(second, Err(SupervisorError::Name(_))));
        assert_eq!(node.whereis("1/rooms").await.unwrap(), first.pid());
        assert_eq!(journal.take(), [] as [&str; 0]);
        node.stop().await;
    });
}
