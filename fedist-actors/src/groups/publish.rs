//! Publishing: one message to all members of a group.

use std::fmt;

use super::{Groups, protocol::Letter};
use crate::{
    EncodeError, WireMessage,
    message::{encode, wire_type},
    process::current_local,
};

/// Why a message was not published; it comes back, and nobody got it.
#[non_exhaustive]
pub enum PublishError<M> {
    /// A region with members has 1,024 messages or 4 MiB of this region not acknowledged yet, or a
    /// member has too many waiting. Passes with time.
    Full(M),
    /// The encoded message is longer than a message may be.
    TooLarge {
        /// Its length with what is put around it, in bytes.
        len: usize,
        /// The longest allowed, in bytes.
        max: usize,
        /// The message.
        message: M,
    },
    /// The message's `Serialize` failed.
    Encode(EncodeError, M),
    /// The node is stopped.
    Stopped(M),
}

impl<M> PublishError<M> {
    /// The message that was not published.
    pub fn into_message(self) -> M {
        match self {
            PublishError::Full(message)
            | PublishError::TooLarge { message, .. }
            | PublishError::Encode(_, message)
            | PublishError::Stopped(message) => message,
        }
    }
}

impl<M> fmt::Display for PublishError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PublishError::Full(_) => {
                f.write_str("a region or a member of the group has no room; try again later or wait with `publish`")
            }
            PublishError::TooLarge { len, max, .. } => write!(
                f,
                "message too large ({len} bytes); at most {max}; split it or raise `max_message`"
            ),
            PublishError::Encode(error, _) => error.fmt(f),
            PublishError::Stopped(_) => f.write_str("the node is stopped"),
        }
    }
}

impl<M> fmt::Debug for PublishError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublishError({self})")
    }
}

impl<M> std::error::Error for PublishError<M> {}

impl Groups {
    /// Sends a message to all members of a group in all regions, and waits for room if need be.
    /// Gives the number of regions with members, this one included; with 0 nobody was there.
    ///
    /// Each link is crossed by one copy, however many members are behind it. The members of a
    /// region get the messages of one publishing region in order and once, for as long as the two
    /// regions reach each other within the session time-out; what is lost with a session is counted
    /// ([`GroupCounters::lost`](super::GroupCounters)) and noted as a dead letter. Against tells and other
    /// regions there is no order. A member that is not exported for `M` gets nothing (a dead letter).
    /// In `M`'s [`Origin`](crate::Origin) fields stands the publishing region as the relays tell it.
    ///
    /// In a handler that keeps its mailbox waiting, of an actor that is a member itself, use
    /// [`try_publish`](Self::try_publish): the room may depend on that mailbox.
    ///
    /// # Errors
    /// [`PublishError`], but never `Full`.
    ///
    /// # Cancel safety
    /// Dropped before it resolves, nothing was published.
    pub async fn publish<M: WireMessage>(
        &self,
        group: &str,
        message: M,
    ) -> Result<usize, PublishError<M>> {
        let (mut letter, message) = self.letter(group, message)?;
        let room = self.book().room();
        loop {
            let mut notified = std::pin::pin!(room.notified());
            notified.as_mut().enable();
            match self.offer(letter) {
                Ok(regions) => return Ok(regions),
                Err(refused) => letter = refused,
            }
            notified.await;
            if self.is_stopped() {
                return Err(PublishError::Stopped(message));
            }
        }
    }

    /// As [`publish`](Self::publish), without waiting.
    ///
    /// # Errors
    /// [`PublishError`].
    pub fn try_publish<M: WireMessage>(
        &self,
        group: &str,
        message: M,
    ) -> Result<usize, PublishError<M>> {
        let (letter, message) = self.letter(group, message)?;
        self.offer(letter).map_err(|_| PublishError::Full(message))
    }

    fn letter<M: WireMessage>(
        &self,
        group: &str,
        message: M,
    ) -> Result<(Letter, M), PublishError<M>> {
        if self.is_stopped() {
            return Err(PublishError::Stopped(message));
        }
        let body = match encode(M::NAME, &message) {
            Ok(body) => body,
            Err(error) => return Err(PublishError::Encode(error, message)),
        };
        let node = self.node.inner();
        let regions = self.node.view().registry.len();
        let len = body.len() + group.len() + ENVELOPE + regions * PER_TARGET;
        if len > node.max_message {
            return Err(PublishError::TooLarge { len, max: node.max_message, message });
        }
        node.types.entry(wire_type::<M>()).or_insert(M::NAME);
        let letter = Letter {
            group: group.to_owned(),
            wire_type: wire_type::<M>(),
            version: M::VERSION,
            from: current_local(node.region),
            body,
        };
        Ok((letter, message))
    }

    fn offer(&self, letter: Letter) -> Result<usize, Letter> {
        let now = self.node.inner().clock.now();
        self.book().publish(now, &self.node.view(), letter)
    }

    fn is_stopped(&self) -> bool {
        self.node.inner().stopped.load(std::sync::atomic::Ordering::Acquire)
    }
}

/// What the envelope of a copy takes at most besides names and targets, in bytes.
const ENVELOPE: usize = 192;
/// One target in a copy, in bytes.
const PER_TARGET: usize = 18;
