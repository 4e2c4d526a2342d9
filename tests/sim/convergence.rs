//! Whatever happens to nodes, links and users: whom it does not touch notices nothing, and once it is
//! over, every table is right, and so is what watchers were told last.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh::command::{Command, Presence, Push, Reply};
use mesh::proto::{Closing, Config};
use proptest::prelude::*;
use sim::world::{Client, Heard, HostId, World};
use tests::bystanders::Bystanders;
use tests::census::Census;
use tests::expect::{route, views};
use tests::faults::{Fault, HOSTS_MAX, Scene, Wear, fault, mild_wear};
use tests::tuning::tuning;

/// One thing that happens. Numbers are taken modulo what there is, so that every sequence is valid
/// and shrinks well.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    Attach {
        host: u16,
        user: u16,
    },
    Detach {
        session: usize,
        lost: bool,
    },
    Move {
        session: usize,
        host: u16,
    },
    /// The faults are over for a while, and all must agree.
    Calm,
    Fault(Fault),
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    prop_oneof![
        8 => (any::<u16>(), 0..USERS).prop_map(|(host, user)| Attach { host, user }),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(session, lost)| Detach { session, lost }),
        4 => (any::<usize>(), any::<u16>()).prop_map(|(session, host)| Move { session, host }),
        1 => Just(Calm),
        32 => fault().prop_map(Fault),
    ]
}

/// The users who come and go.
const USERS: u16 = 6;

/// The most routes that there can be: each user and a watcher everywhere.
const ROUTES_MAX: u64 = (USERS as u64 + 1) * HOSTS_MAX as u64;

/// While time goes by, whoever is not touched is looked at that often.
const SLICE: Duration = Duration::from_millis(100);

fn user(n: u16) -> String {
    format!("@user{n}")
}

/// A world, and what its clients know of themselves.
pub(crate) struct Run {
    scene: Scene,
    config: Config,
    wear: Option<Wear>,
    census: Census,
    bystanders: Bystanders,
    /// One on each running host, which watches all users.
    watchers: BTreeMap<HostId, Client>,
}

impl Run {
    pub(crate) fn new(seed: u64, hosts: u16, config: &Config, wear: Option<Wear>) -> Self {
        let mut run = Self {
            scene: Scene::new(seed, hosts, config, wear),
            config: config.clone(),
            wear,
            census: Census::default(),
            bystanders: Bystanders::default(),
            watchers: BTreeMap::new(),
        };
        run.watch();
        run
    }

    /// Whatever happened, each node that runs has a watcher again.
    fn watch(&mut self) {
        self.census.update(&self.scene.world);
        let open = self.census.sessions(&self.scene.world);
        self.watchers
            .retain(|_, watcher| open.iter().any(|(client, _)| client == watcher));
        for host in self.scene.hosts() {
            if self.scene.is_up(host) && !self.watchers.contains_key(&host) {
                let watcher = self.census.hello(&mut self.scene.world, host, "@watcher");
                let users = (0..USERS).map(|n| World::user(&user(n))).collect();
                self.scene.world.command(watcher, Command::Watch(users));
                self.watchers.insert(host, watcher);
            }
        }
    }

    /// The first watcher who was told something else last than its node's table has.
    fn misled(&self) -> Option<String> {
        let world = &self.scene.world;
        let misled = |(host, watcher): (&HostId, &Client)| {
            let told = told(world, *watcher);
            (0..USERS).map(user).find_map(|user| {
                let (_, sight) = route(world, *host, &user)?;
                let is = (sight.online(), sight.certain());
                let was_told = told.get(&user).copied();
                (was_told != Some(is)).then(|| format!("{host:?} {user}: {was_told:?}, is {is:?}"))
            })
        };
        self.watchers.iter().find_map(misled)
    }

    fn session(&self, n: usize) -> Option<(Client, String)> {
        let mut sessions = self.census.sessions(&self.scene.world);
        sessions.retain(|(client, _)| self.watchers.get(&client.host) != Some(client));
        let count = sessions.len().max(1);
        sessions.into_iter().nth(n % count)
    }

