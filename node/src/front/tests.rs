//! The front on real loopback sockets, before a machine that the test plays.

mod clients;
mod limits;
mod rig;
mod web;
