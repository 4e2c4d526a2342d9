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

/// How a property is tried: the same so many cases each time, so that red means a change; or as many
/// new ones as `PROPTEST_CASES` says. A failure is shrunk and printed, not written beside the sources:
/// what it teaches becomes a test with a name.
pub fn cases(usual: u32) -> proptest::test_runner::Config {
    use proptest::test_runner::{Config, RngSeed};
    let asked = |name: &str| std::env::var_os(name).is_some();
    let mut config = Config::default();
    if !asked("PROPTEST_CASES") {
        config.cases = usual;
        config.rng_seed = RngSeed::Fixed(1);
    }
    if !asked("PROPTEST_MAX_SHRINK_ITERS") {
        config.max_shrink_iters = 4_000;
    }
    config.failure_persistence = None;
    config
}
