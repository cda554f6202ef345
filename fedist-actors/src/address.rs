//! Addresses of actors anywhere in the federation: `RegionAddr`, `RegionRecipient`, bare pids.

use std::time::Duration;
use std::{
    cell::{Cell, RefCell},
    fmt,
    sync::Arc,
};

use actix::{Actor, Handler, dev::ToEnvelope, prelude::SendError as ActixSendError};
use fedist_registry::{RegionId, RegionPid};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    AskError, DropReason, Node, SendError, WireMessage,
    ask::Ask,
    route::{ActorRoute, Route, send_when_room},
};

/// The address of an actor of type `A` in any region.
///
/// Sending is the same wherever the actor lives. In the same node a message goes straight
/// into the actix mailbox and is never serialised. Cloning is cheap; dropping an address has
/// no effect on the actor. An address can travel inside messages: it is encoded as its pid
/// and is bound to the receiving node when it is decoded there.
pub struct RegionAddr<A: Actor> {
    target: Target,
    local: Option<ActorRoute<A>>,
}

/// The address of anything that handles `M`, in any region: `RegionAddr` without the actor's type.
///
/// `Clone + Serialize`, so it travels inside messages.
pub struct RegionRecipient<M: WireMessage> {
    target: Target,
    local: Option<Arc<dyn Route<M>>>,
}

#[derive(Clone)]
struct Target {
    pid: RegionPid,
    node: Option<Node>,
}

impl<A: Actor> RegionAddr<A> {
    pub(crate) fn new(node: &Node, pid: RegionPid) -> Self {
        Self {
            local: node.local_address_of(pid).and_then(ActorRoute::new),
            target: Target { pid, node: Some(node.clone()) },
        }
    }

    /// An actor of this node, if it is of type `A`.
    pub(crate) fn local(node: &Node, pid: RegionPid) -> Option<Self> {
        Some(Self::new(node, pid)).filter(|addr| addr.local.is_some())
    }

    /// The pid behind the address.
    pub fn pid(&self) -> RegionPid {
        self.target.pid
    }

    /// The same address for use at `node`; needed only for one that was decoded outside of a node.
    pub fn bind(&self, node: &Node) -> Self {
        Self::new(node, self.target.pid)
    }

    /// The same address, narrowed to one message type.
    pub fn recipient<M>(&self) -> RegionRecipient<M>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: WireMessage,
    {
        RegionRecipient {
            target: self.target.clone(),
            local: self.local.clone().map(|route| Arc::new(route) as _),
        }
    }

    /// The way into this node, unless the pid was split off to another region since.
    fn here(&self) -> Option<&ActorRoute<A>> {
        self.local.as_ref().filter(|_| !self.target.has_moved())
    }

    /// Sends without waiting; what cannot be accepted is dropped, counted and noted as a dead letter.
    pub fn do_send<M>(&self, message: M)
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: WireMessage,
    {
        if let Err(error) = self.try_send(message) {
            self.target.note_refused(error);
        }
    }

    /// Sends without waiting, or gives the message back with the reason.
    ///
    /// `Ok` means accepted: delivered in order, once, while both nodes live and can reach each other.
    ///
    /// # Errors
    /// Every variant of [`SendError`]; nothing was sent then.
    pub fn try_send<M>(&self, message: M) -> Result<(), SendError<M>>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: WireMessage,
    {
        match self.here() {
            Some(route) => local_refusal(self.target.pid, route.try_send(message)),
            None => self.target.try_send(message),
        }
    }

    /// Sends one message and waits for room if the queue is full; no answer is awaited.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send), but never `Full`.
    ///
    /// # Cancel safety
    /// Dropped before it resolves, the message was not sent.
    pub async fn tell<M>(&self, message: M) -> Result<(), SendError<M>>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: WireMessage,
    {
        match self.here() {
            None => match self.target.try_send(message) {
                Err(SendError::Full(message)) => self.target.tell(message).await,
                // Nearly always: done without a future to wait in.
                outcome => outcome,
            },
            Some(route) => local_room(self.target.pid, send_when_room(route, message).await),
        }
    }

    /// As [`tell`](Self::tell), and waits for a way as well: while the region cannot be reached the message waits here, for at
    /// most `patience`, and is sent as soon as there is a way. `tell` and `try_send` refuse at once then, with `NoRoute`. What
    /// waits is held by the caller's future and nowhere else, so the caller bounds it.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send); `NoRoute` or `Full` when the time is over.
    ///
    /// # Cancel safety
    /// Dropped before it resolves, the message was not sent.
    pub async fn tell_within<M>(&self, message: M, patience: Duration) -> Result<(), SendError<M>>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: WireMessage,
    {
        match &self.local {
            None => self.target.tell_within(message, patience).await,
            Some(_) => self.tell(message).await,
        }
    }

