//! What goes wrong: which faults a run has and how often is drawn from the seed, so that each seed is
//! another bad day; every fault ends after a while, or when everything is healed.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh::time::Instant;

use crate::network;
use crate::options::Level;
use crate::queue::Queue;
use crate::seed::{Chance, Probability};
use crate::world::{Backup, HostId, World};

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A node is killed; it starts again later.
    Crash,
    /// The same, and its data directory is lost meanwhile.
    LostData,
    /// The same, and its data directory is put back from an older copy.
    OldData,
    /// The same, but its peers are not told: to them it falls silent.
    PowerOff,
    /// A tenth to a half of all nodes are killed at once.
    MassCrash,
    /// A node is told to stop, and started again.
    Stop,
    /// A node does nothing for a while.
    Pause,
    /// A node is slow for a while.
    Slow,
    /// A wall clock goes wrong.
    Skew,
    /// Two nodes cannot reach each other.
    Cut,
    /// One node's frames no longer reach another.
    OneWay,
    /// The mesh falls into two halves.
    Split,
    /// A connection breaks.
    Reset,
    /// A link fares badly: late, lossy, out of order, or limited.
    BadLink,
}

impl Fault {
    /// All kinds, from the mild to the harsh.
    pub const ALL: [Self; 14] = [
        Self::Reset,
        Self::Crash,
        Self::Stop,
        Self::Pause,
        Self::Cut,
        Self::OneWay,
        Self::BadLink,
        Self::Slow,
        Self::Skew,
        Self::PowerOff,
        Self::LostData,
        Self::OldData,
        Self::Split,
        Self::MassCrash,
    ];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::PowerOff => "power off",
            Self::LostData => "lost data",
            Self::OldData => "old data",
            Self::MassCrash => "mass crash",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::Slow => "slow node",
            Self::Skew => "clock skew",
            Self::Cut => "cut",
            Self::OneWay => "one-way cut",
            Self::Split => "split",
            Self::Reset => "reset",
            Self::BadLink => "bad link",
        }
    }
}

/// How often each fault happens: the mean time between two.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rates {
    every: BTreeMap<Fault, Duration>,
    /// How long a fault lasts, least and most.
    lasting: (Duration, Duration),
}

impl Rates {
    /// Half of the kinds of that level, each as often as the seed wills.
    pub fn draw(level: Level, chance: &mut Chance) -> Self {
        let (kinds, seconds, lasting) = match level {
            Level::None => return Self::default(),
            Level::Light => (&Fault::ALL[..10], (10, 60), (200, 8_000)),
            Level::Heavy => (&Fault::ALL[..], (3, 30), (50, 20_000)),
        };
        let ms = Duration::from_millis;
        let mut every = BTreeMap::new();
        for &kind in kinds {
            let seconds = chance.within(seconds);
            if chance.happens(Probability::percent(50)) {
                every.insert(kind, Duration::from_secs(seconds));
            }
        }
        Self {
            every,
            lasting: (ms(lasting.0), ms(lasting.1)),
        }
    }

    /// Each kind that happens, and the mean time between two.
    pub fn all(&self) -> impl Iterator<Item = (Fault, Duration)> + '_ {
        self.every.iter().map(|(fault, every)| (*fault, *every))
    }
}

/// The most that a wall clock goes wrong, ms: well within what peers refuse (120 s).
const SKEW_MS: u64 = 40_000;

/// What ends a fault.
#[derive(Debug)]
enum Remedy {
    Start(HostId, Option<Backup>),
    Unpause(HostId),
    Quicken(HostId),
    Heal(HostId, HostId),
    HealSplit(Vec<HostId>, Vec<HostId>),
    Repair(HostId, HostId),
}

#[derive(Debug)]
enum Deed {
    Strike(Fault),
    Relieve(Remedy),
}

/// Faults as they come and go.
#[derive(Debug)]
pub struct Misfortune {
    rates: Rates,
    agenda: Queue<Deed>,
    chance: Chance,
    /// Told to stop, not gone yet; with what follows.
    stopping: BTreeMap<HostId, Duration>,
    backups: BTreeMap<HostId, Backup>,
    counts: BTreeMap<&'static str, u64>,
}

impl Misfortune {
    /// From now on things go wrong at these rates.
    pub fn new(rates: Rates, chance: Chance, now: Instant) -> Self {
        let mut misfortune = Self {
            agenda: Queue::default(),
            chance,
            stopping: BTreeMap::new(),
            backups: BTreeMap::new(),
            counts: BTreeMap::new(),
            rates,
        };
        let kinds: Vec<Fault> = misfortune.rates.all().map(|(fault, _)| fault).collect();
        kinds
            .into_iter()
            .for_each(|fault| misfortune.plan(fault, now));
        misfortune
    }

    /// When the next thing goes wrong, or right again.
    pub fn next_at(&self) -> Option<Instant> {
        self.agenda.next_at()
    }

