//! Who is where, from what clients did and heard: the truth that routing is held against.
//!
//! No machine is asked for it. A session is open from its `hello` until its client closes it or hears
//! that it is over; its route may be shown a little longer, and is to be shown at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mesh::id::NodeId;
use mesh::proto::Closing;
use mesh::time::Instant;
use sim::world::{Client, HostId, World};

use crate::expect::{route, views};

/// The sessions of all clients.
#[derive(Debug, Clone, Default)]
pub struct Census {
    open: BTreeMap<Client, Session>,
    /// User and host → when a session of the one on the other was last seen to end.
    ended: BTreeMap<(String, HostId), Instant>,
    users: BTreeSet<String>,
}

#[derive(Debug, Clone)]
struct Session {
    user: String,
    since: Instant,
}

/// How right a table must be of a host that no fault touches.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How soon it knows who came or went.
    pub prompt: Duration,
    /// For how long a lost session is shown.
    pub grace: Duration,
    /// The way there may be a new one just now: it is enough to know that the user is online.
    pub detours: bool,
}

impl Census {
    /// Somebody connects to a host.
    pub fn hello(&mut self, world: &mut World, host: HostId, user: &str) -> Client {
        self.hello_as(world, host, user, None)
    }

    /// Somebody connects to a host, with a device of that name.
    pub fn hello_as(
        &mut self,
        world: &mut World,
        host: HostId,
        user: &str,
        device: Option<&str>,
    ) -> Client {
        let client = world.hello(host, user, device);
        let (user, since) = (user.to_owned(), world.now());
        self.users.insert(user.clone());
        self.open.insert(client, Session { user, since });
        client
    }

    /// A client goes, or its connection is lost.
    pub fn close(&mut self, world: &mut World, client: Client, closing: Closing) {
        world.close(client, closing);
        self.end(world.now(), client);
    }

    /// Notes which sessions have ended for any other reason.
    pub fn update(&mut self, world: &World) {
        let ended: Vec<Client> = self
            .open
            .keys()
            .copied()
            .filter(|it| world.is_over(*it))
            .collect();
        for client in ended {
            self.end(world.now(), client);
        }
    }

    fn end(&mut self, now: Instant, client: Client) {
        if let Some(session) = self.open.remove(&client) {
            self.ended.insert((session.user, client.host), now);
        }
    }

    /// The open sessions in the order of their beginnings: which, and whose.
    pub fn sessions(&self, world: &World) -> Vec<(Client, String)> {
        let open = self
            .open
            .iter()
            .filter(|(client, _)| !world.is_over(**client));
        let mut open: Vec<_> = open.collect();
        open.sort_by_key(|(client, _)| client.session);
        let named = open
            .into_iter()
            .map(|(client, session)| (*client, session.user.clone()));
        named.collect()
    }

    /// Where a user has sessions.
    pub fn hosts_of(&self, world: &World, user: &str) -> BTreeSet<HostId> {
        let open = self.open.iter();
        let of_user = open.filter(|(client, it)| it.user == user && !world.is_over(**client));
        of_user.map(|(client, _)| client.host).collect()
    }

    /// The first table that differs from the truth, in words; `None` where all agree.
    pub fn first_difference(&self, world: &World) -> Option<String> {
        for user in &self.users {
            let hosts = self.hosts_of(world, user);
            let expected: BTreeSet<NodeId> = hosts.iter().map(|host| world.node(*host)).collect();
            for seen_by in world.hosts() {
                let Some((found, sight)) = route(world, seen_by, user) else {
                    continue;
                };
                if found != expected || sight.online() == expected.is_empty() || !sight.certain() {
                    return Some(format!(
                        "{seen_by:?} finds {user} at {found:?} ({sight:?}), it is at {expected:?}"
                    ));
                }
            }
        }
        None
    }

    /// The first thing that one host's table has wrong of another, in words.
    pub fn first_error(
        &self,
        world: &World,
        (seen_by, of): (HostId, HostId),
        patience: Patience,
    ) -> Option<String> {
        let now = world.now();
        let node = world.node(of);
        for user in &self.users {
            let (found, sight) = route(world, seen_by, user)?;
            let here = |(client, it): &(&Client, &Session)| client.host == of && it.user == *user;
            let since = self.open.iter().filter(here).map(|(_, it)| it.since).min();
            let ended = self.ended.get(&(user.clone(), of)).copied();
            let is_found = sight.online() && (patience.detours || found.contains(&node));
            let missed = since.is_some_and(|at| at + patience.prompt < now) && !is_found;
            let past = ended.is_none_or(|at| at + patience.grace + patience.prompt < now);
            let over = since.is_none() && past && found.contains(&node);
            if missed || over {
                let word = if missed { "misses" } else { "still shows" };
                return Some(format!(
                    "{seen_by:?} {word} {user} at {of:?}: attached {since:?}, ended {ended:?}, \
                     now {now:?} {sight:?}"
                ));
            }
        }
        None
    }

    /// Runs until all tables agree with the truth.
    ///
    /// # Panics
    /// Where they do not within the bound.
    pub fn converge(&self, world: &mut World, bound: Duration) {
        let converged = world.run_until(bound, |world| self.first_difference(world).is_none());
        assert!(
            converged,
            "{}\n{}",
            self.first_difference(world).unwrap_or_default(),
            views(world)
        );
    }
}
