//! Which region something belongs to: the rules, the application's own included.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::{LocalId, RecordId, RegionId, RegionPid, Registry, RouteTable, Status};

/// What a rule may look at.
#[derive(Copy, Clone, Debug)]
pub struct FederationView<'a> {
    /// The region that asks.
    pub here: RegionId,
    /// Who is there.
    pub registry: &'a Registry,
    /// Which way to them, where the asker has routes.
    pub routes: Option<&'a RouteTable>,
}

impl<'a> FederationView<'a> {
    /// The live regions in the order of their numbers, whether they can be reached now or not.
    pub fn live_regions(&self) -> impl Iterator<Item = RegionId> + 'a {
        self.registry.live_regions().map(|record| record.id)
    }

    /// Whether a frame could be sent there now: it is here, or there is a route. Unknown routes count as open.
    pub fn is_reachable(&self, region: RegionId) -> bool {
        region == self.here || self.routes.is_none_or(|routes| routes.get(region).is_some())
    }
}

/// The application's rule for which region a key belongs to.
///
/// The same key and the same federation should give the same answer in every region, or two regions will both believe that
/// they are home; [`RoundRobin::next`] and rules that look at routes do not, and are for placing work only.
pub trait Delineator: Send + 'static {
    /// What is asked about.
    type Key: 'static;

    /// The region that `key` belongs to.
    ///
    /// # Errors
    /// See [`NoHome`].
    fn home(&self, key: &Self::Key, view: &FederationView<'_>) -> Result<RegionId, NoHome>;
}

/// Why a key has no home now. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NoHome {
    /// Nobody is live. Retry when a region is.
    #[error("no region is live; keys belong to live regions; wait until one has joined")]
    NoLiveRegion,
    /// The key names a region that never joined, as far as is known here. Retry after the registry caught up.
    #[error(
        "region {region} is unknown here; it never joined, or this registry copy is behind; check the key"
    )]
    UnknownRegion {
        /// The region.
        region: RegionId,
    },
    /// The key names a region that left for good.
    #[error("region {region} has left; what belonged to it has no home; move it to another region")]
    Left {
        /// The region.
        region: RegionId,
    },
    /// The application's rule has no answer.
    #[error("no home for this key ({reason})")]
    Refused {
        /// In the rule's own words.
        reason: String,
    },
}

/// Whatever carries its region in its upper bits.
pub trait Homed: 'static {
    /// That region.
    fn home_region(&self) -> RegionId;

    /// The number inside the region: the lower 48 bits.
    fn local_id(&self) -> LocalId;
}

impl Homed for RegionPid {
    fn home_region(&self) -> RegionId {
        self.region()
    }

    fn local_id(&self) -> LocalId {
        self.local()
    }
}

impl Homed for RecordId {
    fn home_region(&self) -> RegionId {
        self.region()
    }

    fn local_id(&self) -> LocalId {
        self.local()
    }
}

/// The region in the id's upper 16 bits, or the one that serves the id since a split, as long as it has not left.
#[derive(Clone, Copy, Debug)]
pub struct ById<K = RegionPid>(PhantomData<fn(K)>);

impl<K> ById<K> {
    /// The rule.
    pub const fn new() -> Self {
        ById(PhantomData)
    }
}

impl<K> Default for ById<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Homed> Delineator for ById<K> {
    type Key = K;

    fn home(&self, key: &K, view: &FederationView<'_>) -> Result<RegionId, NoHome> {
        present(view.registry.serving_local(key.home_region(), key.local_id()), view)
    }
}

/// One region for everything, as long as it has not left.
#[derive(Clone, Copy, Debug)]
pub struct Fixed<K> {
    region: RegionId,
    key: PhantomData<fn(K)>,
}

impl<K> Fixed<K> {
    /// Everything belongs to `region`.
    pub const fn new(region: RegionId) -> Self {
        Fixed { region, key: PhantomData }
    }
}

impl<K: 'static> Delineator for Fixed<K> {
    type Key = K;

    fn home(&self, _key: &K, view: &FederationView<'_>) -> Result<RegionId, NoHome> {
        present(self.region, view)
    }
}

