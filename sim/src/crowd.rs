//! Users: they come, go, lose their connection, move to another node, and come back when theirs is gone.

use std::time::Duration;

use mesh::proto::Closing;
use mesh::time::Instant;

use crate::queue::Queue;
use crate::seed::{Chance, Probability};
use crate::world::{Client, HostId, World};

/// The longest that a client waits before it connects again: what well-made clients draw from.
const RECONNECT: Duration = Duration::from_secs(2);

/// Who lost its connection for a moment comes back within this: the grace of a lost session is 3 s.
const RETURN: Duration = Duration::from_secs(5);

/// What users do.
#[derive(Debug, Clone, PartialEq)]
pub struct Habits {
    /// The share of users that are online at the start.
    pub online: Probability,
    /// The mean time between two changes of a user.
    pub stay: Duration,
}

/// What a user does next when its turn comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// As it pleases.
    Any,
    /// Comes, unless it is there.
    Come,
    /// Goes, unless it is not there.
    Go,
    /// Comes back to where it was, unless it is anywhere.
    Return(HostId),
}

#[derive(Debug, Default)]
struct User {
    client: Option<Client>,
    /// The present plan; an older one is void.
    plan: u64,
}

/// All users.
#[derive(Debug)]
pub struct Crowd {
    users: Vec<User>,
    agenda: Queue<(u32, u64, Turn)>,
    habits: Habits,
    chance: Chance,
    changes: u64,
}

impl Crowd {
    /// So many users, of whom a share comes within the first seconds.
    pub fn new(count: u32, habits: Habits, chance: Chance, now: Instant) -> Self {
        let mut crowd = Self {
            users: (0..count).map(|_| User::default()).collect(),
            agenda: Queue::default(),
            changes: 0,
            chance,
            habits,
        };
        for user in 0..count {
            if crowd.chance.happens(crowd.habits.online) {
                crowd.plan(user, now, RECONNECT, Turn::Come);
            } else {
                crowd.plan_any(user, now);
            }
        }
        crowd
    }

    /// When the next user does something.
    pub fn next_at(&self) -> Option<Instant> {
        self.agenda.next_at()
    }

    /// How many changes there were.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Whoever has a turn by now takes it.
    pub fn act(&mut self, world: &mut World) {
        while let Some((_, (user, plan, turn))) = self.agenda.pop(world.now()) {
            if self.user(user).plan == plan {
                self.plan_any(user, world.now());
                self.take_turn(world, user, turn);
            }
        }
    }

    fn take_turn(&mut self, world: &mut World, user: u32, turn: Turn) {
        match (self.user(user).client, turn) {
            (None, Turn::Any | Turn::Come) => self.come(world, user),
            (Some(client), Turn::Go) => self.go(world, user, client, Closing::Gone),
            (None, Turn::Return(host)) => self.come_to(world, user, host),
            (None, Turn::Go) | (Some(_), Turn::Come | Turn::Return(_)) => {}
            (Some(client), Turn::Any) => self.change(world, user, client),
        }
    }

    /// A user that is online goes, moves, or only loses its connection.
    fn change(&mut self, world: &mut World, user: u32, client: Client) {
        match self.chance.below(4) {
            0 => self.go(world, user, client, Closing::Gone),
            1 => self.go(world, user, client, Closing::Lost),
            // It is elsewhere before its connection here is known to be lost.
            2 => {
                self.user_mut(user).client = None;
                self.come(world, user);
                world.close(client, Closing::Lost);
                world.forget(client);
            }
            // It comes back to where it was, before or after its grace is over.
            _ => {
                self.go(world, user, client, Closing::Lost);
                self.plan(user, world.now(), RETURN, Turn::Return(client.host));
            }
        }
    }

    /// To any node that runs.
    fn come(&mut self, world: &mut World, user: u32) {
        let running: Vec<HostId> = world.hosts().filter(|host| world.runs(*host)).collect();
        if let Some(&host) = self.chance.pick(&running) {
            self.come_to(world, user, host);
        }
    }

    fn come_to(&mut self, world: &mut World, user: u32, host: HostId) {
        if world.runs(host) {
            // One in two has a device with a name, which has one session in the mesh.
            let device = user.is_multiple_of(2).then_some("phone");
            let client = world.hello(host, &format!("@user{user}"), device);
            self.user_mut(user).client = Some(client);
            self.changes += 1;
        }
    }

    fn go(&mut self, world: &mut World, user: u32, client: Client, closing: Closing) {
        world.close(client, closing);
        world.forget(client);
        self.user_mut(user).client = None;
        self.changes += 1;
    }

    /// Users whose session was ended by their node, or with it, come back soon.
    pub fn look_after_lost(&mut self, world: &mut World) {
        for user in 0..u32::try_from(self.users.len()).expect("counted as u32") {
            if let Some(client) = self
                .user(user)
                .client
                .filter(|client| world.is_over(*client))
            {
                world.forget(client);
                self.user_mut(user).client = None;
                self.plan(user, world.now(), RECONNECT, Turn::Come);
            }
        }
    }

    /// A share of the users that are not online comes within so long.
    pub fn rush(&mut self, now: Instant, share: Probability, within: Duration) {
        self.all(now, share, within, Turn::Come);
    }

    /// A share of the users that are online goes within so long.
    pub fn leave(&mut self, now: Instant, share: Probability, within: Duration) {
        self.all(now, share, within, Turn::Go);
    }

    /// Nobody comes or goes any more but those whose session was ended.
    pub fn rest(&mut self) {
        self.agenda = Queue::default();
        self.habits.stay = Duration::MAX / 4;
    }

    fn all(&mut self, now: Instant, share: Probability, within: Duration, turn: Turn) {
        for user in 0..u32::try_from(self.users.len()).expect("counted as u32") {
            let concerned = self.user(user).client.is_none() == (turn == Turn::Come);
            if concerned && self.chance.happens(share) {
                self.plan(user, now, within, turn);
            }
        }
    }

    fn plan_any(&mut self, user: u32, now: Instant) {
        // Evenly up to twice the mean.
        self.plan(user, now, self.habits.stay * 2, Turn::Any);
    }

    fn plan(&mut self, user: u32, now: Instant, within: Duration, turn: Turn) {
        let at = now + self.chance.duration((Duration::ZERO, within));
        let plan = &mut self.user_mut(user).plan;
        *plan += 1;
        let plan = *plan;
        self.agenda.plan(at, (user, plan, turn));
    }

    fn user(&self, user: u32) -> &User {
        &self.users[user as usize]
    }

    fn user_mut(&mut self, user: u32) -> &mut User {
        &mut self.users[user as usize]
    }
}

#[cfg(test)]
mod tests;
