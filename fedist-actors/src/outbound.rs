//! The queue from any thread into the hub.

use fedist_registry::RegionId;

use crate::hub::Core;

/// What other threads hand to the hub.
pub(crate) enum Outbound {
    /// Something is in the [outbox](crate::outbox) of a region, and was not a moment ago.
    Ready(RegionId),
    /// Work on the hub's own state (status, stop, fault injection).
    Run(Box<dyn FnOnce(&mut Core) + Send>),
}
