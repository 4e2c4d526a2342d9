//! Any tuning of the machine that an operator might choose, and bounds so near that they are met.

use std::time::Duration;

use mesh::proto::{Config, membership, routes};
use proptest::prelude::*;

/// Any tuning for a mesh of at most that many members with at most that many routes in all, half of
/// the time the usual one.
pub fn tuning(members: usize, routes: u64) -> impl Strategy<Value = Config> {
    let any = (membership(members), self::routes(routes), ms(500..5_000));
    let any = any.prop_map(|(membership, routes, grace)| {
        let mut config = Config {
            membership,
            routes,
            ..Config::default()
        };
        config.chat.grace = grace;
        config
    });
    prop_oneof![Just(Config::default()), any]
}

fn membership(members: usize) -> impl Strategy<Value = membership::Config> {
    let limit = prop_oneof![Just(members), Just(256)];
    let times = (ms(50..500), ms(1_500..6_000));
    let dials = (ms(50..1_000), ms(1_000..60_000), 1..=32_usize);
    (times, limit, dials).prop_map(
        |((heartbeat, suspicion), full_mesh_limit, (dial_backoff, dial_backoff_max, dials_max))| {
            membership::Config {
                heartbeat,
                suspicion,
                full_mesh_limit,
                dial_backoff,
                dial_backoff_max,
                dials_max,
                ..membership::Config::default()
            }
        },
    )
}

/// A table needs room for one set more than it shows, while a snapshot is built beside the old set.
fn routes(most: u64) -> impl Strategy<Value = routes::Config> {
    let windows = (ms(1..50), ms(50..200));
    let log_ops = prop_oneof![Just(1), 2..20_usize, Just(65_536)];
    let repair = (ms(200..3_000), ms(1_000..8_000));
    let bounds = prop_oneof![
        1 => (2 * most..4 * most, most..2 * most),
        1 => Just((12_000_000, 4_000_000)),
    ];
    (windows, log_ops, ms(500..60_000), repair, bounds).prop_map(
        |((window, window_max), log_ops, log_age, (retry, stall), (routes_max, origin_max))| {
            routes::Config {
                window,
                window_max,
                log_ops,
                log_age,
                retry,
                stall,
                routes_max,
                origin_max,
            }
        },
    )
}

fn ms(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_millis)
}
