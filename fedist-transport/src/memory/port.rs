//! A region's place on the memory network, and the two halves of its links.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fedist_registry::{BadKey, KeyHash, RegionId, RegionKey};
use futures_util::future::join3;
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::MemoryNet;
use super::pipe::{Arrival, Pipe};
use crate::identity::{PeerIdentity, PeerRefused};
use crate::link::{
    AcceptError, Carrier, DialError, InFrame, Link, LinkCore, LinkError, LinkGuard, LinkRx,
    LinkStats, LinkTx, LinkWriter, NodeClock, ReaderKind, Taken, WriterKind,
};
use crate::wire::{Class, HopHeader};

/// What a region dials from and accepts at in the memory fabric. Clones are the same port; when the
/// last one is dropped the region accepts no more callers, and its links go on.
#[derive(Clone)]
pub struct MemoryPort(Arc<Inner>);

struct Inner {
    net: MemoryNet,
    region: RegionId,
    listener: u64,
    clock: NodeClock,
    incoming: Mutex<mpsc::Receiver<Link>>,
    links: std::sync::Mutex<Vec<std::sync::Weak<LinkCore>>>,
}

impl MemoryPort {
    pub(super) fn new(
        net: MemoryNet,
        region: RegionId,
        listener: u64,
        clock: NodeClock,
        incoming: mpsc::Receiver<Link>,
    ) -> Self {
        Self(Arc::new(Inner {
            net,
            region,
            listener,
            clock,
            incoming: Mutex::new(incoming),
            links: std::sync::Mutex::default(),
        }))
    }

    /// Connects to `memory:<region>`; takes one round trip of latency.
    ///
    /// # Errors
    /// [`DialError::TimedOut`] across a cut or where nobody listens; [`DialError::PeerRefused`] for
    /// an address of another region than expected; [`DialError::BadAddress`];
    /// [`DialError::Stopped`] once this port is closed.
    pub async fn dial(&self, address: &str, expect: Option<RegionId>) -> Result<Link, DialError> {
        let inner = &*self.0;
        let region = address.strip_prefix(SCHEME).and_then(|id| id.parse().ok());
        let Some(target): Option<RegionId> = region else {
            return Err(DialError::BadAddress {
                address: address.to_owned(),
                form: "memory:<region>",
            });
        };
        if !inner.net.is_listening(inner.region, inner.listener) {
            return Err(DialError::Stopped);
        }
        let after = inner.net.dial_timeout();
        let begun = Instant::now();
        let connected = tokio::time::timeout(after, self.connect(target, begun)).await;
        let Ok(Some(link)) = connected else {
            sleep_until(begun + after).await;
            return Err(DialError::TimedOut { address: address.to_owned(), after });
        };
        match expect {
            Some(expected) if expected != target => Err(DialError::PeerRefused {
                address: address.to_owned(),
                reason: PeerRefused::OtherRegion { says: target, expected },
            }),
            _ => Ok(link),
        }
    }

    /// The next caller; `None` once the port is closed or was taken anew. Cancel safe.
    pub async fn accept(&self) -> Option<Result<Link, AcceptError>> {
        let link = self.0.incoming.lock().await.recv().await?;
        self.0.keep(&link.tx.0);
        Some(Ok(link))
    }

    /// The address that others dial.
    pub fn local_address(&self) -> String {
        format!("{SCHEME}{}", self.0.region)
    }

    /// The clock that all its links stamp with.
    pub fn clock(&self) -> NodeClock {
        self.0.clock
    }

    /// The region of this port.
    pub fn region(&self) -> RegionId {
        self.0.region
    }

    /// What this port's region proves itself with; see [`memory_key_hash`].
    pub fn key_hash(&self) -> KeyHash {
        memory_key_hash(self.0.region)
    }

    /// The key that this port's region signs with; see [`memory_key`].
    ///
    /// # Errors
    /// As [`memory_key`].
    pub fn signing_key(&self) -> Result<RegionKey, BadKey> {
        memory_key(self.0.region)
    }

    /// Ends all links of this port and accepts no more callers.
    pub async fn close(&self) {
        self.0.net.stop_listening(self.0.region, self.0.listener);
        let links = std::mem::take(&mut *self.0.lock_links());
        for core in links.iter().filter_map(std::sync::Weak::upgrade) {
            core.end("the region is stopping");
        }
    }

