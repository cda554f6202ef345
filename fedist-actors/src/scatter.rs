//! Many pieces of work, spread over the regions by a rule and gathered again.
//!
//! `plan` decides, without clock and I/O: how far ahead pieces are placed, how many run in a region at a time, who is tried
//! again and where not. The stream here asks the rule, runs the tasks, and tells the delineator what it learns of the regions.

mod gathering;
mod plan;

use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use fedist_registry::{Micros, PlaceKey, RegionId, Rule};
use futures_util::{
    Stream,
    future::BoxFuture,
    stream::{FuturesUnordered, StreamExt},
};
use serde::Serialize;

use crate::{
    AskError, HomeError, Node, ReplaceRuleError, StartRefused, Task, TaskError,
    delineation::{EncodedRule, factory_for},
    message::encode,
    task::run_within,
};
use plan::{Failure, Plan, Verdict};

pub use gathering::{FailedPiece, RegionShare, ScatterError, Scattered};

/// Pieces of work that are about to be spread over the regions. Made by [`Node::scatter`].
#[must_use = "pieces are placed when the stream of results is polled, or gathered"]
pub struct Scatter<I> {
    node: Node,
    pieces: Box<dyn Iterator<Item = I> + Send>,
    key: KeyOf<I>,
    by: By,
}

/// Makes the encoded key of a piece: the piece, and its place in the row.
type KeyOf<I> = Box<dyn Fn(&I, u64) -> Result<Bytes, String> + Send>;

/// Who says where a piece belongs.
enum By {
    /// The rule of this node, whichever that is at the moment.
    Installed,
    /// The delineator of another region.
    Delineator(RegionId),
    /// A rule for these pieces alone.
    Rule(Result<Box<dyn EncodedRule>, ReplaceRuleError>),
}

impl Node {
    /// Spreads pieces of work over the regions and gathers what comes of them:
    ///
    /// ```text
    /// let counts: Scattered<Counts> = node
    ///     .scatter(files)
    ///     .keyed(|file| PlaceKey::named(&file.path).work(file.len).data_at(file.home, file.len))
    ///     .by(Rule::ByCapacity)                       // without it: by the rule of the node
    ///     .task(count)
    ///     .gather(|total: &mut Counts, part| total.add(part))
    ///     .await?;
    /// ```
    ///
    /// Pieces are taken from the iterator a few at a time, so there may be more than fit into memory. Where a piece belongs is
    /// asked when its turn comes: a rule that is replaced meanwhile counts from then on.
    pub fn scatter<I: Send + 'static>(
        &self,
        pieces: impl IntoIterator<Item = I, IntoIter: Send + 'static>,
    ) -> Scatter<I> {
        Scatter {
            node: self.clone(),
            pieces: Box::new(pieces.into_iter()),
            key: Box::new(|_, at| encoded_key(&PlaceKey::numbered(at))),
            by: By::Installed,
        }
    }
}

fn encoded_key<K: Serialize>(key: &K) -> Result<Bytes, String> {
    encode("fedist.delineator.key", key).map_err(|error| error.to_string())
}

impl<I: Send + 'static> Scatter<I> {
    /// What the rule is asked about for a piece; a [`PlaceKey`] where it shall know of its size or of where its data lies. Without
    /// it a piece's key is its number in the row.
    pub fn keyed<K: Serialize>(mut self, key: impl Fn(&I) -> K + Send + 'static) -> Self {
        self.key = Box::new(move |piece, _| encoded_key(&key(piece)));
        self
    }

    /// Goes by this rule in place of the node's own.
    pub fn by(mut self, rule: Rule) -> Self {
        self.by = By::Rule(factory_for(&self.node, &rule).map(|make| make()));
        self
    }

    /// Asks the delineator of another region.
    pub fn by_delineator(mut self, region: RegionId) -> Self {
        self.by = By::Delineator(region);
        self
    }

    /// The task that is done with each piece. Only regions that list it do it; a piece that belongs to another one goes on.
    pub fn task<T: Task<Input = I>>(self, task: T) -> ScatterTask<T> {
        ScatterTask {
            scatter: self,
            task,
            per_region: 4,
            attempts: 3,
            at_most_once: false,
            timeout: Duration::from_secs(60),
            progress: None,
        }
    }
}

