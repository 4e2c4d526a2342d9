//! The whole report: its page, its way through a file, what is refused, and comparisons.

use std::path::PathBuf;

use proptest::prelude::*;

use super::timeline::Second;
use super::traffic::{Kind, Load};
use super::*;

fn ms(list: &[u64]) -> Durations {
    let durations: Vec<Duration> = list.iter().copied().map(Duration::from_millis).collect();
    durations.into()
}

/// A small run that held.
fn sample() -> Report {
    let faults = "crash 0.1/s, restart after 1 s to 5 s, cut 0.05/s, heal after 2 s to 8 s";
    let options = [
        ("scenario", "steady"),
        ("seed", "7"),
        ("nodes", "10"),
        ("users", "1000"),
        ("seconds", "30"),
        ("latency", "0.2 ms to 0.5 ms"),
        ("loss", "10 %"),
        ("faults", faults),
    ];
    let options = options.map(|(name, value)| Setting::new(name, value));
    let after = Duration::from_micros(83_200);
    let counters = [
        ("crashes", 2),
        ("restarts", 2),
        ("cuts", 1),
        ("frames lost", 3_217),
    ];
    let quick: Vec<u64> = (0..60).map(|n| 1 + n * n / 80).collect();
    let all = [&quick[..], &[700, 900, 1_234]].concat();
    Report {
        version: "1.2.3".to_owned(),
        convergence: Convergence {
            all: ms(&all),
            faulty: ms(&all[50..]),
            healed: ms(&quick[..50]),
            unfinished: 0,
        },
        detection: ms(&[950, 1_020, 1_310]),
        traffic: traffic(),
        copies: Ratio {
            total: 5_670,
            of: 630,
        },
        table: Ratio {
            total: 234_500,
            of: 10_000,
        },
        fullest: Some(Fullest {
            name: "outbox of h3 to h4, control".to_owned(),
            length: 120,
            bound: 1_024,
        }),
        counters: counters.map(|(name, n)| (name.to_owned(), n)).into(),
        timeline: timeline(),
        ..Report::new(options.into(), Outcome::Converged { after })
    }
}

fn traffic() -> Traffic {
    let loads = [
        (Kind::Heartbeat, 26_000, 900_000),
        (Kind::Membership, 410, 61_000),
        (Kind::Batch, 5_670, 340_000),
        (Kind::Log, 77, 9_000),
        (Kind::Relayed, 12, 700),
    ];
    Traffic {
        ran: Duration::from_secs(290),
        kinds: loads
            .map(|(kind, frames, bytes)| (kind, Load { frames, bytes }))
            .into(),
    }
}

/// Two crashes and a cut.
fn timeline() -> Timeline {
    let mut timeline = Timeline::default();
    for n in 0..30 {
        let marks: &[&str] = match n {
            4 => &["crash", "crash"],
            6 | 7 => &["restart"],
            10 => &["cut"],
            18 => &["heal"],
            _ => &[],
        };
        marks.iter().for_each(|mark| timeline.mark(mark));
        let nodes = match n {
            4 | 5 => 8,
            6 => 9,
            _ => 10,
        };
        let waiting = if (10..19).contains(&n) { n } else { 0 };
        let bytes = 40_000 + 1_000 * n + 9_000 * waiting;
        timeline.push(Second {
            bytes,
            nodes,
            waiting,
        });
    }
    timeline
}

const PAGE: &str = include_str!("golden/page.txt");

#[test]
fn the_page_of_a_run_is_as_it_is_shown_here() {
    let page = sample().to_string();
    assert!(page == PAGE, "\n{page}");
    let widest = page.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(page::WIDTH), "{widest:?} columns");
}

