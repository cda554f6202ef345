//! Exit signals. Pages: "Processes", sections "Sending Exit Signals" and "Receiving Exit Signals";
//! erlang:exit/1, erlang:exit/2; Elixir's Process.exit/2.

use fedist_actors::{ExitReason, Node};

use crate::{probe::*, support::Note};

// Receiving Exit Signals: one that does not trap ends with the signal's reason, whatever it is,
// unless it is `normal`. The reasons arrive as they were sent.
#[test]
fn an_exit_signal_ends_its_receiver_with_the_same_reason() {
    at_every_distance(async |near: &Node, far: &Node| {
        let reasons = [
            ExitReason::Shutdown,
            custom("because"),
            custom(""),
            custom("Grüße, 世界"),
            panicked("as if it had"),
            ExitReason::NoActor,
        ];
        for reason in reasons {
            let (a, b) = (Proc::new(near), Proc::new(far));
            a.signal(&b, reason.clone()).await;
            assert_eq!(b.ended().await, reason);
            assert!(a.alive().await, "an exit signal has no effect on its sender");
        }
    });
}

// The same for signals that come by a link.
#[test]
fn a_linked_process_ends_with_the_same_reason() {
    at_every_distance(async |near: &Node, far: &Node| {
        for reason in [ExitReason::Shutdown, custom("because"), panicked("a bug")] {
            let (a, b) = (Proc::new(near), Proc::new(far));
            a.link(&b).await;
            match &reason {
                ExitReason::Panicked(text) => b.crash(text),
                reason => b.exit(reason.clone()),
            }
            assert_eq!(a.ended().await, reason);
        }
    });
}

// exit/2: `normal` for another process that does not trap is dropped.
#[test]
fn exit_normal_to_another_process_is_ignored() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::new(far));
        a.signal(&b, ExitReason::Normal).await;
        settle(&a, &b).await;
        assert!(b.alive().await);
    });
}

// exit/2: `normal` for one that traps becomes a message like any other reason.
#[test]
fn exit_normal_to_a_trapping_process_is_a_message() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::trapping(far).await);
        a.signal(&b, ExitReason::Normal).await;
        b.until("the exit signal", |b| !b.exits().is_empty()).await;
        assert_eq!(b.exits(), [(a.pid, ExitReason::Normal)]);
        assert!(b.alive().await);
    });
}

// exit/2, Processes (Irregularities): `normal` to itself does end a process.
#[test]
fn exit_normal_to_itself_ends_a_process() {
    at_every_distance(async |_, far: &Node| {
        let a = Proc::new(far);
        a.signal(&a, ExitReason::Normal).await;
        assert_eq!(a.ended().await, ExitReason::Normal);
    });
}

// Process.exit/2: one that traps and sends itself `normal` gets it as a message.
#[test]
fn exit_normal_to_itself_while_trapping_is_a_message() {
    at_every_distance(async |_, far: &Node| {
        let a = Proc::trapping(far).await;
        a.signal(&a, ExitReason::Normal).await;
        a.until("the exit signal", |a| !a.exits().is_empty()).await;
        assert_eq!(a.exits(), [(a.pid, ExitReason::Normal)]);
        assert!(a.alive().await);
    });
}

// exit/2: a process may send itself any reason and ends with it.
#[test]
fn an_exit_signal_to_itself_ends_a_process() {
    at_every_distance(async |_, far: &Node| {
        let a = Proc::new(far);
        a.signal(&a, custom("myself")).await;
        assert_eq!(a.ended().await, custom("myself"));
    });
}

// Processes, Delivery of Signals: for a receiver that has ended, the signal just does not arrive;
// exit/2 gives no error and tells the sender nothing.
#[test]
fn an_exit_signal_to_nobody_is_no_error() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::trapping(near).await, Proc::new(far));
        b.stop();
        b.ended().await;
        a.signal(&b, custom("too late")).await;
        a.kill(&b).await;
        settle(&a, &b).await;
        assert!(a.alive().await);
        assert!(a.exits().is_empty());
        assert_eq!(b.ended().await, ExitReason::Normal);
    });
}

