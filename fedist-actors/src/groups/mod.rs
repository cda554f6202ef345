//! Groups and presence: actors of any region under a common name, and one message to all of them.
//!
//! [`Groups`] is the handle. Behind it are two engines without clock or network, `membership` (who
//! is in which group) and `multicast` (one copy of a publish per link); the `book` keeps them behind a
//! lock, and the group service does what they say.

mod book;
mod fanout;
mod member;
mod membership;
mod multicast;
mod pause_board;
mod protocol;
mod publish;
mod service;
mod stream;
mod watch;

use std::sync::Arc;

use actix::{Actor, Recipient};
use fedist_registry::RegionPid;
use serde::Serialize;

pub(crate) use book::GroupBook;
pub use member::{GroupEvent, LeaveReason, Member, Meta};
pub use multicast::GroupCounters;
pub(crate) use protocol::{GroupCopy, GroupStream, GroupUpdate, Hello};
pub use publish::PublishError;
pub(crate) use service::GroupService;
pub use watch::GroupWatch;

use crate::{LocalAddr, Node};

/// The groups of the federation, as this node sees them. Cheap to clone.
///
/// A group is a name; it begins with its first member and ends with the last. Every region enters
/// its own actors and tells the others, so all regions know all members: after the time that a
/// message needs, or after the heal of a split. Members of a region that cannot be reached are left
/// out until it is back. A region takes part from its first [`Node::groups`] on; what it knows of
/// other regions is complete a round trip later.
#[derive(Clone)]
pub struct Groups {
    node: Node,
}

impl Node {
    /// The groups of the federation. From the first call on this region takes part in them.
    pub fn groups(&self) -> Groups {
        self.inner().groups.take_part();
        Groups { node: self.clone() }
    }
}

impl<A: Actor> From<&LocalAddr<A>> for RegionPid {
    fn from(addr: &LocalAddr<A>) -> RegionPid {
        addr.pid()
    }
}

impl Groups {
    fn book(&self) -> &GroupBook {
        &self.node.inner().groups
    }

    /// Makes an actor of this node a member of a group; it leaves by itself when it ends.
    ///
    /// As in Erlang's `pg`, an actor that joins several times has to leave as often. It is listed once
    /// and gets each publish once, and the metadata of the latest join counts.
    /// It gets the publishes of other regions and of this one whose type it is exported for.
    ///
    /// # Errors
    /// [`JoinError`]; nothing changed then.
    pub fn join<T: Serialize + ?Sized>(
        &self,
        group: &str,
        actor: impl Into<RegionPid>,
        meta: &T,
    ) -> Result<(), JoinError> {
        let pid = self.own(actor.into())?;
        if self.node.local_address_of(pid).is_none() {
            return Err(JoinError::NoActor { pid });
        }
        if self.book().join(group, pid.local(), Meta::new(meta)?)? {
            let node = self.node.clone();
            let ended = move |down: crate::Down| {
                node.inner().groups.ended(pid.local(), &down.reason);
            };
            self.node.watch(pid, Box::new(ended));
        }
        Ok(())
    }

    /// Takes one join back. False when the actor was not a member.
    pub fn leave(&self, group: &str, actor: impl Into<RegionPid>) -> bool {
        let pid = actor.into();
        pid.region() == self.node.region() && self.book().leave(group, pid.local())
    }

    /// Replaces the metadata of a member of this node; watchers get [`GroupEvent::Updated`].
    ///
    /// # Errors
    /// [`JoinError`], `NotMember` among others; nothing changed then.
    pub fn update_meta<T: Serialize + ?Sized>(
        &self,
        group: &str,
        actor: impl Into<RegionPid>,
        meta: &T,
    ) -> Result<(), JoinError> {
        let pid = self.own(actor.into())?;
        match self.book().update_meta(group, pid.local(), Meta::new(meta)?)? {
            true => Ok(()),
            false => Err(JoinError::NotMember { pid, group: group.to_owned() }),
        }
    }

    /// The members of a group in all regions that can be reached, ordered by pid.
    pub fn members(&self, group: &str) -> Vec<Member> {
        self.book().members(group)
    }

    /// The members of a group in this region.
    pub fn local_members(&self, group: &str) -> Vec<Member> {
        self.book().local_members(group)
    }

    /// The names of the groups that begin with `prefix` and have members, in order; `""` for all.
    pub fn groups(&self, prefix: &str) -> Vec<Arc<str>> {
        self.book().groups(prefix)
    }

    /// Watches all groups whose names begin with `prefix`: first who is there now, then every change,
    /// without a gap between the two.
    pub fn watch(&self, prefix: impl Into<String>) -> GroupWatch {
        GroupWatch::new(self.node.clone(), self.book().watch(prefix.into()))
    }

    /// As [`watch`](Self::watch), with the events sent to an actor, each after the one before was
    /// handled. Ends when the actor ends.
    pub fn watch_for(&self, prefix: impl Into<String>, watcher: Recipient<GroupEvent>) {
        let mut watch = self.watch(prefix);
        self.node.inner().hub_arbiter.spawn(async move {
            loop {
                match tokio::time::timeout(CHECK_WATCHER, watch.next()).await {
                    Ok(Some(event)) => {
                        if watcher.send(event).await.is_err() && !watcher.connected() {
                            return;
                        }
                    }
                    Ok(None) => return,
                    Err(_) if !watcher.connected() => return,
                    Err(_) => {}
                }
            }
        });
    }

    /// What has happened to publishes in this node, in numbers.
    pub fn counters(&self) -> GroupCounters {
        self.book().counters()
    }

    fn own(&self, pid: RegionPid) -> Result<RegionPid, JoinError> {
        if pid.region() == self.node.region() { Ok(pid) } else { Err(JoinError::NotLocal { pid }) }
    }
}

/// How often it is checked whether an actor that watches still lives when nothing happens.
const CHECK_WATCHER: std::time::Duration = std::time::Duration::from_secs(5);

/// Why an actor did not become a member, or its metadata was not changed; nothing changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The name cannot be a group's.
    #[error(
        "malformed group name ({group:?}); it has 1 to 255 bytes and no control characters; write e.g. room/rust"
    )]
    MalformedGroup {
        /// The name as given.
        group: String,
    },
    /// The actor lives in another region.
    #[error(
        "actor of another region ({pid}); a region enters its own actors only; join from a node of region {}", .pid.region()
    )]
    NotLocal {
        /// The actor.
        pid: RegionPid,
    },
    /// Nothing lives at the pid.
    #[error("no actor ({pid}); only a living actor can be a member; join before it ends")]
    NoActor {
        /// The pid.
        pid: RegionPid,
    },
    /// Metadata of an actor that is no member.
    #[error("not a member ({pid}, of {group}); only members have metadata; join first")]
    NotMember {
        /// The actor.
        pid: RegionPid,
        /// The group.
        group: String,
    },
    /// The metadata is too long.
    #[error("metadata too long ({len} bytes); at most {max}; keep the rest in the actor")]
    MetaTooLarge {
        /// Its length as encoded.
        len: usize,
        /// The longest allowed.
        max: usize,
    },
    /// The metadata's `Serialize` failed.
    #[error("metadata: {0}")]
    Encode(String),
    /// The region has as many memberships as allowed.
    #[error(
        "too many memberships in this region; at most {members} and {bytes} bytes; use fewer groups or shorter metadata"
    )]
    Full {
        /// Memberships allowed.
        members: usize,
        /// Bytes of names and metadata allowed.
        bytes: usize,
    },
}
