use fedist_registry::Micros;

use super::Session;
use super::event::EndReason;

/// The clocks of a session. Deadlines of lanes are the lanes' own.
#[derive(Debug)]
pub(super) struct Timers {
    last_heard: Micros,
    /// Since when something waits for the peer; `None` while nothing does.
    waiting_since: Option<Micros>,
    /// Since when the peer is watched.
    watched_since: Micros,
    /// `set_watched` knows no time, so the next timeout sets the start.
    watch_begins: bool,
    ack_due: Option<Micros>,
    last_probe: Micros,
    last_answer: Option<Micros>,
    last_resend: Option<Micros>,
    resend_due: Option<Micros>,
    /// Showing a new epoch to a peer that has not answered it yet.
    announce_due: Option<Micros>,
    announcements_left: u32,
    /// No end by silence before this: this side has been asleep itself.
    grace_until: Micros,
}

impl Timers {
    pub(super) fn new(now: Micros) -> Self {
        Self {
            last_heard: now,
            waiting_since: None,
            watched_since: now,
            watch_begins: false,
            ack_due: None,
            last_probe: Micros::ZERO,
            last_answer: None,
            last_resend: None,
            resend_due: None,
            announce_due: None,
            announcements_left: 0,
            grace_until: Micros::ZERO,
        }
    }

    pub(super) fn begin_waiting(&mut self, now: Micros) {
        self.waiting_since = Some(now);
    }

    pub(super) fn end_waiting(&mut self) {
        self.waiting_since = None;
    }

    pub(super) fn begin_watching(&mut self) {
        self.watch_begins = true;
    }

    /// A frame to our present epoch has come.
    pub(super) fn heard(&mut self, now: Micros) {
        self.last_heard = self.last_heard.max(now);
        self.announce_due = None;
    }

    /// The peer does not know our new epoch: show it at `now`, and some times more.
    pub(super) fn begin_announcing(&mut self, now: Micros) {
        self.announce_due = Some(now);
        self.announcements_left = ANNOUNCEMENTS;
    }

    /// An acknowledgement is due after `delay` at the latest.
    pub(super) fn owe_ack(&mut self, now: Micros, delay: Micros) {
        self.ack_due.get_or_insert(now + delay);
    }

    pub(super) fn ack_sent(&mut self) {
        self.ack_due = None;
    }

    /// The conversation is over: nothing of it waits any longer.
    pub(super) fn stop(&mut self) {
        self.waiting_since = None;
        self.ack_due = None;
        self.resend_due = None;
        self.announce_due = None;
    }

    /// Whether a frame to or from an ended epoch may be answered now.
    pub(super) fn may_answer(&mut self, now: Micros) -> bool {
        let due = self.last_answer.is_none_or(|last| now - last >= ANSWER_EVERY);
        if due {
            self.last_answer = Some(now);
        }
        due
    }
}

