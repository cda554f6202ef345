//! The delineator at the well-known pid `region.3`, and what it is asked.

use std::time::{Duration, Instant};

use actix::{Actor, Handler, MessageResult, ResponseFuture};
use bytes::Bytes;
use fedist_registry::{NoHome, RegionFacts, RegionId, Rule};
use serde::{Deserialize, Serialize};

use super::{
    at::RegionReport,
    book::Counters,
    home_ask::{HomeAskError, Hop},
    install::ReplaceRuleError,
    slot::EncodedRule,
};
use crate::{Context, Message, Node, Origin, exit::panic_text};

/// Which region does this key belong to, by your rule?
#[derive(Clone, Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Result<RegionId, NoHome>")]
#[wire(name = "fedist.delineator.home", version = 1, crate = "crate")]
pub(crate) struct AskHome {
    pub(super) key: Bytes,
}

/// Go by this rule from now on.
#[derive(Clone, Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Result<u64, ReplaceRuleError>")]
#[wire(name = "fedist.delineator.replace", version = 1, crate = "crate")]
pub(crate) struct ReplaceRule {
    pub(super) rule: Rule,
    pub(super) origin: Origin,
}

/// This is how regions are.
#[derive(Clone, Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Result<(), ReplaceRuleError>")]
#[wire(name = "fedist.delineator.tell", version = 1, crate = "crate")]
pub(crate) struct TellRegions {
    pub(super) facts: Vec<RegionFacts>,
    pub(super) forget: Vec<RegionId>,
    pub(super) origin: Origin,
}

/// How do regions perform, seen from you?
#[derive(Clone, Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Vec<RegionReport>")]
#[wire(name = "fedist.delineator.reports", version = 1, crate = "crate")]
pub(crate) struct AskReports {}

/// Handle this, or pass it on to whom the key belongs by your rule.
#[derive(Clone, Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Result<Bytes, HomeAskError>")]
#[wire(name = "fedist.delineator.ask", version = 1, crate = "crate")]
pub(crate) struct AskHomeOf {
    pub(super) hop: Hop,
    pub(super) body: Bytes,
}

/// The actor. All but the rule itself is in the node's book.
pub(crate) struct DelineatorService {
    node: Node,
    /// The rule and its generation; made when it is first asked.
    rule: Option<(u64, Box<dyn EncodedRule>)>,
}

impl Actor for DelineatorService {
    type Context = Context<Self>;
}

impl DelineatorService {
    pub(crate) fn new(node: Node) -> Self {
        Self { node, rule: None }
    }

    fn home(&mut self, key: &[u8]) -> Result<RegionId, NoHome> {
        let node = self.node.clone();
        let book = &node.inner().delineation;
        let view = node.view();
        let stamp = book.stamp(&view);
        if let Some(home) = book.cached(stamp, key) {
            return Ok(home);
        }
        let begun = Instant::now();
        let rule = self.present_rule()?;
        let answer = book.ask_rule(&node, &view, rule, key);
        match &answer {
            Ok(home) => book.keep(stamp, rule.caching(), key, *home),
            // It is in a state that nobody knows: the next key finds a new one.
            Err(error @ (NoHome::Panicked { .. } | NoHome::Nonsense { .. })) => {
                tracing::warn!(%error, "the delineation rule failed and is made anew");
                Counters::add(&book.counters.restarted);
                self.rule = None;
            }
            Err(_) => {}
        }
        if begun.elapsed() > SLOW {
            Counters::add(&book.counters.slow);
            tracing::warn!(took = ?begun.elapsed(), "the delineation rule holds up its node's thread");
        }
        answer
    }

    /// The installed rule, made if it is another one than before.
    fn present_rule(&mut self) -> Result<&dyn EncodedRule, NoHome> {
        let installed = self.node.inner().delineation.installed();
        if self.rule.as_ref().is_none_or(|(generation, _)| *generation != installed.generation) {
            let make = std::panic::AssertUnwindSafe(|| (installed.make)());
            let made = std::panic::catch_unwind(make).map_err(|payload| {
                let text = format!("while it was made: {}", panic_text(&*payload));
                NoHome::Panicked { text }
            })?;
            self.rule = Some((installed.generation, made));
        }
        match &self.rule {
            Some((_, rule)) => Ok(&**rule),
            None => Err(NoHome::refused("the rule could not be made")),
        }
    }

    fn may_change(&self, origin: Origin) -> bool {
        let book = &self.node.inner().delineation;
        origin
            .region()
            .is_none_or(|from| from == self.node.region() || book.trusted.contains(&from))
    }
}

impl Handler<AskHome> for DelineatorService {
    type Result = MessageResult<AskHome>;

    fn handle(&mut self, message: AskHome, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.home(&message.key))
    }
}

impl Handler<ReplaceRule> for DelineatorService {
    type Result = MessageResult<ReplaceRule>;

    fn handle(&mut self, message: ReplaceRule, _: &mut Context<Self>) -> Self::Result {
        if !self.may_change(message.origin) {
            return MessageResult(Err(ReplaceRuleError::Denied));
        }
        MessageResult(self.node.install_rule(&message.rule))
    }
}

impl Handler<TellRegions> for DelineatorService {
    type Result = MessageResult<TellRegions>;

    fn handle(&mut self, message: TellRegions, _: &mut Context<Self>) -> Self::Result {
        if !self.may_change(message.origin) {
            return MessageResult(Err(ReplaceRuleError::Denied));
        }
        let told = self.node.inner().delineation.tell(&message.facts, &message.forget);
        MessageResult(told.map_err(|error| ReplaceRuleError::BadFacts(error.to_string())))
    }
}

impl Handler<AskReports> for DelineatorService {
    type Result = MessageResult<AskReports>;

    fn handle(&mut self, _: AskReports, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.node.region_reports())
    }
}

impl Handler<AskHomeOf> for DelineatorService {
    type Result = ResponseFuture<Result<Bytes, HomeAskError>>;

    fn handle(&mut self, message: AskHomeOf, _: &mut Context<Self>) -> Self::Result {
        let AskHomeOf { hop, body } = message;
        let node = self.node.clone();
        Box::pin(async move { hop.go_on(&node, body).await })
    }
}

const SLOW: Duration = Duration::from_millis(20);
