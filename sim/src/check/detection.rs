//! How soon the death of a node was noticed, and which deaths were none.

use std::collections::BTreeSet;
use std::time::Duration;

use mesh::time::Instant;

use crate::world::HostId;

/// One crash, and who noticed it when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// Whose node.
    pub host: HostId,
    /// When it crashed.
    pub at: Instant,
    /// Until each of those that had it alive called it down, ascending.
    pub noticed: Vec<Duration>,
    /// Those that have not, and still run. Final once the host has started again.
    pub unaware: BTreeSet<HostId>,
}

/// A node was called down that ran and could be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FalseDeath {
    /// When.
    pub at: Instant,
    /// By whom.
    pub by: HostId,
    /// Who.
    pub of: HostId,
}

/// All deaths so far.
#[derive(Debug, Default)]
pub struct Detection {
    /// In the order of the crashes.
    pub deaths: Vec<Death>,
    /// In the order in which they were told.
    pub false_deaths: Vec<FalseDeath>,
    /// Indexes of the deaths whose host has not started again.
    open: BTreeSet<usize>,
}

impl Detection {
    /// Until the last of those that had it alive called a crashed node down, for each crash that all
    /// of them noticed.
    pub fn last_noticed(&self) -> impl Iterator<Item = Duration> + '_ {
        let whole = self.deaths.iter().filter(|death| death.unaware.is_empty());
        whole.filter_map(|death| death.noticed.last().copied())
    }

    pub(super) fn on_crash(&mut self, at: Instant, host: HostId, watchers: BTreeSet<HostId>) {
        for open in &self.open {
            self.deaths[*open].unaware.remove(&host);
        }
        self.open.insert(self.deaths.len());
        self.deaths.push(Death {
            host,
            at,
            noticed: Vec::new(),
            unaware: watchers,
        });
    }

    pub(super) fn on_start(&mut self, host: HostId) {
        let deaths = &self.deaths;
        self.open.retain(|open| deaths[*open].host != host);
    }

    pub(super) fn on_down(&mut self, at: Instant, by: HostId, of: HostId) {
        for open in &self.open {
            let death = &mut self.deaths[*open];
            if death.host == of && death.unaware.remove(&by) {
                death.noticed.push(at.since(death.at));
            }
        }
    }

    pub(super) fn on_false_death(&mut self, at: Instant, by: HostId, of: HostId) {
        self.false_deaths.push(FalseDeath { at, by, of });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_is_noticed_once_all_who_had_it_alive_and_still_run_call_it_down() {
        let mut detection = Detection::default();
        let hosts = |hosts: &[u16]| hosts.iter().copied().map(HostId).collect();
        detection.on_crash(Instant(0), HostId(0), hosts(&[1, 2, 3]));
        detection.on_down(Instant(1_000), HostId(2), HostId(0));
        detection.on_crash(Instant(1_500), HostId(3), hosts(&[1, 2]));
        assert_eq!(detection.last_noticed().count(), 0);
        detection.on_down(Instant(2_000), HostId(1), HostId(0));
        detection.on_down(Instant(9_000), HostId(1), HostId(0));
        let last: Vec<_> = detection.last_noticed().collect();
        assert_eq!(last, [Duration::from_millis(2)]);
        assert_eq!(detection.deaths[1].unaware, hosts(&[1, 2]));
    }
}
