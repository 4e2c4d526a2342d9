//! Streams of several nodes in one small world: disks, cuts and clocks are plain data.

mod appending;
mod delivering;
mod disk;
mod faults;
mod reading;
mod world;
