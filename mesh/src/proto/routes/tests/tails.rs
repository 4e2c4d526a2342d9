//! The last batch of a burst: acknowledged late and for many, sent again until it is.

use super::*;

/// Runs on, losing all that is said and `lost` holds of.
fn run_losing(world: &mut World, time: Duration, lost: fn(usize, &Message) -> bool) {
    world
        .flying
        .retain(|(from, _, message)| !lost(*from, message));
    world.lost = lost;
    world.run(time);
    world.lost = |_, _| false;
}

/// A pair whose round trips are measured.
fn measured(round_trip: Duration) -> World {
    let mut world = World::pair();
    for (i, other) in [(0, 1), (1, 0)] {
        world.act(i, |r, _, _| r.on_round_trip(node(other), round_trip));
    }
    world
}

#[test]
fn a_batch_is_acknowledged_once_a_while_after_it_came() {
    let mut world = measured(ms(2));
    world.attach(0, key(1));
    world.run(ms(124));
    assert_eq!(world.said(1, is_have), 0);
    world.run(ms(1));
    assert_eq!(world.said.last().unwrap().2, Message::Have { seq: 1 });
    world.run(ms(10_000));
    assert_eq!(world.said.len(), 2, "and that is all");
}

#[test]
fn under_load_one_acknowledgement_is_for_several_batches() {
    let mut world = measured(ms(2));
    for i in 0..1_000 {
        world.attach(0, key(i));
        world.run(ms(10));
    }
    world.settle();
    let batches = world.said(0, is_batch);
    assert_eq!(batches, 501);
    let haves = world.said(1, is_have);
    assert!(haves <= 80, "{haves} for ten seconds");
    assert_eq!(world.said.len(), batches + haves);
}

#[test]
fn a_lost_last_batch_is_sent_again_soon_and_acknowledged_at_once() {
    let mut world = measured(ms(2));
    world.attach(0, key(1));
    world.flying.clear();
    world.run(ms(154));
    assert!(!world.sees(1, 0, key(1)));
    world.run(ms(1));
    assert!(world.sees(1, 0, key(1)));
    assert_eq!(world.said(1, is_have), 1);
    assert_eq!(world.said(1, is_resume), 0);
    world.run(ms(10_000));
    assert_eq!(
        world.said(0, is_log),
        1,
        "what was acknowledged is not sent again"
    );
    assert_eq!(world.said(1, is_have), 1);
    assert_eq!(world.stats(0).tails_resent, 1);
}

#[test]
fn a_lost_acknowledgement_is_made_up_for_at_once() {
    let mut world = measured(ms(2));
    world.attach(0, key(1));
    run_losing(&mut world, ms(154), |_, message| is_have(message));
    assert_eq!(world.said(1, is_have), 1);
    world.run(ms(1));
    assert_eq!(world.said(0, is_log), 1);
    assert_eq!(world.said(1, is_have), 2);
    assert_eq!(world.stats(1).batches_known, 1);
    world.run(ms(10_000));
    assert_eq!(world.said(0, is_log), 1);
}

#[test]
fn what_an_acknowledgement_does_not_cover_is_sent_again() {
    let mut world = measured(ms(2));
    world.attach(0, key(1));
    world.run(ms(100));
    world.attach(0, key(2));
    world.flying.clear();
    // The acknowledgement of the first batch comes when the second one was sent and lost.
    world.run(ms(30));
    assert_eq!(world.said.last().unwrap().2, Message::Have { seq: 1 });
    world.run(ms(200));
    assert!(world.sees(1, 0, key(2)));
}

#[test]
fn all_that_a_peer_has_not_is_sent_again_in_one_frame() {
    let mut world = measured(ms(2));
    for i in 0..4 {
        world.attach(0, key(i));
        world.flying.clear();
        world.now = world.now + ms(30);
    }
    world.run(ms(100));
    assert_eq!(world.seen(1, 0, (0..4).map(key)).len(), 4);
    assert_eq!(world.said(0, is_log), 1);
    assert_eq!(world.said(1, is_resume), 0);
}

#[test]
fn what_is_never_acknowledged_is_left_to_the_heartbeats_after_eight_times() {
    let mut world = measured(ms(2));
    world.attach(0, key(1));
    run_losing(&mut world, ms(5_000), |from, _| from == 0);
    assert_eq!(world.said(0, is_log), 8);
    world.heartbeat(0, 1);
    world.run(ms(0));
    assert!(world.sees(1, 0, key(1)));
    // The next burst is watched over again.
    world.attach(0, key(2));
    world.flying.clear();
    world.run(ms(200));
    assert!(world.sees(1, 0, key(2)));
}

