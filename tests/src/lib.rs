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
    let asked = |name: &str| std::env::var_os(name).is_some();
    let mut config = proptest::test_runner::Config::default();
    if !asked("PROPTEST_CASES") {
        config.cases = usual;
    }
    if !asked("PROPTEST_MAX_SHRINK_ITERS") {
        config.max_shrink_iters = 4_000;
    }
    config.failure_persistence = None;
    config
}
