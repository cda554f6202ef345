//! What is said to a bucket, and what it says to its subscribers.

use bytes::Bytes;
use fedist::prelude::*;
use thiserror::Error;

/// Why a bucket, or whoever keeps the buckets, did not do as asked.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub(crate) enum Refusal {
    /// There is no bucket of that name. Nothing was done; create it.
    #[error("no such bucket; a bucket begins with CREATE; create it")]
    NotFound,
    /// A bound is reached. Nothing was done; the same may work once there is room.
    #[error("{what} ({limit}, reached); more are not kept; delete something, or raise the limit")]
    Full {
        /// What there is too much of.
        what: String,
        /// The bound.
        limit: u64,
    },
    /// The bucket could not be started. Nothing was done; try again.
    #[error("bucket could not be started ({0})")]
    NotStarted(String),
}

/// Makes the bucket, unless it is there.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Result<(), Refusal>")]
#[wire(name = "kv.create", version = 1)]
pub(crate) struct Create;

/// The value of a key.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Result<Option<Bytes>, Refusal>")]
#[wire(name = "kv.get", version = 1)]
pub(crate) struct Get {
    pub(crate) key: Bytes,
}

/// Sets a key to a value.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Result<(), Refusal>")]
#[wire(name = "kv.put", version = 1)]
pub(crate) struct Put {
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
}

/// Removes a key, if it is there.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Result<(), Refusal>")]
#[wire(name = "kv.delete", version = 1)]
pub(crate) struct Delete {
    pub(crate) key: Bytes,
}

/// Tells `subscriber` of every change from now on, until it ends. Answered with the bucket, to be watched.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Result<RegionPid, Refusal>")]
#[wire(name = "kv.subscribe", version = 1)]
pub(crate) struct Subscribe {
    pub(crate) subscriber: RegionRecipient<Change>,
}

/// Tells `subscriber` no more.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Result<(), Refusal>")]
#[wire(name = "kv.unsubscribe", version = 1)]
pub(crate) struct Unsubscribe {
    pub(crate) subscriber: RegionPid,
}

/// How many subscribers there are.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Result<u64, Refusal>")]
#[wire(name = "kv.subscribers", version = 1)]
pub(crate) struct CountSubscribers;

/// Makes the bucket panic, to see what happens then.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Result<(), Refusal>")]
#[wire(name = "kv.crash", version = 1)]
pub(crate) struct Crash;

/// What has changed in a bucket.
#[derive(Clone, Debug, Message, Serialize, Deserialize)]
#[wire(name = "kv.change", version = 1)]
pub(crate) enum Change {
    /// A key has another value.
    Set {
        /// The key.
        key: Bytes,
        /// Its value.
        value: Bytes,
    },
    /// A key is gone.
    Deleted {
        /// The key.
        key: Bytes,
    },
    /// Changes were lost, because there was no room on the way. The subscription has ended.
    Behind,
}
