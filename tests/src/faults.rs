//! What can go wrong with nodes and links: one grammar for all property tests.
//!
//! Numbers of a [`Fault`] are taken modulo what there is, so that every sequence is valid and shrinks
//! well. A [`Scene`] is a world in which faults happen. It remembers whom they touched and when, so
//! that a test can hold all others to it that they notice nothing. Clients are none of its business.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mesh::proto::Config;
use mesh::time::Instant;
use proptest::prelude::*;
use sim::network;
use sim::seed::Probability;
use sim::world::{Backup, HostId, World};

use crate::expect::{healed, is_full_mesh};

/// The most hosts of a scene: with more, what they do takes longer and finds nothing new.
pub const HOSTS_MAX: u16 = 8;

/// One thing that goes wrong, or right again.
#[derive(Debug, Clone)]
pub enum Fault {
    /// A node is killed.
    Crash {
        /// Which.
        host: u16,
    },
    /// Several nodes are killed at one instant.
    CrashMany {
        /// A bit for each.
        hosts: u16,
    },
    /// A dead node is started again, from what it has kept.
    Restart {
        /// Which.
        host: u16,
    },
    /// A node is killed where it runs, and starts again with an empty data directory.
    RestartEmpty {
        /// Which.
        host: u16,
    },
    /// A copy is made of what a node has kept.
    BackUp {
        /// Which.
        host: u16,
    },
    /// A node is killed where it runs, and starts again from the last copy of what it had kept.
    RestartOlder {
        /// Which.
        host: u16,
    },
    /// A node is told to stop, and is gone once it has.
    Stop {
        /// Which.
        host: u16,
    },
    /// A node does nothing from now on; what comes waits.
    Pause {
        /// Which.
        host: u16,
    },
    /// A paused node goes on.
    Resume {
        /// Which.
        host: u16,
    },
    /// Each step of a node takes so long from now on.
    SlowDown {
        /// Which.
        host: u16,
        /// Microseconds. 0: none.
        step_us: u64,
    },
    /// Frames from one host to another fare so from now on.
    Wear {
        /// The sender.
        from: u16,
        /// The receiver.
        to: u16,
        /// How they fare.
        wear: Wear,
    },
    /// All connections between two hosts break, and both are told.
    Reset {
        /// One.
        a: u16,
        /// The other.
        b: u16,
    },
    /// Two hosts do not reach each other any more. With more than two hosts, both go on reaching
    /// others, who reach both.
    Cut {
        /// One.
        a: u16,
        /// The other.
        b: u16,
    },
    /// One direction fails.
    CutOneWay {
        /// Who is not heard any more.
        from: u16,
        /// By whom.
        to: u16,
    },
    /// The hosts are split in two.
    Split {
        /// A bit for each: its side.
        sides: u16,
    },
    /// What was cut between two hosts heals.
    Heal {
        /// One.
        a: u16,
        /// The other.
        b: u16,
    },
    /// A wall clock jumps.
    Skew {
        /// Whose.
        host: u16,
        /// Milliseconds ahead of the true time from now on.
        ms: i64,
    },
    /// A new node comes, which names another as its contact.
    Join {
        /// Whom.
        contact: u16,
    },
    /// Time goes by.
    Wait {
        /// Milliseconds.
        ms: u64,
    },
}

/// What is wrong with one direction of a link.
#[derive(Debug, Clone, Copy)]
pub struct Wear {
    /// Percent of frames that are lost.
    pub loss: u32,
    /// How many of them in a row.
    pub burst: u32,
    /// Percent of frames that come twice.
    pub duplicate: u32,
    /// Percent of frames that are overtaken.
    pub reorder: u32,
    /// Milliseconds by which those come late.
    pub late_ms: u64,
    /// Milliseconds that a frame takes at most.
    pub latency_ms: u64,
    /// Bytes per second.
    pub rate: Option<u64>,
}

