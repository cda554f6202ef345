//! The leases of the federation's aliases: who grants them, and who holds one.
//!
//! An alias is one name for the whole federation. The root's name service grants it for a span of
//! time, the lease; the holder's node renews it at every third of the span and gives it up by
//! itself when no renewal has come back in time. The two sides measure the span on their own
//! clocks, the holder from the moment at which it *sent* the request and the root from the later
//! moment at which the request arrived, so the holder always ends first: at no moment do two nodes
//! believe that they hold the alias. A sixteenth of the span is left for clocks that run at
//! different rates. Clocks that stand still (a suspended machine) break that, which is what the
//! fencing token is for: it grows with every grant, so whoever guards a resource refuses lower ones.
//!
//! The root keeps leases in memory only. After a restart it grants nothing before one full span
//! has passed, since holders of its earlier life may still believe; their renewals are adopted
//! in that time. The token's upper half is the root's boot counter, which is durable and grows.

use std::collections::{BTreeSet, HashMap};

use fedist_registry::{Micros, RegionId, RegionPid};
use serde::{Deserialize, Serialize};

/// A number that grows with every grant of an alias, across restarts of the root too.
///
/// Hand it to whatever the alias protects: who has seen a token refuses requests with a lower one.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct FencingToken(u64);

impl FencingToken {
    fn new(boot: u32, counter: u32) -> Self {
        FencingToken((u64::from(boot) << 32) | u64::from(counter))
    }

    /// The plain number.
    pub fn get(self) -> u64 {
        self.0
    }

    fn boot(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl std::fmt::Display for FencingToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A granted or renewed lease, as the root answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lease {
    pub(crate) token: FencingToken,
    /// The span, counted by the holder from its sending of the request.
    pub(crate) ttl: Micros,
}

/// Why the root did not grant or renew a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LeaseRefusal {
    /// Somebody else holds the alias.
    Held { holder: RegionPid },
    /// The root has restarted and holders of before may still believe; nothing is granted yet.
    Settling { left: Micros },
    /// The lease has expired, was released, or was granted anew.
    NotHeld,
    /// The root keeps as many aliases as it may, in all or for this region.
    TooMany { max: usize },
    /// The region that was asked is not the root.
    NotRoot,
    /// The request came from another region than the holder's, or its alias is malformed.
    Denied,
}

/// What the root knows of an alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AliasState {
    Held {
        holder: RegionPid,
        token: FencingToken,
        left: Micros,
    },
    Free,
    /// Nobody has renewed it since the root restarted, but somebody may still hold it.
    Settling {
        left: Micros,
    },
}

/// The root's side: every lease that is held.
pub(crate) struct LeaseTable {
    boot: u32,
    counter: u32,
    ttl: Micros,
    /// Before this nothing is granted.
    settled_at: Micros,
    leases: HashMap<String, Held>,
    expiries: BTreeSet<(Micros, String)>,
    by_region: HashMap<RegionId, usize>,
    bounds: LeaseBounds,
}

struct Held {
    holder: RegionPid,
    token: FencingToken,
    expires: Micros,
}

/// How many aliases the root keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaseBounds {
    pub(crate) total: usize,
    /// So that no region can take all of them.
    pub(crate) per_region: usize,
}

impl Default for LeaseBounds {
    fn default() -> Self {
        LeaseBounds { total: 65_536, per_region: 4_096 }
    }
}

impl LeaseTable {
    /// The table of a root that started at `now` for the `boot`-th time. The first start of all has
    /// no earlier life to wait for.
    pub(crate) fn new(now: Micros, boot: u32, ttl: Micros, bounds: LeaseBounds) -> Self {
        let settled_at = if boot <= 1 { now } else { now + ttl };
        Self {
            boot,
            counter: 0,
            ttl,
            settled_at,
            leases: HashMap::new(),
            expiries: BTreeSet::new(),
            by_region: HashMap::new(),
            bounds,
        }
    }

    /// Gives the alias to `holder` when nobody else has it. A holder that asks again, because it
    /// did not hear the answer, gets a new token; the one before is void.
    pub(crate) fn grant(
        &mut self,
        now: Micros,
        alias: &str,
        holder: RegionPid,
    ) -> Result<Lease, LeaseRefusal> {
        self.expire(now);
        match self.leases.get(alias) {
            Some(held) if held.holder != holder => {
                return Err(LeaseRefusal::Held { holder: held.holder });
            }
            Some(_) => {}
            None if now < self.settled_at => {
                return Err(LeaseRefusal::Settling { left: self.settled_at - now });
            }
            None => self.check_room(holder.region())?,
        }
        // A boot gives 2^32 tokens; beyond that nothing is granted rather than a token twice.
        let Some(counter) = self.counter.checked_add(1) else {
            return Err(LeaseRefusal::TooMany { max: u32::MAX as usize });
        };
        self.counter = counter;
        let token = FencingToken::new(self.boot, counter);
        self.put(now, alias, holder, token);
        Ok(Lease { token, ttl: self.ttl })
    }

    /// Prolongs a lease by its token. While the root settles, the lease of an earlier life is
    /// adopted; of two such, the one that was granted later counts.
    pub(crate) fn renew(
        &mut self,
        now: Micros,
        alias: &str,
        holder: RegionPid,
        token: FencingToken,
    ) -> Result<Lease, LeaseRefusal> {
        self.expire(now);
        let earlier_life = token.boot() < self.boot && now < self.settled_at;
        match self.leases.get(alias) {
            Some(held) if held.token == token && held.holder == holder => {}
            Some(held) if earlier_life && held.token < token => {}
            Some(_) => return Err(LeaseRefusal::NotHeld),
            None if earlier_life => self.check_room(holder.region())?,
            None => return Err(LeaseRefusal::NotHeld),
        }
        self.put(now, alias, holder, token);
        Ok(Lease { token, ttl: self.ttl })
    }