/// Pieces of work and the task that is done with each. Made by [`Scatter::task`]; [`gather`](Self::gather) or [`stream`](Self::stream) does it.
#[must_use = "pieces are placed when the stream of results is polled, or gathered"]
pub struct ScatterTask<T: Task> {
    scatter: Scatter<T::Input>,
    task: T,
    per_region: usize,
    attempts: u32,
    at_most_once: bool,
    timeout: Duration,
    progress: Option<OnProgress>,
}

type OnProgress = Arc<dyn Fn(&Progress) + Send + Sync>;

/// How far the work has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Pieces that were taken from the iterator so far.
    pub taken: u64,
    /// Pieces that run in a region.
    pub running: u64,
    /// Pieces that are done.
    pub done: u64,
    /// Pieces that came to nothing.
    pub failed: u64,
    /// How often a piece was tried again.
    pub retried: u64,
    /// Units of work that are done.
    pub work_done: u64,
}

/// What came of one piece.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Gathered<O> {
    /// Its place in the row, from 0.
    pub index: u64,
    /// Where it was done, or was tried last; `None` when it was never placed.
    pub region: Option<RegionId>,
    /// How often it was tried.
    pub attempts: u32,
    /// How much work it was.
    pub work: u64,
    /// What came of it.
    pub result: Result<O, TaskError>,
}

impl<T: Task> ScatterTask<T> {
    /// How many pieces run in one region at a time; 4 by default, at least 1. Up to twice as many are placed ahead for each region.
    pub fn max_in_flight(mut self, per_region: usize) -> Self {
        self.per_region = per_region.max(1);
        self
    }

    /// How often a piece is tried at most, each time in another region while there is one; 3 by default, at least 1.
    ///
    /// It is tried again when its region refuses it, cannot be reached, is lost while it runs, takes too long, or when it panics.
    /// So a piece may *run* more than once, though its result counts once. See [`at_most_once`](Self::at_most_once).
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// Never runs a piece twice: it is tried again only when it certainly has not run. One whose region was lost while it ran, or that
    /// took too long, has failed.
    pub fn at_most_once(mut self) -> Self {
        self.at_most_once = true;
        self
    }

    /// How long one attempt may take; 60 s by default. Then it is cancelled.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Called after every piece that is done, has failed or is tried again, on the thread of whoever gathers.
    pub fn on_progress(mut self, progress: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(progress));
        self
    }

    /// The results as they come, in whatever order. Dropping the stream cancels what runs.
    pub fn stream(self) -> ScatterStream<T> {
        let plan = Plan::new(self.per_region, self.attempts, self.at_most_once);
        ScatterStream {
            node: self.scatter.node,
            task: self.task,
            pieces: self.scatter.pieces,
            key: self.scatter.key,
            by: self.scatter.by,
            timeout: self.timeout,
            progress: self.progress,
            plan,
            held: BTreeMap::new(),
            taken: 0,
            exhausted: false,
            placing: false,
            running: FuturesUnordered::new(),
            ready: VecDeque::new(),
        }
    }
}

/// The results of scattered pieces, as they come. Dropping it cancels what runs.
#[must_use = "streams do nothing unless polled"]
pub struct ScatterStream<T: Task> {
    node: Node,
    task: T,
    pieces: Box<dyn Iterator<Item = T::Input> + Send>,
    key: KeyOf<T::Input>,
    by: By,
    timeout: Duration,
    progress: Option<OnProgress>,
    plan: Plan,
    /// Pieces that are not done, by their place in the row.
    held: BTreeMap<u64, Held<T::Input>>,
    taken: u64,
    exhausted: bool,
    /// One piece is placed at a time, so that a rule that looks at the load sees those before.
    placing: bool,
    running: FuturesUnordered<BoxFuture<'static, Event<T::Output>>>,
    ready: VecDeque<Gathered<T::Output>>,
}