impl Wear {
    /// What no node may take for another's death: single losses up to a tenth, and delays that are
    /// short against any silence that counts.
    pub fn is_mild(&self) -> bool {
        let lossy = self.loss > 10 || self.burst > 1 && self.loss > 0;
        let slow = self.latency_ms > 50 || self.late_ms > 50 || self.rate.is_some();
        !lossy && !slow
    }

    /// As the network knows it.
    pub fn config(&self) -> network::Config {
        let percent = |percent: u32| Probability::millionths(percent * 10_000);
        let least = network::Config::default().latency.0;
        network::Config {
            latency: (least, least + Duration::from_millis(self.latency_ms)),
            loss: percent(self.loss),
            burst: self.burst,
            duplicate: percent(self.duplicate),
            reorder: percent(self.reorder),
            late: Duration::from_millis(self.late_ms),
            rate: self.rate,
        }
    }
}

/// Wear that no node may take for another's death.
pub fn mild_wear() -> impl Strategy<Value = Wear> {
    let all = (0..=10_u32, 0..50_u32, 0..50_u32, 1..=50_u64, 0..=50_u64);
    all.prop_map(|(loss, duplicate, reorder, late_ms, latency_ms)| Wear {
        loss,
        burst: 1,
        duplicate,
        reorder,
        late_ms,
        latency_ms,
        rate: None,
    })
}

fn wear() -> impl Strategy<Value = Wear> {
    let or_none = |range: std::ops::Range<u32>| prop_oneof![2 => Just(0), 1 => range];
    let loss = prop_oneof![2 => Just(0), 2 => 1..=10_u32, 1 => 11..=60_u32];
    let burst = prop_oneof![3 => Just(1), 1 => 2..10_u32];
    let late_ms = prop_oneof![3 => 1..=50_u64, 1 => 51..2_000_u64];
    let latency_ms = prop_oneof![3 => 0..=50_u64, 1 => 51..1_000_u64];
    let rate = prop_oneof![5 => Just(None), 1 => (1_000..100_000_u64).prop_map(Some)];
    let all = (
        loss,
        burst,
        or_none(1..50),
        or_none(1..50),
        late_ms,
        latency_ms,
        rate,
    );
    all.prop_map(
        |(loss, burst, duplicate, reorder, late_ms, latency_ms, rate)| Wear {
            loss,
            burst,
            duplicate,
            reorder,
            late_ms,
            latency_ms,
            rate,
        },
    )
}

/// Any fault, with times that matter to the detector, to redials and to logs.
pub fn fault() -> impl Strategy<Value = Fault> {
    use Fault::*;
    let host = any::<u16>;
    prop_oneof![
        30 => passing_fault(),
        1 => host().prop_map(|host| RestartEmpty { host }),
        1 => host().prop_map(|host| BackUp { host }),
        1 => host().prop_map(|host| RestartOlder { host }),
        1 => host().prop_map(|contact| Join { contact }),
    ]
}

/// Any fault that leaves the members and their disks as they are.
pub fn passing_fault() -> impl Strategy<Value = Fault> {
    use Fault::*;
    let host = any::<u16>;
    prop_oneof![
        3 => host().prop_map(|host| Crash { host }),
        1 => any::<u16>().prop_map(|hosts| CrashMany { hosts }),
        3 => host().prop_map(|host| Restart { host }),
        1 => host().prop_map(|host| Stop { host }),
        1 => (host(), prop_oneof![Just(0), 1..20_000_u64])
            .prop_map(|(host, step_us)| SlowDown { host, step_us }),
        3 => (host(), host(), wear()).prop_map(|(from, to, wear)| Wear { from, to, wear }),
        1 => (host(), host()).prop_map(|(a, b)| Reset { a, b }),
        2 => host().prop_map(|host| Pause { host }),
        3 => host().prop_map(|host| Resume { host }),
        3 => (host(), host()).prop_map(|(a, b)| Cut { a, b }),
        3 => (host(), host()).prop_map(|(from, to)| CutOneWay { from, to }),
        1 => any::<u16>().prop_map(|sides| Split { sides }),
        3 => (host(), host()).prop_map(|(a, b)| Heal { a, b }),
        1 => (host(), -40_000..40_000_i64).prop_map(|(host, ms)| Skew { host, ms }),
        3 => (1..40_u64).prop_map(|ms| Wait { ms }),
        6 => (1..4_000_u64).prop_map(|ms| Wait { ms }),
        2 => (4_000..20_000_u64).prop_map(|ms| Wait { ms }),
    ]
}

