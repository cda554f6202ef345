//! Aliases of the whole federation: claiming one, holding it, and losing it.

use std::{
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actix::Recipient;
use fedist_registry::{Micros, RegionId, RegionPid, service};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::{
    AliasState, AskAliasLease, FencingToken, Lease, LeaseRefusal, ReleaseAlias, WhoHolds, is_name,
    lease::{HeldLease, HolderAction},
};
use crate::{AskError, Node, Origin, PidSend, outbound::Outbound};

/// An alias that an actor of this node holds: of the whole federation, nobody else does.
///
/// The node renews the lease by itself. The alias ends when this handle is dropped (unless
/// [`keep`](Alias::keep) was called), when the actor ends, or when it is lost: the root could not
/// be reached for the span of a lease. Guard what the alias protects with its [`token`](Alias::token).
#[must_use = "dropping the handle gives the alias back; call `keep()` to hold it as long as the actor lives"]
pub struct Alias {
    shared: Arc<Shared>,
    keep: bool,
}

/// Tells that an alias is not held any more although nobody gave it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasLost {
    /// The alias.
    pub alias: String,
    /// The token that it was held with.
    pub token: FencingToken,
    /// Why.
    pub reason: AliasLostReason,
}

impl actix::Message for AliasLost {
    type Result = ();
}

/// How an alias ended for its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AliasLostReason {
    /// The root confirmed no renewal in time; somebody else may get the alias from now on.
    Expired,
    /// The root knows of no such lease (any more).
    Revoked,
    /// The handle was dropped, the actor ended, or the node stops.
    Released,
}

/// Who holds an alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AliasHolder {
    /// The actor.
    pub pid: RegionPid,
    /// The token that it holds the alias with.
    pub token: FencingToken,
}

/// Why an alias was not granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AliasError {
    /// An actor holds the alias. It is free when that gives it back, or a lease after it was cut off.
    #[error("alias taken ({alias}, by {holder}); one actor holds an alias; try again later")]
    Taken {
        /// The alias.
        alias: String,
        /// Who holds it.
        holder: RegionPid,
    },
    /// An actor of this node holds or claims the alias.
    #[error(
        "alias taken ({0}, in this node); it is held or being claimed here; drop its handle first"
    )]
    HeldHere(String),
    /// The root has restarted and grants nothing before a lease's span has passed.
    #[error(
        "the root does not grant the alias yet ({alias}, for another {left_ms} ms); holders from before its restart come first; try again then"
    )]
    Settling {
        /// The alias.
        alias: String,
        /// Until then, in milliseconds.
        left_ms: u64,
    },
    /// The root keeps as many aliases as it may, in all or for this region.
    #[error("too many aliases ({max} are held); the root keeps no more; release some")]
    TooMany {
        /// The bound that was reached.
        max: usize,
    },
    /// The alias does not have the form of a name.
    #[error(
        "malformed alias ({alias}); an alias is 1 to 255 bytes without control characters; choose another"
    )]
    Malformed {
        /// The alias.
        alias: String,
    },
    /// The actor has ended, or lives in another region, which is the one to claim for it.
    #[error("no living actor of this node ({0}); an alias is claimed where its holder lives")]
    NotHere(RegionPid),
    /// The answer took longer than the lease lasts.
    #[error("the root's answer came too late ({0}); the lease was over by then; try again")]
    TooLate(String),
    /// The region that this node takes for the root refuses the request.
    #[error(
        "region {root} does not grant aliases; this node's copy of the registry may be behind; try again"
    )]
    Refused {
        /// The region that was asked.
        root: RegionId,
    },
    /// The root could not be asked. After `Timeout` or `Unreachable` the alias may be held for this
    /// actor until the lease expires; claiming it again for the same actor gets it.
    #[error("the root (region {root}) did not answer: {error}")]
    Ask {
        /// The region that was asked.
        root: RegionId,
        /// What happened.
        error: AskError,
    },
}

/// A claim that is about to be made; `.await` it.
#[must_use = "a claim does nothing until it is awaited"]
pub struct ClaimAlias {
    node: Node,
    alias: String,
    holder: RegionPid,
    notify: Option<Recipient<AliasLost>>,
}

/// How long one request to the root may take.
const ASK_DEADLINE: Duration = Duration::from_secs(5);

impl Node {
    /// Claims an alias of the whole federation for an actor of this node (a pid or a `&LocalAddr`).
    ///
    /// The root region leases it to one actor at a time. The holder is found as `@alias` by
    /// [`whereis`](Self::whereis) and [`via`](Self::via) from every region. Dropping the future
    /// gives up the claim: what is granted after that is given back. Where other regions have looked
    /// the alias up lately, they may send to an earlier holder that lives on until what was left of
    /// its lease then is over; the token tells the two apart.
    ///
    /// ```text
    /// let leader = node.claim_alias("leader", ctx.pid()).notify(ctx.address().recipient()).await?;
    /// store.write(leader.token(), ..);
    /// ```
    pub fn claim_alias(
        &self,
        alias: impl Into<String>,
        holder: impl Into<RegionPid>,
    ) -> ClaimAlias {
        ClaimAlias { node: self.clone(), alias: alias.into(), holder: holder.into(), notify: None }
    }

