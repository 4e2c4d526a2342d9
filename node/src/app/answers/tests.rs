//! Rules of `/metrics`, on a whole node.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::super::{ASKS_MAX, INPUTS_MAX, Node, Results, start};
use crate::config::{self, Sources};
use crate::telemetry::metrics::{PREFIX, STANDARD, TABLES};

/// What is shown only with a peer, and only by newer systems.
const SOMETIMES: [&str; 2] = ["membership_link_rtt_seconds", "process_open_fds"];

/// What `/metrics` of a node says that has just started.
async fn scraped() -> String {
    let data = tempfile::tempdir().unwrap();
    let mut sources = Sources::default();
    for (flag, value) in [
        ("data", data.path().to_str().unwrap()),
        ("listen", "127.0.0.1:0"),
        ("mesh-listen", "127.0.0.1:0"),
    ] {
        sources.flags.insert(flag, vec![value.to_owned()]);
    }
    let config = config::load(&sources).unwrap().config;
    let (to_mesh, _from_peers) = mpsc::channel(INPUTS_MAX);
    let (to_front, _from_clients) = mpsc::channel(INPUTS_MAX);
    let (ask, _asks) = mpsc::channel(ASKS_MAX);
    let wires = start::Wires {
        to_mesh,
        to_front,
        results: Arc::new(Results::default()),
        ask,
    };
    let (node, _) = start::node(&config, wires).await.unwrap();
    let text = node.metrics(node.clock.now());
    Node::close(node).await;
    text
}

/// The word after the mark, of all lines with it.
fn families<'a>(text: &'a str, mark: &str) -> Vec<&'a str> {
    let rest = text.lines().filter_map(|line| line.strip_prefix(mark));
    rest.filter_map(|rest| rest.split(' ').next()).collect()
}

#[tokio::test]
async fn every_metric_has_its_sentence_and_every_sentence_its_metric() {
    let text = scraped().await;
    let shown: BTreeSet<&str> = families(&text, "# TYPE ").into_iter().collect();
    let told: BTreeSet<String> = TABLES
        .into_iter()
        .flatten()
        .map(|metric| match metric.name.starts_with(STANDARD) {
            true => metric.name.to_owned(),
            false => format!("{PREFIX}{}", metric.name),
        })
        .collect();
    let silent: Vec<_> = shown.iter().filter(|name| !told.contains(**name)).collect();
    assert!(
        silent.is_empty(),
        "add a sentence to the tables: {silent:?}"
    );
    let sometimes = |name: &str| SOMETIMES.iter().any(|rare| name.ends_with(rare));
    let unused: Vec<_> = told
        .iter()
        .filter(|name| !shown.contains(name.as_str()) && !sometimes(name))
        .collect();
    assert!(
        unused.is_empty(),
        "nothing counts this any more: {unused:?}"
    );
}

#[tokio::test]
async fn the_text_is_what_a_scraper_takes() {
    let text = scraped().await;
    assert!(text.ends_with('\n'));
    let types = families(&text, "# TYPE ");
    assert_eq!(families(&text, "# HELP "), types, "one sentence each");
    let distinct: BTreeSet<_> = types.iter().collect();
    assert_eq!(distinct.len(), types.len(), "one family each");
    let mut family = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            family = rest.split(' ').next().unwrap();
        } else if !line.starts_with("# TYPE ") {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let name = sample.split('{').next().unwrap();
            assert_eq!(name, family, "below its own sentence");
            assert!(value.parse::<f64>().is_ok_and(|v| v >= 0.0), "{line}");
        }
    }
}
