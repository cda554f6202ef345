//! Which region a message came from, proved by its session and not claimed by its sender.

use fedist_registry::RegionId;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::address::decoding_source;

/// A field of a message that says which region sent it.
///
/// Nothing of it is on the wire: the receiving node fills it in from the session while it
/// decodes. In a message that never left its node it is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin(Option<RegionId>);

impl Origin {
    /// For the sender: the origin is known to the receiver's node.
    pub fn here() -> Self {
        Origin(None)
    }

    /// The region that sent the message; `None` when it was sent within the node.
    pub fn region(self) -> Option<RegionId> {
        self.0
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer)?;
        Ok(Origin(decoding_source()))
    }
}
