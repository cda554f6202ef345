//! Spawning actors in this node.

use std::sync::{Arc, atomic::Ordering};

use actix::Actor;
use actix_rt::ArbiterHandle;
use fedist_registry::{AllocError, LocalId, RegionPid};

use crate::{
    Context, LocalAddr, Node, RegionAddr,
    context::{self, ActorBody, Living},
    exit::ExitReason,
    mailbox::MailboxReceiver,
    names::{self, NameScope},
    process::{Process, ProcessFuture},
    this_thread,
};

/// An actor could not be given a pid; nothing was spawned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// Ids ran out or their next block could not be made durable.
    #[error(transparent)]
    Ids(#[from] AllocError),
    /// The node is stopped.
    #[error("the node is stopped; it spawns nothing any more")]
    Stopped,
}

/// Why [`Node::get_or_spawn`] gave no actor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GetOrSpawnError {
    /// No pid.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// The name does not have the form of a name.
    #[error("{0}")]
    Name(String),
    /// The name belongs to an actor of another type.
    #[error(
        "name taken ({name}, by {holder} of another type); ask for that type or choose another name"
    )]
    OtherType {
        /// The name.
        name: String,
        /// Who holds it.
        holder: RegionPid,
    },
}

impl Node {
    /// Starts an actor under a fresh pid. A panic in it ends this actor only.
    ///
    /// Called on the hub's thread (by default every handler runs there) the actor starts on that
    /// thread, so that talkers stay together; else on the next of the node's actor threads.
    /// The mailbox is bounded ([`NodeBuilder::mailbox_capacity`](crate::NodeBuilder::mailbox_capacity)).
    ///
    /// # Errors
    /// [`SpawnError`]; nothing was spawned then.
    pub fn spawn<A>(&self, actor: A) -> Result<LocalAddr<A>, SpawnError>
    where
        A: Actor<Context = Context<A>> + Send,
    {
        self.spawn_with(move |_| actor)
    }

    /// As [`spawn`](Self::spawn) for an actor that is made on its thread, so it need not be `Send`.
    ///
    /// # Errors
    /// [`SpawnError`]; `make` was not called then.
    pub fn spawn_with<A, F>(&self, make: F) -> Result<LocalAddr<A>, SpawnError>
    where
        A: Actor<Context = Context<A>>,
        F: FnOnce(&mut Context<A>) -> A + Send + 'static,
    {
        self.spawn_tied(make, |_, _| ())
    }

    /// Starts an actor; `tie` links, watches or exports it before it runs.
    pub(crate) fn spawn_tied<A, F>(
        &self,
        make: F,
        tie: impl FnOnce(&Node, RegionPid),
    ) -> Result<LocalAddr<A>, SpawnError>
    where
        A: Actor<Context = Context<A>>,
        F: FnOnce(&mut Context<A>) -> A + Send + 'static,
    {
        self.spawn_tied_on(make, tie, false)
    }

    /// As [`spawn_tied`](Self::spawn_tied), on the next thread for actors whoever calls it: for the
    /// runtime's own services, beside which not all of the actors that others want are to run.
    pub(crate) fn spawn_spread<A, F>(
        &self,
        make: F,
        tie: impl FnOnce(&Node, RegionPid),
    ) -> Result<LocalAddr<A>, SpawnError>
    where
        A: Actor<Context = Context<A>>,
        F: FnOnce(&mut Context<A>) -> A + Send + 'static,
    {
        self.spawn_tied_on(make, tie, true)
    }

    fn spawn_tied_on<A, F>(
        &self,
        make: F,
        tie: impl FnOnce(&Node, RegionPid),
        spread: bool,
    ) -> Result<LocalAddr<A>, SpawnError>
    where
        A: Actor<Context = Context<A>>,
        F: FnOnce(&mut Context<A>) -> A + Send + 'static,
    {
        self.spawn_tied_at(self.next_local()?, make, tie, spread)
    }

    /// As [`spawn_with`](Self::spawn_with), under an id that is this actor's already.
    pub(crate) fn spawn_seated<A, F>(
        &self,
        local: LocalId,
        make: F,
    ) -> Result<LocalAddr<A>, SpawnError>
    where
        A: Actor<Context = Context<A>>,
        F: FnOnce(&mut Context<A>) -> A + Send + 'static,
    {
        self.spawn_tied_at(local, make, |_, _| (), false)
    }

    fn spawn_tied_at<A, F>(
        &self,
        local: LocalId,
        make: F,
        tie: impl FnOnce(&Node, RegionPid),
        spread: bool,
    ) -> Result<LocalAddr<A>, SpawnError>
    where
        A: Actor<Context = Context<A>>,
        F: FnOnce(&mut Context<A>) -> A + Send + 'static,
    {
        let (local_addr, receiver) = self.admit::<A>(local)?;
        tie(self, local_addr.pid());
        let (node, cell) = (self.clone(), Arc::clone(local_addr.cell()));
        let start = move || node.run_actor(cell, receiver, make);
        let runs =
            if spread { self.arbiter().spawn_fn(start) } else { self.run_on_actor_thread(start) };
        if !runs {
            self.process_ended(local_addr.pid().local(), ExitReason::Shutdown);
            return Err(SpawnError::Stopped);
        }
        Ok(local_addr)
    }

