//! Links by hand: `connect` asks for one, `disconnect` ends one for as long as it is not taken back.

use std::{rc::Rc, time::Duration};

use fedist_registry::{BadAddress, Micros, RegionId, Status, check_address, detour};
use fedist_transport::link::{DialError, Link};
use tokio::sync::oneshot;

use super::{Core, CoreRef, contacts::Waiting};
use crate::Node;

/// Why a link was not opened. Nothing was changed: neither is the address kept, nor has a
/// [`disconnect`](Node::disconnect) been taken back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// It is no address. Never retry.
    #[error(transparent)]
    BadAddress(#[from] BadAddress),
    /// It leads to this node itself. Never retry.
    #[error(
        "region {region} is this node's own; a node has no link with itself; give the address of another region"
    )]
    Ourselves {
        /// The region of this node.
        region: RegionId,
    },
    /// The registry copy has no such region. It may come; or connect by address.
    #[error(
        "unknown region ({region}); the registry copy here has no such member; list them: fedist regions, or connect by address"
    )]
    UnknownRegion {
        /// The region that was asked for.
        region: RegionId,
    },
    /// The region advertises no address. Have it connect to this one.
    #[error(
        "no address of region {region} is known; a region that only dials cannot be dialed; have it connect to this one"
    )]
    NoAddress {
        /// The region that was asked for.
        region: RegionId,
    },
    /// Nobody answered, or somebody with whom there can be no link: another federation, another region. See the cause.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The region was reached, and there is no link nevertheless: it has too many, it was told to
    /// [`disconnect`](Node::disconnect) from this one, or its number has another key.
    #[error(
        "region {region} was reached and there is no link ({reason}); both ends must want it; ask at region {region}"
    )]
    Refused {
        /// The region that answered.
        region: RegionId,
        /// Why not, in the words of the end that closed it.
        reason: String,
    },
    /// There was no link in time. Retry later.
    #[error("no link to {target} within {} s; the region must answer and greet; check that it runs and try again", after.as_secs())]
    TimedOut {
        /// The address or region.
        target: String,
        /// How long it was tried.
        after: Duration,
    },
    /// This node is stopped.
    #[error("the node is stopped; it opens no links any more; start it again")]
    Stopped,
}

/// Why a region was not parted from. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DisconnectError {
    /// It is this node's own region.
    #[error(
        "region {region} is this node's own; a node has no link with itself; name another region"
    )]
    Ourselves {
        /// The region of this node.
        region: RegionId,
    },
    /// Neither the registry copy nor a link knows it.
    #[error(
        "unknown region ({region}); the registry copy here has no such member, and there is no link to it; list them: fedist regions"
    )]
    UnknownRegion {
        /// The region that was named.
        region: RegionId,
    },
    /// It is the parent or a child, and no other way leads there: the tree would be cut. Open another way first.
    #[error(
        "region {region} is the {relation} and this link is the only way there; the tree must hold; connect to another region first, move below another parent (fedist region set --parent), or leave (fedist leave)"
    )]
    OnlyWay {
        /// The region that was named.
        region: RegionId,
        /// `parent` or `child`.
        relation: &'static str,
    },
    /// This node is stopped; it has no links.
    #[error("the node is stopped; it has no links any more")]
    Stopped,
}

#[derive(Clone)]
enum Target {
    Address(String),
    Region(RegionId),
}

impl Node {
    /// Opens a link to whoever is at `address` and keeps it, as if it had been configured, until [`disconnect`](Self::disconnect)
    /// or the end of this node: when it breaks it is opened again. Gives the region that answered, once the link is in use; ten
    /// seconds at most. Where there is a link already it is kept from now on. Takes a `disconnect` back.
    ///
    /// As `net_kernel:connect_node` in Erlang, but by address: who is there shows in the handshake, which lets in only members
    /// of this federation.
    ///
    /// # Errors
    /// [`ConnectError`]; nothing is kept then.
    ///
    /// # Cancel safety
    /// Dropping the future does not end the attempt.
    pub async fn connect(&self, address: impl Into<String>) -> Result<RegionId, ConnectError> {
        let address = address.into();
        check_address(&address)?;
        self.connect_to(Target::Address(address)).await
    }