/// A world in which faults happen.
#[derive(Debug)]
pub struct Scene {
    /// The world. Faults are left to [`Scene::apply`], so that it knows of them.
    pub world: World,
    config: Config,
    paused: BTreeSet<HostId>,
    /// Told to stop, and not gone yet.
    stopping: BTreeSet<HostId>,
    /// When a fault was last done to a host, or undone.
    touched: BTreeMap<HostId, Instant>,
    /// The same for what is between two hosts, the smaller first.
    torn: BTreeMap<(HostId, HostId), Instant>,
    /// What is cut now.
    cuts: BTreeSet<(HostId, HostId)>,
    /// All links are worn mildly, all the time.
    worn_everywhere: bool,
    /// What else is worn now, and whether only mildly.
    worn: BTreeMap<(HostId, HostId), bool>,
    slow: BTreeSet<HostId>,
    backups: BTreeMap<HostId, Backup>,
    /// Who has lost what it kept, or got back what it had kept before.
    forgetful: BTreeSet<HostId>,
}

impl Scene {
    /// So many nodes, each of which names the one before it, on links that are worn mildly or not at
    /// all. Running.
    pub fn new(seed: u64, hosts: u16, config: &Config, wear: Option<Wear>) -> Self {
        assert!(wear.is_none_or(|wear| wear.is_mild()), "{wear:?}");
        let network = wear.map_or_else(network::Config::default, |wear| wear.config());
        let mut scene = Self {
            world: World::new(seed, network),
            worn_everywhere: wear.is_some(),
            config: config.clone(),
            paused: BTreeSet::new(),
            stopping: BTreeSet::new(),
            touched: BTreeMap::new(),
            torn: BTreeMap::new(),
            cuts: BTreeSet::new(),
            worn: BTreeMap::new(),
            slow: BTreeSet::new(),
            backups: BTreeMap::new(),
            forgetful: BTreeSet::new(),
        };
        for n in 0..hosts {
            scene.join(n.checked_sub(1).map(HostId));
        }
        scene
    }

    /// The host that a number stands for.
    pub fn host(&self, n: u16) -> HostId {
        HostId(n % self.count())
    }

    /// All hosts.
    pub fn hosts(&self) -> Vec<HostId> {
        self.world.hosts().collect()
    }

    fn count(&self) -> u16 {
        u16::try_from(self.world.hosts().count()).expect("few hosts")
    }

    /// Whether a host's node runs and is not paused or told to stop.
    pub fn is_up(&self, host: HostId) -> bool {
        self.world.mesh(host).is_some()
            && !self.paused.contains(&host)
            && !self.stopping.contains(&host)
    }

    /// Whether what is between two hosts is worn, if only mildly.
    pub fn is_worn(&self, a: HostId, b: HostId) -> bool {
        let worn = |way| self.worn.contains_key(way);
        self.worn_everywhere || [(a, b), (b, a)].iter().any(worn)
    }

    /// Since when no fault touches two hosts and what is between them but for mild wear; `None`: one
    /// does.
    pub fn clear_since(&self, a: HostId, b: HostId) -> Option<Instant> {
        let broken = |way: &(HostId, HostId)| {
            self.cuts.contains(way) || self.worn.get(way).is_some_and(|mild| !mild)
        };
        let slow = [a, b].iter().any(|host| self.slow.contains(host));
        let up = self.is_up(a) && self.is_up(b);
        if [(a, b), (b, a)].iter().any(broken) || slow || !up {
            return None;
        }
        let torn = self.torn.get(&(a.min(b), a.max(b)));
        let touched = [a, b].map(|host| self.touched.get(&host));
        let last = touched.into_iter().chain([torn]).flatten().max();
        Some(last.copied().unwrap_or(Instant(0)))
    }

