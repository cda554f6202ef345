//! Life and death: monitors, links, exit signals.

use fedist_actors::{ExitReason, Node, PidSend};

use crate::{probe::*, support::Note, table::debug};

/// The reason that a monitor of `near` tells for the end of a process of `far`.
async fn monitored(near: &Node, far: &Node, end: impl AsyncFn(&Proc, &Proc)) -> String {
    let (a, b) = (Proc::new(near), Proc::new(far));
    let monitor = a.monitor(&b).await;
    end(&a, &b).await;
    a.until("the Down", |a| !a.events().is_empty()).await;
    settle(&a, &b).await;
    match &a.events()[..] {
        [Event::Down(of, pid, reason)] if *of == monitor && *pid == b.pid => debug(reason),
        other => debug(other),
    }
}

pub(crate) async fn monitor_stop(near: &Node, far: &Node) -> String {
    monitored(near, far, async |_, b: &Proc| b.stop()).await
}

pub(crate) async fn monitor_panic(near: &Node, far: &Node) -> String {
    monitored(near, far, async |_, b: &Proc| b.crash("a bug")).await
}

pub(crate) async fn monitor_kill(near: &Node, far: &Node) -> String {
    monitored(near, far, async |a: &Proc, b: &Proc| a.kill(b).await).await
}

pub(crate) async fn monitor_exit(near: &Node, far: &Node) -> String {
    monitored(near, far, async |_, b: &Proc| b.exit(custom("mine"))).await
}

pub(crate) async fn monitor_nobody(near: &Node, far: &Node) -> String {
    let a = Proc::new(near);
    let nobody = nobody(far);
    let monitor = a.run(move |_, ctx| ctx.monitor(nobody)).await;
    a.until("the Down", |a| !a.events().is_empty()).await;
    match &a.downs()[..] {
        [(of, reason)] if *of == monitor => debug(reason),
        other => debug(other),
    }
}

pub(crate) async fn monitor_in_plain_code(near: &Node, far: &Node) -> String {
    let b = Proc::new(far);
    let monitor = near.monitor(b.pid);
    reach(&Proc::new(near), &b).await;
    b.exit(ExitReason::Shutdown);
    debug(monitor.await.reason)
}

pub(crate) async fn monitor_twice(near: &Node, far: &Node) -> String {
    let (a, b) = (Proc::new(near), Proc::new(far));
    a.monitor(&b).await;
    a.monitor(&b).await;
    b.stop();
    a.until("both", |a| a.downs().len() == 2).await;
    settle(&a, &b).await;
    debug(a.downs().into_iter().map(|down| down.1).collect::<Vec<_>>())
}

pub(crate) async fn demonitor(near: &Node, far: &Node) -> String {
    let (a, b) = (Proc::new(near), Proc::new(far));
    let monitor = a.monitor(&b).await;
    let (first, second) = (a.demonitor(monitor).await, a.demonitor(monitor).await);
    b.stop();
    b.ended().await;
    settle(&a, &b).await;
    let down = if a.events().is_empty() { "no Down".to_owned() } else { debug(a.events()) };
    format!("{first}, then {second}, and {down}")
}

pub(crate) async fn link(near: &Node, far: &Node) -> String {
    let (a, b) = (Proc::new(near), Proc::new(far));
    a.link(&b).await;
    b.exit(custom("over"));
    let forth = a.ended().await;
    let (a, b) = (Proc::new(near), Proc::new(far));
    a.link(&b).await;
    a.exit(custom("over"));
    let back = b.ended().await;
    if forth == back { format!("{forth:?}, both ways") } else { format!("{forth:?}, {back:?}") }
}

fn trapped(proc: &Proc) -> String {
    debug(proc.exits().into_iter().map(|exit| exit.1).collect::<Vec<_>>())
}

pub(crate) async fn link_trapped(near: &Node, far: &Node) -> String {
    let (a, b) = (Proc::trapping(near).await, Proc::new(far));
    a.link(&b).await;
    b.exit(custom("over"));
    a.until("the exit signal", |a| !a.exits().is_empty()).await;
    settle(&a, &b).await;
    trapped(&a)
}

pub(crate) async fn link_nobody(near: &Node, far: &Node) -> String {
    let a = Proc::trapping(near).await;
    let nobody = nobody(far);
    a.run(move |_, ctx| ctx.link(nobody)).await;
    a.until("the exit signal", |a| !a.exits().is_empty()).await;
    trapped(&a)
}

async fn life(proc: &Proc) -> String {
    if proc.alive().await { "alive".to_owned() } else { debug(proc.ended().await) }
}

pub(crate) async fn unlink(near: &Node, far: &Node) -> String {
    let (a, b) = (Proc::new(near), Proc::new(far));
    a.link(&b).await;
    a.unlink(&b).await;
    b.exit(custom("over"));
    b.ended().await;
    settle(&a, &b).await;
    life(&a).await
}

pub(crate) async fn exit(near: &Node, far: &Node) -> String {
    let (a, b) = (Proc::new(near), Proc::new(far));
    a.signal(&b, custom("go")).await;
    debug(b.ended().await)
}

pub(crate) async fn exit_shutdown(near: &Node, far: &Node) -> String {
    let (a, b) = (Proc::new(near), Proc::new(far));
    a.signal(&b, ExitReason::Shutdown).await;
    debug(b.ended().await)
}

pub(crate) async fn exit_normal(near: &Node, far: &Node) -> String {
    let (a, b) = (Proc::new(near), Proc::new(far));
    a.signal(&b, ExitReason::Normal).await;
    settle(&a, &b).await;
    life(&b).await
}

pub(crate) async fn exit_trapped(near: &Node, far: &Node) -> String {
    let (a, b) = (Proc::new(near), Proc::trapping(far).await);
    a.signal(&b, custom("go")).await;
    b.until("the exit signal", |b| !b.exits().is_empty()).await;
    settle(&a, &b).await;
    trapped(&b)
}

pub(crate) async fn kill(near: &Node, far: &Node) -> String {
    let (a, b) = (Proc::new(near), Proc::new(far));
    a.kill(&b).await;
    debug(b.ended().await)
}

pub(crate) async fn kill_a_trapping_one(near: &Node, far: &Node) -> String {
    let (a, b) = (Proc::new(near), Proc::trapping(far).await);
    a.kill(&b).await;
    format!("{:?}, trapped {}", b.ended().await, trapped(&b))
}

pub(crate) async fn kill_through_a_link(near: &Node, far: &Node) -> String {
    let (a, b) = (Proc::new(near), Proc::new(far));
    a.link(&b).await;
    far.kill(b.pid);
    debug(a.ended().await)
}

pub(crate) async fn order_of_signals(near: &Node, far: &Node) -> String {
    let (a, b) = (Proc::trapping(near).await, Proc::new(far));
    a.link(&b).await;
    a.monitor(&b).await;
    let pid = a.pid;
    b.cast(move |_, ctx| {
        for number in 0..20 {
            pid.do_send(ctx.node(), Note(number));
        }
        ctx.exit(custom("over"));
    });
    a.until("all", |a| a.events().len() >= 22).await;
    let events = a.events();
    let notes_first = events[..20].iter().cloned().eq((0..20).map(Event::Note));
    match &events[20..] {
        // Which of the two comes first is not promised.
        [Event::Exit(..), Event::Down(..)] | [Event::Down(..), Event::Exit(..)] if notes_first => {
            "notes, then the exit signal and the Down".to_owned()
        }
        _ => debug(events),
    }
}