/// Piece `n` belongs to the live region number `n` modulo their count: even shares, and every piece moves when one joins.
#[derive(Debug, Default)]
pub struct RoundRobin {
    next: AtomicU64,
}

impl RoundRobin {
    /// Starts with the first live region.
    pub const fn new() -> Self {
        RoundRobin { next: AtomicU64::new(0) }
    }

    /// The home of the next piece, for callers that do not number their own.
    ///
    /// # Errors
    /// [`NoHome::NoLiveRegion`]; the turn is used up then.
    pub fn next(&self, view: &FederationView<'_>) -> Result<RegionId, NoHome> {
        self.home(&self.next.fetch_add(1, Ordering::Relaxed), view)
    }
}

impl Delineator for RoundRobin {
    type Key = u64;

    fn home(&self, piece: &u64, view: &FederationView<'_>) -> Result<RegionId, NoHome> {
        let live = view.live_regions().count() as u64;
        let turn = piece.checked_rem(live).and_then(|turn| usize::try_from(turn).ok());
        turn.and_then(|turn| view.live_regions().nth(turn)).ok_or(NoHome::NoLiveRegion)
    }
}

/// Rendezvous hashing over the live regions: when a region joins or leaves, only the keys that it gains or had move.
///
/// (D. Thaler, C. Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", IEEE/ACM ToN 6, 1998.) The score of a
/// region for a key is `mix(h ^ mix(region))`, where `h` is the first 8 bytes of the key's SHA-256, big-endian, and `mix`
/// is the finaliser of SplitMix64; the highest score wins. It is part of what stored data depends on and never changes.
#[derive(Clone, Copy, Debug)]
pub struct ConsistentHash<K = String>(PhantomData<fn(K)>);

impl<K> ConsistentHash<K> {
    /// The rule.
    pub const fn new() -> Self {
        ConsistentHash(PhantomData)
    }
}

impl<K> Default for ConsistentHash<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: AsRef<[u8]> + 'static> Delineator for ConsistentHash<K> {
    type Key = K;

    fn home(&self, key: &K, view: &FederationView<'_>) -> Result<RegionId, NoHome> {
        let digest = Sha256::digest(key.as_ref());
        let hash = digest.iter().take(8).fold(0_u64, |hash, byte| (hash << 8) | u64::from(*byte));
        let score = |region: &RegionId| mix(hash ^ mix(u64::from(region.get())));
        view.live_regions()
            .max_by_key(|region| (score(region), *region))
            .ok_or(NoHome::NoLiveRegion)
    }
}

fn present(region: RegionId, view: &FederationView<'_>) -> Result<RegionId, NoHome> {
    match view.registry.get(region).map(|record| record.status) {
        None => Err(NoHome::UnknownRegion { region }),
        Some(Status::Left) => Err(NoHome::Left { region }),
        Some(Status::Joining | Status::Live) => Ok(region),
    }
}

