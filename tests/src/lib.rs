//! What the tests of the whole project share.

pub mod browser;
pub mod cluster;
pub mod expect;
pub mod store_suite;
pub mod ws_client;
