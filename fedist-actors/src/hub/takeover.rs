//! Taking over from a master that is gone for good, and what its copies do when they come back.
//!
//! A root that writes alone has nobody who could elect another one: an operator says so, on the node of a region directly below
//! it ([`Node::danger_promote`]). From then on there are two logs if the old root still runs somewhere: the one with the higher
//! term counts. Every copy that finds its own log to end otherwise compares the two, keeps what they share, takes what the newer
//! one says after that, and counts and logs each entry that it had to let go: those were never the federation's, and nothing is
//! merged in silence. It is the one case in which a copy's number of entries may go back; its term does not.

use std::time::Duration;

use fedist_registry::{LogEntry, RegionId, RegionPid, Registry, Version, service};

use super::{Core, membership::ProposeError, quorum::AskDecided};
use crate::{Node, PidSend, outbound::Outbound};

/// What a promotion has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promotion {
    /// The term that began.
    pub term: u64,
    /// The registry's entry that makes this region the only candidate.
    pub index: u64,
    /// Who was the master before.
    pub from: RegionId,
}

/// Why a region did not take over. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PromoteError {
    /// This region is the master already.
    #[error("region {region} is the registry's master already; there is nothing to take over")]
    IsMaster {
        /// This region.
        region: RegionId,
    },
    /// The present master answers.
    #[error(
        "region {master} answers and is the registry's master; two would write two truths; stop it first, or let it set candidates"
    )]
    Alive {
        /// The master.
        master: RegionId,
    },
    /// Enough candidates answer to elect a master without an order.
    #[error(
        "{answering} of {of} candidates answer; a majority elects a master by itself; wait for it"
    )]
    Majority {
        /// Candidates that answer, this region among them.
        answering: usize,
        /// Candidates in all.
        of: usize,
    },
    /// Another region should take over.
    #[error(
        "region {region} may not take over; only a candidate may, or where there are none a live region directly below the root; promote such a one"
    )]
    NotEligible {
        /// This region.
        region: RegionId,
    },
    /// The order could not be carried out, e.g. because the disk refused.
    #[error("the take-over failed: {0}")]
    Failed(String),
    /// The node is stopped.
    #[error("the node is stopped; it takes nothing over; start it again")]
    Stopped,
}

impl Node {
    /// Makes this region the registry's master although nobody elected it, because the master, or a majority of the
    /// candidates, is gone for good. This region is the only candidate then; set others with
    /// [`set_root_candidates`](Self::set_root_candidates).
    ///
    /// Refused while the master answers. But one that is only cut off from here goes on writing where it is, and so does what
    /// can reach it: when the two parts meet, what it wrote since is lost, counted as `registry_entries_lost` and logged by
    /// every copy that had it. So be sure that it is gone.
    ///
    /// # Errors
    /// [`PromoteError`].
    pub async fn danger_promote(&self) -> Result<Promotion, PromoteError> {
        let plan =
            self.on_hub(|core| core.plan_promotion()).await.ok_or(PromoteError::Stopped)??;
        let after = self.view().registry.version();
        if self.answers(plan.from, after).await {
            return Err(PromoteError::Alive { master: plan.from });
        }
        let others = plan.candidates.iter().filter(|id| **id != self.region());
        let asked = others.map(|id| self.answers(*id, after));
        let answering = 1 + futures_util::future::join_all(asked)
            .await
            .into_iter()
            .filter(|answers| *answers)
            .count();
        let of = plan.candidates.len();
        if of > 0 && answering > of / 2 {
            return Err(PromoteError::Majority { answering, of });
        }
        // What others have heard of the old master is worth keeping.
        for peer in plan.neighbours {
            let registrar = RegionPid::new(peer, service::REGISTRAR);
            let after = self.view().registry.version();
            let more = registrar.send(self, AskDecided { after }).deadline(ANSWER);
            if let Ok(more) = more.await {
                self.on_hub(move |core| core.take_fetched(more.entries)).await;
            }
        }
        let decision = self.on_hub(|core| core.take_over()).await.ok_or(PromoteError::Stopped)?;
        match decision.outcome().await {
            Ok(index) => {
                let term = self.view().registry.term();
                Ok(Promotion { term, index, from: plan.from })
            }
            Err(error) => Err(PromoteError::Failed(error.to_string())),
        }
    }

    async fn answers(&self, region: RegionId, after: Version) -> bool {
        let registrar = RegionPid::new(region, service::REGISTRAR);
        registrar.send(self, AskDecided { after }).deadline(ANSWER).await.is_ok()
    }
}

/// Whom to ask before a promotion.
struct Plan {
    from: RegionId,
    candidates: Vec<RegionId>,
    neighbours: Vec<RegionId>,
}

impl Core {
    fn plan_promotion(&self) -> Result<Plan, PromoteError> {
        let region = self.region();
        if self.is_master() {
            return Err(PromoteError::IsMaster { region });
        }
        let candidates = self.registry.candidates().to_vec();
        let (root, tree) = (self.registry.hierarchy().root(), self.registry.hierarchy());
        let eligible = match candidates.is_empty() {
            true => root.is_some() && tree.parent(region) == root,
            false => candidates.contains(&region),
        };
        let Some(from) = self.registry.master().filter(|_| eligible && self.is_live()) else {
            return Err(PromoteError::NotEligible { region });
        };
        let neighbours = self.links.keys().copied().take(NEIGHBOURS_MAX).collect();
        Ok(Plan { from, candidates, neighbours })
    }

