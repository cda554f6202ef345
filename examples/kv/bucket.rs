//! A bucket: keys with values, and those who want to hear of every change.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use fedist::{MonitorRef, prelude::*};

use super::message::{
    Change, CountSubscribers, Crash, Delete, Get, Put, Refusal, Subscribe, Unsubscribe,
};

/// One bucket. What it held is gone when it ends.
pub(crate) struct Bucket {
    entries: HashMap<Bytes, Bytes>,
    subscribers: HashMap<RegionPid, Subscriber>,
    share: Share,
    retrying: bool,
}

struct Subscriber {
    to: RegionRecipient<Change>,
    monitor: MonitorRef,
    /// A change did not get through, and it must hear so.
    behind: bool,
}

impl Bucket {
    pub(crate) fn new(room: &Arc<Room>) -> Self {
        let share = Share { room: Arc::clone(room), held: 0 };
        Self { entries: HashMap::new(), subscribers: HashMap::new(), share, retrying: false }
    }

    /// Tells all subscribers. One that cannot take it holds up nobody: it is told later that it has missed something.
    fn broadcast(&mut self, change: &Change, ctx: &mut Context<Self>) {
        for subscriber in self.subscribers.values_mut().filter(|one| !one.behind) {
            subscriber.behind = subscriber.to.try_send(change.clone()).is_err();
        }
        self.retry_later(ctx);
    }

    fn retry_later(&mut self, ctx: &mut Context<Self>) {
        if self.retrying || self.subscribers.values().all(|one| !one.behind) {
            return;
        }
        self.retrying = true;
        ctx.run_later(RETRY, |bucket, ctx| {
            bucket.retrying = false;
            bucket.subscribers.retain(|_, one| {
                let told = one.behind && one.to.try_send(Change::Behind).is_ok();
                if told {
                    ctx.demonitor(one.monitor);
                }
                !told
            });
            bucket.retry_later(ctx);
        });
    }
}

impl Actor for Bucket {
    type Context = Context<Self>;
}

impl Handler<Get> for Bucket {
    type Result = Result<Option<Bytes>, Refusal>;

    fn handle(&mut self, Get { key }: Get, _: &mut Context<Self>) -> Self::Result {
        Ok(self.entries.get(&key).cloned())
    }
}

impl Handler<Put> for Bucket {
    type Result = Result<(), Refusal>;

    fn handle(&mut self, Put { key, value }: Put, ctx: &mut Context<Self>) -> Self::Result {
        let before = self.entries.get(&key).map_or(0, |value| size_of_entry(&key, value));
        self.share.change(before, size_of_entry(&key, &value))?;
        self.entries.insert(key.clone(), value.clone());
        self.broadcast(&Change::Set { key, value }, ctx);
        Ok(())
    }
}

impl Handler<Delete> for Bucket {
    type Result = Result<(), Refusal>;

    fn handle(&mut self, Delete { key }: Delete, ctx: &mut Context<Self>) -> Self::Result {
        if let Some(value) = self.entries.remove(&key) {
            self.share.change(size_of_entry(&key, &value), 0)?;
        }
        self.broadcast(&Change::Deleted { key }, ctx);
        Ok(())
    }
}

impl Handler<Subscribe> for Bucket {
    type Result = Result<RegionPid, Refusal>;

    fn handle(
        &mut self,
        Subscribe { subscriber }: Subscribe,
        ctx: &mut Context<Self>,
    ) -> Self::Result {
        if self.subscribers.len() >= MAX_SUBSCRIBERS {
            let what = "subscribers of a bucket".to_owned();
            return Err(Refusal::Full { what, limit: MAX_SUBSCRIBERS as u64 });
        }
        let pid = subscriber.pid();
        let monitor = ctx.monitor(pid);
        let subscriber = Subscriber { to: subscriber, monitor, behind: false };
        if let Some(before) = self.subscribers.insert(pid, subscriber) {
            ctx.demonitor(before.monitor);
        }
        Ok(ctx.pid())
    }
}

impl Handler<Unsubscribe> for Bucket {
    type Result = Result<(), Refusal>;

    fn handle(
        &mut self,
        Unsubscribe { subscriber }: Unsubscribe,
        ctx: &mut Context<Self>,
    ) -> Self::Result {
        if let Some(gone) = self.subscribers.remove(&subscriber) {
            ctx.demonitor(gone.monitor);
        }
        Ok(())
    }
}

impl Handler<CountSubscribers> for Bucket {
    type Result = Result<u64, Refusal>;

    fn handle(&mut self, _: CountSubscribers, _: &mut Context<Self>) -> Self::Result {
        Ok(self.subscribers.len() as u64)
    }
}

impl Handler<Crash> for Bucket {
    type Result = Result<(), Refusal>;

    fn handle(&mut self, _: Crash, _: &mut Context<Self>) -> Self::Result {
        panic!("as asked by CRASH")
    }
}

impl Handler<Down> for Bucket {
    type Result = ();

    fn handle(&mut self, down: Down, _: &mut Context<Self>) {
        self.subscribers.remove(&down.pid);
    }
}

/// What all buckets of a region may hold together, in bytes.
pub(crate) struct Room {
    used: AtomicU64,
    limit: u64,
}

impl Room {
    pub(crate) fn new(limit: u64) -> Self {
        Self { used: AtomicU64::new(0), limit }
    }
}

/// What one bucket holds of the room; free again when the bucket ends.
struct Share {
    room: Arc<Room>,
    held: u64,
}

impl Share {
    fn change(&mut self, before: u64, after: u64) -> Result<(), Refusal> {
        let Room { used, limit } = &*self.room;
        let changed = used.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            let next = used.saturating_sub(before) + after;
            (after <= before || next <= *limit).then_some(next)
        });
        if changed.is_err() {
            return Err(Refusal::Full { what: "bytes in this region".to_owned(), limit: *limit });
        }
        self.held = self.held.saturating_sub(before) + after;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.used.fetch_sub(self.held, Ordering::AcqRel);
    }
}

fn size_of_entry(key: &Bytes, value: &Bytes) -> u64 {
    (key.len() + value.len() + ENTRY) as u64
}

/// What an entry takes beside its bytes, about.
const ENTRY: usize = 96;
const MAX_SUBSCRIBERS: usize = 10_000;
const RETRY: Duration = Duration::from_secs(1);
