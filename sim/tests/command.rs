//! The program as people and scripts call it: the same report each time, and a sentence for whatever is
//! wrong.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn sim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_chinwag-sim"))
        .args(args)
        .output()
        .expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// Exit status 2, nothing on standard output, and a sentence that has all of this in it.
fn is_refused(args: &[&str], expected: &[&str]) {
    let output = sim(args);
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {told}");
    assert_eq!(text(&output.stdout), "", "{args:?}");
    for part in expected {
        assert!(told.contains(part), "{args:?}: {told}\nexpected: {part}");
    }
}

#[test]
fn the_same_seed_and_flags_print_the_same_report_in_every_process() {
    for args in [
        &["--seed", "3", "--faults", "heavy", "--seconds", "20"][..],
        &[
            "--seed",
            "4",
            "--scenario",
            "split-brain",
            "--nodes",
            "5",
            "--json",
        ],
    ] {
        let (first, second) = (sim(args), sim(args));
        assert_eq!(first.status.code(), Some(0), "{}", text(&first.stderr));
        assert_eq!(text(&first.stdout), text(&second.stdout));
        assert!(!first.stdout.is_empty());
    }
    let other = |seed| text(&sim(&["--seed", seed, "--seconds", "5"]).stdout);
    assert_ne!(other("1"), other("2"));
}

/// A change of the protocol, the simulator, the version or what is drawn changes this number, and then it is
/// written anew here; another machine, compiler or build must not.
const REPORT: u64 = 16_328_241_603_557_734_801;

#[test]
fn a_report_is_the_same_on_every_machine() {
    let args = ["--seed", "11", "--faults", "heavy", "--json"];
    let report = sim(&args).stdout;
    // FNV-1a.
    let hash = report.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    assert_eq!(hash, REPORT, "{}", text(&report));
}

#[test]
fn run_may_be_left_out_and_is_told_what_it_does() {
    let flags = [
        "--seed",
        "9",
        "--nodes",
        "3",
        "--seconds",
        "3",
        "--faults",
        "none",
    ];
    let bare = sim(&flags);
    let named = sim(&[&["run"], &flags[..]].concat());
    assert_eq!(bare.stdout, named.stdout);
    assert!(text(&bare.stderr).contains("running"));
    let help = text(&sim(&["--help"]).stdout);
    for word in ["replay", "compare", "--faults", "--scenario", "split-brain"] {
        assert!(help.contains(word), "{help}");
    }
}

#[test]
fn a_replay_shows_the_legend_every_step_and_the_same_report() {
    let flags = [
        "--nodes",
        "3",
        "--users",
        "5",
        "--seconds",
        "3",
        "--faults",
        "none",
    ];
    let replay = sim(&[&["replay", "5"], &flags[..]].concat());
    let shown = text(&replay.stdout);
    assert_eq!(replay.status.code(), Some(0));
    assert!(shown.contains("who, whom"), "{shown}");
    assert!(shown.contains("@+        hello @user"), "{shown}");
    let report = text(&sim(&[&["--seed", "5"], &flags[..]].concat()).stdout);
    assert!(shown.ends_with(&format!("\n{report}\n")), "{shown}");
    let part = sim(&[&["replay", "5", "--from", "2", "--until", "3"], &flags[..]].concat());
    assert!(part.stdout.len() < replay.stdout.len() / 2);
}

#[test]
fn who_reads_no_further_is_no_reason_to_panic() {
    for command in ["run", "replay 1", "scenarios"] {
        let flags = if command == "scenarios" {
            ""
        } else {
            "--nodes 3 --users 5 --seconds 2 --faults none"
        };
        let line = format!("\"$0\" {command} {flags} | true; exit ${{PIPESTATUS[0]}}");
        let output = Command::new("bash")
            .args(["-c", &line, env!("CARGO_BIN_EXE_chinwag-sim")])
            .output()
            .expect("a shell runs");
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{command}: {told}");
    }
}

