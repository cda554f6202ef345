//! The loop that runs an actor: what has priority, then the mailbox, then its own futures.

use std::{
    future::poll_fn,
    task::{Context as TaskContext, Poll},
};

use super::{Context, Next, woken::Woken};
use crate::{ExitReason, mailbox::MailboxReceiver, process::while_blocking};
use actix::{Actor, ActorState, Running, dev::EnvelopeProxy};

/// An actor and what it lives with, in one allocation: as values of the future below they would take its place two and three
/// times over.
pub(crate) struct Living<A: Actor<Context = Context<A>>, F> {
    mailbox: MailboxReceiver<A>,
    ctx: Context<A>,
    actor: Seat<A, F>,
}

enum Seat<A, F> {
    ToBeMade(F),
    Empty,
    Taken(A),
}

impl<A: Actor<Context = Context<A>>, F> Living<A, F> {
    pub(crate) fn new(ctx: Context<A>, mailbox: MailboxReceiver<A>, make: F) -> Box<Self> {
        Box::new(Self { mailbox, ctx, actor: Seat::ToBeMade(make) })
    }
}

/// Makes an actor and runs it until it stops itself; an exit signal drops this future between two polls.
///
/// An asynchronous handler is awaited right here, where it can borrow the actor.
pub(crate) async fn run<A, F>(mut living: Box<Living<A, F>>) -> ExitReason
where
    A: Actor<Context = Context<A>>,
    F: FnOnce(&mut Context<A>) -> A,
{
    let Living { mailbox, ctx, actor: seat } = &mut *living;
    if let Seat::ToBeMade(make) = std::mem::replace(seat, Seat::Empty) {
        *seat = Seat::Taken(make(ctx));
    }
    let Seat::Taken(actor) = seat else {
        return ExitReason::Normal;
    };
    if ctx.state == ActorState::Started {
        ctx.state = ActorState::Running;
    }
    actor.started(ctx);
    loop {
        match poll_fn(|cx| step(actor, ctx, mailbox, cx)).await {
            Step::Run(next) => {
                let mut handler = next(actor, ctx);
                poll_fn(|cx| while_blocking(|| handler.as_mut().poll(cx))).await;
            }
            Step::Done => {
                let exit = ctx.seldom.take().and_then(|seldom| seldom.exit);
                return exit.unwrap_or(ExitReason::Normal);
            }
        }
    }
}

enum Step<A: Actor<Context = Context<A>>> {
    Run(Next<A>),
    Done,
}

fn step<A: Actor<Context = Context<A>>>(
    actor: &mut A,
    ctx: &mut Context<A>,
    mailbox: &mut MailboxReceiver<A>,
    cx: &mut TaskContext<'_>,
) -> Poll<Step<A>> {
    let mut budget = BUDGET;
    loop {
        if ctx.cell.has_exit() {
            // Whoever polls this sees it too and ends the actor.
            return Poll::Pending;
        }
        if let Some(next) = ctx.next.take() {
            return Poll::Ready(Step::Run(next));
        }
        match ctx.state {
            ActorState::Stopped => {
                actor.stopped(ctx);
                return Poll::Ready(Step::Done);
            }
            ActorState::Stopping => {
                ctx.state = match actor.stopping(ctx) {
                    Running::Stop => ActorState::Stopped,
                    Running::Continue => ActorState::Running,
                };
                continue;
            }
            ActorState::Started | ActorState::Running => {}
        }
        if let Some(mut wait) = ctx.waits.pop() {
            // The latest first; those that it adds itself are waited for before it goes on.
            let at = ctx.waits.len();
            if wait.as_mut().poll(actor, ctx, cx).is_pending() {
                ctx.waits.insert(at, wait);
                if ctx.waits.len() == at + 1 && ctx.next.is_none() && is_running(ctx) {
                    return Poll::Pending;
                }
            }
            continue;
        }
        if budget > 0 {
            let urgent = if ctx.cell.has_urgent() { ctx.cell.pop_urgent() } else { None };
            if urgent.is_none()
                && let Some(mut run) = ctx.run.take()
            {
                if !run.go_on(actor, ctx, &mut budget) {
                    ctx.run = Some(run);
                }
                continue;
            }
            if let Some(mut envelope) = urgent.or_else(|| mailbox.next(cx)) {
                envelope.handle(actor, ctx);
                budget -= 1;
                continue;
            }
        }
        poll_items(actor, ctx, cx);
        if ctx.waits.is_empty() && ctx.next.is_none() && is_running(ctx) {
            if budget == 0 || mailbox.lingers() {
                // There may be more: the others of this thread first.
                cx.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
    }
}

fn is_running<A: Actor<Context = Context<A>>>(ctx: &Context<A>) -> bool {
    matches!(ctx.state, ActorState::Started | ActorState::Running)
}

fn poll_items<A: Actor<Context = Context<A>>>(
    actor: &mut A,
    ctx: &mut Context<A>,
    cx: &mut TaskContext<'_>,
) {
    let mut at = 0;
    while at < ctx.items.len() {
        if !ctx.waits.is_empty() || ctx.next.is_some() || !is_running(ctx) || ctx.cell.has_exit() {
            break;
        }
        let item = &mut ctx.items[at];
        let due = item.woken.as_ref().is_none_or(Woken::take);
        if due && let Some(mut future) = item.future.take() {
            let waker = item.woken.as_ref().map(Woken::waker);
            let pending = match waker {
                Some(waker) => {
                    future.as_mut().poll(actor, ctx, &mut TaskContext::from_waker(&waker))
                }
                None => future.as_mut().poll(actor, ctx, cx),
            }
            .is_pending();
            let item = &mut ctx.items[at];
            if pending && !item.done {
                item.future = Some(future);
            } else {
                item.done = true;
            }
        }
        at += 1;
    }
    ctx.items.retain(|item| !item.done);
}

/// Messages that an actor handles before the others of its thread have their turn.
const BUDGET: u32 = 128;
