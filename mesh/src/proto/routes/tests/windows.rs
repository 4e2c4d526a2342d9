//! The own set: sessions per key, windows, batches.

use super::*;

#[test]
fn the_first_change_of_a_quiet_period_goes_at_once() {
    let mut world = World::pair();
    world.attach(0, key(1));
    assert_eq!(world.said(0, is_batch), 1);
    world.deliver();
    assert!(world.sees(1, 0, key(1)));
    world.run(ms(500));
    world.detach(0, key(1));
    assert_eq!(world.said(0, is_batch), 2);
}

#[test]
fn further_changes_share_the_batch_of_the_next_window() {
    let mut world = World::pair();
    world.attach(0, key(1));
    (2..50).for_each(|i| world.attach(0, key(i)));
    assert_eq!(world.said(0, is_batch), 1);
    world.run(ms(19));
    assert_eq!(world.said(0, is_batch), 1, "not before the window ends");
    world.run(ms(1));
    assert_eq!(world.said(0, is_batch), 2);
    assert_eq!(world.seen(1, 0, (1..50).map(key)).len(), 49);
    world.run(ms(1_000));
    assert_eq!(world.said(0, is_batch), 2, "an empty window makes no batch");
    assert_eq!(world.nodes[0].summary().seq, 2);
}

#[test]
fn windows_stretch_under_load_and_shrink_again() {
    let mut world = World::pair();
    let mut sent_at = Vec::new();
    for step in 0..1_000 {
        // 500 ms of load, then a trickle.
        let changes = if step < 500 { 40 } else { 1 };
        (0..changes).for_each(|i| world.attach(0, key(step * 100 + i)));
        let before = world.said(0, is_batch);
        world.run(ms(1));
        if world.said(0, is_batch) > before {
            sent_at.push(step);
        }
    }
    let gaps: Vec<_> = sent_at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(gaps[..4], [40, 80, 100, 100]);
    assert_eq!(gaps.iter().max(), Some(&100));
    assert_eq!(gaps.last(), Some(&20));
}

#[test]
fn a_key_is_attached_by_its_first_session_and_detached_by_its_last() {
    let mut world = World::pair();
    (0..3).for_each(|_| world.attach(0, key(1)));
    world.settle();
    assert_eq!(world.nodes[0].summary().seq, 1);
    (0..2).for_each(|_| world.detach(0, key(1)));
    world.settle();
    assert!(world.sees(1, 0, key(1)) && world.sees(0, 0, key(1)));
    assert_eq!(world.nodes[0].summary().seq, 1);
    world.detach(0, key(1));
    assert!(!world.sees(0, 0, key(1)), "here at once");
    world.settle();
    assert!(!world.sees(1, 0, key(1)));
    world.detach(0, key(1));
    assert_eq!(world.stats(0).detaches_unknown, 1);
    assert_eq!(world.nodes[0].summary().seq, 2);
}

#[test]
fn what_comes_and_goes_within_a_window_is_never_told() {
    let mut world = World::pair();
    world.attach(0, key(1));
    world.attach(0, key(2));
    world.detach(0, key(2));
    world.detach(0, key(1));
    world.attach(0, key(1));
    world.settle();
    assert_eq!(world.said(0, is_batch), 1);
    assert_eq!(world.nodes[0].summary().count, 1);
}

#[test]
fn a_batch_holds_a_slice_and_leaves_the_rest_for_the_next_window() {
    let mut world = World::pair();
    let keys = SLICE_KEYS as u64 * 2;
    (0..=keys).for_each(|i| world.attach(0, key(i)));
    world.run(ms(20));
    assert_eq!(world.nodes[0].summary().count, 1 + SLICE_KEYS as u64);
    world.run(ms(20));
    assert_eq!(world.nodes[0].summary().count, 1 + keys);
    assert_eq!(world.held(1, 0), Some(world.nodes[0].summary()));
}

#[test]
fn each_linked_peer_gets_each_batch_once_and_all_share_it() {
    let mut world = World::new(4);
    (1..4).for_each(|i| world.link(0, i));
    world.settle();
    world.said.clear();
    world.attach(0, key(1));
    world.settle();
    let mut shared = Vec::new();
    for (i, (from, to, message)) in world.said.iter().enumerate() {
        if let Message::Batch(batch) = message {
            assert_eq!((*from, *to), (0, i + 1));
            shared.push(batch);
        } else {
            assert_eq!((*to, message), (0, &Message::Have { seq: 1 }));
        }
    }
    assert!(std::sync::Arc::ptr_eq(shared[0], shared[2]), "built once");
    assert_eq!(shared.len(), 3);
}

#[test]
fn over_a_new_link_nothing_is_pushed_before_the_peer_says_what_it_holds() {
    let mut world = World::pair();
    world.attach(0, key(1));
    // Lost with the old link, of whose end nobody hears.
    world.flying.clear();
    world.said.clear();
    world.link(0, 1);
    world.now = world.now + ms(50);
    world.attach(0, key(2));
    assert_eq!(world.said(0, is_batch), 0);
    world.settle();
    assert_eq!(world.held(1, 0), Some(world.nodes[0].summary()));
    assert_eq!(world.stats(1).batches_early, 0);
}

#[test]
fn only_who_has_the_batch_before_is_pushed_to() {
    let mut world = World::new(2);
    (0..12_000).for_each(|i| world.attach(0, key(i)));
    world.settle();
    world.link(0, 1);
    world.attach(0, key(20_000));
    assert_eq!(world.said(0, is_batch), 0, "it has not said what it holds");
    while world.said(0, is_part) == 0 {
        world.deliver();
    }
    world.now = world.now + ms(50);
    world.attach(0, key(20_001));
    assert_eq!(world.said(0, is_batch), 0, "it is taking a snapshot");
    world.settle();
    world.cut(0, 1);
    (30_000..36_000).for_each(|i| world.attach(0, key(i)));
    world.settle();
    world.said.clear();
    world.link(0, 1);
    while world.said(0, is_log) == 0 {
        world.deliver();
    }
    world.attach(0, key(20_002));
    assert_eq!(
        world.said(0, is_batch),
        0,
        "it has the first piece of the log only"
    );
    world.settle();
    assert_eq!(world.held(1, 0), Some(world.nodes[0].summary()));
    assert_eq!(world.stats(1).batches_early, 0);
    world.attach(0, key(20_003));
    assert_eq!(world.said(0, is_batch), 1);
}

#[test]
fn count_and_fingerprint_are_those_of_the_keys() {
    let mut world = World::pair();
    (0..100).for_each(|i| world.attach(0, key(i)));
    (0..50).for_each(|i| world.detach(0, key(i)));
    world.settle();
    let mut sum = Summary::empty(Epoch(100));
    (50..100).for_each(|i| sum.add(key(i)));
    sum.seq = world.nodes[0].summary().seq;
    assert_eq!(world.nodes[0].summary(), sum);
}