    /// A fault happens. `Wait` takes its time; all others take none.
    pub fn apply(&mut self, fault: &Fault) {
        match *fault {
            Fault::Crash { host } => self.crash(self.host(host)),
            Fault::CrashMany { hosts } => {
                for host in self.hosts() {
                    if chosen(hosts, host) {
                        self.crash(host);
                    }
                }
            }
            Fault::Restart { host } => self.restart(self.host(host)),
            Fault::RestartEmpty { host } => {
                let host = self.host(host);
                self.crash(host);
                self.world.lose_data(host);
                self.forgetful.insert(host);
                self.restart(host);
            }
            Fault::BackUp { host } => {
                let host = self.host(host);
                self.backups.insert(host, self.world.back_up(host));
            }
            Fault::RestartOlder { host } => {
                let host = self.host(host);
                if let Some(backup) = self.backups.remove(&host) {
                    self.crash(host);
                    self.world.restore(host, backup);
                    self.forgetful.insert(host);
                    self.restart(host);
                }
            }
            Fault::Stop { host } => self.stop(self.host(host)),
            Fault::SlowDown { host, step_us } => self.slow_down(self.host(host), step_us),
            Fault::Wear { from, to, wear } => {
                self.wear(self.host(from), self.host(to), Some(wear));
            }
            Fault::Reset { a, b } => {
                let (a, b) = (self.host(a), self.host(b));
                self.tear(a, b);
                self.world.reset(a, b);
            }
            Fault::Pause { host } => self.pause(self.host(host)),
            Fault::Resume { host } => self.resume(self.host(host)),
            Fault::Cut { a, b } => {
                let (a, b) = (self.host(a), self.host(b));
                self.cut_one_way(a, b);
                self.cut_one_way(b, a);
            }
            Fault::CutOneWay { from, to } => self.cut_one_way(self.host(from), self.host(to)),
            Fault::Split { sides } => self.split(sides),
            Fault::Heal { a, b } => self.heal(self.host(a), self.host(b)),
            Fault::Skew { host, ms } => self.world.skew(self.host(host), ms),
            Fault::Join { contact } => {
                if self.count() < HOSTS_MAX {
                    self.join(Some(self.host(contact)));
                }
            }
            Fault::Wait { ms } => self.run_for(Duration::from_millis(ms)),
        }
    }

    /// Time goes by; nodes that have stopped meanwhile are gone, and those that halted start again.
    pub fn run_for(&mut self, duration: Duration) {
        self.world.run_for(duration);
        let stopped = |host: &HostId| self.world.has_stopped(*host);
        let gone: Vec<HostId> = self.stopping.iter().copied().filter(stopped).collect();
        gone.into_iter().for_each(|host| self.crash(host));
        self.revive();
    }

    /// Starts nodes that halted again, as a supervisor does: after they have written down which epoch
    /// others know of them.
    ///
    /// # Panics
    /// Where one halted that has never lost what it keeps: nothing can make it look like a copy.
    fn revive(&mut self) {
        for host in self.hosts() {
            if let Some(halt) = self.world.halted(host).cloned()
                && self.world.mesh(host).is_none()
            {
                assert!(self.forgetful.contains(&host), "{host:?} halted: {halt:?}");
                self.paused.remove(&host);
                self.stopping.remove(&host);
                self.restart(host);
            }
        }
    }

    /// The faults are over: what was cut heals, who is paused goes on, and who is dead or about to stop
    /// comes back.
    pub fn heal_all(&mut self) {
        for (a, b) in self.cuts.clone() {
            self.heal(a, b);
        }
        for (from, to) in self.worn.keys().copied().collect::<Vec<_>>() {
            self.wear(from, to, None);
        }
        for host in self.hosts() {
            self.resume(host);
            self.slow_down(host, 0);
            if self.stopping.contains(&host) {
                self.crash(host);
            }
            self.restart(host);
        }
    }

