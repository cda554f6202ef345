//! Contacts: the addresses that were discovered, and the regions that a link was asked for, or refused, by hand.
//!
//! The [`AddressBook`] says which addresses to dial; the handshake says whose they are. A region behind one of them is kept
//! by the mesh as a configured one is. What `connect` has brought about is kept in the same way, and what `disconnect` has
//! ended is neither dialed nor let in. The verbs themselves are in `connect.rs`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    rc::Rc,
};

use fedist_registry::{
    AddressBook, LinkReason, Micros, PeerState, PeerStatus, RegionId, SourceId, SourceStatus,
    Standing,
};
use fedist_transport::link::{DialError, Link};
use tokio::sync::oneshot;

use super::Core;
use crate::{ConnectError, Node, discovery::Answer};

/// What this room keeps.
#[derive(Default)]
pub(super) struct Contacts {
    pub(super) book: AddressBook,
    /// Regions that `connect` keeps a link to, and the addresses that it was given.
    pub(super) pinned: BTreeMap<RegionId, BTreeSet<String>>,
    /// Regions that `disconnect` has parted from; for one above or below, since when there has been no other way to it.
    pub(super) parted: BTreeMap<RegionId, Option<Micros>>,
    /// Who waits for a link to come up.
    pub(super) waiting: Vec<Waiting>,
    /// Who waits for a link to be gone.
    pub(super) parting: Vec<(RegionId, oneshot::Sender<()>)>,
    /// What the planner was told.
    told: (BTreeMap<RegionId, LinkReason>, BTreeSet<RegionId>),
}

/// Somebody who waits for the hello on a link.
pub(super) struct Waiting {
    pub(super) peer: RegionId,
    pub(super) serial: u64,
    pub(super) done: oneshot::Sender<Result<RegionId, ConnectError>>,
}

impl Node {
    /// The addresses that were discovered or given to [`connect`](Self::connect): by whom, whose they are, how they stand and what went wrong with
    /// them last. Empty when the node is stopped.
    pub async fn peers(&self) -> Vec<PeerStatus> {
        self.on_hub(Core::peers).await.unwrap_or_default()
    }
}

impl Contacts {
    pub(super) fn with_book(book: AddressBook) -> Self {
        Contacts { book, ..Contacts::default() }
    }

    /// The addresses known for a region beside those of the registry.
    pub(super) fn addresses_of(&self, region: RegionId) -> impl Iterator<Item = &String> {
        let given = self.pinned.get(&region).into_iter().flatten();
        given.chain(self.book.addresses_of(region))
    }
}

impl Core {
    // ---- what the strategies say -------------------------------------------------------------

    /// A strategy has answered, or could not.
    pub(crate) fn handle_discovery(&mut self, source: SourceId, answer: Answer) {
        let name = |core: &Core| {
            let found = core.contacts.book.source_name(source);
            found.unwrap_or_default().to_owned()
        };
        match answer {
            Ok(mut addresses) => {
                let before = addresses.len();
                addresses.retain(|address| self.can_reach(address));
                if addresses.len() < before {
                    self.count("discovered_of_other_family");
                }
                let news = self.contacts.book.handle_answer(source, &addresses);
                if !news.came.is_empty() || !news.went.is_empty() {
                    tracing::info!(source = name(self), came = ?news.came, went = ?news.went, "discovery");
                }
                self.count("discovery_answers");
            }
            Err(error) => {
                let error = error.to_string();
                if self.contacts.book.handle_failure(source, error.as_str()) {
                    tracing::warn!(
                        source = name(self),
                        error,
                        "discovery failed; what was known is kept"
                    );
                }
                self.count("discovery_failures");
            }
        }
        let now = self.now();
        self.tick_contacts(now);
    }

    /// Whether the socket can reach an address at all: one of IPv4 reaches none of IPv6. Names are tried.
    fn can_reach(&self, address: &str) -> bool {
        let local = self.node.local_address().parse::<SocketAddr>();
        !matches!((local, address.parse()), (Ok(SocketAddr::V4(_)), Ok(SocketAddr::V6(_))))
    }

