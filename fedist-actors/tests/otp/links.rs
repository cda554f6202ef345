//! Links. Pages: "Processes", section "Links"; erlang:link/1, erlang:unlink/1, erlang:spawn_link.

use fedist_actors::{ExitReason, Node};
use fedist_transport::memory::MemoryNet;

use crate::{
    probe::*,
    support::{chain, run, stop},
};

// Processes, Links: a link works in both directions, whoever set it.
#[test]
fn a_link_ends_either_participant_when_the_other_fails() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::new(far));
        a.link(&b).await;
        b.exit(custom("far failed"));
        assert_eq!(a.ended().await, custom("far failed"));

        let (a, b) = (Proc::new(near), Proc::new(far));
        a.link(&b).await;
        a.exit(custom("near failed"));
        assert_eq!(b.ended().await, custom("near failed"));
    });
}

// Processes, Links: between two processes there is one link at most; linking again has no effect.
#[test]
fn linking_again_has_no_effect() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::trapping(near).await, Proc::new(far));
        a.link(&b).await;
        a.link(&b).await;
        b.link(&a).await;
        b.exit(custom("over"));
        a.until("the exit signal", |a| !a.exits().is_empty()).await;
        settle(&a, &b).await;
        assert_eq!(a.exits(), [(b.pid, custom("over"))], "one link, one signal");
    });
}

// Processes, Links: as there is one link only, one unlink takes it away, however often it was made.
#[test]
fn one_unlink_takes_away_a_link_that_was_made_twice() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::new(far));
        a.link(&b).await;
        a.link(&b).await;
        a.unlink(&b).await;
        b.exit(custom("over"));
        b.ended().await;
        settle(&a, &b).await;
        assert!(a.alive().await);
    });
}

// Processes, Links: either of the two may remove the link, not only the one that made it.
#[test]
fn the_other_side_may_remove_the_link() {
    at_every_distance(async |near: &Node, far: &Node| {
        for ends_near in [true, false] {
            let (a, b) = (Proc::new(near), Proc::new(far));
            a.link(&b).await;
            b.unlink(&a).await;
            let (ends, stays) = if ends_near { (&a, &b) } else { (&b, &a) };
            ends.exit(custom("over"));
            ends.ended().await;
            settle(&a, &b).await;
            assert!(stays.alive().await);
        }
    });
}

// erlang:link/1: a process that links to itself does nothing.
#[test]
fn a_link_to_itself_is_nothing() {
    at_every_distance(async |_, far: &Node| {
        let a = Proc::trapping(far).await;
        a.link(&a).await;
        assert!(a.alive().await);
        a.exit(custom("over"));
        assert_eq!(a.ended().await, custom("over"));
        assert!(a.exits().is_empty());
    });
}

// Processes, Sending Exit Signals: when nothing is found to link to, the caller gets an exit signal
// with the reason `noproc` whose sender is the pid that was to be linked.
#[test]
fn a_link_to_nobody_gives_an_exit_signal_from_that_pid() {
    at_every_distance(async |near: &Node, far: &Node| {
        let nobody = nobody(far);
        let trapping = Proc::trapping(near).await;
        trapping.run(move |_, ctx| ctx.link(nobody)).await;
        trapping.until("the exit signal", |a| !a.exits().is_empty()).await;
        assert_eq!(trapping.exits(), [(nobody, ExitReason::NoActor)]);

        let plain = Proc::new(near);
        plain.cast(move |_, ctx| ctx.link(nobody));
        assert_eq!(plain.ended().await, ExitReason::NoActor);
    });
}

// The same for a process that has ended: its reason is not remembered.
#[test]
fn a_link_to_one_that_has_ended_says_no_actor_and_not_its_reason() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::trapping(near).await, Proc::new(far));
        b.exit(custom("long ago"));
        b.ended().await;
        a.link(&b).await;
        a.until("the exit signal", |a| !a.exits().is_empty()).await;
        assert_eq!(a.exits(), [(b.pid, ExitReason::NoActor)]);
    });
}

// erlang:unlink/1: where there is no link, nothing is done.
#[test]
fn taking_back_a_link_that_does_not_exist_is_nothing() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::new(far));
        a.unlink(&b).await;
        let nobody = nobody(far);
        a.run(move |_, ctx| ctx.unlink(nobody)).await;
        settle(&a, &b).await;
        assert!(a.alive().await && b.alive().await);
    });
}

