//! `chinwag-sim`: runs a mesh of simulated nodes in virtual time and reports on it.
//!
//! Progress goes to standard error, the report to standard output: the same seed and flags print the
//! same report, byte for byte. Exit status: 0 everything converged, 1 something did not (the last line
//! replays it), 2 wrong usage.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program speaks there"
)]

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use sim::growth::{self, Growth};

#[derive(Parser)]
#[command(
    version,
    about = "Runs a mesh of simulated nodes in virtual time and reports on it",
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Subcommand)]
enum Command {
    /// Start nodes, let users come, and measure how soon every node knows them.
    Run(Run),
}

#[derive(Args)]
struct Run {
    /// How many nodes, each started pointed at the one before it.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=256))]
    nodes: u16,
    /// How many users come, one after the other, each to a node drawn by the seed.
    #[arg(long, default_value_t = 100)]
    users: u32,
    /// Virtual seconds in which they come.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// One-way latency of a frame, drawn evenly from this range.
    #[arg(long, default_value = "0.2..0.5", value_name = "A..B", value_parser = latency)]
    latency_ms: (Duration, Duration),
    /// Decides everything that is left to chance.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

fn latency(text: &str) -> Result<(Duration, Duration), String> {
    let expected = || {
        format!("expected A..B in milliseconds with A ≤ B ≤ 10000, such as 10..50, got {text:?}")
    };
    let (least, most) = text.split_once("..").ok_or_else(expected)?;
    let ms = |text: &str| {
        text.parse::<f64>()
            .ok()
            .filter(|ms| (0.0..=10_000.0).contains(ms))
    };
    match (ms(least), ms(most)) {
        (Some(least), Some(most)) if least <= most => Ok((
            Duration::from_secs_f64(least / 1e3),
            Duration::from_secs_f64(most / 1e3),
        )),
        _ => Err(expected()),
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let run = cli.command.map_or(cli.run, |Command::Run(run)| run);
    let growth = Growth {
        nodes: run.nodes,
        users: run.users,
        duration: Duration::from_secs(run.seconds),
        latency: run.latency_ms,
        seed: run.seed,
    };
    let report = growth::run(&growth, |done| eprint!("\r{done}"));
    eprintln!();
    if run.json {
        println!("{}", report.json());
    } else {
        print!("{report}");
    }
    if report.converged() {
        return ExitCode::SUCCESS;
    }
    let (least, most) = run.latency_ms;
    eprintln!(
        "replay: chinwag-sim run --nodes {} --users {} --seconds {} --latency-ms {}..{} --seed {}",
        run.nodes,
        run.users,
        run.seconds,
        least.as_secs_f64() * 1e3,
        most.as_secs_f64() * 1e3,
        run.seed
    );
    ExitCode::FAILURE
}
