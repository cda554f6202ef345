//! Messages: sent, told and asked, to the living and the dead, to empty and full mailboxes.

use actix::{ActorFutureExt, AsyncContext, WrapFuture};
use fedist_actors::{DropReason, Node, PidSend, PingTarget, RegionAddr, SendError};
use fedist_registry::RegionPid;
use tokio::sync::oneshot;

use crate::{
    probe::*,
    support::*,
    table::{debug, name_of},
};

/// The reason of a refused tell.
fn refused<M>(outcome: Result<(), SendError<M>>) -> String {
    outcome.map_or_else(|error| debug(error.reason()), |()| "Ok(())".to_owned())
}

async fn notes(near: &Node, pid: RegionPid) -> String {
    name_of(pid.send(near, Notes).await).trim_start_matches("Ok(").trim_end_matches(')').to_owned()
}

fn book(far: &Node) -> RegionPid {
    let addr = far.spawn(Notebook::default()).unwrap();
    far.export(&addr).handles::<Note>().handles::<Notes>().handles::<Crash>().publish().unwrap()
}

pub(crate) async fn do_send(near: &Node, far: &Node) -> String {
    let pid = book(far);
    pid.do_send(near, Note(1));
    notes(near, pid).await
}

pub(crate) async fn try_send(near: &Node, far: &Node) -> String {
    let pid = book(far);
    let outcome = refused(pid.try_send(near, Note(1)));
    format!("{outcome}, {}", notes(near, pid).await)
}

pub(crate) async fn tell(near: &Node, far: &Node) -> String {
    let pid = book(far);
    let outcome = refused(pid.tell(near, Note(1)).await);
    format!("{outcome}, {}", notes(near, pid).await)
}

pub(crate) async fn send(near: &Node, far: &Node) -> String {
    let pid = book(far);
    pid.do_send(near, Note(1));
    name_of(pid.send(near, Notes).await)
}

pub(crate) async fn send_by_region_addr(near: &Node, far: &Node) -> String {
    let addr: RegionAddr<Notebook> = near.address(book(far));
    addr.do_send(Note(1));
    name_of(addr.send(Notes).await)
}

pub(crate) async fn send_by_recipient(near: &Node, far: &Node) -> String {
    let pid = book(far);
    let outcome = refused(pid.recipient::<Note>(near).tell(Note(1)).await);
    format!("{outcome}, {}", notes(near, pid).await)
}

/// A process that handles nothing until the returned sender is used or dropped.
async fn busy(node: &Node) -> (Proc, oneshot::Sender<()>) {
    busy_then(node, || ()).await
}

/// The same with a deed at the end of the wait.
async fn busy_then(node: &Node, deed: fn()) -> (Proc, oneshot::Sender<()>) {
    let busy = Proc::new(node);
    let (go_on, may_go_on) = oneshot::channel::<()>();
    busy.run(move |probe, ctx| {
        ctx.wait(may_go_on.into_actor(probe).map(move |_, _, _| deed()));
    })
    .await;
    (busy, go_on)
}

pub(crate) async fn send_past_its_deadline(near: &Node, far: &Node) -> String {
    let (busy, _go_on) = busy(far).await;
    name_of(busy.pid.send(near, Sync).deadline(ms(50)).await)
}

pub(crate) async fn send_to_nobody(near: &Node, far: &Node) -> String {
    name_of(nobody(far).send(near, Notes).await)
}

pub(crate) async fn send_to_one_that_panics(near: &Node, far: &Node) -> String {
    let (busy, go_on) = busy_then(far, || panic!("a bug")).await;
    let asked = busy.pid.send(near, Sync).into_future();
    let panics = async {
        // Once the question is in the mailbox.
        far_knows(near, &busy).await;
        let _ = go_on.send(());
    };
    let (answer, ()) = tokio::join!(asked, panics);
    name_of(answer)
}

pub(crate) async fn send_to_one_that_is_killed(near: &Node, far: &Node) -> String {
    let (busy, _go_on) = busy(far).await;
    let asked = busy.pid.send(near, Sync).into_future();
    let killed = async {
        far_knows(near, &busy).await;
        far.kill(busy.pid);
    };
    let (answer, ()) = tokio::join!(asked, killed);
    name_of(answer)
}

/// Waits until what `near` has sent to `to`'s node before has arrived there.
async fn far_knows(near: &Node, to: &Proc) {
    reach(&Proc::new(near), &Proc::new(&to.node)).await;
}