    /// Who holds an alias now, by asking the root; `None` when nobody does.
    ///
    /// # Errors
    /// [`AliasError::Settling`], [`AliasError::Ask`].
    pub async fn alias_holder(&self, alias: &str) -> Result<Option<AliasHolder>, AliasError> {
        let root = self.root();
        let state = RegionPid::new(root, service::NAMES)
            .send(self, WhoHolds { alias: alias.to_owned() })
            .await
            .map_err(|error| AliasError::Ask { root, error })?;
        match state {
            AliasState::Held { holder, token, .. } => Ok(Some(AliasHolder { pid: holder, token })),
            AliasState::Free => Ok(None),
            AliasState::Settling { left } => {
                Err(AliasError::Settling { alias: alias.to_owned(), left_ms: left.as_millis() })
            }
        }
    }

    /// One request for a lease, or for its prolongation.
    async fn ask_lease(
        &self,
        root: RegionId,
        alias: &str,
        holder: RegionPid,
        token: Option<FencingToken>,
        deadline: Duration,
    ) -> Result<Result<Lease, LeaseRefusal>, AskError> {
        let origin = Origin::here();
        RegionPid::new(root, service::NAMES)
            .send(self, AskAliasLease { alias: alias.to_owned(), holder, token, origin })
            .deadline(deadline)
            .await
    }
}

impl ClaimAlias {
    /// Tells the actor when the alias is lost (not when it is given back).
    pub fn notify(mut self, recipient: Recipient<AliasLost>) -> Self {
        self.notify = Some(recipient);
        self
    }

    async fn run(self) -> Result<Alias, AliasError> {
        let ClaimAlias { node, alias, holder, notify } = self;
        if !is_name(&alias) {
            return Err(AliasError::Malformed { alias });
        }
        if node.local_address_of(holder).is_none() {
            return Err(AliasError::NotHere(holder));
        }
        let place = Place::take(&node, &alias)?;
        let (granted, grant) = oneshot::channel();
        // Apart from the caller, who may lose interest while the answer is on its way.
        node.queue(Outbound::Run(Box::new(move |_| {
            actix_rt::spawn(claim(place, holder, notify, granted));
        })));
        match grant.await {
            Ok(outcome) => outcome,
            Err(_) => Err(AliasError::Ask { root: node.root(), error: AskError::Stopped }),
        }
    }
}

impl IntoFuture for ClaimAlias {
    type Output = Result<Alias, AliasError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl Alias {
    /// The alias, without its `@`.
    pub fn name(&self) -> &str {
        &self.shared.alias
    }

    /// The actor that holds it.
    pub fn pid(&self) -> RegionPid {
        self.shared.holder
    }

    /// The token that this grant came with; higher than that of every grant before.
    pub fn token(&self) -> FencingToken {
        self.shared.token
    }

    /// Whether the alias is held at this moment. Never true of two actors at once, as long as the
    /// clocks of two machines run at rates that differ by less than a sixteenth.
    pub fn is_held(&self) -> bool {
        let until = Micros(self.shared.held_until.load(Ordering::Acquire));
        self.shared.node.inner().clock.now() < until
    }

    /// Waits until the alias is not held any more.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping the future.
    pub async fn lost(&self) -> AliasLostReason {
        let mut ended = self.shared.ended.subscribe();
        match ended.wait_for(Option::is_some).await {
            Ok(reason) => reason.unwrap_or(AliasLostReason::Released),
            Err(_) => AliasLostReason::Released,
        }
    }

    /// Lets go of the handle and keeps the alias, until the actor ends or it is lost.
    pub fn keep(mut self) {
        self.keep = true;
    }
}

impl Drop for Alias {
    fn drop(&mut self) {
        if !self.keep {
            self.shared.release();
        }
    }
}

impl fmt::Debug for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Alias({}, {}, token {})", self.name(), self.pid(), self.token())
    }
}

/// What the handle and the task that renews the lease both know.
struct Shared {
    node: Node,
    alias: String,
    holder: RegionPid,
    token: FencingToken,
    /// When the holder stops to believe, on the node's clock; 0 once it has been given up.
    held_until: AtomicU64,
    released: Notify,
    ended: watch::Sender<Option<AliasLostReason>>,
}

impl Shared {
    /// The holder wants it no more.
    fn release(&self) {
        self.held_until.store(0, Ordering::Release);
        self.released.notify_one();
    }
}

/// An alias that is held or claimed in this node, which can be once at a time.
struct Place {
    node: Node,
    alias: String,
}

