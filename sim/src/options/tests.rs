//! A wish is granted, and changes nothing else.

use super::*;
use crate::scenario::{Deed, Scenario};

fn draw(seed: u64, wishes: Wishes) -> Options {
    Options::draw(seed, None, wishes)
}

#[test]
fn a_seed_draws_the_same_options_each_time_and_other_seeds_others() {
    let drawn = |seed| draw(seed, Wishes::default());
    assert_eq!(drawn(1), drawn(1));
    let different = (1..50).filter(|seed| drawn(*seed).rates != drawn(0).rates);
    assert!(different.count() > 40);
    for seed in 0..200 {
        let options = drawn(seed);
        assert!((3..=12).contains(&options.nodes) && options.first == options.nodes);
        assert!((20..=60).contains(&options.seconds) && (10..=200).contains(&options.users));
        assert!(options.network.latency.0 <= options.network.latency.1);
    }
}

const LATENCY: (Duration, Duration) = (Duration::from_millis(3), Duration::from_secs(1));
const SHARE: Probability = Probability::percent(7);

/// A wish, and what it changes.
type Case = (fn(&mut Wishes), fn(&mut Options));

const CASES: [Case; 12] = [
    (|w| w.nodes = Some(99), |o| (o.nodes, o.first) = (99, 99)),
    (|w| w.first = Some(2), |o| o.first = 2),
    (|w| w.users = Some(7), |o| o.users = 7),
    (|w| w.seconds = Some(7), |o| o.seconds = 7),
    (
        |w| w.latency = Some(LATENCY),
        |o| (o.network.latency, o.network.late) = (LATENCY, LATENCY.1),
    ),
    (|w| w.loss = Some(SHARE), |o| o.network.loss = SHARE),
    (|w| w.burst = Some(9), |o| o.network.burst = 9),
    (
        |w| w.duplicate = Some(SHARE),
        |o| o.network.duplicate = SHARE,
    ),
    (|w| w.reorder = Some(SHARE), |o| o.network.reorder = SHARE),
    (|w| w.rate = Some(1), |o| o.network.rate = Some(1)),
    (|w| w.online = Some(SHARE), |o| o.habits.online = SHARE),
    (|w| w.stay = Some(LATENCY.0), |o| o.habits.stay = LATENCY.0),
];

#[test]
fn a_wish_is_granted_and_shifts_nothing_else_that_is_drawn() {
    for seed in 0..50 {
        for (wish, change) in CASES {
            let (mut wishes, mut expected) = (Wishes::default(), draw(seed, Wishes::default()));
            wish(&mut wishes);
            change(&mut expected);
            assert_eq!(draw(seed, wishes), expected);
        }
    }
}

#[test]
fn how_much_goes_wrong_leaves_the_size_of_the_mesh_and_its_users_alone() {
    for seed in 0..50 {
        let at = |level| {
            draw(
                seed,
                Wishes {
                    faults: Some(level),
                    ..Wishes::default()
                },
            )
        };
        let size = |o: &Options| {
            (
                o.nodes,
                o.users,
                o.seconds,
                o.habits.clone(),
                o.network.latency,
            )
        };
        assert_eq!(size(&at(Level::None)), size(&at(Level::Heavy)));
        let calm = at(Level::None);
        assert_eq!(calm.rates.all().count(), 0);
        assert_eq!(calm.network.loss, Probability::ZERO);
        assert_eq!(draw(seed, Wishes::default()), at(Level::Light));
    }
}

#[test]
fn a_flag_beats_a_scenario_and_a_scenario_beats_the_seed() {
    let scenario = Scenario::find("growth").unwrap();
    let flags = Wishes {
        nodes: Some(5),
        ..Wishes::default()
    };
    let options = Options::draw(1, Some("growth".to_owned()), flags.or(scenario.wishes));
    assert_eq!((options.nodes, options.first, options.users), (5, 1, 2_000));
    assert!(matches!(options.steps[0].deed, Deed::Grow { .. }));
    let few = Wishes {
        nodes: Some(2),
        first: Some(9),
        ..Wishes::default()
    };
    assert_eq!(draw(1, few).first, 2);
}

#[test]
fn all_that_decides_a_run_is_among_its_settings() {
    let scenario = Scenario::find("split-brain").unwrap();
    let options = Options::draw(5, Some("split-brain".to_owned()), scenario.wishes);
    let settings = options.settings();
    let value = |name: &str| {
        settings
            .iter()
            .find(|it| it.name == name)
            .map(|it| it.value.clone())
    };
    assert_eq!(value("seed").as_deref(), Some("5"));
    assert_eq!(value("scenario").as_deref(), Some("split-brain"));
    assert_eq!(
        value("at 10 s").as_deref(),
        Some("40% of nodes are cut off for 30 s")
    );
    for (fault, every) in options.rates.all() {
        let name = format!("fault {}", fault.name());
        assert_eq!(value(&name), Some(format!("every {} s", every.as_secs())));
    }
    for name in [
        "nodes",
        "users",
        "seconds",
        "latency-ms",
        "loss",
        "burst",
        "duplicate",
        "reorder",
        "rate",
        "online",
        "stay",
        "faults",
    ] {
        assert!(value(name).is_some(), "{name}");
    }
}

#[test]
fn a_range_is_shown_as_it_is_read() {
    for text in ["0..0", "0.5..2", "10..10000", "0.001..0.25"] {
        assert_eq!(Range(Range::parse(text).unwrap()).to_string(), text);
    }
    for wrong in [
        "", "5", "2..1", "-1..2", "1..10001", "a..b", "NaN..1", "1..", "1...2",
    ] {
        assert_eq!(Range::parse(wrong), None, "{wrong}");
    }
}
