//! The oracle's own record of what every origin has announced: the set after each of its batches.
//!
//! It is read from the origin's own set, not from what it sends, right after the step in which its
//! `seq` moved, and summed up by arithmetic of its own. Steps older than [`AGE`] are let go, so memory
//! is bounded by the churn of that time; what a replica shows from before is compared no more, only
//! counted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use mesh::id::{Epoch, RouteKey};
use mesh::proto::routes::Summary;
use mesh::time::Instant;

use super::{Fault, Invariant};

/// How long a step is remembered: three times as long as the origin's own log, so that a replica moves
/// only among steps that are here.
const AGE: Duration = Duration::from_secs(180);

/// Most steps that are remembered of one life: 1,310 s of batches at the densest window, so that the
/// age decides.
const STEPS_MAX: usize = 65_536;

/// Most lives that are remembered of one node; frames of older ones are long gone.
pub(super) const LIVES_MAX: usize = 4;

/// What a key adds to a fingerprint: the output function of splitmix64, written down a second time on
/// purpose.
fn weight(key: RouteKey) -> u64 {
    let mut x = key.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// What a set of keys adds up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) count: u64,
    pub(super) fingerprint: u64,
}

impl Sum {
    pub(super) fn add(&mut self, key: RouteKey) {
        self.count += 1;
        self.fingerprint = self.fingerprint.wrapping_add(weight(key));
    }

    fn take(&mut self, key: RouteKey) {
        self.count -= 1;
        self.fingerprint = self.fingerprint.wrapping_sub(weight(key));
    }

    pub(super) fn of<'a>(keys: impl IntoIterator<Item = &'a RouteKey>) -> Self {
        let mut sum = Self::default();
        keys.into_iter().for_each(|key| sum.add(*key));
        sum
    }

    /// Whether a summary carries just this.
    pub(super) fn is_of(self, summary: Summary) -> bool {
        (self.count, self.fingerprint) == (summary.count, summary.fingerprint)
    }
}

/// What became of a key in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Came,
    Went,
}

/// One batch of the origin.
#[derive(Debug)]
pub(super) struct Step {
    at: Instant,
    seq: u64,
    sum: Sum,
    pub(super) changes: Vec<(RouteKey, Change)>,
}

/// One life of an origin.
#[derive(Debug)]
pub(super) struct Life {
    /// Its announced keys now, ascending.
    keys: Vec<RouteKey>,
    /// Consecutive in `seq`, never empty.
    steps: VecDeque<Step>,
}

/// What is known of a set at some `seq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Was(Sum),
    /// Too long ago.
    Forgotten,
    /// The origin has not come so far.
    Never,
}

impl Life {
    /// A life as it is first seen.
    pub(super) fn begin(at: Instant, summary: Summary, keys: Vec<RouteKey>) -> Result<Self, Fault> {
        let sum = Sum::of(&keys);
        carried(sum, summary)?;
        let step = Step {
            at,
            seq: summary.seq,
            sum,
            changes: Vec::new(),
        };
        Ok(Self {
            keys,
            steps: [step].into(),
        })
    }

    /// The last `seq` of the origin.
    pub(super) fn head(&self) -> u64 {
        self.steps.back().map_or(0, |step| step.seq)
    }

    /// What the origin's present keys add up to.
    pub(super) fn sum(&self) -> Sum {
        self.steps.back().map_or_else(Sum::default, |step| step.sum)
    }

    /// Its present keys, ascending.
    pub(super) fn keys(&self) -> &[RouteKey] {
        &self.keys
    }

    /// The origin has made a batch: what it changed.
    pub(super) fn advance(
        &mut self,
        at: Instant,
        summary: Summary,
        keys: Vec<RouteKey>,
    ) -> Result<&[(RouteKey, Change)], Fault> {
        let head = self.head();
        if summary.seq != head.wrapping_add(1) {
            let what = format!("its own set went from seq {head} to {}", summary.seq);
            return Err((Invariant::Contiguous, what));
        }
        let changes = differences(&self.keys, &keys);
        if changes.is_empty() {
            let what = format!("seq {} announces no change", summary.seq);
            return Err((Invariant::Contiguous, what));
        }
        let mut sum = self.sum();
        for &(key, change) in &changes {
            match change {
                Change::Came => sum.add(key),
                Change::Went => sum.take(key),
            }
        }
        carried(sum, summary)?;
        self.keys = keys;
        self.steps.push_back(Step {
            at,
            seq: summary.seq,
            sum,
            changes,
        });
        while self.steps.len() > STEPS_MAX
            || self.steps.len() > 1 && at.since(self.steps[0].at) > AGE
        {
            self.steps.pop_front();
        }
        Ok(self.steps.back().map_or(&[], |step| &step.changes))
    }

    fn position(&self, seq: u64) -> Option<usize> {
        let ahead = seq.checked_sub(self.steps.front()?.seq)?;
        usize::try_from(ahead)
            .ok()
            .filter(|at| *at < self.steps.len())
    }

    /// The set at some `seq`.
    pub(super) fn known(&self, seq: u64) -> Known {
        match self.position(seq) {
            Some(at) => Known::Was(self.steps[at].sum),
            None if seq > self.head() => Known::Never,
            None => Known::Forgotten,
        }
    }

