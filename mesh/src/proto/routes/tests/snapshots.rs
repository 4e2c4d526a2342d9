//! Joining, and coming back.

use super::*;

fn keys(n: u64) -> impl Iterator<Item = RouteKey> {
    (0..n).map(key)
}

/// A node with so many routes of its own, and one that is not linked to it yet.
fn filled(n: u64) -> World {
    let mut world = World::new(2);
    keys(n).for_each(|key| world.attach(0, key));
    world.settle();
    world
}

#[test]
fn a_newcomer_takes_a_snapshot_and_is_then_pushed_to() {
    let mut world = filled(10_000);
    world.link(0, 1);
    world.settle();
    assert_eq!(world.held(1, 0), Some(world.nodes[0].summary()));
    assert_eq!(world.seen(1, 0, keys(10_000)).len(), 10_000);
    assert!(world.events.contains(&(1, Event::Complete(node(0)))));
    assert_eq!(told(&world.events, 1, 0).len(), 10_000);
    world.said.clear();
    world.attach(0, key(10_000));
    world.settle();
    assert!(world.sees(1, 0, key(10_000)));
    assert_eq!(world.said(0, is_batch), 1);
    assert_eq!(world.said.len(), 2, "and its acknowledgement");
}

#[test]
fn an_empty_set_is_complete_too() {
    let mut world = World::new(2);
    world.link(0, 1);
    world.settle();
    assert!(world.nodes[1].is_complete(node(0), Epoch(100)));
}

#[test]
fn a_returning_peer_gets_the_rest_of_the_log() {
    let mut world = filled(1_000);
    world.link(0, 1);
    world.settle();
    world.cut(0, 1);
    for i in 1_000..1_020 {
        world.attach(0, key(i));
        world.run(ms(30));
    }
    world.said.clear();
    world.link(0, 1);
    world.settle();
    assert_eq!(world.seen(1, 0, keys(1_020)).len(), 1_020);
    assert_eq!(world.said(0, is_part), 0);
    assert_eq!(world.said(0, is_log), 1);
}

#[test]
fn a_long_rest_of_the_log_is_drawn_piece_by_piece() {
    let mut world = filled(40_000);
    world.link(0, 1);
    world.settle();
    world.cut(0, 1);
    (40_000..52_000).for_each(|i| world.attach(0, key(i)));
    world.settle();
    world.said.clear();
    world.link(0, 1);
    world.run(ms(0));
    assert_eq!(world.seen(1, 0, keys(52_000)).len(), 52_000);
    assert!(world.said(0, is_log) >= 3);
    assert_eq!(world.said(0, is_part), 0);
    assert!(world.said(1, is_resume) <= world.said(0, is_log));
}

#[test]
fn a_peer_that_fell_out_of_the_log_takes_a_snapshot() {
    let config = Config {
        log_ops: 100,
        ..Config::default()
    };
    let mut world = World::with(2, config);
    world.link(0, 1);
    world.settle();
    keys(50).for_each(|key| world.attach(0, key));
    world.settle();
    world.cut(0, 1);
    for _ in 0..3 {
        (50..150).for_each(|i| world.attach(0, key(i)));
        world.settle();
        (50..150).for_each(|i| world.detach(0, key(i)));
        world.settle();
    }
    assert!(world.nodes[0].own.log().ops() <= 100);
    world.said.clear();
    world.link(0, 1);
    world.settle();
    assert_eq!(world.said(0, is_part), 1);
    assert_eq!(world.held(1, 0), Some(world.nodes[0].summary()));
}

#[test]
fn a_batch_leaves_the_log_after_a_minute() {
    let mut world = World::pair();
    world.attach(0, key(1));
    world.run(Duration::from_secs(59));
    world.attach(0, key(2));
    assert_eq!(world.nodes[0].own.log().ops(), 2);
    world.run(Duration::from_secs(2));
    world.attach(0, key(3));
    assert_eq!(world.nodes[0].own.log().ops(), 2);
}

#[test]
fn the_smaller_answer_is_given() {
    let mut world = filled(100);
    world.link(0, 1);
    world.settle();
    world.cut(0, 1);
    for _ in 0..20 {
        (200..300).for_each(|i| world.attach(0, key(i)));
        world.settle();
        (200..300).for_each(|i| world.detach(0, key(i)));
        world.settle();
    }
    world.said.clear();
    world.link(0, 1);
    world.settle();
    assert_eq!(
        world.said(0, is_part),
        1,
        "100 keys instead of 4,000 changes"
    );
    assert_eq!(told(&world.events, 1, 0), keys(100).collect());
}