    /// Runs until all hosts see each other, and what is asked for holds too; false: not within the
    /// bound.
    pub fn settle(&mut self, mut holds: impl FnMut(&World) -> bool) -> bool {
        let hosts = self.hosts();
        let end = self.world.now() + healed(&self.config);
        loop {
            let mut settled = false;
            let rest = end.since(self.world.now());
            self.world.run_until(rest, |world| {
                let halted = |host: &HostId| world.halted(*host).is_some();
                settled = is_full_mesh(world, &hosts) && holds(world);
                settled || hosts.iter().any(halted)
            });
            if settled || end <= self.world.now() {
                return settled;
            }
            self.revive();
        }
    }

    fn touch(&mut self, host: HostId) {
        self.touched.insert(host, self.world.now());
    }

    fn tear(&mut self, a: HostId, b: HostId) {
        self.torn.insert((a.min(b), a.max(b)), self.world.now());
    }

    fn join(&mut self, contact: Option<HostId>) {
        let contacts: Vec<HostId> = contact.into_iter().collect();
        let host = self.world.add_host(self.config.clone(), &contacts);
        self.restart(host);
    }

    fn crash(&mut self, host: HostId) {
        if self.world.mesh(host).is_some() {
            self.touch(host);
            self.paused.remove(&host);
            self.stopping.remove(&host);
            self.world.crash(host);
        }
    }

    fn restart(&mut self, host: HostId) {
        if self.world.mesh(host).is_none() {
            self.touch(host);
            self.world.start(host);
        }
    }

    fn stop(&mut self, host: HostId) {
        if self.is_up(host) {
            self.touch(host);
            self.stopping.insert(host);
            self.world.stop(host);
        }
    }

    fn pause(&mut self, host: HostId) {
        if self.world.mesh(host).is_some() && self.paused.insert(host) {
            self.touch(host);
            self.world.pause(host);
        }
    }

    fn resume(&mut self, host: HostId) {
        if self.paused.remove(&host) {
            self.touch(host);
            self.world.unpause(host);
        }
    }

    fn slow_down(&mut self, host: HostId, step_us: u64) {
        let changed = match step_us {
            0 => self.slow.remove(&host),
            _ => self.slow.insert(host),
        };
        if changed {
            self.touch(host);
        }
        self.world.slow_down(host, Duration::from_micros(step_us));
    }

    fn wear(&mut self, from: HostId, to: HostId, wear: Option<Wear>) {
        if from == to {
            return;
        }
        let mild = wear.map(|wear| wear.is_mild());
        let before = match mild {
            Some(mild) => self.worn.insert((from, to), mild),
            None => self.worn.remove(&(from, to)),
        };
        if before == Some(false) || mild == Some(false) {
            self.tear(from, to);
        }
        let conditions = wear.map(|wear| wear.config());
        self.world.network_mut().set_special(from, to, conditions);
    }

    fn cut_one_way(&mut self, from: HostId, to: HostId) {
        if from != to {
            self.tear(from, to);
            self.cuts.insert((from, to));
            self.world.cut_one_way(from, to);
        }
    }

    fn split(&mut self, sides: u16) {
        let hosts = self.hosts();
        for (a, b) in hosts
            .iter()
            .flat_map(|a| hosts.iter().map(move |b| (*a, *b)))
        {
            if chosen(sides, a) != chosen(sides, b) {
                self.cut_one_way(a, b);
            }
        }
    }

    fn heal(&mut self, a: HostId, b: HostId) {
        let cut = self.cuts.remove(&(a, b)) | self.cuts.remove(&(b, a));
        if cut {
            self.tear(a, b);
            self.world.heal(a, b);
        }
    }
}

fn chosen(mask: u16, host: HostId) -> bool {
    mask.checked_shr(host.0.into()).unwrap_or(0) & 1 == 1
}
