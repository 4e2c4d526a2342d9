//! Tests on the simulated world: the machines that ship, in virtual time, under any faults.

#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    reason = "a test names what it expects; whatever else comes is a failure"
)]

mod chatting;
mod convergence;
mod copies;
mod detection;
mod durability;
mod meeting;
mod moving;
mod presence;
mod seeds;
mod sharing;
