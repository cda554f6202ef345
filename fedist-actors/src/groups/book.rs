//! The node's groups: the two engines behind one lock, for handles of all threads and the service.

use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use fedist_registry::{LocalId, Micros, RegionId};
use tokio::sync::Notify;

use super::{
    GroupCounters, GroupEvent, JoinError,
    member::{Member, Meta},
    membership::{self, Membership},
    multicast::{self, Multicast},
    protocol::{GroupCopy, Hello, HelloAnswer, Letter, Notice, Update},
    watch::WatchQueue,
};
use crate::{ExitReason, View};

/// All that the node knows of groups. Handles change it; the group service does what follows.
pub(crate) struct GroupBook {
    state: Mutex<State>,
    changed: Notify,
    room: Notify,
}

struct State {
    membership: Membership,
    multicast: Multicast,
    watchers: Vec<Weak<WatchQueue>>,
    /// Actors of this node whose end is awaited.
    awaited: HashSet<LocalId>,
    /// What publishing has to send or deliver, in order.
    pending: VecDeque<multicast::Action>,
    closed: bool,
}

/// What the service has to do now.
pub(super) struct Work {
    pub(super) replication: Vec<membership::Action>,
    pub(super) publishing: Vec<multicast::Action>,
    pub(super) participants: Vec<RegionId>,
}

fn next_hop(view: &View) -> impl Fn(RegionId) -> Option<RegionId> {
    |region| view.routes.get(region)?.next_hop()
}

