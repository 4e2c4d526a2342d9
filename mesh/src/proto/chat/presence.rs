//! Who is told that whom came or went.
//!
//! Presence is a view of the routing table: nothing is kept of a user here but what each watching
//! session was last told, and when some users were last seen. An index from route key to watchers
//! makes a change of a route cost its watchers and nothing else. A change of a member may concern any
//! key: the watched ones are gone through in slices.
//!
//! A push goes out when (online, certain) differs from what the session was last told, but not for
//! suspicion alone: a node that is merely suspected still counts as it did.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::command::{Audience, Presence as Told, Push, limits};
use crate::id::{RouteKey, SessionId, UserName};
use crate::proto::chat::facts::Facts;
use crate::proto::chat::sessions::Sessions;
use crate::proto::outbox::Outbox;
use crate::proto::output::Output;
use crate::proto::view::Sight;
use crate::time::Instant;

/// Users whose time of going is remembered; the longest ago makes room. 4 MB.
const LAST_SEEN_MAX: usize = 65_536;

/// Watchers looked at in one step: some 200 ns each, far below a millisecond.
const STEP: usize = 1_024;

/// What a key costs of a step besides its watchers: its routes are looked up.
const STEP_PER_KEY: usize = 4;

/// Whom one session watches.
#[derive(Debug, Default)]
pub(super) struct Watch(Vec<Watched>);

/// One watched user.
#[derive(Debug)]
struct Watched {
    key: RouteKey,
    user: UserName,
    told: Sight,
}

impl Watch {
    /// Nobody is watched.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn at(&self, key: RouteKey, user: &UserName) -> Result<usize, usize> {
        self.0
            .binary_search_by(|watched| (watched.key, &watched.user).cmp(&(key, user)))
    }

    fn with_key(&mut self, key: RouteKey) -> impl Iterator<Item = &mut Watched> {
        let from = self.0.partition_point(|watched| watched.key < key);
        self.0[from..]
            .iter_mut()
            .take_while(move |watched| watched.key == key)
    }
}

/// All that is watched on this node.
#[derive(Debug, Default)]
pub(super) struct Presence {
    watchers: BTreeSet<(RouteKey, SessionId)>,
    /// Watched keys whose routes changed.
    dirty: BTreeSet<RouteKey>,
    /// Where the first of them goes on, where a step ended within its watchers.
    resume: Option<(RouteKey, SessionId)>,
    /// Where the walk over all watched keys goes on.
    sweep: Option<RouteKey>,
    /// Another walk is due after that one.
    sweep_again: bool,
    due: Option<Instant>,
    seen: LastSeen,
}

impl Presence {
    /// A session watches these users too: their state now, or `None` where it would watch too many,
    /// and nothing has changed.
    pub(super) fn watch(
        &mut self,
        facts: &dyn Facts,
        session: SessionId,
        watch: &mut Watch,
        users: &[UserName],
    ) -> Option<Vec<Told>> {
        let fresh: BTreeSet<_> = users
            .iter()
            .map(|user| (facts.key(user), user))
            .filter(|(key, user)| watch.at(*key, user).is_err())
            .collect();
        if watch.0.len() + fresh.len() > limits::WATCH {
            return None;
        }
        let fresh = fresh.into_iter().map(|(key, user)| Watched {
            key,
            user: user.clone(),
            told: Sight::Gone,
        });
        watch.0.extend(fresh);
        watch
            .0
            .sort_unstable_by(|a, b| (a.key, &a.user).cmp(&(b.key, &b.user)));
        let states = users.iter().map(|user| {
            let key = facts.key(user);
            let sight = facts.sight(key);
            self.watchers.insert((key, session));
            if let Ok(at) = watch.at(key, user) {
                watch.0[at].told = sight;
            }
            self.told(key, user, sight)
        });
        Some(states.collect())
    }

    /// A session watches these users no longer.
    pub(super) fn unwatch(
        &mut self,
        facts: &dyn Facts,
        session: SessionId,
        watch: &mut Watch,
        users: &[UserName],
    ) {
        for user in users {
            let key = facts.key(user);
            if let Ok(at) = watch.at(key, user) {
                watch.0.remove(at);
                if watch.with_key(key).next().is_none() {
                    self.watchers.remove(&(key, session));
                }
            }
        }
    }

    /// A session is gone with all that it watched.
    pub(super) fn forget(&mut self, session: SessionId, watch: &Watch) {
        for watched in &watch.0 {
            self.watchers.remove(&(watched.key, session));
        }
    }

    /// The routes of a key changed: its watchers may have to be told.
    pub(super) fn on_route(&mut self, now: Instant, key: RouteKey) {
        let all = (key, SessionId(0))..=(key, SessionId(u64::MAX));
        if self.watchers.range(all).next().is_none() {
            return;
        }
        self.dirty.insert(key);
        if self.resume.is_some_and(|(resumed, _)| resumed == key) {
            self.resume = None;
        }
        self.due.get_or_insert(now);
    }

    /// A session of this key went, here or elsewhere.
    pub(super) fn on_gone(&mut self, key: RouteKey, unix_ms: u64) {
        self.seen.note(key, unix_ms);
    }

    /// A member changed: any watched key may be concerned.
    pub(super) fn on_member(&mut self, now: Instant) {
        if self.watchers.is_empty() {
            return;
        }
        self.sweep_again |= self.sweep.is_some();
        self.sweep.get_or_insert(RouteKey(0));
        self.due.get_or_insert(now);
    }

