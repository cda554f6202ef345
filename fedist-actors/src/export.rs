//! Export: which messages other regions may send to an actor, and under which name it is found.

use std::{marker::PhantomData, sync::Arc};

use actix::{Actor, Addr, Handler, dev::ToEnvelope};
use fedist_registry::RegionPid;

use crate::{
    LocalAddr, Node, SpawnError, WireMessage,
    inlet::{ActorInlet, Inlet, Mailbox, TypedInlet},
    message::wire_type,
    process::Process,
};

/// An export in the making: list the messages, then [`publish`](Export::publish).
#[must_use = "an export takes effect with `publish()`"]
pub struct Export<A: Actor> {
    node: Node,
    pid: Result<RegionPid, ExportError>,
    mailbox: Mailbox<A>,
    inlets: Vec<(u32, &'static str, Arc<dyn Inlet>)>,
    names: Vec<String>,
}

/// Why an actor could not be exported.
///
/// Names and messages listed before the refused one stay in effect; nothing else changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The actor has ended already.
    #[error("actor {0} has ended; only a living actor can be exported")]
    Ended(RegionPid),
    /// Another actor of this node holds the name.
    #[error(
        "name taken ({name}, by {holder}); a name is held by one actor of a region; choose another or stop the holder"
    )]
    NameTaken {
        /// The name.
        name: String,
        /// The actor that holds it.
        holder: RegionPid,
    },
    /// The name does not have the form of a name.
    #[error(
        "malformed name ({name}); a name is 1 to 255 bytes without control characters; choose another"
    )]
    MalformedName {
        /// The name.
        name: String,
    },
    /// Two message types whose names have the same hash.
    #[error("message names {ours} and {other} have the same hash; rename one of them")]
    TypeCollision {
        /// The name that was to be added.
        ours: &'static str,
        /// The name that is there already.
        other: &'static str,
    },
    /// No pid could be given to a plain actix actor.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

/// What can be exported: an actor spawned by the node, or any plain actix `Addr`.
pub trait Exportable<A: Actor> {
    #[doc(hidden)]
    fn export_at(&self, node: &Node) -> Export<A>;
}

impl<A: Actor> Exportable<A> for LocalAddr<A> {
    fn export_at(&self, node: &Node) -> Export<A> {
        let pid = match node.local_address_of(self.pid()) {
            Some(_) => Ok(self.pid()),
            None => Err(ExportError::Ended(self.pid())),
        };
        Export::new(node, pid, Mailbox::Own(self.sender().clone()))
    }
}

/// A plain actix actor gets a fresh pid with each export. Its end is noticed within about a
/// second (actix does not tell), and its panics show as `Normal`; spawn by the node where that matters.
impl<A: Actor> Exportable<A> for Addr<A> {
    fn export_at(&self, node: &Node) -> Export<A> {
        let pid = node.next_local().map_err(ExportError::Spawn).map(|local| {
            let pid = RegionPid::new(node.region(), local);
            let weak = self.downgrade();
            let process = Process::new(pid, Some(Box::new(self.clone())))
                .with_probe(Box::new(move || weak.upgrade().is_some_and(|addr| addr.connected())));
            node.inner().processes.insert(process);
            pid
        });
        Export::new(node, pid, Mailbox::Foreign(self.clone()))
    }
}

impl Node {
    /// Makes an actor reachable from other regions, for the messages that are then listed and no others.
    ///
    /// ```text
    /// let pid = node.export(&room).handles::<Post>().name("room/rust").publish()?;
    /// ```
    pub fn export<A: Actor>(&self, actor: &impl Exportable<A>) -> Export<A> {
        actor.export_at(self)
    }
}

impl<A: Actor> Export<A> {
    fn new(node: &Node, pid: Result<RegionPid, ExportError>, mailbox: Mailbox<A>) -> Self {
        Self { node: node.clone(), pid, mailbox, inlets: Vec::new(), names: Vec::new() }
    }

    /// Lets other regions tell and ask `M`.
    pub fn handles<M>(mut self) -> Self
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: WireMessage,
    {
        if let Ok(pid) = &self.pid {
            let inlet = TypedInlet::<A, M> {
                inlet: ActorInlet { mailbox: self.mailbox.clone(), pid: *pid },
                message: PhantomData,
            };
            self.inlets.push((wire_type::<M>(), M::NAME, Arc::new(inlet)));
        }
        self
    }

    /// Registers the actor under a name of this region; found as `region/name` from anywhere.
    /// The name is free again when the actor ends.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.names.push(name.into());
        self
    }

    /// Puts the export into effect and gives the pid.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn publish(self) -> Result<RegionPid, ExportError> {
        let pid = self.pid?;
        let process = self.node.local_address_of(pid).ok_or(ExportError::Ended(pid))?;
        for (hash, name, inlet) in self.inlets {
            let known = *self.node.inner().types.entry(hash).or_insert(name);
            if known != name {
                return Err(ExportError::TypeCollision { ours: name, other: known });
            }
            process.add_inlet(hash, inlet);
        }
        for name in self.names {
            if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
                return Err(ExportError::MalformedName { name });
            }
            match self.node.inner().processes.register(&name, &process) {
                Err(holder) if holder != pid => {
                    return Err(ExportError::NameTaken { name, holder });
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(pid)
    }
}
