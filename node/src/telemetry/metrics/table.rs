//! Name, kind and sentence of every metric, a table for each layer, each rising by name.
//!
//! A sentence says what is counted, and, where a rise is more than work done, what it means.

mod chat;
mod front;
mod history;
mod membership;
mod mesh;
mod net;
mod own;
mod routes;
mod streams;

use super::{Kind, Metric};

/// All metrics: those of the process, and those that the layers count.
pub const TABLES: [&[Metric]; 9] = [
    chat::METRICS,
    front::METRICS,
    history::METRICS,
    membership::METRICS,
    mesh::METRICS,
    net::METRICS,
    own::METRICS,
    routes::METRICS,
    streams::METRICS,
];

/// The metric of a name without prefix.
pub(super) fn find(name: &str) -> Option<&'static Metric> {
    TABLES.into_iter().find_map(|table| {
        let at = table.binary_search_by(|metric| metric.name.cmp(name));
        Some(&table[at.ok()?])
    })
}

const fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        kind: Kind::Gauge,
        help,
    }
}

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        kind: Kind::Counter,
        help,
    }
}
