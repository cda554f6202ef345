//! Remote spawn and remote tasks. The rules for tasks are those that Elixir documents for `Task` and
//! `Task.Supervisor`, and Erlang for `erpc`; each test that checks one names it.

#[path = "../federation/support.rs"]
#[allow(dead_code, reason = "shared with the federation's tests")]
mod support;

mod actors;
mod bad_input;
mod elixir;
mod output;
mod settle;
mod spawn;
mod stream;
mod work;
