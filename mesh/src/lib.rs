//! The distributed protocol of Chinwag.
//!
//! [`proto::Mesh`] is the whole of it as one value: plain data in, plain data out, no clock, no
//! socket, no task, no disk, no randomness but its seed. The node gives it libp2p links, sessions
//! and a store; the simulator gives it virtual ones. Everything that must be right under faults
//! lives there, so that the simulator runs exactly what ships.
//!
//! | module | what |
//! | --- | --- |
//! | [`id`], [`time`], [`event`], [`command`] | the words that all parts share |
//! | [`store`] | what a store does |
//! | [`wire`] | frames between nodes, as bytes |
//! | [`proto`] | the machine and its layers |
//! | `net` | the libp2p driver, only with the feature `net` |

pub mod command;
pub mod event;
#[cfg(test)]
mod golden;
pub mod id;
pub mod proto;
pub mod store;
pub mod time;
pub mod wire;

#[cfg(feature = "net")]
pub mod net;
