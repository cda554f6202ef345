//! Trapping. Pages: erlang:process_flag(trap_exit, _); "Processes", section "Receiving Exit Signals".

use fedist_actors::{ExitReason, Node, PidSend};

use crate::{probe::*, support::Note};

// process_flag(trap_exit, true): signals turn into messages that name the sender and the reason.
#[test]
fn a_trapped_signal_is_a_message_with_its_sender_and_its_reason() {
    at_every_distance(async |near: &Node, far: &Node| {
        let reasons = [ExitReason::Shutdown, custom("because"), panicked("a bug")];
        let b = Proc::trapping(far).await;
        for reason in &reasons {
            let a = Proc::new(near);
            a.signal(&b, reason.clone()).await;
            b.until("the exit signal", |b| b.exits().last() == Some(&(a.pid, reason.clone())))
                .await;
        }
        assert_eq!(b.exits().len(), reasons.len());
        assert!(b.alive().await);
    });
}

// Receiving Exit Signals: the end of a linked process is trapped with its exit reason, `normal` too.
#[test]
fn the_end_of_a_linked_process_is_trapped_whatever_its_reason() {
    at_every_distance(async |near: &Node, far: &Node| {
        let a = Proc::trapping(near).await;
        let reasons =
            [ExitReason::Normal, ExitReason::Shutdown, custom("because"), panicked("a bug")];
        for reason in reasons {
            let b = Proc::new(far);
            a.link(&b).await;
            match &reason {
                ExitReason::Normal => b.stop(),
                ExitReason::Panicked(text) => b.crash(text),
                reason => b.exit(reason.clone()),
            }
            a.until("the exit signal", |a| a.exits().last() == Some(&(b.pid, reason.clone())))
                .await;
        }
        assert!(a.alive().await);
    });
}

// process_flag: the flag starts as false and is nobody's heritage.
#[test]
fn a_new_process_does_not_trap_even_when_its_parent_does() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, parent) = (Proc::new(near), Proc::trapping(far).await);
        let child =
            parent.run(|_, ctx| ctx.spawn_link(Probe::with_start(|_, _| ())).unwrap()).await;
        let pid = child.pid();
        far.export(&child).links().publish().unwrap();
        a.run(move |_, ctx| ctx.node().exit(pid, custom("go"))).await;
        parent.until("the end of the child", |parent| !parent.exits().is_empty()).await;
        assert_eq!(parent.exits(), [(pid, custom("go"))]);
    });
}

// process_flag(trap_exit, false): from then on signals end the process again.
#[test]
fn trapping_can_be_turned_off_again() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::trapping(far).await);
        a.signal(&b, custom("the first")).await;
        b.until("the exit signal", |b| !b.exits().is_empty()).await;
        b.trap(false).await;
        a.signal(&b, custom("the second")).await;
        assert_eq!(b.ended().await, custom("the second"));
        assert_eq!(b.exits(), [(a.pid, custom("the first"))]);
    });
}

// Receiving Exit Signals: what counts is the flag when the signal arrives, not when the link was made.
#[test]
fn the_flag_counts_when_the_signal_arrives() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::new(far));
        a.link(&b).await;
        a.trap(true).await;
        b.exit(custom("over"));
        a.until("the exit signal", |a| !a.exits().is_empty()).await;
        assert!(a.alive().await);
    });
}

// Receiving Exit Signals: the message goes to the end of the queue, behind what its sender sent before
// and ahead of what it sent after.
#[test]
fn a_trapped_signal_keeps_its_place_among_the_messages_of_its_sender() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::trapping(far).await);
        let pid = b.pid;
        a.run(move |_, ctx| {
            for number in 0..5 {
                pid.do_send(ctx.node(), Note(number));
            }
            ctx.node().exit(pid, custom("between"));
            for number in 5..10 {
                pid.do_send(ctx.node(), Note(number));
            }
        })
        .await;
        reach(&a, &b).await;
        let mut expected: Vec<Event> = (0..10).map(Event::Note).collect();
        expected.insert(5, Event::Exit(a.pid, custom("between")));
        assert_eq!(b.events(), expected);
    });
}

// exit/1: trapping is about signals from others; a process can always end itself.
#[test]
fn a_trapping_process_can_end_itself() {
    at_every_distance(async |_, far: &Node| {
        let a = Proc::trapping(far).await;
        a.exit(custom("enough"));
        assert_eq!(a.ended().await, custom("enough"));
        assert!(a.exits().is_empty());
        let a = Proc::trapping(far).await;
        a.crash("a bug");
        assert_eq!(a.ended().await, panicked("a bug"));
    });
}

// gen_server, terminate/2: one that traps learns of its parent's `shutdown` and may clean up in its own time.
#[test]
fn a_trapping_process_that_gets_shutdown_decides_for_itself() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::trapping(far).await);
        a.signal(&b, ExitReason::Shutdown).await;
        b.until("the exit signal", |b| !b.exits().is_empty()).await;
        assert!(b.alive().await);
        b.exit(ExitReason::Shutdown);
        assert_eq!(b.ended().await, ExitReason::Shutdown);
    });
}

// gen_server, terminate/2: it is not called for one that does not trap and is ended by a signal; what
// the process holds is released all the same.
#[test]
fn one_that_does_not_trap_is_dropped_without_a_word() {
    at_every_distance(async |near: &Node, far: &Node| {
        for reason in [ExitReason::Shutdown, custom("go")] {
            let (a, b) = (Proc::new(near), Proc::new(far));
            a.signal(&b, reason.clone()).await;
            assert_eq!(b.ended().await, reason);
            b.until("the value is dropped", |b| !b.events().is_empty()).await;
            assert_eq!(b.events(), [Event::Dropped]);
        }
    });
}

// Links and monitors are independent: with both, both tell.
#[test]
fn a_linked_and_monitored_process_tells_by_both() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::trapping(near).await, Proc::new(far));
        a.link(&b).await;
        let monitor = a.monitor(&b).await;
        b.exit(custom("over"));
        a.until("both", |a| a.events().len() == 2).await;
        settle(&a, &b).await;
        assert_eq!(a.exits(), [(b.pid, custom("over"))]);
        assert_eq!(a.downs(), [(monitor, custom("over"))]);
    });
}