    /// When [`Presence::step`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Tells a bounded number of watchers what has changed for them. How many were told.
    pub(super) fn step(
        &mut self,
        facts: &dyn Facts,
        sessions: &mut Sessions,
        out: &mut Outbox,
    ) -> u64 {
        let mut told = 0;
        let mut budget = STEP;
        while budget > 0 {
            let Some(key) = self.next_key() else {
                self.due = None;
                return told;
            };
            let (looked_at, pushed) = self.tell(facts, sessions, key, budget, out);
            told += pushed;
            budget = budget.saturating_sub(looked_at + STEP_PER_KEY);
        }
        self.due = Some(facts.now().at);
        told
    }

    /// How many pairs of watching session and watched key there are.
    pub(super) fn len(&self) -> usize {
        self.watchers.len()
    }

    fn next_key(&mut self) -> Option<RouteKey> {
        if self.dirty.is_empty() {
            let from = (self.sweep?, SessionId(0));
            let next = self.watchers.range(from..).next().map(|(key, _)| *key);
            self.dirty.extend(next);
            self.sweep = next.map(|key| RouteKey(key.0.saturating_add(1)));
            if next.is_none() && std::mem::take(&mut self.sweep_again) {
                self.sweep = Some(RouteKey(0));
                return self.next_key();
            }
        }
        self.dirty.first().copied()
    }

    /// Tells up to `limit` watchers of a key: how many were looked at and how many told.
    fn tell(
        &mut self,
        facts: &dyn Facts,
        sessions: &mut Sessions,
        key: RouteKey,
        limit: usize,
        out: &mut Outbox,
    ) -> (usize, u64) {
        let from = self.resume.take().filter(|(resumed, _)| *resumed == key);
        let from = from.unwrap_or((key, SessionId(0)));
        let sight = facts.sight(key);
        let mut audiences: BTreeMap<UserName, Audience> = BTreeMap::new();
        let mut looked_at = 0;
        for (_, id) in self.watchers.range(from..=(key, SessionId(u64::MAX))) {
            if looked_at == limit {
                self.resume = Some((key, *id));
                break;
            }
            looked_at += 1;
            let watch = sessions.get_mut(*id).and_then(|s| s.watch.as_mut());
            for watched in watch.into_iter().flat_map(|watch| watch.with_key(key)) {
                if is_news(watched.told, sight) {
                    if watched.told.online() && !sight.online() {
                        self.seen.note(key, facts.now().unix_ms);
                    }
                    watched.told = sight;
                    audiences.entry(watched.user.clone()).or_default().push(*id);
                }
            }
        }
        if self.resume.is_none() {
            self.dirty.remove(&key);
        }
        let mut told = 0;
        for (user, audience) in audiences {
            told += audience.len() as u64;
            let push = Push::Presence(self.told(key, &user, sight));
            out.push(Output::Push {
                audience,
                push,
                bulk: false,
            });
        }
        (looked_at, told)
    }

    fn told(&self, key: RouteKey, user: &UserName, sight: Sight) -> Told {
        Told {
            user: user.clone(),
            online: sight.online(),
            certain: sight.certain(),
            last_seen: self.seen.get(key).filter(|_| !sight.online()),
        }
    }
}

/// Whether a session that was told one thing is told the other.
fn is_news(told: Sight, sight: Sight) -> bool {
    let pair = |sight: Sight| (sight.online(), sight.certain());
    let suspicion_alone = told == Sight::Here && sight == Sight::Doubtful;
    pair(told) != pair(sight) && !suspicion_alone
}

/// When users were last seen going; bounded by [`LAST_SEEN_MAX`].
#[derive(Debug, Default)]
struct LastSeen {
    times: BTreeMap<RouteKey, u64>,
    /// Every note in its order, outdated ones among them.
    order: VecDeque<(RouteKey, u64)>,
}

impl LastSeen {
    fn note(&mut self, key: RouteKey, unix_ms: u64) {
        if self.times.insert(key, unix_ms) == Some(unix_ms) {
            return;
        }
        self.order.push_back((key, unix_ms));
        while self.order.len() > LAST_SEEN_MAX {
            if let Some((key, unix_ms)) = self.order.pop_front()
                && self.times.get(&key) == Some(&unix_ms)
            {
                self.times.remove(&key);
            }
        }
    }

    fn get(&self, key: RouteKey) -> Option<u64> {
        self.times.get(&key).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_changed_pair_is_news_and_suspicion_alone_is_none() {
        use Sight::{Doubtful, Gone, Here, Unknown};
        for sight in [Gone, Unknown, Doubtful, Here] {
            assert!(!is_news(sight, sight));
        }
        assert!(!is_news(Here, Doubtful));
        for (told, sight) in [
            (Doubtful, Here),
            (Here, Unknown),
            (Here, Gone),
            (Unknown, Gone),
            (Gone, Unknown),
            (Gone, Here),
            (Gone, Doubtful),
        ] {
            assert!(is_news(told, sight), "{told:?} → {sight:?}");
        }
    }

    #[test]
    fn the_longest_gone_make_room() {
        let mut seen = LastSeen::default();
        let max = LAST_SEEN_MAX as u64;
        (0..=max).for_each(|i| seen.note(RouteKey(i), i + 1));
        assert_eq!(seen.get(RouteKey(0)), None);
        assert_eq!(seen.get(RouteKey(max)), Some(max + 1));
        assert_eq!(seen.times.len(), LAST_SEEN_MAX);
        seen.note(RouteKey(1), 1_000_000);
        (0..LAST_SEEN_MAX as u64 / 2).for_each(|i| seen.note(RouteKey(2 * max + i), 2_000_000));
        assert_eq!(seen.get(RouteKey(1)), Some(1_000_000), "noted anew");
    }
}
