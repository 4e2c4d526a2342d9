//! Runs do what their options say, when they say it, and none holds that should not.

use crate::network;
use crate::options::{Level, Wishes};
use crate::scenario::{Deed, Step};
use crate::seed::Probability;

use super::*;

fn options(nodes: u16, seconds: u64, steps: &[(u64, Deed)]) -> Options {
    let wishes = Wishes {
        nodes: Some(nodes),
        users: Some(20),
        seconds: Some(seconds),
        faults: Some(Level::None),
        latency: Some(network::Config::default().latency),
        steps: steps
            .iter()
            .map(|(second, deed)| Step {
                second: *second,
                deed: deed.clone(),
            })
            .collect(),
        ..Wishes::default()
    };
    let options = Options::draw(1, None, wishes);
    assert_eq!(options.rates, Rates::default());
    options
}

fn report(options: &Options) -> Report {
    let (report, _) = run(options, Trace::off(), &mut |_| ());
    assert!(report.outcome.held(), "{report}");
    report
}

/// In which seconds something happened, as often as it did.
fn seconds(report: &Report, name: &str) -> Vec<usize> {
    let rows = report.timeline.rows().iter().enumerate();
    let times = |(second, row): (usize, &crate::report::timeline::Row)| {
        let count = row.marks.get(name).copied().unwrap_or(0);
        vec![second; usize::try_from(count).unwrap()]
    };
    rows.flat_map(times).collect()
}

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn steps_happen_when_they_say_and_end_when_they_say() {
    let share = Probability::percent(30);
    let crash = Deed::Crash {
        share,
        lasting: s(3),
    };
    let split = Deed::Split {
        share: Probability::percent(50),
        lasting: s(2),
    };
    let report = report(&options(3, 12, &[(2, crash), (9, split)]));
    // Nodes meet within the first second, and steps are counted from there.
    assert_eq!(seconds(&report, "crash"), [2]);
    assert_eq!(seconds(&report, "start"), [5]);
    assert_eq!(seconds(&report, "split"), [9]);
    assert_eq!(seconds(&report, "healed"), [12]);
    let nodes: Vec<u64> = report
        .timeline
        .rows()
        .iter()
        .map(|row| row.nodes_min)
        .collect();
    assert_eq!(nodes[..6], [3, 3, 2, 2, 2, 3]);
}

#[test]
fn a_link_flaps_as_often_and_as_long_as_it_says() {
    let flap = Deed::Flap {
        times: 3,
        every: s(2),
    };
    let report = report(&options(3, 14, &[(1, flap)]));
    assert_eq!(seconds(&report, "cut"), [1, 5, 9]);
    assert_eq!(report.false_deaths, 0);
}

#[test]
fn a_mesh_grows_node_by_node() {
    let grow = Deed::Grow { within: s(6) };
    let mut options = options(4, 10, &[(1, grow)]);
    options.first = 1;
    let report = report(&options);
    assert_eq!(seconds(&report, "start"), [1, 3, 5]);
    assert_eq!(report.timeline.rows()[0].nodes_min, 1);
}

#[test]
fn a_rolling_restart_stops_each_node_once_and_none_dies() {
    let restart = Deed::Restart { every: s(8) };
    let report = report(&options(3, 40, &[(1, restart)]));
    assert_eq!(seconds(&report, "stop"), [1, 9, 17]);
    assert_eq!(seconds(&report, "start").len(), 3);
    assert_eq!(
        report.detection.count(),
        0,
        "nobody took a stop for a death"
    );
}

#[test]
fn every_second_is_a_second_and_time_is_counted_for_nodes_that_run() {
    let crash = Deed::Crash {
        share: Probability::percent(1),
        lasting: Duration::from_millis(2_500),
    };
    let options = options(3, 10, &[(2, crash)]);
    let mut nothing = |_: Progress| ();
    let mut run = Run::new(&options, Trace::off(), &mut nothing);
    let outcome = run.outcome();
    let whole = run.world.now().since(Instant(0));
    let (report, _) = run.report(outcome);
    let rows = report.timeline.rows();
    assert_eq!(
        rows.iter().map(|row| row.seconds).sum::<u64>(),
        whole.as_secs() + 1
    );
    let down = whole * 3 - report.traffic.ran;
    let error = down.abs_diff(Duration::from_millis(2_500));
    assert!(error <= LOOK_EVERY, "{down:?}");
    let bytes = rows.iter().map(|row| row.bytes).sum::<u64>();
    assert_eq!(bytes, report.traffic.total().bytes);
}

#[test]
fn a_broken_invariant_ends_the_run_and_its_trace() {
    let options = options(3, 10, &[]);
    let mut nothing = |_: Progress| ();
    let mut run = Run::new(&options, Trace::ring(50), &mut nothing);
    run.meet().unwrap();
    run.world.checks_mut().doctor();
    run.go_wrong();
    let ended = run.world.now();
    assert!(ended < Instant(0) + s(5), "{ended:?}");
    let outcome = run.broken().unwrap();
    let Outcome::Broken { host, .. } = &outcome else {
        panic!("{outcome:?}");
    };
    assert!(host.is_some());
    let (report, _) = run.report(outcome);
    assert!(!report.outcome.held());
}

#[test]
fn a_node_that_does_not_run_is_no_agreement() {
    let options = options(3, 10, &[]);
    let mut nothing = |_: Progress| ();
    let mut run = Run::new(&options, Trace::off(), &mut nothing);
    run.meet().unwrap();
    run.world.crash(HostId(1));
    let Err(Outcome::Diverged { differs, .. }) = run.converge(Phase::Healing, 3) else {
        panic!("two of three agreed");
    };
    assert!(differs[0].starts_with("h1 does not run"), "{differs:?}");
}

#[test]
fn nothing_goes_wrong_before_the_nodes_have_met() {
    for seed in 0..20 {
        let wishes = Wishes {
            faults: Some(Level::Heavy),
            latency: Some((s(1), s(1))),
            ..Wishes::default()
        };
        let options = Options::draw(seed, None, wishes);
        let mut nothing = |_: Progress| ();
        let mut run = Run::new(&options, Trace::off(), &mut nothing);
        run.meet().unwrap();
        assert!(run.misfortune.counts().is_empty());
        assert!(s(3) < run.world.now().since(Instant(0)));
    }
}
