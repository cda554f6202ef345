//! Monitors. Pages: "Processes", section "Monitors"; erlang:monitor/2, erlang:demonitor/1,2.

use std::collections::BTreeSet;

use actix::{ActorFutureExt, AsyncContext, WrapFuture};
use fedist_actors::{ExitReason, Node, PidSend};
use tokio::sync::oneshot;

use crate::{probe::*, support::Note};

/// How a process may come to its end, and the reason that then must be seen.
const ENDS: [&str; 6] = ["stop", "exit shutdown", "exit custom", "panic", "kill", "signal"];

async fn end(b: &Proc, other: &Proc, how: &str) -> ExitReason {
    match how {
        "stop" => b.stop(),
        "exit shutdown" => b.exit(ExitReason::Shutdown),
        "exit custom" => b.exit(custom("mine")),
        "panic" => b.crash("a bug"),
        "kill" => other.kill(b).await,
        _ => other.signal(b, custom("yours")).await,
    }
    match how {
        "stop" => ExitReason::Normal,
        "exit shutdown" => ExitReason::Shutdown,
        "exit custom" => custom("mine"),
        "panic" => panicked("a bug"),
        "kill" => ExitReason::Killed,
        _ => custom("yours"),
    }
}

// Monitors: the 'DOWN' message carries the monitor, the pid and the exit reason, whatever that was.
#[test]
fn a_down_carries_the_monitor_the_pid_and_the_reason() {
    at_every_distance(async |near: &Node, far: &Node| {
        let other = Proc::new(near);
        for how in ENDS {
            let (a, b) = (Proc::new(near), Proc::new(far));
            let monitor = a.monitor(&b).await;
            let reason = end(&b, &other, how).await;
            a.until("the Down", |a| !a.events().is_empty()).await;
            settle(&a, &b).await;
            assert_eq!(a.events(), [Event::Down(monitor, b.pid, reason)], "{how}");
        }
    });
}

// Monitors: each call makes a monitor of its own, and each of them fires.
#[test]
fn every_monitor_of_one_process_fires() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::new(far));
        let mut monitors = Vec::new();
        for _ in 0..5 {
            monitors.push(a.monitor(&b).await);
        }
        let distinct: BTreeSet<_> = monitors.iter().collect();
        assert_eq!(distinct.len(), 5);
        b.exit(custom("over"));
        a.until("five Downs", |a| a.downs().len() == 5).await;
        settle(&a, &b).await;
        let mut downs = a.downs();
        downs.sort_by_key(|down| down.0);
        monitors.sort();
        let expected: Vec<_> = monitors.into_iter().map(|m| (m, custom("over"))).collect();
        assert_eq!(downs, expected);
    });
}

// Monitors: where nothing lives, 'DOWN' comes at once with `noproc`.
#[test]
fn a_monitor_of_nobody_fires_at_once_with_no_actor() {
    at_every_distance(async |near: &Node, far: &Node| {
        let a = Proc::new(near);
        let nobody = nobody(far);
        let monitor = a.run(move |_, ctx| ctx.monitor(nobody)).await;
        a.until("the Down", |a| !a.events().is_empty()).await;
        assert_eq!(a.events(), [Event::Down(monitor, nobody, ExitReason::NoActor)]);
    });
}

// The same for one that has ended before: its reason is not remembered.
#[test]
fn a_monitor_of_one_that_has_ended_says_no_actor() {
    at_every_distance(async |near: &Node, far: &Node| {
        let other = Proc::new(near);
        for how in ENDS {
            let (a, b) = (Proc::new(near), Proc::new(far));
            let _ = end(&b, &other, how).await;
            b.ended().await;
            let monitor = a.monitor(&b).await;
            a.until("the Down", |a| !a.events().is_empty()).await;
            assert_eq!(a.events(), [Event::Down(monitor, b.pid, ExitReason::NoActor)], "{how}");
        }
    });
}

