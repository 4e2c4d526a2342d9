//! Whatever happens to nodes, links and users: once it is over, every table is right, and so is what
//! watchers were told last.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh::command::{Command, Presence, Push, Reply};
use mesh::proto::{Closing, Config};
use proptest::prelude::*;
use sim::network;
use sim::world::{Client, Heard, HostId, World};
use tests::expect::{HEALED, Truth, is_full_mesh, views};

/// One thing that happens. Numbers are taken modulo what there is, so that every sequence is valid
/// and shrinks well.
#[derive(Debug, Clone)]
enum Operation {
    Attach { host: u16, user: u16 },
    Detach { session: usize, lost: bool },
    Move { session: usize, host: u16 },
    Crash { host: u16 },
    Restart { host: u16 },
    Cut { a: u16, b: u16 },
    CutOneWay { from: u16, to: u16 },
    Heal { a: u16, b: u16 },
    Wait { ms: u64 },
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    prop_oneof![
        4 => (any::<u16>(), 0..USERS).prop_map(|(host, user)| Attach { host, user }),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(session, lost)| Detach { session, lost }),
        2 => (any::<usize>(), any::<u16>()).prop_map(|(session, host)| Move { session, host }),
        1 => any::<u16>().prop_map(|host| Crash { host }),
        1 => any::<u16>().prop_map(|host| Restart { host }),
        1 => any::<(u16, u16)>().prop_map(|(a, b)| Cut { a, b }),
        1 => any::<(u16, u16)>().prop_map(|(from, to)| CutOneWay { from, to }),
        1 => any::<(u16, u16)>().prop_map(|(a, b)| Heal { a, b }),
        3 => (1..4_000u64).prop_map(|ms| Wait { ms }),
    ]
}

/// A world, and what its clients know of themselves.
struct Run {
    world: World,
    count: u16,
    truth: Truth,
    sessions: BTreeMap<Client, String>,
    /// One on each running host, which watches all users.
    watchers: BTreeMap<HostId, Client>,
}

/// The users who come and go.
const USERS: u16 = 6;

fn user(n: u16) -> String {
    format!("@user{n}")
}

impl Run {
    fn new(seed: u64, count: u16) -> Self {
        let mut world = World::new(seed, network::Config::default());
        for n in 0..count {
            let contacts: Vec<HostId> = n.checked_sub(1).map(HostId).into_iter().collect();
            let host = world.add_host(Config::default(), &contacts);
            world.start(host);
        }
        let mut run = Self {
            world,
            count,
            truth: Truth::default(),
            sessions: BTreeMap::new(),
            watchers: BTreeMap::new(),
        };
        (0..count).for_each(|n| run.watch(HostId(n)));
        run
    }

    fn watch(&mut self, host: HostId) {
        let watcher = self.world.hello(host, "@watcher", None);
        self.truth.attach("@watcher", host);
        let users = (0..USERS).map(|n| World::user(&user(n))).collect();
        self.world.command(watcher, Command::Watch(users));
        self.watchers.insert(host, watcher);
    }

    /// The first watcher who was told something else last than its node's table has.
    fn misled(&self) -> Option<String> {
        let misled = |(host, watcher): (&HostId, &Client)| {
            let mesh = self.world.mesh(*host)?;
            let told = told(&self.world, *watcher);
            (0..USERS).map(user).find_map(|user| {
                let address = user.parse().expect("a valid address");
                let (_, sight) = mesh.route(self.world.clock(*host), &address);
                let is = (sight.online(), sight.certain());
                let was_told = told.get(&user).copied();
                (was_told != Some(is)).then(|| format!("{host:?} {user}: {was_told:?}, is {is:?}"))
            })
        };
        self.watchers.iter().find_map(misled)
    }

    fn host(&self, n: u16) -> HostId {
        HostId(n % self.count)
    }

    fn session(&self, n: usize) -> Option<(Client, String)> {
        let count = self.sessions.len().max(1);
        self.sessions
            .iter()
            .nth(n % count)
            .map(|(client, user)| (*client, user.clone()))
    }

    fn attach(&mut self, host: HostId, user: String) {
        if self.world.mesh(host).is_some() {
            let client = self.world.hello(host, &user, None);
            self.truth.attach(&user, host);
            self.sessions.insert(client, user);
        }
    }

