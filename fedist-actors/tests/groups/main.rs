//! Groups over whole federations in one process, on the seeded memory fabric.

mod members;
mod publishing;
#[allow(dead_code, reason = "shared with the other federation tests")]
#[path = "../federation/support.rs"]
mod support;
