//! The process people run: WebSocket and HTTP front, sessions, store, configuration, pages.

pub mod front;
pub mod protocol;
pub mod session;
