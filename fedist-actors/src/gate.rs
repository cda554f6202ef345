//! One gate for each region: what may pass from the senders of this node, and what has passed and waits for the hub.

use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError,
    atomic::{AtomicU8, AtomicUsize, Ordering},
};

use fedist_registry::RegionId;
use tokio::sync::Notify;

use crate::outbox::Outbox;

/// What a sender may expect of a region; set by the hub, read by every send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum GateState {
    Unknown = 0,
    NoRoute = 1,
    Open = 2,
    Stopped = 3,
}

/// Bounds what is on its way from the senders of this node to one region's session.
pub(crate) struct Gate {
    state: AtomicU8,
    bytes: AtomicUsize,
    limit: usize,
    room: Notify,
    outbox: Mutex<Outbox>,
}

pub(crate) enum Refused {
    Full,
    NoRoute,
    Unknown,
    Stopped,
}

impl Gate {
    fn new(limit: usize) -> Self {
        Self {
            state: AtomicU8::new(GateState::Unknown as u8),
            bytes: AtomicUsize::new(0),
            limit,
            room: Notify::new(),
            outbox: Mutex::default(),
        }
    }

    /// Takes room for a message of `len` bytes, or says why not.
    pub(crate) fn acquire(&self, len: usize) -> Result<(), Refused> {
        match self.state() {
            GateState::Open => {
                let before = self.bytes.fetch_add(len, Ordering::AcqRel);
                // One message may pass the limit, so that a limit below `max_message` never blocks for ever.
                if before < self.limit {
                    return Ok(());
                }
                self.bytes.fetch_sub(len, Ordering::AcqRel);
                Err(Refused::Full)
            }
            GateState::NoRoute => Err(Refused::NoRoute),
            GateState::Unknown => Err(Refused::Unknown),
            GateState::Stopped => Err(Refused::Stopped),
        }
    }

    /// Waits until there is room, and takes it. Fails as soon as the region cannot be reached.
    pub(crate) async fn acquire_wait(&self, len: usize) -> Result<(), Refused> {
        self.acquire_while(len, |refused| matches!(refused, Refused::Full)).await
    }

    /// Waits until there is room and a route, and takes it.
    pub(crate) async fn acquire_route(&self, len: usize) -> Result<(), Refused> {
        self.acquire_while(len, |refused| matches!(refused, Refused::Full | Refused::NoRoute)).await
    }

    async fn acquire_while(
        &self,
        len: usize,
        wait: impl Fn(&Refused) -> bool,
    ) -> Result<(), Refused> {
        match self.acquire(len) {
            Err(refused) if wait(&refused) => {}
            outcome => return outcome,
        }
        loop {
            let notified = self.room.notified();
            let mut notified = std::pin::pin!(notified);
            notified.as_mut().enable();
            match self.acquire(len) {
                Err(refused) if wait(&refused) => notified.await,
                outcome => return outcome,
            }
        }
    }

    /// Gives back the room of messages that the session has taken over.
    pub(crate) fn release(&self, len: usize) {
        let before = self.bytes.fetch_sub(len, Ordering::AcqRel);
        if before >= self.limit / 2 {
            self.room.notify_waiters();
        }
    }

    /// What has passed and waits for the hub.
    pub(crate) fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_state(&self, state: GateState) {
        if self.state.swap(state as u8, Ordering::AcqRel) != state as u8 {
            self.room.notify_waiters();
        }
    }

    pub(crate) fn state(&self) -> GateState {
        match self.state.load(Ordering::Acquire) {
            1 => GateState::NoRoute,
            2 => GateState::Open,
            3 => GateState::Stopped,
            _ => GateState::Unknown,
        }
    }

    #[cfg(test)]
    fn queued_bytes(&self) -> usize {
        self.bytes.load(Ordering::Acquire)
    }
}

/// All gates of a node: a two-level table that is read without a lock.
pub(crate) struct Gates {
    rows: Box<[OnceLock<Box<Row>>]>,
    limit: usize,
}

type Row = [OnceLock<Arc<Gate>>; ROW_LEN];
const ROW_LEN: usize = 256;

impl Gates {
    pub(crate) fn new(limit: usize) -> Self {
        Self { rows: (0..ROW_LEN).map(|_| OnceLock::new()).collect(), limit }
    }

    pub(crate) fn get(&self, region: RegionId) -> &Arc<Gate> {
        let number = usize::from(region.get());
        let row = self.rows[number / ROW_LEN]
            .get_or_init(|| Box::new(std::array::from_fn(|_| OnceLock::new())));
        row[number % ROW_LEN].get_or_init(|| Arc::new(Gate::new(self.limit)))
    }

    /// The gates that have been used.
    pub(crate) fn used(&self) -> impl Iterator<Item = (RegionId, &Arc<Gate>)> {
        self.rows.iter().enumerate().flat_map(|(high, row)| {
            row.get().into_iter().flat_map(move |row| {
                row.iter().enumerate().filter_map(move |(low, gate)| {
                    let number = u16::try_from(high * ROW_LEN + low).ok()?;
                    Some((RegionId::new(number).ok()?, gate.get()?))
                })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_gate(limit: usize) -> Gate {
        let gate = Gate::new(limit);
        gate.set_state(GateState::Open);
        gate
    }

    #[test]
    fn a_gate_is_full_at_its_limit_and_open_again_after_release() {
        let gate = open_gate(100);
        assert!(gate.acquire(60).is_ok());
        assert!(gate.acquire(60).is_ok());
        assert!(matches!(gate.acquire(1), Err(Refused::Full)));
        gate.release(60);
        assert!(gate.acquire(1).is_ok());
        assert_eq!(gate.queued_bytes(), 61);
    }

    #[test]
    fn a_message_larger_than_the_limit_passes_when_the_gate_is_empty() {
        assert!(open_gate(10).acquire(1000).is_ok());
    }

    #[tokio::test]
    async fn a_waiting_sender_goes_on_when_room_comes_and_fails_when_the_route_goes() {
        let gate = Arc::new(open_gate(10));
        gate.acquire(10).ok().unwrap();
        let waiting = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.acquire_wait(5).await.is_ok() }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        gate.release(10);
        assert!(waiting.await.unwrap());
        gate.acquire(10).ok().unwrap();
        let waiting = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { matches!(gate.acquire_wait(5).await, Err(Refused::NoRoute)) }
        });
        tokio::task::yield_now().await;
        gate.set_state(GateState::NoRoute);
        assert!(waiting.await.unwrap());
    }

    #[test]
    fn every_region_has_one_gate() {
        let gates = Gates::new(1);
        for number in [1, 255, 256, 65_534] {
            let region = RegionId::new(number).unwrap();
            assert!(Arc::ptr_eq(gates.get(region), gates.get(region)));
        }
        assert_eq!(gates.used().count(), 4);
    }
}