/// Another run, under other options, that broke.
fn other() -> Report {
    let mut report = sample();
    report.version = "1.3.0".to_owned();
    report.options[6].value = "5 %".to_owned();
    report.options.push(Setting::new("jitter", "2 ms"));
    report.outcome = Outcome::Broken {
        invariant: "no_lost_route".to_owned(),
        at: Duration::from_micros(12_345_678),
        host: Some(3),
        why: "h3 has no route to @alice, who has a session on h7 since 11.2 s, and every node \
              agreed on the set of h7 at batch 12 before that"
            .to_owned(),
    };
    report.convergence.all = vec![Duration::from_millis(3); 60].into();
    report.false_deaths = 2;
    report.traffic.kinds.remove(&Kind::Relayed);
    report.traffic.kinds.get_mut(&Kind::Batch).unwrap().bytes *= 2;
    report
}

const CHANGES: &str = include_str!("golden/changes.txt");

#[test]
fn a_comparison_shows_unlike_options_first_and_then_what_changed() {
    let page = compare(&sample(), &other());
    assert!(page == CHANGES, "\n{page}");
}

#[test]
fn a_report_equals_itself() {
    assert_eq!(compare(&sample(), &sample()), "The reports are equal.\n");
}

#[test]
fn a_run_that_ended_without_agreement_says_what_differed() {
    let outcome = Outcome::Diverged {
        bound: Duration::from_secs(10),
        differs: vec!["h1 lacks a route of h2".to_owned()],
    };
    let page = Report::new(Vec::new(), outcome).to_string();
    let line = page.lines().nth(1).unwrap();
    let golden = "NOT HELD: nodes differed still after 10 s in which nothing went wrong; \
                  h1 lacks a route of h2";
    assert_eq!(line, golden);
}

#[test]
fn long_and_odd_texts_neither_leave_their_columns_nor_move_the_cursor() {
    let mut report = other();
    let odd = "\u{1b}[2J\n".repeat(90);
    report.options[0].value = odd.clone();
    report.counters.insert(odd.clone(), 1);
    report.timeline.mark(&odd);
    report.outcome = Outcome::Diverged {
        bound: Duration::MAX,
        differs: vec!["x".repeat(500)],
    };
    for page in [report.to_string(), compare(&sample(), &report)] {
        assert!(!page.contains('\u{1b}'));
        let widest = page.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(page::WIDTH), "{widest:?} columns:\n{page}");
    }
}

/// Writes a file, reads it as a report and gives the error without the folder.
fn refusal(name: &str, bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let error = Report::read(&path).unwrap_err().to_string();
    error.replace(&format!("{}/", folder.path().display()), "")
}

/// The sample's JSON with one piece of it replaced.
fn with(old: &str, new: &str) -> Vec<u8> {
    let json = sample().json();
    assert!(json.contains(old), "{old}");
    json.replacen(old, new, 1).into_bytes()
}

#[test]
fn a_file_that_is_missing_or_a_folder_is_named() {
    let missing = Report::read(&PathBuf::from("/nowhere/a.json")).unwrap_err();
    assert!(matches!(missing, ReadError::Unreadable { .. }));
    assert!(
        missing
            .to_string()
            .starts_with("/nowhere/a.json: No such file")
    );
    let folder = tempfile::tempdir().unwrap();
    let error = Report::read(folder.path()).unwrap_err();
    assert!(matches!(error, ReadError::Unreadable { .. }), "{error}");
}

#[test]
fn what_is_no_json_is_refused_with_its_place() {
    let cases: [(&[u8], &str); 5] = [
        (
            b"",
            "a.json: not JSON: EOF while parsing a value at line 1 column 0",
        ),
        (
            b"{\n  \"format\": }",
            "a.json: not JSON: expected value at line 2 column 13",
        ),
        (
            b"{\"format\": 1",
            "a.json: not JSON: EOF while parsing an object at line 1 column 12",
        ),
        (
            b"{\"format\": 1} x",
            "a.json: not JSON: trailing characters at line 1 column 15",
        ),
        (
            b"\xff\xfe",
            "a.json: not JSON: expected value at line 1 column 1",
        ),
    ];
    for (bytes, golden) in cases {
        let hint = "; a report is what `chinwag-sim --json` prints";
        assert_eq!(refusal("a.json", bytes), format!("{golden}{hint}"));
    }
    let deep = refusal("a.json", &b"[".repeat(100_000));
    assert!(deep.starts_with("a.json: not JSON: "), "{deep}");
}

