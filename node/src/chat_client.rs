//! The client side of the protocol.

pub mod terminal;