// exit/2: `kill` cannot be trapped, and the reason becomes `killed`.
#[test]
fn kill_cannot_be_trapped() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::trapping(far).await);
        a.kill(&b).await;
        assert_eq!(b.ended().await, ExitReason::Killed);
        assert!(b.exits().is_empty());
    });
}

// exit/2: the linked of a killed process get `killed`, which they may trap.
#[test]
fn the_linked_of_a_killed_process_get_killed_and_may_trap_it() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (trapping, plain) = (Proc::trapping(near).await, Proc::new(near));
        let (b, killer) = (Proc::new(far), Proc::new(near));
        trapping.link(&b).await;
        plain.link(&b).await;
        killer.kill(&b).await;
        assert_eq!(plain.ended().await, ExitReason::Killed);
        trapping.until("the exit signal", |a| !a.exits().is_empty()).await;
        assert_eq!(trapping.exits(), [(b.pid, ExitReason::Killed)]);
        assert!(trapping.alive().await);
    });
}

// exit/2: only `kill` is special. A signal with the reason `killed` is trapped like any other.
#[test]
fn a_signal_with_the_reason_killed_is_no_kill() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::trapping(far).await);
        a.signal(&b, ExitReason::Killed).await;
        b.until("the exit signal", |b| !b.exits().is_empty()).await;
        assert_eq!(b.exits(), [(a.pid, ExitReason::Killed)]);
        assert!(b.alive().await);
    });
}

// exit/1: a process that ends itself with the reason of a kill sends its links a signal they may trap.
#[test]
fn one_that_ends_itself_as_killed_does_not_kill_its_links() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::trapping(near).await, Proc::new(far));
        a.link(&b).await;
        b.exit(ExitReason::Killed);
        a.until("the exit signal", |a| !a.exits().is_empty()).await;
        assert_eq!(a.exits(), [(b.pid, ExitReason::Killed)]);
        assert!(a.alive().await);
    });
}

// exit/2: a process that runs into a long wait is ended all the same: signals are received whatever it does.
#[test]
fn kill_ends_a_process_in_the_middle_of_its_wait() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::new(far));
        b.run(|probe, ctx| {
            let for_ever = actix::WrapFuture::into_actor(std::future::pending::<()>(), probe);
            actix::AsyncContext::wait(ctx, for_ever);
        })
        .await;
        a.kill(&b).await;
        assert_eq!(b.ended().await, ExitReason::Killed);
    });
}

// Receiving Exit Signals: a process without a link that gets an exit signal does not take its sender along.
#[test]
fn an_exit_signal_makes_no_link() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::trapping(near).await, Proc::new(far));
        a.signal(&b, custom("go")).await;
        b.ended().await;
        settle(&a, &b).await;
        assert!(a.exits().is_empty());
    });
}

// exit/2: "once set in an exiting state, no more code is executed": what waits in the mailbox is not handled.
#[test]
fn after_its_exit_a_process_handles_nothing_more() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::new(far));
        let pid = b.pid;
        a.run(move |_, ctx| {
            use fedist_actors::PidSend as _;
            ctx.node().kill(pid);
            for number in 0..10 {
                pid.do_send(ctx.node(), Note(number));
            }
        })
        .await;
        assert_eq!(b.ended().await, ExitReason::Killed);
        settle(&a, &b).await;
        assert_eq!(b.events(), [Event::Dropped]);
    });
}

// Ours, contract C23: another region may end only those that have agreed to it.
#[test]
fn exit_and_kill_from_another_region_need_leave() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::unlinkable(far));
        if near.region() == far.region() {
            a.kill(&b).await;
            assert_eq!(b.ended().await, ExitReason::Killed);
        } else {
            a.signal(&b, custom("go")).await;
            a.kill(&b).await;
            settle(&a, &b).await;
            assert!(b.alive().await);
        }
    });
}
