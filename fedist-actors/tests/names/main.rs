//! Names, aliases, timers and lost messages, at no hop, one hop and three hops.

#[allow(dead_code, reason = "shared with the federation tests, which use all of it")]
#[path = "../federation/support.rs"]
mod support;

mod aliases;
mod lookups;
mod timers;
mod undelivered;
