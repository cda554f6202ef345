//! The name service of a region, and what it is asked.

use actix::{Actor, Handler, MessageResult};
use fedist_registry::RegionPid;

use super::{AliasState, FencingToken, Lease, LeaseRefusal, NameScope, is_name};
use crate::{Context, Message, Node, Origin};

/// Asks a region's name service for a name.
#[derive(Debug, Message, serde::Serialize, serde::Deserialize)]
#[rtype(result = "Option<RegionPid>")]
#[wire(name = "fedist.names.whereis", version = 1, crate = "crate")]
pub struct Whereis {
    /// The name within the region.
    pub name: String,
}

/// Asks the root for the lease of an alias, or to prolong the one with this token.
#[derive(Debug, Message, serde::Serialize, serde::Deserialize)]
#[rtype(result = "Result<Lease, LeaseRefusal>")]
#[wire(name = "fedist.names.lease", version = 1, crate = "crate")]
pub(crate) struct AskAliasLease {
    pub(crate) alias: String,
    pub(crate) holder: RegionPid,
    /// `None` for a first lease.
    pub(crate) token: Option<FencingToken>,
    pub(crate) origin: Origin,
}

/// Gives a lease back to the root.
#[derive(Debug, Message, serde::Serialize, serde::Deserialize)]
#[wire(name = "fedist.names.release", version = 1, crate = "crate")]
pub(crate) struct ReleaseAlias {
    pub(crate) alias: String,
    pub(crate) holder: RegionPid,
    pub(crate) token: FencingToken,
    pub(crate) origin: Origin,
}

/// Asks the root who holds an alias.
#[derive(Debug, Message, serde::Serialize, serde::Deserialize)]
#[rtype(result = "AliasState")]
#[wire(name = "fedist.names.holder", version = 1, crate = "crate")]
pub(crate) struct WhoHolds {
    pub(crate) alias: String,
}

/// The name service at the well-known pid `region.5`. All that it knows is in the node, so it may be restarted.
pub(crate) struct NameService {
    pub(crate) node: Node,
}

impl NameService {
    /// A region speaks for its own actors only.
    fn speaks_for(&self, origin: Origin, holder: RegionPid) -> bool {
        origin.region().unwrap_or(self.node.region()) == holder.region()
    }
}

impl Actor for NameService {
    type Context = Context<Self>;
}

impl Handler<Whereis> for NameService {
    type Result = MessageResult<Whereis>;

    fn handle(&mut self, message: Whereis, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.node.inner().processes.whereis(NameScope::Region, &message.name))
    }
}

impl Handler<AskAliasLease> for NameService {
    type Result = MessageResult<AskAliasLease>;

    fn handle(&mut self, message: AskAliasLease, _: &mut Context<Self>) -> Self::Result {
        let AskAliasLease { alias, holder, token, origin } = message;
        let now = self.node.inner().clock.now();
        if !self.speaks_for(origin, holder) || !is_name(&alias) {
            return MessageResult(Err(LeaseRefusal::Denied));
        }
        let Some(mut leases) = self.node.inner().names.leases() else {
            return MessageResult(Err(LeaseRefusal::NotRoot));
        };
        MessageResult(match token {
            None => leases.grant(now, &alias, holder),
            Some(token) => leases.renew(now, &alias, holder, token),
        })
    }
}

impl Handler<ReleaseAlias> for NameService {
    type Result = ();

    fn handle(&mut self, message: ReleaseAlias, _: &mut Context<Self>) {
        let now = self.node.inner().clock.now();
        if self.speaks_for(message.origin, message.holder)
            && let Some(mut leases) = self.node.inner().names.leases()
        {
            leases.release(now, &message.alias, message.holder, message.token);
        }
    }
}

impl Handler<WhoHolds> for NameService {
    type Result = MessageResult<WhoHolds>;

    fn handle(&mut self, message: WhoHolds, _: &mut Context<Self>) -> Self::Result {
        let now = self.node.inner().clock.now();
        MessageResult(match self.node.inner().names.leases() {
            Some(mut leases) => leases.holder(now, &message.alias),
            None => AliasState::Free,
        })
    }
}
