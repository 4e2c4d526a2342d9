//! The process that people run.

pub mod chat_client;
pub mod cli;
pub mod config;
pub mod data_dir;
pub mod telemetry;
