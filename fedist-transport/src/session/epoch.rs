use crate::wire::{FLAG_OVER, SessionHeader};

/// The epochs of both sides as this side knows them, and the rules for a frame's pair of epochs.
/// The protocol is described in the module text of [`session`](super).
#[derive(Clone, Debug)]
pub(super) struct Epochs {
    own: u64,
    remote: Option<u64>,
    /// The peer's epochs below this are over.
    floor: u64,
}

/// What a frame's pair of epochs asks for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A frame of the conversation that is going on.
    Current,
    /// The first frame of the peer: take its epoch, keep everything.
    Adopt,
    /// The peer has a new epoch and has not ended our present one, so it has never had it as its
    /// peer's before: what we have sent in it has not been delivered, and may stay.
    Switch,
    /// The peer has a new epoch, so the conversation with its old one is over.
    Reset {
        /// It comes from a new start of the peer's node.
        restarted: bool,
    },
    /// A frame from or to an epoch that is over; the peer should learn how things are.
    Stale,
    /// A frame to an epoch that we have not reached.
    Future,
}

/// What a frame says about our epoch.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum PeerView {
    /// The peer does not know the present one.
    Opening,
    /// It talks to the present one.
    Present,
    /// It talks to one that we have ended.
    Past,
    /// It has ended the present one.
    Over,
    /// It has seen one that we have not reached.
    Future,
}

impl Epochs {
    pub(super) fn new(boot: u32) -> Self {
        Self { own: u64::from(boot) << 32 | 1, remote: None, floor: 0 }
    }

    pub(super) fn own(&self) -> u64 {
        self.own
    }

    pub(super) fn remote(&self) -> Option<u64> {
        self.remote
    }

    /// The start number of the peer's node that the conversation is with.
    pub(super) fn peer_boot(&self) -> Option<u32> {
        self.remote.and_then(|remote| u32::try_from(boot(remote)).ok())
    }

    /// Whether this epoch of the peer lies behind what this side knows of it.
    pub(super) fn is_over(&self, epoch: u64) -> bool {
        epoch < self.floor || self.remote.is_some_and(|remote| epoch < remote)
    }

    /// What a frame with these fields says about our epoch.
    pub(super) fn view(&self, header: &SessionHeader) -> PeerView {
        match (header.peer_epoch, header.has(FLAG_OVER)) {
            (epoch, _) if epoch > self.own => PeerView::Future,
            (0, _) => PeerView::Opening,
            (epoch, false) if epoch == self.own => PeerView::Present,
            (_, false) => PeerView::Past,
            (epoch, true) if epoch == self.own => PeerView::Over,
            (_, true) => PeerView::Opening,
        }
    }

    /// What to say about the peer's epoch: `peer_epoch` and the flag to it.
    pub(super) fn peer_fields(&self) -> (u64, u8) {
        match self.remote {
            Some(remote) => (remote, 0),
            None if self.floor > 0 => (self.floor - 1, FLAG_OVER),
            None => (0, 0),
        }
    }

    /// Judges a frame from `epoch`; `untouched` says that nothing of what this side sent in its
    /// epoch has been acknowledged.
    pub(super) fn judge(&self, epoch: u64, view: PeerView, untouched: bool) -> Verdict {
        if view == PeerView::Future {
            return Verdict::Future;
        }
        if self.is_over(epoch) {
            return Verdict::Stale;
        }
        let restarted = self.remote.is_some_and(|remote| boot(epoch) > boot(remote));
        match (self.remote, view) {
            (Some(remote), PeerView::Over) if epoch == remote => Verdict::Future,
            (_, PeerView::Over) => Verdict::Reset { restarted },
            // A frame to an epoch that we have ended must not open anything.
            (None, PeerView::Past) => Verdict::Stale,
            (None, _) => Verdict::Adopt,
            (Some(remote), PeerView::Past) if epoch == remote => Verdict::Stale,
            (Some(remote), _) if epoch == remote => Verdict::Current,
            (Some(_), _) if untouched && !restarted => Verdict::Switch,
            (Some(_), _) => Verdict::Reset { restarted },
        }
    }

