//! The buckets of a region: which there are, and who starts them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix::Addr;
use bytes::Bytes;
use dashmap::DashMap;
use fedist::{ChildError, prelude::*};

use super::{
    bucket::{Bucket, Room},
    message::{CountSubscribers, Refusal},
};

/// The names of the buckets. Anyone may look one up without waiting; the [`Keeper`] alone writes.
#[derive(Clone, Default)]
pub(crate) struct Buckets(Arc<Shared>);

#[derive(Default)]
struct Shared {
    names: DashMap<Bytes, RegionAddr<Bucket>>,
    keeper: Mutex<Option<Addr<Keeper>>>,
}

/// The actor that starts buckets, under a supervisor of its own, and notices their ends.
///
/// A bucket that crashes is not started again: what it held is gone, and whoever asks for it shall hear so. If the keeper
/// itself crashes, the buckets end with it by their links, and it begins anew.
pub(crate) struct Keeper {
    buckets: Buckets,
    room: Arc<Room>,
    supervisor: Option<LocalAddr<Supervisor>>,
    running: HashMap<RegionPid, Bytes>,
}

struct CreateBucket {
    name: Bytes,
}

impl actix::Message for CreateBucket {
    type Result = Result<(), Refusal>;
}

impl Buckets {
    pub(crate) fn find(&self, name: &Bytes) -> Option<RegionAddr<Bucket>> {
        self.0.names.get(name).map(|found| found.clone())
    }

    /// Makes the bucket, unless it is there.
    pub(crate) async fn create(&self, name: Bytes) -> Result<(), Refusal> {
        let starting = || Refusal::NotStarted("the keeper of the buckets is starting".to_owned());
        let keeper = self.keeper().ok_or_else(starting)?;
        keeper.send(CreateBucket { name }).await.unwrap_or_else(|_| Err(starting()))
    }

    fn keeper(&self) -> Option<Addr<Keeper>> {
        self.0.keeper.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Keeper {
    pub(crate) fn new(buckets: Buckets, room: Arc<Room>) -> Self {
        Self { buckets, room, supervisor: None, running: HashMap::new() }
    }

    /// Whether it is there and alive. Its end may not have been told yet.
    async fn is_there(&self, name: &Bytes) -> bool {
        let Some(bucket) = self.buckets.find(name) else { return false };
        let asked = bucket.send(CountSubscribers).deadline(PATIENCE).await;
        !matches!(asked, Err(AskError::NoActor(_) | AskError::NoReply(_)))
    }
}

impl Actor for Keeper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let supervisor = Supervisor::dynamic().max_children(MAX_BUCKETS).start_link(ctx);
        match supervisor {
            Ok(supervisor) => self.supervisor = Some(supervisor),
            Err(error) => return ctx.exit(ExitReason::Custom(error.to_string())),
        }
        let shared = &self.buckets.0;
        shared.names.clear();
        *shared.keeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(ctx.address());
    }
}

#[async_handler]
impl AsyncHandler<CreateBucket> for Keeper {
    async fn handle(
        &mut self,
        CreateBucket { name }: CreateBucket,
        ctx: &mut Context<Self>,
    ) -> Result<(), Refusal> {
        if self.is_there(&name).await {
            return Ok(());
        }
        let Some(supervisor) = self.supervisor.clone() else {
            return Err(Refusal::NotStarted("the supervisor has ended".to_owned()));
        };
        let room = Arc::clone(&self.room);
        let label: String = String::from_utf8_lossy(&name).chars().take(LABEL).collect();
        let spec = child(label, move || Bucket::new(&room)).restart(Restart::Temporary);
        let pid = match supervisor.start_child(spec).await {
            Ok(pid) => pid,
            Err(ChildError::MaxChildren(limit)) => {
                let what = "buckets in this region".to_owned();
                return Err(Refusal::Full { what, limit: limit as u64 });
            }
            Err(error) => return Err(Refusal::NotStarted(error.to_string())),
        };
        self.buckets.0.names.insert(name.clone(), ctx.node().address(pid));
        self.running.insert(pid, name);
        ctx.monitor(pid);
        Ok(())
    }
}

impl Handler<Down> for Keeper {
    type Result = ();

    fn handle(&mut self, down: Down, _: &mut Context<Self>) {
        if let Some(name) = self.running.remove(&down.pid) {
            self.buckets.0.names.remove_if(&name, |_, bucket| bucket.pid() == down.pid);
        }
    }
}

const MAX_BUCKETS: usize = 100_000;
/// How much of a bucket's name its supervisor shows.
const LABEL: usize = 40;
const PATIENCE: Duration = Duration::from_secs(1);
