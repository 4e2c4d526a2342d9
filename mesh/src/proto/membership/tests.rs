//! The rules of this layer, on a few machines in virtual time.

mod detection;
mod dialing;
mod faults;
mod golden;
mod links;
mod roster;
mod suspicion;
mod wire;
mod world;
