//! `chinwag`: a chat node, and what goes with it.

use std::process::ExitCode;

use chinwag::{app, cli};

/// Threads here free what others allocated, messages above all: the system's allocator has them wait
/// for each other then, and took half of a fold's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::dispatch(cli::Cli::from_process().command(), |config| {
        app::run(&config)
    })
}
