//! The delineator: the application's rule for what belongs where, as an actor that is asked by message.
//!
//! Every node has one at the well-known pid `region.3`. It holds the rule that was installed ([`Node::delineate`](crate::Node::delineate)), asks it
//! with a view of the federation, and survives it: a rule that panics or names a region that does not exist is made anew,
//! and the key that it failed at gets a named error. What it needs to begin again after a restart of its own is in the
//! node's `book`.
//!
//! Placing is built on the one question "where does this belong": [`home_of`] stands wherever a region can be named, in
//! `spawn_at`, tasks, calls and child specs; `home_ask` sends a message to whoever serves a key, hop by hop, each by its
//! own rule; `scatter` spreads many pieces.

mod at;
mod book;
mod handling;
mod hold;
mod home;
mod home_ask;
mod install;
mod seed;
mod service;
mod slot;

pub use at::{DelineatorAt, RegionReport};
pub use hold::HomeHold;
pub use home::{HomeError, Where, home_of};
pub use home_ask::{HomeAsk, HomeAskError};
pub use install::{DelineationStatus, ReplaceRuleError};
pub use seed::{RegionSource, SeedError};

pub(crate) use book::{DelineationBook, RuleFactory};
pub(crate) use install::factory_for;
pub(crate) use service::{
    AskHome, AskHomeOf, AskReports, DelineatorService, ReplaceRule, TellRegions,
};
pub(crate) use slot::{EncodedRule, own_factory};
