//! How soon every batch was everywhere, and how many copies of it were sent.
//!
//! A batch is awaited by the replicas that held the origin's set when it was made: a newcomer takes it
//! with its snapshot, and a replica that crashes or gives the set up is awaited no longer. Each of
//! them is counted down once per batch.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use mesh::id::Epoch;
use mesh::time::Instant;

/// Most batches of one life that are awaited; the oldest are given up, counted.
const AWAITED_MAX: usize = 65_536;

/// Most batches whose time is kept: 64 MB. Further ones are counted only.
const MEASURED_MAX: usize = 4_000_000;

/// An origin's number, and which life of it.
pub(super) type Origin = (usize, Epoch);

#[derive(Debug)]
struct Awaited {
    since: Instant,
    missing: u32,
}

/// The batches of one life of an origin that are not everywhere yet.
#[derive(Debug, Default)]
struct Outstanding {
    holders: u32,
    /// The last batch made.
    head: u64,
    /// Consecutive, the last one is `head`.
    batches: VecDeque<Awaited>,
}

impl Outstanding {
    /// One replica awaits the batches after `from` up to `to` no longer.
    fn count_down(&mut self, from: u64, to: u64, mut done: impl FnMut(Instant)) {
        let first = self.head + 1 - self.batches.len() as u64;
        for seq in (from + 1).max(first)..=to.min(self.head) {
            let at = usize::try_from(seq - first).expect("within the batches");
            let batch = &mut self.batches[at];
            if batch.missing == 1 {
                done(batch.since);
            }
            batch.missing = batch.missing.saturating_sub(1);
        }
        while self.batches.front().is_some_and(|batch| batch.missing == 0) {
            self.batches.pop_front();
        }
    }
}

/// What was measured of all batches.
#[derive(Debug, Default)]
pub struct Convergence {
    /// When the first session change that a batch announces was made, and how long it took from there
    /// until the last replica held the batch; in the order in which they were everywhere.
    pub measured: Vec<(Instant, Duration)>,
    /// Batches that were everywhere after [`MEASURED_MAX`] others.
    pub unmeasured: u64,
    /// Batches whose origin crashed, or that were too many, before all replicas held them.
    pub abandoned: u64,
    /// Batches sent, in frames of their own or in answers, each time anew.
    pub copies: u64,
    /// Replicas that awaited a batch, summed up over all batches.
    pub awaited: u64,
    outstanding: BTreeMap<Origin, Outstanding>,
}

impl Convergence {
    /// Copies of a batch per replica that awaited it; below 1 where replicas took the whole set instead.
    /// `None`: none was made.
    pub fn copies_per_replica(&self) -> Option<f64> {
        (self.awaited > 0).then(|| self.copies as f64 / self.awaited as f64)
    }

    /// Batches that some replica still awaits.
    pub fn outstanding(&self) -> u64 {
        let all = self.outstanding.values();
        all.map(|life| life.batches.len() as u64).sum()
    }

    pub(super) fn on_life(&mut self, origin: Origin, head: u64) {
        self.outstanding.entry(origin).or_default().head = head;
    }

    pub(super) fn on_batch(&mut self, origin: Origin, seq: u64, since: Instant) {
        let life = self.outstanding.entry(origin).or_default();
        life.head = seq;
        self.awaited += u64::from(life.holders);
        if life.holders == 0 && life.batches.is_empty() {
            return;
        }
        let missing = life.holders;
        life.batches.push_back(Awaited { since, missing });
        if life.batches.len() > AWAITED_MAX {
            life.batches.pop_front();
            self.abandoned += 1;
        }
    }

    /// A replica has the set now: it awaits what is made from here on. Gives the `seq` so far.
    pub(super) fn on_holder(&mut self, origin: Origin) -> u64 {
        let life = self.outstanding.entry(origin).or_default();
        life.holders += 1;
        life.head
    }

    /// A replica went on from one `seq` to another.
    pub(super) fn on_move(&mut self, origin: Origin, from: u64, to: u64, now: Instant) {
        if let Some(life) = self.outstanding.get_mut(&origin) {
            let (measured, more) = (&mut self.measured, &mut self.unmeasured);
            life.count_down(from, to, |since| measure(measured, more, since, now));
        }
    }

    /// A replica that had come so far has the set no more.
    pub(super) fn on_lost(&mut self, origin: Origin, held: u64, now: Instant) {
        if let Some(life) = self.outstanding.get_mut(&origin) {
            life.holders = life.holders.saturating_sub(1);
            let (measured, more) = (&mut self.measured, &mut self.unmeasured);
            let head = life.head;
            life.count_down(held, head, |since| measure(measured, more, since, now));
        }
    }

    /// The origin is gone: nobody need get what it did not send any more.
    pub(super) fn on_over(&mut self, origin: Origin) {
        if let Some(life) = self.outstanding.get_mut(&origin) {
            let missing = life.batches.iter().filter(|batch| batch.missing > 0);
            self.abandoned += missing.count() as u64;
            life.batches.clear();
        }
    }

    pub(super) fn forget(&mut self, origin: Origin) {
        self.outstanding.remove(&origin);
    }
}

fn measure(
    measured: &mut Vec<(Instant, Duration)>,
    unmeasured: &mut u64,
    since: Instant,
    now: Instant,
) {
    if measured.len() < MEASURED_MAX {
        measured.push((since, now.since(since)));
    } else {
        *unmeasured += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: Origin = (3, Epoch(1));

    #[test]
    fn a_batch_has_converged_with_the_last_replica_that_awaits_it() {
        let mut convergence = Convergence::default();
        assert_eq!((0..3).map(|_| convergence.on_holder(ORIGIN)).max(), Some(0));
        convergence.on_batch(ORIGIN, 1, Instant(1_000));
        convergence.on_batch(ORIGIN, 2, Instant(2_000));
        convergence.on_move(ORIGIN, 0, 1, Instant(3_000));
        convergence.on_move(ORIGIN, 0, 2, Instant(4_000));
        assert_eq!(convergence.measured, []);
        convergence.on_lost(ORIGIN, 1, Instant(5_000));
        assert_eq!(convergence.outstanding(), 2);
        convergence.on_move(ORIGIN, 0, 1, Instant(9_000));
        let ms = Duration::from_millis;
        assert_eq!(convergence.measured, [(Instant(1_000), ms(8))]);
        assert_eq!((convergence.outstanding(), convergence.awaited), (1, 6));
        convergence.on_over(ORIGIN);
        assert_eq!((convergence.outstanding(), convergence.abandoned), (0, 1));
    }

    #[test]
    fn a_newcomer_is_not_awaited_for_what_was_made_before_it_came() {
        let mut convergence = Convergence::default();
        convergence.on_holder(ORIGIN);
        convergence.on_batch(ORIGIN, 1, Instant(0));
        let since = convergence.on_holder(ORIGIN);
        convergence.on_move(ORIGIN, since, 1, Instant(1));
        assert_eq!((since, convergence.outstanding()), (1, 1));
    }
}
