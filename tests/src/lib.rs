//! What the tests of the whole project share.

#[cfg(feature = "processes")]
pub mod browser;
#[cfg(feature = "processes")]
pub mod cluster;
pub mod expect;
pub mod store_suite;
#[cfg(feature = "processes")]
pub mod ws_client;
