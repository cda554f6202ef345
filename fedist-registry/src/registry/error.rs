//! Why a change or an entry was refused.

use thiserror::Error;

use crate::{Excerpt, LocalId, RegionId, RegionName};

/// Why an entry was not appended. The registry is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// Entries between are missing. Pull from `have` on, then apply it again.
    #[error(
        "registry entry {got} does not follow entry {have}; entries are applied in order; pull the missing ones"
    )]
    Gap {
        /// The last entry that is held.
        have: u64,
        /// The entry that came.
        got: u64,
    },
    /// The entry belongs to another log. The same entry is refused every time; compare versions with the master.
    #[error(
        "registry entry {index} belongs to another log; each entry carries the hash of the one before; compare with the master"
    )]
    HashMismatch {
        /// The entry that came.
        index: u64,
    },
    /// A master that was replaced wrote it. The same entry is refused every time.
    #[error(
        "registry entry of term {got} came after term {have}; terms never fall; pull from the present master"
    )]
    StaleTerm {
        /// The term of the last entry that is held.
        have: u64,
        /// The entry's.
        got: u64,
    },
    /// Nobody signed the entry. The same entry is refused every time.
    #[error(
        "registry entry {index} is not signed; the master signs each entry; pull from another region"
    )]
    Unsigned {
        /// The entry that came.
        index: u64,
    },
    /// The signature is not the signer's. The same entry is refused every time.
    #[error(
        "registry entry {index} is forged, the signature is not region {signer}'s; entries are signed with the key that the registry holds; pull from another region"
    )]
    Forged {
        /// The entry that came.
        index: u64,
        /// Who is said to have signed it.
        signer: RegionId,
    },
    /// The signer may not write the registry. The same entry is refused every time.
    #[error(
        "registry entry {index} is signed by region {signer}, which is not the master; one region writes in each term; pull from another region"
    )]
    NotMaster {
        /// The entry that came.
        index: u64,
        /// Who signed it.
        signer: RegionId,
    },
    /// The entry breaks a rule, so no honest master wrote it for this log. The same entry is refused every time.
    #[error("registry entry breaks a rule: {0}")]
    Rule(#[from] RegistryError),
}

