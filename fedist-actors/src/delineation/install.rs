//! Installing and replacing the rule, and what the delineator says of itself.

use std::sync::atomic::Ordering;

use fedist_registry::{BuildRuleError, Delineator, Rule};
use serde::{Deserialize, Serialize};

use super::slot::{RuleFactory, factory_of, own_factory};
use crate::Node;

/// Why a rule or what was told about regions was not taken. What was there before stays in effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ReplaceRuleError {
    /// The node does not take that from the region that asks.
    #[error(
        "denied; a node takes rules and facts from its own region and from those it names; name it with `NodeBuilder::delineated_by`"
    )]
    Denied,
    /// The rule cannot be built.
    #[error(transparent)]
    Build(#[from] BuildRuleError),
    /// The node lists no rule of this name.
    #[error("unknown rule ({name}); the node lists: {}; list it with `NodeBuilder::rule`", .available.join(", "))]
    Unknown {
        /// The name.
        name: String,
        /// What there is.
        available: Vec<String>,
    },
    /// Facts about a region that are wrong.
    #[error("{0}")]
    BadFacts(String),
}

/// What a node's delineator has done. Given by [`Node::delineation`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DelineationStatus {
    /// What the rule is called.
    pub rule: String,
    /// How many rules there have been, the default one included; grows with each replacement.
    pub generation: u64,
    /// How often a rule was asked.
    pub asked: u64,
    /// How many questions were answered from memory instead.
    pub cached: u64,
    /// How many keys had no home.
    pub failed: u64,
    /// How often a rule was made anew because it had panicked or named a region that does not exist.
    pub restarted: u64,
    /// Messages that were passed on to the home of their key.
    pub forwarded: u64,
    /// How often a rule took more than 20 ms of its node's thread.
    pub slow: u64,
}

/// How a rule is made at this node.
pub(crate) fn factory_for(node: &Node, rule: &Rule) -> Result<RuleFactory, ReplaceRuleError> {
    let named = &node.inner().delineation.named;
    match rule {
        Rule::Named { name } => named.get(name).cloned().ok_or_else(|| {
            let available = named.keys().cloned().collect();
            ReplaceRuleError::Unknown { name: name.clone(), available }
        }),
        rule => Ok(factory_of(rule, node.next_reference())?),
    }
}

impl Node {
    /// Goes by this rule from now on: it becomes the actor at `region.3`, which anyone may ask ([`Node::home_of`],
    /// [`Node::delineator`]). Answers that an earlier rule gave are forgotten. The rule is cloned whenever it has to be made anew,
    /// at first and after it has failed; see [`delineate_with`](Self::delineate_with) for one that cannot be cloned.
    ///
    /// Until a rule is installed a node goes by [`ById`](fedist_registry::ById).
    pub fn delineate<D: Delineator + Clone + Sync>(&self, rule: D) {
        self.delineate_with(move || rule.clone());
    }

    /// As [`delineate`](Self::delineate), with a rule that `make` makes, each time anew. A panic in `make` is a rule that
    /// panics: keys have no home until another one is installed.
    pub fn delineate_with<D: Delineator>(&self, make: impl Fn() -> D + Send + Sync + 'static) {
        let name = std::any::type_name::<D>();
        let name = name.split('<').next().and_then(|path| path.rsplit("::").next()).unwrap_or(name);
        self.inner().delineation.install(name.to_owned(), own_factory(make));
    }

    /// As [`delineate`](Self::delineate), with a rule in the box or one that the node lists by name
    /// ([`NodeBuilder::rule`](crate::NodeBuilder::rule)). Other regions do it with [`DelineatorAt::replace`](crate::DelineatorAt::replace).
    ///
    /// # Errors
    /// [`ReplaceRuleError`]; the present rule stays.
    pub fn delineate_by(&self, rule: &Rule) -> Result<(), ReplaceRuleError> {
        self.install_rule(rule).map(drop)
    }

    pub(super) fn install_rule(&self, rule: &Rule) -> Result<u64, ReplaceRuleError> {
        let make = factory_for(self, rule)?;
        let generation = self.inner().delineation.install(rule.to_string(), make);
        tracing::info!(%rule, generation, "another delineation rule");
        Ok(generation)
    }

    /// What the delineator of this node has done.
    pub fn delineation(&self) -> DelineationStatus {
        let book = &self.inner().delineation;
        let installed = book.installed();
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &book.counters;
        DelineationStatus {
            rule: installed.name.clone(),
            generation: installed.generation,
            asked: read(&counters.asked),
            cached: read(&counters.cached),
            failed: read(&counters.failed),
            restarted: read(&counters.restarted),
            forwarded: read(&counters.forwarded),
            slow: read(&counters.slow),
        }
    }
}
