//! Priority messages. Pages: OTP 28's "Processes", section on priority messages; erlang:monitor/3, option `priority`.

use actix::{ActorFutureExt, AsyncContext, WrapFuture};
use fedist_actors::{Node, PidSend};
use tokio::sync::oneshot;

use crate::{probe::*, support::Note};

/// Has `busy` handle nothing until the returned sender is used.
async fn hold_up(busy: &Proc) -> oneshot::Sender<()> {
    let (go_on, may_go_on) = oneshot::channel::<()>();
    busy.run(move |probe, ctx| ctx.wait(may_go_on.into_actor(probe).map(|_, _, _| ()))).await;
    go_on
}

// Priority messages: they go before the ordinary ones that wait, and keep their order among themselves.
#[test]
fn priority_messages_go_before_those_that_wait() {
    at_every_distance(async |near: &Node, far: &Node| {
        let b = Proc::new(far);
        let go_on = hold_up(&b).await;
        for number in 10..13 {
            b.pid.tell(near, Note(number)).await.unwrap();
        }
        reach(&Proc::new(near), &Proc::new(far)).await;
        for number in 0..3 {
            b.addr.send_priority(Note(number)).unwrap();
        }
        go_on.send(()).unwrap();
        b.until("all", |b| b.events().len() == 6).await;
        let expected = [0, 1, 2, 10, 11, 12].map(Event::Note);
        assert_eq!(b.events(), expected);
    });
}

// Priority messages: one sent to the dead is handed back.
#[test]
fn a_priority_message_to_the_dead_comes_back() {
    at_every_distance(async |_, far: &Node| {
        let b = Proc::new(far);
        b.stop();
        b.ended().await;
        let back = b.addr.send_priority(Note(7)).map_err(|error| error.into_message().0);
        assert_eq!(back, Err(7));
    });
}

// monitor/3 with `priority`: the 'DOWN' passes what waits, also what the dead had sent itself.
#[test]
fn a_priority_monitor_passes_what_waits() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::new(far));
        let pid = b.pid;
        let monitor = a.run(move |_, ctx| ctx.monitor_priority(pid)).await;
        reach(&a, &b).await;
        let go_on = hold_up(&a).await;
        let to = a.pid;
        b.cast(move |_, ctx| {
            for number in 0..3 {
                to.do_send(ctx.node(), Note(number));
            }
            ctx.exit(custom("over"));
        });
        b.ended().await;
        let plain = near.monitor(b.pid);
        within("the end is known here", plain).await;
        go_on.send(()).unwrap();
        a.until("all", |a| a.events().len() == 4).await;
        let mut expected = vec![Event::Down(monitor, b.pid, custom("over"))];
        expected.extend((0..3).map(Event::Note));
        assert_eq!(a.events(), expected);
    });
}

// demonitor/2 with `flush` works for such monitors too.
#[test]
fn a_priority_monitor_can_be_taken_back() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::new(far));
        let pid = b.pid;
        let monitor = a.run(move |_, ctx| ctx.monitor_priority(pid)).await;
        assert!(a.demonitor(monitor).await);
        assert!(!a.demonitor(monitor).await);
        b.stop();
        b.ended().await;
        settle(&a, &b).await;
        assert!(a.events().is_empty());
    });
}
