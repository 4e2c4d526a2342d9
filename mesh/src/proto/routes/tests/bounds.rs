//! What nobody can make this layer do.

use super::*;

fn small(routes_max: u64, origin_max: u64) -> Config {
    Config {
        routes_max,
        origin_max,
        ..Config::default()
    }
}

fn fill(world: &mut World, i: usize, routes: u64) {
    (0..routes).for_each(|n| world.attach(i, key(i as u64 * 1_000 + n)));
    world.settle();
}

#[test]
fn a_full_table_purges_who_has_been_down_the_longest() {
    let mut world = World::with(4, small(25, 100));
    (1..4).for_each(|i| fill(&mut world, i, 10));
    for i in [1, 2] {
        world.link(0, i);
        world.settle();
        world.cut(0, i);
        world.member(0, i, Epoch(100), State::Down);
    }
    world.link(0, 3);
    world.run(Duration::from_secs(20));
    assert_eq!(world.held(0, 1), None);
    assert_eq!(world.held(0, 2), Some(world.nodes[2].summary()));
    assert_eq!(world.held(0, 3), Some(world.nodes[3].summary()));
    assert_eq!(world.nodes[0].total(), 20);
    assert_eq!(world.stats(0).sets_purged, 1);
    // It comes back when there is room.
    world.cut(0, 3);
    world.member(0, 3, Epoch(100), State::Left);
    world.member(0, 1, Epoch(100), State::Alive);
    world.link(0, 1);
    world.run(Duration::from_secs(20));
    assert_eq!(world.held(0, 1), Some(world.nodes[1].summary()));
}

#[test]
fn a_full_table_with_nobody_down_refuses_and_counts() {
    let mut world = World::with(3, small(15, 100));
    (1..3).for_each(|i| fill(&mut world, i, 10));
    for i in 1..3 {
        world.link(0, i);
        // Who was down once is not down for ever.
        world.member(0, i, Epoch(100), State::Down);
        world.member(0, i, Epoch(100), State::Alive);
    }
    world.run(Duration::from_secs(20));
    assert_eq!(world.held(0, 1), Some(world.nodes[1].summary()));
    assert_eq!(world.held(0, 2), None);
    assert_eq!(world.stats(0).sets_purged, 0);
    assert!(world.stats(0).full > 0 && world.stats(0).full < 10);
    (0..10).for_each(|n| world.attach(1, key(5_000 + n)));
    world.run(Duration::from_secs(20));
    assert_eq!(
        world.nodes[0].count(node(1)),
        11,
        "the first one went alone"
    );
    assert!(world.nodes[0].sets.len() <= 15);
    // Own routes are always taken.
    (0..10).for_each(|n| world.attach(0, key(n)));
    assert_eq!(world.seen(0, 0, (0..10).map(key)).len(), 10);
}

#[test]
fn own_routes_over_the_bound_purge_one_set_at_a_time() {
    let mut world = World::with(3, small(25, 100));
    for i in 1..3 {
        fill(&mut world, i, 10);
        world.link(0, i);
        world.settle();
        world.cut(0, i);
        world.member(0, i, Epoch(100), State::Down);
        world.run(ms(10));
    }
    (0..7).for_each(|n| world.attach(0, key(n)));
    world.settle();
    assert_eq!(world.held(0, 1), None);
    assert_eq!(world.held(0, 2), Some(world.nodes[2].summary()));
    assert_eq!(world.nodes[0].total(), 17);
}

#[test]
fn an_origin_that_claims_too_much_is_refused() {
    let mut world = World::with(2, small(1_000, 10));
    fill(&mut world, 0, 11);
    world.link(0, 1);
    world.run(Duration::from_secs(20));
    assert_eq!(world.held(1, 0), None);
    assert!(world.stats(1).oversized > 0 && world.stats(1).oversized < 10);
    world.detach(0, key(0));
    world.run(Duration::from_secs(20));
    assert_eq!(world.held(1, 0), Some(world.nodes[0].summary()));
    world.attach(0, key(0));
    world.run(Duration::from_secs(20));
    assert_eq!(world.nodes[1].count(node(0)), 10);
}

