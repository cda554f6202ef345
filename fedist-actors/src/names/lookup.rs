//! From a path to a pid: own names from memory, others from the cache or by asking their owner.
//!
//! Lookups of one path share one question, as far as it has a good answer. What is sent to a name while the question is under way
//! waits behind it, in order, so that the first message to a name does not overtake the second.

use std::{
    collections::{HashMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
};

use actix::Actor;
use fedist_registry::{Micros, RegionId, RegionPid, service};
use tokio::sync::oneshot;

use super::{
    AliasState, NameScope, Whereis, WhoHolds,
    cache::{LIFETIME, LookupCache},
    path::NamePath,
};
use crate::{
    AskError, Node, PidSend, RegionAddr,
    outbound::Outbound,
    process::{Current, current, with_current},
};

/// Why a name could not be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// The path is none of the three forms, or one of its parts is empty or too long.
    #[error(
        "malformed path ({path}); it is `region/name` with the region's name or number, `name` for this node, or `@alias`; write e.g. us-east/room/rust"
    )]
    Malformed {
        /// The path as given.
        path: String,
    },
    /// No region of that name or number.
    #[error(
        "unknown region ({region}); it is not in this node's copy of the registry; see `fedist regions`"
    )]
    UnknownRegion {
        /// The first part of the path.
        region: String,
    },
    /// The region answers, but nothing there has the name.
    #[error(
        "no such name ({name}, in region {region}); no living actor is registered under it; check the spelling"
    )]
    NotFound {
        /// The name.
        name: String,
        /// The region that was asked.
        region: RegionId,
    },
    /// Nobody holds the alias.
    #[error("nobody holds the alias ({alias}); an actor has to claim it; see `claim_alias`")]
    NoHolder {
        /// The alias, without its `@`.
        alias: String,
        /// The root that was asked.
        root: RegionId,
    },
    /// The root has restarted and does not know all holders again yet.
    #[error(
        "the holder of the alias is not known yet ({alias}, for {left_ms} ms at most); the root has restarted; ask again later"
    )]
    Settling {
        /// The alias, without its `@`.
        alias: String,
        /// The root that was asked.
        root: RegionId,
        /// Time until it is known at the latest, in milliseconds.
        left_ms: u64,
    },
    /// The region could not be asked.
    #[error("the name service of region {region} did not answer: {error}")]
    Ask {
        /// The region that was asked.
        region: RegionId,
        /// What happened.
        error: AskError,
    },
    /// As many lookups and messages wait for answers about names as may. Ask again later.
    #[error(
        "too many lookups are under way ({path}); a node keeps a bounded number; ask again later"
    )]
    Busy {
        /// The path as asked for.
        path: String,
    },
}

/// The lookups of a node: what was found lately and what is being asked.
pub(crate) struct Lookups {
    cache: LookupCache,
    random: fastrand::Rng,
    /// What waits for the answer about a path, by the cache's key.
    pending: HashMap<String, VecDeque<Waiter>>,
    waiting: usize,
}

struct Waiter {
    /// The actor on whose behalf this waits.
    pid: Option<RegionPid>,
    resume: Resume,
}

/// What waits for a pid.
pub(crate) type Resume = Box<dyn FnOnce(&Node, &Result<RegionPid, LookupError>) + Send>;

/// Paths that are asked about at a time.
const PENDING_MAX: usize = 4_096;
/// Messages and lookups that wait for answers about paths, in all.
const WAITING_MAX: usize = 65_536;

impl Lookups {
    pub(crate) fn new(capacity: usize, random: fastrand::Rng) -> Self {
        Self { cache: LookupCache::new(capacity), random, pending: HashMap::new(), waiting: 0 }
    }
}

/// What a path comes to at once.
pub(crate) enum Resolved<T> {
    /// It is known, and nothing that was sent before waits.
    Known(RegionPid, T),
    /// It leads nowhere.
    Failed(LookupError, T),
    /// Its owner is asked; what was handed over goes on with the answer.
    Waiting,
}

/// Where an answer about a path comes from.
#[derive(Clone)]
enum Owner {
    Here(Result<RegionPid, LookupError>),
    Region(RegionId, String),
    Root(RegionId, String),
}

impl Owner {
    fn key(&self) -> String {
        match self {
            Owner::Here(_) => String::new(),
            Owner::Region(region, name) => format!("{region}/{name}"),
            Owner::Root(_, alias) => format!("@{alias}"),
        }
    }
}

impl Node {
    /// The pid behind a path: `region/name` with the region's name or number, `name` for a name of this
    /// node (its node-local ones first, then the region's own), `@alias` for the holder of an alias.
    ///
    /// Own names come from memory. Those of other regions and aliases are looked up once and kept:
    /// until the actor ends or its region is lost, and for 30 s at most, so a name that has been
    /// unregistered or moved meanwhile may be seen in its old place for that long.
    ///
    /// # Errors
    /// [`LookupError`]. Failures are not kept.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping the future.
    pub async fn whereis(&self, path: &str) -> Result<RegionPid, LookupError> {
        self.resolve(&NamePath::parse(path)?).await
    }