impl Session {
    /// Does what is due at `now`. An early call does nothing. A very late one means that this node
    /// was not running, and frames that came meanwhile may still wait to be handled: the session
    /// then waits a little longer before it takes the peer's silence for an end.
    pub fn handle_timeout(&mut self, now: Micros) {
        if self.goodbye.is_some() {
            return;
        }
        let grace = Micros(self.config.session_timeout.0 / 8);
        let due = self.poll_timeout().filter(|due| *due > Micros::ZERO);
        if due.is_some_and(|due| now - due > grace) {
            self.timers.grace_until = now + grace;
        }
        if std::mem::take(&mut self.timers.watch_begins) {
            self.timers.watched_since = now;
            self.timers.last_probe = Micros::ZERO;
        }
        if self.silence_deadline().is_some_and(|deadline| now >= deadline) {
            let silent_for = now - self.timers.last_heard;
            self.end(EndReason::TimedOut { silent_for });
            // The peer may still hear us, or hear us again, and believe all is well.
            self.timers.begin_announcing(now);
        }
        if self.timers.announce_due.is_some_and(|due| now >= due) {
            self.timers.announcements_left = self.timers.announcements_left.saturating_sub(1);
            let interval = Micros(self.config.session_timeout.0 / 4);
            self.timers.announce_due =
                (self.timers.announcements_left > 0).then_some(now + interval);
            self.probe_now = true;
        }
        if self.timers.resend_due.is_some_and(|due| now >= due) {
            self.resend_all(now, Micros::ZERO);
        }
        for lane in &mut self.tx {
            if lane.deadline().is_some_and(|deadline| now >= deadline) {
                self.probe_now |= lane.on_timeout(now, &self.trip, &self.config);
            }
        }
        if self.timers.ack_due.is_some_and(|due| now >= due) {
            self.timers.ack_due = None;
            self.ack_now = true;
        }
        if self.probe_due().is_some_and(|due| now >= due) {
            self.timers.last_probe = now;
            self.probe_now = true;
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; `None` while nothing waits.
    /// A time in the past means now.
    pub fn poll_timeout(&self) -> Option<Micros> {
        if self.goodbye.is_some() {
            return None;
        }
        if self.timers.watch_begins {
            return Some(Micros::ZERO);
        }
        let [message, bulk] = &self.tx;
        [
            message.deadline(),
            bulk.deadline(),
            self.timers.ack_due,
            self.timers.resend_due,
            self.timers.announce_due,
            self.silence_deadline(),
            self.probe_due(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The route to the peer broke, changed or came back: sends everything unacknowledged again at
    /// once, or shows the own epoch if there is nothing. Calls within 20 ms count as one, at the end
    /// of that time.
    ///
    /// `lost_since` is when the old route died, where that is known: what was sent after that goes
    /// first, since of what was sent before perhaps only the acknowledgements are missing.
    pub fn handle_path_change(&mut self, now: Micros, lost_since: Option<Micros>) {
        if self.goodbye.is_some() {
            return;
        }
        match self.timers.last_resend {
            Some(last) if now - last < RESEND_EVERY => {
                self.timers.resend_due = Some(last + RESEND_EVERY);
            }
            _ => self.resend_all(now, lost_since.unwrap_or(Micros::ZERO)),
        }
    }

    fn resend_all(&mut self, now: Micros, lost_since: Micros) {
        self.timers.last_resend = Some(now);
        self.timers.resend_due = None;
        let rto = self.trip.timeout(&self.config, 0);
        for lane in &mut self.tx {
            lane.resend_all(now, rto, lost_since);
        }
        // Without anything to send again, the peer should still hear where we are: acknowledgements
        // may have been lost with the old route, or a whole conversation.
        if self.opened {
            self.ack_now = true;
        } else if self.stats.ends > 0 {
            self.probe_now = true;
            self.timers.begin_announcing(now + Micros(self.config.session_timeout.0 / 4));
        }
    }

    fn watching(&self) -> bool {
        self.watched && self.opened
    }

    fn silence_deadline(&self) -> Option<Micros> {
        let since = match (self.timers.waiting_since, self.watching()) {
            (None, false) => return None,
            (Some(waiting), false) => waiting,
            (None, true) => self.timers.watched_since,
            (Some(waiting), true) => waiting.min(self.timers.watched_since),
        };
        let deadline = self.timers.last_heard.max(since) + self.config.session_timeout;
        Some(deadline.max(self.timers.grace_until))
    }

    /// A watched peer is asked after a quarter of the timeout, and then every eighth.
    fn probe_due(&self) -> Option<Micros> {
        if !self.watching() {
            return None;
        }
        let timeout = self.config.session_timeout.0;
        let silent_since = self.timers.last_heard.max(self.timers.watched_since);
        let first = silent_since + Micros(timeout / 4);
        Some(first.max(self.timers.last_probe + Micros(timeout / 8)))
    }
}

/// How often a new epoch is shown to a silent peer, a quarter of the session timeout apart. After
/// that the next route change tries again.
const ANNOUNCEMENTS: u32 = 12;
/// Answers to stale frames, at most this often.
const ANSWER_EVERY: Micros = Micros(20_000);
/// Re-sending everything for a new route, at most this often.
const RESEND_EVERY: Micros = Micros(20_000);
