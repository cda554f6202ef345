//! How supervisors end, and their children with them.

use std::time::{Duration, Instant};

use actix::{Actor, Handler};
use fedist_actors::{
    AutoShutdown, Context, ExitReason, Restart, Shutdown, Supervisor, child, supervisor_child,
};

use crate::{
    support::{eventually, run},
    workers::{Journal, Worker, alone, deaf, end, pid_of, worker},
};

#[test]
fn children_end_in_reverse_order_and_the_supervisor_with_the_reason_it_was_given() {
    run(async {
        let (node, journal) = (alone().await, Journal::default());
        let supervisor = Supervisor::one_for_one()
            .child(worker("a", &journal))
            .child(worker("b", &journal))
            .child(worker("c", &journal))
            .start_wait(&node)
            .await
            .unwrap();
        journal.take();
        let down = supervisor.stop(ExitReason::Normal).await;
        assert_eq!(down.reason, ExitReason::Normal);
        journal.reads(&["end c", "end b", "end a"]).await;
        assert_eq!(supervisor.stop(ExitReason::Normal).await.reason, ExitReason::NoActor);
        node.stop().await;
    });
}

#[test]
fn a_child_that_does_not_end_is_killed_when_its_time_is_over() {
    run(async {
        let (node, journal) = (alone().await, Journal::default());
        let supervisor = Supervisor::one_for_one()
            .child(deaf("a", &journal).shutdown_after(Duration::from_millis(200)))
            .start_wait(&node)
            .await
            .unwrap();
        let ended = node.monitor(pid_of(&supervisor, "a").await);
        let begun = Instant::now();
        supervisor.stop(ExitReason::Shutdown).await;
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(200), "{took:?}");
        assert_eq!(ended.await.reason, ExitReason::Killed);
        journal.reads(&["start a", "a hears shutdown", "end a"]).await;
        node.stop().await;
    });
}

#[test]
fn brutal_kill_asks_nobody() {
    run(async {
        let (node, journal) = (alone().await, Journal::default());
        let supervisor = Supervisor::one_for_one()
            .child(deaf("a", &journal).shutdown(Shutdown::BrutalKill))
            .start_wait(&node)
            .await
            .unwrap();
        supervisor.stop(ExitReason::Shutdown).await;
        journal.reads(&["start a", "end a"]).await;
        node.stop().await;
    });
}

#[test]
fn a_dynamic_supervisor_waits_for_its_slow_children_together() {
    run(async {
        let (node, journal) = (alone().await, Journal::default());
        let supervisor = Supervisor::dynamic().start_wait(&node).await.unwrap();
        for _ in 0..10 {
            let slow = deaf("slow", &journal).shutdown_after(Duration::from_millis(300));
            supervisor.start_child(slow).await.unwrap();
        }
        let begun = Instant::now();
        supervisor.stop(ExitReason::Shutdown).await;
        let took = begun.elapsed();
        assert!(took < Duration::from_millis(1_500), "one after the other: {took:?}");
        node.stop().await;
    });
}

#[test]
fn a_supervisor_that_is_killed_takes_its_whole_tree_along() {
    run(async {
        let (node, journal) = (alone().await, Journal::default());
        let before = node.process_count();
        let inner = journal.clone();
        let supervisor = Supervisor::one_for_one()
            .child(worker("a", &journal))
            .child(supervisor_child("inner", move || {
                Supervisor::one_for_one().child(worker("b", &inner))
            }))
            .start_wait(&node)
            .await
            .unwrap();
        node.kill(supervisor.pid());
        eventually("all have gone", || async { node.process_count() == before }).await;
        let mut seen = journal.take();
        seen.sort_unstable();
        assert_eq!(seen, ["end a", "end b", "start a", "start b"]);
        node.stop().await;
    });
}

#[test]
fn exit_signals_of_strangers_do_not_end_a_supervisor() {
    run(async {
        let (node, journal) = (alone().await, Journal::default());
        let supervisor =
            Supervisor::one_for_one().child(worker("a", &journal)).start_wait(&node).await.unwrap();
        node.exit(supervisor.pid(), ExitReason::Shutdown);
        assert_eq!(supervisor.count_children().await.unwrap().active, 1);
        node.stop().await;
    });
}