    // ---- dialing them ------------------------------------------------------------------------

    /// Tells the planner what has changed, and dials whose turn it is.
    pub(super) fn tick_contacts(&mut self, now: Micros) {
        self.lift_partings(now);
        self.settle_partings();
        self.contacts.waiting.retain(|waiting| !waiting.done.is_closed());
        self.sync_contacts();
        if self.is_stopping() || self.watch.drain.is_on() || !self.contacts.book.has_sources() {
            return;
        }
        let mut book = std::mem::take(&mut self.contacts.book);
        let due = book.due(now, &|region| self.standing_of(region, now));
        self.contacts.book = book;
        for address in due {
            if self.is_own_address(&address) {
                self.contacts.book.handle_ourselves(&address);
            } else {
                self.dial_discovered(address);
            }
        }
    }

    fn standing_of(&self, region: RegionId, now: Micros) -> Standing {
        if self.contacts.parted.contains_key(&region) {
            return Standing::Disconnected;
        }
        if self.links.contains_key(&region) {
            return Standing::Linked;
        }
        let busy = self.is_greeting(region)
            || self.mesh.is_dialing(region)
            || self.is_held_down(region, now)
            || self.mesh.leaves_alone(region, now);
        if busy { Standing::Busy } else { Standing::Free }
    }

    /// Whether a link with a region has not got further than its handshake.
    pub(super) fn is_greeting(&self, region: RegionId) -> bool {
        self.greeting.values().any(|port| port.peer == region)
    }

    /// Whether a link that waits for its hello is to be preferred to a second one that was dialed here. Both ends must think
    /// alike, or each would close the other's: the link that the lower number dialed stays, as in `handle_hello`.
    fn has_better_greeting(&self, peer: RegionId) -> bool {
        let better = |dialed: bool| dialed || peer < self.region();
        self.greeting.values().any(|port| port.peer == peer && better(port.dialed))
    }

    pub(super) fn is_own_address(&self, address: &str) -> bool {
        let advertised = &self.config.record.addresses;
        address == self.node.local_address() || advertised.iter().any(|own| own == address)
    }

    fn dial_discovered(&mut self, address: String) {
        let Some(core) = self.handle() else {
            return;
        };
        let fabric = Rc::clone(&self.fabric);
        actix_rt::spawn(async move {
            let dialed = fabric.dial(&address, None).await;
            core.borrow_mut().discovered_answered(&address, dialed);
        });
    }

    fn discovered_answered(&mut self, address: &str, dialed: Result<Link, DialError>) {
        let (now, lot) = (self.now(), self.random.u64(..));
        match dialed {
            Ok(link) => {
                let peer = link.peer.region;
                if peer == self.region() {
                    self.contacts.book.handle_ourselves(address);
                    return link.tx.close(NOTED);
                }
                self.contacts.book.handle_answered(address, peer, now, lot);
                let wanted = self.contacts.book.holds(address);
                if !wanted || self.links.contains_key(&peer) || self.has_better_greeting(peer) {
                    // Whose it is was all that was not known.
                    link.tx.close(NOTED);
                } else if let Err(refused) = self.link_ready(link) {
                    self.contacts.book.handle_link_ended(peer, &refused);
                }
            }
            Err(error) => {
                self.count("dials_failed");
                tracing::debug!(address, %error, "dialing a discovered address failed");
                let error = error.to_string();
                if self.wants_join() {
                    self.note_join_answer(&error);
                }
                self.contacts.book.handle_unreachable(address, error, now, lot);
            }
        }
        self.sync_contacts();
    }

