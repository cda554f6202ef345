//! Handlers that are `async fn`: the actor's next message waits until they are done.

use actix::{
    Actor, Message,
    dev::{MessageResponse, OneshotSender},
};

use crate::Context;

/// A handler that may `.await` with the actor in hand. The next message waits meanwhile.
///
/// ```text
/// #[async_handler]
/// impl AsyncHandler<Transfer> for Account {
///     async fn handle(&mut self, transfer: Transfer, ctx: &mut Context<Self>) -> Receipt {
///         let quote = self.rates.send(Quote).await?;   // asks another actor; nothing else is handled here
///         ..
///     }
/// }
/// ```
///
/// The attribute `#[async_handler]` adds the [`Handler`](actix::Handler) by which actix's addresses
/// know the message. While the handler waits, exit signals still end the actor (the future is
/// dropped at its `.await`); messages, timers and the actor's spawned futures wait. An ask to the
/// actor itself would wait for ever and fails at once ([`AskError::CallsItself`](crate::AskError)).
/// Two actors that ask each other wait until the deadline of one of the asks has passed.
pub trait AsyncHandler<M: Message>: Actor<Context = Context<Self>> {
    /// Handles one message.
    fn handle(&mut self, message: M, ctx: &mut Context<Self>) -> impl Future<Output = M::Result>;
}

/// What `#[async_handler]` gives actix as the answer of a handler: the message, to be handled next.
#[doc(hidden)]
pub struct AsyncResponse<M>(pub M);

impl<A, M> MessageResponse<A, M> for AsyncResponse<M>
where
    A: AsyncHandler<M>,
    M: Message + 'static,
{
    fn handle(self, ctx: &mut Context<A>, reply: Option<OneshotSender<M::Result>>) {
        ctx.run_next(Box::new(move |actor, ctx| {
            Box::pin(async move {
                let answer = AsyncHandler::handle(actor, self.0, ctx).await;
                if let Some(reply) = reply {
                    // Whoever asked may have given up.
                    let _ = reply.send(answer);
                }
            })
        }));
    }
}