pub(crate) async fn do_send_to_nobody(near: &Node, far: &Node) -> String {
    let nobody = nobody(far);
    nobody.do_send(near, Note(1));
    let reasons = || {
        let letters = near.dead_letters().into_iter().filter(|letter| letter.to == nobody);
        letters.map(|letter| letter.reason).collect::<Vec<DropReason>>()
    };
    eventually("it is noted", || async { !reasons().is_empty() }).await;
    debug(reasons())
}

/// Sends numbers until one is refused; how many were accepted, and the refusal.
async fn flood(near: &Node, to: RegionPid) -> (u64, String) {
    let mut accepted = 0;
    loop {
        match to.try_send(near, Note(accepted)) {
            Ok(()) => accepted += 1,
            Err(error) => return (accepted, debug(error.reason())),
        }
        if accepted % 32 == 0 {
            tokio::time::sleep(ms(1)).await;
        }
    }
}

/// Waits until `count` numbers have come, and says whether they are in order.
async fn came_in_order(proc: &Proc, count: u64) -> bool {
    proc.until("all have come", |proc| proc.events().len() as u64 >= count).await;
    proc.events().into_iter().eq((0..count).map(Event::Note))
}

pub(crate) async fn try_send_to_a_full_mailbox(near: &Node, far: &Node) -> String {
    let (busy, go_on) = busy(far).await;
    let (accepted, refusal) = flood(near, busy.pid).await;
    let _ = go_on.send(());
    let order = if came_in_order(&busy, accepted).await { "in order" } else { "in disorder" };
    format!("{refusal}, and what was accepted came {order}")
}

pub(crate) async fn tell_to_a_full_mailbox(near: &Node, far: &Node) -> String {
    let (busy, go_on) = busy(far).await;
    let (accepted, _) = flood(near, busy.pid).await;
    let tell = busy.pid.tell(near, Note(accepted));
    let mut tell = std::pin::pin!(tell);
    let waits = tokio::time::timeout(ms(50), &mut tell).await.is_err();
    let _ = go_on.send(());
    if waits {
        tell.await.unwrap();
    }
    let order = if came_in_order(&busy, accepted + 1).await { "in order" } else { "in disorder" };
    format!("{}, and all came {order}", if waits { "waits" } else { "did not wait" })
}

pub(crate) async fn send_to_a_full_mailbox(near: &Node, far: &Node) -> String {
    let (busy, go_on) = busy(far).await;
    let (accepted, _) = flood(near, busy.pid).await;
    let ask = busy.pid.send(near, Sync).deadline(ms(15_000)).into_future();
    let mut ask = std::pin::pin!(ask);
    let waits = tokio::time::timeout(ms(50), &mut ask).await.is_err();
    let _ = go_on.send(());
    let answer = ask.await;
    format!(
        "{}, and {}",
        if waits { "waits" } else { "did not wait" },
        if answer == Ok(accepted) {
            "is answered behind the others".to_owned()
        } else {
            debug(answer)
        }
    )
}

pub(crate) async fn undelivered(near: &Node, far: &Node) -> String {
    let (a, nobody) = (Proc::new(near), nobody(far));
    a.run(move |_, ctx| {
        ctx.notify_undelivered::<Note>();
        nobody.do_send(ctx.node(), Note(1));
    })
    .await;
    a.until("it is told", |a| !a.events().is_empty()).await;
    settle(&a, &Proc::new(far)).await;
    match &a.events()[..] {
        [Event::Undelivered(to, reason)] if *to == nobody => format!("once, {reason:?}"),
        other => debug(other),
    }
}

pub(crate) async fn send_after(near: &Node, far: &Node) -> String {
    let b = Proc::new(far);
    near.send_after(ms(20), b.pid, Note(1)).unwrap();
    let later = near.send_after(ms(60_000), b.pid, Note(2)).unwrap();
    b.until("the message", |b| !b.events().is_empty()).await;
    let cancelled = near.cancel_timer(later).is_some();
    let again = near.cancel_timer(later).is_some();
    reach(&Proc::new(near), &b).await;
    format!("{:?}, cancelled {cancelled}, again {again}", b.events())
}

pub(crate) async fn ping(near: &Node, far: &Node) -> String {
    let b = Proc::new(far);
    let alive = async || {
        let pong = near.ping(PingTarget::Actor(b.pid), ms(15_000)).await;
        pong.map(|pong| pong.echo.alive)
    };
    let before = alive().await;
    b.stop();
    b.ended().await;
    format!("{before:?}, then {:?}", alive().await)
}