    /// Tells the planner whom to keep and whom to keep away, where that has changed.
    pub(super) fn sync_contacts(&mut self) {
        let contacts = &self.contacts;
        let discovered = contacts.book.regions().into_iter();
        let mut kept: BTreeMap<_, _> =
            discovered.map(|region| (region, LinkReason::Discovered)).collect();
        kept.extend(contacts.pinned.keys().map(|region| (*region, LinkReason::Connected)));
        let parted: BTreeSet<RegionId> = contacts.parted.keys().copied().collect();
        let told = (kept, parted);
        if told == self.contacts.told {
            return;
        }
        self.mesh.tell_contacts(told.0.clone(), told.1.clone());
        self.contacts.told = told;
    }

    // ---- how links went ----------------------------------------------------------------------

    /// A link is in use: whoever waits for one to this region has it.
    pub(super) fn contact_linked(&mut self, peer: RegionId) {
        let waiting = std::mem::take(&mut self.contacts.waiting);
        for waiting in waiting {
            if waiting.peer == peer {
                let _ = waiting.done.send(Ok(peer));
            } else {
                self.contacts.waiting.push(waiting);
            }
        }
    }

    /// A link ended, or came to nothing.
    pub(super) fn contact_ended(&mut self, peer: RegionId, serial: u64, reason: &str) {
        let other = self.links.get(&peer).is_some_and(|port| port.serial != serial);
        if !other {
            self.contacts.book.handle_link_ended(peer, reason);
        }
        let waiting = std::mem::take(&mut self.contacts.waiting);
        for waiting in waiting {
            if waiting.serial == serial {
                let reason = reason.to_owned();
                let refused = ConnectError::Refused { region: peer, reason };
                let _ = waiting.done.send(if other { Ok(peer) } else { Err(refused) });
            } else {
                self.contacts.waiting.push(waiting);
            }
        }
    }

    // ---- to be shown -------------------------------------------------------------------------

    pub(super) fn peers(&mut self) -> Vec<PeerStatus> {
        let now = self.now();
        self.peers_at(now)
    }

    pub(super) fn peers_at(&self, now: Micros) -> Vec<PeerStatus> {
        let standing = |region| self.standing_of(region, now);
        let mut peers = self.contacts.book.peers(&standing);
        for (region, addresses) in &self.contacts.pinned {
            for address in addresses {
                if let Some(held) = peers.iter_mut().find(|peer| peer.address == *address) {
                    held.sources.push(BY_CONNECT.to_owned());
                    continue;
                }
                let dial = self.mesh.dials.get(region).filter(|dial| dial.failures() > 0);
                let state = match standing(*region) {
                    Standing::Linked => PeerState::Linked,
                    Standing::Disconnected => PeerState::Disconnected,
                    _ if self.mesh.is_dialing(*region) => PeerState::Dialing,
                    _ if dial.is_some() => PeerState::Failing,
                    _ => PeerState::Waiting,
                };
                let dial = dial.filter(|_| state != PeerState::Linked);
                peers.push(PeerStatus {
                    address: address.clone(),
                    sources: vec![BY_CONNECT.to_owned()],
                    region: Some(*region),
                    state,
                    failures: dial.map_or(0, |dial| dial.failures()),
                    error: dial.map(|dial| dial.last_error.clone()),
                });
            }
        }
        peers.sort_by(|a, b| a.address.cmp(&b.address));
        peers
    }

    pub(super) fn sources(&self) -> Vec<SourceStatus> {
        self.contacts.book.sources()
    }

    /// What a newcomer is told that has found nobody.
    pub(super) fn discovery_answer(&self) -> Option<String> {
        let sources = self.contacts.book.sources();
        let failed = sources
            .iter()
            .find_map(|source| Some(format!("{}: {}", source.name, source.error.as_ref()?)));
        let nobody = sources.iter().all(|source| source.addresses == 0);
        failed.or_else(|| {
            (!sources.is_empty() && nobody).then(|| "no address was discovered".to_owned())
        })
    }
}

/// What the other end of a link is told that was opened to see who answers at an address.
const NOTED: &str = "another link is in use";
const BY_CONNECT: &str = "connect";
