//! End to end: real processes on loopback, real sockets, a real browser.

mod mesh;
mod operating;
mod page;
mod protocol;
