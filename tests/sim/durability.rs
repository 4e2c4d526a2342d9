//! Whatever happens to nodes and links: what was acknowledged is there once it is over, once, in one
//! order for all, and listed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mesh::command::{Command, Page, Reply, Send};
use mesh::event::{EventKind, Json};
use mesh::id::{Address, EventId, Nonce};
use mesh::proto::Config;
use proptest::prelude::*;
use sim::network;
use sim::world::{Client, HostId, World};
use tests::expect::{HEALED, is_full_mesh};

/// The users, each writing to each and to itself.
const USERS: usize = 3;

/// One thing that happens. Numbers are taken modulo what there is.
#[derive(Debug, Clone)]
enum Operation {
    /// A user writes, by way of a host, with so many copies or none asked for.
    Write {
        host: u16,
        from: usize,
        to: usize,
        copies: Option<u8>,
    },
    /// An earlier message is tried again, by way of any host.
    Retry {
        message: usize,
        host: u16,
    },
    Crash {
        host: u16,
    },
    Restart {
        host: u16,
    },
    Cut {
        a: u16,
        b: u16,
    },
    CutOneWay {
        from: u16,
        to: u16,
    },
    Heal {
        a: u16,
        b: u16,
    },
    /// A host does nothing for so long, and then all at once.
    Pause {
        host: u16,
        ms: u64,
    },
    /// A node is told to stop, and is gone once it has.
    Stop {
        host: u16,
    },
    /// A wall clock jumps.
    Skew {
        host: u16,
        ms: i64,
    },
    Wait {
        ms: u64,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let copies = prop_oneof![4 => Just(None), 1 => (1..=3_u8).prop_map(Some)];
    prop_oneof![
        6 => (any::<u16>(), 0..USERS, 0..USERS, copies)
            .prop_map(|(host, from, to, copies)| Write { host, from, to, copies }),
        3 => any::<(usize, u16)>().prop_map(|(message, host)| Retry { message, host }),
        1 => any::<u16>().prop_map(|host| Crash { host }),
        1 => any::<u16>().prop_map(|host| Restart { host }),
        1 => any::<(u16, u16)>().prop_map(|(a, b)| Cut { a, b }),
        1 => any::<(u16, u16)>().prop_map(|(from, to)| CutOneWay { from, to }),
        1 => any::<(u16, u16)>().prop_map(|(a, b)| Heal { a, b }),
        1 => (any::<u16>(), 1..5_000_u64).prop_map(|(host, ms)| Pause { host, ms }),
        1 => any::<u16>().prop_map(|host| Stop { host }),
        1 => (any::<u16>(), -40_000..40_000_i64).prop_map(|(host, ms)| Skew { host, ms }),
        2 => (1..40_u64).prop_map(|ms| Wait { ms }),
        2 => (1..6_000_u64).prop_map(|ms| Wait { ms }),
    ]
}

fn name(user: usize) -> String {
    format!("@user{user}")
}

fn address(user: usize) -> Address {
    name(user).parse().expect("a valid address")
}

/// A message that somebody has tried to send.
#[derive(Debug, Clone, Copy)]
struct Tried {
    from: usize,
    to: usize,
    nonce: Nonce,
    copies: Option<u8>,
}

/// A world, and what was tried in it.
struct Run {
    world: World,
    count: u16,
    sessions: BTreeMap<(HostId, usize), Client>,
    tried: Vec<Tried>,
    /// Whose answer is awaited: the message, by its place in `tried`.
    requests: Vec<(Client, u64, usize)>,
}

impl Run {
    fn new(seed: u64, count: u16) -> Self {
        let mut world = World::new(seed, network::Config::default());
        for n in 0..count {
            let contacts: Vec<HostId> = n.checked_sub(1).map(HostId).into_iter().collect();
            let host = world.add_host(Config::default(), &contacts);
            world.start(host);
        }
        Self {
            world,
            count,
            sessions: BTreeMap::new(),
            tried: Vec::new(),
            requests: Vec::new(),
        }
    }

    fn host(&self, n: u16) -> HostId {
        HostId(n % self.count)
    }

    fn session(&mut self, host: HostId, user: usize) -> Client {
        let world = &mut self.world;
        let open = || world.hello(host, &name(user), None);
        *self.sessions.entry((host, user)).or_insert_with(open)
    }

    fn send(&mut self, host: HostId, message: usize) {
        if self.world.mesh(host).is_none() {
            return;
        }
        let tried = self.tried[message];
        let client = self.session(host, tried.from);
        let send = Send {
            to: address(tried.to),
            body: Json::from_valid(message.to_string()),
            nonce: Some(tried.nonce),
            reply_to: None,
            copies: tried.copies,
        };
        let request = self.world.command(client, Command::Send(send));
        self.requests.push((client, request, message));
    }

    fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Write {
                host,
                from,
                to,
                copies,
            } => {
                let host = self.host(host);
                let nonce = Nonce::new(self.world.clock(host).unix_ms, self.tried.len() as u128);
                self.tried.push(Tried {
                    from,
                    to,
                    nonce,
                    copies,
                });
                self.send(host, self.tried.len() - 1);
            }
            Operation::Retry { message, host } => {
                if !self.tried.is_empty() {
                    self.send(self.host(host), message % self.tried.len());
                }
            }
            Operation::Crash { host } => {
                self.crash(self.host(host));
            }
            Operation::Restart { host } => self.restart(self.host(host)),
            Operation::Cut { a, b } => self.world.cut(self.host(a), self.host(b)),
            Operation::CutOneWay { from, to } => {
                self.world.cut_one_way(self.host(from), self.host(to));
            }
            Operation::Pause { host, ms } => {
                let host = self.host(host);
                self.world.pause(host);
                self.world.run_for(Duration::from_millis(ms));
                self.world.unpause(host);
            }
            Operation::Stop { host } => self.stop(self.host(host)),
            Operation::Skew { host, ms } => self.world.skew(self.host(host), ms),
            Operation::Heal { a, b } => self.world.heal(self.host(a), self.host(b)),
            Operation::Wait { ms } => self.world.run_for(Duration::from_millis(ms)),
        }
    }

    fn crash(&mut self, host: HostId) {
        if self.world.mesh(host).is_some() {
            self.world.crash(host);
            self.sessions.retain(|(of, _), _| *of != host);
        }
    }

    fn stop(&mut self, host: HostId) {
        if self.world.mesh(host).is_some() {
            self.world.stop(host);
            let patience = Duration::from_secs(31);
            self.world
                .run_until(patience, |world| world.has_stopped(host));
            self.crash(host);
        }
    }

    fn restart(&mut self, host: HostId) {
        if self.world.mesh(host).is_none() {
            self.world.start(host);
        }
    }

    /// The faults are over, and whatever was under way has ended.
    fn calm(&mut self) -> Result<(), TestCaseError> {
        self.world.heal_all();
        let hosts: Vec<HostId> = self.world.hosts().collect();
        hosts.iter().for_each(|host| self.restart(*host));
        let met = self
            .world
            .run_until(HEALED, |world| is_full_mesh(world, &hosts));
        prop_assert!(met);
        self.world.run_for(Duration::from_secs(130));
        Ok(())
    }

    /// The messages that were acknowledged and the smallest id that each got: tried by way of two nodes
    /// that cannot reach each other it gets two, and is shown under the smaller.
    fn acknowledged(&self) -> BTreeMap<usize, EventId> {
        let mut acknowledged = BTreeMap::new();
        for (client, request, message) in &self.requests {
            if let Some(Reply::Sent { id, .. }) = self.world.reply(*client, *request) {
                let least = acknowledged.entry(*message).or_insert(*id);
                *least = *id.min(least);
            }
        }
        acknowledged
    }

    /// What a user sees of a conversation by way of a host.
    fn history(&mut self, host: HostId, reader: usize, of: usize) -> Vec<(EventId, usize)> {
        let client = self.session(host, reader);
        let page = Command::History {
            of: address(of),
            from: Page::Newest,
            limit: 200,
        };
        let Reply::History {
            events,
            more: false,
            complete: true,
        } = self.world.ask(client, page)
        else {
            panic!("not a whole and complete history");
        };
        let row = |event: &mesh::event::SharedEvent| match &event.kind {
            EventKind::Message { body, .. } => (event.id, body.as_str().parse().expect("a place")),
            EventKind::Contact { .. } | EventKind::Read { .. } => panic!("{event:?}"),
        };
        events.iter().map(row).collect()
    }

    fn listed(&mut self, host: HostId, reader: usize) -> BTreeSet<String> {
        let client = self.session(host, reader);
        let all = Command::Conversations {
            limit: 50,
            before: None,
        };
        let Reply::Conversations { conversations, .. } = self.world.ask(client, all) else {
            panic!("not a list of conversations");
        };
        let of = conversations.iter().map(|entry| entry.of.to_string());
        of.collect()
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        let acknowledged = self.acknowledged();
        let hosts: Vec<HostId> = self.world.hosts().collect();
        for reader in 0..USERS {
            let mut partners = BTreeSet::new();
            for of in 0..USERS {
                let seen = self.history(hosts[0], reader, of);
                let ids: BTreeSet<EventId> = seen.iter().map(|(id, _)| *id).collect();
                let places: BTreeSet<usize> = seen.iter().map(|(_, place)| *place).collect();
                prop_assert_eq!(places.len(), seen.len(), "twice: {:?}", &seen);
                prop_assert_eq!(ids.len(), seen.len());
                for (place, id) in &acknowledged {
                    let tried = self.tried[*place];
                    if [(tried.from, tried.to), (tried.to, tried.from)].contains(&(reader, of)) {
                        let shown = seen.iter().find(|(_, shown)| shown == place);
                        let right = shown.is_some_and(|(shown, _)| shown <= id);
                        prop_assert!(right, "{place} is lost: {seen:?}");
                        partners.insert(name(of));
                    }
                }
                for host in &hosts[1..] {
                    prop_assert_eq!(&self.history(*host, reader, of), &seen);
                    prop_assert_eq!(&self.history(*host, of, reader), &seen);
                }
            }
            let listed = self.listed(hosts[hosts.len() - 1], reader);
            prop_assert!(partners.is_subset(&listed), "{partners:?} of {listed:?}");
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn what_was_acknowledged_is_there_once_after_any_faults(
        seed in any::<u64>(),
        count in 1..6u16,
        operations in proptest::collection::vec(operation(), 0..60),
    ) {
        let mut run = Run::new(seed, count);
        run.world.run_for(Duration::from_secs(2));
        for operation in &operations {
            run.apply(operation);
        }
        run.calm()?;
        run.check()?;
    }
}
