//! What peers must not be able to do, and promises that hold under any order of faults.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::world::{START_UNIX_MS, World};
use crate::event::{Event as Fact, SharedEvent};
use crate::id::{EventId, Nonce, SessionId, splitmix64};
use crate::proto::output::{Note, Ticket};
use crate::proto::streams::samples::{alice_and_bob, all_of, body, user};
use crate::proto::streams::{
    Ack, AppendId, Config, Draft, Message, Part, Purpose, Streams, Verdict,
};
use crate::store::{Answer, Query};
use crate::time::{PEER_AHEAD_MS, Stamp};

fn event_at(world: &World, unix_ms: u64) -> SharedEvent {
    SharedEvent::new(Fact {
        id: EventId {
            stamp: Stamp::from_unix_ms(unix_ms),
            origin: 3,
        },
        conversation: alice_and_bob(),
        author: user("@alice"),
        nonce: Some(Nonce::new(world.unix_ms(), 3)),
        kind: body("1"),
    })
}

const APPEND: AppendId = AppendId {
    number: 0,
    round: 0,
};

fn keep(event: SharedEvent) -> Message {
    Message::Offer {
        event,
        purpose: Purpose::KeepAndShow(APPEND),
    }
}

#[test]
fn an_event_that_no_coordinator_makes_is_neither_kept_nor_shown() {
    let mut world = World::new(2);
    let mut stranger = Fact::clone(&event_at(&world, world.unix_ms()));
    stranger.author = user("@mallory");
    let ahead = event_at(&world, world.unix_ms() + PEER_AHEAD_MS + 1);
    for bad in [stranger.into(), ahead] {
        world.receive(1, 0, keep(bad));
        world.run();
    }
    assert!(world.arrived(1).is_empty() && world.nodes[1].disk.streams.is_empty());
    assert_eq!(world.counter(1, "streams_messages_refused_total"), 2);
}

#[test]
fn an_acknowledgement_of_a_node_that_was_not_asked_counts_for_nothing() {
    let mut world = World::new(5);
    world.pause_disks(&[0, 1, 2, 3, 4]);
    let order = world.order(&alice_and_bob());
    let coordinator = order[0];
    let ticket = world.send(coordinator, "1");
    let ack = |verdict| {
        let append = APPEND;
        Message::Acks(vec![Ack { append, verdict }])
    };
    world.receive(coordinator, order[3], ack(Verdict::Flushed));
    world.receive(coordinator, order[4], ack(Verdict::Flushed));
    for _ in 0..3 {
        world.receive(coordinator, order[1], ack(Verdict::Flushed));
    }
    assert_eq!(world.result(coordinator, ticket), None);
    assert_eq!(
        world.counter(coordinator, "streams_messages_refused_total"),
        2
    );
}

#[test]
fn what_was_meant_for_an_earlier_life_names_nothing_in_this_one() {
    let first = |origin| Streams::new(Config::default(), origin).next_append;
    let (earlier, this) = (splitmix64(1), splitmix64(2));
    assert!(first(earlier).abs_diff(first(this)) > 1 << 32);
    let mut world = World::new(3);
    world.pause_disks(&[0, 1, 2]);
    world.nodes[0].streams = Streams::new(Config::default(), this);
    world.ready(0);
    let ticket = world.send(0, "1");
    let stale = |number| Ack {
        append: AppendId { number, round: 0 },
        verdict: Verdict::Flushed,
    };
    let acks = (0..1_000).map(|i| stale(first(earlier) + i)).collect();
    world.receive(0, 1, Message::Acks(acks));
    assert_eq!(world.result(0, ticket), None);
}

#[test]
fn acknowledgements_beyond_the_bound_are_refused_as_a_whole() {
    let mut world = World::new(3);
    world.pause_disks(&[0, 1, 2]);
    let ticket = world.send(0, "1");
    let flushed = Ack {
        append: APPEND,
        verdict: Verdict::Flushed,
    };
    for from in [1, 2] {
        world.receive(0, from, Message::Acks(vec![flushed.clone(); 1_025]));
    }
    assert_eq!(world.result(0, ticket), None);
    assert_eq!(world.counter(0, "streams_messages_refused_total"), 2);
}

#[test]
fn what_is_no_twin_is_not_adopted() {
    let mut world = World::new(3);
    world.pause_disks(&[0, 1, 2]);
    let ticket = world.send(0, "1");
    let mut other = Fact::clone(&event_at(&world, world.unix_ms() - 1));
    other.nonce = Some(Nonce(1));
    let ack = Ack {
        append: APPEND,
        verdict: Verdict::Twin(other.into()),
    };
    world.receive(0, 1, Message::Acks(vec![ack]));
    assert_eq!(world.counter(0, "streams_messages_refused_total"), 1);
    assert_eq!(world.counter(0, "streams_ids_adopted_total"), 0);
    world.resume_disks();
    assert!(!world.appended(0, ticket).duplicate);
}

