//! The group service at the well-known pid `region.6`: the shell around the engines.

use std::{
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
    protocol::{GroupCopy, GroupStream, GroupUpdate, Hello, HelloAnswer, Letter, Notice},
};
use crate::{
    Context, DeadLetter, DropReason, MonitorRef, Node, PidSend, RegionChange, RegionEvent, View,
    hub::CoreRef, origin::Origin,
};

/// Does what the engines say, and tells them what has come.
pub(crate) struct GroupService {
    node: Node,
    core: CoreRef,
    fanout: FanoutRef,
    tell: Rc<dyn Fn(RegionId, Notice)>,
    view: Option<Arc<View>>,
    monitors: HashMap<RegionId, MonitorRef>,
}

/// At least so often the service looks after what has changed.
const TICK: Duration = Duration::from_secs(1);
/// How long a region has to answer a hello.
const HELLO_DEADLINE: Duration = Duration::from_secs(5);

/// Time to look at the books.
struct Turn;

impl GroupService {
    pub(crate) fn new(node: &Node, core: CoreRef) -> Self {
        let own = node.clone();
        let tell = Rc::new(move |to, notice| say(&own, to, notice));
        Self {
            node: node.clone(),
            core,
            fanout: Fanout::new(node),
            tell,
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
                // One that is refused counts as astray: its targets will ask for the letter.
                let _ = RegionPid::new(to, service::GROUPS).try_send(&self.node, copy);
            }
            multicast::Action::Notice(to, notice) => say(&self.node, to, notice),
            multicast::Action::Deliver(source, letter) => self.deliver(source, letter),
            multicast::Action::Lost(target, letter) => {
                self.node.inner().dead_letters.note(DeadLetter {
                    to: RegionPid::new(target, service::GROUPS),
                    from: letter.from.map(|from| RegionPid::new(self.node.region(), from)),
                    message: self.node.type_name(letter.wire_type),
                    reason: DropReason::SessionEnded,
                });
            }
        }
    }

    fn deliver(&mut self, source: RegionId, letter: Letter) {
        let receivers = self.book().receivers(&letter.group);
        if source == self.node.region() {
            self.book().delivered_locally(&letter);
        }
        Fanout::deliver(&self.fanout, source, letter, receivers, &self.tell);
    }
}

/// Says something to the other end of a stream, which may be this node.
fn say(node: &Node, to: RegionId, notice: Notice) {
    if to == node.region() {
        match notice {
            Notice::Pause { group } => node.inner().groups.pause(to, group),
            Notice::Resume { group } => node.inner().groups.resume(to, &group),
            Notice::Ack(_) | Notice::Probe { .. } => {}
        }
        return;
    }
    let lasting = matches!(notice, Notice::Pause { .. } | Notice::Resume { .. });
    let stream = GroupStream { origin: Origin::here(), notice };
    let pid = RegionPid::new(to, service::GROUPS);
    if !lasting {
        // An acknowledgement that is refused is asked for again.
        let _ = pid.try_send(node, stream);
        return;
    }
    let node = node.clone();
    actix_rt::spawn(async move {
        let _ = node.tell_when_routed(pid, stream).await;
    });
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
