//! What becomes of a message that reached nobody: the dead-letter ring, and a word to its sender.

use std::{
    any::{Any, TypeId},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use actix::{Actor, AsyncContext, Handler};
use fedist_registry::RegionPid;

use crate::{
    Context, DeadLetter, DropReason, Node, SendError, WireMessage, address::drop_reason,
    message::wire_type, process::current_local,
};

/// Tells an actor that a message of its own reached nobody; see
/// [`Context::notify_undelivered`](crate::Context::notify_undelivered).
#[non_exhaustive]
pub struct Undelivered<M> {
    /// The intended receiver. For a name that led nowhere, the name service that was asked.
    pub to: RegionPid,
    /// Why it got lost.
    pub reason: DropReason,
    /// The message, where this node still had it: it was refused before it was encoded.
    pub message: Option<M>,
    /// Losses before this one that were not told one by one, because 65,536 waited in the mailbox.
    pub unreported: u64,
    _place: Place,
}

impl<M: 'static> actix::Message for Undelivered<M> {
    type Result = ();
}

impl<M: WireMessage> fmt::Debug for Undelivered<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Undelivered({}, to {}, {})", M::NAME, self.to, self.reason)
    }
}

impl<A: Actor<Context = Self>> Context<A> {
    /// Has this actor told, from now on, of every message of type `M` that it sends without waiting
    /// for an answer and that reaches nobody: `do_send` that was refused, and everything accepted
    /// that was lost on the way or bounced, in this region or another one. One [`Undelivered`] comes
    /// for each such message. What `try_send` and `tell` give back is not told again, and what an
    /// actor leaves unread in its mailbox when it ends counts as delivered.
    ///
    /// The message itself comes along only where this node still has it. Asking twice is asking once.
    pub fn notify_undelivered<M>(&self)
    where
        M: WireMessage,
        A: Handler<Undelivered<M>>,
    {
        let address = self.address();
        let waiting = Arc::new(Waiting::default());
        let tell = move |lost: Lost| {
            let Some((place, unreported)) = Waiting::enter(&waiting) else {
                return;
            };
            address.do_send(Undelivered {
                to: lost.to,
                reason: lost.reason,
                message: lost.message.and_then(|m| m.downcast::<M>().ok()).map(|m| *m),
                unreported,
                _place: place,
            });
        };
        if let Some(process) = self.node().local_address_of(self.pid()) {
            process.set_undelivered(UndeliveredHook {
                wire_type: wire_type::<M>(),
                type_id: TypeId::of::<M>(),
                tell: Arc::new(tell),
            });
        }
    }
}

/// Where an actor hears of its lost messages of one type.
pub(crate) struct UndeliveredHook {
    pub(crate) wire_type: u32,
    pub(crate) type_id: TypeId,
    pub(crate) tell: TellLost,
}

pub(crate) type TellLost = Arc<dyn Fn(Lost) + Send + Sync>;

/// One lost message.
pub(crate) struct Lost {
    to: RegionPid,
    reason: DropReason,
    message: Option<Box<dyn Any + Send>>,
}

/// Bounds the words of loss in one mailbox: a loop that sends into the void must not fill memory.
#[derive(Default)]
struct Waiting {
    count: AtomicUsize,
    unreported: AtomicU64,
}

struct Place(Arc<Waiting>);

impl Waiting {
    /// A place for one word, with the losses that found none since; `None` when there is none.
    fn enter(waiting: &Arc<Waiting>) -> Option<(Place, u64)> {
        if waiting.count.fetch_add(1, Ordering::AcqRel) >= WAITING_MAX {
            waiting.count.fetch_sub(1, Ordering::AcqRel);
            waiting.unreported.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some((Place(Arc::clone(waiting)), waiting.unreported.swap(0, Ordering::Relaxed)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::AcqRel);
    }
}

const WAITING_MAX: usize = 65_536;

impl Node {
    /// Counts and keeps a message that a `do_send` could not hand over, and tells its sender.
    pub(crate) fn note_refused<M: actix::Message + Send + 'static>(
        &self,
        to: RegionPid,
        name: &str,
        error: SendError<M>,
    ) {
        let reason = drop_reason(&error.reason());
        self.note_lost(to, name, reason, error.into_message());
    }

    /// As [`note_refused`](Self::note_refused), for a reason that is known already.
    pub(crate) fn note_lost<M: Send + 'static>(
        &self,
        to: RegionPid,
        name: &str,
        reason: DropReason,
        message: M,
    ) {
        let from = current_local(self.region()).map(|local| RegionPid::new(self.region(), local));
        self.note_dead_letter(to, from, name.to_owned(), reason);
        if let Some(tell) = self.hook_of(from, |hook| hook.type_id == TypeId::of::<M>()) {
            tell(Lost { to, reason, message: Some(Box::new(message)) });
        }
    }

    /// Counts and keeps a tell of this node that had left its sender, and tells the sender.
    pub(crate) fn note_undelivered(
        &self,
        to: RegionPid,
        from: Option<RegionPid>,
        wire_type: u32,
        reason: DropReason,
    ) {
        self.note_dead_letter(to, from, self.type_name(wire_type), reason);
        if let Some(tell) = self.hook_of(from, |hook| hook.wire_type == wire_type) {
            tell(Lost { to, reason, message: None });
        }
    }

    /// Enters a message into the ring and the counters.
    pub(crate) fn note_dead_letter(
        &self,
        to: RegionPid,
        from: Option<RegionPid>,
        message: String,
        reason: DropReason,
    ) {
        let at_ms = self.inner().clock.now().as_millis();
        self.inner().dead_letters.note(DeadLetter { to, from, message, reason, at_ms });
    }

    fn hook_of(
        &self,
        from: Option<RegionPid>,
        matches: impl Fn(&UndeliveredHook) -> bool,
    ) -> Option<TellLost> {
        self.local_address_of(from?)?.undelivered(matches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_loss_are_bounded_and_what_found_no_place_is_counted() {
        let waiting = Arc::new(Waiting::default());
        let mut places: Vec<Place> =
            (0..WAITING_MAX).map(|_| Waiting::enter(&waiting).expect("there is room").0).collect();
        assert!(Waiting::enter(&waiting).is_none());
        assert!(Waiting::enter(&waiting).is_none());
        places.pop();
        let (_place, unreported) = Waiting::enter(&waiting).expect("one was handled");
        assert_eq!(unreported, 2);
        places.pop();
        assert_eq!(Waiting::enter(&waiting).map(|(_, unreported)| unreported), Some(0));
    }
}
