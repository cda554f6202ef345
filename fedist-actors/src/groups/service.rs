//! The group service at the well-known pid `region.6`: the shell around the engines.

use std::{
    cell::Cell,
    collections::{BTreeSet, HashMap, HashSet},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix::{Actor, AsyncContext, Handler, MessageResult, StreamHandler, WrapFuture};
use fedist_registry::{Micros, RegionId, RegionPid, service};
use futures_util::stream;

use super::{
    book::{GroupBook, Work},
    fanout::{Fanout, FanoutRef},
    membership, multicast,
    pause_board::PauseBoard,
    protocol::{GroupCopy, GroupStream, GroupUpdate, Hello, HelloAnswer, Letter},
};
use crate::{
    Context, DropReason, MonitorRef, Node, PidSend, RegionChange, RegionEvent, SendError, View,
    hub::CoreRef, origin::Origin,
};

/// Does what the engines say, and tells them what has come.
pub(crate) struct GroupService {
    node: Node,
    core: CoreRef,
    fanout: FanoutRef,
    pauses: Rc<PauseBoard>,
    /// Copies that wait for room towards a neighbour.
    held: Rc<Cell<usize>>,
    view: Option<Arc<View>>,
    monitors: HashMap<RegionId, MonitorRef>,
}

/// At least so often the service looks after what has changed.
const TICK: Duration = Duration::from_secs(1);
/// How long a region has to answer a hello.
const HELLO_DEADLINE: Duration = Duration::from_secs(5);

/// Copies that may wait for room towards neighbours.
const HELD_MAX: usize = 4096;

/// Time to look at the books.
struct Turn;

impl GroupService {
    pub(crate) fn new(node: &Node, core: CoreRef) -> Self {
        Self {
            node: node.clone(),
            core,
            fanout: Fanout::new(node),
            pauses: Rc::new(PauseBoard::new(node)),
            held: Rc::new(Cell::new(0)),
            view: None,
            monitors: HashMap::new(),
        }
    }

    fn book(&self) -> &GroupBook {
        &self.node.inner().groups
    }

    fn now(&self) -> Micros {
        self.node.inner().clock.now()
    }

    fn turn(&mut self, ctx: &mut Context<Self>) {
        let view = self.node.view();
        let now = self.now();
        if self.view.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &view)) {
            let live: BTreeSet<RegionId> =
                view.registry.live_regions().map(|record| record.id).collect();
            self.monitors.retain(|region, monitor| {
                let stays = live.contains(region);
                if !stays {
                    ctx.demonitor(*monitor);
                }
                stays
            });
            self.book().handle_regions(now, &live);
            self.view = Some(Arc::clone(&view));
        }
        let Work { replication, publishing, participants } = self.book().work(now, &view);
        for region in participants {
            self.monitors.entry(region).or_insert_with(|| ctx.monitor_region(region));
        }
        for action in publishing {
            self.perform(action);
        }
        self.pauses.send();
        let mut refused = HashSet::new();
        for action in replication {
            match action {
                membership::Action::Hello(region) => self.say_hello(region, ctx),
                membership::Action::Update(region, _) if refused.contains(&region) => {}
                update @ membership::Action::Update(region, _) => {
                    if !self.send_update(update) {
                        refused.insert(region);
                    }
                }
            }
        }
    }

    fn say_hello(&self, region: RegionId, ctx: &mut Context<Self>) {
        let node = self.node.clone();
        let hello = async move {
            let hello = Hello { origin: Origin::here(), boot: node.boot() };
            let ask = RegionPid::new(region, service::GROUPS).send(&node, hello);
            let answer = ask.deadline(HELLO_DEADLINE).await.ok();
            let now = node.inner().clock.now();
            node.inner().groups.handle_hello_answer(now, region, answer);
        };
        ctx.spawn(hello.into_actor(self));
    }

    fn send_update(&self, action: membership::Action) -> bool {
        let membership::Action::Update(region, update) = action else {
            return true;
        };
        let update = GroupUpdate { origin: Origin::here(), boot: self.node.boot(), update };
        let sent = RegionPid::new(region, service::GROUPS).try_send(&self.node, update);
        if sent.is_err() {
            self.book().undelivered(self.now(), region);
        }
        sent.is_ok()
    }

    fn perform(&mut self, action: multicast::Action) {
        match action {
            multicast::Action::Copy(to, copy) => {
                let hop = RegionPid::new(to, service::GROUPS);
                if let Err(SendError::Full(copy)) = hop.try_send(&self.node, copy) {
                    self.hold(hop, copy);
                }
            }
            multicast::Action::Notice(to, notice) => {
                // One that is refused is asked for again.
                let stream = GroupStream { origin: Origin::here(), notice };
                let _ = RegionPid::new(to, service::GROUPS).try_send(&self.node, stream);
            }
            multicast::Action::Deliver(source, letter) => self.deliver(source, letter),
            multicast::Action::Lost(target, letter) => {
                self.node.note_dead_letter(
                    RegionPid::new(target, service::GROUPS),
                    letter.from.map(|from| RegionPid::new(self.node.region(), from)),
                    self.node.type_name(letter.wire_type),
                    DropReason::SessionEnded,
                );
            }
        }
    }

    /// Sends a copy as soon as there is room. Past the bound it is lost on the way, as with a cut
    /// link: its targets will ask for the letter.
    fn hold(&self, hop: RegionPid, copy: GroupCopy) {
        if self.held.get() >= HELD_MAX {
            return;
        }
        self.held.set(self.held.get() + 1);
        let (node, held) = (self.node.clone(), Rc::clone(&self.held));
        actix_rt::spawn(async move {
            let _ = node.tell_to(hop, copy).await;
            held.set(held.get() - 1);
        });
    }

    fn deliver(&mut self, source: RegionId, letter: Letter) {
        let receivers = self.book().receivers(&letter.group);
        if source == self.node.region() {
            self.book().delivered_locally(&letter);
        }
        Fanout::deliver(&self.fanout, source, letter, receivers, &self.pauses);
    }
}

