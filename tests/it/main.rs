//! Tests in memory of what the node adds to the machine, and the rules of the house.

#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    reason = "a test names what it expects; whatever else comes is a failure"
)]

mod store;
mod tidy;