    /// Takes `epoch` as the peer's current one.
    pub(super) fn adopt(&mut self, epoch: u64) {
        self.remote = Some(epoch);
        self.floor = self.floor.max(epoch);
    }

    /// Ends the conversation: our next epoch begins, the peer's current one will not come back.
    pub(super) fn end(&mut self) {
        // The counter stops rather than run into the boot number; a pair that has ended four
        // thousand million times within one boot only gets slower at telling stale frames.
        if self.own & COUNTER_MASK != COUNTER_MASK {
            self.own += 1;
        }
        if let Some(remote) = self.remote.take() {
            self.floor = self.floor.max(remote.saturating_add(1));
        }
    }
}

fn boot(epoch: u64) -> u64 {
    epoch >> 32
}

const COUNTER_MASK: u64 = u32::MAX as u64;

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: u64 = (5 << 32) | 1;
    const PEER: u64 = (9 << 32) | 4;

    fn talking() -> Epochs {
        let mut epochs = Epochs::new(5);
        epochs.adopt(PEER);
        epochs
    }

    #[test]
    fn a_fresh_side_takes_any_epoch_that_does_not_talk_to_its_past() {
        let fresh = Epochs::new(5);
        assert_eq!(fresh.judge(PEER, PeerView::Opening, true), Verdict::Adopt);
        assert_eq!(fresh.judge(PEER, PeerView::Present, true), Verdict::Adopt);
        assert_eq!(fresh.judge(PEER, PeerView::Past, true), Verdict::Stale);
        assert_eq!(fresh.judge(PEER, PeerView::Future, true), Verdict::Future);
        assert_eq!(fresh.judge(PEER, PeerView::Over, true), Verdict::Reset { restarted: false });
    }

    #[test]
    fn a_talking_side_judges_by_both_epochs() {
        let reset = Verdict::Reset { restarted: false };
        let cases = [
            (PEER, PeerView::Opening, true, Verdict::Current),
            (PEER, PeerView::Present, false, Verdict::Current),
            (PEER, PeerView::Past, true, Verdict::Stale),
            (PEER, PeerView::Over, true, Verdict::Future),
            (PEER - 1, PeerView::Present, true, Verdict::Stale),
            (PEER - 1, PeerView::Over, true, Verdict::Stale),
            (PEER + 1, PeerView::Present, true, Verdict::Switch),
            (PEER + 1, PeerView::Present, false, reset),
            (PEER + 1, PeerView::Opening, true, Verdict::Switch),
            (PEER + 1, PeerView::Past, true, Verdict::Switch),
            (PEER + 1, PeerView::Over, true, reset),
            (PEER + (1 << 32), PeerView::Present, true, Verdict::Reset { restarted: true }),
            (PEER + (1 << 32), PeerView::Past, true, Verdict::Reset { restarted: true }),
            (PEER + 1, PeerView::Future, true, Verdict::Future),
        ];
        for (epoch, view, untouched, verdict) in cases {
            let judged = talking().judge(epoch, view, untouched);
            assert_eq!(judged, verdict, "{epoch:x}, {view:?}, {untouched}");
        }
    }

    #[test]
    fn an_ended_epoch_of_the_peer_never_comes_back() {
        let mut epochs = talking();
        assert_eq!(epochs.peer_fields(), (PEER, 0));
        epochs.end();
        assert_eq!(epochs.own(), OWN + 1);
        assert_eq!(epochs.peer_fields(), (PEER, FLAG_OVER));
        assert_eq!(epochs.judge(PEER, PeerView::Opening, true), Verdict::Stale);
        assert_eq!(epochs.judge(PEER, PeerView::Present, true), Verdict::Stale);
        assert_eq!(epochs.judge(PEER + 1, PeerView::Opening, true), Verdict::Adopt);
    }
}