#[test]
fn a_snapshot_is_of_exactly_one_batch_though_changes_go_on() {
    let mut world = filled(20_000);
    world.link(0, 1);
    let before = world.nodes[0].summary();
    let mut change = 0;
    while world.held(1, 0).is_none() {
        // Between any two frames a batch changes what is sent and what is still to come.
        world.detach(0, key(change));
        world.attach(0, key(100_000 + change));
        change += 1;
        world.now = world.now + ms(25);
        world.act(0, |routes, now, out| routes.on_tick(now, out));
        world.deliver();
    }
    assert!(change > 10);
    let parts = world.parts(0);
    let mut sum = Summary {
        count: 0,
        fingerprint: 0,
        ..parts[0].of
    };
    for part in &parts {
        assert_eq!(part.of, parts[0].of);
        part.keys
            .unpack(SLICE_KEYS)
            .unwrap()
            .into_iter()
            .for_each(|key| sum.add(key));
    }
    assert_eq!(sum, parts[0].of);
    assert!(sum.seq >= before.seq);
    world.settle();
    assert_eq!(world.held(1, 0), Some(world.nodes[0].summary()));
    assert_eq!(world.stats(1).mismatches, 0);
}

#[test]
fn few_parts_are_on_their_way_at_a_time() {
    let mut world = filled(60_000);
    world.link(0, 1);
    // The newcomer's request, and no acknowledgement.
    while world.said(0, is_part) == 0 {
        world.deliver();
    }
    for _ in 0..100 {
        world.now = world.now + ms(2);
        world.act(0, |routes, now, out| routes.on_tick(now, out));
    }
    assert_eq!(world.said(0, is_part), 4);
}

#[test]
fn the_old_set_is_shown_until_the_new_one_is_whole() {
    let mut world = filled(10_000);
    world.link(0, 1);
    world.settle();
    world.cut(0, 1);
    // Another life with other routes, some of them the same.
    world.nodes[0] = Routes::new(Config::default(), node(0), Epoch(101));
    (5_000..15_000).for_each(|i| world.attach(0, key(i)));
    world.settle();
    world.link(0, 1);
    let mut swaps = 0;
    while !world.nodes[1].is_complete(node(0), Epoch(101)) {
        let seen = world.seen(1, 0, [key(0), key(7_000), key(12_000)]);
        assert_eq!(
            seen,
            BTreeSet::from([key(0), key(7_000)]),
            "the old one whole"
        );
        let old = world.nodes[1].lookup(key(7_000)).next().unwrap();
        assert_eq!(old.epoch, Epoch(100));
        if !world.deliver() {
            world.run(ms(2));
        }
        swaps += 1;
        assert!(swaps < 1_000);
    }
    assert_eq!(
        world.seen(1, 0, keys(15_000)).len(),
        10_000,
        "and then the new one"
    );
    world.settle();
    assert_eq!(
        told(&world.events, 1, 0),
        (5_000..15_000).map(key).collect()
    );
    assert_eq!(
        world.nodes[1].sets.len(),
        10_000,
        "the old one is swept away"
    );
}

#[test]
fn only_what_differs_is_told_of_a_set_that_replaces_another() {
    let mut world = filled(1_000);
    world.link(0, 1);
    world.settle();
    world.cut(0, 1);
    world.nodes[0] = Routes::new(Config::default(), node(0), Epoch(101));
    (1..1_001).for_each(|i| world.attach(0, key(i)));
    world.settle();
    world.events.clear();
    world.link(0, 1);
    world.settle();
    let changed: Vec<_> = world.events.iter().filter(|(i, _)| *i == 1).collect();
    assert_eq!(
        changed,
        [
            &(1, Event::Complete(node(0))),
            &(
                1,
                Event::Changed {
                    node: node(0),
                    attached: vec![key(1_000)],
                    detached: vec![key(0)],
                }
            ),
        ]
    );
}

#[test]
fn peers_that_join_together_share_a_snapshot() {
    let mut world = World::new(6);
    keys(10_000).for_each(|key| world.attach(0, key));
    world.settle();
    for i in 1..6 {
        world.link(0, i);
        // The request is heard, the answer is not.
        let at = world
            .flying
            .iter()
            .position(|(_, to, m)| *to == 0 && is_resume(m));
        let (from, to, request) = world.flying.remove(at.unwrap()).unwrap();
        world.say(from, to, request);
        world.attach(0, key(20_000 + i as u64));
        world.now = world.now + ms(50);
    }
    world.settle();
    let of: BTreeSet<_> = world.parts(0).iter().map(|part| part.of.seq).collect();
    assert_eq!(of.len(), 1);
    for i in 1..6 {
        assert_eq!(world.held(i, 0), Some(world.nodes[0].summary()));
    }
}

#[test]
fn a_snapshot_that_stalls_is_given_up_and_asked_for_again() {
    let mut world = filled(20_000);
    world.link(0, 1);
    while world.held(1, 0).is_none() && world.said(0, is_part) < 3 {
        if !world.deliver() {
            world.run(ms(2));
        }
    }
    world.flying.retain(|(_, _, message)| !is_part(message));
    world.run(ms(4_900));
    assert!(world.held(1, 0).is_none());
    let asked = world.said(1, is_resume);
    world.run(ms(200));
    assert_eq!(
        world.said(1, is_resume),
        asked + 2,
        "again, and after the last part"
    );
    assert_eq!(world.held(1, 0), Some(world.nodes[0].summary()));
    world.settle();
    assert_eq!(
        world.nodes[1].sets.len(),
        20_000,
        "what had come is swept away"
    );
    assert_eq!(told(&world.events, 1, 0).len(), 20_000);
}