/// A coordinator that has asked its two fellows to keep a message, whose disks do not answer; and an
/// event of the same nonce, stamped so many milliseconds before or after this moment.
fn with_twin(offset_ms: i64) -> (World, Ticket, SharedEvent) {
    let mut world = World::new(3);
    world.pass(Duration::from_secs(1));
    world.pause_disks(&[0, 1, 2]);
    let nonce = world.nonce();
    let ticket = world.append(0, world.draft("1", nonce));
    world.run();
    let unix_ms = world.unix_ms().saturating_add_signed(offset_ms);
    let mut twin = Fact::clone(&event_at(&world, unix_ms));
    twin.nonce = Some(nonce);
    (world, ticket, twin.into())
}

fn say(world: &mut World, from: usize, round: u8, verdict: Verdict) {
    let append = AppendId { number: 0, round };
    world.receive(0, from, Message::Acks(vec![Ack { append, verdict }]));
}

#[test]
fn a_copy_of_an_id_that_was_given_up_is_no_copy_of_the_one_adopted() {
    let (mut world, ticket, twin) = with_twin(-500);
    say(&mut world, 1, 0, Verdict::Twin(twin.clone()));
    say(&mut world, 2, 0, Verdict::Flushed);
    say(&mut world, 2, 1, Verdict::Flushed);
    assert_eq!(world.result(0, ticket), None);
    say(&mut world, 1, 1, Verdict::Flushed);
    let appended = world.appended(0, ticket);
    assert_eq!((appended.id, appended.copies), (twin.id, 2));
}

#[test]
fn a_larger_id_of_the_same_nonce_is_not_adopted() {
    let (mut world, ticket, twin) = with_twin(500);
    say(&mut world, 1, 0, Verdict::Twin(twin.clone()));
    assert_eq!(world.counter(0, "streams_ids_adopted_total"), 0);
    world.resume_disks();
    assert_ne!(world.appended(0, ticket).id, twin.id);
}

#[test]
fn another_content_under_a_known_id_is_noted_and_never_acknowledged() {
    let mut world = World::new(2);
    let event = event_at(&world, world.unix_ms());
    world.nodes[1].disk.put(&event);
    let mut forged = Fact::clone(&event);
    forged.kind = body("2");
    world.receive(1, 0, keep(forged.into()));
    world.run();
    assert_eq!(world.nodes[1].notes, [Note::EventDiffers(event.id)]);
    assert_eq!(world.counter(1, "streams_events_differ_total"), 1);
    assert!(
        !world
            .log
            .iter()
            .any(|(.., message)| matches!(message, Message::Acks(_)))
    );
}

#[test]
fn answers_to_nothing_or_to_something_else_are_refused() {
    let mut world = World::new(2);
    world.pause_disks(&[0, 1]);
    let ticket = world.start_read(0, Query::Range(all_of(alice_and_bob().stream())));
    let answer = |question, part| Message::Answer { question, part };
    world.receive(0, 1, answer(9, Part::Refused));
    assert_eq!(world.read_result(0, ticket), None);
    world.receive(0, 1, answer(0, Part::Whole(Answer::Nonce(None))));
    assert_eq!(world.counter(0, "streams_read_answers_refused_total"), 1);
    world.receive(0, 1, answer(0, Part::Refused));
    assert_eq!(
        world.counter(0, "streams_messages_refused_total"),
        1,
        "it has answered"
    );
    world.resume_disks();
    assert!(world.read_result(0, ticket).is_some());
}

#[test]
fn a_question_beyond_the_bounds_is_refused() {
    let mut world = World::new(2);
    let mut range = all_of(alice_and_bob().stream());
    range.limit = u32::MAX;
    let query = Query::Range(range);
    world.receive(1, 0, Message::Ask { question: 5, query });
    world.run();
    let refused = Message::Answer {
        question: 5,
        part: Part::Refused,
    };
    assert_eq!(world.log.last(), Some(&(1, 0, refused)));
}

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    Send {
        node: usize,
        nonce: u8,
        copies: Option<u8>,
    },
    Isolate(Vec<usize>),
    Heal,
    Lose(usize, usize),
    PauseDisk(usize),
    ResumeDisks,
    Room(usize, bool),
    Restart(usize),
    Pass(u64),
}