    /// Takes a lease back. False when it was not held by this holder with this token.
    pub(crate) fn release(
        &mut self,
        now: Micros,
        alias: &str,
        holder: RegionPid,
        token: FencingToken,
    ) -> bool {
        self.expire(now);
        let held = self.leases.get(alias);
        if held.is_none_or(|held| held.token != token || held.holder != holder) {
            return false;
        }
        self.take(alias);
        true
    }

    /// Who holds an alias.
    pub(crate) fn holder(&mut self, now: Micros, alias: &str) -> AliasState {
        self.expire(now);
        match self.leases.get(alias) {
            Some(held) => AliasState::Held {
                holder: held.holder,
                token: held.token,
                left: held.expires - now,
            },
            None if now < self.settled_at => AliasState::Settling { left: self.settled_at - now },
            None => AliasState::Free,
        }
    }

    fn check_room(&self, region: RegionId) -> Result<(), LeaseRefusal> {
        if self.leases.len() >= self.bounds.total {
            return Err(LeaseRefusal::TooMany { max: self.bounds.total });
        }
        if self.by_region.get(&region).is_some_and(|count| *count >= self.bounds.per_region) {
            return Err(LeaseRefusal::TooMany { max: self.bounds.per_region });
        }
        Ok(())
    }

    fn put(&mut self, now: Micros, alias: &str, holder: RegionPid, token: FencingToken) {
        self.take(alias);
        let expires = now + self.ttl;
        self.expiries.insert((expires, alias.to_owned()));
        *self.by_region.entry(holder.region()).or_default() += 1;
        self.leases.insert(alias.to_owned(), Held { holder, token, expires });
    }

    fn take(&mut self, alias: &str) {
        let Some((alias, held)) = self.leases.remove_entry(alias) else {
            return;
        };
        self.expiries.remove(&(held.expires, alias));
        if let Some(count) = self.by_region.get_mut(&held.holder.region()) {
            *count -= 1;
            if *count == 0 {
                self.by_region.remove(&held.holder.region());
            }
        }
    }

    fn expire(&mut self, now: Micros) {
        while let Some((expires, alias)) = self.expiries.first()
            && *expires <= now
        {
            let alias = alias.clone();
            self.take(&alias);
        }
    }
}

/// The holder's side: one lease, kept by renewals until one has not come back in time.
pub(crate) struct HeldLease {
    token: FencingToken,
    ttl: Micros,
    /// When the last request that succeeded was sent.
    confirmed_at: Micros,
    next_renewal: Micros,
    lost: bool,
}

/// What the holder's node is to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HolderAction {
    /// Send a renewal; hand its answer to [`HeldLease::handle_renewed`] with this time.
    Renew { sent_at: Micros },
    /// The lease is over: tell the actor. Comes once.
    Lost,
}

impl HeldLease {
    /// A lease that was asked for at `sent_at`. `None` when its answer took longer than it lasts.
    pub(crate) fn new(now: Micros, sent_at: Micros, lease: Lease) -> Option<Self> {
        let held = Self {
            token: lease.token,
            ttl: lease.ttl,
            confirmed_at: sent_at,
            next_renewal: sent_at + Micros(lease.ttl.0 / 3),
            lost: false,
        };
        held.is_held(now).then_some(held)
    }

    /// Whether this node may act as the holder.
    pub(crate) fn is_held(&self, now: Micros) -> bool {
        !self.lost && now < self.expires()
    }

    pub(crate) fn token(&self) -> FencingToken {
        self.token
    }

    /// When the holder gives the alias up without an answer from the root.
    pub(crate) fn expires(&self) -> Micros {
        self.confirmed_at + Micros(self.ttl.0 - self.ttl.0 / 16)
    }

    /// The next moment at which [`poll`](Self::poll) has something to say; `None` once lost.
    pub(crate) fn next_deadline(&self) -> Option<Micros> {
        (!self.lost).then(|| self.next_renewal.min(self.expires()))
    }

    pub(crate) fn poll(&mut self, now: Micros) -> Option<HolderAction> {
        if self.lost {
            return None;
        }
        if now >= self.expires() {
            self.lost = true;
            return Some(HolderAction::Lost);
        }
        if now < self.next_renewal {
            return None;
        }
        // Every twelfth until one comes back, so that a lost renewal costs no lease.
        self.next_renewal = now + Micros((self.ttl.0 / 12).max(1));
        Some(HolderAction::Renew { sent_at: now })
    }

    /// The root's answer to a renewal. An answer that comes after the end changes nothing: what
    /// was given up may be somebody else's by now.
    pub(crate) fn handle_renewed(
        &mut self,
        now: Micros,
        sent_at: Micros,
        answer: Result<Lease, LeaseRefusal>,
    ) -> Option<HolderAction> {
        if !self.is_held(now) {
            return self.poll(now);
        }
        match answer {
            Ok(lease) if lease.token == self.token => {
                if sent_at >= self.confirmed_at {
                    self.confirmed_at = sent_at;
                    self.ttl = lease.ttl;
                    self.next_renewal = self.next_renewal.max(sent_at + Micros(lease.ttl.0 / 3));
                }
                None
            }
            Ok(_) | Err(LeaseRefusal::Held { .. } | LeaseRefusal::NotHeld) => {
                self.lost = true;
                Some(HolderAction::Lost)
            }
            // Not a word about this lease: the next renewal may fare better.
            Err(
                LeaseRefusal::Settling { .. }
                | LeaseRefusal::TooMany { .. }
                | LeaseRefusal::NotRoot
                | LeaseRefusal::Denied,
            ) => None,
        }
    }
}

#[cfg(test)]
mod tests;