    /// The way there, the other end, the way back. `None` if anything on it is swallowed.
    async fn connect(&self, target: RegionId, begun: Instant) -> Option<Link> {
        let (net, here) = (&self.0.net, self.0.region);
        sleep_exactly(net.passage(here, target)?).await;
        let listener = net.listener(target)?;
        let (there, back) = (Arc::new(Pipe::default()), Arc::new(Pipe::default()));
        let ours = End {
            net: net.clone(),
            from: here,
            to: target,
            outward: Arc::clone(&there),
            inward: Arc::clone(&back),
            sent: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        };
        let theirs = End {
            net: net.clone(),
            from: target,
            to: here,
            outward: Arc::clone(&back),
            inward: Arc::clone(&there),
            sent: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        };
        net.register(here, target, &there);
        net.register(target, here, &back);
        let way_back = net.passage(target, here)?;
        // Made before the last wait, so that a caller who gives up meanwhile ends the other half too.
        let link = ours.link(true, self.0.clock, begun.elapsed() + way_back);
        listener.callers.try_send(theirs.link(false, listener.clock, way_back)).ok()?;
        sleep_exactly(way_back).await;
        net.passage(target, here)?;
        net.count_link();
        self.0.keep(&link.tx.0);
        Some(link)
    }
}

impl fmt::Debug for MemoryPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryPort({})", self.0.region)
    }
}

impl Inner {
    fn keep(&self, core: &Arc<LinkCore>) {
        let mut links = self.lock_links();
        links.retain(|core| core.strong_count() > 0);
        links.push(Arc::downgrade(core));
    }

    fn lock_links(&self) -> std::sync::MutexGuard<'_, Vec<std::sync::Weak<LinkCore>>> {
        self.links.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.net.stop_listening(self.region, self.listener);
    }
}

/// The key of a region in the memory fabric, which everybody knows: SHA-256 of its address is the seed.
///
/// # Errors
/// None today; see [`RegionKey::from_seed`].
pub fn memory_key(region: RegionId) -> Result<RegionKey, BadKey> {
    RegionKey::from_seed(&Sha256::digest(format!("{SCHEME}{region}")).into())
}

/// The key hash of a region in the memory fabric: that of its [`memory_key`].
pub fn memory_key_hash(region: RegionId) -> KeyHash {
    memory_key(region).map_or(KeyHash([0; 32]), |key| key.key_hash())
}

/// One end of a memory link as the link above it sees it.
struct End {
    net: MemoryNet,
    from: RegionId,
    to: RegionId,
    outward: Arc<Pipe>,
    inward: Arc<Pipe>,
    sent: AtomicU64,
    sent_bytes: AtomicU64,
    lost: AtomicU64,
}

impl End {
    fn link(self, dialed: bool, clock: NodeClock, handshake: Duration) -> Link {
        let end = Arc::new(self);
        let limits = end.net.limits();
        let carrier = Box::new(MemoryCarrier(Arc::clone(&end)));
        let core = LinkCore::new(&limits, carrier, clock, handshake);
        Link {
            peer: PeerIdentity { region: end.to, key_hash: memory_key_hash(end.to) },
            dialed,
            remote_address: format!("{SCHEME}{}", end.to),
            writer: LinkWriter(WriterKind::Memory(MemoryWriter {
                guard: LinkGuard(Arc::clone(&core)),
                core: Arc::clone(&core),
                end: Arc::clone(&end),
            })),
            rx: LinkRx(ReaderKind::Memory(MemoryReader {
                _guard: LinkGuard(Arc::clone(&core)),
                core: Arc::clone(&core),
                inward: Arc::clone(&end.inward),
                alarm: None,
                arrived: Vec::new(),
                paused: [false; 3],
            })),
            tx: LinkTx(core),
        }
    }
}

struct MemoryCarrier(Arc<End>);

impl Carrier for MemoryCarrier {
    fn measure(&self, stats: &mut LinkStats) {
        let end = &*self.0;
        let latency = |from, to| end.net.passage(from, to).unwrap_or_default();
        let round_trip = latency(end.from, end.to) + latency(end.to, end.from);
        stats.rtt_us = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
        stats.datagrams_sent = end.sent.load(Relaxed);
        stats.sent_packets = stats.datagrams_sent;
        stats.lost_packets = end.lost.load(Relaxed);
        stats.bytes_sent = end.sent_bytes.load(Relaxed);
        stats.datagrams_received = stats.frames_received;
    }

