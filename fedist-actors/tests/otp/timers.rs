//! Timers. Pages: erlang:send_after/3, erlang:cancel_timer/1; the module timer; Elixir's Process.

use std::{sync::Arc, time::Instant};

use actix::Handler;
use fedist_actors::{Context, Node};
use fedist_transport::memory::MemoryNet;

use crate::{
    probe::*,
    support::{Note, chain, eventually, run, stop},
};

fn on_one_node(rule: impl AsyncFn(&Node)) {
    run(async {
        let nodes = chain(&MemoryNet::new(41), 1).await;
        rule(&nodes[0]).await;
        stop(&nodes).await;
    });
}

// send_after/3: the message comes once, not before its time.
#[test]
fn a_timer_sends_once_and_not_too_early() {
    on_one_node(async |node: &Node| {
        let a = Proc::new(node);
        let started = Instant::now();
        a.run(|_, ctx| {
            ctx.send_after(ms(30), Note(1));
        })
        .await;
        a.until("the message", |a| !a.events().is_empty()).await;
        assert!(started.elapsed() >= ms(30));
        // A second timer that runs out later: had the first fired twice, it would show.
        a.run(|_, ctx| {
            ctx.send_after(ms(60), Note(2));
        })
        .await;
        a.until("the second message", |a| a.events().len() >= 2).await;
        assert_eq!(a.events(), [Event::Note(1), Event::Note(2)]);
    });
}

// send_after/3 with 0: a message all the same, to the end of the queue.
#[test]
fn a_timer_of_no_time_is_a_message_and_no_call() {
    on_one_node(async |node: &Node| {
        let a = Proc::new(node);
        a.run(|probe, ctx| {
            ctx.send_after(ms(0), Note(2));
            probe.write(Event::Note(1));
        })
        .await;
        a.until("the message", |a| a.events().len() == 2).await;
        assert_eq!(a.events(), [Event::Note(1), Event::Note(2)]);
    });
}

// Timers run out by their time, not in the order in which they were set.
#[test]
fn timers_run_out_in_the_order_of_their_time() {
    on_one_node(async |node: &Node| {
        let a = Proc::new(node);
        a.run(|_, ctx| {
            ctx.send_after(ms(90), Note(3));
            ctx.send_after(ms(10), Note(1));
            ctx.send_after(ms(50), Note(2));
        })
        .await;
        a.until("three messages", |a| a.events().len() == 3).await;
        assert_eq!(a.events(), [Event::Note(1), Event::Note(2), Event::Note(3)]);
    });
}

// cancel_timer/1: a timer that was active is taken back, and its message never comes.
#[test]
fn a_cancelled_timer_does_not_send() {
    on_one_node(async |node: &Node| {
        let a = Proc::new(node);
        let cancelled = a
            .run(|_, ctx| {
                let timer = ctx.send_after(ms(20), Note(1));
                ctx.send_after(ms(60), Note(2));
                ctx.cancel_timer(timer)
            })
            .await;
        assert!(cancelled);
        a.until("the later message", |a| !a.events().is_empty()).await;
        assert_eq!(a.events(), [Event::Note(2)]);
    });
}

// cancel_timer/1: false for one that has run out or was cancelled before.
#[test]
fn cancelling_a_timer_that_is_gone_says_so() {
    on_one_node(async |node: &Node| {
        let a = Proc::new(node);
        let (first, second) = a
            .run(|_, ctx| {
                let first = ctx.send_after(ms(1), Note(1));
                let second = ctx.send_after(ms(60_000), Note(2));
                (first, second)
            })
            .await;
        a.until("the first message", |a| !a.events().is_empty()).await;
        let outcomes = a
            .run(move |_, ctx| {
                [ctx.cancel_timer(first), ctx.cancel_timer(second), ctx.cancel_timer(second)]
            })
            .await;
        assert_eq!(outcomes, [false, true, false]);
    });
}

// timer:send_interval/2: the message comes again and again until the timer is cancelled.
#[test]
fn an_interval_sends_until_it_is_cancelled() {
    on_one_node(async |node: &Node| {
        let a = Proc::new(node);
        let timer = a.run(|_, ctx| ctx.send_interval(ms(5), Tick::default())).await;
        a.until("several messages", |a| a.events().len() >= 5).await;
        let cancelled = a
            .run(move |_, ctx| {
                ctx.send_after(ms(50), Note(2));
                ctx.cancel_timer(timer)
            })
            .await;
        assert!(cancelled);
        let sent = a.events().len();
        a.until("the later message", |a| a.events().contains(&Event::Note(2))).await;
        // One may have been in the mailbox already when the timer was cancelled.
        assert!(a.events().len() <= sent + 2, "{:?}", a.events());
    });
}