    /// Spawns an actor of the runtime itself on the hub's thread, where this must be called.
    pub(crate) fn spawn_here<A>(&self, actor: A) -> Result<LocalAddr<A>, SpawnError>
    where
        A: Actor<Context = Context<A>>,
    {
        let local = self.next_local()?;
        self.spawn_here_at(local, move |_| actor)
    }

    /// As [`spawn_here`](Self::spawn_here), under the id of a well-known service.
    pub(crate) fn spawn_here_at<A, F>(
        &self,
        local: LocalId,
        make: F,
    ) -> Result<LocalAddr<A>, SpawnError>
    where
        A: Actor<Context = Context<A>>,
        F: FnOnce(&mut Context<A>) -> A + 'static,
    {
        let (local_addr, receiver) = self.admit::<A>(local)?;
        local_addr.cell().set_system();
        self.run_actor(Arc::clone(local_addr.cell()), receiver, make);
        Ok(local_addr)
    }

    /// Enters an actor into the process table.
    fn admit<A>(&self, local: LocalId) -> Result<(LocalAddr<A>, MailboxReceiver<A>), SpawnError>
    where
        A: Actor<Context = Context<A>>,
    {
        if self.inner().stopped.load(Ordering::Acquire) {
            return Err(SpawnError::Stopped);
        }
        let pid = RegionPid::new(self.inner().region, local);
        let body = ActorBody::new(self.inner().mailbox_capacity);
        let cell = self.inner().processes.insert(Process::new(pid, body));
        let receiver = MailboxReceiver::new(Arc::clone(&cell));
        Ok((LocalAddr::new(self, cell), receiver))
    }

    /// Starts an admitted actor on this thread.
    fn run_actor<A, F>(
        &self,
        cell: Arc<Process<ActorBody<A>>>,
        receiver: MailboxReceiver<A>,
        make: F,
    ) where
        A: Actor<Context = Context<A>>,
        F: FnOnce(&mut Context<A>) -> A + 'static,
    {
        let context = Context::new(self.clone(), Arc::clone(&cell));
        let life = context::run(Living::new(context, receiver, make));
        actix_rt::spawn(ProcessFuture::new(self.clone(), cell, life));
    }

    /// A local id that was never given before and never will be again (C1).
    pub(crate) fn next_local(&self) -> Result<LocalId, SpawnError> {
        match &*self.inner().ids.load() {
            Some(ids) => Ok(ids.next()?),
            None => Err(SpawnError::Stopped),
        }
    }

    /// Runs `start` at once on the hub's thread if it is this one, else on the next thread for
    /// actors. False when the node is stopping.
    pub(crate) fn run_on_actor_thread(&self, start: impl FnOnce() + Send + 'static) -> bool {
        if this_thread::number() == self.inner().hub_thread {
            start();
            return true;
        }
        self.arbiter().spawn_fn(start)
    }

    /// The actor of that name in this node, or a new one that is registered under it at once.
    ///
    /// Of several that call this at the same time one spawns, and the others get its actor.
    ///
    /// # Errors
    /// [`GetOrSpawnError`].
    pub fn get_or_spawn<A, F>(&self, name: &str, make: F) -> Result<RegionAddr<A>, GetOrSpawnError>
    where
        A: Actor<Context = Context<A>>,
        F: FnOnce() -> A + Send + 'static,
    {
        let found = |pid: RegionPid| {
            RegionAddr::local(self, pid)
                .ok_or_else(|| GetOrSpawnError::OtherType { name: name.to_owned(), holder: pid })
        };
        names::check_name(name).map_err(|error| GetOrSpawnError::Name(error.to_string()))?;
        if let Some(holder) = self.inner().processes.whereis(NameScope::Region, name) {
            return found(holder);
        }
        let mut holder = None;
        let addr = self.spawn_tied(
            move |_| make(),
            |node, pid| {
                if let Some(process) = node.local_address_of(pid) {
                    let table = &node.inner().processes;
                    holder = table.register(NameScope::Region, name, &process).err();
                }
            },
        )?;
        match holder {
            None => Ok(addr.region_addr()),
            Some(holder) => {
                self.shut_down(addr.pid());
                found(holder)
            }
        }
    }

    fn arbiter(&self) -> &ArbiterHandle {
        let arbiters = &self.inner().arbiters;
        if arbiters.is_empty() {
            return &self.inner().hub_arbiter;
        }
        &arbiters[self.inner().next_arbiter.fetch_add(1, Ordering::Relaxed) % arbiters.len()]
    }
}