    /// What changed after one `seq` up to another: of each key the last change. `None`: too long ago.
    pub(super) fn between(&self, from: u64, to: u64) -> Option<BTreeMap<RouteKey, Change>> {
        let first = self.position(from)? + 1;
        let last = self.position(to)?;
        let steps = self.steps.range(first..=last.max(first - 1));
        Some(
            steps
                .flat_map(|step| step.changes.iter().copied())
                .collect(),
        )
    }

    /// The keys at some `seq`. `None`: too long ago.
    pub(super) fn keys_at(&self, seq: u64) -> Option<BTreeSet<RouteKey>> {
        let after = self.position(seq)? + 1;
        let mut keys: BTreeSet<_> = self.keys.iter().copied().collect();
        for step in self.steps.range(after..).rev() {
            for (key, change) in &step.changes {
                match change {
                    Change::Came => keys.remove(key),
                    Change::Went => keys.insert(*key),
                };
            }
        }
        Some(keys)
    }
}

#[cfg(test)]
impl Life {
    /// As if the origin's present set had another key in the place of one.
    pub(super) fn doctor(&mut self) {
        let step = self.steps.back_mut().expect("never empty");
        step.sum.fingerprint ^= 1;
    }

    /// As if the last batch had announced one key more.
    pub(super) fn doctor_changes(&mut self) {
        let step = self.steps.back_mut().expect("never empty");
        step.changes.push((RouteKey(77), Change::Came));
    }
}

fn carried(sum: Sum, summary: Summary) -> Result<(), Fault> {
    if sum.is_of(summary) {
        return Ok(());
    }
    let what = format!("its own set adds up to {sum:?}, it says {summary:?}");
    Err((Invariant::Carried, what))
}

/// What leads from one ascending list to another.
fn differences(before: &[RouteKey], after: &[RouteKey]) -> Vec<(RouteKey, Change)> {
    let (mut changes, mut old, mut new) = (Vec::new(), before.iter(), after.iter());
    let (mut gone, mut came) = (old.next(), new.next());
    loop {
        match (gone, came) {
            (Some(a), Some(b)) if a == b => (gone, came) = (old.next(), new.next()),
            (Some(a), b) if b.is_none_or(|b| a < b) => {
                changes.push((*a, Change::Went));
                gone = old.next();
            }
            (_, Some(b)) => {
                changes.push((*b, Change::Came));
                came = new.next();
            }
            (_, None) => return changes,
        }
    }
}

/// All lives of one node, by epoch.
pub(super) type Lives = BTreeMap<Epoch, Life>;

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(keys: &[u64]) -> Vec<RouteKey> {
        keys.iter().copied().map(RouteKey).collect()
    }

    fn summary(seq: u64, of: &[RouteKey]) -> Summary {
        let Sum { count, fingerprint } = Sum::of(of);
        Summary {
            epoch: Epoch(1),
            seq,
            count,
            fingerprint,
        }
    }

    fn life() -> Life {
        let mut life = Life::begin(Instant(0), summary(0, &[]), Vec::new()).unwrap();
        for (seq, set) in [(1, keys(&[5])), (2, keys(&[2, 5, 9])), (3, keys(&[2, 7]))] {
            life.advance(Instant(seq), summary(seq, &set), set.clone())
                .unwrap();
        }
        life
    }

    #[test]
    fn every_step_can_be_given_back() {
        let life = life();
        assert_eq!(
            life.keys_at(2).unwrap(),
            keys(&[2, 5, 9]).into_iter().collect()
        );
        assert_eq!(life.keys_at(0).unwrap(), BTreeSet::new());
        assert_eq!(life.known(2), Known::Was(Sum::of(&keys(&[2, 5, 9]))));
        assert_eq!(life.known(4), Known::Never);
        let between = life.between(1, 3).unwrap();
        let changes = [
            (2, Change::Came),
            (5, Change::Went),
            (7, Change::Came),
            (9, Change::Went),
        ];
        assert_eq!(
            between,
            changes.map(|(key, change)| (RouteKey(key), change)).into()
        );
    }

    #[test]
    fn a_batch_that_skips_a_number_or_changes_nothing_is_a_fault() {
        let set = keys(&[2, 7]);
        let skipped = life()
            .advance(Instant(9), summary(5, &set), set.clone())
            .map(<[_]>::len);
        assert_eq!(skipped.unwrap_err().0, Invariant::Contiguous);
        let empty = life()
            .advance(Instant(9), summary(4, &set), set)
            .map(<[_]>::len);
        assert_eq!(empty.unwrap_err().0, Invariant::Contiguous);
    }

    #[test]
    fn a_fingerprint_that_is_not_that_of_the_set_is_a_fault() {
        let mut wrong = summary(4, &keys(&[2]));
        wrong.fingerprint += 1;
        let result = life()
            .advance(Instant(9), wrong, keys(&[2]))
            .map(<[_]>::len);
        assert_eq!(result.unwrap_err().0, Invariant::Carried);
    }

    #[test]
    fn steps_of_long_ago_are_forgotten() {
        let mut life = life();
        let set = keys(&[1]);
        let later = Instant(0) + AGE + Duration::from_secs(1);
        life.advance(later, summary(4, &set), set.clone()).unwrap();
        assert_eq!(life.known(3), Known::Forgotten);
        assert_eq!(life.known(4), Known::Was(Sum::of(&set)));
        assert!(life.keys_at(3).is_none() && life.between(3, 4).is_none());
    }
}