    /// A neighbour's log is not this copy's. If its term is higher, somebody took over: follow.
    pub(super) fn reconcile(&mut self, peer: RegionId) {
        let candidacy = &mut self.membership.candidacy;
        if !self.node.is_live() || std::mem::replace(&mut candidacy.reconciling, true) {
            return;
        }
        let (points, term) = (points(&self.registry), self.registry.term());
        let node = self.node.clone();
        actix_rt::spawn(async move {
            let found = newer_log(&node, peer, points, term).await;
            node.queue(Outbound::Run(Box::new(move |core| {
                core.membership.candidacy.reconciling = false;
                if let Some((shared, entries)) = found
                    && let Err(error) = core.follow_newer_log(shared, entries)
                {
                    tracing::error!(%peer, %error, "its registry is newer and could not be followed");
                }
            })));
        });
    }

    /// Puts a newer log in place of what this copy holds after `shared`.
    fn follow_newer_log(
        &mut self,
        shared: Version,
        entries: Vec<LogEntry>,
    ) -> Result<(), ProposeError> {
        let refused = |text: String| ProposeError::Refused(text);
        if !self.registry.agrees_with(shared) {
            return Err(refused("this copy has changed meanwhile".to_owned()));
        }
        let base = self.registry.snapshot().filter(|base| base.version().index <= shared.index);
        let held: Vec<LogEntry> = self
            .registry
            .log()
            .iter()
            .filter(|entry| entry.index <= shared.index)
            .map(|entry| LogEntry::clone(entry))
            .collect();
        let whole = base.is_none();
        if whole && self.registry.log_start().index > 0 {
            return Err(refused(
                "they part before what this copy still holds; move the registry copy away and join again"
                    .to_owned(),
            ));
        }
        let snapshot = base.map(|base| (**base).clone());
        let mut newer = Registry::from_parts(snapshot, held.iter().cloned())
            .map_err(|error| refused(error.to_string()))?;
        for entry in &entries {
            newer.apply(entry.clone()).map_err(|error| refused(error.to_string()))?;
        }
        if newer.term() <= self.registry.term() {
            return Err(refused("its term is not higher after all".to_owned()));
        }
        let lost: Vec<LogEntry> = self
            .registry
            .log()
            .iter()
            .filter(|entry| entry.index > shared.index && !newer.agrees_with(entry.version()))
            .map(|entry| LogEntry::clone(entry))
            .collect();
        if let Some(store) = &self.store {
            let kept = match whole {
                true => {
                    let log: Vec<LogEntry> = held.iter().chain(&entries).cloned().collect();
                    store.replace_log(&log)
                }
                false => store.fork_log(shared.index, &entries),
            };
            kept.map_err(|error| ProposeError::Storage(error.to_string()))?;
        }
        for entry in &lost {
            self.count("registry_entries_lost");
            tracing::error!(
                index = entry.index,
                change = ?entry.change,
                "this change was never the federation's and is lost: another region had taken over"
            );
        }
        let term = newer.term();
        tracing::warn!(term, lost = lost.len(), "the registry follows a master that took over");
        self.count("registry_takeovers_followed");
        self.registry = newer;
        self.quorum_forked();
        if !self.registry.is_live(self.region()) {
            self.node.inner().live.store(false, std::sync::atomic::Ordering::Release);
        }
        self.registry_grew(&entries, None);
        Ok(())
    }
}

/// Points on a copy's log to ask others about: its end, and back from there in growing steps to where the log begins.
fn points(registry: &Registry) -> Vec<Version> {
    let log = registry.log();
    let (mut points, mut back) = (Vec::new(), 1);
    while let Some(entry) = log.len().checked_sub(back).and_then(|at| log.get(at)) {
        points.push(entry.version());
        back *= 2;
    }
    points.push(registry.log_start());
    points
}

/// The last of `points` that is on the peer's log too, and what follows it there, if its term is above `term`.
async fn newer_log(
    node: &Node,
    peer: RegionId,
    points: Vec<Version>,
    term: u64,
) -> Option<(Version, Vec<LogEntry>)> {
    let registrar = RegionPid::new(peer, service::REGISTRAR);
    for shared in points {
        let answer = registrar.send(node, AskDecided { after: shared }).await.ok()?;
        if answer.term <= term {
            return None;
        }
        if !answer.agrees {
            continue;
        }
        let mut entries = answer.entries;
        while let Some(after) = entries.last().map(LogEntry::version) {
            let more = registrar.send(node, AskDecided { after }).await.ok()?;
            if more.entries.is_empty() || entries.len() > ENTRIES_MAX {
                break;
            }
            entries.extend(more.entries);
        }
        return Some((shared, entries));
    }
    None
}

/// How long a master is given to answer before it counts as gone.
const ANSWER: Duration = Duration::from_secs(3);
/// Neighbours that are asked for what they have heard.
const NEIGHBOURS_MAX: usize = 16;
/// Entries of a newer log that are taken at most: all that two checkpoints leave, several times over.
const ENTRIES_MAX: usize = 100_000;
