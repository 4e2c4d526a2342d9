//! What the tests of the whole project share.

#[cfg(feature = "processes")]
pub mod browser;
pub mod bystanders;
pub mod census;
#[cfg(feature = "processes")]
pub mod cluster;
pub mod expect;
pub mod faults;
pub mod store_suite;
pub mod tuning;
#[cfg(feature = "processes")]
pub mod ws_client;

/// How a property is tried: so many cases, or as many as `PROPTEST_CASES` says. A failure is shrunk and
/// printed, not written beside the sources: what it teaches becomes a test with a name.
pub fn cases(usual: u32) -> proptest::test_runner::Config {
    let default = proptest::test_runner::Config::default();
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    proptest::test_runner::Config {
        cases: if asked { default.cases } else { usual },
        max_shrink_iters: 4_000,
        failure_persistence: None,
        ..default
    }
}