#[test]
fn nothing_is_sent_again_before_a_far_peer_can_have_answered() {
    let mut world = measured(ms(300));
    world.attach(0, key(1));
    run_losing(&mut world, ms(724), |from, _| from == 1);
    assert_eq!(world.said(0, is_log), 0);
    world.run(ms(1));
    assert_eq!(world.said(0, is_log), 1);
}

#[test]
fn of_a_large_rest_only_the_head_is_told_and_the_peer_draws_it() {
    let mut world = measured(ms(2));
    (0..3_000).for_each(|i| world.attach(0, key(i)));
    world.settle();
    world.said.clear();
    (3_000..4_000).for_each(|i| world.attach(0, key(i)));
    world.now = world.now + ms(20);
    world.act(0, |routes, now, out| routes.on_tick(now, out));
    world.flying.clear();
    world.run(ms(155));
    let logs = world.said.iter().filter_map(|(_, _, message)| {
        let Message::Log { batches, .. } = message else {
            return None;
        };
        Some(batches.len())
    });
    assert_eq!(logs.collect::<Vec<_>>(), [0, 2]);
    assert_eq!(world.said(1, is_resume), 1);
    assert_eq!(world.held(1, 0), Some(world.nodes[0].summary()));
}

#[test]
fn nothing_is_sent_again_to_a_peer_whose_link_is_gone() {
    let mut world = measured(ms(2));
    world.attach(0, key(1));
    world.cut(0, 1);
    world.said.clear();
    world.run(ms(10_000));
    assert_eq!(world.said.len(), 0);
}

#[test]
fn a_lost_answer_to_a_request_is_sent_again_by_its_origin() {
    let mut world = measured(ms(2));
    world.attach(0, key(1));
    world.flying.clear();
    world.heartbeat(0, 1);
    run_losing(&mut world, ms(29), |_, message| is_log(message));
    assert_eq!(world.said(0, is_log), 1);
    world.run(ms(1));
    assert!(world.sees(1, 0, key(1)));
    assert_eq!(world.said(1, is_resume), 1);
}

#[test]
fn an_acknowledgement_beyond_what_was_sent_counts_for_nothing() {
    let mut world = measured(ms(2));
    world.attach(0, key(1));
    world.flying.clear();
    world.say(1, 0, Message::Have { seq: 2 });
    assert_eq!(world.stats(0).unasked, 1);
    world.run(ms(155));
    assert!(world.sees(1, 0, key(1)));
}

#[test]
fn a_request_without_an_answer_is_repeated_ever_more_rarely() {
    let mut world = measured(ms(2));
    world.attach(0, key(1));
    world.flying.clear();
    world.heartbeat(0, 1);
    let mut asked = Vec::new();
    for step in 0..4_000 {
        let before = world.said(1, is_resume);
        run_losing(&mut world, ms(1), |_, _| true);
        if world.said(1, is_resume) > before {
            asked.push(step + 1);
        }
    }
    assert_eq!(asked, [100, 300, 700, 1_500, 2_500, 3_500]);
}

#[test]
fn a_peer_that_did_not_see_the_link_go_is_told_the_head_and_fed_again() {
    for changed in [false, true] {
        let mut world = measured(ms(2));
        world.act(0, |routes, _, _| routes.on_unlinked(node(1)));
        if changed {
            world.attach(0, key(1));
        }
        let epoch = world.nodes[1].summary().epoch;
        world.act(0, |r, now, out| r.on_linked(now, node(1), epoch, out));
        world.run(ms(30));
        assert_eq!(world.sees(1, 0, key(1)), changed);
        assert_eq!(world.said(1, is_resume), usize::from(changed));
        world.attach(0, key(2));
        assert_eq!(world.said(0, is_batch), 1, "pushed as before");
        world.run(ms(0));
        assert!(world.sees(1, 0, key(2)));
    }
}

#[test]
fn a_peer_that_says_what_it_holds_is_not_told_the_head() {
    let mut world = World::new(2);
    world.link(0, 1);
    world.run(ms(10_000));
    assert_eq!(world.stats(0).tails_resent, 0);
    assert_eq!(
        world.said(0, is_log) + world.said(0, is_part),
        2,
        "snapshot, rest"
    );
}
