//! `chinwag`: a chat node, and what goes with it.

use std::process::ExitCode;

use chinwag::{app, cli};

fn main() -> ExitCode {
    cli::dispatch(cli::Cli::from_process().command(), |config| {
        app::run(&config)
    })
}
