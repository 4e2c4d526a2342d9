//! A run: nodes meet, users come and go while things go wrong, everything is healed, and all must agree
//! within a bound.

mod script;

use std::collections::BTreeMap;
use std::time::Duration;

use mesh::proto::Config;
use mesh::time::Instant;

use crate::check::{HEALING, SNAPSHOTS_MAX};
use crate::crowd::Crowd;
use crate::misfortune::{Misfortune, Rates};
use crate::options::Options;
use crate::report::durations::Durations;
use crate::report::timeline::{Second, Timeline};
use crate::report::{Convergence, Fullest, Outcome, Ratio, Report};
use crate::seed::Chance;
use crate::trace::Trace;
use crate::world::{BACKLOG_MAX, HostId, World};
use script::Script;

/// How long nodes that agree are watched before all must agree again: longer than a suspicion takes.
const CALM: Duration = Duration::from_secs(5);

/// What is going on, for a progress bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nodes look for each other.
    Meeting,
    /// Users come and go, and things go wrong.
    Running,
    /// Everything was healed, and all must agree.
    Healing,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is going on.
    pub phase: Phase,
    /// Virtual time in this phase so far.
    pub done: Duration,
    /// How long it takes, at most.
    pub of: Duration,
}

/// A run as it goes on.
struct Run<'a> {
    options: &'a Options,
    world: World,
    crowd: Crowd,
    misfortune: Misfortune,
    script: Script,
    timeline: Timeline,
    /// When the second that goes on is over.
    second_at: Instant,
    /// Bytes sent and faults by the end of the last second that the timeline shows.
    bytes: u64,
    counts: BTreeMap<&'static str, u64>,
    /// When everything was healed.
    healed_at: Option<Instant>,
    /// For how long nodes were up so far, all together.
    ran: Duration,
    looked_at: Instant,
    progress: &'a mut dyn FnMut(Progress),
}

/// Runs it: the report, and the trace of what led to a broken invariant.
pub fn run(options: &Options, trace: Trace, progress: &mut dyn FnMut(Progress)) -> (Report, Trace) {
    let mut run = Run::new(options, trace, progress);
    let outcome = run.outcome();
    if let Outcome::Broken { invariant, why, .. } = &outcome {
        run.world.trace_broken(invariant, why);
    }
    run.report(outcome)
}

impl<'a> Run<'a> {
    fn new(options: &'a Options, trace: Trace, progress: &'a mut dyn FnMut(Progress)) -> Self {
        // Nodes meet before anything goes wrong.
        let mut world = World::new(options.seed, options.network.calm());
        world.collect_broken();
        world.set_trace(trace);
        world.add_chain(options.nodes, &Config::default());
        let now = world.now();
        let chance = |name| Chance::new(options.seed, name);
        Self {
            crowd: Crowd::new(0, options.habits.clone(), chance("crowd"), now),
            misfortune: Misfortune::new(Rates::default(), chance("misfortune"), now),
            script: Script::default(),
            timeline: Timeline::default(),
            second_at: now + Duration::from_secs(1),
            bytes: 0,
            counts: BTreeMap::new(),
            healed_at: None,
            ran: Duration::ZERO,
            looked_at: now,
            world,
            options,
            progress,
        }
    }

    fn outcome(&mut self) -> Outcome {
        let met = self.meet();
        if let Err(outcome) = met {
            return outcome;
        }
        self.go_wrong();
        if let Some(broken) = self.broken() {
            return broken;
        }
        self.heal()
    }

    fn broken(&self) -> Option<Outcome> {
        let broken = self.world.broken()?;
        Some(Outcome::Broken {
            invariant: format!("{} {:?}", broken.invariant.number(), broken.invariant),
            at: Duration::from_micros(broken.at.0),
            host: Some(broken.host.0),
            why: broken.what.clone(),
        })
    }

    /// The first nodes start, and must all be linked within the bound.
    fn meet(&mut self) -> Result<(), Outcome> {
        self.world.phase("the nodes start");
        (0..self.options.first).for_each(|n| self.world.start(HostId(n)));
        self.converge(Phase::Meeting, self.options.first)
            .map(|_| ())
    }

