//! FeDist: actors in regions that are distributed by nature, over a partial mesh of QUIC links.
#![doc = ""]

pub use fedist_actors::*;
pub use fedist_registry as registry;
pub use fedist_registry::{Coordinates, IdError, LocalId, RecordId, RegionId, RegionName, RegionPid};
pub use fedist_transport as transport;

/// What the macros' output names. Not part of the API.
#[doc(hidden)]
pub mod __private {
    pub use fedist_actors::__private::*;
}

/// Everything that a program with actors in regions usually needs.
pub mod prelude {
    pub use actix::{Actor, ActorContext, AsyncContext, Context, Handler, MessageResult};
    pub use fedist_actors::{
        AskError, ContextExt, Down, ExitReason, Message, Node, PidSend, RegionAddr,
        RegionRecipient, Restart, SendError, Supervisor, TaskCx, WireMessage, child,
        exported_child,
    };
    pub use fedist_registry::{RegionId, RegionPid};
    pub use serde::{Deserialize, Serialize};
}
