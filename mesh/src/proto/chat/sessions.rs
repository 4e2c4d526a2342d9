//! The table of sessions, and which of them belong to whom.
//!
//! Kept small: an idle session is its entry here and nothing else, whatever it reads or watches hangs
//! in boxes of its own. A user is here as long as one of its sessions is, be it one in grace; that is
//! what its route says to the mesh.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::command::Audience;
use crate::id::{Device, EventId, RouteKey, SessionId, UserName};
use crate::proto::chat::marks::Marks;
use crate::proto::chat::presence::Watch;
use crate::proto::chat::work::Work;
use crate::time::{Instant, Stamp};

/// Sessions in grace at once. More are those of a node that lost all its clients: the table of routes
/// is corrected at once then, and a client that comes back is attached again.
pub(super) const GRACE_MAX: usize = 65_536;

/// One client's session, from its `hello` until its route may go.
#[derive(Debug)]
pub(super) struct Session {
    /// Whose; shares the text with the table of users.
    pub(super) user: UserName,
    /// The user's route key.
    pub(super) key: RouteKey,
    /// Which device.
    pub(super) device: Device,
    /// Where the device's name comes from.
    pub(super) naming: Naming,
    /// When it said `hello`: of two sessions of one device the newer one stays.
    pub(super) hello: Stamp,
    /// The same on this node's wall clock, Unix milliseconds.
    pub(super) hello_unix_ms: u64,
    /// What it may still do.
    pub(super) state: State,
    /// Bytes of its appends under way.
    pub(super) appending: u32,
    /// Whom it watches, where it does.
    pub(super) watch: Option<Box<Watch>>,
    /// What it reads, where it does.
    pub(super) work: Option<Box<Work>>,
}

/// Where the name of a device comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// The client: no other session in the mesh may have it.
    Client,
    /// This node made it up: nobody else has it.
    Node,
}

/// What a session may still do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Everything.
    Live,
    /// It was told `bye`, since the node stops, and is about to be closed.
    Leaving,
    /// Its connection is gone; its route stays for a moment, lest a flapping client cost gossip.
    Grace,
}

/// One user with sessions here.
#[derive(Debug)]
struct User {
    name: UserName,
    /// Open sessions in the order of their ids.
    open: Vec<SessionId>,
    /// Sessions in grace.
    grace: Vec<SessionId>,
    /// The sessions of named devices, open or in grace, in the order of the devices.
    named: Vec<(Device, SessionId)>,
    /// Read marks known here.
    marks: Option<Box<Marks>>,
    /// Read marks of those it talks with, as its sessions here were told.
    heard: Option<Box<Marks>>,
    /// A user whose route key is the same: two of 48-bit hashes can be.
    next: Option<Box<Self>>,
}

/// What became of a session that was to be put into grace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grace {
    /// It is in grace.
    Begun,
    /// Its route stays without it, and nothing else can be found again: to be removed.
    Needless,
    /// Too many are in grace: to be removed.
    Full,
}

/// What opening a session changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Opened {
    /// It is its user's first.
    pub(super) first: bool,
    /// The session that had its device before.
    pub(super) displaced: Option<SessionId>,
    /// Sessions in grace that hold nothing any more.
    pub(super) relieved: Vec<SessionId>,
}

/// All sessions of this node.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    sessions: BTreeMap<SessionId, Session>,
    users: BTreeMap<RouteKey, User>,
    /// Connections that were refused or replaced and are not closed yet: nothing they say counts.
    shut: BTreeSet<SessionId>,
    /// When sessions in grace lapse: in the order they came, since grace is equally long for all.
    lapses: VecDeque<(Instant, SessionId)>,
    in_grace: usize,
}

impl Sessions {
    /// Enters a session. The text of its user's name is shared with its other sessions.
    pub(super) fn open(&mut self, id: SessionId, mut session: Session) -> Opened {
        let mut opened = Opened::default();
        let chain = self.users.entry(session.key);
        let user = match chain {
            std::collections::btree_map::Entry::Vacant(vacant) => {
                opened.first = true;
                vacant.insert(User::new(session.user.clone()))
            }
            std::collections::btree_map::Entry::Occupied(occupied) => {
                let head = occupied.into_mut();
                opened.first = head.find(&session.user).is_none();
                if opened.first {
                    let mut user = Box::new(User::new(session.user.clone()));
                    user.next = head.next.take();
                    head.next = Some(user);
                }
                head.find_mut(&session.user)
                    .expect("it was there or has just been entered")
            }
        };
        session.user = user.name.clone();
        if let Err(at) = user.open.binary_search(&id) {
            insert_tight(&mut user.open, at, id);
        }
        if session.naming == Naming::Client {
            opened.displaced = user.name_device(&session.device, id);
        }
        let unnamed = |id: &SessionId| !user.named.iter().any(|(_, named)| named == id);
        opened.relieved = user.grace.iter().copied().filter(unnamed).collect();
        let earlier = self.sessions.insert(id, session);
        debug_assert!(earlier.is_none(), "a session says hello once");
        opened
    }

