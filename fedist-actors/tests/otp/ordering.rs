//! The order of signals. Page: "Processes", section "Delivery of Signals".

use fedist_actors::{DropReason, Node, PidSend};

use crate::{
    probe::*,
    support::{Note, eventually},
};

// Delivery of Signals: what one sends to another arrives in the order in which it was sent.
#[test]
fn messages_between_two_keep_their_order() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::new(far));
        let pid = b.pid;
        a.run(move |_, ctx| {
            for number in 0..500 {
                pid.do_send(ctx.node(), Note(number));
            }
        })
        .await;
        b.until("all have come", |b| b.events().len() == 500).await;
        assert!(b.events().into_iter().eq((0..500).map(Event::Note)));
    });
}

// The guarantee is per pair: each sender's messages keep their order, whatever others do.
#[test]
fn each_sender_keeps_its_own_order() {
    at_every_distance(async |near: &Node, far: &Node| {
        let b = Proc::new(far);
        let senders = [Proc::new(near), Proc::new(near), Proc::new(far)];
        for (sender, first) in senders.iter().zip([0, 1_000, 2_000]) {
            let pid = b.pid;
            sender.cast(move |_, ctx| {
                for number in first..first + 100 {
                    pid.do_send(ctx.node(), Note(number));
                }
            });
        }
        b.until("all have come", |b| b.events().len() == 300).await;
        for first in [0, 1_000, 2_000] {
            let of_sender = b.events().into_iter().filter(
                |event| matches!(event, Event::Note(n) if (first..first + 100).contains(n)),
            );
            assert!(of_sender.eq((first..first + 100).map(Event::Note)));
        }
    });
}

// Signals of all kinds keep their order between two: a monitor is set before what was sent after it arrives.
#[test]
fn a_monitor_is_set_before_a_message_that_was_sent_after_it() {
    at_every_distance(async |near: &Node, far: &Node| {
        for _ in 0..10 {
            let (a, b) = (Proc::new(near), Proc::new(far));
            b.run(|_, ctx| ctx.trap_exit(true)).await;
            let pid = b.pid;
            // The signal is trapped and ends nothing; the stop that follows comes after the monitor.
            let monitor = a
                .run(move |_, ctx| {
                    let monitor = ctx.monitor(pid);
                    ctx.node().exit(pid, custom("end now"));
                    monitor
                })
                .await;
            b.until("the signal", |b| !b.exits().is_empty()).await;
            b.exit(custom("as told"));
            a.until("the Down", |a| !a.downs().is_empty()).await;
            assert_eq!(a.downs(), [(monitor, custom("as told"))], "never NoActor");
        }
    });
}

// The same for a link.
#[test]
fn a_link_is_set_before_an_exit_signal_that_was_sent_after_it() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::trapping(near).await, Proc::new(far));
        let pid = b.pid;
        a.run(move |_, ctx| {
            ctx.link(pid);
            ctx.node().exit(pid, custom("end now"));
        })
        .await;
        a.until("the exit signal", |a| !a.exits().is_empty()).await;
        assert_eq!(a.exits(), [(b.pid, custom("end now"))], "never NoActor");
    });
}

// The same for unlink: what the other sends as its end afterwards has no effect.
#[test]
fn an_unlink_arrives_before_an_exit_signal_that_was_sent_after_it() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::trapping(near).await, Proc::new(far));
        a.link(&b).await;
        let pid = b.pid;
        a.run(move |_, ctx| {
            ctx.unlink(pid);
            ctx.node().exit(pid, custom("end now"));
        })
        .await;
        assert_eq!(b.ended().await, custom("end now"));
        settle(&a, &b).await;
        assert!(a.exits().is_empty());
    });
}

// Delivery of Signals: a message to a process that has ended is no error; it just does not arrive. Ours: it
// is counted where it was sent.
#[test]
fn a_message_to_the_dead_is_no_error_and_is_counted() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::new(far));
        b.stop();
        b.ended().await;
        let before = near.dropped().get(&DropReason::NoActor).copied().unwrap_or(0);
        for number in 0..5 {
            a.note(&b, number).await;
        }
        let letters = || near.dead_letters().into_iter().filter(|letter| letter.to == b.pid);
        eventually("five dead letters", || async { letters().count() == 5 }).await;
        settle(&a, &b).await;
        assert_eq!(letters().count(), 5);
        assert!(letters().all(|letter| letter.reason == DropReason::NoActor));
        assert!(near.dropped()[&DropReason::NoActor] >= before + 5);
        assert!(a.alive().await);
    });
}

// Sending to itself: a process may, and the message goes to the end of its own queue.
#[test]
fn a_message_to_itself_goes_to_the_end_of_the_queue() {
    at_every_distance(async |_, far: &Node| {
        let a = Proc::new(far);
        let me = a.pid;
        a.run(move |probe, ctx| {
            me.do_send(ctx.node(), Note(2));
            probe.write(Event::Note(1));
        })
        .await;
        a.until("the message", |a| a.events().len() == 2).await;
        assert_eq!(a.events(), [Event::Note(1), Event::Note(2)]);
    });
}
