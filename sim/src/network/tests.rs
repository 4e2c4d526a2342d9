//! The network does to frames what it was told to, as often as it was told to.

use super::*;
use crate::seed::Probability;

const A: HostId = HostId(0);
const B: HostId = HostId(1);

fn network(config: Config) -> (Network, End, End) {
    let mut network = Network::new(config, Chance::new(1, "network"));
    let (a, b) = network.connect(A, B);
    (network, a, b)
}

/// What becomes of so many frames sent one each millisecond.
fn fates(network: &mut Network, from: End, count: u64) -> Vec<Fate> {
    (0..count)
        .map(|ms| network.send(from, Lane::Control, 100, Instant(ms * 1000)))
        .collect()
}

fn lost(fates: &[Fate]) -> Vec<bool> {
    let is_lost = |fate: &Fate| matches!(fate, Fate::Lost { .. });
    fates.iter().map(is_lost).collect()
}

#[test]
fn frames_of_a_lane_arrive_in_order_and_within_the_latency() {
    let (mut network, a, b) = network(Config::default());
    let mut last = Instant(0);
    for (ms, fate) in (0..).zip(fates(&mut network, a, 1000)) {
        let Fate::Arrives {
            to,
            at,
            again: None,
        } = fate
        else {
            panic!("{fate:?}");
        };
        assert_eq!(to, b);
        assert!(last <= at);
        let took = at.since(Instant(ms * 1000)).as_micros();
        assert!((200..=500).contains(&took), "{took}");
        last = at;
    }
}

#[test]
fn the_share_of_lost_frames_and_the_length_of_bursts_are_as_told() {
    for burst in [1, 5] {
        let config = Config {
            loss: Probability::percent(20),
            burst,
            ..Config::default()
        };
        let (mut network, a, _) = network(config);
        let lost = lost(&fates(&mut network, a, 100_000));
        let share = lost.iter().filter(|lost| **lost).count();
        assert!((18_500..21_500).contains(&share), "{share} of 100,000");
        let bursts = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count();
        let mean = share as f64 / bursts as f64;
        // Lost by themselves, runs of losses last 1 / 0.8 frames.
        let expected = if burst == 1 { 1.25 } else { 5.0 };
        assert!((mean - expected).abs() < expected / 10.0, "{mean}");
    }
}

#[test]
fn where_most_frames_are_lost_bursts_are_longer_and_the_share_is_as_told() {
    let config = Config {
        loss: Probability::percent(90),
        burst: 2,
        ..Config::default()
    };
    let (mut network, a, _) = network(config);
    let lost = lost(&fates(&mut network, a, 100_000));
    let share = lost.iter().filter(|lost| **lost).count();
    assert!((89_000..91_000).contains(&share), "{share} of 100,000");
}

#[test]
fn frames_are_repeated_and_overtaken_as_often_as_told() {
    let config = Config {
        duplicate: Probability::percent(10),
        reorder: Probability::percent(10),
        ..Config::default()
    };
    let (mut network, a, _) = network(config);
    let fates = fates(&mut network, a, 10_000);
    let arrivals = |fate: &Fate| {
        let Fate::Arrives { at, again, .. } = fate else {
            panic!("{fate:?}");
        };
        (*at, again.is_some())
    };
    let arrivals: Vec<_> = fates.iter().map(arrivals).collect();
    let twice = arrivals.iter().filter(|(_, twice)| *twice).count();
    assert!((900..1100).contains(&twice), "{twice}");
    let overtaken = arrivals.windows(2).filter(|w| w[1].0 < w[0].0).count();
    assert!((700..1100).contains(&overtaken), "{overtaken}");
}

#[test]
fn a_limited_link_delays_frames_and_drops_what_would_wait_too_long_but_not_bulk() {
    let config = Config {
        rate: Some(10_000),
        ..Config::default()
    };
    let (mut network, a, _) = network(config);
    // A tenth of what is sent fits: 100 bytes each millisecond.
    let lost = lost(&fates(&mut network, a, 2_000));
    let share = lost.iter().filter(|lost| **lost).count();
    assert!((1500..1800).contains(&share), "{share}");
    let bulk = network.send(a, Lane::Bulk, 100, Instant(2_000_000));
    let Fate::Arrives { at, .. } = bulk else {
        panic!("{bulk:?}");
    };
    assert!(at > Instant(2_900_000), "{at:?}");
}

#[test]
fn a_cut_swallows_one_direction_and_breaks_the_connection_when_it_heals() {
    let (mut network, a, b) = network(Config::default());
    network.cut_one_way(A, B);
    let send = |network: &mut Network, from| network.send(from, Lane::Data, 1, Instant(0));
    assert_eq!(send(&mut network, a), Fate::Cut { to: b });
    assert!(matches!(send(&mut network, b), Fate::Arrives { .. }));
    assert_eq!(network.heal(A, B), [a, b]);
    assert_eq!(send(&mut network, b), Fate::Gone);
}

#[test]
fn a_cut_into_which_nothing_was_sent_leaves_the_connection() {
    let (mut network, a, _) = network(Config::default());
    network.cut_one_way(A, B);
    assert_eq!(network.heal(A, B), []);
    assert!(network.is_open(a));
}

#[test]
fn a_host_without_power_is_silent_and_nobody_is_told() {
    let (mut network, a, b) = network(Config::default());
    network.silence_host(A);
    assert!(!network.is_open(a) && network.is_open(b));
    let sent = network.send(b, Lane::Data, 1, Instant(0));
    assert_eq!(sent, Fate::Cut { to: a });
    assert_eq!(network.close(b), [b]);
}

#[test]
fn a_reset_tells_both_ends() {
    let (mut network, a, b) = network(Config::default());
    assert_eq!(network.reset(B, A), [b, a]);
    assert!(!network.is_open(a) && !network.is_open(b));
}

#[test]
fn one_link_may_fare_otherwise_than_the_rest() {
    let (mut network, a, b) = network(Config::default());
    let lossy = Config {
        loss: Probability::ONE,
        ..Config::default()
    };
    network.set_special(A, B, Some(lossy));
    assert!(lost(&fates(&mut network, a, 10)).iter().all(|lost| *lost));
    assert!(!lost(&fates(&mut network, b, 10)).contains(&true));
    network.set_special(A, B, None);
    assert!(!lost(&fates(&mut network, a, 10)).contains(&true));
}
