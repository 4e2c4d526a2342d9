//! The process people run: WebSocket and HTTP front, sessions, store, configuration, pages.

pub mod app;
pub mod chat_client;
pub mod cli;
pub mod config;
pub mod data_dir;
mod dir_lock;
pub mod front;
pub mod history;
pub mod protocol;
pub mod session;
pub mod telemetry;