    /// Finds an actor by its path; as [`whereis`](Self::whereis), with its type.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn lookup<A: Actor>(&self, path: &str) -> Result<RegionAddr<A>, LookupError> {
        let pid = self.whereis(path).await?;
        Ok(RegionAddr::new(self, pid))
    }

    /// The region with this name or number, from this node's copy of the registry.
    ///
    /// # Errors
    /// [`LookupError::UnknownRegion`].
    pub fn region_called(&self, text: &str) -> Result<RegionId, LookupError> {
        let view = self.view();
        let by_number = text
            .parse::<RegionId>()
            .ok()
            .filter(|id| *id == self.region() || view.registry.get(*id).is_some());
        by_number
            .or_else(|| view.registry.by_name(text).map(|record| record.id))
            .ok_or_else(|| LookupError::UnknownRegion { region: text.to_owned() })
    }

    pub(crate) async fn resolve(&self, path: &NamePath) -> Result<RegionPid, LookupError> {
        let (found, wait) = oneshot::channel();
        let resume = |found: oneshot::Sender<_>| -> Resume {
            Box::new(move |_, outcome| {
                let _ = found.send(outcome.clone());
            })
        };
        match self.resolve_now(path, found, resume) {
            Resolved::Known(pid, _) => Ok(pid),
            Resolved::Failed(error, _) => Err(error),
            Resolved::Waiting => match wait.await {
                Ok(outcome) => outcome,
                Err(_) => Err(self.lookup_stopped()),
            },
        }
    }

    /// Resolves a path without waiting, or keeps `item` until its owner has answered.
    pub(crate) fn resolve_now<T>(
        &self,
        path: &NamePath,
        item: T,
        wait: impl FnOnce(T) -> Resume,
    ) -> Resolved<T> {
        let owner = match self.owner_of(path) {
            Ok(Owner::Here(Ok(pid))) => return Resolved::Known(pid, item),
            Ok(Owner::Here(Err(error))) | Err(error) => return Resolved::Failed(error, item),
            Ok(owner) => owner,
        };
        let (key, now) = (owner.key(), self.inner().clock.now());
        let mut lookups = self.inner().names.lookups();
        let asked = lookups.pending.contains_key(&key);
        if !asked && let Some(pid) = lookups.cache.get(now, &key) {
            return Resolved::Known(pid, item);
        }
        if lookups.waiting >= WAITING_MAX || (!asked && lookups.pending.len() >= PENDING_MAX) {
            return Resolved::Failed(LookupError::Busy { path: key }, item);
        }
        lookups.waiting += 1;
        let waiter = Waiter { pid: current().map(|current| current.pid), resume: wait(item) };
        lookups.pending.entry(key.clone()).or_default().push_back(waiter);
        drop(lookups);
        if !asked {
            let question = Question { node: self.clone(), key };
            self.queue(Outbound::Run(Box::new(move |_| {
                actix_rt::spawn(question.ask(owner));
            })));
        }
        Resolved::Waiting
    }

    /// Nobody was found at `pid`: the next lookup of the path asks its owner again.
    pub(crate) fn forget_found(&self, path: &NamePath, pid: RegionPid) {
        let Ok(owner) = self.owner_of(path) else {
            return;
        };
        let unwatch = self.inner().names.lookups().cache.forget(&owner.key(), pid);
        if let Some((pid, monitor)) = unwatch {
            self.unwatch(pid, monitor);
        }
    }

    fn owner_of(&self, path: &NamePath) -> Result<Owner, LookupError> {
        let processes = &self.inner().processes;
        let here = |found: Option<RegionPid>, name: &str| {
            let region = self.region();
            Owner::Here(
                found.ok_or_else(|| LookupError::NotFound { name: name.to_owned(), region }),
            )
        };
        match path {
            NamePath::Here(name) => {
                let found = processes
                    .whereis(NameScope::Node, name)
                    .or_else(|| processes.whereis(NameScope::Region, name));
                Ok(here(found, name))
            }
            NamePath::Region { region, name } => match self.region_called(region)? {
                region if region == self.region() => {
                    Ok(here(processes.whereis(NameScope::Region, name), name))
                }
                region => Ok(Owner::Region(region, name.clone())),
            },
            NamePath::Alias(alias) => Ok(Owner::Root(self.root(), alias.clone())),
        }
    }

    /// The region whose name service answers about a path; this one where no other is known.
    pub(crate) fn owner_region(&self, path: &NamePath) -> RegionId {
        match path {
            NamePath::Here(_) => self.region(),
            NamePath::Region { region, .. } => self.region_called(region).unwrap_or(self.region()),
            NamePath::Alias(_) => self.root(),
        }
    }

    /// The region that grants aliases. Before the registry's copy has a root, this region itself,
    /// which then says that it is not the root.
    pub(crate) fn root(&self) -> RegionId {
        self.view().registry.hierarchy().root().unwrap_or(self.region())
    }

    fn lookup_stopped(&self) -> LookupError {
        LookupError::Ask { region: self.region(), error: AskError::Stopped }
    }

    /// Keeps an answer, and watches the actor for as long.
    fn keep_found(&self, key: &str, pid: RegionPid, lifetime: Micros) {
        let now = self.inner().clock.now();
        let (entry, unwatch) = {
            let mut lookups = self.inner().names.lookups();
            let Lookups { cache, random, .. } = &mut *lookups;
            cache.insert(now, key, pid, lifetime, random)
        };
        if let Some((pid, monitor)) = unwatch {
            self.unwatch(pid, monitor);
        }
        let Some(entry) = entry else {
            return;
        };
        let (node, path) = (self.clone(), key.to_owned());
        let down = move |_| node.inner().names.lookups().cache.down(&path, entry);
        let monitor = self.watch(pid, Box::new(down));
        if !self.inner().names.lookups().cache.watched(key, entry, monitor) {
            self.unwatch(pid, monitor);
        }
    }

    /// Asks the owner of a name; gives also for how long the answer may be kept.
    async fn ask_owner(&self, owner: &Owner) -> Result<(RegionPid, Micros), LookupError> {
        match owner.clone() {
            Owner::Here(found) => Ok((found?, Micros::ZERO)),
            Owner::Region(region, name) => {
                let answer = RegionPid::new(region, service::NAMES)
                    .send(self, Whereis { name: name.clone() })
                    .await
                    .map_err(|error| LookupError::Ask { region, error })?;
                let pid = answer.ok_or(LookupError::NotFound { name, region })?;
                Ok((pid, LIFETIME))
            }
            Owner::Root(root, alias) => {
                let answer = RegionPid::new(root, service::NAMES)
                    .send(self, WhoHolds { alias: alias.clone() })
                    .await
                    .map_err(|error| LookupError::Ask { region: root, error })?;
                match answer {
                    AliasState::Held { holder, left, .. } => Ok((holder, left.min(LIFETIME))),
                    AliasState::Free => Err(LookupError::NoHolder { alias, root }),
                    AliasState::Settling { left } => {
                        Err(LookupError::Settling { alias, root, left_ms: left.as_millis() })
                    }
                }
            }
        }
    }
}