    /// Asks and waits for the answer. The deadline is 5 s unless [`Ask::deadline`] says otherwise.
    ///
    /// # Errors
    /// [`AskError`]; `Timeout` and `Unreachable` leave the outcome unknown.
    ///
    /// # Cancel safety
    /// Dropping the future gives the answer up; the message may still be handled.
    pub fn send<M>(&self, message: M) -> Ask<M>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: WireMessage,
    {
        match (self.here(), &self.target.node) {
            (Some(route), Some(node)) => Ask::local(node, self.target.pid, route, message),
            _ => self.target.ask(message),
        }
    }

    /// Alias of [`send`](Self::send) for users of ractor and kameo.
    pub fn ask<M>(&self, message: M) -> Ask<M>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: WireMessage,
    {
        self.send(message)
    }
}

impl<M: WireMessage> RegionRecipient<M> {
    /// A recipient for a pid whose actor is known (or hoped) to handle `M`.
    pub(crate) fn new(node: &Node, pid: RegionPid) -> Self {
        Self {
            target: Target { pid, node: Some(node.clone()) },
            local: node.local_route::<M>(pid).ok(),
        }
    }

    /// The pid behind the recipient.
    pub fn pid(&self) -> RegionPid {
        self.target.pid
    }

    /// The same recipient for use at `node`; needed only for one that was decoded outside of a node.
    pub fn bind(&self, node: &Node) -> Self {
        Self::new(node, self.target.pid)
    }

    /// As for a [`RegionAddr`].
    fn here(&self) -> Option<&Arc<dyn Route<M>>> {
        self.local.as_ref().filter(|_| !self.target.has_moved())
    }

    /// As [`RegionAddr::do_send`].
    pub fn do_send(&self, message: M) {
        if let Err(error) = self.try_send(message) {
            self.target.note_refused(error);
        }
    }

    /// As [`RegionAddr::try_send`].
    ///
    /// # Errors
    /// Every variant of [`SendError`]; nothing was sent then.
    pub fn try_send(&self, message: M) -> Result<(), SendError<M>> {
        match self.here() {
            Some(route) => local_refusal(self.target.pid, route.try_send(message)),
            None => self.target.try_send(message),
        }
    }

    /// As [`RegionAddr::tell`].
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send), but never `Full`.
    ///
    /// # Cancel safety
    /// Dropped before it resolves, the message was not sent.
    pub async fn tell(&self, message: M) -> Result<(), SendError<M>> {
        match self.here() {
            None => match self.target.try_send(message) {
                Err(SendError::Full(message)) => self.target.tell(message).await,
                // Nearly always: done without a future to wait in.
                outcome => outcome,
            },
            Some(route) => local_room(self.target.pid, send_when_room(&**route, message).await),
        }
    }

    /// As [`RegionAddr::tell_within`].
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send); `NoRoute` or `Full` when the time is over.
    ///
    /// # Cancel safety
    /// Dropped before it resolves, the message was not sent.
    pub async fn tell_within(&self, message: M, patience: Duration) -> Result<(), SendError<M>> {
        match &self.local {
            None => self.target.tell_within(message, patience).await,
            Some(_) => self.tell(message).await,
        }
    }

    /// As [`RegionAddr::send`].
    ///
    /// # Errors
    /// [`AskError`]; `Timeout` and `Unreachable` leave the outcome unknown.
    ///
    /// # Cancel safety
    /// Dropping the future gives the answer up; the message may still be handled.
    pub fn send(&self, message: M) -> Ask<M> {
        match (self.here(), &self.target.node) {
            (Some(route), Some(node)) => Ask::local(node, self.target.pid, &**route, message),
            _ => self.target.ask(message),
        }
    }

    /// Alias of [`send`](Self::send).
    pub fn ask(&self, message: M) -> Ask<M> {
        self.send(message)
    }
}

impl Target {
    fn has_moved(&self) -> bool {
        self.node.as_ref().is_some_and(|node| node.is_elsewhere(self.pid))
    }

    fn try_send<M: WireMessage>(&self, message: M) -> Result<(), SendError<M>> {
        match &self.node {
            Some(node) => node.try_send_to(self.pid, message),
            None => Err(SendError::Unbound(message)),
        }
    }

