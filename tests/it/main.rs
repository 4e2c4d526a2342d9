//! Tests in memory: the machine on a simulated world, the wire, the stores, the rules of the house.

#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    reason = "a test names what it expects; whatever else comes is a failure"
)]

mod chatting;
mod convergence;
mod durability;
mod meeting;
mod store;
mod tidy;
