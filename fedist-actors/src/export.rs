//! Export: which messages other regions may send to an actor, and under which name it is found.

use std::{marker::PhantomData, sync::Arc};

use actix::{Actor, Addr, Handler, dev::ToEnvelope};
use fedist_registry::RegionPid;

use crate::{
    LocalAddr, Node, SpawnError, WireMessage,
    inlet::{Inlet, RouteInlet},
    message::wire_type,
    names::NameScope,
    process::Process,
    route::{ActorRoute, ForeignBody, Route},
};

/// An export in the making: list the messages, then [`publish`](Export::publish).
#[must_use = "an export takes effect with `publish()`"]
pub struct Export<A> {
    node: Node,
    process: Result<Arc<Process>, ExportError>,
    inlets: Vec<(u32, &'static str, Arc<dyn Inlet>)>,
    names: Vec<String>,
    links: bool,
    actor: PhantomData<fn(A)>,
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
pub trait Exportable<A> {
    #[doc(hidden)]
    fn export_at(&self, node: &Node) -> Export<A>;
}

impl<A: Actor> Exportable<A> for LocalAddr<A> {
    fn export_at(&self, node: &Node) -> Export<A> {
        let process = node.local_address_of(self.pid());
        Export::new(node, process.ok_or(ExportError::Ended(self.pid())))
    }
}

/// A plain actix actor gets a fresh pid with each export. Its end is noticed within about a
/// second (actix does not tell), and its panics show as `Normal`; spawn by the node where that matters.
impl<A: Actor> Exportable<A> for Addr<A> {
    fn export_at(&self, node: &Node) -> Export<A> {
        let process = node.next_local().map_err(ExportError::Spawn).map(|local| {
            let pid = RegionPid::new(node.region(), local);
            let body = ForeignBody::new(self.clone());
            node.inner().processes.insert(Process::new(pid, body)) as _
        });
        Export::new(node, process)
    }
}

impl Node {
    /// Makes an actor reachable from other regions, for the messages that are then listed and no others.
    ///
    /// ```text
    /// let pid = node.export(&room).handles::<Post>().name("room/rust").publish()?;
    /// ```
    pub fn export<A>(&self, actor: &impl Exportable<A>) -> Export<A> {
        actor.export_at(self)
    }
}

impl<A> Export<A> {
    pub(crate) fn new(node: &Node, process: Result<Arc<Process>, ExportError>) -> Self {
        Self {
            node: node.clone(),
            process,
            inlets: Vec::new(),
            names: Vec::new(),
            links: false,
            actor: PhantomData,
        }
    }

    pub(crate) fn with_route<M: WireMessage>(mut self, route: Arc<dyn Route<M>>) -> Self {
        if let Ok(process) = &self.process {
            let inlet = RouteInlet { route, pid: process.pid };
            self.inlets.push((wire_type::<M>(), M::NAME, Arc::new(inlet)));
        }
        self
    }

    /// Lets other regions tell and ask `M`.
    pub fn handles<M>(self) -> Self
    where
        A: Actor + Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: WireMessage,
    {
        let route = self.process.as_ref().ok().cloned().and_then(ActorRoute::<A>::new);
        match route {
            Some(route) => self.with_route::<M>(Arc::new(route)),
            None => self,
        }
    }

    /// Lets actors of other regions link to it and send it exit signals, a kill too. Without this
    /// they are told `Denied` (contract C23); the actors of its own region, and those of the region
    /// it was spawned for, always may.
    pub fn links(mut self) -> Self {
        self.links = true;
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
        let process = self.process?;
        let pid = process.pid;
        if !process.is_alive() {
            return Err(ExportError::Ended(pid));
        }
        if self.links {
            process.allow_links();
        }
        for (hash, name, inlet) in self.inlets {
            let known = *self.node.inner().types.entry(hash).or_insert(name);
            if known != name {
                return Err(ExportError::TypeCollision { ours: name, other: known });
            }
            process.add_inlet(hash, inlet);
        }
        for name in self.names {
            crate::names::check_name(&name)?;
            match self.node.inner().processes.register(NameScope::Region, &name, &process) {
                Err(holder) if holder != pid => {
                    return Err(ExportError::NameTaken { name, holder });
                }
                Ok(_) | Err(_) => {}
            }
        }
        Ok(pid)
    }
}
