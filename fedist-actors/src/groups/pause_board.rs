//! What the sources of publishes are to be told about pauses: in order, and in any case.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
};

use fedist_registry::{RegionId, RegionPid, service};

use super::protocol::{GroupStream, Notice};
use crate::{Node, PidSend, origin::Origin};

/// Pauses and resumes on their way to the regions that publish.
///
/// A resume that got lost would stop a group for good, so what is refused stays here and goes with the next turn.
pub(super) struct PauseBoard {
    node: Node,
    unsent: RefCell<BTreeMap<RegionId, VecDeque<Notice>>>,
}

impl PauseBoard {
    pub(super) fn new(node: &Node) -> Self {
        Self { node: node.clone(), unsent: RefCell::default() }
    }

    /// Tells a source, which may be this node, to pause or resume a group.
    pub(super) fn say(&self, to: RegionId, notice: Notice) {
        if to == self.node.region() {
            match notice {
                Notice::Pause { group } => self.node.inner().groups.pause(to, group),
                Notice::Resume { group } => self.node.inner().groups.resume(to, &group),
                Notice::Ack(_) | Notice::Probe { .. } => {}
            }
            return;
        }
        let mut unsent = self.unsent.borrow_mut();
        let queue = unsent.entry(to).or_default();
        match (&notice, queue.back()) {
            // The source never learnt of the pause, and need not.
            (Notice::Resume { group }, Some(Notice::Pause { group: paused }))
                if group == paused =>
            {
                queue.pop_back();
            }
            _ => queue.push_back(notice),
        }
        drop(unsent);
        self.send();
    }

    /// Sends what could not be sent before.
    pub(super) fn send(&self) {
        self.unsent.borrow_mut().retain(|region, queue| {
            let pid = RegionPid::new(*region, service::GROUPS);
            while let Some(notice) = queue.front() {
                let stream = GroupStream { origin: Origin::here(), notice: notice.clone() };
                if pid.try_send(&self.node, stream).is_err() {
                    return true;
                }
                queue.pop_front();
            }
            false
        });
    }

    /// The session with a source ended: it knows of no pause any more.
    pub(super) fn region_lost(&self, region: RegionId) {
        self.unsent.borrow_mut().remove(&region);
    }
}