    /// What happened so far, by name.
    pub fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    /// All that is due.
    pub fn act(&mut self, world: &mut World) {
        while let Some((at, deed)) = self.agenda.pop(world.now()) {
            match deed {
                Deed::Strike(fault) => {
                    self.plan(fault, at);
                    self.strike(world, fault);
                    if fault == Fault::OldData {
                        self.back_up(world);
                    }
                }
                Deed::Relieve(remedy) => self.relieve(world, remedy),
            }
        }
        self.look_after_stopping(world);
    }

    /// Everything that is wrong ends now, and nothing goes wrong any more.
    pub fn heal(&mut self, world: &mut World) {
        let hosts: Vec<HostId> = world.hosts().collect();
        self.rates = Rates::default();
        while let Some((_, deed)) = self.agenda.pop(Instant(u64::MAX)) {
            if let Deed::Relieve(Remedy::Start(host, Some(backup))) = deed
                && !world.is_up(host)
            {
                world.restore(host, backup);
            }
        }
        world.heal_all();
        for host in hosts {
            world.unpause(host);
            world.slow_down(host, Duration::ZERO);
            world.skew(host, 0);
            if self.stopping.remove(&host).is_some() {
                world.crash(host);
            }
            self.start(world, host);
        }
        world.network_mut().clear_special();
        let calm = world.network().config().calm();
        world.network_mut().set_config(calm);
    }

    /// A fault happens.
    pub fn strike(&mut self, world: &mut World, fault: Fault) {
        let lasting = self.chance.duration(self.rates.lasting);
        let struck = match fault {
            Fault::Crash | Fault::PowerOff | Fault::LostData | Fault::OldData => {
                self.kill(world, fault, lasting)
            }
            Fault::Stop => {
                if let Some(host) = self.victim(world) {
                    self.stop(world, host, lasting);
                }
                None
            }
            Fault::Pause | Fault::Slow | Fault::Skew => self.hinder(world, fault, lasting),
            Fault::Cut | Fault::OneWay | Fault::Reset | Fault::BadLink => {
                self.disturb(world, fault, lasting)
            }
            Fault::MassCrash => {
                let share = u32::try_from(self.chance.within((10, 50))).expect("50 at most");
                self.kill_share(world, Fault::Crash, Probability::percent(share), lasting);
                None
            }
            Fault::Split => {
                self.split(world, Probability::percent(50), lasting);
                None
            }
        };
        if struck.is_some() {
            self.count(fault.name());
        }
    }

    /// Copies every data directory, for the next time that one comes back older than it was.
    pub fn back_up(&mut self, world: &World) {
        let copies = world.hosts().map(|host| (host, world.back_up(host)));
        self.backups = copies.collect();
    }

    fn count(&mut self, name: &'static str) {
        *self.counts.entry(name).or_default() += 1;
    }

    fn plan(&mut self, fault: Fault, from: Instant) {
        let Some(every) = self.rates.every.get(&fault) else {
            return;
        };
        let after = self.chance.duration((Duration::ZERO, *every * 2));
        self.agenda.plan(from + after, Deed::Strike(fault));
    }

    fn relieve_after(&mut self, world: &World, after: Duration, remedy: Remedy) {
        self.agenda.plan(world.now() + after, Deed::Relieve(remedy));
    }

    fn victim(&mut self, world: &World) -> Option<HostId> {
        let running: Vec<HostId> = world.hosts().filter(|host| world.runs(*host)).collect();
        self.chance.pick(&running).copied()
    }

    fn pair(&mut self, world: &World) -> Option<(HostId, HostId)> {
        let a = self.victim(world)?;
        let others: Vec<HostId> = world.hosts().filter(|host| *host != a).collect();
        Some((a, *self.chance.pick(&others)?))
    }

    fn kill(&mut self, world: &mut World, fault: Fault, lasting: Duration) -> Option<()> {
        let host = self.victim(world)?;
        let backup = if fault == Fault::OldData {
            self.backups.get(&host).cloned()
        } else {
            (fault == Fault::LostData).then(Backup::default)
        };
        end_life(world, fault, host);
        self.relieve_after(world, lasting, Remedy::Start(host, backup));
        Some(())
    }

    /// Kills a share of the nodes that run, at least one, in that way; they start again after so long.
    pub fn kill_share(
        &mut self,
        world: &mut World,
        fault: Fault,
        share: Probability,
        lasting: Duration,
    ) {
        let mut running: Vec<HostId> = world.hosts().filter(|host| world.runs(*host)).collect();
        let millionths = share.as_millionths() as usize;
        let count = (running.len() * millionths).div_ceil(1_000_000);
        for _ in 0..count {
            let at = self.chance.below(running.len() as u64) as usize;
            let host = running.swap_remove(at);
            end_life(world, fault, host);
            self.relieve_after(world, lasting, Remedy::Start(host, None));
            self.count(fault.name());
        }
    }

