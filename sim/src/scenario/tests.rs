//! Scenarios that come with the program are right; a wrong one says where and what is expected.

use super::*;

#[test]
fn every_scenario_that_comes_with_the_program_is_one() {
    for (name, text) in BUILT_IN {
        let scenario = Scenario::parse(name, text).unwrap();
        assert_eq!(Scenario::find(name), Ok(scenario.clone()));
        assert!(scenario.about.ends_with('.'), "{name}");
    }
}

#[test]
fn a_scenario_says_what_happens_when() {
    let text = "about = \"x\"\nnodes = 5\nlatency-ms = \"1..2.5\"\nloss = \"10%\"\nstay = 2\n\n\
                [[step]]\nsecond = 3\ndo = \"flap\"\ntimes = 4\nevery = 0.5\n";
    let wishes = Scenario::parse("x", text).unwrap().wishes;
    assert_eq!(wishes.nodes, Some(5));
    let ms = Duration::from_micros;
    assert_eq!(wishes.latency, Some((ms(1_000), ms(2_500))));
    assert_eq!(wishes.loss, Some(Probability::percent(10)));
    assert_eq!(wishes.stay, Some(Duration::from_secs(2)));
    let deed = Deed::Flap {
        times: 4,
        every: Duration::from_millis(500),
    };
    assert_eq!(wishes.steps, [Step { second: 3, deed }]);
}

#[test]
fn a_wrong_scenario_says_where_and_what_is_expected() {
    let step = |rest: &str| format!("about = \"x\"\n[[step]]\nsecond = 1\n{rest}");
    let wrong = [
        ("", "about"),
        ("about = 1", "line 1, column 9: invalid type"),
        (
            "about = \"x\"\nnodes = 0",
            "line 2, column 9: expected nodes from 1 to 256, got 0",
        ),
        (
            "about = \"x\"\nnodes = 3\nfirst = 4",
            "expected first from 1 to 3",
        ),
        (
            "about = \"x\"\nnods = 3",
            "line 2, column 1: unknown field `nods`",
        ),
        ("about = \"x\"\nloss = 3", "line 2, column 8: invalid type"),
        (
            "about = \"x\"\nloss = \"300%\"",
            "line 2, column 8: expected loss as a share",
        ),
        (
            "about = \"x\"\nstay = -1",
            "line 2, column 8: expected stay from 0.001",
        ),
        ("about = \"x\"\nstay = nan", "expected stay from 0.001"),
        (
            "about = \"x\"\nlatency-ms = \"5..1\"",
            "expected latency-ms as A..B",
        ),
        (
            "about = \"x\"\nfaults = \"some\"",
            "line 2, column 10: unknown variant `some`",
        ),
        (
            "about = \"x\"\n[[step]]\ndo = \"go\"",
            "missing field `second`",
        ),
        (
            &step("do = \"dance\""),
            "line 4, column 6: unknown variant `dance`",
        ),
        (
            &step("do = \"come\"\nshare = \"1\""),
            "this step needs `within`",
        ),
        (
            &step("do = \"grow\"\nwithin = 3\ntimes = 2"),
            "line 6, column 9: this step has no `times`",
        ),
        ("about = \"x", "line 1"),
    ];
    for (text, expected) in wrong {
        let error = Scenario::parse("x", text).unwrap_err().to_string();
        assert!(
            error.contains(expected),
            "{text}\n{error}\nexpected: {expected}"
        );
    }
}

#[test]
fn a_scenario_that_is_nowhere_names_those_that_there_are() {
    let error = |name: &str| Scenario::find(name).unwrap_err().to_string();
    assert!(error("flash").contains("flash-crowd"), "{}", error("flash"));
    let missing = error("/nowhere/x.toml");
    assert!(missing.starts_with("/nowhere/x.toml: "), "{missing}");
}
