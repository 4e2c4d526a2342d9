//! Whatever happens to nodes and links: what was acknowledged is there once it is over, once, in one
//! order for all, and listed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mesh::command::{Command, Page, Reply, Send};
use mesh::event::{EventKind, Json};
use mesh::id::{Address, EventId, Nonce};
use mesh::proto::Config;
use proptest::prelude::*;
use sim::world::{Client, HostId};
use tests::faults::{Fault, Scene, passing_fault};

/// The users, each writing to each and to itself.
const USERS: usize = 3;

/// One thing that happens. Numbers are taken modulo what there is.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
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
    Fault(Fault),
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let copies = prop_oneof![4 => Just(None), 1 => (1..=3_u8).prop_map(Some)];
    prop_oneof![
        6 => (any::<u16>(), 0..USERS, 0..USERS, copies)
            .prop_map(|(host, from, to, copies)| Write { host, from, to, copies }),
        3 => any::<(usize, u16)>().prop_map(|(message, host)| Retry { message, host }),
        12 => passing_fault().prop_map(Fault),
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
    scene: Scene,
    sessions: BTreeMap<(HostId, usize), Client>,
    tried: Vec<Tried>,
    /// Whose answer is awaited: the message, by its place in `tried`.
    requests: Vec<(Client, u64, usize)>,
}

impl Run {
    fn new(seed: u64, count: u16) -> Self {
        Self {
            scene: Scene::new(seed, count, &Config::default(), None),
            sessions: BTreeMap::new(),
            tried: Vec::new(),
            requests: Vec::new(),
        }
    }

    fn session(&mut self, host: HostId, user: usize) -> Client {
        let world = &mut self.scene.world;
        let open = self.sessions.get(&(host, user)).copied();
        open.filter(|client| !world.is_over(*client))
            .unwrap_or_else(|| {
                let client = world.hello(host, &name(user), None);
                self.sessions.insert((host, user), client);
                client
            })
    }

    fn send(&mut self, host: HostId, message: usize) {
        if self.scene.world.mesh(host).is_none() {
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
        let request = self.scene.world.command(client, Command::Send(send));
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
                let host = self.scene.host(host);
                let nonce = Nonce::new(
                    self.scene.world.clock(host).unix_ms,
                    self.tried.len() as u128,
                );
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
                    self.send(self.scene.host(host), message % self.tried.len());
                }
            }
            Operation::Fault(ref fault) => self.scene.apply(fault),
        }
    }

    /// The faults are over, and whatever was under way has ended.
    fn calm(&mut self) -> Result<(), TestCaseError> {
        self.scene.heal_all();
        prop_assert!(self.scene.settle(|_| true));
        self.scene.world.run_for(Duration::from_secs(130));
        Ok(())
    }

    /// The messages that were acknowledged and the smallest id that each got: tried by way of two nodes
    /// that cannot reach each other it gets two, and is shown under the smaller.
    fn acknowledged(&self) -> BTreeMap<usize, EventId> {
        let mut acknowledged = BTreeMap::new();
        for (client, request, message) in &self.requests {
            if let Some(Reply::Sent { id, .. }) = self.scene.world.reply(*client, *request) {
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
        } = self.scene.world.ask(client, page)
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
        let Reply::Conversations { conversations, .. } = self.scene.world.ask(client, all) else {
            panic!("not a list of conversations");
        };
        let of = conversations.iter().map(|entry| entry.of.to_string());
        of.collect()
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        let acknowledged = self.acknowledged();
        let hosts: Vec<HostId> = self.scene.world.hosts().collect();
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

/// What was acknowledged is there once, in one order for all, and listed, after all this.
pub(crate) fn run(seed: u64, count: u16, operations: &[Operation]) -> Result<(), TestCaseError> {
    let mut run = Run::new(seed, count);
    run.scene.run_for(Duration::from_secs(2));
    for operation in operations {
        run.apply(operation);
    }
    run.calm()?;
    run.check()
}

proptest! {
    #![proptest_config(tests::cases(48))]

    #[test]
    fn what_was_acknowledged_is_there_once_after_any_faults(
        seed in any::<u64>(),
        count in 1..6u16,
        operations in proptest::collection::vec(operation(), 0..60),
    ) {
        run(seed, count, &operations)?;
    }
}
