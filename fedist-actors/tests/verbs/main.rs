//! Every verb has the same outcome wherever the other side lives: in the same node, one hop or three hops
//! away, and on a network that loses frames and changes its routes meanwhile.

mod distance;
mod groups;
mod life;
mod messages;
mod naming;
#[allow(dead_code, reason = "shared with the other test binaries")]
#[path = "../otp/probe.rs"]
mod probe;
mod supervisors;
#[allow(dead_code, reason = "shared with the other test binaries")]
#[path = "../federation/support.rs"]
mod support;
mod table;
mod tasks;
mod weather;