    /// Takes a session out of every table. True: it was its user's last.
    pub(super) fn remove(&mut self, id: SessionId) -> Option<(Session, bool)> {
        let session = self.sessions.remove(&id)?;
        if session.state == State::Grace {
            self.in_grace -= 1;
        }
        let user = self.user_mut(session.key, &session.user)?;
        user.open.retain(|other| *other != id);
        user.grace.retain(|other| *other != id);
        if session.naming == Naming::Client
            && let Ok(at) = user.device(&session.device)
            && user.named[at].1 == id
        {
            user.named.remove(at);
        }
        let last = user.open.is_empty() && user.grace.is_empty();
        if last {
            self.forget(session.key, &session.user);
        }
        Some((session, last))
    }

    /// Puts a session whose connection is gone into grace until `lapse`, where that is of any use
    /// and there is room.
    pub(super) fn grace(&mut self, id: SessionId, lapse: Instant) -> Grace {
        let full = self.lapses.len() >= GRACE_MAX;
        let Some(session) = self.sessions.get_mut(&id) else {
            return Grace::Needless;
        };
        let user = self
            .users
            .get_mut(&session.key)
            .and_then(|head| head.find_mut(&session.user))
            .expect("every session is with its user");
        let held_by_another = session.naming == Naming::Node && user.open.len() > 1;
        if held_by_another || session.state == State::Grace {
            return Grace::Needless;
        }
        if full {
            return Grace::Full;
        }
        session.state = State::Grace;
        session.watch = None;
        session.work = None;
        user.open.retain(|other| *other != id);
        insert_tight(&mut user.grace, 0, id);
        self.in_grace += 1;
        self.lapses.push_back((lapse, id));
        Grace::Begun
    }

    /// The next session whose grace is over by now; it is still in the tables.
    pub(super) fn lapsed(&mut self, now: Instant) -> Option<SessionId> {
        while let Some((lapse, id)) = self.lapses.front().copied() {
            if now < lapse {
                return None;
            }
            self.lapses.pop_front();
            if self.sessions.contains_key(&id) {
                return Some(id);
            }
        }
        None
    }

    /// When the next grace may be over.
    pub(super) fn next_lapse(&self) -> Option<Instant> {
        self.lapses.front().map(|(lapse, _)| *lapse)
    }

    /// When a grace beginning now is over.
    pub(super) fn lapse_after(&self, now: Instant, grace: Duration) -> Instant {
        // The queue is ordered also where the tuning changes or time stands still.
        let last = self.lapses.back().map_or(now, |(lapse, _)| *lapse);
        (now + grace).max(last)
    }

    /// From now on nothing that this connection says counts.
    pub(super) fn shut(&mut self, id: SessionId) {
        self.shut.insert(id);
    }

    /// Whether a connection is shut.
    pub(super) fn is_shut(&self, id: SessionId) -> bool {
        self.shut.contains(&id)
    }

    /// A connection is gone: true where it was shut.
    pub(super) fn unshut(&mut self, id: SessionId) -> bool {
        self.shut.remove(&id)
    }

    pub(super) fn get(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.get_mut(&id)
    }

    /// Up to `limit` sessions from `from` on, in the order of their ids.
    pub(super) fn slice(
        &self,
        from: SessionId,
        limit: usize,
    ) -> impl Iterator<Item = (SessionId, &Session)> {
        self.sessions
            .range(from..)
            .take(limit)
            .map(|(id, session)| (*id, session))
    }

    /// Sessions that are open, whatever they may still do.
    pub(super) fn open_count(&self) -> usize {
        self.sessions.len() - self.in_grace
    }

    /// Sessions in grace.
    pub(super) fn grace_count(&self) -> usize {
        self.in_grace
    }

    /// The sessions in grace of the users with this key.
    pub(super) fn graces(&self, key: RouteKey) -> impl Iterator<Item = SessionId> {
        self.chain(key).flat_map(|user| user.grace.iter().copied())
    }

