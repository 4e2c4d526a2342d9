//! What the tests of the whole project share.

pub mod cluster;
pub mod ws_client;
