//! The table: each verb, what it does between two nodes, and the one outcome it must have.

use std::{fmt::Debug, time::Instant};

use actix::{ActorFutureExt, AsyncContext, WrapFuture};
use fedist_actors::{
    AskError, DropReason, ExitReason, ExportError, LookupError, Node, PidSend, RegionAddr,
    SendError,
};
use fedist_registry::RegionPid;
use futures_util::future::{FutureExt, LocalBoxFuture};
use tokio::sync::oneshot;

use crate::{probe::*, support::*};

/// One line of the table.
pub(crate) struct Verb {
    pub(crate) name: &'static str,
    pub(crate) act: for<'a> fn(&'a Node, &'a Node) -> LocalBoxFuture<'a, String>,
    pub(crate) outcome: &'static str,
}

macro_rules! table {
    ($($(#[$_:meta])* $verb:ident => $outcome:literal,)*) => {
        /// Every verb.
        pub(crate) const TABLE: &[Verb] = &[$(Verb {
            name: stringify!($verb),
            act: |near, far| $verb(near, far).boxed_local(),
            outcome: $outcome,
        },)*];
    };
}

table! {
    // Messages.
    do_send => "[1]",
    try_send => "Ok(()), [1]",
    tell => "Ok(()), [1]",
    send => "Ok([1])",
    send_by_region_addr => "Ok([1])",
    send_by_recipient => "Ok(()), [1]",
    send_past_its_deadline => "Timeout(50ms)",
    send_to_nobody => "NoActor",
    send_to_one_that_panics => "NoReply",
    send_to_one_that_is_killed => "NoReply",
    do_send_to_nobody => "[NoActor]",
    try_send_to_a_full_mailbox => "Full, and what was accepted came in order",
    tell_to_a_full_mailbox => "waits, and all came in order",
    send_to_a_full_mailbox => "waits, and is answered behind the others",

    // Monitors.
    monitor_stop => "Normal",
    monitor_panic => "Panicked(\"a bug\")",
    monitor_kill => "Killed",
    monitor_exit => "Custom(\"mine\")",
    monitor_nobody => "NoActor",
    monitor_in_plain_code => "Shutdown",
    monitor_twice => "[Normal, Normal]",
    demonitor => "true, then false, and no Down",

    // Links and exit signals.
    link => "Custom(\"over\"), both ways",
    link_trapped => "[Custom(\"over\")]",
    link_nobody => "[NoActor]",
    unlink => "alive",
    exit => "Custom(\"go\")",
    exit_shutdown => "Shutdown",
    exit_normal => "alive",
    exit_trapped => "[Custom(\"go\")]",
    kill => "Killed",
    kill_a_trapping_one => "Killed, trapped []",
    kill_through_a_link => "Killed",
    order_of_signals => "notes, then the exit signal and the Down",

    // Names.
    name_and_whereis => "found",
    whereis_unknown => "NotFound",
    whereis_after_its_end => "NotFound",
    name_taken => "NameTaken",
    lookup => "Ok([1])",
}

/// Runs one line and says what is wrong, if anything is.
pub(crate) async fn check(verb: &Verb, near: &Node, far: &Node) -> Result<(), String> {
    let started = Instant::now();
    let outcome = within(verb.name, (verb.act)(near, far)).await;
    let (from, to) = (near.region(), far.region());
    println!("{} from {from} to {to} took {} ms", verb.name, started.elapsed().as_millis());
    if outcome == verb.outcome {
        return Ok(());
    }
    Err(format!("{} from {from} to {to}: {outcome}, not {}", verb.name, verb.outcome))
}

fn debug(value: impl Debug) -> String {
    format!("{value:?}")
}

/// The reason of a failed ask, without pids.
fn name_of<T: Debug>(outcome: Result<T, AskError>) -> String {
    match outcome {
        Ok(answer) => format!("Ok({answer:?})"),
        Err(AskError::NoActor(_)) => "NoActor".to_owned(),
        Err(AskError::NoReply(_)) => "NoReply".to_owned(),
        Err(other) => debug(other),
    }
}

/// The reason of a refused tell.
fn refused<M>(outcome: Result<(), SendError<M>>) -> String {
    outcome.map_or_else(|error| debug(error.reason()), |()| "Ok(())".to_owned())
}

// ---- messages ----------------------------------------------------------------------------------

async fn notes(near: &Node, pid: RegionPid) -> String {
    name_of(pid.send(near, Notes).await).trim_start_matches("Ok(").trim_end_matches(')').to_owned()
}

fn book(far: &Node) -> RegionPid {
    let addr = far.spawn(Notebook::default()).unwrap();
    far.export(&addr).handles::<Note>().handles::<Notes>().handles::<Crash>().publish().unwrap()
}

async fn do_send(near: &Node, far: &Node) -> String {
    let pid = book(far);
    pid.do_send(near, Note(1));
    notes(near, pid).await
}

async fn try_send(near: &Node, far: &Node) -> String {
    let pid = book(far);
    let outcome = refused(pid.try_send(near, Note(1)));
    format!("{outcome}, {}", notes(near, pid).await)
}

async fn tell(near: &Node, far: &Node) -> String {
    let pid = book(far);
    let outcome = refused(pid.tell(near, Note(1)).await);
    format!("{outcome}, {}", notes(near, pid).await)
}

async fn send(near: &Node, far: &Node) -> String {
    let pid = book(far);
    pid.do_send(near, Note(1));
    name_of(pid.send(near, Notes).await)
}

async fn send_by_region_addr(near: &Node, far: &Node) -> String {
    let addr: RegionAddr<Notebook> = near.address(book(far));
    addr.do_send(Note(1));
    name_of(addr.send(Notes).await)
}

async fn send_by_recipient(near: &Node, far: &Node) -> String {
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

async fn send_past_its_deadline(near: &Node, far: &Node) -> String {
    let (busy, _go_on) = busy(far).await;
    name_of(busy.pid.send(near, Sync).deadline(ms(50)).await)
}

async fn send_to_nobody(near: &Node, far: &Node) -> String {
    name_of(nobody(far).send(near, Notes).await)
}

async fn send_to_one_that_panics(near: &Node, far: &Node) -> String {
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

async fn send_to_one_that_is_killed(near: &Node, far: &Node) -> String {
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

async fn do_send_to_nobody(near: &Node, far: &Node) -> String {
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

async fn try_send_to_a_full_mailbox(near: &Node, far: &Node) -> String {
    let (busy, go_on) = busy(far).await;
    let (accepted, refusal) = flood(near, busy.pid).await;
    let _ = go_on.send(());
    let order = if came_in_order(&busy, accepted).await { "in order" } else { "in disorder" };
    format!("{refusal}, and what was accepted came {order}")
}

async fn tell_to_a_full_mailbox(near: &Node, far: &Node) -> String {
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

async fn send_to_a_full_mailbox(near: &Node, far: &Node) -> String {
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

// ---- monitors ----------------------------------------------------------------------------------

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

async fn monitor_stop(near: &Node, far: &Node) -> String {
    monitored(near, far, async |_, b: &Proc| b.stop()).await
}

async fn monitor_panic(near: &Node, far: &Node) -> String {
    monitored(near, far, async |_, b: &Proc| b.crash("a bug")).await
}

async fn monitor_kill(near: &Node, far: &Node) -> String {
    monitored(near, far, async |a: &Proc, b: &Proc| a.kill(b).await).await
}

async fn monitor_exit(near: &Node, far: &Node) -> String {
    monitored(near, far, async |_, b: &Proc| b.exit(custom("mine"))).await
}

async fn monitor_nobody(near: &Node, far: &Node) -> String {
    let a = Proc::new(near);
    let nobody = nobody(far);
    let monitor = a.run(move |_, ctx| ctx.monitor(nobody)).await;
    a.until("the Down", |a| !a.events().is_empty()).await;
    match &a.downs()[..] {
        [(of, reason)] if *of == monitor => debug(reason),
        other => debug(other),
    }
}

async fn monitor_in_plain_code(near: &Node, far: &Node) -> String {
    let b = Proc::new(far);
    let monitor = near.monitor(b.pid);
    reach(&Proc::new(near), &b).await;
    b.exit(ExitReason::Shutdown);
    debug(monitor.await.reason)
}

async fn monitor_twice(near: &Node, far: &Node) -> String {
    let (a, b) = (Proc::new(near), Proc::new(far));
    a.monitor(&b).await;
    a.monitor(&b).await;
    b.stop();
    a.until("both", |a| a.downs().len() == 2).await;
    settle(&a, &b).await;
    debug(a.downs().into_iter().map(|down| down.1).collect::<Vec<_>>())
}

async fn demonitor(near: &Node, far: &Node) -> String {
    let (a, b) = (Proc::new(near), Proc::new(far));
    let monitor = a.monitor(&b).await;
    let (first, second) = (a.demonitor(monitor).await, a.demonitor(monitor).await);
    b.stop();
    b.ended().await;
    settle(&a, &b).await;
    let down = if a.events().is_empty() { "no Down".to_owned() } else { debug(a.events()) };
    format!("{first}, then {second}, and {down}")
}

// ---- links and exit signals --------------------------------------------------------------------

async fn link(near: &Node, far: &Node) -> String {
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

async fn link_trapped(near: &Node, far: &Node) -> String {
    let (a, b) = (Proc::trapping(near).await, Proc::new(far));
    a.link(&b).await;
    b.exit(custom("over"));
    a.until("the exit signal", |a| !a.exits().is_empty()).await;
    settle(&a, &b).await;
    trapped(&a)
}

async fn link_nobody(near: &Node, far: &Node) -> String {
    let a = Proc::trapping(near).await;
    let nobody = nobody(far);
    a.run(move |_, ctx| ctx.link(nobody)).await;
    a.until("the exit signal", |a| !a.exits().is_empty()).await;
    trapped(&a)
}

async fn life(proc: &Proc) -> String {
    if proc.alive().await { "alive".to_owned() } else { debug(proc.ended().await) }
}

async fn unlink(near: &Node, far: &Node) -> String {
    let (a, b) = (Proc::new(near), Proc::new(far));
    a.link(&b).await;
    a.unlink(&b).await;
    b.exit(custom("over"));
    b.ended().await;
    settle(&a, &b).await;
    life(&a).await
}

async fn exit(near: &Node, far: &Node) -> String {
    let (a, b) = (Proc::new(near), Proc::new(far));
    a.signal(&b, custom("go")).await;
    debug(b.ended().await)
}

async fn exit_shutdown(near: &Node, far: &Node) -> String {
    let (a, b) = (Proc::new(near), Proc::new(far));
    a.signal(&b, ExitReason::Shutdown).await;
    debug(b.ended().await)
}

async fn exit_normal(near: &Node, far: &Node) -> String {
    let (a, b) = (Proc::new(near), Proc::new(far));
    a.signal(&b, ExitReason::Normal).await;
    settle(&a, &b).await;
    life(&b).await
}

async fn exit_trapped(near: &Node, far: &Node) -> String {
    let (a, b) = (Proc::new(near), Proc::trapping(far).await);
    a.signal(&b, custom("go")).await;
    b.until("the exit signal", |b| !b.exits().is_empty()).await;
    settle(&a, &b).await;
    trapped(&b)
}

async fn kill(near: &Node, far: &Node) -> String {
    let (a, b) = (Proc::new(near), Proc::new(far));
    a.kill(&b).await;
    debug(b.ended().await)
}

async fn kill_a_trapping_one(near: &Node, far: &Node) -> String {
    let (a, b) = (Proc::new(near), Proc::trapping(far).await);
    a.kill(&b).await;
    format!("{:?}, trapped {}", b.ended().await, trapped(&b))
}

async fn kill_through_a_link(near: &Node, far: &Node) -> String {
    let (a, b) = (Proc::new(near), Proc::new(far));
    a.link(&b).await;
    far.kill(b.pid);
    debug(a.ended().await)
}

async fn order_of_signals(near: &Node, far: &Node) -> String {
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

// ---- names -------------------------------------------------------------------------------------

fn path(far: &Node, name: &str) -> String {
    format!("{}/{name}", far.region())
}

fn whereis_name(outcome: &Result<RegionPid, LookupError>, expected: RegionPid) -> String {
    match outcome {
        Ok(pid) if *pid == expected => "found".to_owned(),
        Ok(_) => "found another".to_owned(),
        Err(LookupError::NotFound { .. }) => "NotFound".to_owned(),
        Err(other) => debug(other),
    }
}

async fn name_and_whereis(near: &Node, far: &Node) -> String {
    let b = Proc::new(far);
    far.export(&b.addr).name("a name").publish().unwrap();
    let outcome = whereis_name(&near.whereis(&path(far, "a name")).await, b.pid);
    b.stop();
    b.ended().await;
    outcome
}

async fn whereis_unknown(near: &Node, far: &Node) -> String {
    whereis_name(&near.whereis(&path(far, "nobody's name")).await, nobody(far))
}

async fn whereis_after_its_end(near: &Node, far: &Node) -> String {
    let (a, b) = (Proc::new(near), Proc::new(far));
    far.export(&b.addr).name("short").publish().unwrap();
    assert!(near.whereis(&path(far, "short")).await.is_ok());
    a.monitor(&b).await;
    b.crash("a bug");
    a.until("the Down", |a| !a.downs().is_empty()).await;
    whereis_name(&near.whereis(&path(far, "short")).await, b.pid)
}

async fn name_taken(near: &Node, far: &Node) -> String {
    let (b, other) = (Proc::new(far), Proc::new(far));
    far.export(&b.addr).name("taken").publish().unwrap();
    let outcome = match far.export(&other.addr).name("taken").publish() {
        Err(ExportError::NameTaken { .. }) => "NameTaken".to_owned(),
        outcome => debug(outcome),
    };
    let found = whereis_name(&near.whereis(&path(far, "taken")).await, b.pid);
    b.stop();
    b.ended().await;
    if found == "found" { outcome } else { found }
}

async fn lookup(near: &Node, far: &Node) -> String {
    let addr = far.spawn(Notebook::default()).unwrap();
    let export = far.export(&addr).handles::<Note>().handles::<Notes>();
    let pid = export.name("looked up").publish().unwrap();
    let found: RegionAddr<Notebook> = near.lookup(&path(far, "looked up")).await.unwrap();
    found.do_send(Note(1));
    let outcome = name_of(found.send(Notes).await);
    far.kill(pid);
    far.monitor(pid).await;
    outcome
}
