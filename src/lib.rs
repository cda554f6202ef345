#![doc = include_str!("../README.md")]
//!
//! # This crate
//!
//! The facade: everything that a program needs, and the crates below it for what a program rarely needs.
//!
//! - [`prelude`]: what nearly every file of an application imports.
//! - [`Node`] and [`NodeBuilder`]: starting, looking at and stopping one node.
//! - [`Message`](derive@Message), [`WireMessage`], [`Export`]: what may be sent to whom.
//! - [`RegionAddr`], [`RegionRecipient`], [`PidSend`], [`Ask`]: sending; [`SendError`], [`AskError`]: how it fails.
//! - [`Context::monitor`], [`Context::link`], [`Node::monitor`], [`Down`], [`ExitReason`], [`Supervisor`], [`child`], [`Tree`]: failure.
//! - [`Node::register`], [`Node::whereis`], [`Via`], [`Alias`]: names; [`Undelivered`]: what did not arrive; [`TimerRef`].
//! - [`task`](macro@task), [`Tasks`], [`TaskHandle`]: work in other regions.
//! - [`Node::delineate`], [`home_of`], [`Node::scatter`], [`Node::ask_home`]: where things belong, and having them done there.
//! - [`Groups`], [`Member`], [`GroupEvent`]: actors under a common name, and one message to all of them.
//! - [`Discovery`], [`Node::connect`], [`Node::disconnect`], [`Node::reachable_regions`]: finding other regions, and links by hand.
//! - [`NodeStatus`], [`DeadLetter`], [`View`]: what a node knows and what it dropped.
//! - [`registry`]: ids, the registry's log, link costs, routes, delineation rules; all of it pure.
//! - [`transport`]: wire format, sessions, QUIC, identities, the memory fabric and the WAN emulator.

pub use fedist_actors::*;
pub use fedist_registry as registry;
pub use fedist_registry::{
    ClockEstimate, Coordinates, IdError, LocalId, RecordId, RegionId, RegionName, RegionPid,
};
pub use fedist_transport as transport;

/// What the macros' output names. Not part of the API.
#[doc(hidden)]
pub mod __private {
    pub use fedist_actors::__private::*;
}

/// The guides' Rust blocks, so that each of them compiles and runs with the tests.
#[cfg(doctest)]
mod guides {
    #[doc = include_str!("../docs/getting-started.md")]
    mod getting_started {}
    #[doc = include_str!("../docs/actors.md")]
    mod actors {}
    #[doc = include_str!("../docs/supervision.md")]
    mod supervision {}
    #[doc = include_str!("../docs/names.md")]
    mod names {}
    #[doc = include_str!("../docs/tasks.md")]
    mod tasks {}
    #[doc = include_str!("../docs/groups.md")]
    mod groups {}
    #[doc = include_str!("../docs/delineation.md")]
    mod delineation {}
    #[doc = include_str!("../docs/testing.md")]
    mod testing {}
    #[doc = include_str!("../docs/coming-from-actix.md")]
    mod coming_from_actix {}
    #[doc = include_str!("../docs/coming-from-erlang.md")]
    mod coming_from_erlang {}
    #[doc = include_str!("../docs/coming-from-kameo.md")]
    mod coming_from_kameo {}
    #[doc = include_str!("../docs/coming-from-ractor.md")]
    mod coming_from_ractor {}
    #[doc = include_str!("../docs/architecture.md")]
    mod architecture {}
    #[doc = include_str!("../docs/registry.md")]
    mod registry {}
    #[doc = include_str!("../docs/routing.md")]
    mod routing {}
    #[doc = include_str!("../docs/discovery.md")]
    mod discovery {}
    #[doc = include_str!("../docs/wire-protocol.md")]
    mod wire_protocol {}
}

/// What the macros refuse, each at compile time.
///
/// A name that is none:
/// ```compile_fail
/// #[derive(fedist::Message, serde::Serialize, serde::Deserialize)]
/// #[wire(name = "Chat Post")]
/// struct Post;
/// ```
/// A wire message without a name:
/// ```compile_fail
/// #[derive(fedist::Message, serde::Serialize, serde::Deserialize)]
/// #[wire(version = 2)]
/// struct Post;
/// ```
/// A wire message that cannot be encoded:
/// ```compile_fail
/// #[derive(fedist::Message)]
/// #[wire(name = "chat.post")]
/// struct Post;
/// ```
/// A task with more than one input:
/// ```compile_fail
/// #[fedist::task(name = "sum")]
/// async fn sum(_cx: fedist::TaskCx, a: u64, b: u64) -> u64 { a + b }
/// ```
/// A message that the actor does not handle:
/// ```compile_fail
/// # use fedist::prelude::*;
/// # #[derive(Message, Serialize, Deserialize)] #[wire(name = "a")] struct A;
/// # struct Deaf;
/// # impl Actor for Deaf { type Context = Context<Self>; }
/// fn send(deaf: &RegionAddr<Deaf>) { deaf.do_send(A); }
/// ```
/// The same with a handler compiles:
/// ```
/// # use fedist::prelude::*;
/// # #[derive(Message, Serialize, Deserialize)] #[wire(name = "a")] struct A;
/// # struct Keen;
/// # impl Actor for Keen { type Context = Context<Self>; }
/// impl Handler<A> for Keen {
///     type Result = ();
///     fn handle(&mut self, _: A, _: &mut Context<Self>) {}
/// }
/// fn send(keen: &RegionAddr<Keen>) { keen.do_send(A); }
/// #[fedist::task(name = "sum")]
/// async fn sum(_cx: fedist::TaskCx, (a, b): (u64, u64)) -> u64 { a + b }
/// ```
#[cfg(doctest)]
mod refused {}

/// Everything that a program with actors in regions usually needs.
pub mod prelude {
    pub use actix::{
        Actor, ActorContext, ActorFutureExt, AsyncContext, Handler, MessageResult, WrapFuture,
    };
    pub use fedist_actors::{
        AskError, AsyncHandler, Context, Down, Exit, ExitReason, GroupEvent, LocalAddr, Mailbox,
        MailboxEvent, Message, Node, PidSend, Place, RegionAddr, RegionChange, RegionEvent,
        RegionRecipient, Restart, SendError, Supervisor, TaskCx, Undelivered, WireMessage,
        async_handler, child, exported_child, remote_child, supervisor_child,
    };
    pub use fedist_registry::{RegionId, RegionPid};
    pub use serde::{Deserialize, Serialize};
}
