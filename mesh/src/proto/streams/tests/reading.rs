//! Rules of reading: the union of all storing members, and when it is complete.

use std::time::Duration;

use super::world::World;
use crate::id::EventId;
use crate::proto::streams::reading::{READ_TIMEOUT, READS_MAX};
use crate::proto::streams::samples::{alice_and_bob, all_of, message_at, message_by, user};
use crate::proto::streams::serving::LOADS_MAX;
use crate::store::{Answer, Head, HeadQuery, Query, UNREAD_MAX};

fn everything() -> Query {
    Query::Range(all_of(alice_and_bob().stream()))
}

fn head() -> Query {
    Query::Heads(vec![HeadQuery {
        stream: alice_and_bob().stream(),
        reader: user("@bob"),
        read: EventId::MIN,
    }])
}

fn stamps(answer: Answer) -> Vec<u64> {
    let Answer::Events { events, .. } = answer else {
        panic!("{answer:?}");
    };
    events.iter().map(|event| event.id.stamp.0).collect()
}

fn only_head(answer: Answer) -> Head {
    let Answer::Heads(mut heads) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(heads.len(), 1);
    heads.remove(0)
}

/// Three nodes, each with another part of one conversation.
fn scattered() -> World {
    let mut world = World::new(3);
    for (node, held) in [(0, [1, 2]), (1, [2, 3]), (2, [3, 5])] {
        for stamp in held {
            world.nodes[node].disk.put(&message_at(stamp, "1"));
        }
    }
    world
}

#[test]
fn a_page_is_the_union_of_all_storing_members() {
    let mut world = scattered();
    let (answer, complete) = world.ask(0, everything()).unwrap();
    assert_eq!((stamps(answer), complete), (vec![1, 2, 3, 5], true));
}

#[test]
fn an_answer_is_complete_while_at_most_one_storing_member_is_missing() {
    let mut world = scattered();
    world.isolate(&[2]);
    let (answer, complete) = world.ask(0, everything()).unwrap();
    assert_eq!((stamps(answer), complete), (vec![1, 2, 3], true));
    world.isolate(&[1]);
    let (answer, complete) = world.ask(0, everything()).unwrap();
    assert_eq!((stamps(answer), complete), (vec![1, 2], false));
}

#[test]
fn nobody_to_ask_is_an_incomplete_answer() {
    let mut world = World::with(2, 1, Default::default());
    world.isolate(&[1]);
    let (answer, complete) = world.ask(1, everything()).unwrap();
    assert_eq!((stamps(answer), complete), (vec![], false));
    let (answer, complete) = world.ask(1, head()).unwrap();
    assert_eq!((only_head(answer).unread, complete), (0, false));
}

#[test]
fn who_does_not_answer_in_time_is_missing() {
    let mut world = scattered();
    world.pause_disks(&[1, 2]);
    let ticket = world.start_read(0, everything());
    world.pass(Duration::from_millis(1_999));
    assert_eq!(world.read_result(0, ticket), None);
    world.pass(Duration::from_millis(1));
    let (answer, complete) = world.read_result(0, ticket).unwrap();
    assert_eq!((stamps(answer), complete), (vec![1, 2], false));
}

#[test]
fn questions_before_a_store_that_answers_nothing_are_bounded_and_later_ones_answered() {
    let mut world = World::new(2);
    world.nodes[0].disk.put(&message_at(1, "1"));
    world.pause_disks(&[0]);
    for _ in 0..3 {
        for _ in 0..READS_MAX {
            world.start_read(0, everything());
        }
        world.pass(READ_TIMEOUT);
    }
    assert_eq!(world.nodes[0].streams.loads.len(), LOADS_MAX);
    assert_eq!(
        world.counter(0, "streams_reads_refused_total"),
        READS_MAX as u64
    );
    let (answer, complete) = world.ask(0, everything()).unwrap();
    assert_eq!((stamps(answer), complete), (vec![], true));
    world.resume_disks();
    assert_eq!(world.nodes[0].streams.loads.len(), 0);
    let (answer, complete) = world.ask(0, everything()).unwrap();
    assert_eq!((stamps(answer), complete), (vec![1], true));
}

#[test]
fn who_becomes_unreachable_is_not_waited_for() {
    let mut world = scattered();
    world.pause_disks(&[2]);
    let ticket = world.start_read(0, everything());
    world.run();
    assert_eq!(world.read_result(0, ticket), None);
    world.isolate(&[2]);
    world.run();
    assert!(world.read_result(0, ticket).unwrap().1);
}

/// The second of two nodes has restarted and does not reach the first yet, which went on alone.
fn restarted() -> World {
    let mut world = World::unready(2, 2, Default::default());
    world.nodes[0].disk.put(&message_at(1, "1"));
    world.nodes[0].disk.put(&message_at(2, "1"));
    world.nodes[1].disk.put(&message_at(1, "1"));
    world.isolate(&[1]);
    world
}

#[test]
fn a_question_to_a_node_that_was_never_ready_waits_for_those_whom_it_knows() {
    let mut world = restarted();
    let ticket = world.start_read(1, everything());
    world.run();
    assert_eq!(world.read_result(1, ticket), None);
    world.heal();
    world.run();
    assert_eq!(world.read_result(1, ticket), None, "others may come yet");
    world.ready(1);
    world.run();
    let (answer, complete) = world.read_result(1, ticket).unwrap();
    assert_eq!((stamps(answer), complete), (vec![1, 2], true));
}