    /// Nobody has a session here, not even one in grace.
    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Those of a user's live sessions that are wanted.
    pub(super) fn audience(
        &mut self,
        key: RouteKey,
        user: &UserName,
        mut wanted: impl FnMut(SessionId, &mut Session) -> bool,
    ) -> Audience {
        let user = self.users.get(&key).and_then(|head| head.find(user));
        let open = user.map_or(&[][..], |user| &user.open);
        let mut audience = Vec::with_capacity(open.len());
        audience.extend(open.iter().copied().filter(|id| {
            let session = self.sessions.get_mut(id);
            session.is_some_and(|session| session.state == State::Live && wanted(*id, session))
        }));
        audience
    }

    /// The sessions of a user's named devices, open or in grace.
    pub(super) fn named(&self, key: RouteKey, user: &UserName) -> &[(Device, SessionId)] {
        self.user(key, user).map_or(&[][..], |user| &user.named)
    }

    /// The users with named devices that have this key.
    pub(super) fn users_named(&self, key: RouteKey) -> impl Iterator<Item = &UserName> {
        self.chain(key)
            .filter(|user| !user.named.is_empty())
            .map(|user| &user.name)
    }

    /// The first key at or above `from` that somebody here has.
    pub(super) fn next_key(&self, from: RouteKey) -> Option<RouteKey> {
        self.users.range(from..).next().map(|(key, _)| *key)
    }

    /// The read mark of a user in a conversation, where it is known here.
    pub(super) fn marks(&self, key: RouteKey, user: &UserName) -> Option<&Marks> {
        self.user(key, user)?.marks.as_deref()
    }

    /// Notes that a user has read a conversation up to here.
    pub(super) fn raise_mark(
        &mut self,
        key: RouteKey,
        user: &UserName,
        of: &crate::id::Conversation,
        upto: EventId,
    ) {
        if let Some(user) = self.user_mut(key, user) {
            user.marks.get_or_insert_default().raise(of, upto);
        }
    }

    /// Notes that a user hears how far the other side of a conversation has read. False: it has no
    /// session here, or has heard of more.
    pub(super) fn hears(
        &mut self,
        key: RouteKey,
        user: &UserName,
        of: &crate::id::Conversation,
        upto: EventId,
    ) -> bool {
        let Some(user) = self.user_mut(key, user) else {
            return false;
        };
        let heard = user.heard.get_or_insert_default();
        let rises = heard.get(of) <= Some(upto);
        heard.raise(of, upto);
        rises
    }

    fn chain(&self, key: RouteKey) -> impl Iterator<Item = &User> {
        std::iter::successors(self.users.get(&key), |user| user.next.as_deref())
    }

    fn user(&self, key: RouteKey, name: &UserName) -> Option<&User> {
        self.users.get(&key)?.find(name)
    }

    fn user_mut(&mut self, key: RouteKey, name: &UserName) -> Option<&mut User> {
        self.users.get_mut(&key)?.find_mut(name)
    }

    fn forget(&mut self, key: RouteKey, name: &UserName) {
        let Some(head) = self.users.get_mut(&key) else {
            return;
        };
        if head.name != *name {
            head.unlink(name);
        } else if let Some(next) = head.next.take() {
            *head = *next;
        } else {
            self.users.remove(&key);
        }
    }
}

impl User {
    fn new(name: UserName) -> Self {
        Self {
            name,
            open: Vec::new(),
            grace: Vec::new(),
            named: Vec::new(),
            marks: None,
            heard: None,
            next: None,
        }
    }

    fn find(&self, name: &UserName) -> Option<&Self> {
        std::iter::successors(Some(self), |user| user.next.as_deref())
            .find(|user| user.name == *name)
    }

    fn find_mut(&mut self, name: &UserName) -> Option<&mut Self> {
        let mut user = self;
        while user.name != *name {
            user = user.next.as_deref_mut()?;
        }
        Some(user)
    }

    fn unlink(&mut self, name: &UserName) {
        let mut user = self;
        while let Some(mut next) = user.next.take() {
            if next.name == *name {
                user.next = next.next.take();
                return;
            }
            user = user.next.insert(next);
        }
    }

    fn device(&self, device: &Device) -> Result<usize, usize> {
        self.named.binary_search_by(|(named, _)| named.cmp(device))
    }

    /// Gives a device to a session: the one that had it before.
    fn name_device(&mut self, device: &Device, id: SessionId) -> Option<SessionId> {
        match self.device(device) {
            Ok(at) => Some(std::mem::replace(&mut self.named[at].1, id)),
            Err(at) => {
                insert_tight(&mut self.named, at, (device.clone(), id));
                None
            }
        }
    }
}

/// Inserts without the room for four that a first insertion takes: most lists here hold one.
fn insert_tight<T>(list: &mut Vec<T>, at: usize, item: T) {
    if list.capacity() == 0 {
        list.reserve_exact(1);
    }
    list.insert(at, item);
}