#[derive(Clone, Default)]
struct Tick {
    /// Tells by its count how many copies there are.
    _token: Arc<()>,
}

impl actix::Message for Tick {
    type Result = ();
}

impl Handler<Tick> for Probe {
    type Result = ();

    fn handle(&mut self, _: Tick, _: &mut Context<Self>) {
        self.write(Event::Note(0));
    }
}

// send_after/3, timer:send_interval/2: timers end with their process and hold nothing afterwards.
#[test]
fn timers_end_with_their_process() {
    on_one_node(async |node: &Node| {
        for killed in [false, true] {
            let a = Proc::new(node);
            let token = Arc::new(());
            let of_interval = Tick { _token: Arc::clone(&token) };
            let of_timer = of_interval.clone();
            a.run(move |_, ctx| {
                ctx.send_interval(ms(2), of_interval);
                ctx.send_after(ms(600_000), of_timer);
            })
            .await;
            a.until("a tick", |a| !a.events().is_empty()).await;
            if killed {
                node.kill(a.pid);
            } else {
                a.stop();
            }
            a.ended().await;
            eventually("the timers' messages are gone", || async {
                Arc::strong_count(&token) == 1
            })
            .await;
        }
    });
}

// send_after/3 with the pid of another process: it gets the message once, not before its time.
#[test]
fn a_timer_may_be_set_for_another_process() {
    at_every_distance(async |near: &Node, far: &Node| {
        let b = Proc::new(far);
        let started = Instant::now();
        near.send_after(ms(30), b.pid, Note(1)).unwrap();
        let later = near.send_after(ms(60_000), b.pid, Note(2)).unwrap();
        b.until("the message", |b| !b.events().is_empty()).await;
        assert!(started.elapsed() >= ms(29));
        // cancel_timer/1: the time that was left, and nothing for one that is gone.
        let left = near.cancel_timer(later).unwrap();
        assert!(left > ms(30_000) && left <= ms(60_000), "{left:?}");
        assert_eq!(near.cancel_timer(later), None);
        reach(&Proc::new(near), &b).await;
        assert_eq!(b.events(), [Event::Note(1)]);
    });
}

// send_after/3 for a process that ends before: no message, no harm, and no timer is left to cancel.
#[test]
fn a_timer_for_the_dead_is_no_error() {
    at_every_distance(async |near: &Node, far: &Node| {
        let b = Proc::new(far);
        b.stop();
        b.ended().await;
        let timer = near.send_after(ms(5), b.pid, Note(1)).unwrap();
        let witness = Proc::new(far);
        near.send_after(ms(20), witness.pid, Note(2)).unwrap();
        witness.until("the later message", |witness| !witness.events().is_empty()).await;
        assert_eq!(near.cancel_timer(timer), None);
    });
}

// send_after/4 is set by whoever calls it and outlives the caller: the message still comes.
#[test]
fn a_timer_for_another_process_outlives_the_one_that_set_it() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::new(far));
        let pid = b.pid;
        a.run(move |_, ctx| ctx.node().send_after(ms(30), pid, Note(1)).map(drop)).await.unwrap();
        a.stop();
        a.ended().await;
        b.until("the message", |b| b.events() == [Event::Note(1)]).await;
    });
}

// Processes, Receiving Signals: a timer's message waits its turn behind what is in the queue.
#[test]
fn a_timers_message_goes_to_the_end_of_the_queue() {
    on_one_node(async |node: &Node| {
        use actix::{ActorFutureExt as _, AsyncContext as _, WrapFuture as _};
        let a = Proc::new(node);
        // Sent while the actor is busy, and before its timer runs out.
        a.run(|probe, ctx| {
            ctx.send_after(ms(30), Note(2));
            let busy =
                tokio::time::sleep(ms(60)).into_actor(probe).map(|(), probe: &mut Probe, _| {
                    probe.write(Event::Note(0));
                });
            ctx.wait(busy);
        })
        .await;
        a.addr.do_send(Note(1));
        a.until("three messages", |a| a.events().len() == 3).await;
        assert_eq!(a.events(), [Event::Note(0), Event::Note(1), Event::Note(2)]);
    });
}