#[test]
fn an_answer_of_a_node_that_was_never_ready_is_incomplete() {
    let mut world = restarted();
    let ticket = world.start_read(1, everything());
    world.pass(READ_TIMEOUT);
    let (answer, complete) = world.read_result(1, ticket).unwrap();
    assert_eq!((stamps(answer), complete), (vec![1], false));
}

#[test]
fn a_stopping_node_still_answers() {
    let mut world = scattered();
    let stopping = world.nodes[2].id;
    world.ground.stopping.insert(stopping);
    let (answer, _) = world.ask(0, everything()).unwrap();
    assert_eq!(stamps(answer), [1, 2, 3, 5]);
}

#[test]
fn what_was_delivered_here_is_in_every_answer_before_any_disk_has_it() {
    let mut world = World::new(3);
    world.attach("@bob", 2);
    world.pause_disks(&[0, 1]);
    world.nodes[2].disk.full = true;
    world.send(0, "1");
    let shown = world.arrived(2)[0].0.clone();
    world.isolate(&[2]);
    let (answer, _) = world.ask(2, everything()).unwrap();
    assert_eq!(stamps(answer), [shown.id.stamp.0]);
    let (answer, _) = world.ask(2, head()).unwrap();
    let head = only_head(answer);
    assert_eq!((head.unread, head.unread_digest), (1, shown.id.mix()));
    assert_eq!(head.last, Some(shown.clone()));
    let nonce = Query::Nonce {
        stream: shown.stream(),
        author: shown.author.clone(),
        nonce: shown.nonce.unwrap(),
    };
    let (answer, _) = world.ask(2, nonce).unwrap();
    assert_eq!(answer, Answer::Nonce(Some(shown)));
}

#[test]
fn heads_on_which_replicas_agree_are_read_once() {
    let mut world = World::new(3);
    for node in &mut world.nodes {
        node.disk.put(&message_at(1, "1"));
    }
    let (answer, complete) = world.ask(0, head()).unwrap();
    assert_eq!((only_head(answer).unread, complete), (1, true));
    assert_eq!(world.counter(0, "streams_reads_total"), 1);
}

#[test]
fn unread_messages_are_counted_exactly_where_replicas_disagree() {
    let mut world = scattered();
    for node in &mut world.nodes {
        node.disk.put(&message_by("@bob", 4, 4, "1"));
    }
    let (answer, complete) = world.ask(0, head()).unwrap();
    let head = only_head(answer);
    assert_eq!((head.unread, complete), (4, true));
    let digest = [1, 2, 3, 5]
        .iter()
        .fold(0, |xor, &stamp| xor ^ message_at(stamp, "1").id.mix());
    assert_eq!(head.unread_digest, digest);
    assert_eq!(head.last, Some(message_at(5, "1")));
}

#[test]
fn unread_messages_beyond_one_page_are_counted_up_to_the_limit() {
    let mut world = World::new(2);
    for stamp in 1..=1_500 {
        world.nodes[(stamp % 2) as usize]
            .disk
            .put(&message_at(stamp, "1"));
    }
    for stamp in 1_501..=2_600 {
        let own = message_by("@bob", stamp, u128::from(stamp), "1");
        world.nodes[0].disk.put(&own);
    }
    let (answer, complete) = world.ask(0, head()).unwrap();
    assert_eq!((only_head(answer).unread, complete), (UNREAD_MAX, true));
}

#[test]
fn many_heads_come_in_parts_and_are_whole_again() {
    let mut world = World::new(2);
    let large = format!("\"{}\"", "x".repeat(30_000));
    let mut asked = Vec::new();
    for i in 0..100_u64 {
        let mut event = crate::event::Event::clone(&message_at(i + 1, &large));
        let other = user(&format!("@u{i}"));
        event.conversation = crate::id::Conversation::direct(other, user("@bob"));
        event.author = user("@bob");
        asked.push(HeadQuery {
            stream: event.stream(),
            reader: user("@bob"),
            read: EventId::MIN,
        });
        world.nodes[1].disk.put(&event.into());
    }
    let (answer, complete) = world.ask(0, Query::Heads(asked)).unwrap();
    let Answer::Heads(heads) = answer else {
        panic!("{answer:?}");
    };
    assert!(complete);
    for (i, head) in (1..).zip(&heads) {
        assert_eq!(head.last.as_ref().unwrap().id.stamp.0, i);
    }
    assert_eq!(heads.len(), 100);
}

#[test]
fn a_question_for_too_many_heads_is_answered_with_nothing_as_incomplete() {
    let mut world = World::new(1);
    let Query::Heads(one) = head() else {
        unreachable!("that is what it is");
    };
    let asked: Vec<_> = one.iter().cycle().take(5_000).cloned().collect();
    let (answer, complete) = world.ask(0, Query::Heads(asked)).unwrap();
    assert!(!complete);
    assert!(matches!(answer, Answer::Heads(heads) if heads.len() == 5_000));
}

#[test]
fn questions_under_way_are_bounded() {
    let mut world = World::new(2);
    world.pause_disks(&[0, 1]);
    for _ in 0..4_096 {
        let ticket = world.start_read(0, everything());
        assert_eq!(world.read_result(0, ticket), None);
    }
    let above = world.start_read(0, everything());
    assert!(!world.read_result(0, above).unwrap().1);
    assert_eq!(world.counter(0, "streams_reads_refused_total"), 1);
}
