//! What the tests of the whole project share.

pub mod cluster;
pub mod expect;
pub mod ws_client;
