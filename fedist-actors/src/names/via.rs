//! `via` addressing: sending to a name, which is resolved anew with every message.

use std::{
    fmt,
    future::{Future, IntoFuture},
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use fedist_registry::{RegionPid, service};
use futures_util::future::{Either, select};

use super::{
    LookupError,
    lookup::{Resolved, Resume},
    path::NamePath,
};
use crate::{
    AskError, DEFAULT_DEADLINE, DropReason, Node, PidSend, SendError, WireMessage,
    address::{drop_reason, with_decoding_node},
    ask::Ask,
    message::decode,
};

/// The address of whoever holds a name at the moment of sending, as `{via, ..}` and
/// `{global, ..}` in Erlang.
///
/// The path is `region/name`, `name` or `@alias`, as in [`Node::whereis`], and is resolved for every
/// message, through the node's cache of lookups. Messages of one sender to one name keep their order
/// also while the name is being looked up. Cloning is cheap.
///
/// ```text
/// let room = node.via::<Post>("us-east/room/rust")?;
/// room.do_send(post);
/// let receipt = room.send(post).await?;
/// ```
pub struct Via<M> {
    node: Node,
    text: Arc<str>,
    path: Arc<NamePath>,
    message: PhantomData<fn(M)>,
}

/// Why a message to a name was not accepted; it comes back with the reason.
#[non_exhaustive]
pub enum ViaSendError<M> {
    /// The name leads nowhere, or nobody can tell.
    Lookup(LookupError, M),
    /// The actor was found, and the message was refused.
    Send(SendError<M>),
}

/// How an ask to a name ended other than with its answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ViaAskError {
    /// The name leads nowhere, or nobody could tell in time. The message was not sent.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The actor was found; see [`AskError`] for what is known of the outcome.
    #[error(transparent)]
    Ask(#[from] AskError),
}

impl Node {
    /// The address of whoever holds a name; see [`Via`].
    ///
    /// # Errors
    /// [`LookupError::Malformed`]; whether the name leads anywhere shows with each message.
    pub fn via<M: WireMessage>(&self, path: &str) -> Result<Via<M>, LookupError> {
        Via::new(self, path)
    }
}

impl<M: WireMessage> Via<M> {
    /// As [`Node::via`].
    ///
    /// # Errors
    /// [`LookupError::Malformed`].
    pub fn new(node: &Node, path: &str) -> Result<Self, LookupError> {
        Ok(Self {
            node: node.clone(),
            text: path.into(),
            path: Arc::new(NamePath::parse(path)?),
            message: PhantomData,
        })
    }

    /// The path as given.
    pub fn path(&self) -> &str {
        &self.text
    }

    /// Sends without waiting. What cannot be accepted, or whose name turns out to lead nowhere, is
    /// dropped, counted and noted as a dead letter; for a name without a holder its receiver is the
    /// name service that was asked (`region.5`).
    pub fn do_send(&self, message: M) {
        match self.attempt(message) {
            Ok(()) => {}
            Err((to, ViaSendError::Send(error))) => self.node.note_refused(to, M::NAME, error),
            Err((to, ViaSendError::Lookup(error, message))) => {
                self.node.note_lost(to, M::NAME, error.drop_reason(), message);
            }
        }
    }

    /// Sends without waiting, or gives the message back with the reason.
    ///
    /// `Ok` means accepted. While the name has to be looked up first the message waits behind that,
    /// and becomes a dead letter when the name leads nowhere.
    ///
    /// # Errors
    /// [`ViaSendError`]; nothing was sent then.
    pub fn try_send(&self, message: M) -> Result<(), ViaSendError<M>> {
        self.attempt(message).map_err(|(_, error)| error)
    }

    /// As `try_send`; a refusal comes with the receiver that it is about.
    fn attempt(&self, message: M) -> Result<(), (RegionPid, ViaSendError<M>)> {
        let asked = RegionPid::new(self.node.owner_region(&self.path), service::NAMES);
        let wait = move |message: M| -> Resume {
            Box::new(move |node, outcome| match outcome {
                Ok(pid) => pid.do_send(node, message),
                Err(error) => node.note_lost(asked, M::NAME, error.drop_reason(), message),
            })
        };
        match self.node.resolve_now(&self.path, message, wait) {
            Resolved::Known(pid, message) => {
                pid.try_send(&self.node, message).map_err(|error| (pid, self.refused(pid, error)))
            }
            Resolved::Failed(error, message) => Err((asked, ViaSendError::Lookup(error, message))),
            Resolved::Waiting => Ok(()),
        }
    }

    /// Sends one message and waits for the lookup and for room; no answer is awaited.
    ///
    /// # Errors
    /// [`ViaSendError`]; nothing was sent then.
    ///
    /// # Cancel safety
    /// Dropped before it resolves, the message was not sent.
    pub async fn tell(&self, message: M) -> Result<(), ViaSendError<M>> {
        match self.node.resolve(&self.path).await {
            Ok(pid) => {
                pid.tell(&self.node, message).await.map_err(|error| self.refused(pid, error))
            }
            Err(error) => Err(ViaSendError::Lookup(error, message)),
        }
    }

    /// Asks and waits for the answer; the deadline is 5 s unless [`ViaAsk::deadline`] says otherwise,
    /// and covers the lookup. When nothing lives any more where the name was found (so the message
    /// was surely not handled), the name is looked up anew and the message sent once again.
    pub fn send(&self, message: M) -> ViaAsk<M> {
        ViaAsk { via: self.clone(), message, deadline: DEFAULT_DEADLINE }
    }

    /// Alias of [`send`](Self::send).
    pub fn ask(&self, message: M) -> ViaAsk<M> {
        self.send(message)
    }

    fn refused(&self, pid: RegionPid, error: SendError<M>) -> ViaSendError<M> {
        if matches!(error, SendError::NoActor(..)) {
            self.node.forget_found(&self.path, pid);
        }
        ViaSendError::Send(error)
    }
}

impl LookupError {
    /// How a message to a name that led nowhere is counted.
    fn drop_reason(&self) -> DropReason {
        match self {
            LookupError::UnknownRegion { .. } => DropReason::UnknownRegion,
            LookupError::Ask { error, .. } => drop_reason(error),
            LookupError::Busy { .. } => DropReason::Full,
            _ => DropReason::NoActor,
        }
    }
}

/// An ask to a name that is about to be sent; `.await` it.
#[must_use = "an ask does nothing until it is awaited"]
pub struct ViaAsk<M> {
    via: Via<M>,
    message: M,
    deadline: Duration,
}

impl<M: WireMessage> ViaAsk<M> {
    /// Waits at most this long for the answer, lookup included.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    async fn run(self) -> Result<M::Result, ViaAskError> {
        let ViaAsk { via, message, deadline } = self;
        let started = Instant::now();
        let mut attempt = Attempt::Message(message);
        let mut again = true;
        loop {
            let left = deadline.saturating_sub(started.elapsed());
            let pid = via.resolve_within(left).await?;
            let left = deadline.saturating_sub(started.elapsed());
            match attempt.send(&via.node, pid, left).await {
                (Err(AskError::NoActor(_)), Some(same)) if again => {
                    via.node.forget_found(&via.path, pid);
                    attempt = same;
                    again = false;
                }
                (Err(AskError::Timeout(_)), _) => return Err(AskError::Timeout(deadline).into()),
                (answer, _) => return Ok(answer?),
            }
        }
    }
}

