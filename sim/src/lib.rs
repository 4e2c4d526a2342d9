//! A deterministic world in which many machines of the mesh run in virtual time.
//!
//! The machines are [`mesh::proto::Mesh`], the very ones that ship; network, disks, clocks and
//! clients are models. One seed and one sequence of calls give one history, byte for byte.

pub mod check;
pub mod crowd;
pub mod disk;
pub mod misfortune;
pub mod network;
pub mod options;
pub mod queue;
pub mod report;
pub mod run;
pub mod scenario;
pub mod seed;
pub mod trace;
pub mod world;
