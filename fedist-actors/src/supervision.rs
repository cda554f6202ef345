//! Supervision: children that are built from factories, and built again when they end.
//!
//! `plan` decides, `supervisor` acts.

mod pace;
pub(crate) mod plan;
pub(crate) mod rules;