impl<M: WireMessage> Via<M> {
    async fn resolve_within(&self, left: Duration) -> Result<RegionPid, LookupError> {
        let resolve = std::pin::pin!(self.node.resolve(&self.path));
        match select(resolve, self.node.sleep(left)).await {
            Either::Left((found, _)) => found,
            Either::Right(_) => Err(LookupError::Ask {
                region: self.node.owner_region(&self.path),
                error: AskError::Timeout(left),
            }),
        }
    }
}

/// A message that may be sent a second time: as itself until it has been encoded.
enum Attempt<M> {
    Message(M),
    Encoded(bytes::Bytes),
}

impl<M: WireMessage> Attempt<M> {
    /// Sends it once; gives it back where it can be sent again.
    async fn send(
        self,
        node: &Node,
        pid: RegionPid,
        deadline: Duration,
    ) -> (Result<M::Result, AskError>, Option<Self>) {
        let pid = node.seat(pid);
        if pid.region() == node.region() {
            if let Err(error) = node.local_route::<M>(pid) {
                return (Err(error), Some(self));
            }
            let message = match self {
                Attempt::Message(message) => message,
                Attempt::Encoded(body) => {
                    match with_decoding_node(node, None, || decode::<M>(&body)) {
                        Ok(message) => message,
                        Err(error) => {
                            let detail = error.to_string();
                            return (Err(AskError::Undecodable { pid, detail }), None);
                        }
                    }
                }
            };
            return (node.ask_to(pid, message).deadline(deadline).await, None);
        }
        let body = match self {
            Attempt::Encoded(body) => body,
            Attempt::Message(message) => match node.encode_ask(&message) {
                Ok(body) => body,
                Err(error) => return (Err(error), None),
            },
        };
        let answer = Ask::<M>::remote(node, pid, body.clone().into()).deadline(deadline).await;
        (answer, Some(Attempt::Encoded(body)))
    }
}

impl<M: WireMessage> IntoFuture for ViaAsk<M> {
    type Output = Result<M::Result, ViaAskError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<M> Clone for Via<M> {
    fn clone(&self) -> Self {
        Self {
            node: self.node.clone(),
            text: Arc::clone(&self.text),
            path: Arc::clone(&self.path),
            message: PhantomData,
        }
    }
}

impl<M> fmt::Debug for Via<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Via({})", self.text)
    }
}

impl<M> ViaSendError<M> {
    /// The message that was not sent.
    pub fn into_message(self) -> M {
        match self {
            ViaSendError::Lookup(_, message) => message,
            ViaSendError::Send(error) => error.into_message(),
        }
    }
}

impl<M> fmt::Debug for ViaSendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ViaSendError::Lookup(error, _) => write!(f, "ViaSendError({error:?})"),
            ViaSendError::Send(error) => write!(f, "ViaSendError({:?})", error.reason()),
        }
    }
}

impl<M> fmt::Display for ViaSendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ViaSendError::Lookup(error, _) => error.fmt(f),
            ViaSendError::Send(error) => error.fmt(f),
        }
    }
}

impl<M> std::error::Error for ViaSendError<M> {}
