//! Signs of life on links: heartbeats, round trips, and when silence is too long.
//!
//! Every frame is a sign of life. A link is silent after three intervals without one, or after twice the
//! longest round trip of late, whichever is more; both are stretched by how late this node's own timers
//! run, since a node that is slow itself must not accuse others (Lifeguard, Dadgar et al. 2018).

use std::time::Duration;

use crate::id::{LinkId, NodeId};
use crate::proto::outbox::Outbox;
use crate::proto::routes;
use crate::time::{Instant, Now};

use super::link::Link;
use super::message::{Message, Vitals};
use super::record::Phase;
use super::timers::Timer;
use super::{Event, Membership};

/// That many intervals without a frame are too long.
const SILENT_INTERVALS: u32 = 3;

/// A busy link carries a heartbeat all the same, every so many intervals: it brings the summary of
/// routes and the round trip.
const BUSY_INTERVALS: u32 = 10;

/// Every so many heartbeats carry vitals: one round trip a second is enough, and idle links are most of
/// what an idle mesh sends.
const VITALS_EVERY: u64 = 4;

/// Heartbeats are sent, and silence is looked for, at so many moments of each interval: one wake-up of
/// the node serves all the links of a moment, where each by itself would be a wake-up. Five: a
/// heartbeat comes at most a fifth too soon, and a hundred links do not all speak at once.
const MOMENTS_PER_INTERVAL: u32 = 5;

/// A longer round trip counts as this: one freak delay must not blind a link for minutes.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(2);

/// A longer one is no round trip but nonsense: no link stays open without a frame for so long.
const ECHO_MAX: Duration = Duration::from_secs(60);

/// The longest round trip is taken over one to two windows of so many samples, about two to
/// four minutes. Of so few samples the maximum is as near to the p99.9 as one can get.
const WINDOW_SAMPLES: u32 = 128;

/// Lateness is remembered for one to two of these.
const LATENESS_WINDOW: Duration = Duration::from_secs(5);

/// The most by which a node's own lateness stretches its patience (the figure of Lifeguard).
const LATENESS_SCALE_MAX: u64 = 8;

/// Round trips of one link.
#[derive(Debug, Default)]
pub(super) struct RoundTrips {
    /// Moving average, by an eighth of each sample.
    average: Option<Duration>,
    longest: Duration,
    longest_before: Duration,
    samples: u32,
}

impl RoundTrips {
    /// Adds a sample; gives the longest where that is news.
    fn add(&mut self, sample: Duration) -> Option<Duration> {
        let before = self.average.map(|_| self.longest());
        let sample = sample.min(ROUND_TRIP_MAX);
        let average = self.average.map_or(sample, |old| (old * 7 + sample) / 8);
        self.average = Some(average);
        self.longest = self.longest.max(sample);
        self.samples += 1;
        if self.samples == WINDOW_SAMPLES {
            self.longest_before = std::mem::take(&mut self.longest);
            self.samples = 0;
        }
        Some(self.longest()).filter(|longest| before != Some(*longest))
    }

    /// The longest of late.
    pub(super) fn longest(&self) -> Duration {
        self.longest.max(self.longest_before)
    }

    /// A smoothed round trip; `None`: not measured yet.
    pub(super) fn average(&self) -> Option<Duration> {
        self.average
    }
}

/// How late this node's own timers fire.
#[derive(Debug, Default)]
pub(super) struct Lateness {
    worst: Duration,
    worst_before: Duration,
    window: Instant,
}

impl Lateness {
    fn add(&mut self, now: Instant, late: Duration) {
        if LATENESS_WINDOW <= now.since(self.window) {
            self.worst_before = std::mem::take(&mut self.worst);
            if 2 * LATENESS_WINDOW <= now.since(self.window) {
                self.worst_before = Duration::ZERO;
            }
            self.window = now;
        }
        self.worst = self.worst.max(late);
    }

