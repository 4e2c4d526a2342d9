//! The network between the machines: connections with latency, loss, duplicates, limits, and cuts.
//!
//! A connection has a lane for each kind of frame; a lane keeps its order but where the network is told
//! to break it. What is sent into a cut is gone, and with it the connection, which breaks for both ends
//! when the cut heals or either hangs up; until then neither end is told, as with a cable that was
//! pulled. Loss takes single frames and leaves the connection, as a full outbox does: harsher than a
//! byte stream, which would only be late.

mod conditions;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mesh::id::LinkId;
use mesh::time::Instant;
use mesh::wire::Lane;

pub use conditions::Config;

use crate::seed::Chance;
use crate::world::HostId;

/// What waits before a limited link: longer than this, and frames are dropped as by a full outbox, but
/// on the bulk lane, whose frames wait.
const BACKLOG: Duration = Duration::from_secs(1);

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    /// On which host.
    pub host: HostId,
    /// As that host's machine calls it.
    pub link: LinkId,
}

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It arrives.
    Arrives {
        /// Where.
        to: End,
        /// When.
        at: Instant,
        /// When it arrives once more.
        again: Option<Instant>,
    },
    /// It is lost, and nothing else.
    Lost {
        /// Where it would have arrived.
        to: End,
    },
    /// It went into a cut or a broken connection.
    Cut {
        /// Where it would have arrived.
        to: End,
    },
    /// The connection is gone.
    Gone,
}

#[derive(Debug)]
struct Half {
    other: End,
    /// When the last frame of each lane sent from this end arrives.
    arrivals: [Instant; Lane::ALL.len()],
    /// Frames are being lost in a burst.
    losing: bool,
    /// A frame of this connection went into a cut.
    broken: bool,
}

impl Half {
    fn new(other: End) -> Self {
        Self {
            other,
            arrivals: [Instant(0); Lane::ALL.len()],
            losing: false,
            broken: false,
        }
    }
}

/// All connections and cuts.
#[derive(Debug)]
pub struct Network {
    config: Config,
    /// Where it differs: of frames from the one to the other.
    special: BTreeMap<(HostId, HostId), Config>,
    /// Until when a limited link is busy with what was sent.
    busy: BTreeMap<(HostId, HostId), Instant>,
    /// By link, all that ever were: each frame looks for two of them. `None`: closed.
    halves: Vec<Option<Half>>,
    /// Those that are open, by host.
    ends: BTreeSet<End>,
    cuts: BTreeSet<(HostId, HostId)>,
    chance: Chance,
}

impl Network {
    /// No connections, no cuts.
    pub fn new(config: Config, chance: Chance) -> Self {
        Self {
            config,
            special: BTreeMap::new(),
            busy: BTreeMap::new(),
            halves: Vec::new(),
            ends: BTreeSet::new(),
            cuts: BTreeSet::new(),
            chance,
        }
    }

    /// How it behaves where nothing else was said.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// From now on it behaves so, where nothing else was said of a link.
    pub fn set_config(&mut self, config: Config) {
        self.config = config;
    }

    /// From now on frames from one host to the other fare so; `None`: as all others.
    pub fn set_special(&mut self, from: HostId, to: HostId, config: Option<Config>) {
        match config {
            Some(config) => self.special.insert((from, to), config),
            None => self.special.remove(&(from, to)),
        };
    }

    /// All links fare alike again.
    pub fn clear_special(&mut self) {
        self.special.clear();
    }

    fn conditions(&self, from: HostId, to: HostId) -> Config {
        let special = self.special.get(&(from, to));
        *special.unwrap_or(&self.config)
    }

    /// How long something takes that no connection carries: a dial, the news of a break.
    pub fn latency(&mut self) -> Duration {
        self.chance.duration(self.config.latency)
    }

    /// Frames from one host no longer reach the other.
    pub fn cut_one_way(&mut self, from: HostId, to: HostId) {
        self.cuts.insert((from, to));
    }

    /// Heals both directions; gives the ends of connections that broke meanwhile.
    pub fn heal(&mut self, a: HostId, b: HostId) -> Vec<End> {
        self.cuts.remove(&(a, b));
        self.cuts.remove(&(b, a));
        let broken = self.ends_between(a, b, |half| half.broken);
        broken.into_iter().flat_map(|end| self.close(end)).collect()
    }

    /// All connections between two hosts break: their ends.
    pub fn reset(&mut self, a: HostId, b: HostId) -> Vec<End> {
        let all = self.ends_between(a, b, |_| true);
        all.into_iter().flat_map(|end| self.close(end)).collect()
    }