#[test]
fn reports_are_compared() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).display().to_string();
    for (seed, name) in [("1", "a.json"), ("2", "b.json")] {
        let args = ["--seed", seed, "--nodes", "3", "--seconds", "3", "--json"];
        fs::write(file(name), sim(&args).stdout).expect("a report is written");
    }
    let compared = sim(&["compare", &file("a.json"), &file("b.json")]);
    assert_eq!(compared.status.code(), Some(0));
    assert!(text(&compared.stdout).contains("seed"));
}

#[test]
fn wrong_flags_are_refused_with_what_is_expected() {
    is_refused(&["--nodes", "0"], &["--nodes", "1..=256"]);
    is_refused(&["--nodes", "257"], &["--nodes", "1..=256"]);
    is_refused(&["--users", "-1"], &["-1"]);
    is_refused(&["--seconds", "0"], &["--seconds"]);
    is_refused(&["--latency-ms", "9..1"], &["A..B in milliseconds"]);
    is_refused(&["--latency-ms", "9"], &["such as 10..50"]);
    is_refused(&["--loss", "2"], &["from 0 to 1"]);
    is_refused(&["--faults", "some"], &["none, light or heavy"]);
    is_refused(&["--seed", "x"], &["--seed"]);
    is_refused(&["--sed", "1"], &["--sed"]);
    is_refused(&["replay"], &["SEED"]);
    is_refused(&["replay", "x"], &["x"]);
    is_refused(
        &["replay", "1", "--from", "5", "--until", "5"],
        &["--until", "after --from 5"],
    );
    is_refused(
        &["--scenario", "mass-crash", "--seconds", "10"],
        &["second 10", "more seconds"],
    );
    is_refused(&["compare", "a.json"], &["<B>"]);
    is_refused(&["dance"], &["dance"]);
}

#[test]
fn wrong_scenarios_are_refused_with_file_line_and_what_is_expected() {
    is_refused(&["--scenario", "flash"], &["flash-crowd", "split-brain"]);
    is_refused(&["--scenario", "/nowhere.toml"], &["/nowhere.toml"]);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.toml");
    let wrong = |content: &[u8], expected: &[&str]| {
        fs::write(&path, content).expect("a scenario is written");
        is_refused(&["--scenario", &path.display().to_string()], expected);
    };
    wrong(
        b"about = \"x\"\nnodes = 3000",
        &["x.toml: line 2, column 9", "1 to 256"],
    );
    wrong(b"about = \"x\"\nnodes = [", &["x.toml: line 2"]);
    wrong(b"about = \"\xff\"", &["x.toml: byte 9", "UTF-8"]);
    is_refused(
        &["--scenario", &folder.path().display().to_string()],
        &["no scenario"],
    );
}

#[test]
fn wrong_reports_are_refused_with_file_and_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let good = path("good.json");
    let args = ["--nodes", "3", "--seconds", "2", "--json"];
    fs::write(&good, sim(&args).stdout).expect("a report is written");
    let whole = fs::read_to_string(&good).expect("it was written");
    let wrong = |content: &str, expected: &[&str]| {
        fs::write(path("bad.json"), content).expect("a file is written");
        is_refused(&["compare", &good, &path("bad.json")], expected);
        is_refused(&["compare", &path("bad.json"), &good], expected);
    };
    wrong("", &["bad.json"]);
    wrong("[]", &["bad.json"]);
    wrong(&whole[..whole.len() / 2], &["bad.json", "line"]);
    wrong(
        &whole.replacen("\"format\": 1", "\"format\": 99", 1),
        &["bad.json", "99"],
    );
    wrong(
        &whole.replacen("false_deaths", "false_death", 1),
        &["bad.json", "false_death"],
    );
    is_refused(&["compare", &good, &path("none.json")], &["none.json"]);
    assert!(Path::new(&good).exists());
}