impl Place {
    fn take(node: &Node, alias: &str) -> Result<Self, AliasError> {
        if !node.inner().names.held().insert(alias.to_owned()) {
            return Err(AliasError::HeldHere(alias.to_owned()));
        }
        Ok(Self { node: node.clone(), alias: alias.to_owned() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.node.inner().names.held().remove(&self.alias);
    }
}

/// Asks for the lease once, hands the handle over, and renews from then on.
async fn claim(
    place: Place,
    holder: RegionPid,
    notify: Option<Recipient<AliasLost>>,
    granted: oneshot::Sender<Result<Alias, AliasError>>,
) {
    let node = place.node.clone();
    let root = node.root();
    let sent_at = node.inner().clock.now();
    let answer = node.ask_lease(root, &place.alias, holder, None, ASK_DEADLINE).await;
    let lease = match answer {
        Ok(Ok(lease)) => lease,
        Ok(Err(refusal)) => {
            let error = refused(root, &place.alias, refusal);
            drop(place);
            let _ = granted.send(Err(error));
            return;
        }
        Err(error) => {
            drop(place);
            let _ = granted.send(Err(AliasError::Ask { root, error }));
            return;
        }
    };
    let Some(held) = HeldLease::new(node.inner().clock.now(), sent_at, lease) else {
        let alias = place.alias.clone();
        drop(place);
        let _ = granted.send(Err(AliasError::TooLate(alias)));
        return;
    };
    let shared = Arc::new(Shared {
        node: node.clone(),
        alias: place.alias.clone(),
        holder,
        token: held.token(),
        held_until: AtomicU64::new(held.expires().0),
        released: Notify::new(),
        ended: watch::Sender::new(None),
    });
    let actor_ended = Arc::downgrade(&shared);
    let monitor = node.watch(
        holder,
        Box::new(move |_| {
            if let Some(shared) = actor_ended.upgrade() {
                shared.release();
            }
        }),
    );
    // A caller that is gone drops the handle here, which gives the alias back.
    let _ = granted.send(Ok(Alias { shared: Arc::clone(&shared), keep: false }));
    let reason = keep(&shared, held).await;
    shared.held_until.store(0, Ordering::Release);
    node.unwatch(holder, monitor);
    let (alias, token) = (shared.alias.clone(), shared.token);
    if reason == AliasLostReason::Released {
        let origin = Origin::here();
        let root = RegionPid::new(node.root(), service::NAMES);
        node.tell_service(root, ReleaseAlias { alias, holder, token, origin });
    } else {
        tracing::warn!(%alias, %holder, %token, ?reason, "an alias was lost");
        if let Some(recipient) = notify {
            recipient.do_send(AliasLost { alias, token, reason });
        }
    }
    // The handle may outlive the lease; the alias can be claimed again all the same.
    drop(place);
    shared.ended.send_replace(Some(reason));
}

/// Renews the lease until it is over.
async fn keep(shared: &Arc<Shared>, mut held: HeldLease) -> AliasLostReason {
    let node = shared.node.clone();
    let (answered, mut answers) = mpsc::unbounded_channel();
    loop {
        let now = node.inner().clock.now();
        match held.poll(now) {
            Some(HolderAction::Renew { sent_at }) => {
                let (node, shared, answered) = (node.clone(), Arc::clone(shared), answered.clone());
                let deadline = held.expires().saturating_sub(now).as_duration();
                actix_rt::spawn(async move {
                    let (alias, token) = (&shared.alias, Some(shared.token));
                    let answer =
                        node.ask_lease(node.root(), alias, shared.holder, token, deadline).await;
                    if let Ok(answer) = answer {
                        let _ = answered.send((sent_at, answer));
                    }
                });
                continue;
            }
            Some(HolderAction::Lost) => return AliasLostReason::Expired,
            None => {}
        }
        let Some(deadline) = held.next_deadline() else {
            return AliasLostReason::Expired;
        };
        tokio::select! {
            () = shared.released.notified() => return AliasLostReason::Released,
            Some((sent_at, answer)) = answers.recv() => {
                let now = node.inner().clock.now();
                let in_time = held.is_held(now);
                if held.handle_renewed(now, sent_at, answer).is_some() {
                    return if in_time { AliasLostReason::Revoked } else { AliasLostReason::Expired };
                }
                // Not over a release by the handle, which has set it to 0.
                let _ = shared.held_until.fetch_update(Ordering::AcqRel, Ordering::Acquire, |until| {
                    (until != 0).then_some(held.expires().0)
                });
            }
            () = tokio::time::sleep(deadline.saturating_sub(now).as_duration()) => {}
        }
    }
}

fn refused(root: RegionId, alias: &str, refusal: LeaseRefusal) -> AliasError {
    let alias = alias.to_owned();
    match refusal {
        LeaseRefusal::Held { holder } => AliasError::Taken { alias, holder },
        LeaseRefusal::Settling { left } => {
            AliasError::Settling { alias, left_ms: left.as_millis() }
        }
        LeaseRefusal::TooMany { max } => AliasError::TooMany { max },
        LeaseRefusal::NotHeld | LeaseRefusal::NotRoot | LeaseRefusal::Denied => {
            AliasError::Refused { root }
        }
    }
}