impl Actor for GroupService {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let turns = stream::unfold(self.node.clone(), |node| async move {
            let book = &node.inner().groups;
            let now = node.inner().clock.now();
            let due = book.deadline().map(|at| at.saturating_sub(now).as_duration());
            let _ = tokio::time::timeout(due.unwrap_or(TICK).min(TICK), book.changed()).await;
            Some((Turn, node))
        });
        ctx.add_stream(turns);
    }
}

impl Drop for GroupService {
    fn drop(&mut self) {
        if self.node.inner().stopped.load(std::sync::atomic::Ordering::Acquire) {
            self.book().close();
        }
    }
}

impl StreamHandler<Turn> for GroupService {
    fn handle(&mut self, _: Turn, ctx: &mut Context<Self>) {
        self.turn(ctx);
    }
}

impl Handler<RegionEvent> for GroupService {
    type Result = ();

    fn handle(&mut self, event: RegionEvent, _: &mut Context<Self>) {
        let (now, region) = (self.now(), event.region);
        match event.change {
            RegionChange::Unreachable { .. } => {
                self.fanout.borrow_mut().region_lost(region);
                self.pauses.region_lost(region);
                self.book().region_lost(now, region);
            }
            RegionChange::Reachable => self.book().region_reachable(now, region),
            RegionChange::Restarted { boot } => self.book().region_restarted(now, region, boot),
        }
    }
}

impl Handler<Hello> for GroupService {
    type Result = MessageResult<Hello>;

    fn handle(&mut self, hello: Hello, _: &mut Context<Self>) -> Self::Result {
        let from = hello.origin.region().unwrap_or(self.node.region());
        MessageResult(if from == self.node.region() {
            HelloAnswer { takes_part: false, boot: self.node.boot() }
        } else {
            self.book().handle_hello(self.now(), from, &hello)
        })
    }
}

impl Handler<GroupUpdate> for GroupService {
    type Result = ();

    fn handle(&mut self, message: GroupUpdate, _: &mut Context<Self>) {
        let GroupUpdate { origin, boot, update } = message;
        // Only other regions have something to tell; no pid of this node is a writer of their members.
        if let Some(from) = origin.region()
            && let Some(answer) = self.book().handle_update(self.now(), from, boot, update)
        {
            self.send_update(answer);
        }
    }
}

impl Handler<GroupCopy> for GroupService {
    type Result = ();

    fn handle(&mut self, copy: GroupCopy, _: &mut Context<Self>) {
        let Some(from) = copy.origin.region() else {
            return;
        };
        if from != copy.source && !self.core.borrow().has_link(from) {
            tracing::warn!(%from, source = %copy.source, "a publish from a region that is no neighbour");
            return;
        }
        for action in self.book().handle_copy(self.now(), from, copy, &self.node.view()) {
            self.perform(action);
        }
    }
}

impl Handler<GroupStream> for GroupService {
    type Result = ();

    fn handle(&mut self, message: GroupStream, _: &mut Context<Self>) {
        if let Some(from) = message.origin.region() {
            self.book().handle_notice(self.now(), from, message.notice);
        }
    }
}
