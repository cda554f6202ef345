//! The delineator of any region, and the exchange with it: what the application knows, what the library has measured.

use bytes::Bytes;
use fedist_registry::{
    NoHome, RegionFacts, RegionId, RegionPid, RegionTable, RegionTableError, Rule, Status, service,
};
use serde::{Deserialize, Serialize};

use super::{
    home::HomeError,
    install::ReplaceRuleError,
    service::{AskHome, AskReports, ReplaceRule, TellRegions},
};
use crate::{AskError, Node, Origin, PidSend, WireMessage, message::encode};

/// How a region is reached and how it works, as seen from one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RegionReport {
    /// Which region.
    pub region: RegionId,
    /// Whether it is a live member.
    pub live: bool,
    /// What the present route there costs, one way, in ms; `None` where there is none.
    pub cost_ms: Option<f64>,
    /// How many links that route has; 0 for the own region.
    pub links: usize,
    /// Its capacity, as the application told.
    pub capacity: Option<f64>,
    /// Units of work that were placed there from here and are not done.
    pub queued: u64,
    /// Units of work that were done there for this node.
    pub done: u64,
    /// Pieces that were done there for this node.
    pub done_pieces: u64,
    /// Pieces that failed there.
    pub failed_pieces: u64,
    /// Units of work per second, measured; `None` until enough was done.
    pub speed: Option<f64>,
}

/// The delineator of a region. Made by [`Node::delineator`].
#[derive(Clone)]
pub struct DelineatorAt {
    node: Node,
    region: RegionId,
}

impl Node {
    /// The delineator of `region`, which may be this one.
    pub fn delineator(&self, region: RegionId) -> DelineatorAt {
        DelineatorAt { node: self.clone(), region }
    }

    /// Tells this node's rules about regions; entries replace those of the same regions.
    ///
    /// # Errors
    /// [`RegionTableError`]; nothing is changed then.
    pub fn tell_regions(
        &self,
        facts: impl IntoIterator<Item = RegionFacts>,
    ) -> Result<(), RegionTableError> {
        let facts: Vec<_> = facts.into_iter().collect();
        self.inner().delineation.tell(&facts, &[])
    }

    /// Puts a whole table in place of all that was told about regions before.
    pub fn set_region_table(&self, table: RegionTable) {
        self.inner().delineation.set_table(table);
    }

    /// What was told about regions.
    pub fn region_table(&self) -> RegionTable {
        self.inner().delineation.table().1.clone()
    }

    /// How every region that has not left is reached from here, and how it does the work that is placed there from here: what the
    /// library tells the application.
    pub fn region_reports(&self) -> Vec<RegionReport> {
        let book = &self.inner().delineation;
        let view = self.view();
        let table = book.table();
        let measured: std::collections::BTreeMap<RegionId, _> =
            book.performance().regions().map(|one| (one.region, one)).collect();
        let members = view.registry.regions().filter(|record| record.status != Status::Left);
        members
            .map(|record| {
                let here = record.id == self.region();
                let route = view.routes.get(record.id);
                let seen = measured.get(&record.id);
                RegionReport {
                    region: record.id,
                    live: record.status == Status::Live,
                    cost_ms: match route {
                        _ if here => Some(0.0),
                        route => route.map(|route| route.cost.as_micros() as f64 / 1e3),
                    },
                    links: route.map_or(0, |route| route.hops.len()),
                    capacity: table.1.get(record.id).and_then(|facts| facts.capacity),
                    queued: seen.map_or(0, |seen| seen.queued),
                    done: seen.map_or(0, |seen| seen.done),
                    done_pieces: seen.map_or(0, |seen| seen.done_pieces),
                    failed_pieces: seen.map_or(0, |seen| seen.failed_pieces),
                    speed: seen.and_then(|seen| seen.speed),
                }
            })
            .collect()
    }
}

impl DelineatorAt {
    /// Whose delineator it is.
    pub fn region(&self) -> RegionId {
        self.region
    }

    /// The region that `key` belongs to, by the rule of this delineator. Waits at most 5 s.
    ///
    /// # Errors
    /// [`HomeError`].
    ///
    /// # Cancel safety
    /// May be dropped and called again; a rule that takes turns may have used one up.
    pub async fn home_of<K: Serialize + ?Sized>(&self, key: &K) -> Result<RegionId, HomeError> {
        let key = encode("fedist.delineator.key", key)
            .map_err(|error| HomeError::Encode(error.to_string()))?;
        self.home_of_encoded(key).await
    }

    pub(crate) async fn home_of_encoded(&self, key: Bytes) -> Result<RegionId, HomeError> {
        if self.region == self.node.region() {
            return self.node.home_of_encoded(key, crate::DEFAULT_DEADLINE).await;
        }
        let answer: Result<RegionId, NoHome> = self
            .ask(AskHome { key })
            .await
            .map_err(|error| HomeError::Ask { region: self.region, error })?;
        Ok(answer?)
    }

    /// Has it go by another rule from now on. Gives the generation of the rule. Pieces that have been placed stay where they are;
    /// messages on their way to keys are passed on by the new rule.
    ///
    /// # Errors
    /// `Ok(Err(_))`: it was asked and refused. `Err(_)`: it could not be asked; after `Timeout` and `Unreachable` it may have
    /// been replaced, and asking again does no harm.
    pub async fn replace(&self, rule: Rule) -> Result<Result<u64, ReplaceRuleError>, AskError> {
        self.ask(ReplaceRule { rule, origin: Origin::here() }).await
    }

    /// Tells it about regions; entries replace those of the same regions, and those of `forget` are forgotten.
    ///
    /// # Errors
    /// As [`replace`](Self::replace).
    pub async fn tell(
        &self,
        facts: impl IntoIterator<Item = RegionFacts>,
        forget: impl IntoIterator<Item = RegionId>,
    ) -> Result<Result<(), ReplaceRuleError>, AskError> {
        let facts = facts.into_iter().collect();
        let forget = forget.into_iter().collect();
        self.ask(TellRegions { facts, forget, origin: Origin::here() }).await
    }

    /// How regions are reached from there, and how they do the work that is placed from there.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn reports(&self) -> Result<Vec<RegionReport>, AskError> {
        self.ask(AskReports {}).await
    }

    /// Asks; again, for a while, if it is just being started anew. None of the questions does harm when it is handled twice.
    async fn ask<M: WireMessage + Clone>(&self, message: M) -> Result<M::Result, AskError> {
        let delineator = RegionPid::new(self.region, service::DELINEATOR);
        for _ in 0..RESTART_ATTEMPTS {
            match delineator.send(&self.node, message.clone()).await {
                // It is being started again; for a moment it is there and not exported yet.
                Err(AskError::NoActor(_) | AskError::Denied(_) | AskError::NoReply(_)) => {
                    self.node.sleep(RESTART_PAUSE).await;
                }
                answer => return answer,
            }
        }
        delineator.send(&self.node, message).await
    }
}

const RESTART_ATTEMPTS: u32 = 50;
const RESTART_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);
