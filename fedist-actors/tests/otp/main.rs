//! OTP's documented rules as the oracle for processes, links, monitors, exit signals, timers and calls.
//!
//! Every case names the page and the rule, in our own words. Pages: "Processes" is that chapter of
//! the Erlang Reference Manual, "erlang" the module `erlang` of ERTS, the others modules of OTP or Elixir.

mod calls;
mod exit_signals;
mod full_mailboxes;
mod functions;
mod links;
mod monitors;
mod names;
mod ordering;
mod priority;
mod probe;
mod regions;
#[allow(dead_code, reason = "shared with the other test binaries")]
#[path = "../federation/support.rs"]
mod support;
mod termination;
mod timers;
mod trapping;
