//! The local ids of the services that every region runs.

use crate::LocalId;

/// Owns the node's links and forwards what is not for this node.
pub const HUB: LocalId = LocalId::known(1);
/// Replicates the registry.
pub const REGISTRAR: LocalId = LocalId::known(2);
/// Answers which region a key belongs to.
pub const DELINEATOR: LocalId = LocalId::known(3);
/// Starts tasks for other regions.
pub const TASKS: LocalId = LocalId::known(4);
/// Looks up names.
pub const NAMES: LocalId = LocalId::known(5);
/// Keeps groups.
pub const GROUPS: LocalId = LocalId::known(6);
/// Answers about counters and measurements.
pub const TELEMETRY: LocalId = LocalId::known(7);
/// Answers every request with its own body; for `ping`.
pub const ECHO: LocalId = LocalId::known(8);
/// Asks the sources of addresses.
pub const DISCOVERY: LocalId = LocalId::known(9);