// Monitors: they work in one direction.
#[test]
fn the_end_of_a_watcher_means_nothing_to_the_watched() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::trapping(far).await);
        a.monitor(&b).await;
        a.exit(custom("over"));
        a.ended().await;
        settle(&b, &Proc::new(near)).await;
        assert!(b.alive().await);
        assert!(b.events().is_empty());
    });
}

// erlang:monitor/2: a monitor fires once and is gone then.
#[test]
fn a_monitor_fires_once() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::new(far));
        let first = a.monitor(&b).await;
        b.stop();
        a.until("the first", |a| a.downs().len() == 1).await;
        let second = a.monitor(&b).await;
        a.until("the second", |a| a.downs().len() == 2).await;
        settle(&a, &b).await;
        assert_eq!(a.downs(), [(first, ExitReason::Normal), (second, ExitReason::NoActor)]);
    });
}

// demonitor/2 with `info`: true when the monitor was found and removed; no 'DOWN' comes then.
#[test]
fn demonitor_takes_a_monitor_back() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::new(far));
        let monitor = a.monitor(&b).await;
        assert!(a.demonitor(monitor).await);
        b.exit(custom("over"));
        b.ended().await;
        settle(&a, &b).await;
        assert!(a.events().is_empty());
    });
}

// demonitor/1: where monitoring is off already, nothing happens; `info` says false.
#[test]
fn demonitor_of_one_that_is_gone_is_nothing() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::new(far));
        let taken_back = a.monitor(&b).await;
        assert!(a.demonitor(taken_back).await);
        assert!(!a.demonitor(taken_back).await);
        let fired = a.monitor(&b).await;
        b.stop();
        a.until("the Down", |a| !a.events().is_empty()).await;
        assert!(!a.demonitor(fired).await);
        assert!(a.alive().await);
        assert_eq!(a.downs(), [(fired, ExitReason::Normal)]);
    });
}

// demonitor/1 on one of several: the others stay.
#[test]
fn demonitor_takes_back_one_of_several() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::new(far));
        let first = a.monitor(&b).await;
        let second = a.monitor(&b).await;
        let third = a.monitor(&b).await;
        assert!(a.demonitor(second).await);
        b.stop();
        a.until("two Downs", |a| a.downs().len() == 2).await;
        settle(&a, &b).await;
        let seen: BTreeSet<_> = a.downs().into_iter().map(|down| down.0).collect();
        assert_eq!(seen, BTreeSet::from([first, third]));
    });
}

// demonitor/2 with `flush`: a 'DOWN' that is in the queue already is taken out of it.
#[test]
fn demonitor_takes_a_down_out_of_the_mailbox() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b, last) = (Proc::new(near), Proc::new(far), Proc::new(near));
        let pid = b.pid;
        let monitor = a.monitor(&b).await;
        let kept = a.monitor(&b).await;
        let (go_on, may_go_on) = oneshot::channel::<()>();
        // While it waits, what comes stays in its mailbox.
        a.run(move |probe, ctx| {
            let wait = may_go_on.into_actor(probe).map(move |_, _, ctx| {
                ctx.demonitor(monitor);
                ctx.monitor(pid);
            });
            ctx.wait(wait);
        })
        .await;
        last.monitor(&b).await;
        b.exit(custom("over"));
        last.until("the Down of the last monitor", |last| !last.downs().is_empty()).await;
        // Behind all the Downs in the pair's order, so these are there by now.
        far_note(far, &a, 1).await;
        go_on.send(()).unwrap();
        a.until("the rest", |a| a.downs().len() == 2).await;
        settle(&a, &b).await;
        let downs = a.downs();
        assert!(downs.contains(&(kept, custom("over"))), "{downs:?}");
        assert!(!downs.iter().any(|down| down.0 == monitor), "{downs:?}");
    });
}

async fn far_note(far: &Node, a: &Proc, number: u64) {
    a.pid.tell(far, Note(number)).await.unwrap();
}

