//! `chinwag-sim`: runs a mesh of simulated nodes and reports on it.
fn main() {}
