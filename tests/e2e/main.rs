//! End to end: real processes on loopback, real sockets, a real browser.

mod conversations;
mod mesh;
mod operating;
mod page;
mod protocol;
mod stopping;