    /// Stretches a duration by one interval's worth for every interval of lateness.
    fn scale(&self, duration: Duration, interval: Duration) -> Duration {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let base = micros(duration);
        let late = micros(self.worst.max(self.worst_before));
        let more = u128::from(base) * u128::from(late) / u128::from(micros(interval).max(1));
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        let most = base.saturating_mul(LATENESS_SCALE_MAX);
        Duration::from_micros(base.saturating_add(more).min(most))
    }
}

/// The moments at which this node attends to its links. Their phase is random, so that the nodes of a
/// mesh do not all speak at once.
///
/// All is done at the last moment before it is due, never at the first one after: no link waits longer
/// than an interval for its heartbeat. Of an idle link that is exactly one interval after the one before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moments {
    every: u64,
    phase: u64,
}

impl Moments {
    pub(super) fn new(heartbeat: Duration, random: u64) -> Self {
        let every = (heartbeat / MOMENTS_PER_INTERVAL).as_micros();
        let every = u64::try_from(every).unwrap_or(u64::MAX).max(1);
        let phase = random % every;
        Self { every, phase }
    }

    /// The last moment that is not after this.
    fn before(self, at: Instant) -> Instant {
        let past = at.0.saturating_sub(self.phase) % self.every;
        Instant(at.0 - past)
    }
}

impl Membership {
    /// Notes how late this tick comes. After a pause, silence before it proves nothing: what others
    /// sent in the meantime has yet to be read.
    pub(super) fn note_lateness(&mut self, now: Now) {
        let Some(due) = self.timers.next().filter(|due| *due <= now.at) else {
            return;
        };
        let late = now.at.since(due);
        self.lateness.add(now.at, late);
        if self.config.heartbeat < late {
            self.pardon = now.at;
            self.stats.pauses += 1;
        }
    }

    /// A duration of patience with others, stretched by this node's own lateness.
    pub(super) fn patience(&self, duration: Duration) -> Duration {
        self.lateness.scale(duration, self.config.heartbeat)
    }

    /// After how long without a frame a link is silent.
    pub(super) fn silence_timeout(&self, id: LinkId) -> Duration {
        let longest = self.links.get(&id).map(|link| link.trips.longest());
        let base = SILENT_INTERVALS * self.config.heartbeat;
        self.patience(base.max(2 * longest.unwrap_or_default()))
    }

    /// A frame came over a link.
    pub(super) fn hear(&mut self, now: Now, id: LinkId) -> Option<NodeId> {
        let link = self.links.get_mut(&id)?;
        link.heard = now.at;
        if link.silent {
            link.silent = false;
            self.timers.set(Timer::Resumed(link.peer), now.at);
        }
        link.is_open().then_some(link.peer)
    }

    /// A silent link speaks again, or a frame came through a helper.
    pub(super) fn on_resumed(&mut self, now: Now, node: NodeId, out: &mut Outbox) {
        let Some(peer) = self.peers.get(&node) else {
            return;
        };
        let links = peer.links.clone();
        if links.is_empty() && peer.helper.is_none() {
            self.timers.set_earlier(Timer::Check(node), now.at);
        }
        self.become_alive(now, node, out);
        self.sort_links(now, node);
        if self.has_link(node) {
            self.end_round(node);
            self.timers.cancel(Timer::Check(node));
        }
        for id in links {
            let silence = now.at + self.silence_timeout(id);
            self.timers.set_earlier(Timer::Silence(id), silence);
        }
    }

    /// Whether there is a link to a member on which something was heard of late.
    pub(super) fn has_link(&self, node: NodeId) -> bool {
        let first = self.peers.get(&node).and_then(|peer| peer.links.first());
        first
            .and_then(|id| self.links.get(id))
            .is_some_and(|link| !link.silent)
    }

    /// Whether this node knows by itself that a member lives.
    pub(super) fn has_evidence(&self, node: NodeId) -> bool {
        let helped = |peer: &super::peer::Peer| peer.helper.is_some();
        self.has_link(node) || self.peers.get(&node).is_some_and(helped)
    }

