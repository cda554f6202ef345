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
    /// The peer has a new epoch in which it took ours as new: what it knew of us is gone, what we
    /// have sent in our epoch has not been delivered.
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

    /// Whether this epoch of the peer lies behind what this side knows of it.
    pub(super) fn is_over(&self, epoch: u64) -> bool {
        epoch < self.floor || self.remote.is_some_and(|remote| epoch < remote)
    }

    /// Judges a frame from `epoch` to `peer_epoch`; `kept_all` says that nothing of what this side
    /// sent in its epoch has been acknowledged.
    pub(super) fn judge(&self, epoch: u64, peer_epoch: u64, kept_all: bool) -> Verdict {
        if peer_epoch > self.own {
            return Verdict::Future;
        }
        let to_us = peer_epoch == 0 || peer_epoch == self.own;
        match self.remote {
            _ if self.is_over(epoch) => Verdict::Stale,
            None if to_us => Verdict::Adopt,
            // A frame to an epoch that we have ended must not open anything.
            None => Verdict::Stale,
            Some(remote) if epoch == remote && to_us => Verdict::Current,
            Some(remote) if epoch == remote => Verdict::Stale,
            Some(remote) => {
                let restarted = boot(epoch) > boot(remote);
                if peer_epoch == self.own && !restarted && kept_all {
                    Verdict::Switch
                } else {
                    Verdict::Reset { restarted }
                }
            }
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
        assert_eq!(fresh.judge(PEER, 0, true), Verdict::Adopt);
        assert_eq!(fresh.judge(PEER, OWN, true), Verdict::Adopt);
        assert_eq!(fresh.judge(PEER, OWN - 1, true), Verdict::Stale);
        assert_eq!(fresh.judge(PEER, OWN + 1, true), Verdict::Future);
    }

    #[test]
    fn a_talking_side_judges_by_both_epochs() {
        let cases = [
            (PEER, 0, true, Verdict::Current),
            (PEER, OWN, false, Verdict::Current),
            (PEER, OWN - 1, true, Verdict::Stale),
            (PEER - 1, OWN, true, Verdict::Stale),
            (PEER + 1, OWN, true, Verdict::Switch),
            (PEER + 1, OWN, false, Verdict::Reset { restarted: false }),
            (PEER + 1, 0, true, Verdict::Reset { restarted: false }),
            (PEER + 1, OWN - 1, true, Verdict::Reset { restarted: false }),
            (PEER + (1 << 32), OWN, true, Verdict::Reset { restarted: true }),
            (PEER + 1, OWN + 1, true, Verdict::Future),
        ];
        for (epoch, peer_epoch, kept_all, verdict) in cases {
            let judged = talking().judge(epoch, peer_epoch, kept_all);
            assert_eq!(judged, verdict, "{epoch:x} to {peer_epoch:x}, {kept_all}");
        }
    }

    #[test]
    fn an_ended_epoch_of_the_peer_never_comes_back() {
        let mut epochs = talking();
        epochs.end();
        assert_eq!(epochs.own(), OWN + 1);
        assert_eq!(epochs.judge(PEER, 0, true), Verdict::Stale);
        assert_eq!(epochs.judge(PEER, OWN + 1, true), Verdict::Stale);
        assert_eq!(epochs.judge(PEER + 1, 0, true), Verdict::Adopt);
    }
}