// erlang:unlink/1: once it has returned, the link has no effect on the caller any more, even when the
// other ends at the same moment.
#[test]
fn after_unlink_has_returned_the_link_has_no_effect_on_the_caller() {
    at_every_distance(async |near: &Node, far: &Node| {
        for _ in 0..20 {
            let (a, b) = (Proc::trapping(near).await, Proc::new(far));
            a.link(&b).await;
            let pid = b.pid;
            b.exit(custom("at the same moment"));
            // What was trapped before stays in the mailbox; nothing may come in behind it.
            a.run(move |_, ctx| {
                ctx.unlink(pid);
                ctx.trap_exit(false);
            })
            .await;
            b.ended().await;
            settle(&a, &b).await;
            assert!(a.alive().await);
        }
    });
}

// erlang:unlink/1: "unless the link is set up again".
#[test]
fn a_link_that_was_taken_back_can_be_made_again() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::new(far));
        a.link(&b).await;
        a.unlink(&b).await;
        a.link(&b).await;
        b.exit(custom("over"));
        assert_eq!(a.ended().await, custom("over"));
    });
}

// erlang:unlink/1 and link/1 in one go: the link protocol keeps a new link apart from the unlink before it.
#[test]
fn link_unlink_link_without_waiting_leaves_a_link() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::new(far));
        let pid = b.pid;
        a.run(move |_, ctx| {
            for _ in 0..10 {
                ctx.link(pid);
                ctx.unlink(pid);
            }
            ctx.link(pid);
        })
        .await;
        settle(&a, &b).await;
        a.exit(custom("over"));
        assert_eq!(b.ended().await, custom("over"));
    });
}

// Processes, Links: links that both sides make at the same time are one link too.
#[test]
fn links_that_cross_are_one_link() {
    at_every_distance(async |near: &Node, far: &Node| {
        for _ in 0..10 {
            let (a, b) = (Proc::trapping(near).await, Proc::new(far));
            let (to_b, to_a) = (b.pid, a.pid);
            a.cast(move |_, ctx| ctx.link(to_b));
            b.cast(move |_, ctx| ctx.link(to_a));
            settle(&a, &b).await;
            a.unlink(&b).await;
            b.exit(custom("over"));
            b.ended().await;
            settle(&a, &b).await;
            assert!(a.exits().is_empty(), "the one link was taken back");
        }
    });
}

// Distribution Protocol, Link Protocol: when unlink and link cross on the way, both sides end up with the
// same view; whatever that is, a link that is made afterwards is a link.
#[test]
fn a_link_holds_however_unlink_and_link_crossed_before() {
    run(async {
        let net = MemoryNet::new(42);
        let nodes = chain(&net, 2).await;
        net.default_latency(ms(20));
        for near_links_again in [true, false] {
            for near_ends in [true, false] {
                let (a, b) = (Proc::new(&nodes[0]), Proc::new(&nodes[1]));
                a.link(&b).await;
                let (to_a, to_b) = (a.pid, b.pid);
                // Well within the way of a signal from one side to the other.
                a.cast(move |_, ctx| ctx.unlink(to_b));
                b.cast(move |_, ctx| {
                    ctx.unlink(to_a);
                    ctx.link(to_a);
                });
                settle(&a, &b).await;
                let again = if near_links_again { (&a, &b) } else { (&b, &a) };
                again.0.link(again.1).await;
                settle(&a, &b).await;
                let (ends, other) = if near_ends { (&a, &b) } else { (&b, &a) };
                ends.exit(custom("over"));
                let ended = tokio::time::timeout(ms(3_000), other.ended()).await;
                assert_eq!(
                    ended,
                    Ok(custom("over")),
                    "linked again by the near one: {near_links_again}, ended there: {near_ends}"
                );
            }
        }
        stop(&nodes).await;
    });
}

// The same without a new link: nobody may be linked on one side only.
#[test]
fn unlink_and_link_that_cross_leave_both_sides_of_one_mind() {
    run(async {
        let net = MemoryNet::new(43);
        let nodes = chain(&net, 2).await;
        net.default_latency(ms(20));
        let mut ended = Vec::new();
        for near_ends in [true, false] {
            let (a, b) = (Proc::new(&nodes[0]), Proc::new(&nodes[1]));
            a.link(&b).await;
            let (to_a, to_b) = (a.pid, b.pid);
            a.cast(move |_, ctx| ctx.unlink(to_b));
            b.cast(move |_, ctx| {
                ctx.unlink(to_a);
                ctx.link(to_a);
            });
            settle(&a, &b).await;
            let (ends, other) = if near_ends { (&a, &b) } else { (&b, &a) };
            ends.exit(custom("over"));
            ends.ended().await;
            settle(&a, &b).await;
            ended.push(!other.alive().await);
        }
        assert_eq!(ended[0], ended[1], "linked for one side, not linked for the other");
        stop(&nodes).await;
    });
}

