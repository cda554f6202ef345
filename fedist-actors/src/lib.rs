//! What runs: nodes and their actors, the hub and its relays, monitors, supervisors, names and
//! remote tasks, on actix.
//!
//! Reading order: [`Node`] and its builder; messages and addresses; `hub` (the node's links,
//! sessions and routes, as one core and the actors around it); exits, monitors, supervisors;
//! names, groups and tasks. Users take all of it through the `fedist` facade.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod builder;
mod node;
mod spawn;
mod status;

mod address;
mod adoption;
mod ask;
mod ask_deadline;
mod local_addr;
mod message;
mod origin;
mod route;
mod send_error;
mod sending;

mod async_handler;
mod context;
mod export;
mod function;
mod inlet;
mod mailbox;
mod process;

mod gate;
mod hub;
mod outbound;
mod outbox;
mod pause;
mod signal;

mod dead_letter;
mod exit;
mod monitor;
mod region_event;
mod supervision;
mod ties;
mod undelivered;

mod delineation;
mod discovery;
mod echo;
mod groups;
mod names;
mod scatter;
mod task;
mod this_thread;
mod timers;
mod trace;

pub use address::{PidSend, RegionAddr, RegionRecipient};
pub use adoption::AdoptError;
pub use ask::{Ask, AskFuture, DEFAULT_DEADLINE};
pub use async_handler::AsyncHandler;
pub use builder::{NodeBuilder, StartError};
pub use context::Context;
pub use dead_letter::{DeadLetter, DropReason};
pub use delineation::{
    DelineationStatus, DelineatorAt, HomeAsk, HomeAskError, HomeError, HomeHold, RegionReport,
    RegionSource, ReplaceRuleError, SeedError, Where, home_of,
};
pub use discovery::{Discovery, DiscoveryError, DnsName, EnvVar, StaticList, WatchedFile};
pub use echo::{Echo, EchoRequest, PingTarget, Pong};
pub use exit::{Down, Exit, ExitReason, MonitorRef};
pub use export::{Export, ExportError, Exportable};
pub use fedist_macros::{Message, async_handler, task};
pub use fedist_registry::{BadAddress, PeerState, PeerStatus, SourceStatus};
pub use function::{FnAddr, Mailbox, MailboxEvent, Reply};
pub use groups::{
    GroupCounters, GroupEvent, GroupWatch, Groups, JoinError, LeaveReason, Member, Meta,
    PublishError,
};
pub use hub::{ChangeError, ConnectError, DisconnectError, PromoteError, Promotion};
pub use local_addr::{LocalAddr, LocalRequest};
pub use message::{DecodeError, EncodeError, WireMessage};
pub use monitor::Monitor;
pub use names::{
    Alias, AliasError, AliasHolder, AliasLost, AliasLostReason, ClaimAlias, FencingToken,
    LookupError, NameScope, RegisterError, Registration, Via, ViaAsk, ViaAskError, ViaSendError,
    Whereis,
};
pub use node::{Node, View};
pub use origin::Origin;
pub use region_event::{RegionChange, RegionEvent};
pub use scatter::{
    FailedPiece, Gathered, Progress, RegionShare, Scatter, ScatterError, ScatterStream,
    ScatterTask, Scattered,
};
pub use send_error::{AskError, SendError};
pub use spawn::{GetOrSpawnError, SpawnError};
pub use status::{LinkStatus, NodeStatus, RegionStatus, RouteStatus, SessionStatus};
pub use supervision::{
    AutoShutdown, ChildCounts, ChildError, ChildKind, ChildRef, ChildSpec, ChildState, ChildStatus,
    Choose, CountChildren, DeleteChild, Place, RemoteChild, Restart, RestartChild, Shutdown,
    StartChild, Strategy, Supervisor, SupervisorError, TerminateChild, Tree, WhichChildren, child,
    child_fn, exported_child, remote_child, supervisor_child,
};
pub use task::{
    Call, CancelToken, Catalog, FactoryName, Listed, OnTimeout, RequestId, SettleError, Settled,
    SpawnAt, SpawnAtError, StartRefused, Supervised, Task, TaskCx, TaskError, TaskHandle,
    TaskShutdown, TaskStream, TaskStreamBuilder, Tasks, TasksAt, await_many, yield_many,
};
pub use timers::{TimerError, TimerRef};
pub use trace::{Trace, TraceError, TraceHop};
pub use undelivered::Undelivered;

/// What the macros' output names. Not part of the API.
#[doc(hidden)]
pub mod __private {
    pub use actix;

    pub use crate::async_handler::AsyncResponse;
}
