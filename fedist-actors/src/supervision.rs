//! Supervision: children that are built from factories, and built again when they end.
//!
//! `plan` decides, `supervisor` acts; `rules`, `spec` and `place` say what a child is, `orders` what can be
//! asked of a supervisor, `tree` what a node shows of them all.

mod orders;
mod pace;
mod place;
mod plan;
mod rules;
mod spec;
mod supervisor;
mod tree;

pub use orders::{
    CountChildren, DeleteChild, RestartChild, StartChild, TerminateChild, WhichChildren,
};
pub use place::{Choose, Place, RemoteChild, remote_child};
pub use rules::{
    AutoShutdown, ChildCounts, ChildError, ChildKind, ChildRef, ChildState, ChildStatus, Restart,
    Shutdown, Strategy,
};
pub use spec::{ChildSpec, child, child_fn, exported_child, supervisor_child};
pub(crate) use supervisor::Started;
pub use supervisor::{Supervisor, SupervisorError};
pub(crate) use tree::Supervisors;
pub use tree::Tree;
