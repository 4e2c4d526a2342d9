//! The network between the machines: connections with latency, and cuts.
//!
//! A connection is a byte stream, so it loses nothing in the middle: what is sent into a cut is gone,
//! and with it the connection, which breaks for both ends when the cut heals or either hangs up. Until
//! then neither end is told, as with a cable that was pulled.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mesh::id::LinkId;
use mesh::time::Instant;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use crate::world::HostId;

/// How the network behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// One-way delay, drawn evenly from this range for each frame.
    pub latency: (Duration, Duration),
}

impl Default for Config {
    /// One data centre: 0.2 to 0.5 ms.
    fn default() -> Self {
        Self {
            latency: (Duration::from_micros(200), Duration::from_micros(500)),
        }
    }
}

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    /// On which host.
    pub host: HostId,
    /// As that host's machine calls it.
    pub link: LinkId,
}

#[derive(Debug)]
struct Half {
    other: End,
    /// When the last frame sent from this end arrives: frames of one lane keep their order.
    last_arrival: Instant,
    /// A frame of this connection was lost.
    broken: bool,
}

/// All connections and cuts.
#[derive(Debug)]
pub struct Network {
    config: Config,
    halves: BTreeMap<End, Half>,
    cuts: BTreeSet<(HostId, HostId)>,
    next_link: u64,
}

impl Network {
    /// No connections, no cuts.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            halves: BTreeMap::new(),
            cuts: BTreeSet::new(),
            next_link: 1,
        }
    }

    /// How long the next frame takes.
    pub fn latency(&self, rng: &mut ChaCha8Rng) -> Duration {
        let (least, most) = self.config.latency;
        let spread = u64::try_from((most - least).as_micros()).expect("latencies are short");
        least
            + Duration::from_micros(if spread == 0 {
                0
            } else {
                rng.next_u64() % (spread + 1)
            })
    }

    /// Frames from one host no longer reach the other.
    pub fn cut_one_way(&mut self, from: HostId, to: HostId) {
        self.cuts.insert((from, to));
    }

    /// Heals both directions; gives the ends of connections that broke meanwhile.
    pub fn heal(&mut self, a: HostId, b: HostId) -> Vec<End> {
        self.cuts.remove(&(a, b));
        self.cuts.remove(&(b, a));
        let between = |end: &End, half: &Half| {
            let pair = (end.host, half.other.host);
            half.broken && (pair == (a, b) || pair == (b, a))
        };
        let broken: Vec<End> = self
            .halves
            .iter()
            .filter(|(end, half)| between(end, half))
            .map(|(end, _)| *end)
            .collect();
        broken.into_iter().flat_map(|end| self.close(end)).collect()
    }

    /// Whether frames of one host reach the other.
    pub fn passes(&self, from: HostId, to: HostId) -> bool {
        !self.cuts.contains(&(from, to))
    }

    /// Every cut there is.
    pub fn cuts(&self) -> Vec<(HostId, HostId)> {
        self.cuts.iter().copied().collect()
    }

    /// Connects two hosts: the ends, dialler first.
    pub fn connect(&mut self, dialler: HostId, listener: HostId) -> (End, End) {
        let a = End {
            host: dialler,
            link: LinkId(self.next_link),
        };
        let b = End {
            host: listener,
            link: LinkId(self.next_link + 1),
        };
        self.next_link += 2;
        self.halves.insert(
            a,
            Half {
                other: b,
                last_arrival: Instant(0),
                broken: false,
            },
        );
        self.halves.insert(
            b,
            Half {
                other: a,
                last_arrival: Instant(0),
                broken: false,
            },
        );
        (a, b)
    }

    /// A frame is sent: where and when it arrives; `None` where the connection is gone or the frame is
    /// lost in a cut.
    pub fn send(
        &mut self,
        from: End,
        now: Instant,
        rng: &mut ChaCha8Rng,
    ) -> Option<(End, Instant)> {
        let latency = self.latency(rng);
        let half = self.halves.get_mut(&from)?;
        let to = half.other;
        if half.broken || self.cuts.contains(&(from.host, to.host)) {
            half.broken = true;
            return None;
        }
        half.last_arrival = half.last_arrival.max(now + latency);
        Some((to, half.last_arrival))
    }

    /// Whether this end is open.
    pub fn is_open(&self, end: End) -> bool {
        self.halves.contains_key(&end)
    }

    /// Closes a connection: the ends that are to be told. The other end is told nothing through a
    /// cut; its half is broken until that heals.
    pub fn close(&mut self, end: End) -> Vec<End> {
        let Some(half) = self.halves.remove(&end) else {
            return Vec::new();
        };
        let other = half.other;
        let mut told = vec![end];
        if self.passes(end.host, other.host) {
            told.extend(self.halves.remove(&other).map(|_| other));
        } else if let Some(half) = self.halves.get_mut(&other) {
            half.broken = true;
        }
        told
    }

    /// Closes all connections of a host: the other ends.
    pub fn close_host(&mut self, host: HostId) -> Vec<End> {
        let first = End {
            host,
            link: LinkId(0),
        };
        let last = End {
            host,
            link: LinkId(u64::MAX),
        };
        let ends: Vec<End> = self
            .halves
            .range(first..=last)
            .map(|(end, _)| *end)
            .collect();
        ends.into_iter()
            .flat_map(|end| self.close(end))
            .filter(|end| end.host != host)
            .collect()
    }
}
