//! Holds packets until they are due: one thread and one heap for all links.
//!
//! A condition variable with a timeout wakes within some 60 µs of the due time on Linux, where a
//! tokio timer has a precision of 1 ms. A packet that comes in wakes the thread only if it is due
//! before all others, so under load most packets cost no wake of their own.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use socket2::SockRef;
use tokio::net::UdpSocket;

use super::emulator::DirectedLink;
use super::report::DropReason;
use super::shaper::{Exit, Ticket};

/// Packets of all links together that may be on the way at once.
pub(crate) const MAX_PACKETS: usize = 262_144;
/// Bytes of all links together that may be on the way at once.
pub(crate) const MAX_BYTES: usize = 256 << 20;

/// A packet on its way.
pub(crate) struct Parcel {
    /// Since the start of the line's clock.
    pub(crate) due: Duration,
    /// When it came in, on the same clock.
    pub(crate) received: Duration,
    pub(crate) link: Arc<DirectedLink>,
    pub(crate) ticket: Ticket,
    pub(crate) socket: Arc<UdpSocket>,
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Bytes,
}

/// The thread and its heap. Dropping it stops the thread and loses what it holds.
pub(crate) struct DelayLine {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// The end that packets are put in.
#[derive(Clone)]
pub(crate) struct Intake(Arc<Shared>);

struct Shared {
    clock: Instant,
    state: Mutex<State>,
    wake: Condvar,
}

struct State {
    heap: BinaryHeap<Queued>,
    bytes: usize,
    /// Gives packets of the same due time the order in which they came.
    next_turn: u64,
    /// Until when the thread sleeps; `None` while it works.
    asleep_until: Option<Duration>,
    stop: bool,
}

struct Queued {
    turn: u64,
    parcel: Parcel,
}

impl DelayLine {
    pub(crate) fn start(clock: Instant) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            clock,
            state: Mutex::new(State {
                heap: BinaryHeap::new(),
                bytes: 0,
                next_turn: 0,
                asleep_until: None,
                stop: false,
            }),
            wake: Condvar::new(),
        });
        let line = Arc::clone(&shared);
        let thread = thread::Builder::new().name("fedist-wan-line".into()).spawn(move || {
            ask_for_precise_wakes();
            line.run();
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(crate) fn intake(&self) -> Intake {
        Intake(Arc::clone(&self.shared))
    }
}

impl Drop for DelayLine {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        // Parcels hold sockets; an intake that outlives the line must not keep them open.
        self.shared.lock().heap.clear();
    }
}

impl Intake {
    /// Time since the start of the line's clock.
    pub(crate) fn now(&self) -> Duration {
        self.0.clock.elapsed()
    }

    /// Takes the parcel, or drops and counts it when the line is full.
    pub(crate) fn put(&self, parcel: Parcel) {
        let mut state = self.0.lock();
        if state.heap.len() >= MAX_PACKETS
            || state.bytes.saturating_add(parcel.bytes.len()) > MAX_BYTES
        {
            drop(state);
            let (link, len) = (&parcel.link, parcel.bytes.len());
            link.lock().lose(len, DropReason::TooManyOnTheWay);
            return;
        }
        let must_wake = state.asleep_until.is_some_and(|until| parcel.due < until);
        if must_wake {
            // Another parcel before the thread runs need not wake it again.
            state.asleep_until = None;
        }
        let turn = state.next_turn;
        state.next_turn += 1;
        state.bytes += parcel.bytes.len();
        state.heap.push(Queued { turn, parcel });
        drop(state);
        if must_wake {
            self.0.wake.notify_one();
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut due = Vec::with_capacity(BATCH);
        let mut state = self.lock();
        while !state.stop {
            let now = self.clock.elapsed();
            state.take_due(now, &mut due);
            if !due.is_empty() {
                drop(state);
                for parcel in due.drain(..) {
                    self.send(parcel);
                }
                state = self.lock();
                continue;
            }
            let next = state.heap.peek().map(|queued| queued.parcel.due);
            state.asleep_until = Some(next.unwrap_or(Duration::MAX));
            state = match next {
                Some(next) => {
                    let waited = self.wake.wait_timeout(state, next.saturating_sub(now));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let waited = self.wake.wait(state);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
            };
            state.asleep_until = None;
        }
    }

    fn send(&self, parcel: Parcel) {
        let len = parcel.bytes.len();
        let exit = parcel.link.lock().shaper.exit(parcel.ticket);
        let measure = match exit {
            Exit::Send { measure } => measure,
            Exit::Drop(reason) => return parcel.link.lock().lose(len, reason),
        };
        let sent = self.clock.elapsed();
        // Around tokio's own `try_send_to`, which says "would block" until its reactor has seen
        // the socket for the first time.
        let result = SockRef::from(&*parcel.socket).send_to(&parcel.bytes, &parcel.to.into());
        let mut link = parcel.link.lock();
        match result {
            Ok(_) => {
                let given = sent.saturating_sub(parcel.received);
                link.pass(len, measure.then_some(given));
            }
            Err(_) => link.lose(len, DropReason::System),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take_due(&mut self, now: Duration, due: &mut Vec<Parcel>) {
        while due.len() < BATCH && self.heap.peek().is_some_and(|next| next.parcel.due <= now) {
            let Some(Queued { parcel, .. }) = self.heap.pop() else {
                break;
            };
            self.bytes = self.bytes.saturating_sub(parcel.bytes.len());
            due.push(parcel);
        }
    }
}

impl Ord for Queued {
    /// The greatest is the one to send first, as the standard heap wants it.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.parcel.due, other.turn).cmp(&(self.parcel.due, self.turn))
    }
}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Queued {}

/// Linux may wake a thread 50 µs later than asked, to do several wakes at once. This lowers that to
/// 1 µs for the calling thread; where it cannot, the packets are that much later, no more.
fn ask_for_precise_wakes() {
    #[cfg(target_os = "linux")]
    if let Ok(own) = std::fs::read_link("/proc/thread-self")
        && let Some(id) = own.file_name()
    {
        let slack = std::path::Path::new("/proc").join(id).join("timerslack_ns");
        let _ = std::fs::write(slack, "1000");
    }
}

/// Packets sent between two looks at the heap.
const BATCH: usize = 64;
