//! How processes end. Pages: "Processes", section "Process Termination"; erlang:exit/1; gen_server, terminate/2.

use fedist_actors::{ExitReason, Node, PidSend};

use crate::{probe::*, support::Note};

// Process Termination: a process with nothing left to do ends with `normal`.
#[test]
fn an_actor_that_stops_ends_normally_and_says_goodbye() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::new(far));
        let monitor = a.monitor(&b).await;
        b.stop();
        a.until("the Down", |a| !a.downs().is_empty()).await;
        assert_eq!(a.downs(), [(monitor, ExitReason::Normal)]);
        assert_eq!(b.events(), [Event::Stopped, Event::Dropped], "by the time of its Down");
    });
}

// Process Termination: a run-time error ends the process with a reason that tells of it.
#[test]
fn a_panic_ends_the_process_with_its_text() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::new(far));
        let monitor = a.monitor(&b).await;
        b.cast(|_, _| {
            let numbers: Vec<u8> = Vec::new();
            let _ = std::hint::black_box(&numbers)[3];
        });
        a.until("the Down", |a| !a.downs().is_empty()).await;
        match &a.downs()[..] {
            [(of, ExitReason::Panicked(text))] => {
                assert_eq!(*of, monitor);
                assert!(text.contains("index out of bounds"), "{text}");
            }
            other => panic!("{other:?}"),
        }
        assert!(a.alive().await, "one process, and no other");
    });
}

// exit/1: it does not return. What the actor has in its mailbox is not handled any more.
#[test]
fn a_process_that_ends_itself_handles_nothing_more() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::new(far));
        let me = b.pid;
        b.cast(move |_, ctx| {
            me.do_send(ctx.node(), Note(1));
            ctx.exit(custom("enough"));
            me.do_send(ctx.node(), Note(2));
        });
        assert_eq!(b.ended().await, custom("enough"));
        settle(&a, &b).await;
        assert!(!b.events().iter().any(|event| matches!(event, Event::Note(_))));
    });
}

// exit/1: the first reason stands.
#[test]
fn the_first_exit_reason_stands() {
    at_every_distance(async |_, far: &Node| {
        let a = Proc::new(far);
        a.cast(|_, ctx| {
            ctx.exit(custom("first"));
            ctx.exit(custom("second"));
            actix::ActorContext::stop(ctx);
        });
        assert_eq!(a.ended().await, custom("first"));
    });
}

// Processes: a process lives for its own sake; that nobody holds its address does not end it.
#[test]
fn a_process_needs_nobody_to_hold_its_address() {
    at_every_distance(async |near: &Node, far: &Node| {
        let a = Proc::new(near);
        let pid = {
            let b = far.spawn(Probe::with_start(|_, _| ())).unwrap();
            far.export(&b).handles::<Sync>().publish().unwrap()
        };
        for _ in 0..3 {
            reach(&a, &a).await;
            assert_eq!(pid.send(near, Sync).await, Ok(0));
        }
    });
}

// Processes, Signals: the node itself may end any of its processes (as code outside of a process may).
#[test]
fn the_node_can_end_its_own_processes() {
    at_every_distance(async |_, far: &Node| {
        let a = Proc::new(far);
        far.exit(a.pid, custom("from outside"));
        assert_eq!(a.ended().await, custom("from outside"));
        let a = Proc::trapping(far).await;
        far.kill(a.pid);
        assert_eq!(a.ended().await, ExitReason::Killed);
        let a = Proc::new(far);
        far.exit(a.pid, ExitReason::Normal);
        assert!(a.alive().await);
    });
}