/// The finaliser of SplitMix64 (S. Vigna's reference, public domain).
fn mix(value: u64) -> u64 {
    let z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{Change, KeyHash, LocalId, RegionRecord};

    fn region(id: u16) -> RegionId {
        RegionId::new(id).unwrap()
    }

    fn federation(live: &[u16]) -> Registry {
        let mut registry = Registry::new();
        for id in live {
            let record = RegionRecord {
                id: region(*id),
                name: format!("r{id}").parse().unwrap(),
                parent: registry.hierarchy().root(),
                addresses: vec![],
                key_hash: KeyHash([*id as u8; 32]),
                status: Status::Joining,
                coordinates: None,
            };
            registry.propose(1, Change::Join(record)).unwrap();
            registry.propose(1, Change::Live(region(*id))).unwrap();
        }
        registry
    }

    fn home<D: Delineator>(rule: &D, key: D::Key, registry: &Registry) -> Result<RegionId, NoHome> {
        rule.home(&key, &FederationView { here: region(1), registry, routes: None })
    }

    #[test]
    fn an_id_belongs_to_the_region_in_its_upper_bits() {
        let mut registry = federation(&[1, 7]);
        let pid = |id| RegionPid::new(region(id), LocalId::MIN);
        assert_eq!(home(&ById::new(), pid(7), &registry), Ok(region(7)));
        assert_eq!(
            home(&ById::new(), "7#42".parse::<RecordId>().unwrap(), &registry),
            Ok(region(7))
        );
        assert_eq!(
            home(&ById::new(), pid(8), &registry),
            Err(NoHome::UnknownRegion { region: region(8) })
        );
        registry.propose(1, Change::Leave(region(7))).unwrap();
        assert_eq!(home(&ById::new(), pid(7), &registry), Err(NoHome::Left { region: region(7) }));
        assert_eq!(
            home(&Fixed::<String>::new(region(7)), "x".into(), &registry),
            Err(NoHome::Left { region: region(7) })
        );
        assert_eq!(home(&Fixed::<String>::new(region(1)), "x".into(), &registry), Ok(region(1)));
    }

    #[test]
    fn round_robin_deals_pieces_evenly_over_the_live_regions() {
        let mut registry = federation(&[1, 3, 7]);
        let rule = RoundRobin::new();
        let dealt: Vec<_> =
            (0..5).map(|piece| home(&rule, piece, &registry).unwrap().get()).collect();
        assert_eq!(dealt, [1, 3, 7, 1, 3]);
        let view = FederationView { here: region(1), registry: &registry, routes: None };
        let dealt: Vec<_> = (0..4).map(|_| rule.next(&view).unwrap().get()).collect();
        assert_eq!(dealt, [1, 3, 7, 1]);
        registry.propose(1, Change::Leave(region(3))).unwrap();
        assert_eq!(home(&rule, 1, &registry), Ok(region(7)));
        assert_eq!(home(&rule, 0, &Registry::new()), Err(NoHome::NoLiveRegion));
    }

    #[test]
    fn consistent_hashing_spreads_evenly_and_moves_only_what_a_newcomer_gains() {
        let keys: Vec<String> = (0..4_000).map(|n| format!("user-{n}")).collect();
        let homes = |registry: &Registry| -> Vec<RegionId> {
            keys.iter()
                .map(|key| home(&ConsistentHash::new(), key.clone(), registry).unwrap())
                .collect()
        };
        let before = homes(&federation(&[1, 2, 3, 4]));
        let mut shares = BTreeMap::new();
        for region in &before {
            *shares.entry(*region).or_insert(0) += 1;
        }
        assert!(
            shares.len() == 4 && shares.values().all(|share| (850..1_150).contains(share)),
            "{shares:?}"
        );

        let after = homes(&federation(&[1, 2, 3, 4, 5]));
        let moved: Vec<_> = before.iter().zip(&after).filter(|(old, new)| old != new).collect();
        assert!((600..1_000).contains(&moved.len()), "{}", moved.len());
        assert!(moved.iter().all(|(_, new)| **new == region(5)));
        assert_eq!(
            home(&ConsistentHash::<String>::new(), "x".into(), &Registry::new()),
            Err(NoHome::NoLiveRegion)
        );
    }

    #[test]
    fn the_homes_of_known_keys_stay_where_they_are() {
        // Computed from the documented rule by another program; stored data depends on these.
        let registry = federation(&[1, 2, 3, 4, 5, 6, 7, 8]);
        let homes: Vec<_> = ["", "a", "user-1", "user-2", "room/rust"]
            .map(|key| home(&ConsistentHash::new(), key.to_owned(), &registry).unwrap().get())
            .into();
        assert_eq!(homes, [5, 6, 5, 8, 3]);
        assert_eq!(
            home(&ConsistentHash::new(), b"user-1".to_vec(), &registry),
            home(&ConsistentHash::new(), "user-1".to_owned(), &registry)
        );
    }

    #[test]
    fn reachable_is_here_or_routed_or_not_known_to_be_otherwise() {
        let registry = federation(&[1, 2]);
        let table = RouteTable::empty(region(1));
        let view = FederationView { here: region(1), registry: &registry, routes: Some(&table) };
        assert!(view.is_reachable(region(1)) && !view.is_reachable(region(2)));
        assert!(FederationView { routes: None, ..view }.is_reachable(region(2)));
    }
}