#[test]
fn json_that_is_no_report_is_refused() {
    let cases: [(&[u8], &str); 4] = [
        (b"{}", "missing field `format` at line 1 column 2"),
        (
            b"[1, 2]",
            "invalid type: sequence, expected an object with a field `format` at line 1 column 0",
        ),
        (
            b"7",
            "invalid type: integer `7`, expected an object with a field `format` at line 1 column 1",
        ),
        (
            b"{\"format\": \"1\"}",
            "invalid type: string \"1\", expected u64 at line 1 column 14",
        ),
    ];
    for (bytes, golden) in cases {
        let hint = "; a report is what `chinwag-sim --json` prints";
        assert_eq!(
            refusal("a.json", bytes),
            format!("a.json: not a report: {golden}{hint}")
        );
    }
}

#[test]
fn a_report_of_another_format_is_refused_as_such_whatever_else_it_holds() {
    let newer = refusal("b.json", b"{\"format\": 2, \"shape\": [1.5]}");
    assert_eq!(
        newer,
        "b.json: a report of format 2, this version reads format 1"
    );
    let older = refusal("b.json", b"{\"format\": 0}");
    assert_eq!(
        older,
        "b.json: a report of format 0, this version reads format 1"
    );
}

#[test]
fn fields_that_are_unknown_missing_or_of_a_wrong_type_are_refused_with_their_place() {
    let cases = [
        (
            with("\"false_deaths\"", "\"deaths\""),
            "unknown field `deaths`, expected one of ",
        ),
        (
            with("  \"false_deaths\": 0,\n", ""),
            "missing field `false_deaths` at line ",
        ),
        (
            with("\"total\": 5670", "\"total\": \"5670\""),
            "invalid type: string \"5670\", expected u64 at line ",
        ),
        (
            with("\"total\": 5670", "\"total\": 5670.5"),
            "invalid type: ",
        ),
        (
            with("\"total\": 5670", "\"total\": -1"),
            "invalid value: integer `-1`, expected u64 at line ",
        ),
        (
            with("\"total\": 5670", "\"total\": 99999999999999999999"),
            "invalid type: ",
        ),
        (
            with("\"converged\"", "\"won\""),
            "unknown variant `won`, expected one of `converged`, `broken`, `diverged` at line ",
        ),
        (
            with("\"heartbeat\"", "\"pulse\""),
            "unknown variant `pulse`, expected one of `heartbeat`",
        ),
        (
            with("\"after_us\": 83200", "\"after_us\": null"),
            "invalid type: null, expected u64 at line ",
        ),
        (
            with("\"version\"", "\"version\": \"1\", \"version\""),
            "duplicate field `version` at line ",
        ),
    ];
    for (bytes, golden) in cases {
        let error = refusal("c.json", &bytes);
        let golden = format!("c.json: not a report of format 1: {golden}");
        let place = error.contains(" at line ") && error.contains(" column ");
        assert!(error.starts_with(&golden) && place, "{error}\n{golden}");
    }
}