/// Why the master refused a change. The registry is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Another key holds the number. Retry with another number only.
    #[error(
        "region id {id} is held by region '{held_by}' with another key; a number belongs to one key; choose another number"
    )]
    IdConflict {
        /// The number.
        id: RegionId,
        /// Who holds it.
        held_by: RegionName,
    },
    /// Another region has the name. Retry with another name, or when that region left.
    #[error("region name '{name}' is taken by region {by}; names are unique; choose another name")]
    NameTaken {
        /// The name.
        name: RegionName,
        /// Who has it.
        by: RegionId,
    },
    /// The parent is not in the registry. Retry when it has joined.
    #[error(
        "parent region {parent} is unknown; a parent joins before its children; start it first or name another"
    )]
    UnknownParent {
        /// The parent that was asked for.
        parent: RegionId,
    },
    /// The parent is the region itself or below it.
    #[error(
        "region {parent} cannot be the parent of region {id}; it is the same or below it; name another parent"
    )]
    ParentLoop {
        /// The region.
        id: RegionId,
        /// The parent that was asked for.
        parent: RegionId,
    },
    /// Only one region has no parent, and it is another one.
    #[error("region {id} has no parent; only the root, region {root}, has none; name a parent")]
    SecondRoot {
        /// The region.
        id: RegionId,
        /// The root.
        root: RegionId,
    },
    /// No such region ever joined.
    #[error("region {id} is unknown; it never joined this federation; join it first")]
    UnknownRegion {
        /// The number.
        id: RegionId,
    },
    /// The region left, so it cannot become live; it may join again first.
    #[error("region {id} is not joining; only a joining region becomes live; join it again")]
    NotJoining {
        /// The number.
        id: RegionId,
    },
    /// The region left. Its number is kept as a tombstone: not for another key, not as a parent, not for updates.
    #[error(
        "region {id} has left; its number stays with its key; join again with the same key or choose another number"
    )]
    Left {
        /// The number.
        id: RegionId,
    },
    /// Other regions still have it as their parent. Retry when they have another.
    #[error(
        "region {id} is the parent of region {child}; a region leaves after its children; give them another parent"
    )]
    HasChildren {
        /// The region.
        id: RegionId,
        /// One of its children.
        child: RegionId,
    },
    /// It is so already. Treat it as success.
    #[error("region {id} is so already; nothing changes")]
    NoChange {
        /// The region.
        id: RegionId,
    },
    /// Too many addresses.
    #[error("record has {count} addresses; at most 8 are allowed; leave some out")]
    TooManyAddresses {
        /// How many.
        count: usize,
    },
    /// An address that is empty, too long, or not printable ASCII without blanks.
    #[error(
        "address '{address}' is malformed; addresses have 1 to 255 printable ASCII characters; correct it"
    )]
    BadAddress {
        /// Its beginning.
        address: Excerpt,
    },
    /// As many blocks are delegated as there may be.
    #[error("1024 blocks are delegated; no more are kept; delegate larger ones")]
    TooManyBlocks,
    /// Coordinates that are not on the globe.
    #[error(
        "coordinates are not on the globe; latitude is -90..=90, longitude -180..=180; correct them"
    )]
    BadCoordinates,
    /// It serves ids of another region. Retry when it has handed them on.
    #[error(
        "region {id} serves ids of region {of}; a region leaves after it has handed them on; split them off to another region"
    )]
    ServesIds {
        /// The region.
        id: RegionId,
        /// Whose ids it serves.
        of: RegionId,
    },
    /// The range is empty, or has ids of the well-known services.
    #[error(
        "id range {first}..={last} is malformed; the first is 256 or more and not above the last; correct it"
    )]
    BadRange {
        /// The first id.
        first: LocalId,
        /// The last id.
        last: LocalId,
    },
    /// Others of the receiver's ids stand for another range already. Retry with ids that it has reserved now.
    #[error(
        "seats in region {to} are taken by ids of region {of}; each seat is of one id; let region {to} reserve others"
    )]
    SeatsTaken {
        /// The receiver.
        to: RegionId,
        /// Whose ids have the seats.
        of: RegionId,
    },
    /// Several regions serve parts of the range. Split the parts one by one.
    #[error(
        "ids {first}..={last} of region {from} are served by several regions; a range moves from one to one; split it part by part"
    )]
    SeveralHolders {
        /// The region in the ids' upper bits.
        from: RegionId,
        /// The first id.
        first: LocalId,
        /// The last id.
        last: LocalId,
    },
    /// The region has given away as many ranges as it may.
    #[error(
        "region {from} has given away 64 ranges; no more are kept; give away neighbouring ranges"
    )]
    TooManyRanges {
        /// The region.
        from: RegionId,
    },
    /// A term must begin with its master's own entry, and a master's entry begins a term. Final for this entry.
    #[error(
        "term {term} does not begin with its master; the first entry of a term, and no other, names who writes in it; elect or promote"
    )]
    TermWithoutMaster {
        /// The entry's term.
        term: u64,
    },
    /// Only a live region may write, elect or admit. Retry when it is live.
    #[error(
        "region {id} is not live; only a live region may write, elect or admit; wait until it is"
    )]
    NotLive {
        /// The number.
        id: RegionId,
    },
    /// A set of candidates that cannot decide well: its size is even, too large or zero, or it is not in order.
    #[error(
        "{count} candidates are not a set; there are 1, 3 or 5, in the order of their numbers, none twice; correct the list"
    )]
    BadCandidates {
        /// How many were given.
        count: usize,
    },
    /// The candidates are these already. Treat it as success.
    #[error("the candidates are these already; nothing changes")]
    SameCandidates,
    /// The region elects the master. Retry when other candidates are set.
    #[error(
        "region {id} is a candidate for master; a candidate does not leave; set other candidates first"
    )]
    IsCandidate {
        /// The number.
        id: RegionId,
    },
    /// The block's ends are the wrong way round.
    #[error(
        "block {first}..={last} is empty; a block begins at or below its last number; swap them"
    )]
    BadBlock {
        /// The first number.
        first: RegionId,
        /// The last number.
        last: RegionId,
    },
    /// Another block has some of the numbers. Retry with others.
    #[error(
        "the block overlaps block {first}..={last}; delegated blocks are apart; choose other numbers"
    )]
    BlockOverlaps {
        /// The first number of the other block.
        first: RegionId,
        /// The last number of the other block.
        last: RegionId,
    },
    /// A checkpoint says something else than this copy of the state. Nobody can correct that but a snapshot.
    #[error(
        "the checkpoint is of another state than this copy's; each copy of a log makes the same state; fetch a snapshot"
    )]
    StateMismatch,
    /// The region may not write the registry in this term.
    #[error(
        "region {id} is not the registry's master; one region writes in each term; ask the master"
    )]
    NotMaster {
        /// The region.
        id: RegionId,
    },
    /// This master was replaced. Nothing may be proposed in the old term again.
    #[error("term {got} is over; the log is at term {have}; ask the present master")]
    StaleTerm {
        /// The log's term.
        have: u64,
        /// The proposal's.
        got: u64,
    },
}