struct Held<I> {
    piece: I,
    key: Bytes,
}

enum Event<O> {
    Home(u64, Result<RegionId, HomeError>),
    Done(u64, RegionId, Result<O, TaskError>),
    Rested(u64),
}

impl<T: Task> Unpin for ScatterStream<T> {}

impl<T: Task> ScatterStream<T> {
    /// How far the work has come.
    pub fn progress(&self) -> Progress {
        Progress { taken: self.taken, ..self.plan.progress() }
    }

    /// Takes, places and starts as much as the plan allows.
    fn issue(&mut self) {
        loop {
            let regions = self.node.view().registry.live_regions().count();
            while !self.exhausted && self.plan.may_take(regions) {
                self.take();
            }
            while let Some((index, region)) = self.plan.next_start() {
                self.start(index, region);
            }
            if self.placing {
                return;
            }
            let Some(index) = self.plan.next_to_place() else { return };
            self.place(index);
        }
    }

    fn take(&mut self) {
        let Some(piece) = self.pieces.next() else {
            self.exhausted = true;
            return;
        };
        let index = self.taken;
        self.taken += 1;
        match (self.key)(&piece, index) {
            Ok(key) => {
                self.plan.handle_taken(index, PlaceKey::from_encoded(&key).get_work());
                self.held.insert(index, Held { piece, key });
            }
            Err(error) => {
                self.plan.handle_taken(index, 0);
                self.give_up(index, None, HomeError::Encode(error).into());
            }
        }
    }

    /// Asks where a piece belongs.
    fn place(&mut self, index: u64) {
        let Some(held) = self.held.get(&index) else { return };
        let key = held.key.clone();
        let node = self.node.clone();
        match &self.by {
            By::Rule(Ok(rule)) => {
                let book = &node.inner().delineation;
                let home = book.ask_rule(&node, &node.view(), &**rule, &key);
                self.placed(index, home.map_err(HomeError::NoHome));
            }
            By::Rule(Err(error)) => {
                let refused = fedist_registry::NoHome::refused(error.to_string());
                self.give_up(index, None, HomeError::NoHome(refused).into());
            }
            By::Installed => {
                self.placing = true;
                self.running.push(Box::pin(async move {
                    Event::Home(index, node.home_of_encoded(key, PATIENCE).await)
                }));
            }
            By::Delineator(region) => {
                self.placing = true;
                let delineator = node.delineator(*region);
                self.running.push(Box::pin(async move {
                    Event::Home(index, delineator.home_of_encoded(key).await)
                }));
            }
        }
    }

    fn placed(&mut self, index: u64, home: Result<RegionId, HomeError>) {
        let now = self.now();
        match home {
            Ok(home) => {
                let view = self.node.view();
                let reachable = |region: RegionId| {
                    region == self.node.region() || view.routes.get(region).is_some()
                };
                // Cheapest first, for pieces that must go elsewhere than where they belong.
                let mut others: Vec<_> = view
                    .registry
                    .live_regions()
                    .filter(|record| reachable(record.id))
                    .map(|record| (view.federation().cost_to(record.id), record.id))
                    .collect();
                others.sort_unstable();
                let others: Vec<RegionId> = others.into_iter().map(|(_, region)| region).collect();
                let region = self.plan.handle_home(now, index, home, &others);
                let work = self.plan.work(index);
                self.node.inner().delineation.handle_placed(now, region, work);
            }
            Err(error) => self.failed(index, None, error.into()),
        }
    }

    fn start(&mut self, index: u64, region: RegionId) {
        let Some(held) = self.held.get(&index) else { return };
        let run = run_within(&self.node, region.into(), self.task, &held.piece, self.timeout);
        self.running.push(Box::pin(async move { Event::Done(index, region, run.await) }));
    }