#[test]
fn fields_that_contradict_each_other_are_refused() {
    let cases = [
        (
            with("\"count\": 63", "\"count\": 64"),
            "convergence.all: the buckets of the histogram do not add up to its count",
        ),
        (
            with("\"p50_us\": 1020000", "\"p50_us\": 9020000"),
            "detection: its quantiles do not rise",
        ),
        (
            with("\"1600000\": 1", "\"1600001\": 1"),
            "detection: a bucket of the histogram ends where none does",
        ),
        (
            with("\"row_seconds\": 1", "\"row_seconds\": 0"),
            "timeline: rows of no seconds",
        ),
    ];
    for (bytes, golden) in cases {
        let golden = format!("d.json: not a report of format 1: {golden}");
        assert_eq!(refusal("d.json", &bytes), golden);
    }
    let mut rows = sample().json();
    let row = rows
        .lines()
        .find(|line| line.contains("{\"seconds\""))
        .unwrap()
        .to_owned();
    rows = rows.replacen(&row, &format!("{row}\n").repeat(32), 1);
    let golden = "d.json: not a report of format 1: timeline: more than 60 rows";
    assert_eq!(refusal("d.json", rows.as_bytes()), golden);
}

#[test]
fn a_file_above_the_bound_is_not_read_to_its_end() {
    let large = vec![b' '; read::FILE_MAX as usize + 1];
    let error = refusal("e.json", &large);
    assert_eq!(
        error,
        "e.json: more than 4194304 bytes; a report takes far less"
    );
    let endless = Report::read(&PathBuf::from("/dev/zero")).unwrap_err();
    assert!(matches!(endless, ReadError::TooLarge { .. }));
}

fn durations() -> impl Strategy<Value = Durations> {
    proptest::collection::vec(any::<u64>().prop_map(Duration::from_micros), 0..50)
        .prop_map(Durations::from)
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    let time = || any::<u64>().prop_map(Duration::from_micros);
    prop_oneof![
        time().prop_map(|after| Outcome::Converged { after }),
        (".*", time(), any::<Option<u16>>(), ".*").prop_map(|(invariant, at, host, why)| {
            Outcome::Broken {
                invariant,
                at,
                host,
                why,
            }
        }),
        (time(), proptest::collection::vec(".*", 0..3))
            .prop_map(|(bound, differs)| Outcome::Diverged { bound, differs }),
    ]
}

fn reports() -> impl Strategy<Value = Report> {
    let settings = proptest::collection::vec((".*", ".*"), 0..5);
    let seconds = proptest::collection::vec((any::<[u64; 3]>(), "[a-c]?"), 0..150);
    let totals = proptest::collection::btree_map(".*", any::<u64>(), 0..5);
    let all = (
        settings,
        outcomes(),
        durations(),
        durations(),
        seconds,
        totals,
        any::<[u64; 8]>(),
    );
    all.prop_map(
        |(settings, outcome, all, detection, seconds, counters, n)| {
            let options = settings
                .iter()
                .map(|(name, value)| Setting::new(name, value));
            let mut report = Report::new(options.collect(), outcome);
            report.convergence.all = all;
            report.convergence.unfinished = n[0];
            report.detection = detection;
            report.counters = counters;
            report.traffic.ran = Duration::from_micros(n[1]);
            let load = Load {
                frames: n[2],
                bytes: n[3],
            };
            report.traffic.kinds = [(Kind::Chat, load), (Kind::Streams, load)].into();
            report.copies = Ratio {
                total: n[4],
                of: n[5],
            };
            report.table = Ratio { total: n[6], of: 0 };
            report.fullest = Some(Fullest {
                name: "q".to_owned(),
                length: n[7],
                bound: n[0],
            });
            for ([bytes, nodes, waiting], mark) in seconds {
                report.timeline.mark(&mark);
                report.timeline.push(Second {
                    bytes,
                    nodes,
                    waiting,
                });
            }
            report
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_report_comes_back_from_its_file_as_it_was_and_can_be_shown(
        report in reports(),
        other in reports(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        std::fs::write(&path, report.json()).unwrap();
        let read = Report::read(&path).unwrap();
        prop_assert_eq!(&read, &report);
        prop_assert_eq!(read.json(), report.json());
        prop_assert!(report.to_string().ends_with('\n'));
        prop_assert!(compare(&report, &other).ends_with('\n'));
    }
}