    /// An interval went by since a heartbeat was last thought of.
    pub(super) fn on_heartbeat_timer(
        &mut self,
        now: Now,
        id: LinkId,
        routes: routes::Pulse,
        out: &mut Outbox,
    ) {
        let (interval, moments) = (self.config.heartbeat, self.moments);
        let (digest, phase) = (self.own_digest(), self.phase);
        let Some(link) = self.links.get_mut(&id).filter(|link| link.is_greeted()) else {
            return;
        };
        let due = |link: &Link| {
            let busy = link.beat + BUSY_INTERVALS * interval;
            moments.before(busy.min(link.sent + interval))
        };
        if due(link) <= now.at {
            link.sent = now.at;
            link.beat = now.at;
            let vitals = link.beats.is_multiple_of(VITALS_EVERY).then(|| Vitals {
                sent_us: low(now.at.0),
                echo_us: link.echo.map(|(sent_us, came)| {
                    let held = now.at.0.saturating_sub(came.0);
                    sent_us.wrapping_add(low(held))
                }),
                digest,
                phase,
            });
            link.beats += 1;
            out.send_on(id, Message::Heartbeat { routes, vitals });
            self.stats.heartbeats += 1;
        }
        let next = due(link);
        self.timers.set(Timer::Heartbeat(id), next);
    }

    /// A heartbeat came.
    pub(super) fn on_heartbeat(
        &mut self,
        now: Now,
        id: LinkId,
        routes: routes::Pulse,
        vitals: Option<Vitals>,
        out: &mut Outbox,
    ) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let (node, Some(epoch)) = (link.peer, link.epoch) else {
            return;
        };
        self.events.push_back(Event::Pulse {
            node,
            epoch,
            routes,
        });
        let Some(vitals) = vitals else {
            return;
        };
        link.echo = Some((vitals.sent_us, now.at));
        if let Some(echo) = vitals.echo_us {
            let trip = Duration::from_micros(low(now.at.0).wrapping_sub(echo).into());
            if trip <= ECHO_MAX {
                if let Some(round_trip) = link.trips.add(trip) {
                    self.events.push_back(Event::RoundTrip { node, round_trip });
                }
            } else {
                self.stats.echoes_refused += 1;
            }
        }
        match vitals.phase {
            Phase::Serving => (),
            Phase::Stopping => self.set_stopping(node),
            Phase::Stopped => return self.become_stopped(now, node, out),
        }
        self.compare_members(now, id, vitals.digest, out);
    }

    /// Time to see whether a link has been silent for too long.
    pub(super) fn on_silence_timer(&mut self, now: Now, id: LinkId, out: &mut Outbox) {
        let timeout = self.silence_timeout(id);
        let pardon = self.pardon;
        let Some(link) = self.links.get_mut(&id).filter(|link| link.is_open()) else {
            return;
        };
        let deadline = link.heard.max(pardon) + timeout;
        if now.at < deadline {
            // By then something was heard of a link that works; the others are not given longer.
            let moment = self.moments.before(deadline);
            let next = if now.at < moment { moment } else { deadline };
            return self.timers.set(Timer::Silence(id), next);
        }
        link.silent = true;
        let node = link.peer;
        self.sort_links(now, node);
        if self.has_link(node) {
            return self.hang_up(now, id, out);
        }
        // A new connection may work where this one does not.
        self.ensure_dial(now, node);
        self.start_probe(now, node, out);
        self.doubt(now, node, out);
    }
}

/// The lower half; time counted in it wraps after an hour, far beyond any round trip.
fn low(micros: u64) -> u32 {
    (micros & u64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_at_a_moment_is_never_late_and_at_most_a_fifth_of_an_interval_early() {
        let interval = Duration::from_millis(250);
        for random in [0, 1, 49_999, 50_000, u64::MAX] {
            let moments = Moments::new(interval, random);
            for due in (1_000_000..1_100_000).step_by(777).map(Instant) {
                let at = moments.before(due);
                assert!(at <= due && due.since(at) < interval / MOMENTS_PER_INTERVAL);
                assert_eq!(moments.before(at + interval), at + interval);
            }
        }
    }

    #[test]
    fn an_interval_too_short_to_be_divided_is_no_fault() {
        let moments = Moments::new(Duration::ZERO, 7);
        assert_eq!(moments.before(Instant(9)), Instant(9));
    }
}