    fn ends_between(&self, a: HostId, b: HostId, which: impl Fn(&Half) -> bool) -> Vec<End> {
        let from = |host: HostId, to: HostId| {
            let ends = self.ends.range(ends_of(host)).copied();
            ends.filter(move |end| self.peer(*end) == Some(to))
        };
        from(a, b)
            .chain(from(b, a))
            .filter(|end| self.half(*end).is_some_and(&which))
            .collect()
    }

    /// Whether frames of one host reach the other.
    pub fn passes(&self, from: HostId, to: HostId) -> bool {
        self.cuts.is_empty() || !self.cuts.contains(&(from, to))
    }

    /// Every cut there is.
    pub fn cuts(&self) -> Vec<(HostId, HostId)> {
        self.cuts.iter().copied().collect()
    }

    /// Connects two hosts: the ends, dialler first.
    pub fn connect(&mut self, dialler: HostId, listener: HostId) -> (End, End) {
        let link = self.halves.len() as u64;
        let end = |host, link| End {
            host,
            link: LinkId(link),
        };
        let (a, b) = (end(dialler, link), end(listener, link + 1));
        self.halves
            .extend([b, a].map(|other| Some(Half::new(other))));
        self.ends.extend([a, b]);
        (a, b)
    }

    /// A frame of so many bytes is sent: what becomes of it.
    pub fn send(&mut self, from: End, lane: Lane, bytes: usize, now: Instant) -> Fate {
        let Some(to) = self.half(from).map(|half| half.other) else {
            return Fate::Gone;
        };
        let passes = self.passes(from.host, to.host);
        let conditions = self.conditions(from.host, to.host);
        let half = self.halves[place(from)].as_mut().expect("found before");
        if half.broken || !passes {
            half.broken = true;
            return Fate::Cut { to };
        }
        if conditions.loses(&mut half.losing, &mut self.chance) {
            return Fate::Lost { to };
        }
        let mut sent = now;
        if let Some(takes) = conditions.sending_takes(bytes) {
            let busy = self.busy.entry((from.host, to.host)).or_default();
            if now + BACKLOG < *busy && lane != Lane::Bulk {
                return Fate::Lost { to };
            }
            *busy = now.max(*busy) + takes;
            sent = *busy;
        }
        let late = conditions.overtaken(&mut self.chance);
        let arrival = sent + self.chance.duration(conditions.latency);
        let last = &mut half.arrivals[lane as usize];
        let at = match late {
            Some(late) => arrival + late,
            None => {
                *last = arrival.max(*last);
                *last
            }
        };
        let again = conditions
            .repeated(&mut self.chance)
            .map(|later| at + later);
        Fate::Arrives { to, at, again }
    }

    /// Whether this end is open.
    pub fn is_open(&self, end: End) -> bool {
        self.half(end).is_some()
    }

    /// To which host a connection leads; `None`: this end is closed.
    pub fn peer(&self, end: End) -> Option<HostId> {
        self.half(end).map(|half| half.other.host)
    }

    fn half(&self, end: End) -> Option<&Half> {
        self.halves.get(place(end))?.as_ref()
    }

    fn take(&mut self, end: End) -> Option<Half> {
        self.ends.remove(&end);
        self.halves.get_mut(place(end))?.take()
    }

    /// Closes a connection: the ends that are to be told. The other end is told nothing through a
    /// cut; its half is broken until that heals.
    pub fn close(&mut self, end: End) -> Vec<End> {
        let Some(half) = self.take(end) else {
            return Vec::new();
        };
        let other = half.other;
        let mut told = vec![end];
        if self.passes(end.host, other.host) {
            told.extend(self.take(other).map(|_| other));
        } else if let Some(half) = &mut self.halves[place(other)] {
            half.broken = true;
        }
        told
    }

    /// A host is without power: its ends are gone, and the others are told nothing.
    pub fn silence_host(&mut self, host: HostId) {
        let ends: Vec<End> = self.ends.range(ends_of(host)).copied().collect();
        for end in ends {
            let other = self.take(end).map(|half| place(half.other));
            if let Some(half) = other.and_then(|other| self.halves[other].as_mut()) {
                half.broken = true;
            }
        }
    }

    /// Closes all connections of a host: the other ends.
    pub fn close_host(&mut self, host: HostId) -> Vec<End> {
        let ends: Vec<End> = self.ends.range(ends_of(host)).copied().collect();
        ends.into_iter()
            .flat_map(|end| self.close(end))
            .filter(|end| end.host != host)
            .collect()
    }
}

/// Where the half of an end is: links are counted up from 0, over all hosts.
fn place(end: End) -> usize {
    usize::try_from(end.link.0).expect("as many links as fit into memory")
}

fn ends_of(host: HostId) -> std::ops::RangeInclusive<End> {
    let end = |link| End {
        host,
        link: LinkId(link),
    };
    end(0)..=end(u64::MAX)
}

#[cfg(test)]
mod tests;