    fn go_wrong(&mut self) {
        self.world.phase("users come, and things go wrong");
        let now = self.world.now();
        let chance = |name| Chance::new(self.options.seed, name);
        let (users, habits) = (self.options.users, self.options.habits.clone());
        self.crowd = Crowd::new(users, habits, chance("crowd"), now);
        self.misfortune = Misfortune::new(self.options.rates.clone(), chance("misfortune"), now);
        self.misfortune.back_up(&self.world);
        self.script = Script::new(self.options, now);
        self.world.network_mut().set_config(self.options.network);
        let end = now + Duration::from_secs(self.options.seconds);
        self.go_on(Phase::Running, end, |_| false);
    }

    /// Everything is healed; when all agree, if they do within the bound.
    fn heal(&mut self) -> Outcome {
        self.world.phase("everything is healed");
        self.timeline.mark("healed");
        self.crowd.rest();
        self.misfortune.heal(&mut self.world);
        self.healed_at = Some(self.world.now());
        self.stay_healed().unwrap_or_else(|outcome| outcome)
    }

    /// All must agree, and go on to.
    fn stay_healed(&mut self) -> Result<Outcome, Outcome> {
        let after = self.converge(Phase::Healing, self.options.nodes)?;
        let end = self.world.now() + CALM;
        self.go_on(Phase::Healing, end, |_| false);
        self.converge(Phase::Healing, self.options.nodes)?;
        Ok(Outcome::Converged { after })
    }

    /// Runs until the first so many nodes all agree: after how long.
    fn converge(&mut self, phase: Phase, nodes: u16) -> Result<Duration, Outcome> {
        let from = self.world.now();
        let until = |world: &World| agreed(world, nodes).is_ok();
        self.go_on(phase, from + HEALING, until);
        // They say that they agree: their tables must hold what they say.
        self.world.audit_all();
        if let Some(broken) = self.broken() {
            return Err(broken);
        }
        agreed(&self.world, nodes).map_err(|differs| Outcome::Diverged {
            bound: HEALING,
            differs: vec![differs],
        })?;
        Ok(self.world.now().since(from))
    }

    /// Users, faults and the script take their turns until then, or until something holds; looks at
    /// that and at what a report shows now and then.
    fn go_on(&mut self, phase: Phase, end: Instant, until: impl Fn(&World) -> bool) {
        let start = self.world.now();
        let mut look_at = start;
        loop {
            let now = self.world.now();
            if self.second_at <= now {
                self.second();
                self.second_at = now + Duration::from_secs(1);
                let (done, of) = (now.since(start), end.since(start));
                (self.progress)(Progress { phase, done, of });
            }
            if end <= now || self.world.broken().is_some() {
                return;
            }
            self.crowd.act(&mut self.world);
            self.misfortune.act(&mut self.world);
            self.script
                .act(&mut self.world, &mut self.crowd, &mut self.misfortune);
            if look_at <= now {
                if until(&self.world) {
                    return;
                }
                self.note_time();
                look_at = now + LOOK_EVERY;
            }
            let next = [
                Some(end),
                Some(look_at),
                Some(self.second_at),
                self.crowd.next_at(),
                self.misfortune.next_at(),
                self.script.next_at(),
            ];
            let next = next.into_iter().flatten().min().expect("an end");
            self.world.run_for(next.since(now));
        }
    }

    /// A virtual second is over.
    fn second(&mut self) {
        self.crowd.look_after_lost(&mut self.world);
        self.note_time();
        for (name, count) in self.misfortune.counts() {
            let before = self.counts.insert(name, *count).unwrap_or(0);
            (before..*count).for_each(|_| self.timeline.mark(name));
        }
        let bytes = self.world.traffic().total().bytes;
        self.timeline.push(Second {
            bytes: bytes - self.bytes,
            nodes: self.nodes_up(),
            waiting: self.world.checks().convergence().outstanding(),
        });
        self.bytes = bytes;
    }