    fn attach(&mut self, host: HostId, user: &str) {
        if self.scene.world.mesh(host).is_some() {
            self.census.hello(&mut self.scene.world, host, user);
        }
    }

    fn detach(&mut self, client: Client, closing: Closing) {
        self.census.close(&mut self.scene.world, client, closing);
    }

    /// Something happens, and no bystander may notice.
    pub(crate) fn apply(&mut self, operation: &Operation) -> Result<(), TestCaseError> {
        match *operation {
            Operation::Attach { host, user } => {
                self.attach(self.scene.host(host), &self::user(user));
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
                    self.attach(self.scene.host(host), &user);
                }
            }
            Operation::Calm => self.converge()?,
            Operation::Fault(Fault::Wait { ms }) => self.wait(Duration::from_millis(ms))?,
            Operation::Fault(ref fault) => self.scene.apply(fault),
        }
        self.wait(Duration::ZERO)
    }

    fn wait(&mut self, duration: Duration) -> Result<(), TestCaseError> {
        let end = self.scene.world.now() + duration;
        loop {
            let slice = end.since(self.scene.world.now()).min(SLICE);
            self.scene.run_for(slice);
            self.watch();
            let wrong = self
                .bystanders
                .look(&self.scene, &self.census, &self.config);
            prop_assert!(
                wrong.is_none(),
                "{}\n{}",
                wrong.unwrap(),
                views(&self.scene.world)
            );
            if end <= self.scene.world.now() {
                return Ok(());
            }
        }
    }

    /// The faults are over: whoever is dead comes back, and all must agree within the bound.
    pub(crate) fn converge(&mut self) -> Result<(), TestCaseError> {
        self.scene.heal_all();
        self.watch();
        self.settle()?;
        // And it stays so: nothing is still on its way that would undo it. Where frames are lost all the
        // time, a link may just be lost again.
        self.wait(Duration::from_secs(5))?;
        if self.wear.is_some() {
            self.settle()?;
        }
        self.agree(true)?;
        prop_assert_eq!(self.misled(), None);
        Ok(())
    }

    fn settle(&mut self) -> Result<(), TestCaseError> {
        let census = &self.census;
        let settled = self
            .scene
            .settle(|world| census.first_difference(world).is_none());
        self.agree(settled)
    }

    fn agree(&self, converged: bool) -> Result<(), TestCaseError> {
        let world = &self.scene.world;
        let difference = self.census.first_difference(world);
        prop_assert!(
            converged && difference.is_none(),
            "{difference:?}\n{}",
            views(world)
        );
        Ok(())
    }

    /// All that has happened, as far as it can be written down.
    fn history(&self) -> String {
        format!("{:?}", self.scene.world)
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

pub(crate) fn run(
    seed: u64,
    hosts: u16,
    config: &Config,
    wear: Option<Wear>,
    operations: &[Operation],
) -> Result<Run, TestCaseError> {
    let mut run = Run::new(seed, hosts, config, wear);
    for operation in operations {
        run.apply(operation)?;
    }
    run.converge()?;
    Ok(run)
}

proptest! {
    #![proptest_config(tests::cases(200))]

    #[test]
    fn routing_and_presence_converge_after_any_faults(
        seed in any::<u64>(),
        hosts in 1..7_u16,
        config in tuning(HOSTS_MAX.into(), ROUTES_MAX),
        wear in proptest::option::weighted(0.3, mild_wear()),
        operations in proptest::collection::vec(operation(), 0..60),
    ) {
        run(seed, hosts, &config, wear, &operations)?;
    }
}

proptest! {
    #![proptest_config(tests::cases(20))]

    #[test]
    fn the_same_seed_gives_the_same_history_byte_for_byte(
        seed in any::<u64>(),
        hosts in 1..6_u16,
        wear in proptest::option::of(mild_wear()),
        operations in proptest::collection::vec(operation(), 0..40),
    ) {
        let config = Config::default();
        let once = run(seed, hosts, &config, wear, &operations)?.history();
        let again = run(seed, hosts, &config, wear, &operations)?.history();
        prop_assert!(once == again, "the second history differs");
    }
}