    async fn tell<M: WireMessage>(&self, message: M) -> Result<(), SendError<M>> {
        match &self.node {
            Some(node) => node.tell_to(self.pid, message).await,
            None => Err(SendError::Unbound(message)),
        }
    }

    async fn tell_within<M: WireMessage>(
        &self,
        message: M,
        patience: Duration,
    ) -> Result<(), SendError<M>> {
        match &self.node {
            Some(node) => node.tell_to_within(self.pid, message, patience).await,
            None => Err(SendError::Unbound(message)),
        }
    }

    fn ask<M: WireMessage>(&self, message: M) -> Ask<M> {
        match &self.node {
            Some(node) => node.ask_to(self.pid, message),
            None => Ask::failed(AskError::Unbound),
        }
    }

    fn note_refused<M: WireMessage>(&self, error: SendError<M>) {
        if let Some(node) = &self.node {
            node.note_refused(self.pid, M::NAME, error);
        }
    }
}

/// Sending to a bare pid, for when the actor's type is not at hand.
///
/// ```text
/// pid.send(&node, Post { .. }).await?;
/// ```
pub trait PidSend {
    /// As [`RegionAddr::do_send`].
    fn do_send<M: WireMessage>(&self, node: &Node, message: M);
    /// As [`RegionAddr::try_send`].
    ///
    /// # Errors
    /// Every variant of [`SendError`]; nothing was sent then.
    fn try_send<M: WireMessage>(&self, node: &Node, message: M) -> Result<(), SendError<M>>;
    /// As [`RegionAddr::tell`].
    ///
    /// # Errors
    /// As `try_send`, but never `Full`.
    fn tell<M: WireMessage>(
        &self,
        node: &Node,
        message: M,
    ) -> impl Future<Output = Result<(), SendError<M>>> + Send
    where
        M::Result: Send;
    /// As [`RegionAddr::tell_within`].
    ///
    /// # Errors
    /// As `try_send`; `NoRoute` or `Full` when the time is over.
    fn tell_within<M: WireMessage>(
        &self,
        node: &Node,
        message: M,
        patience: Duration,
    ) -> impl Future<Output = Result<(), SendError<M>>> + Send
    where
        M::Result: Send;
    /// As [`RegionAddr::send`].
    fn send<M: WireMessage>(&self, node: &Node, message: M) -> Ask<M>;
    /// The pid as an address for one message type.
    fn recipient<M: WireMessage>(&self, node: &Node) -> RegionRecipient<M>;
}

impl PidSend for RegionPid {
    fn do_send<M: WireMessage>(&self, node: &Node, message: M) {
        RegionRecipient::new(node, *self).do_send(message);
    }

    fn try_send<M: WireMessage>(&self, node: &Node, message: M) -> Result<(), SendError<M>> {
        node.try_send_to(*self, message)
    }

    async fn tell<M: WireMessage>(&self, node: &Node, message: M) -> Result<(), SendError<M>> {
        match node.try_send_to(*self, message) {
            Err(SendError::Full(message)) => node.tell_to(*self, message).await,
            outcome => outcome,
        }
    }

    async fn tell_within<M: WireMessage>(
        &self,
        node: &Node,
        message: M,
        patience: Duration,
    ) -> Result<(), SendError<M>> {
        node.tell_to_within(*self, message, patience).await
    }

    fn send<M: WireMessage>(&self, node: &Node, message: M) -> Ask<M> {
        node.ask_to(*self, message)
    }

    fn recipient<M: WireMessage>(&self, node: &Node) -> RegionRecipient<M> {
        RegionRecipient::new(node, *self)
    }
}

fn local_refusal<M>(
    pid: RegionPid,
    outcome: Result<(), ActixSendError<M>>,
) -> Result<(), SendError<M>> {
    outcome.map_err(|error| match error {
        ActixSendError::Full(message) => SendError::Full(message),
        ActixSendError::Closed(message) => SendError::NoActor(pid, message),
    })
}

fn local_room<M>(pid: RegionPid, outcome: Result<(), M>) -> Result<(), SendError<M>> {
    outcome.map_err(|message| SendError::NoActor(pid, message))
}

