//! Who is where, as the clients know it: the truth that routes are held against.

use std::collections::BTreeMap;

use mesh::id::{RouteKey, SessionId};
use mesh::time::Instant;

use crate::world::HostId;

/// A user on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attached {
    /// Since when it has been there without a break.
    pub(super) since: Instant,
    sessions: u32,
    /// No batch of its node has announced it yet.
    announced: bool,
}

/// All sessions.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// Whose `hello` is not answered yet.
    asked: BTreeMap<(HostId, SessionId), RouteKey>,
    open: BTreeMap<(HostId, SessionId), RouteKey>,
    users: BTreeMap<(HostId, RouteKey), Attached>,
    /// When a session last came or went.
    pub(super) changed_at: Instant,
}

impl Sessions {
    pub(super) fn on_hello(&mut self, host: HostId, session: SessionId, key: RouteKey) {
        self.asked.insert((host, session), key);
    }

    pub(super) fn on_welcome(&mut self, at: Instant, host: HostId, session: SessionId) {
        let Some(key) = self.asked.remove(&(host, session)) else {
            return;
        };
        self.changed_at = at;
        if self.open.insert((host, session), key).is_none() {
            let first = Attached {
                since: at,
                sessions: 0,
                announced: false,
            };
            self.users.entry((host, key)).or_insert(first).sessions += 1;
        }
    }

    pub(super) fn on_closed(&mut self, at: Instant, host: HostId, session: SessionId) {
        self.asked.remove(&(host, session));
        let Some(key) = self.open.remove(&(host, session)) else {
            return;
        };
        self.changed_at = at;
        if let Some(user) = self.users.get_mut(&(host, key)) {
            user.sessions -= 1;
            if user.sessions == 0 {
                self.users.remove(&(host, key));
            }
        }
    }

    pub(super) fn on_crash(&mut self, host: HostId) {
        self.asked.retain(|(at, _), _| *at != host);
        self.open.retain(|(at, _), _| *at != host);
        self.users.retain(|(at, _), _| *at != host);
    }

    /// A batch announces this key: since when it has been there, where that was not announced before.
    pub(super) fn on_announced(&mut self, host: HostId, key: RouteKey) -> Option<Instant> {
        let user = self.users.get_mut(&(host, key))?;
        let before = std::mem::replace(&mut user.announced, true);
        (!before).then_some(user.since)
    }

    /// The keys of all users on a host, ascending.
    pub(super) fn on(&self, host: HostId) -> impl Iterator<Item = RouteKey> + '_ {
        let all = (host, RouteKey(0))..=(host, RouteKey(u64::MAX));
        self.users.range(all).map(|((_, key), _)| *key)
    }

    /// Some users after this one, in a fixed order.
    pub(super) fn after(
        &self,
        last: (HostId, RouteKey),
    ) -> impl Iterator<Item = (HostId, RouteKey, Attached)> + '_ {
        let rest = self
            .users
            .range((std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded));
        rest.map(|((host, key), user)| (*host, *key, *user))
    }
}
