//! Gaps, mismatches, lives that are over.

use super::*;

#[test]
fn a_lost_batch_is_noticed_by_the_next_one() {
    let mut world = World::pair();
    world.attach(0, key(1));
    world.flying.clear();
    world.run(ms(30));
    world.attach(0, key(2));
    world.run(ms(0));
    assert_eq!(world.seen(1, 0, [key(1), key(2)]).len(), 2);
    assert_eq!(world.said(1, is_resume), 1);
}

#[test]
fn a_lost_batch_is_noticed_by_the_next_heartbeat() {
    let mut world = World::pair();
    world.attach(0, key(1));
    world.flying.clear();
    world.run(ms(100));
    assert!(!world.sees(1, 0, key(1)));
    world.heartbeat(0, 1);
    world.run(ms(0));
    assert!(world.sees(1, 0, key(1)));
}

#[test]
fn a_gap_is_asked_for_once_and_again_only_when_no_answer_comes() {
    let mut world = World::pair();
    // A set that the log is smaller than.
    (100..300).for_each(|i| world.attach(0, key(i)));
    world.settle();
    world.said.clear();
    world.attach(0, key(1));
    world.flying.clear();
    for i in 2..10 {
        world.now = world.now + ms(30);
        world.attach(0, key(i));
        let (from, to, push) = world.flying.pop_back().unwrap();
        world.say(from, to, push);
        world.heartbeat(0, 1);
        world.flying.clear();
    }
    assert_eq!(
        world.said(1, is_resume),
        1,
        "eight gaps and eight heartbeats"
    );
    world.now = world.now + ms(40);
    world.act(1, |routes, now, out| routes.on_tick(now, out));
    assert_eq!(world.said(1, is_resume), 2);
    world.run(ms(0));
    assert_eq!(world.held(1, 0), Some(world.nodes[0].summary()));
    assert_eq!(world.stats(1).resumes_lapsed, 1);
    world.run(ms(10_000));
    assert_eq!(
        world.said(1, is_resume),
        2,
        "an answered request is not repeated"
    );
}

#[test]
fn only_the_batch_that_follows_is_applied() {
    let mut world = World::pair();
    let held = world.held(1, 0).unwrap();
    let first = batch(held, &[key(1)], &[]);
    let second = batch(first.after, &[key(2)], &[]);
    let third = batch(second.after, &[], &[key(1)]);
    let push = |batch: &Batch| Message::Batch(std::sync::Arc::new(batch.clone()));
    world.say(0, 1, push(&third));
    world.say(0, 1, push(&second));
    assert_eq!(world.held(1, 0), Some(held));
    world.say(0, 1, push(&first));
    world.say(0, 1, push(&first));
    assert_eq!(world.held(1, 0), Some(first.after));
    world.say(0, 1, push(&second));
    world.say(0, 1, push(&first));
    assert_eq!(world.held(1, 0), Some(second.after));
    assert_eq!(world.stats(1).batches_known, 2);
}

#[test]
fn an_equal_seq_with_another_fingerprint_is_a_mismatch_and_fetched_anew() {
    let mut world = World::pair();
    world.attach(0, key(1));
    world.settle();
    let mut wrong = world.nodes[0].summary();
    wrong.fingerprint ^= 1;
    world.said.clear();
    world.pulse(0, 1, wrong);
    assert_eq!(world.events.last(), Some(&(1, Event::Mismatch(node(0)))));
    assert_eq!(world.stats(1).mismatches, 1);
    assert_eq!(world.said[0].2, Message::Resume(Summary::default()));
    assert!(
        world.sees(1, 0, key(1)),
        "what is there stays until the new set is whole"
    );
    world.settle();
    assert_eq!(world.held(1, 0), Some(world.nodes[0].summary()));
    assert_eq!(world.stats(1).snapshots_received, 2);
}

#[test]
fn a_batch_that_contradicts_the_set_is_a_mismatch_and_changes_nothing() {
    let contradictions: [fn(Summary) -> Batch; 4] = [
        |held| batch(held, &[key(1)], &[]),
        |held| batch(held, &[], &[key(2)]),
        |held| batch(held, &[key(2)], &[key(2)]),
        |held| {
            let mut wrong = batch(held, &[key(2)], &[]);
            wrong.after.count += 1;
            wrong
        },
    ];
    for contradiction in contradictions {
        let mut world = World::pair();
        world.attach(0, key(1));
        world.settle();
        let held = world.held(1, 0).unwrap();
        let push = Message::Batch(std::sync::Arc::new(contradiction(held)));
        world.say(0, 1, push);
        assert_eq!(world.stats(1).mismatches, 1);
        assert_eq!(world.held(1, 0), Some(held));
        assert_eq!(world.seen(1, 0, [key(1), key(2)]), BTreeSet::from([key(1)]));
        world.settle();
        assert_eq!(world.held(1, 0), Some(world.nodes[0].summary()));
    }
}