#[test]
fn a_link_that_breaks_in_the_middle_leaves_nothing_behind() {
    let mut world = filled(20_000);
    world.link(0, 1);
    while world.nodes[1].sets.len() == 0 {
        world.deliver();
    }
    world.cut(0, 1);
    world.run(Duration::from_secs(60));
    assert_eq!(world.nodes[1].sets.len(), 0);
    assert_eq!(world.nodes[1].deadline(), None, "nothing is under way");
    assert_eq!(world.nodes[0].deadline(), None);
    assert!(
        world.events.iter().all(|(i, _)| *i != 1),
        "and nobody was told"
    );
    assert_eq!(world.nodes[1].origins.reserved(), 0);
}

#[test]
fn a_peer_behind_a_helper_is_fed_though_it_has_no_link() {
    let mut world = filled(10);
    world.heartbeat(0, 1);
    world.settle();
    assert_eq!(world.held(1, 0), Some(world.nodes[0].summary()));
    world.attach(0, key(11));
    world.settle();
    assert!(world.sees(1, 0, key(11)), "and pushed to");
    world.member(0, 1, Epoch(100), State::Down);
    world.said.clear();
    world.attach(0, key(12));
    world.settle();
    assert_eq!(world.said.len(), 0, "but not when it is down");
}

#[test]
fn a_hundred_thousand_routes_take_at_most_eight_bytes_each_on_the_wire() {
    let mut world = filled(100_000);
    world.link(0, 1);
    world.run(Duration::from_secs(3));
    assert_eq!(world.held(1, 0), Some(world.nodes[0].summary()));
    let bytes: usize = world
        .said
        .iter()
        .filter(|(_, _, message)| is_part(message))
        .map(|(_, _, message)| {
            let bytes = postcard::to_stdvec(&Frame::from(message.clone()))
                .unwrap()
                .len();
            assert!(bytes <= 64 * 1024);
            bytes
        })
        .sum();
    let each = bytes as f64 / 100_000.0;
    assert!(each <= 4.7, "{each} bytes");
    let table = world.nodes[1].sets.bytes() as f64 / 100_000.0;
    assert!(table <= 19.0, "{table} bytes");
}

#[test]
fn a_change_takes_at_most_eight_bytes_on_the_wire_and_a_lone_one_forty() {
    let attached: Vec<_> = keys(1_000).collect::<BTreeSet<_>>().into_iter().collect();
    let before = Summary {
        seq: 1_000,
        epoch: Epoch(1_700_000_000_000),
        ..Summary::default()
    };
    let size = |batch| {
        let message = Message::Batch(std::sync::Arc::new(batch));
        postcard::to_stdvec(&Frame::from(message)).unwrap().len()
    };
    assert!(size(batch(before, &attached, &[])) <= 6 * 1_000);
    assert!(size(batch(before, &attached[..1], &[])) <= 40);
    assert!(size(batch(before, &[], &attached[..10])) <= 100);
}

#[test]
fn a_snapshot_that_had_to_wait_is_not_shown_over_a_set_that_went_past_it() {
    let mut world = World::pair();
    let whole = |of: Summary, keys: &[RouteKey]| {
        let keys = Keys::pack(keys);
        let (index, parts) = (0, 1);
        Message::Part(Part {
            of,
            index,
            parts,
            keys,
        })
    };
    let mut keys: Vec<_> = keys(4).collect();
    keys.sort_unstable();
    let mut sets = vec![world.held(1, 0).unwrap()];
    for i in 0..4 {
        sets.push(sets[i].after(&keys[i..=i], &[]));
    }
    world.act(1, |r, now, out| r.on_linked(now, node(0), Epoch(100), out));
    world.say(0, 1, whole(sets[1], &keys[..1]));
    assert_eq!(world.held(1, 0), Some(sets[1]));
    // The set before is still being swept, so this one waits, and batches come late.
    world.say(0, 1, whole(sets[3], &keys[..3]));
    for i in 1..4 {
        let late = batch(sets[i], &keys[i..=i], &[]);
        world.say(0, 1, Message::Batch(std::sync::Arc::new(late)));
    }
    world.flying.clear();
    world.now = world.now + ms(10);
    world.act(1, |routes, now, out| routes.on_tick(now, out));
    assert_eq!(world.held(1, 0), Some(sets[4]));
    assert_eq!(world.seen(1, 0, keys).len(), 4);
    assert_eq!(
        world.flying.pop_back(),
        Some((1, 0, Message::Resume(sets[4])))
    );
}