#[test]
fn junk_is_refused_and_changes_nothing() {
    let mut world = World::pair();
    let held = world.held(1, 0).unwrap();
    let junk: Keys = postcard::from_bytes(&[3, 1, 2, 3]).unwrap();
    let after = Summary {
        seq: held.seq + 1,
        ..held
    };
    let bad = Batch {
        after,
        attached: junk.clone(),
        detached: Keys::default(),
    };
    world.say(0, 1, Message::Batch(std::sync::Arc::new(bad)));
    world.act(1, |r, now, out| r.on_linked(now, node(0), Epoch(100), out));
    world.flying.clear();
    let claims = [
        (u64::MAX, 1, junk.clone()),
        (1, 0, Keys::default()),
        (1, 9, Keys::default()),
        (1, 1, junk),
        (3, 3, Keys::default()),
        (
            2,
            1,
            Keys::pack(
                &[key(1), key(2), key(3)]
                    .into_iter()
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect::<Vec<_>>(),
            ),
        ),
    ];
    for (count, parts, keys) in claims {
        let of = Summary {
            seq: 9,
            count,
            ..held
        };
        world.act(1, |r, now, out| r.on_linked(now, node(0), Epoch(100), out));
        world.flying.clear();
        world.say(
            0,
            1,
            Message::Part(Part {
                of,
                index: 0,
                parts,
                keys,
            }),
        );
    }
    assert_eq!(world.stats(1).malformed, 6);
    assert_eq!(world.stats(1).oversized, 1);
    assert_eq!(world.held(1, 0), Some(held));
    assert_eq!(world.nodes[1].origins.reserved(), 0);
    world.settle();
    assert_eq!(world.nodes[1].sets.len(), 0);
}

#[test]
fn a_snapshot_that_is_not_what_it_claims_is_a_mismatch() {
    let mut world = World::pair();
    let held = world.held(1, 0).unwrap();
    let of = Summary {
        seq: 9,
        count: 1,
        fingerprint: 7,
        ..held
    };
    world.act(1, |r, now, out| r.on_linked(now, node(0), Epoch(100), out));
    world.flying.clear();
    let keys = Keys::pack(&[key(1)]);
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
    assert_eq!(world.stats(1).mismatches, 1);
    assert!(!world.sees(1, 0, key(1)));
    assert_eq!(world.held(1, 0), Some(held));
}

#[test]
fn a_swept_set_gives_its_slot_back() {
    let mut world = World::pair();
    for life in 101..200 {
        world.cut(0, 1);
        world.nodes[0] = Routes::new(Config::default(), node(0), Epoch(life));
        world.attach(0, key(life));
        world.link(0, 1);
        world.settle();
        assert!(world.sees(1, 0, key(life)));
    }
    assert_eq!(world.nodes[1].sets.slots(), 4, "none, own, old and new");
}

#[test]
fn nothing_that_is_idle_has_a_deadline() {
    let mut world = World::pair();
    world.attach(0, key(1));
    world.detach(0, key(1));
    world.run(Duration::from_secs(60));
    assert_eq!(world.nodes[0].deadline(), None);
    assert_eq!(world.nodes[1].deadline(), None);
}

#[test]
fn the_number_of_nodes_kept_track_of_is_bounded() {
    let mut world = World::new(1);
    for i in 0..5_000_u16 {
        let mut id = [0; 32];
        id[30..].copy_from_slice(&i.to_be_bytes());
        world.act(0, |r, now, _| {
            r.on_member(now, NodeId(id), Epoch(1 + u64::from(i)), State::Down);
        });
    }
    assert!(world.nodes[0].origins.len() <= 4_096);
}

#[test]
fn every_counter_has_a_name_of_its_own() {
    let counters = Routes::new(Config::default(), node(0), Epoch(1)).counters();
    let names: BTreeSet<_> = counters.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), counters.len());
    let valid = |name: &str| name.starts_with("routes_") && name.ends_with("_total");
    assert!(names.into_iter().all(valid));
}