    fn handle(&mut self, event: Event<T::Output>) {
        match event {
            Event::Home(index, home) => {
                self.placing = false;
                self.placed(index, home);
            }
            Event::Rested(index) => self.plan.handle_rested(index),
            Event::Done(index, region, Ok(output)) => {
                let (now, work) = (self.now(), self.plan.work(index));
                self.node.inner().delineation.handle_done(now, region, work);
                let attempts = self.plan.handle_done(index);
                self.held.remove(&index);
                let result = Ok(output);
                self.ready.push_back(Gathered {
                    index,
                    region: Some(region),
                    attempts,
                    work,
                    result,
                });
                self.tell_progress();
            }
            Event::Done(index, region, Err(error)) => self.failed(index, Some(region), error),
        }
    }

    fn failed(&mut self, index: u64, region: Option<RegionId>, error: TaskError) {
        let (now, work) = (self.now(), self.plan.work(index));
        let failure = failure(&error);
        let book = &self.node.inner().delineation;
        if let Some(region) = region {
            match failure {
                Failure::Busy => book.handle_withdrawn(now, region, work),
                _ => book.handle_failed(now, region, work),
            }
            if failure.is_of_region() {
                // What waits for it goes elsewhere, without having been tried.
                for (_, work) in self.plan.handle_region_failed(now, region) {
                    book.handle_withdrawn(now, region, work);
                }
            }
        }
        match self.plan.handle_failed(index, failure) {
            Verdict::Again => {
                tracing::debug!(index, %error, "a scattered piece is tried again");
                self.tell_progress();
            }
            Verdict::Rest => {
                let rest = self.node.sleep(REST);
                self.running.push(Box::pin(async move {
                    rest.await;
                    Event::Rested(index)
                }));
            }
            Verdict::GiveUp => self.give_up(index, region, error),
        }
    }

    fn give_up(&mut self, index: u64, region: Option<RegionId>, error: TaskError) {
        let work = self.plan.work(index);
        let attempts = self.plan.handle_given_up(index);
        self.held.remove(&index);
        self.ready.push_back(Gathered { index, region, attempts, work, result: Err(error) });
        self.tell_progress();
    }

    fn tell_progress(&self) {
        if let Some(progress) = &self.progress {
            progress(&self.progress());
        }
    }

    fn now(&self) -> Micros {
        self.node.inner().clock.now()
    }
}

impl<T: Task> Stream for ScatterStream<T> {
    type Item = Gathered<T::Output>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(next) = this.ready.pop_front() {
                return Poll::Ready(Some(next));
            }
            this.issue();
            if !this.ready.is_empty() {
                continue;
            }
            match ready!(this.running.poll_next_unpin(cx)) {
                Some(event) => this.handle(event),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl<T: Task> Drop for ScatterStream<T> {
    /// What runs is cancelled by its futures; the regions' load is put right.
    fn drop(&mut self) {
        let now = self.now();
        for (region, work) in self.plan.outstanding() {
            self.node.inner().delineation.handle_withdrawn(now, region, work);
        }
    }
}

/// What an error says about the piece and about its region.
fn failure(error: &TaskError) -> Failure {
    match error {
        TaskError::Refused(StartRefused::Busy { .. }) => Failure::Busy,
        TaskError::Refused(_) | TaskError::NoHome(_) | TaskError::NoRegion => Failure::NotRun,
        TaskError::Ask(AskError::TooLarge { .. } | AskError::Encode(_)) => Failure::Hopeless,
        TaskError::Ask(_) => Failure::Unreached,
        TaskError::Indeterminate { .. } | TaskError::Unreachable(_) => Failure::Lost,
        TaskError::Stopped(_) | TaskError::Timeout(_) | TaskError::Settled => Failure::Unknown,
        TaskError::Panicked(_) => Failure::Panicked,
        TaskError::Codec(_) | TaskError::OutputTooLarge { .. } => Failure::Hopeless,
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
/// Before a region that was busy is asked again.
const REST: Duration = Duration::from_millis(50);