#[test]
fn an_origin_that_mismatches_again_and_again_is_asked_once_in_a_while() {
    let mut world = World::pair();
    world.said.clear();
    for _ in 0..100 {
        let mut wrong = world.nodes[0].summary();
        wrong.count += 1;
        world.pulse(0, 1, wrong);
        world.run(ms(100));
    }
    let fresh = |m: &Message| *m == Message::Resume(Summary::default());
    assert!(
        (2..=3).contains(&world.said(1, fresh)),
        "{}",
        world.said(1, fresh)
    );
}

#[test]
fn a_replica_that_disagrees_with_the_log_gets_a_snapshot() {
    let mut world = World::pair();
    world.attach(0, key(1));
    world.settle();
    let mut wrong = world.nodes[0].summary();
    wrong.fingerprint ^= 1;
    world.said.clear();
    world.say(1, 0, Message::Resume(wrong));
    assert_eq!(world.said(0, is_part), 1);
    assert_eq!(world.stats(0).resumes_disagreed, 1);
}

#[test]
fn a_claim_below_what_is_held_is_ignored() {
    let mut world = World::pair();
    let old = world.nodes[0].summary();
    world.attach(0, key(1));
    world.settle();
    world.said.clear();
    world.pulse(0, 1, old);
    let ancient = Summary {
        epoch: Epoch(99),
        seq: 1_000,
        ..old
    };
    world.pulse(0, 1, ancient);
    assert_eq!(world.said.len(), 0);
    assert!(world.sees(1, 0, key(1)));
    assert_eq!(world.stats(1).stale, 2);
}

#[test]
fn nothing_of_a_life_below_the_highest_known_is_accepted() {
    let mut world = World::pair();
    world.attach(0, key(1));
    world.settle();
    let held = world.held(1, 0).unwrap();
    world.member(1, 0, Epoch(101), State::Alive);
    let next = batch(held, &[key(2)], &[]);
    let empty = Summary {
        epoch: Epoch(100),
        seq: 50,
        ..Summary::default()
    };
    let part = Part {
        of: empty,
        index: 0,
        parts: 1,
        keys: Keys::default(),
    };
    world.say(0, 1, Message::Batch(std::sync::Arc::new(next.clone())));
    world.say(
        0,
        1,
        Message::Log {
            batches: vec![std::sync::Arc::new(next)],
            head: held,
        },
    );
    world.say(0, 1, Message::Part(part));
    assert_eq!(world.held(1, 0), Some(held));
    assert_eq!(world.stats(1).stale, 3);
    assert!(
        world.sees(1, 0, key(1)),
        "the old life's set is the last known"
    );
}

#[test]
fn a_part_of_an_older_life_is_dropped_when_a_higher_one_is_known() {
    let mut world = World::new(2);
    (0..10_000).for_each(|i| world.attach(0, key(i)));
    world.settle();
    world.link(0, 1);
    while world.nodes[1].sets.len() == 0 {
        world.deliver();
    }
    world.member(1, 0, Epoch(101), State::Alive);
    assert_eq!(world.nodes[1].origins.reserved(), 0, "at once");
    world.run(Duration::from_secs(30));
    assert_eq!(world.held(1, 0), None);
    assert_eq!(world.nodes[1].sets.len(), 0);
}

#[test]
fn a_node_that_was_down_is_shown_again_without_a_transfer() {
    let mut world = World::pair();
    world.attach(0, key(1));
    world.settle();
    world.cut(0, 1);
    world.member(1, 0, Epoch(100), State::Down);
    assert!(world.sees(1, 0, key(1)), "down is the caller's view");
    world.run(Duration::from_secs(3_600));
    world.said.clear();
    world.member(1, 0, Epoch(100), State::Alive);
    world.link(0, 1);
    world.settle();
    assert_eq!(world.said(0, is_part), 0);
    let empty = |m: &Message| matches!(m, Message::Log { batches, .. } if batches.is_empty());
    assert_eq!(world.said(0, empty), 1);
    assert!(world.nodes[1].is_complete(node(0), Epoch(100)));
}