#[test]
fn a_supervisor_ends_with_the_actor_that_started_it() {
    struct Parent(Journal);
    impl Actor for Parent {
        type Context = Context<Self>;
        fn started(&mut self, ctx: &mut Context<Self>) {
            let supervisor = Supervisor::one_for_one()
                .child(worker("a", &self.0))
                .child(worker("b", &self.0))
                .start_link(ctx);
            assert!(supervisor.is_ok());
        }
    }
    struct Leave;
    impl actix::Message for Leave {
        type Result = ();
    }
    impl Handler<Leave> for Parent {
        type Result = ();
        fn handle(&mut self, _: Leave, ctx: &mut Context<Self>) {
            ctx.exit(ExitReason::Normal);
        }
    }
    run(async {
        let (node, journal) = (alone().await, Journal::default());
        let parent = node.spawn(Parent(journal.clone())).unwrap();
        journal.reads(&["start a", "start b"]).await;
        parent.do_send(Leave);
        journal.reads(&["end b", "end a"]).await;
        node.stop().await;
    });
}

#[test]
fn the_last_significant_child_ends_its_supervisor() {
    run(async {
        let (node, journal) = (alone().await, Journal::default());
        let significant =
            |name| worker(name, &journal).restart(Restart::Transient).significant(true);
        let supervisor = Supervisor::one_for_one()
            .auto_shutdown(AutoShutdown::AllSignificant)
            .child(worker("a", &journal))
            .child(significant("b"))
            .child(significant("c"))
            .start_wait(&node)
            .await
            .unwrap();
        let ended = node.monitor(supervisor.pid());
        journal.take();
        end(&node, pid_of(&supervisor, "b").await, ExitReason::Normal).await;
        journal.reads(&["end b"]).await;
        end(&node, pid_of(&supervisor, "c").await, ExitReason::Normal).await;
        assert_eq!(ended.await.reason, ExitReason::Shutdown);
        journal.reads(&["end c", "end a"]).await;
        node.stop().await;
    });
}

#[test]
fn a_supervisor_that_still_starts_can_be_ended_with_its_parent() {
    // The inner supervisor never has all its children: the factory of one fails now and then for ever.
    run(async {
        let (node, journal) = (alone().await, Journal::default());
        let inner = journal.clone();
        let failed = Supervisor::one_for_one()
            .child(worker("a", &journal))
            .child(supervisor_child("inner", move || {
                Supervisor::one_for_one()
                    .child(worker("b", &inner))
                    .child(child("c", || -> Worker { panic!("never") }))
            }))
            .start_wait(&node)
            .await;
        assert!(failed.is_err());
        journal.reads(&["start a", "start b", "end b", "end a"]).await;
        node.stop().await;
    });
}

#[test]
fn a_node_that_stops_ends_its_trees_in_order_and_waits_a_second_for_the_deaf() {
    run(async {
        let (node, journal) = (alone().await, Journal::default());
        let outer = Supervisor::one_for_one().child(worker("a", &journal)).child(supervisor_child(
            "inner",
            {
                let journal = journal.clone();
                move || {
                    Supervisor::rest_for_one()
                        .child(worker("b", &journal))
                        .child(worker("c", &journal))
                }
            },
        ));
        outer.start_wait(&node).await.unwrap();
        let younger = Supervisor::one_for_one().child(worker("d", &journal));
        younger.start_wait(&node).await.unwrap();
        journal.take();
        node.stop().await;
        assert_eq!(journal.take(), ["end d", "end c", "end b", "end a"]);

        let (node, journal) = (alone().await, Journal::default());
        let stubborn = Supervisor::one_for_one()
            .child(worker("before", &journal))
            .child(deaf("stubborn", &journal).shutdown(Shutdown::Infinity));
        stubborn.start_wait(&node).await.unwrap();
        journal.take();
        let begun = Instant::now();
        node.stop().await;
        assert!(begun.elapsed() >= Duration::from_secs(1), "it had its second");
        let mut ends = journal.take();
        ends.retain(|line| line.starts_with("end"));
        ends.sort();
        assert_eq!(ends, ["end before", "end stubborn"]);
    });
}
