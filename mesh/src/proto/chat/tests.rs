//! The rules of this layer, each as a test on one or two nodes whose other layers are plain tables.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test names the one thing that it expects"
)]

mod devices;
mod harness;
mod lifecycle;
mod messages;
mod presence;
mod reading;
mod resume;
mod wire;