/// How a refusal is counted.
pub(crate) fn drop_reason(error: &AskError) -> DropReason {
    match error {
        AskError::Full => DropReason::Full,
        AskError::NoRoute(_) => DropReason::NoRoute,
        AskError::UnknownRegion(_) => DropReason::UnknownRegion,
        AskError::NotLive => DropReason::NotLive,
        AskError::TooLarge { .. } => DropReason::TooLarge,
        AskError::Encode(_) => DropReason::Encode,
        AskError::NoActor(_) | AskError::NoReply(_) => DropReason::NoActor,
        AskError::Denied(_) | AskError::CallsItself(_) => DropReason::Denied,
        AskError::UnknownType { .. } => DropReason::UnknownType,
        AskError::Undecodable { .. } => DropReason::Undecodable,
        AskError::Timeout(_) => DropReason::Expired,
        AskError::Unreachable(_) => DropReason::SessionEnded,
        AskError::Unbound | AskError::Stopped => DropReason::Stopped,
    }
}

thread_local! {
    static DECODING: RefCell<Option<Decoding>> = const { RefCell::new(None) };
}

struct Decoding {
    node: Node,
    source: Option<RegionId>,
}

/// Runs `decode` so that addresses it meets become bound to `node`, and origins say `source`.
pub(crate) fn with_decoding_node<T>(
    node: &Node,
    source: Option<RegionId>,
    decode: impl FnOnce() -> T,
) -> T {
    let _scope = decoding(node, source);
    decode()
}

/// The same for whatever this thread decodes until the scope is dropped: one for a whole batch.
pub(crate) fn decoding(node: &Node, source: Option<RegionId>) -> DecodingScope {
    DecodingScope(DECODING.replace(Some(Decoding { node: node.clone(), source })))
}

pub(crate) struct DecodingScope(Option<Decoding>);

/// As [`decoding`], for one value after the other with other code in between.
pub(crate) struct Decoder(Cell<Option<Decoding>>);

impl Decoder {
    pub(crate) fn new(node: &Node, source: RegionId) -> Self {
        Self(Cell::new(Some(Decoding { node: node.clone(), source: Some(source) })))
    }

    pub(crate) fn decode<T>(&self, decode: impl FnOnce() -> T) -> T {
        let outer = DECODING.replace(self.0.take());
        let value = decode();
        self.0.set(DECODING.replace(outer));
        value
    }
}

impl Drop for DecodingScope {
    fn drop(&mut self) {
        DECODING.set(self.0.take());
    }
}

/// The region whose message is being decoded on this thread.
pub(crate) fn decoding_source() -> Option<RegionId> {
    DECODING.with_borrow(|decoding| decoding.as_ref()?.source)
}

impl Target {
    fn decoded(pid: RegionPid) -> Self {
        Self { pid, node: DECODING.with_borrow(|decoding| Some(decoding.as_ref()?.node.clone())) }
    }
}

impl<A: Actor> Clone for RegionAddr<A> {
    fn clone(&self) -> Self {
        Self { target: self.target.clone(), local: self.local.clone() }
    }
}

impl<M: WireMessage> Clone for RegionRecipient<M> {
    fn clone(&self) -> Self {
        Self { target: self.target.clone(), local: self.local.clone() }
    }
}

impl<A: Actor> fmt::Debug for RegionAddr<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegionAddr({})", self.target.pid)
    }
}

impl<M: WireMessage> fmt::Debug for RegionRecipient<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegionRecipient({})", self.target.pid)
    }
}

impl<A: Actor> PartialEq for RegionAddr<A> {
    fn eq(&self, other: &Self) -> bool {
        self.target.pid == other.target.pid
    }
}

impl<M: WireMessage> PartialEq for RegionRecipient<M> {
    fn eq(&self, other: &Self) -> bool {
        self.target.pid == other.target.pid
    }
}

impl<A: Actor> Serialize for RegionAddr<A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.target.pid.serialize(serializer)
    }
}

impl<M: WireMessage> Serialize for RegionRecipient<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.target.pid.serialize(serializer)
    }
}

impl<'de, A: Actor> Deserialize<'de> for RegionAddr<A> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let target = Target::decoded(RegionPid::deserialize(deserializer)?);
        Ok(match &target.node {
            Some(node) => RegionAddr::new(node, target.pid),
            None => RegionAddr { target, local: None },
        })
    }
}

impl<'de, M: WireMessage> Deserialize<'de> for RegionRecipient<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let target = Target::decoded(RegionPid::deserialize(deserializer)?);
        Ok(match &target.node {
            Some(node) => RegionRecipient::new(node, target.pid),
            None => RegionRecipient { target, local: None },
        })
    }
}