#[test]
fn a_node_that_left_is_purged_and_its_life_is_over_for_ever() {
    let mut world = World::pair();
    world.attach(0, key(1));
    world.settle();
    world.member(1, 0, Epoch(100), State::Left);
    assert!(!world.sees(1, 0, key(1)));
    world.link(0, 1);
    world.settle();
    assert!(!world.sees(1, 0, key(1)));
    assert_eq!(world.held(1, 0), None);
    assert_eq!(told(&world.events, 1, 0), BTreeSet::new());
    // A later life of it is welcome.
    world.nodes[0] = Routes::new(Config::default(), node(0), Epoch(101));
    world.attach(0, key(1));
    world.link(0, 1);
    world.settle();
    assert!(world.sees(1, 0, key(1)));
}

#[test]
fn late_news_of_an_older_life_does_not_touch_the_later_one() {
    let mut world = World::pair();
    world.cut(0, 1);
    world.nodes[0] = Routes::new(Config::default(), node(0), Epoch(101));
    world.attach(0, key(1));
    world.link(0, 1);
    world.settle();
    world.member(1, 0, Epoch(100), State::Left);
    world.member(1, 0, Epoch(100), State::Down);
    world.settle();
    assert!(world.sees(1, 0, key(1)));
    assert!(world.nodes[1].is_complete(node(0), Epoch(101)));
}

#[test]
fn a_forgotten_node_may_come_back_in_the_same_life_but_not_below_its_mark() {
    let mut world = World::pair();
    world.attach(0, key(1));
    world.settle();
    world.run(ms(100));
    let old = world.nodes[0].own.share();
    let of = world.nodes[0].summary();
    world.detach(0, key(1));
    world.attach(0, key(2));
    world.settle();
    world.cut(0, 1);
    world.act(1, |r, now, _| r.on_forgotten(now, node(0)));
    world.settle();
    assert_eq!(world.nodes[1].sets.len(), 0);
    // An older snapshot answers the request, late and over another way.
    world.heartbeat(0, 1);
    let keys = Keys::pack(&old[0]);
    world.say(
        0,
        1,
        Message::Part(Part {
            of,
            index: 0,
            parts: 1,
            keys,
        }),
    );
    assert_eq!(world.held(1, 0), None);
    assert!(!world.sees(1, 0, key(1)));
    world.settle();
    assert_eq!(world.held(1, 0), Some(world.nodes[0].summary()));
}

#[test]
fn a_claim_beyond_ones_own_set_is_not_answered() {
    let mut world = World::pair();
    let mut ahead = world.nodes[0].summary();
    ahead.seq += 1;
    world.say(1, 0, Message::Resume(ahead));
    let later = Summary {
        epoch: Epoch(101),
        ..Summary::default()
    };
    world.say(1, 0, Message::Resume(later));
    assert_eq!(world.said.len(), 0);
    assert_eq!(world.stats(0).resumes_ahead, 2);
}

#[test]
fn answers_that_nobody_asked_for_are_refused() {
    let mut world = World::pair();
    let held = world.held(1, 0).unwrap();
    let of = Summary { seq: 9, ..held };
    world.say(0, 1, Message::Have { seq: 1 });
    world.say(
        0,
        1,
        Message::Part(Part {
            of,
            index: 0,
            parts: 1,
            keys: Keys::default(),
        }),
    );
    world.say(
        0,
        1,
        Message::Ack {
            epoch: Epoch(100),
            seq: 0,
            parts: 1,
        },
    );
    assert_eq!(world.stats(1).unasked, 3);
    assert_eq!(world.held(1, 0), Some(held));
    assert_eq!(world.said.len(), 0);
}

#[test]
fn a_request_that_comes_again_late_leaves_its_author_fed() {
    let mut world = World::new(2);
    world.attach(0, key(1));
    world.link(0, 1);
    world.settle();
    world.said.clear();
    world.say(1, 0, Message::Resume(Summary::default()));
    world.settle();
    world.said.clear();
    world.attach(0, key(2));
    world.run(ms(30));
    assert!(world.sees(1, 0, key(2)));
    assert_eq!(
        world.said.len(),
        1,
        "pushed, and nothing else: {:?}",
        world.said
    );
}

#[test]
fn an_answer_that_leads_nowhere_is_not_asked_for_again_at_once() {
    let mut world = World::pair();
    world.attach(0, key(1));
    world.flying.clear();
    world.heartbeat(0, 1);
    world.flying.clear();
    world.said.clear();
    let head = world.nodes[0].summary();
    for _ in 0..10 {
        world.say(
            0,
            1,
            Message::Log {
                batches: vec![],
                head,
            },
        );
    }
    assert_eq!(world.said.len(), 0);
    world.run(ms(1_000));
    assert_eq!(world.held(1, 0), Some(head));
}
