//! Which hosts ran, and which could reach each other, for how long: what explains a miss or a death.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mesh::time::Instant;

use crate::world::HostId;

/// How long a pair may take to find together after its first start: greetings, lists, snapshots.
const MEETING: Duration = Duration::from_secs(10);

/// How long it may take after a cut, a restart or a pause until every view is right: the longest backoff
/// of a redial (60 s), the detection of what died meanwhile, and the transfer.
pub const HEALING: Duration = Duration::from_secs(75);

/// How long a lost frame explains a miss: what it said is said again several times meanwhile.
const LOSS: Duration = Duration::from_secs(5);

/// What a host's node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// It does not run.
    Nothing,
    Running,
    Paused,
}

#[derive(Debug, Clone, Copy)]
struct Host {
    doing: Doing,
    /// It was told to stop.
    stopping: bool,
    /// Since when it does that.
    since: Instant,
    /// It may be unknown to others until then.
    settled_at: Instant,
    starts: u32,
}

/// Hosts and the ways between them.
#[derive(Debug, Default)]
pub(super) struct Paths {
    hosts: BTreeMap<HostId, Host>,
    cuts: BTreeSet<(HostId, HostId)>,
    /// When a pair, the lesser host first, was last cut, healed or disturbed otherwise.
    disturbed: BTreeMap<(HostId, HostId), Instant>,
    /// When a frame between them was last lost.
    lost: BTreeMap<(HostId, HostId), Instant>,
    /// When the nodes of a pair, the one that heard of the other first, came to know of each other.
    met: BTreeMap<(HostId, HostId), Instant>,
}

fn pair(a: HostId, b: HostId) -> (HostId, HostId) {
    (a.min(b), a.max(b))
}

impl Paths {
    pub(super) fn on_start(&mut self, at: Instant, host: HostId) {
        let starts = self.hosts.get(&host).map_or(0, |host| host.starts);
        let wait = if starts == 0 { MEETING } else { HEALING };
        let started = Host {
            doing: Doing::Running,
            stopping: false,
            since: at,
            settled_at: at + wait,
            starts: starts + 1,
        };
        self.hosts.insert(host, started);
    }

    fn set(&mut self, at: Instant, host: HostId, doing: Doing, wait: Duration) {
        if let Some(host) = self.hosts.get_mut(&host) {
            (host.doing, host.since) = (doing, at);
            host.settled_at = host.settled_at.max(at + wait);
        }
    }

    pub(super) fn on_crash(&mut self, at: Instant, host: HostId) {
        self.set(at, host, Doing::Nothing, HEALING);
    }

    pub(super) fn on_pause(&mut self, at: Instant, host: HostId) {
        self.set(at, host, Doing::Paused, HEALING);
    }

    pub(super) fn on_unpause(&mut self, at: Instant, host: HostId) {
        self.set(at, host, Doing::Running, HEALING);
    }

    pub(super) fn on_stop(&mut self, host: HostId) {
        if let Some(host) = self.hosts.get_mut(&host) {
            host.stopping = true;
        }
    }

    pub(super) fn on_cut(&mut self, at: Instant, from: HostId, to: HostId) {
        self.cuts.insert((from, to));
        self.disturb(at, from, to);
    }

    pub(super) fn on_heal(&mut self, at: Instant, from: HostId, to: HostId) {
        self.cuts.remove(&(from, to));
        self.disturb(at, from, to);
    }

    pub(super) fn disturb(&mut self, at: Instant, a: HostId, b: HostId) {
        self.disturbed.insert(pair(a, b), at);
    }

    pub(super) fn on_lost(&mut self, at: Instant, a: HostId, b: HostId) {
        let lost = self.lost.entry(pair(a, b)).or_default();
        *lost = at.max(*lost);
    }

    /// Whether a host's node has run for all of the last while, neither paused nor stopping.
    pub(super) fn has_run(&self, now: Instant, host: HostId, last: Duration) -> bool {
        self.hosts.get(&host).is_some_and(|host| {
            host.doing == Doing::Running && !host.stopping && now.since(host.since) > last
        })
    }