/// The questions about one path. When it is dropped unfinished, all that waits for an answer goes on
/// with the news that the node is stopped.
struct Question {
    node: Node,
    key: String,
}

impl Question {
    /// Asks until nobody waits any more. A good answer is for all who wait. A bad one is for those
    /// only who waited when the question was put: the others may know that the name is registered by now.
    async fn ask(self, owner: Owner) {
        loop {
            let batch = {
                let lookups = self.node.inner().names.lookups();
                lookups.pending.get(&self.key).map_or(0, VecDeque::len)
            };
            let answer = self.node.ask_owner(&owner).await;
            if let Ok((pid, lifetime)) = &answer {
                self.node.keep_found(&self.key, *pid, *lifetime);
            }
            let batch = if answer.is_ok() { usize::MAX } else { batch };
            if self.resume(batch, &answer.map(|(pid, _)| pid)) {
                return;
            }
        }
    }

    /// Lets up to `batch` of those who wait go on. True when nobody waits any more.
    fn resume(&self, batch: usize, outcome: &Result<RegionPid, LookupError>) -> bool {
        let mut resumed = 0;
        loop {
            let waiter = {
                let mut lookups = self.node.inner().names.lookups();
                let Some(waiters) = lookups.pending.get_mut(&self.key) else {
                    return true;
                };
                if waiters.is_empty() {
                    // Only now, after the last one has gone on: nothing may overtake it.
                    lookups.pending.remove(&self.key);
                    return true;
                }
                if resumed == batch {
                    return false;
                }
                let waiter = waiters.pop_front();
                lookups.waiting -= usize::from(waiter.is_some());
                waiter
            };
            resumed += 1;
            if let Some(Waiter { pid, resume }) = waiter {
                let current = pid.map(|pid| Current { node: self.node.clone(), pid });
                let resume = || with_current(current, || resume(&self.node, outcome));
                // Encoding what waited is the application's code; its panic is not to cost the others.
                if catch_unwind(AssertUnwindSafe(resume)).is_err() {
                    tracing::error!(path = %self.key, "a message that waited for a name panicked");
                }
            }
        }
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.resume(usize::MAX, &Err(self.node.lookup_stopped()));
    }
}
