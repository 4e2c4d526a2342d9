//! The front on real loopback sockets, before a machine that the test plays.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names what it expects; anything else fails it"
)]

mod clients;
mod limits;
mod rig;
mod web;