    /// Whether frames have passed both ways between two hosts for all of the last while.
    fn has_passed(&self, now: Instant, a: HostId, b: HostId, last: Duration) -> bool {
        let disturbed = self.disturbed.get(&pair(a, b));
        !self.cuts.contains(&(a, b))
            && !self.cuts.contains(&(b, a))
            && disturbed.is_none_or(|at| now.since(*at) > last)
    }

    pub(super) fn on_met(&mut self, at: Instant, host: HostId, other: HostId) {
        self.met.insert((host, other), at);
    }

    /// Whether there has been a way from one host to another and back for all of the last while.
    /// `linked`: whether there is a connection; after a cut one may take long to come back.
    pub(super) fn has_way(
        &self,
        now: Instant,
        (a, b): (HostId, HostId),
        last: Duration,
        linked: bool,
    ) -> bool {
        self.has_passed(now, a, b, last) && (linked || self.has_passed(now, a, b, HEALING))
    }

    /// Whether nothing explains that the first of two hosts misses what the other has.
    pub(super) fn is_steady(&self, now: Instant, a: HostId, b: HostId) -> bool {
        let settled = |host: &HostId| {
            self.hosts.get(host).is_some_and(|host| {
                host.doing == Doing::Running && !host.stopping && host.settled_at < now
            })
        };
        let (met, lost) = (self.met.get(&(a, b)), self.lost.get(&pair(a, b)));
        settled(&a)
            && settled(&b)
            && self.has_passed(now, a, b, HEALING)
            && met.is_none_or(|at| now.since(*at) > MEETING)
            && lost.is_none_or(|at| now.since(*at) > LOSS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: Duration = Duration::from_secs(3);

    fn at(seconds: u64) -> Instant {
        Instant(seconds * 1_000_000)
    }

    fn paths(hosts: u16) -> Paths {
        let mut paths = Paths::default();
        (0..hosts).for_each(|host| paths.on_start(at(0), HostId(host)));
        paths
    }

    #[test]
    fn a_way_that_was_cut_is_one_again_once_it_has_passed_for_a_while_and_is_linked() {
        let (a, b) = (HostId(0), HostId(1));
        let mut paths = paths(2);
        assert!(paths.has_way(at(5), (a, b), LAST, false));
        paths.on_cut(at(10), b, a);
        assert!(!paths.has_way(at(20), (a, b), LAST, true));
        paths.on_heal(at(20), b, a);
        assert!(!paths.has_way(at(23), (a, b), LAST, true));
        assert!(paths.has_way(at(24), (b, a), LAST, true));
        assert!(!paths.has_way(at(24), (a, b), LAST, false));
        assert!(paths.has_way(at(96), (a, b), LAST, false));
    }

    #[test]
    fn who_has_just_been_heard_of_may_be_missed() {
        let (a, b) = (HostId(0), HostId(1));
        let mut paths = paths(2);
        paths.on_met(at(50), a, b);
        assert!(!paths.is_steady(at(60), a, b) && paths.is_steady(at(60), b, a));
        assert!(paths.is_steady(at(61), a, b));
    }

    #[test]
    fn a_cut_a_restart_a_pause_or_a_loss_explains_a_miss_for_a_while() {
        let (a, b) = (HostId(0), HostId(1));
        let mut paths = paths(2);
        assert!(!paths.is_steady(at(9), a, b) && paths.is_steady(at(11), a, b));
        paths.on_cut(at(100), b, a);
        paths.on_heal(at(101), b, a);
        assert!(!paths.is_steady(at(175), a, b) && paths.is_steady(at(177), a, b));
        paths.on_pause(at(200), a);
        paths.on_unpause(at(201), a);
        assert!(!paths.is_steady(at(275), a, b) && paths.is_steady(at(277), a, b));
        paths.on_lost(at(290), b, a);
        assert!(!paths.is_steady(at(295), a, b) && paths.is_steady(at(296), a, b));
        paths.on_stop(b);
        assert!(!paths.is_steady(at(1_000), a, b));
    }
}
