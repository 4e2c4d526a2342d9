//! The steps of a scenario, taken apart into what happens at which moment.

use std::time::Duration;

use mesh::time::Instant;

use crate::crowd::Crowd;
use crate::misfortune::{Fault, Misfortune};
use crate::options::Options;
use crate::queue::Queue;
use crate::scenario::Deed;
use crate::seed::Probability;
use crate::world::{HostId, World};

/// How long a node that was stopped for a restart stays away: as long as a new binary takes to start.
const RESTART: Duration = Duration::from_millis(500);

/// What happens when.
#[derive(Debug, Default)]
pub(super) struct Script {
    agenda: Queue<Act>,
}

#[derive(Debug)]
enum Act {
    Come(Probability, Duration),
    Go(Probability, Duration),
    Start(HostId),
    Stop(HostId),
    Kill(Fault, Probability, Duration),
    Split(Probability, Duration),
    Cut(Duration),
}

impl Script {
    /// The steps of these options, counted from now.
    pub(super) fn new(options: &Options, now: Instant) -> Self {
        let mut script = Self::default();
        for step in &options.steps {
            let at = now + Duration::from_secs(step.second);
            match step.deed {
                Deed::Come { share, within } => script.agenda.plan(at, Act::Come(share, within)),
                Deed::Go { share, within } => script.agenda.plan(at, Act::Go(share, within)),
                Deed::Crash { share, lasting } => {
                    script
                        .agenda
                        .plan(at, Act::Kill(Fault::Crash, share, lasting));
                }
                Deed::PowerOff { share, lasting } => {
                    script
                        .agenda
                        .plan(at, Act::Kill(Fault::PowerOff, share, lasting));
                }
                Deed::Split { share, lasting } => {
                    script.agenda.plan(at, Act::Split(share, lasting));
                }
                Deed::Grow { within } => {
                    let new = options.first..options.nodes;
                    let gap = within / u32::try_from(new.len()).unwrap_or(u32::MAX).max(1);
                    script.spread(at, gap, new.map(|n| Act::Start(HostId(n))));
                }
                Deed::Restart { every } => {
                    let all = 0..options.nodes;
                    script.spread(at, every, all.map(|n| Act::Stop(HostId(n))));
                }
                Deed::Flap { times, every } => {
                    script.spread(at, every * 2, (0..times).map(|_| Act::Cut(every)));
                }
            }
        }
        script
    }

    fn spread(&mut self, from: Instant, gap: Duration, acts: impl Iterator<Item = Act>) {
        let mut at = from;
        for act in acts {
            self.agenda.plan(at, act);
            at = at + gap;
        }
    }

    /// When the next of it happens.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.agenda.next_at()
    }

    /// All that is due.
    pub(super) fn act(
        &mut self,
        world: &mut World,
        crowd: &mut Crowd,
        misfortune: &mut Misfortune,
    ) {
        while let Some((now, act)) = self.agenda.pop(world.now()) {
            match act {
                Act::Come(share, within) => crowd.rush(now, share, within),
                Act::Go(share, within) => crowd.leave(now, share, within),
                Act::Start(host) => misfortune.start(world, host),
                Act::Stop(host) => misfortune.stop(world, host, RESTART),
                Act::Kill(fault, share, lasting) => {
                    misfortune.kill_share(world, fault, share, lasting);
                }
                Act::Split(share, lasting) => misfortune.split(world, share, lasting),
                Act::Cut(lasting) => misfortune.cut(world, HostId(0), HostId(1), lasting),
            }
        }
    }
}