    fn close(&self, reason: &str) {
        let end = &*self.0;
        if let Some(latency) = end.net.passage(end.from, end.to) {
            let error = LinkError::ClosedByPeer { reason: reason.to_owned() };
            end.outward.close(Instant::now() + latency, error);
        }
        end.outward.vanish();
        end.inward.end_reader(LinkError::ClosedHere { reason: reason.to_owned() });
    }
}

pub(crate) struct MemoryWriter {
    core: Arc<LinkCore>,
    end: Arc<End>,
    guard: LinkGuard,
}

impl MemoryWriter {
    pub(crate) async fn run(self) -> LinkError {
        let Self { core, end, guard: _guard } = self;
        let lanes = join3(
            write_class(&core, &end, Class::Control),
            write_class(&core, &end, Class::Message),
            write_class(&core, &end, Class::Bulk),
        );
        let error = tokio::select! {
            biased;
            _ = lanes => None,
            error = end.inward.ended() => Some(error),
            () = core.drain_time_is_over() => None,
        };
        let error = error.unwrap_or_else(|| LinkError::ClosedHere { reason: core.close_reason() });
        core.end("the link was lost");
        error
    }
}

/// Sends the frames of one class until its queue is closed and empty.
async fn write_class(core: &LinkCore, end: &End, class: Class) {
    let mut taken = Taken::default();
    let mut fates = Vec::new();
    while poll_fn(|context| core.queue(class).poll_take(context, &mut taken)).await {
        let bytes = taken.len();
        let frames = &mut taken.frames;
        poll_fn(|context| end.outward.poll_room(class.index(), context)).await;
        let latency = end.net.fates(end.from, end.to, frames.len(), &mut fates);
        let now = Instant::now();
        core.count_sent(frames, now.into_std());
        end.sent.fetch_add(frames.len() as u64, Relaxed);
        end.sent_bytes.fetch_add(bytes as u64, Relaxed);
        let lost = fates.iter().filter(|&&arrives| !arrives).count();
        end.lost.fetch_add(lost as u64, Relaxed);
        for (mut frame, &arrives) in frames.drain(..).zip(&fates) {
            frame.header.stamp = core.clock().stamp(now.into_std(), class);
            if arrives {
                end.outward.push(now + latency, frame.header, join_parts(frame.parts));
            }
        }
        core.queue(class).release(bytes);
    }
}

pub(crate) struct MemoryReader {
    core: Arc<LinkCore>,
    inward: Arc<Pipe>,
    alarm: Option<Pin<Box<Sleep>>>,
    arrived: Vec<(Instant, HopHeader, Bytes)>,
    paused: [bool; 3],
    _guard: LinkGuard,
}

impl MemoryReader {
    pub(crate) fn set_paused(&mut self, class: Class, paused: bool) {
        if let Some(lane) = self.paused.get_mut(class.index()) {
            *lane = paused;
        }
    }

    pub(crate) async fn recv(&mut self, out: &mut Vec<InFrame>) -> Result<(), LinkError> {
        poll_fn(|context| self.poll_recv(context, out)).await
    }

    fn poll_recv(
        &mut self,
        context: &mut Context<'_>,
        out: &mut Vec<InFrame>,
    ) -> Poll<Result<(), LinkError>> {
        loop {
            let now = Instant::now();
            let due = match self.inward.take(context, now, self.paused, &mut self.arrived) {
                Arrival::Frames => {
                    self.core.count_received(self.arrived.len());
                    for (due, header, payload) in self.arrived.drain(..) {
                        let clock = self.core.clock();
                        // A reader that comes late takes its time in this node, not on the way.
                        let received = due.into_std();
                        out.push(InFrame {
                            exchange: clock.arrive(received, header.class, header.stamp),
                            header,
                            payload,
                            received,
                        });
                    }
                    return Poll::Ready(Ok(()));
                }
                Arrival::End(error) => return Poll::Ready(Err(error)),
                Arrival::Nothing => return Poll::Pending,
                Arrival::Until(due) => due,
            };
            let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(due)));
            alarm.as_mut().reset(due);
            if alarm.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

fn join_parts([first, second]: [Bytes; 2]) -> Bytes {
    if first.is_empty() {
        return second;
    }
    if second.is_empty() {
        return first;
    }
    let mut joined = BytesMut::with_capacity(first.len() + second.len());
    joined.extend_from_slice(&first);
    joined.extend_from_slice(&second);
    joined.freeze()
}

/// Tokio's timer has ticks of a millisecond; no time at all should cost none.
async fn sleep_exactly(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

const SCHEME: &str = "memory:";
