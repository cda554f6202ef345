//! The delineator as an actor, placing by it, messages that follow their keys home, and scattered pieces.

#[path = "../federation/support.rs"]
#[allow(dead_code, reason = "shared with the federation's tests")]
mod support;

mod asking;
mod keys;
mod placing;
mod replacing;
mod rules;
mod scattering;
