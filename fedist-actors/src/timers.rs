//! Timers of the node.
mod queue;
