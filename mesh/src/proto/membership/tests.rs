//! The rules of this layer, on a few machines in virtual time.

mod detection;
mod dialing;
mod faults;
mod links;
mod roster;
mod suspicion;
mod world;