impl GroupBook {
    pub(crate) fn new(me: RegionId, boot: u32, max_message: usize) -> Self {
        Self {
            state: Mutex::new(State {
                membership: Membership::new(me, boot, max_message),
                multicast: Multicast::new(me, boot),
                watchers: Vec::new(),
                awaited: HashSet::new(),
                pending: VecDeque::new(),
                closed: false,
            }),
            changed: Notify::new(),
            room: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, tells the watchers and wakes the service.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let outcome = change(&mut state);
        state.tell_watchers();
        drop(state);
        self.changed.notify_one();
        outcome
    }

    // ---- for handles -----------------------------------------------------------------------

    pub(super) fn take_part(&self) {
        let mut state = self.lock();
        if !state.membership.takes_part() {
            state.membership.take_part();
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Enters an actor; true when its end is not awaited yet and has to be from now on.
    pub(super) fn join(&self, group: &str, local: LocalId, meta: Meta) -> Result<bool, JoinError> {
        self.change(|state| {
            state.membership.join(group, local, meta)?;
            Ok(state.awaited.insert(local))
        })
    }

    pub(super) fn leave(&self, group: &str, local: LocalId) -> bool {
        self.change(|state| state.membership.leave(group, local))
    }

    pub(super) fn update_meta(
        &self,
        group: &str,
        local: LocalId,
        meta: Meta,
    ) -> Result<bool, JoinError> {
        self.change(|state| state.membership.update_meta(group, local, meta))
    }

    pub(super) fn ended(&self, local: LocalId, reason: &ExitReason) {
        self.change(|state| {
            state.awaited.remove(&local);
            state.membership.ended(local, reason);
        });
    }

    pub(super) fn members(&self, group: &str) -> Vec<Member> {
        self.lock().membership.members(group)
    }

    pub(super) fn local_members(&self, group: &str) -> Vec<Member> {
        self.lock().membership.local_members(group).collect()
    }

    pub(super) fn groups(&self, prefix: &str) -> Vec<Arc<str>> {
        self.lock().membership.groups(prefix).cloned().collect()
    }

    pub(super) fn counters(&self) -> GroupCounters {
        let state = self.lock();
        GroupCounters { refused_members: state.membership.refused(), ..state.multicast.counters() }
    }

    /// The number of regions that a letter was accepted for, or the letter back when there is no room.
    pub(super) fn publish(
        &self,
        now: Micros,
        view: &View,
        letter: Letter,
    ) -> Result<usize, Letter> {
        let mut state = self.lock();
        let targets = state.membership.regions_of(&letter.group);
        let actions = state.multicast.publish(now, &targets, letter, next_hop(view))?;
        state.pending.extend(actions);
        drop(state);
        self.changed.notify_one();
        Ok(targets.len())
    }

    /// Resolves when there may be room to publish again.
    pub(super) fn room(&self) -> &Notify {
        &self.room
    }

    pub(super) fn watch(&self, prefix: String) -> Arc<WatchQueue> {
        let mut state = self.lock();
        let snapshot = GroupEvent::Snapshot(state.membership.snapshot(&prefix));
        let queue = Arc::new(WatchQueue::new(prefix, snapshot));
        if state.closed {
            queue.close();
        }
        state.watchers.retain(|watcher| watcher.strong_count() > 0);
        state.watchers.push(Arc::downgrade(&queue));
        queue
    }

    /// A snapshot for a watcher that has missed events.
    pub(super) fn catch_up(&self, queue: &WatchQueue) -> GroupEvent {
        let state = self.lock();
        queue.caught_up();
        GroupEvent::Snapshot(state.membership.snapshot(queue.prefix()))
    }

    // ---- for the service -------------------------------------------------------------------

    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn deadline(&self) -> Option<Micros> {
        self.lock().multicast.deadline()
    }

    pub(super) fn handle_regions(&self, now: Micros, live: &BTreeSet<RegionId>) {
        self.change(|state| {
            for region in state.membership.handle_regions(now, live) {
                let lost = state.multicast.region_lost(region);
                state.pending.extend(lost);
            }
        });
        self.room.notify_waiters();
    }

    pub(super) fn work(&self, now: Micros, view: &View) -> Work {
        let mut state = self.lock();
        let reachable = |region| view.routes.get(region).is_some();
        let replication = state.membership.poll(now, reachable);
        let due = state.multicast.handle_timeout(now);
        let mut publishing: Vec<multicast::Action> = state.pending.drain(..).collect();
        publishing.extend(due);
        let participants = state.membership.participants().collect();
        Work { replication, publishing, participants }
    }

    /// The members in this node to which a letter goes.
    pub(super) fn receivers(&self, group: &str) -> Vec<LocalId> {
        let state = self.lock();
        state.membership.local_members(group).map(|member| member.pid.local()).collect()
    }

    pub(super) fn delivered_locally(&self, letter: &Letter) {
        self.lock().multicast.delivered_locally(letter);
        self.room.notify_waiters();
    }

    pub(super) fn handle_hello(&self, now: Micros, from: RegionId, hello: &Hello) -> HelloAnswer {
        self.change(|state| state.membership.handle_hello(now, from, hello.boot))
    }

    pub(super) fn handle_hello_answer(
        &self,
        now: Micros,
        from: RegionId,
        answer: Option<HelloAnswer>,
    ) {
        self.change(|state| state.membership.handle_hello_answer(now, from, answer));
    }

    pub(super) fn handle_update(
        &self,
        now: Micros,
        from: RegionId,
        boot: u32,
        update: Update,
    ) -> Option<membership::Action> {
        self.change(|state| state.membership.handle_update(now, from, boot, update))
    }

    pub(super) fn handle_copy(
        &self,
        now: Micros,
        from: RegionId,
        copy: GroupCopy,
        view: &View,
    ) -> Vec<multicast::Action> {
        let actions = self.lock().multicast.handle_copy(now, from, copy, next_hop(view));
        // An acknowledgement may be due earlier now.
        self.changed.notify_one();
        actions
    }

    pub(super) fn handle_notice(&self, now: Micros, from: RegionId, notice: Notice) {
        self.change(|state| {
            let actions = state.multicast.handle_notice(now, from, notice);
            state.pending.extend(actions);
        });
        self.room.notify_waiters();
    }

    pub(super) fn region_lost(&self, now: Micros, region: RegionId) {
        self.change(|state| {
            state.membership.region_lost(now, region);
            let lost = state.multicast.region_lost(region);
            state.pending.extend(lost);
        });
        self.room.notify_waiters();
    }

    pub(super) fn region_reachable(&self, now: Micros, region: RegionId) {
        self.change(|state| state.membership.region_reachable(now, region));
    }

    pub(super) fn region_restarted(&self, now: Micros, region: RegionId, boot: u32) {
        self.change(|state| {
            state.membership.region_restarted(now, region, boot);
            let lost = state.multicast.region_lost(region);
            state.pending.extend(lost);
        });
        self.room.notify_waiters();
    }

    pub(super) fn undelivered(&self, now: Micros, region: RegionId) {
        self.lock().membership.undelivered(now, region);
    }

    /// Members of this node have too many letters of one of its own groups waiting.
    pub(super) fn pause(&self, me: RegionId, group: String) {
        self.lock().multicast.pause(me, group);
    }

    pub(super) fn resume(&self, me: RegionId, group: &str) {
        self.lock().multicast.resume(me, group);
        self.room.notify_waiters();
    }

    /// The node has stopped: watches end and nobody waits for room any more.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        for watcher in state.watchers.iter().filter_map(Weak::upgrade) {
            watcher.close();
        }
        drop(state);
        self.room.notify_waiters();
    }
}

impl State {
    fn tell_watchers(&mut self) {
        let events = self.membership.take_events();
        if events.is_empty() || self.watchers.is_empty() {
            return;
        }
        self.watchers.retain(|watcher| match watcher.upgrade() {
            None => false,
            Some(watcher) => {
                events.iter().for_each(|event| watcher.push(event));
                true
            }
        });
    }
}