// demonitor/1: the monitor of another process is none of the caller's business.
#[test]
fn nobody_can_take_back_the_monitor_of_another_process() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, other, b) = (Proc::new(near), Proc::new(near), Proc::new(far));
        let monitor = a.monitor(&b).await;
        assert!(!other.demonitor(monitor).await);
        b.stop();
        a.until("the Down", |a| !a.downs().is_empty()).await;
        assert_eq!(a.downs(), [(monitor, ExitReason::Normal)]);
    });
}

// Processes, Delivery of Signals: what the process sent before it ended arrives before its 'DOWN' (C8).
#[test]
fn a_down_comes_behind_all_messages_of_the_dead() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::new(far));
        let monitor = a.monitor(&b).await;
        let pid = a.pid;
        b.run(move |_, ctx| {
            for number in 0..200 {
                pid.do_send(ctx.node(), Note(number));
            }
            ctx.exit(custom("said all"));
        })
        .await;
        a.until("the Down", |a| !a.downs().is_empty()).await;
        let mut expected: Vec<Event> = (0..200).map(Event::Note).collect();
        expected.push(Event::Down(monitor, b.pid, custom("said all")));
        assert_eq!(a.events(), expected);
    });
}

// The same for the exit signal of a link.
#[test]
fn an_exit_signal_comes_behind_all_messages_of_the_dead() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::trapping(near).await, Proc::new(far));
        a.link(&b).await;
        let pid = a.pid;
        b.run(move |_, ctx| {
            for number in 0..200 {
                pid.do_send(ctx.node(), Note(number));
            }
            ctx.exit(custom("said all"));
        })
        .await;
        a.until("the exit signal", |a| !a.exits().is_empty()).await;
        let mut expected: Vec<Event> = (0..200).map(Event::Note).collect();
        expected.push(Event::Exit(b.pid, custom("said all")));
        assert_eq!(a.events(), expected);
    });
}

// spawn_monitor: spawning and monitoring are one step; the reason of an early end is not lost.
#[test]
fn spawn_monitor_misses_no_end_of_the_child() {
    at_every_distance(async |_, far: &Node| {
        let parent = Proc::new(far);
        let (child, monitor) = parent
            .run(|_, ctx| {
                let child = Probe::with_start(|_, ctx| ctx.exit(custom("at once")));
                let (child, monitor) = ctx.spawn_monitor(child).unwrap();
                (child.pid(), monitor)
            })
            .await;
        parent.until("the Down", |parent| !parent.events().is_empty()).await;
        assert_eq!(parent.events(), [Event::Down(monitor, child, custom("at once"))]);
        assert!(parent.alive().await, "a monitor is no link");
    });
}

// erlang:monitor/2 is open to all: no leave is needed to watch, only to link (contract C23).
#[test]
fn anyone_may_monitor() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::unlinkable(far));
        let monitor = a.monitor(&b).await;
        b.exit(custom("over"));
        a.until("the Down", |a| !a.downs().is_empty()).await;
        assert_eq!(a.downs(), [(monitor, custom("over"))]);
    });
}

// Two that monitor each other: one 'DOWN', for the one that is left.
#[test]
fn two_may_monitor_each_other() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::new(far));
        a.monitor(&b).await;
        let monitor = b.monitor(&a).await;
        a.stop();
        b.until("the Down", |b| !b.downs().is_empty()).await;
        b.stop();
        assert_eq!(b.ended().await, ExitReason::Normal);
        assert_eq!(b.downs(), [(monitor, ExitReason::Normal)]);
    });
}

// A monitor held by plain async code (a process in Erlang's terms) follows the same rules.
#[test]
fn plain_code_sees_the_same_reasons() {
    at_every_distance(async |near: &Node, far: &Node| {
        let other = Proc::new(near);
        for how in ENDS {
            let b = Proc::new(far);
            let monitor = near.monitor(b.pid);
            reach(&other, &b).await;
            let reason = end(&b, &other, how).await;
            let down = within("the Down", monitor).await;
            assert_eq!((down.pid, down.reason), (b.pid, reason), "{how}");
            let late = within("the Down", near.monitor(b.pid)).await;
            assert_eq!(late.reason, ExitReason::NoActor);
        }
    });
}