const NODES: usize = 4;

fn step() -> impl Strategy<Value = Step> {
    let node = 0..NODES;
    let copies = prop::option::of(1_u8..=3);
    prop_oneof![
        8 => (node.clone(), 0_u8..6, copies)
            .prop_map(|(node, nonce, copies)| Step::Send { node, nonce, copies }),
        1 => prop::collection::vec(node.clone(), 1..NODES).prop_map(Step::Isolate),
        2 => Just(Step::Heal),
        1 => (node.clone(), node.clone()).prop_map(|(a, b)| Step::Lose(a, b)),
        1 => node.clone().prop_map(Step::PauseDisk),
        2 => Just(Step::ResumeDisks),
        1 => node.clone().prop_map(Step::Restart),
        1 => (node, any::<bool>()).prop_map(|(node, room)| Step::Room(node, room)),
        3 => (1_u64..3_000).prop_map(Step::Pass),
    ]
}

/// What was asked of whom, and the nonces in use: one body each.
#[derive(Debug, Default)]
struct Asked {
    tickets: Vec<(usize, Ticket, Nonce, Option<u8>)>,
    nonces: BTreeMap<u8, Nonce>,
    /// Since when each node runs: its sessions said hello then.
    since_unix_ms: BTreeMap<usize, u64>,
}

fn take(world: &mut World, asked: &mut Asked, step: Step) {
    match step {
        Step::Send {
            node,
            nonce: name,
            copies,
        } => {
            let fresh = Nonce::new(world.unix_ms(), u128::from(name) + 1);
            let nonce = *asked.nonces.entry(name).or_insert(fresh);
            let since = asked.since_unix_ms.get(&node).copied();
            let draft = Draft {
                copies,
                hello_unix_ms: since.unwrap_or(START_UNIX_MS),
                session: SessionId(node as u64),
                ..world.draft(&name.to_string(), nonce)
            };
            let ticket = world.append(node, draft);
            asked.tickets.push((node, ticket, nonce, copies));
        }
        Step::Restart(node) => {
            world.pass(Duration::from_millis(1));
            world.restart(node);
            asked.since_unix_ms.insert(node, world.unix_ms());
            let ended = |ticket| world.result(node, ticket).is_some();
            asked
                .tickets
                .retain(|&(at, ticket, ..)| at != node || ended(ticket));
        }
        Step::Isolate(group) => world.isolate(&group),
        Step::Heal => world.heal(),
        Step::Lose(a, b) => drop(world.lossy.insert((a, b))),
        Step::PauseDisk(node) => world.nodes[node].disk_paused = true,
        Step::ResumeDisks => {
            world.lossy.clear();
            world.resume_disks();
        }
        Step::Room(node, room) => world.with_node(node, |streams, _, _, _| streams.on_room(room)),
        Step::Pass(millis) => world.pass(Duration::from_millis(millis)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_acknowledged_is_kept_and_one_nonce_is_shown_once(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut world = World::with(NODES, NODES, Config::default());
        world.attach("@alice", 0);
        world.attach("@bob", 1);
        let mut asked = Asked::default();
        for step in steps {
            take(&mut world, &mut asked, step);
            for &(node, ticket, _, copies) in &asked.tickets {
                if let Some(Ok(appended)) = world.result(node, ticket) {
                    let holds = |id| world.nodes.iter()
                        .filter(|node| node.disk.ids(alice_and_bob().stream()).contains(&id))
                        .count();
                    prop_assert!(usize::from(appended.copies) <= holds(appended.id));
                    prop_assert!(appended.copies >= copies.unwrap_or(1));
                }
            }
        }
        for node in 0..NODES {
            world.with_node(node, |streams, _, _, _| streams.on_room(true));
        }
        world.lossy.clear();
        world.heal();
        world.resume_disks();
        world.pass(Duration::from_secs(120));
        let read = world.ask(2, Query::Range(all_of(alice_and_bob().stream())));
        let Some((Answer::Events { events, .. }, true)) = read else {
            return Err(TestCaseError::fail("a healed world answers completely"));
        };
        for (node, ticket, nonce, _) in asked.tickets {
            let result = world.result(node, ticket);
            prop_assert!(result.is_some(), "every append ends");
            let shown = events.iter().filter(|event| event.nonce == Some(nonce)).count();
            prop_assert!(shown <= 1);
            if let Some(Ok(_)) = result {
                prop_assert_eq!(shown, 1);
            }
        }
        for node in &world.nodes {
            prop_assert_eq!(node.streams.deadline(), None, "nothing is left to be done");
        }
    }
}