    /// As [`connect`](Self::connect), to a region of the registry, at the addresses that are known for it.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect_region(&self, region: RegionId) -> Result<(), ConnectError> {
        self.connect_to(Target::Region(region)).await.map(drop)
    }

    async fn connect_to(&self, target: Target) -> Result<RegionId, ConnectError> {
        let (done, connected) = oneshot::channel();
        let begun = self.on_hub(move |core| {
            if let Some(core) = core.handle() {
                actix_rt::spawn(async move {
                    let _ = done.send(connect(&core, target).await);
                });
            }
        });
        begun.await.ok_or(ConnectError::Stopped)?;
        connected.await.unwrap_or(Err(ConnectError::Stopped))
    }

    /// Closes the link to `region`, and neither opens it again nor lets the region in, whatever else speaks for it, until
    /// [`connect`](Self::connect), [`connect_region`](Self::connect_region) or the end of this node. The other end is told and
    /// leaves this region alone. Returns when the link is closed: routes leave it first, so nothing is lost, which takes some
    /// four seconds and eleven at most.
    ///
    /// Messages still flow, over other links and relays, if there are any; membership is not touched (that is
    /// [`leave`](Self::leave)). Unlike `erlang:disconnect_node`, no message opens the link again.
    ///
    /// The tree of the hierarchy is not cut: where the region is the parent or a child and no other way leads to it, that is
    /// refused, and when the last other way has been gone for five seconds, the disconnect is taken back by itself.
    ///
    /// # Errors
    /// [`DisconnectError`].
    ///
    /// # Cancel safety
    /// The link is closed even if the future is dropped.
    pub async fn disconnect(&self, region: RegionId) -> Result<(), DisconnectError> {
        let begun = self.on_hub(move |core| core.begin_disconnect(region)).await;
        match begun.ok_or(DisconnectError::Stopped)?? {
            Some(closed) => closed.await.map_err(|_| DisconnectError::Stopped),
            None => Ok(()),
        }
    }
}

async fn connect(core: &CoreRef, target: Target) -> Result<RegionId, ConnectError> {
    let shown = match &target {
        Target::Address(address) => address.clone(),
        Target::Region(region) => format!("region {region}"),
    };
    let attempt = async {
        let fabric = {
            let core = core.borrow();
            if core.is_stopping() {
                return Err(ConnectError::Stopped);
            }
            Rc::clone(&core.fabric)
        };
        let (link, address) = match target {
            Target::Address(address) => {
                core.borrow().refuse_own_address(&address)?;
                (fabric.dial(&address, None).await?, Some(address))
            }
            Target::Region(region) => {
                let addresses = core.borrow_mut().connectable(region)?;
                let Some(addresses) = addresses else {
                    return Ok(region);
                };
                (fabric.dial_any(&addresses, Some(region)).await?, None)
            }
        };
        greet(core, link, address).await
    };
    let timed_out = Err(ConnectError::TimedOut { target: shown, after: CONNECT_TIMEOUT });
    tokio::time::timeout(CONNECT_TIMEOUT, attempt).await.unwrap_or(timed_out)
}

/// From the handshake to a link that is in use and kept.
async fn greet(
    core: &CoreRef,
    link: Link,
    address: Option<String>,
) -> Result<RegionId, ConnectError> {
    let peer = link.peer.region;
    let mut reunion = Reunion { core, peer, parted: None };
    let up = {
        let mut core = core.borrow_mut();
        if peer == core.region() {
            link.tx.close("a node has no link with itself");
            return Err(ConnectError::Ourselves { region: peer });
        }
        reunion.parted = core.contacts.parted.remove(&peer);
        match core.links.contains_key(&peer) {
            true => {
                link.tx.close("another link is in use");
                None
            }
            false => Some(core.await_hello(link)?),
        }
    };
    if let Some(up) = up {
        up.await.unwrap_or(Err(ConnectError::Stopped))?;
    }
    reunion.parted = None;
    core.borrow_mut().pin(peer, address);
    Ok(peer)
}

/// Takes the end of a disconnect back when the new link does not come about, for whatever reason.
struct Reunion<'a> {
    core: &'a CoreRef,
    peer: RegionId,
    parted: Option<Option<Micros>>,
}

impl Drop for Reunion<'_> {
    fn drop(&mut self) {
        // The core is not borrowed while this future waits or ends, but a defect there is no reason to panic here.
        if let (Some(parted), Ok(mut core)) = (self.parted.take(), self.core.try_borrow_mut()) {
            core.contacts.parted.insert(self.peer, parted);
        }
    }
}

impl Core {
    fn refuse_own_address(&self, address: &str) -> Result<(), ConnectError> {
        match self.is_own_address(address) {
            true => Err(ConnectError::Ourselves { region: self.region() }),
            false => Ok(()),
        }
    }

    /// Where to dial a region; none where a link is up, which is kept from now on.
    fn connectable(&mut self, region: RegionId) -> Result<Option<Vec<String>>, ConnectError> {
        if region == self.region() {
            return Err(ConnectError::Ourselves { region });
        }
        if self.links.contains_key(&region) {
            self.contacts.parted.remove(&region);
            self.pin(region, None);
            return Ok(None);
        }
        let member = self.registry.get(region).is_some_and(|it| it.status != Status::Left);
        let addresses = self.addresses_of(region);
        match (member || !addresses.is_empty(), addresses.is_empty()) {
            (false, _) => Err(ConnectError::UnknownRegion { region }),
            (true, true) => Err(ConnectError::NoAddress { region }),
            (true, false) => Ok(Some(addresses)),
        }
    }

