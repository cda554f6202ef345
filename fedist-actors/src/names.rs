//! Names: how an actor is found without its pid.
//!
//! A name belongs to a region (`region/name`), which is its only writer, or to one node (`name`).
//! An alias (`@alias`) belongs to the whole federation: the root leases it to one actor at a time.
//! Each region answers about its own names at the well-known pid `region.5`.

mod alias;
mod cache;
mod lease;
mod lookup;
mod path;
mod registration;
mod service;
mod via;

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use fedist_registry::Micros;

use crate::ExportError;

pub use alias::{Alias, AliasError, AliasHolder, AliasLost, AliasLostReason, ClaimAlias};
pub use lease::FencingToken;
pub use lookup::LookupError;
pub use registration::{NameScope, RegisterError, Registration};
pub use service::Whereis;
pub(crate) use service::{AskAliasLease, NameService, ReleaseAlias, WhoHolds};
pub use via::{Via, ViaAsk, ViaAskError, ViaSendError};

use lease::{AliasState, Lease, LeaseBounds, LeaseRefusal, LeaseTable};
use lookup::Lookups;
use path::is_name;

/// Whether a text can be a name: 1 to 255 bytes without control characters.
pub(crate) fn check_name(name: &str) -> Result<(), ExportError> {
    if is_name(name) {
        return Ok(());
    }
    Err(ExportError::MalformedName { name: name.to_owned() })
}

/// What a node knows of names beside its own process table.
pub(crate) struct Names {
    lookups: Mutex<Lookups>,
    /// The leases that this node has granted, where it is the root. Here and not in the service, so
    /// that they outlast its restart: a table begun anew would give tokens twice.
    leases: Option<Mutex<LeaseTable>>,
    /// The aliases that actors of this node hold or claim.
    held: Mutex<HashSet<String>>,
}

impl Names {
    /// The names of a node that starts `now`. `alias_ttl` is set for the root.
    pub(crate) fn new(
        now: Micros,
        boot: u32,
        alias_ttl: Option<Micros>,
        random: fastrand::Rng,
    ) -> Self {
        let leases = alias_ttl
            .map(|ttl| LeaseTable::new(now, boot, ttl, LeaseBounds::default()))
            .map(Mutex::new);
        Self {
            lookups: Mutex::new(Lookups::new(cache::CAPACITY, random)),
            leases,
            held: Mutex::default(),
        }
    }

    fn lookups(&self) -> MutexGuard<'_, Lookups> {
        self.lookups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leases(&self) -> Option<MutexGuard<'_, LeaseTable>> {
        Some(self.leases.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn held(&self) -> MutexGuard<'_, HashSet<String>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
