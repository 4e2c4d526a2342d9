//! The machine: the whole protocol of a node as one value.
//!
//! # Contract
//!
//! 1. [`Mesh::handle`] never fails and never blocks. Peers and clients cause events, never errors;
//!    a panic is a defect of the machine.
//! 2. [`Mesh::poll_output`] is drained to `None` after each `handle`. Outputs are data.
//! 3. [`Mesh::poll_deadline`] gives the one next instant at which `handle(now, Input::Tick)` is due.
//! 4. Same seed, same inputs: same outputs, byte for byte, on every machine.
//! 5. Storage is an effect: [`Output::Append`] … [`Input::Appended`] once it is on disk,
//!    [`Output::Load`] … [`Input::Loaded`].
//!
//! # Layers
//!
//! | layer | keeps | job |
//! | --- | --- | --- |
//! | [`membership`] | who is alive, and who can be reached by whom | heartbeats, probes, suspicion |
//! | [`routes`] | address → nodes | the table, its log of deltas, gossip, anti-entropy |
//! | [`placement`] | slot → replicas | weighted rendezvous hashing |
//! | [`streams`] | sets of events | append to a quorum, read the union |
//! | [`chat`] | sessions, conversations, presence | what a command means; who gets which push |
//!
//! Layers have the same small shape (`on_…` for what the world tells them, `poll_event` for what they
//! tell the facade, `deadline`), push what leaves the node into a borrowed [`outbox::Outbox`], and do
//! not know each other: [`Mesh`] carries facts between them, and a read-only [`view::View`] answers
//! questions that span two of them.

pub mod chat;
mod facade;
pub mod input;
pub mod membership;
pub mod outbox;
pub mod output;
pub mod placement;
pub mod routes;
pub mod streams;
pub mod view;

pub use facade::{Config, Loads, Mesh, Start};
pub use input::{Closing, DialFailure, Input};
pub use output::{
    CloseCode, Contact, DialId, Halt, KeptMember, Note, Output, PeerAddress, Target, Ticket,
};
