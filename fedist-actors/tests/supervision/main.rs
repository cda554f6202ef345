//! Supervisors with real actors: strategies, ends, orders, trees, and a tree over three regions
//! among random failures.

mod chaos;
mod ends;
mod orders;
mod remote;
mod strategies;
#[path = "../federation/support.rs"]
#[allow(dead_code, reason = "shared with the federation tests, which use more of it")]
mod support;
mod trees;
mod workers;
