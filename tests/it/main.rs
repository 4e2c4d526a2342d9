//! Tests in memory: the machine on a simulated world, the wire, the stores, the rules of the house.

mod chatting;
mod convergence;
mod durability;
mod meeting;
mod store;
mod tidy;