    fn nodes_up(&self) -> u64 {
        let up = self.world.hosts().filter(|host| self.world.is_up(*host));
        up.count() as u64
    }

    /// Counts the time of all nodes that are up, as exactly as it is looked.
    fn note_time(&mut self) {
        let now = self.world.now();
        let up = u32::try_from(self.nodes_up()).expect("at most 65,535 hosts");
        self.ran += now.since(self.looked_at) * up;
        self.looked_at = now;
    }
}

/// What came of it.
impl Run<'_> {
    fn report(mut self, outcome: Outcome) -> (Report, Trace) {
        self.note_time();
        if self.bytes < self.world.traffic().total().bytes {
            self.second();
        }
        let mut report = Report::new(self.options.settings(), outcome);
        let checks = self.world.checks();
        report.convergence = self.convergence();
        report.detection = Durations::from(checks.detection().last_noticed().collect::<Vec<_>>());
        report.false_deaths = checks.detection().false_deaths.len() as u64;
        report.traffic = self.world.traffic().clone();
        report.traffic.ran = self.ran;
        report.copies = Ratio {
            total: checks.convergence().copies,
            of: checks.convergence().awaited,
        };
        let (total, of) = checks.worst().table;
        report.table = Ratio { total, of };
        report.fullest = Some(self.fullest());
        report.counters = self.counters();
        report.timeline = self.timeline;
        (report, self.world.take_trace())
    }

    fn convergence(&self) -> Convergence {
        let convergence = self.world.checks().convergence();
        let healed_at = self.healed_at.unwrap_or(Instant(u64::MAX));
        let took = |healed: bool| -> Vec<Duration> {
            let measured = convergence.measured.iter();
            let part = measured.filter(|(since, _)| (healed_at <= *since) == healed);
            part.map(|(_, took)| *took).collect()
        };
        let (faulty, healed) = (took(false), took(true));
        Convergence {
            all: Durations::from([faulty.clone(), healed.clone()].concat()),
            faulty: Durations::from(faulty),
            healed: Durations::from(healed),
            unfinished: convergence.outstanding(),
        }
    }

    /// The queue that came nearest to its bound.
    fn fullest(&self) -> Fullest {
        let worst = self.world.checks().worst();
        let log_max = Config::default().routes.log_ops;
        let queues = [
            ("log of route changes", worst.log_ops, log_max),
            ("snapshots under way", worst.snapshots, SNAPSHOTS_MAX),
            (
                "inputs of a host at rest",
                self.world.backlog_max(),
                BACKLOG_MAX,
            ),
        ];
        let fullness = |(_, length, bound): &(&str, usize, usize)| length * 1_000_000 / bound;
        let (name, length, bound) = queues
            .into_iter()
            .max_by_key(fullness)
            .expect("there are some");
        Fullest {
            name: name.to_owned(),
            length: length as u64,
            bound: bound as u64,
        }
    }

    fn counters(&self) -> BTreeMap<String, u64> {
        let convergence = self.world.checks().convergence();
        let own = [
            ("comings and goings of users", self.crowd.changes()),
            ("frames lost", self.world.lost()),
            (
                "batches of nodes that crashed before",
                convergence.abandoned,
            ),
            ("batches that were not timed", convergence.unmeasured),
            (
                "moves of replicas that were not compared",
                self.world.checks().uncompared(),
            ),
        ];
        let faults = self.misfortune.counts();
        faults
            .iter()
            .map(|(name, count)| (*name, *count))
            .chain(own)
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| (name.to_owned(), count))
            .collect()
    }
}

/// Whether the first so many nodes all run, and agree; the first that does not, in words.
fn agreed(world: &World, nodes: u16) -> Result<(), String> {
    let mut first = world.hosts().take(usize::from(nodes));
    if let Some(host) = first.find(|host| !world.is_up(*host)) {
        let halted = world.halted(host);
        return Err(format!("{host:?} does not run, its halt: {halted:?}"));
    }
    world.converged()
}

/// How often is looked whether all agree: well below what a report rounds to.
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests;
