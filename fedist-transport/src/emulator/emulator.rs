//! The handle that owns the threads, the links and their profiles.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fedist_registry::RegionId;
use tokio::net::UdpSocket;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::delay_line::DelayLine;
use super::profile::LinkProfile;
use super::proxy::{self, Proxy};
use super::report::{DropReason, LinkReport, Meter};
use super::shaper::Shaper;

/// A UDP proxy between regions on one machine, with a WAN's delays.
///
/// Dropping it stops both of its threads and waits for them; what is on the way is lost and the
/// addresses are closed.
///
/// ```
/// use std::{net::UdpSocket, time::Duration};
/// use fedist_registry::RegionId;
/// use fedist_transport::emulator::{Emulator, LinkProfile};
///
/// let (paris, tokyo) = (RegionId::new(1)?, RegionId::new(2)?);
/// let node = UdpSocket::bind("127.0.0.1:0")?;
/// let wan = Emulator::start(7)?;
/// wan.set(paris, tokyo, LinkProfile::with_delay(Duration::from_millis(5)));
/// let door = wan.link(paris, tokyo, node.local_addr()?)?;
///
/// UdpSocket::bind("127.0.0.1:0")?.send_to(b"bonjour", door)?;
/// let mut buffer = [0; 16];
/// let (len, _) = node.recv_from(&mut buffer)?;
/// assert_eq!(&buffer[..len], b"bonjour");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Emulator {
    seed: u64,
    clock: Instant,
    links: Mutex<BTreeMap<Direction, Arc<DirectedLink>>>,
    doors: Mutex<BTreeMap<(Direction, SocketAddr), SocketAddr>>,
    receiving: Handle,
    stop: Option<oneshot::Sender<()>>,
    receiver: Option<JoinHandle<()>>,
    line: DelayLine,
}

type Direction = (RegionId, RegionId);

impl Emulator {
    /// Starts the two threads. The same seed gives the n-th packet of a link the same fate.
    ///
    /// # Errors
    ///
    /// The system gives no thread or no event queue; nothing stays behind.
    pub fn start(seed: u64) -> io::Result<Self> {
        let clock = Instant::now();
        let line = DelayLine::start(clock)?;
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let receiving = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let receiver = thread::Builder::new().name("fedist-wan-recv".into()).spawn(move || {
            // An error is the end of the emulator too.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Self {
            seed,
            clock,
            links: Mutex::default(),
            doors: Mutex::default(),
            receiving,
            stop: Some(stop),
            receiver: Some(receiver),
            line,
        })
    }

    /// Opens an address on 127.0.0.1 that `from` dials to reach `to`, which listens on `target`.
    ///
    /// What comes in takes the profile of `from` → `to`, the answers that of `to` → `from`.
    /// Several clients may use the address; beyond 64 the one idle for longest is forgotten, and
    /// looks like a new client to the target when it speaks again. The same three arguments give
    /// the same address again. It stays open until the emulator is dropped.
    ///
    /// # Errors
    ///
    /// The system gives no socket. Nothing was opened; it may be tried again.
    pub fn link(&self, from: RegionId, to: RegionId, target: SocketAddr) -> io::Result<SocketAddr> {
        let mut doors = lock(&self.doors);
        let key = ((from, to), target);
        if let Some(door) = doors.get(&key) {
            return Ok(*door);
        }
        let socket = proxy::bind(Ipv4Addr::LOCALHOST.into())?;
        let door = socket.local_addr()?;
        let listener = {
            let _inside = self.receiving.enter();
            UdpSocket::from_std(socket)?
        };
        let (there, back) = (self.directed(from, to), self.directed(to, from));
        let proxy = Proxy::new(listener, target, there, back, self.line.intake());
        self.receiving.spawn(proxy.run());
        doors.insert(key, door);
        Ok(door)
    }

    /// Sets how packets travel from `from` to `to`; the other direction stays as it is.
    ///
    /// Works before and after [`link`](Self::link). Packets on the way keep their time, and later
    /// ones do not overtake them; a cut loses them. Fields out of range are brought into it. A
    /// change of delay, jitter, order or rate starts the measured delays of the report anew.
    pub fn set(&self, from: RegionId, to: RegionId, profile: LinkProfile) {
        self.change(from, to, |present| *present = profile);
    }

    /// Cuts both directions between two regions, and loses what is on the way between them.
    /// Only a packet that the delay line hands to the system at this very moment may still pass.
    pub fn cut(&self, from: RegionId, to: RegionId) {
        self.change(from, to, |profile| profile.cut = true);
        self.change(to, from, |profile| profile.cut = true);
    }

    /// Mends both directions between two regions; the rest of their profiles is as before.
    pub fn restore(&self, from: RegionId, to: RegionId) {
        self.change(from, to, |profile| profile.cut = false);
        self.change(to, from, |profile| profile.cut = false);
    }

    /// The figures of each directed link that was named so far, in the order of the regions.
    pub fn report(&self) -> Vec<LinkReport> {
        let links: Vec<_> = lock(&self.links).values().cloned().collect();
        links.iter().map(|link| link.report()).collect()
    }

    fn change(&self, from: RegionId, to: RegionId, edit: impl FnOnce(&mut LinkProfile)) {
        let link = self.directed(from, to);
        let mut link = link.lock();
        let mut profile = *link.shaper.profile();
        edit(&mut profile);
        if link.shaper.set(self.clock.elapsed(), profile) {
            let Course { shaper, meter } = &mut *link;
            meter.restart(shaper.profile());
        }
    }

    fn directed(&self, from: RegionId, to: RegionId) -> Arc<DirectedLink> {
        let mut links = lock(&self.links);
        let link = links.entry((from, to)).or_insert_with(|| {
            let place = (u64::from(from.get()) << 16) | u64::from(to.get());
            // Spread, so that neighbouring links do not draw alike.
            let seed = self.seed ^ place.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            Arc::new(DirectedLink {
                from,
                to,
                course: Mutex::new(Course { shaper: Shaper::new(seed), meter: Meter::new() }),
            })
        });
        Arc::clone(link)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The thread is gone already if nobody listens.
            let _ = stop.send(());
        }
        if let Some(receiver) = self.receiver.take() {
            let _ = receiver.join();
        }
    }
}

impl std::fmt::Debug for Emulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Emulator")
            .field("seed", &self.seed)
            .field("links", &lock(&self.links).len())
            .finish_non_exhaustive()
    }
}

/// One direction between two regions, shared by every address that uses it.
pub(crate) struct DirectedLink {
    from: RegionId,
    to: RegionId,
    course: Mutex<Course>,
}

/// The rule of a directed link and its figures.
pub(crate) struct Course {
    pub(crate) shaper: Shaper,
    pub(crate) meter: Meter,
}

impl DirectedLink {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Course> {
        lock(&self.course)
    }

    fn report(&self) -> LinkReport {
        let course = self.lock();
        course.meter.report(self.from, self.to, &course.shaper)
    }
}

impl Course {
    /// Ends the way of a packet that was sent on; `given` is its delay, if that is to be measured.
    pub(crate) fn pass(&mut self, len: usize, given: Option<Duration>) {
        self.shaper.leave(len);
        self.meter.passed(len, given);
    }

    /// Ends the way of a packet that was admitted and is not sent on.
    pub(crate) fn lose(&mut self, len: usize, reason: DropReason) {
        self.shaper.leave(len);
        self.meter.dropped(reason);
    }
}

/// Keeps working after a panic elsewhere: each of these values is whole between two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