// Processes, Error Handling: exit signals go on from one linked process to the next.
#[test]
fn an_exit_goes_through_a_chain_of_links() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b, c) = (Proc::new(near), Proc::new(far), Proc::new(near));
        a.link(&b).await;
        b.link(&c).await;
        a.exit(custom("the first"));
        assert_eq!(b.ended().await, custom("the first"));
        assert_eq!(c.ended().await, custom("the first"));
    });
}

// Processes, Error Handling: a process that handles the exit keeps it from those behind it.
#[test]
fn a_trapping_process_stops_the_chain() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b, c) = (Proc::new(near), Proc::trapping(far).await, Proc::new(near));
        a.link(&b).await;
        b.link(&c).await;
        a.exit(custom("the first"));
        b.until("the exit signal", |b| !b.exits().is_empty()).await;
        settle(&b, &c).await;
        assert_eq!(b.exits(), [(a.pid, custom("the first"))]);
        assert!(b.alive().await && c.alive().await);
    });
}

// Processes, Receiving Exit Signals: `normal` from another process is dropped by one that does not trap.
#[test]
fn a_normal_end_does_not_end_the_linked() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::new(far));
        a.link(&b).await;
        b.stop();
        assert_eq!(b.ended().await, ExitReason::Normal);
        settle(&a, &b).await;
        assert!(a.alive().await);
    });
}

// Processes, Links: the link ends with its participant; a second end needs a second link.
#[test]
fn a_link_tells_once() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::trapping(near).await, Proc::new(far));
        a.link(&b).await;
        b.stop();
        a.until("the exit signal", |a| !a.exits().is_empty()).await;
        let pid = b.pid;
        a.run(move |_, ctx| ctx.unlink(pid)).await;
        settle(&a, &b).await;
        assert_eq!(a.exits(), [(b.pid, ExitReason::Normal)]);
    });
}

// Processes, Links: a process may be linked to many; each learns of its end.
#[test]
fn every_linked_process_learns_of_the_end() {
    at_every_distance(async |near: &Node, far: &Node| {
        let b = Proc::new(far);
        let mut linked = Vec::new();
        for _ in 0..10 {
            let a = Proc::new(near);
            a.link(&b).await;
            linked.push(a);
        }
        b.exit(custom("all of you"));
        for a in &linked {
            assert_eq!(a.ended().await, custom("all of you"));
        }
    });
}

// erlang:spawn_link: spawning and linking are one step, so no end of the child can be missed.
#[test]
fn spawn_link_misses_no_end_of_the_child() {
    at_every_distance(async |_, far: &Node| {
        let parent = Proc::new(far);
        parent.cast(|_, ctx| {
            let _child = ctx.spawn_link(Probe::with_start(|_, ctx| ctx.exit(custom("at once"))));
        });
        assert_eq!(parent.ended().await, custom("at once"));

        let parent = Proc::trapping(far).await;
        let child = parent
            .run(|_, ctx| {
                ctx.spawn_link(Probe::with_start(|_, _| panic!("at the start"))).unwrap().pid()
            })
            .await;
        parent.until("the exit signal", |parent| !parent.exits().is_empty()).await;
        assert_eq!(parent.exits(), [(child, panicked("at the start"))]);
    });
}

// The same link ends the child with its parent, as supervision trees need it.
#[test]
fn a_spawn_linked_child_ends_with_its_parent() {
    at_every_distance(async |near: &Node, far: &Node| {
        let parent = Proc::new(far);
        let child =
            parent.run(|_, ctx| ctx.spawn_link(Probe::with_start(|_, _| ())).unwrap().pid()).await;
        let down = near.monitor(child);
        reach(&Proc::new(near), &parent).await;
        parent.exit(custom("the parent"));
        assert_eq!(within("the child ends", down).await.reason, custom("the parent"));
    });
}

// Ours, contract C23: another region may link only where the process has agreed to it.
#[test]
fn a_link_from_another_region_is_denied_where_it_was_not_allowed() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::trapping(near).await, Proc::unlinkable(far));
        a.link(&b).await;
        if near.region() == far.region() {
            a.exit(custom("same node"));
            assert_eq!(b.ended().await, custom("same node"));
        } else {
            a.until("the exit signal", |a| !a.exits().is_empty()).await;
            assert_eq!(a.exits(), [(b.pid, ExitReason::Denied)]);
            a.exit(custom("over"));
            a.ended().await;
            settle(&a, &b).await;
            assert!(b.alive().await);
        }
    });
}