    fn detach(&mut self, client: Client, closing: Closing) {
        let user = self.sessions.remove(&client).expect("an open session");
        self.world.close(client, closing);
        self.truth.detach(&user, client.host);
    }

    fn crash(&mut self, host: HostId) {
        if self.world.mesh(host).is_some() {
            self.world.crash(host);
            self.truth.crash(host);
            self.sessions.retain(|client, _| client.host != host);
            self.watchers.remove(&host);
        }
    }

    fn restart(&mut self, host: HostId) {
        if self.world.mesh(host).is_none() {
            self.world.start(host);
            self.watch(host);
        }
    }

    fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Attach { host, user } => {
                self.attach(self.host(host), self::user(user));
            }
            Operation::Detach { session, lost } => {
                let closing = if lost { Closing::Lost } else { Closing::Gone };
                if let Some((client, _)) = self.session(session) {
                    self.detach(client, closing);
                }
            }
            Operation::Move { session, host } => {
                if let Some((client, user)) = self.session(session) {
                    self.detach(client, Closing::Lost);
                    self.attach(self.host(host), user);
                }
            }
            Operation::Crash { host } => self.crash(self.host(host)),
            Operation::Restart { host } => self.restart(self.host(host)),
            Operation::Cut { a, b } => self.world.cut(self.host(a), self.host(b)),
            Operation::CutOneWay { from, to } => {
                self.world.cut_one_way(self.host(from), self.host(to))
            }
            Operation::Heal { a, b } => self.world.heal(self.host(a), self.host(b)),
            Operation::Wait { ms } => self.world.run_for(Duration::from_millis(ms)),
        }
    }

    /// The faults are over: whoever is dead comes back, and all must agree within the bound.
    fn heal_and_converge(&mut self) -> Result<(), TestCaseError> {
        self.world.heal_all();
        let hosts: Vec<HostId> = self.world.hosts().collect();
        for host in &hosts {
            self.restart(*host);
        }
        let truth = self.truth.clone();
        let right =
            |world: &World| is_full_mesh(world, &hosts) && truth.first_difference(world).is_none();
        let converged = self.world.run_until(HEALED, right);
        prop_assert!(
            converged,
            "{:?}\n{}",
            self.truth.first_difference(&self.world),
            views(&self.world)
        );
        // And it stays so: nothing is still on its way that would undo it.
        self.world.run_for(Duration::from_secs(5));
        prop_assert!(
            right(&self.world),
            "{:?}\n{}",
            self.truth.first_difference(&self.world),
            views(&self.world)
        );
        prop_assert_eq!(self.misled(), None);
        Ok(())
    }
}

/// What a watcher was told last of each user: online, certain.
fn told(world: &World, watcher: Client) -> BTreeMap<String, (bool, bool)> {
    let mut told = BTreeMap::new();
    let mut hear = |state: &Presence| {
        told.insert(state.user.to_string(), (state.online, state.certain));
    };
    for heard in world.heard(watcher) {
        match heard {
            Heard::Reply(_, Reply::Presence(states)) => states.iter().for_each(&mut hear),
            Heard::Push(Push::Presence(state)) => hear(state),
            _ => {}
        }
    }
    told
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn routing_and_presence_converge_after_any_faults(
        seed in any::<u64>(),
        count in 2..6u16,
        operations in proptest::collection::vec(operation(), 0..40),
    ) {
        let mut run = Run::new(seed, count);
        for operation in &operations {
            run.apply(operation);
        }
        run.heal_and_converge()?;
    }
}

#[test]
fn the_same_seed_gives_the_same_history_byte_for_byte() {
    let history = || {
        let mut run = Run::new(7, 4);
        let operations = [
            Operation::Attach { host: 0, user: 1 },
            Operation::Wait { ms: 700 },
            Operation::Cut { a: 1, b: 2 },
            Operation::Attach { host: 2, user: 2 },
            Operation::Crash { host: 3 },
            Operation::Wait { ms: 5_000 },
            Operation::Restart { host: 3 },
            Operation::Heal { a: 1, b: 2 },
            Operation::Wait { ms: 5_000 },
        ];
        operations.iter().for_each(|operation| run.apply(operation));
        (run.world.traffic(), format!("{:?}", run.world))
    };
    assert_eq!(history(), history());
}
