//! Rules of the text and of the tables.

use super::*;

fn all() -> impl Iterator<Item = &'static Metric> {
    TABLES.into_iter().flatten()
}

#[test]
fn samples_of_one_metric_stand_together_under_its_sentence() {
    let mut exposition = Exposition::new();
    exposition.push("ready", &[("state", "a")], 3.0);
    exposition.push_counters([("lost_total", 7)]);
    exposition.push("ready", &[("state", "b")], 1.0);
    assert_eq!(
        exposition.render(),
        "# HELP chinwag_lost_total \n\
         # TYPE chinwag_lost_total counter\n\
         chinwag_lost_total 7\n\
         # HELP chinwag_ready 1 while clients are welcome, else 0; /readyz says why not.\n\
         # TYPE chinwag_ready gauge\n\
         chinwag_ready{state=\"a\"} 3\n\
         chinwag_ready{state=\"b\"} 1\n"
    );
}

#[test]
fn a_label_cannot_break_out_of_its_quotes() {
    let mut exposition = Exposition::new();
    exposition.push("x", &[("a", "q\"\\\n"), ("b", "")], 0.5);
    let text = exposition.render();
    let line = "chinwag_x{a=\"q\\\"\\\\\\n\",b=\"\"} 0.5\n";
    assert!(text.ends_with(line), "{text}");
}

#[test]
fn labels_of_a_layer_belong_to_the_sample_and_not_to_the_family() {
    let mut exposition = Exposition::new();
    exposition.push_counters([(r#"x_total{lane="a"}"#, 1), (r#"x_total{lane="b"}"#, 2)]);
    let text = exposition.render();
    assert_eq!(text.matches("# TYPE chinwag_x_total counter\n").count(), 1);
    let lines = "chinwag_x_total{lane=\"a\"} 1\nchinwag_x_total{lane=\"b\"} 2\n";
    assert!(text.ends_with(lines), "{text}");
}

#[test]
fn microseconds_are_shown_as_seconds() {
    let mut exposition = Exposition::new();
    exposition.push_counters([("wait_us_total", 1_500_000), ("longest_us", 20), ("bus", 3)]);
    let text = exposition.render();
    for line in ["wait_seconds_total 1.5", "longest_seconds 0.00002", "bus 3"] {
        assert!(text.contains(&format!("\nchinwag_{line}\n")), "{text}");
    }
}

#[test]
fn a_name_that_all_programs_share_has_no_prefix() {
    let mut exposition = Exposition::new();
    exposition.push_process(1_500);
    let text = exposition.render();
    assert!(
        text.contains("\nprocess_start_time_seconds 1.5\n"),
        "{text}"
    );
    assert!(!text.contains(PREFIX), "{text}");
}

#[test]
fn the_tables_can_be_searched_by_name_and_share_none() {
    for table in TABLES {
        assert!(table.is_sorted_by(|a, b| a.name < b.name));
    }
    let mut names: Vec<_> = all().map(|metric| metric.name).collect();
    names.sort_unstable();
    assert!(names.is_sorted_by(|a, b| a < b), "a name stands twice");
}

#[test]
fn names_follow_the_conventions_of_prometheus() {
    for Metric { name, kind, help } in all() {
        assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
        let plain = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(name.chars().all(plain), "{name}");
        let unit = name.trim_end_matches("_total");
        for small in ["_us", "_ms", "_micros", "_millis", "_kib"] {
            assert!(!unit.ends_with(small), "{name}: base units only");
        }
        assert!(help.ends_with('.') && !help.contains('\n'), "{name}");
    }
}