    /// Tells a node to stop; once it has, it starts again after so long.
    pub fn stop(&mut self, world: &mut World, host: HostId, lasting: Duration) {
        if world.runs(host) {
            world.stop(host);
            self.stopping.insert(host, lasting);
            self.count(Fault::Stop.name());
        }
    }

    /// Starts a node that is not up.
    pub fn start(&mut self, world: &mut World, host: HostId) {
        if !world.is_up(host) {
            world.start(host);
            self.count("start");
        }
    }

    /// Who was told to stop and has is gone.
    fn look_after_stopping(&mut self, world: &mut World) {
        let stopped = |(host, _): &(&HostId, &Duration)| world.has_stopped(**host);
        let done: Vec<(HostId, Duration)> = self
            .stopping
            .iter()
            .filter(stopped)
            .map(|(h, d)| (*h, *d))
            .collect();
        for (host, lasting) in done {
            self.stopping.remove(&host);
            world.crash(host);
            self.relieve_after(world, lasting, Remedy::Start(host, None));
        }
    }

    fn hinder(&mut self, world: &mut World, fault: Fault, lasting: Duration) -> Option<()> {
        let host = self.victim(world)?;
        if fault == Fault::Pause {
            world.pause(host);
            self.relieve_after(world, lasting, Remedy::Unpause(host));
        } else if fault == Fault::Slow {
            let step = self.chance.within((50, 2_000));
            world.slow_down(host, Duration::from_micros(step));
            self.relieve_after(world, lasting, Remedy::Quicken(host));
        } else {
            let ms = i64::try_from(self.chance.within((0, 2 * SKEW_MS))).expect("small");
            world.skew(host, ms - SKEW_MS as i64);
        }
        Some(())
    }

    fn disturb(&mut self, world: &mut World, fault: Fault, lasting: Duration) -> Option<()> {
        let (a, b) = self.pair(world)?;
        if fault == Fault::Reset {
            world.reset(a, b);
        } else if fault == Fault::BadLink {
            let worse = self.bad_link(*world.network().config());
            world.set_link(a, b, Some(worse));
            self.relieve_after(world, lasting, Remedy::Repair(a, b));
        } else {
            world.cut_one_way(a, b);
            if fault == Fault::Cut {
                world.cut_one_way(b, a);
            }
            self.relieve_after(world, lasting, Remedy::Heal(a, b));
        }
        Some(())
    }

    fn bad_link(&mut self, usual: network::Config) -> network::Config {
        let mut share = |most| {
            let drawn = u32::try_from(self.chance.within((0, most))).expect("a share of a million");
            Probability::millionths(drawn)
        };
        network::Config {
            loss: share(400_000),
            burst: 4,
            duplicate: share(200_000),
            reorder: share(200_000),
            late: Duration::from_millis(self.chance.within((10, 500))),
            rate: self
                .chance
                .happens(Probability::percent(30))
                .then_some(20_000),
            ..usual
        }
    }

    /// The mesh falls apart: a share of the hosts cannot reach the others, for so long.
    pub fn split(&mut self, world: &mut World, share: Probability, lasting: Duration) {
        let mut others: Vec<HostId> = world.hosts().collect();
        let count = others.len() as u64 * u64::from(share.as_millionths());
        let count = count.div_ceil(1_000_000).min(others.len() as u64 - 1);
        let some: Vec<HostId> = (0..count)
            .map(|_| others.swap_remove(self.chance.below(others.len() as u64) as usize))
            .collect();
        world.split(&some, &others);
        self.relieve_after(world, lasting, Remedy::HealSplit(some, others));
        self.count(Fault::Split.name());
    }

    /// Two hosts cannot reach each other for so long.
    pub fn cut(&mut self, world: &mut World, a: HostId, b: HostId, lasting: Duration) {
        world.cut(a, b);
        self.relieve_after(world, lasting, Remedy::Heal(a, b));
        self.count(Fault::Cut.name());
    }

    fn relieve(&mut self, world: &mut World, remedy: Remedy) {
        match remedy {
            Remedy::Start(host, backup) => {
                if let Some(backup) = backup.filter(|_| !world.is_up(host)) {
                    world.restore(host, backup);
                }
                self.start(world, host);
            }
            Remedy::Unpause(host) => world.unpause(host),
            Remedy::Quicken(host) => world.slow_down(host, Duration::ZERO),
            Remedy::Heal(a, b) => world.heal(a, b),
            Remedy::HealSplit(some, others) => {
                for a in some {
                    others.iter().for_each(|b| world.heal(a, *b));
                }
            }
            Remedy::Repair(a, b) => world.set_link(a, b, None),
        }
    }
}

fn end_life(world: &mut World, fault: Fault, host: HostId) {
    if fault == Fault::PowerOff {
        world.power_off(host);
    } else {
        world.crash(host);
    }
}

#[cfg(test)]
mod tests;
