//! How bytes travel between regions: wire format, end-to-end sessions, QUIC links, the
//! in-process fabric for tests, and the WAN emulator.
//!
//! Reading order: [`wire`] (what is on the wire), [`session`] (the pure engine that makes a
//! conversation of two regions ordered and exactly-once), [`identity`] (who may speak),
//! [`link`] (one authenticated connection), [`quic`] and [`memory`] (its two kinds),
//! [`fabric`] (either of them), [`emulator`] (WAN delays on loopback).

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod wire;

pub mod session;

pub mod identity;
pub mod link;

pub mod quic;

pub mod memory;

pub mod fabric;

pub mod emulator;
