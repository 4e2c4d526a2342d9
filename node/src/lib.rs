//! Placeholder.

pub mod history;