    fn await_hello(
        &mut self,
        link: Link,
    ) -> Result<oneshot::Receiver<Result<RegionId, ConnectError>>, ConnectError> {
        let peer = link.peer.region;
        let refused = |reason| ConnectError::Refused { region: peer, reason };
        let serial = self.link_ready(link).map_err(refused)?;
        let (done, up) = oneshot::channel();
        self.contacts.waiting.push(Waiting { peer, serial, done });
        Ok(up)
    }

    fn pin(&mut self, region: RegionId, address: Option<String>) {
        let addresses = self.contacts.pinned.entry(region).or_default();
        if addresses.len() < MAX_GIVEN {
            addresses.extend(address);
        }
        self.sync_contacts();
    }

    fn begin_disconnect(
        &mut self,
        region: RegionId,
    ) -> Result<Option<oneshot::Receiver<()>>, DisconnectError> {
        if self.is_stopping() {
            return Err(DisconnectError::Stopped);
        }
        if region == self.region() {
            return Err(DisconnectError::Ourselves { region });
        }
        let member = self.registry.get(region).is_some_and(|it| it.status != Status::Left);
        let known = member
            || self.links.contains_key(&region)
            || self.is_greeting(region)
            || self.contacts.book.regions().contains(&region);
        if !known {
            return Err(DisconnectError::UnknownRegion { region });
        }
        if let Some(relation) = self.relation_to(region)
            && self.links.contains_key(&region)
            && !self.has_way_around(region)
        {
            return Err(DisconnectError::OnlyWay { region, relation });
        }
        tracing::info!(%region, "disconnected by request");
        self.count("disconnects");
        self.contacts.pinned.remove(&region);
        self.contacts.parted.entry(region).or_default();
        self.sync_contacts();
        for port in self.greeting.values().filter(|port| port.peer == region) {
            port.tx.close(DISCONNECTED);
        }
        if !self.links.contains_key(&region) {
            return Ok(None);
        }
        if !self.is_live() {
            // Nothing but the join itself can be under way.
            if let Some(port) = self.links.remove(&region) {
                port.tx.close(DISCONNECTED);
                self.link_changed(false);
            }
            return Ok(None);
        }
        let (closed, done) = oneshot::channel();
        self.contacts.parting.push((region, closed));
        Ok(Some(done))
    }

    /// What a region is in the tree, where it is next to this one.
    fn relation_to(&self, region: RegionId) -> Option<&'static str> {
        let parent_of = |id: RegionId| self.registry.get(id).and_then(|record| record.parent);
        if parent_of(self.region()) == Some(region) {
            return Some("parent");
        }
        (parent_of(region) == Some(self.region())).then_some("child")
    }

    /// Whether a way leads to a region that does not use the link to it.
    fn has_way_around(&self, region: RegionId) -> bool {
        detour(self.region(), region, self.graph(), &[region]).is_some()
    }

    /// Whether a link with a region is refused. One that is next in the tree is let in where no other way leads to it.
    pub(super) fn refuses_link(&mut self, region: RegionId) -> bool {
        if !self.contacts.parted.contains_key(&region) {
            return false;
        }
        let cut_off = self.relation_to(region).is_some() && self.routes.get(region).is_none();
        if cut_off {
            self.lift_parting(region);
        }
        !cut_off
    }

    /// A parent or a child to which no way has led for a while is not kept away any longer.
    pub(super) fn lift_partings(&mut self, now: Micros) {
        if self.contacts.parted.is_empty() || !self.is_live() {
            return;
        }
        let mut parted = std::mem::take(&mut self.contacts.parted);
        let mut lifted = Vec::new();
        for (region, cut_off_since) in &mut parted {
            let next = self.relation_to(*region).is_some();
            let cut_off = next && self.routes.get(*region).is_none();
            match cut_off {
                false => *cut_off_since = None,
                true if now.saturating_sub(*cut_off_since.get_or_insert(now)) >= LIFT_AFTER => {
                    lifted.push(*region);
                }
                true => {}
            }
        }
        self.contacts.parted = parted;
        for region in lifted {
            self.lift_parting(region);
        }
    }

    fn lift_parting(&mut self, region: RegionId) {
        tracing::warn!(%region, "a disconnect is taken back: no other way leads there, and the tree must hold");
        self.count("disconnects_lifted");
        self.contacts.parted.remove(&region);
        self.sync_contacts();
    }

    /// Tells those whose link is gone.
    pub(super) fn settle_partings(&mut self) {
        let parting = std::mem::take(&mut self.contacts.parting);
        for (region, closed) in parting {
            // One that was taken back meanwhile has nothing to wait for either.
            let waits =
                self.links.contains_key(&region) && self.contacts.parted.contains_key(&region);
            if waits {
                self.contacts.parting.push((region, closed));
            } else {
                let _ = closed.send(());
            }
        }
    }
}

/// What a region is told that is not wanted as a neighbour.
pub(super) const DISCONNECTED: &str = "it was told to disconnect from this region";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Addresses kept for one region that was connected to by hand.
const MAX_GIVEN: usize = 8;
/// How long the tree may be cut by a disconnect; routes that change need some of it.
const LIFT_AFTER: Micros = Micros::from_secs(5);
