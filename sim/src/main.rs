//! `chinwag-sim`: runs a mesh of simulated nodes in virtual time, lets things go wrong, and reports on it.
//!
//! Progress goes to standard error, the report to standard output: the same seed and flags print the
//! same report, byte for byte. Exit status: 0 all invariants held and everything converged, 1 one broke
//! (the last line is the command that replays it), 2 wrong usage.

#![allow(clippy::print_stderr, reason = "a command line program speaks there")]

use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use mesh::time::Instant;
use sim::options::{Level, NODES_MAX, Options, Range, SECONDS_MAX, USERS_MAX, Wishes};
use sim::report::{self, Report};
use sim::run::{Phase, Progress, run};
use sim::scenario::{BUILT_IN, Scenario};
use sim::seed::Probability;
use sim::trace::{self, Trace};

/// A run makes and frees small things all the time: of its time, the system's allocator takes a fifth
/// while a mesh comes together.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ABOUT: &str = "\
Runs a mesh of simulated nodes in virtual time, lets things go wrong, and reports on it.

The nodes are the very machines that ship. They meet; users come, go and move while faults happen; then \
everything is healed and all nodes must agree within 75 virtual seconds. After every step of every node \
the invariants of routing are checked from outside. Whatever is not said is drawn from the seed.";

const EXAMPLES: &str = "\
Examples:
  chinwag-sim --seed 7 --faults heavy             a bad day, drawn from the seed
  chinwag-sim --scenario split-brain              a named scenario; `chinwag-sim scenarios` lists them
  chinwag-sim --scenario quiet --json > A.json    a report for comparing
  chinwag-sim compare A.json B.json               what changed between two reports
  chinwag-sim replay 7 --faults heavy             the same run again, step by step

Exit status: 0 all invariants held and all nodes agreed; 1 they did not, and what is printed last is the \
command that replays it; 2 wrong usage.";

#[derive(Parser)]
#[command(version, about = ABOUT, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Run one seed and report on it (this is done where no command is named).
    Run(RunArgs),
    /// Run one seed again and show every step of it, with a legend.
    Replay(ReplayArgs),
    /// Show what changed from one report (`--json`) to another.
    Compare {
        /// The report before.
        a: PathBuf,
        /// The report after.
        b: PathBuf,
    },
    /// List the scenarios that come with the program.
    Scenarios,
}

#[derive(Args)]
struct RunArgs {
    /// Decides everything that is left to chance.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    #[command(flatten)]
    wishes: WishArgs,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct ReplayArgs {
    /// The seed.
    seed: u64,
    #[command(flatten)]
    wishes: WishArgs,
    /// Show steps from this virtual second on.
    #[arg(long, default_value_t = 0, value_name = "SECOND")]
    from: u64,
    /// Show steps before this virtual second [default: to the end].
    #[arg(long, value_name = "SECOND")]
    until: Option<u64>,
}

#[derive(Args)]
struct WishArgs {
    /// A named scenario, or a TOML file. Flags beat what it says.
    #[arg(long, value_name = "NAME|FILE")]
    scenario: Option<String>,
    /// How many nodes, each pointed at the one before it [default: drawn, 3 to 12].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(NODES_MAX)))]
    nodes: Option<u16>,
    /// How many users [default: drawn, 10 to 200].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=i64::from(USERS_MAX)))]
    users: Option<u32>,
    /// For how many virtual seconds users come and go and faults happen [default: drawn, 20 to 60].
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
    seconds: Option<u64>,
    /// One-way latency of a frame in milliseconds, drawn evenly from this range for each
    /// [default: drawn: one rack, one data centre, or one continent].
    #[arg(long, value_name = "A..B", value_parser = latency)]
    latency_ms: Option<(Duration, Duration)>,
    /// The share of frames that are lost, such as 0.1 or 10% [default: drawn, by --faults].
    #[arg(long, value_name = "P", value_parser = share)]
    loss: Option<Probability>,
    /// How much goes wrong [default: light].
    #[arg(long, value_name = "none|light|heavy", value_parser = level)]
    faults: Option<Level>,
}

fn latency(text: &str) -> Result<(Duration, Duration), String> {
    Range::parse(text).ok_or_else(|| {
        "expected A..B in milliseconds with A ≤ B ≤ 10000, such as 10..50".to_owned()
    })
}

fn share(text: &str) -> Result<Probability, String> {
    let expected = || "expected a share from 0 to 1, or from 0% to 100%".to_owned();
    Probability::parse(text).ok_or_else(expected)
}

fn level(text: &str) -> Result<Level, String> {
    let found = Level::ALL.into_iter().find(|level| level.name() == text);
    found.ok_or_else(|| "expected none, light or heavy".to_owned())
}

impl WishArgs {
    fn options(&self, seed: u64) -> Result<Options, String> {
        let scenario = self.scenario.as_deref().map(Scenario::find).transpose();
        let scenario = scenario.map_err(|error| error.to_string())?;
        let wishes = Wishes {
            nodes: self.nodes,
            users: self.users,
            seconds: self.seconds,
            latency: self.latency_ms,
            loss: self.loss,
            faults: self.faults,
            ..Wishes::default()
        };
        let options = match scenario {
            Some(Scenario {
                name, wishes: its, ..
            }) => Options::draw(seed, Some(name), wishes.or(its)),
            None => Options::draw(seed, None, wishes),
        };
        let seconds = options.seconds;
        let late = options.steps.iter().find(|step| step.second >= seconds);
        if let Some(step) = late {
            return Err(format!(
                "the step at second {} would never come: expected more seconds, got {seconds}",
                step.second
            ));
        }
        Ok(options)
    }

    /// The command that replays a seed with these flags.
    fn replay(&self, seed: u64) -> String {
        let mut line = format!("chinwag-sim replay {seed}");
        let mut flag = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                line += &format!(" --{name} {value}");
            }
        };
        flag("scenario", self.scenario.as_deref().map(quoted));
        flag("nodes", self.nodes.map(|n| n.to_string()));
        flag("users", self.users.map(|n| n.to_string()));
        flag("seconds", self.seconds.map(|n| n.to_string()));
        flag(
            "latency-ms",
            self.latency_ms.map(|range| Range(range).to_string()),
        );
        flag("loss", self.loss.map(|loss| loss.to_string()));
        flag("faults", self.faults.map(|level| level.name().to_owned()));
        line
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        None => run_once(&cli.run),
        Some(Command::Run(args)) => run_once(&args),
        Some(Command::Replay(args)) => replay(&args),
        Some(Command::Compare { a, b }) => compare(&a, &b),
        Some(Command::Scenarios) => list_scenarios(),
    };
    done.unwrap_or_else(|why| {
        eprintln!("error: {why}");
        ExitCode::from(2)
    })
}

fn run_once(args: &RunArgs) -> Result<ExitCode, String> {
    let options = args.wishes.options(args.seed)?;
    let mut bar = Bar::new();
    let trace = Trace::ring(trace::LINES);
    let (report, trace) = run(&options, trace, &mut |progress| bar.show(progress));
    bar.clear();
    if args.json {
        say(report.json())?;
    } else {
        say(&report)?;
    }
    if report.outcome.held() {
        return Ok(ExitCode::SUCCESS);
    }
    let told = format!("\n{trace}\n{}", args.wishes.replay(args.seed));
    // Standard output is one JSON document where that was asked for.
    if args.json {
        eprintln!("{told}");
    } else {
        say(format_args!("{told}\n"))?;
    }
    Ok(ExitCode::FAILURE)
}

fn replay(args: &ReplayArgs) -> Result<ExitCode, String> {
    let options = args.wishes.options(args.seed)?;
    let until = args.until.unwrap_or(u64::MAX);
    if until <= args.from {
        return Err(format!(
            "expected --until after --from {}, got {until}",
            args.from
        ));
    }
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let show = move |line: &str| {
        if writeln!(out, "{line}").is_err() {
            // Whoever reads has seen enough.
            std::process::exit(0);
        }
    };
    let instant = |second: u64| Instant(second.saturating_mul(1_000_000));
    let trace = Trace::print(show).within(instant(args.from), instant(until));
    let (report, trace) = run(&options, trace, &mut |_| ());
    // It has lines yet to write.
    drop(trace);
    say(format_args!("\n{report}\n"))?;
    if report.outcome.held() {
        return Ok(ExitCode::SUCCESS);
    }
    say(format_args!("{}\n", args.wishes.replay(args.seed)))?;
    Ok(ExitCode::FAILURE)
}

fn compare(a: &Path, b: &Path) -> Result<ExitCode, String> {
    let read = |path| Report::read(path).map_err(|error| error.to_string());
    say(report::compare(&read(a)?, &read(b)?))?;
    Ok(ExitCode::SUCCESS)
}

fn list_scenarios() -> Result<ExitCode, String> {
    for (name, text) in BUILT_IN {
        let scenario = Scenario::parse(name, text).map_err(|error| error.to_string())?;
        say(format_args!("{name:<16} {}\n", scenario.about))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// On standard output. Whoever reads it may have seen enough before its end.
fn say(text: impl Display) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("standard output: {error}"))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./+:@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A progress bar on a terminal; a line per phase elsewhere.
struct Bar {
    is_terminal: bool,
    phase: Option<Phase>,
}

impl Bar {
    /// Columns of the bar itself.
    const WIDTH: u128 = 40;

    fn new() -> Self {
        Self {
            is_terminal: std::io::stderr().is_terminal(),
            phase: None,
        }
    }

    fn show(&mut self, progress: Progress) {
        let what = match progress.phase {
            Phase::Meeting => "meeting",
            Phase::Running => "running",
            Phase::Healing => "healing",
        };
        let (done, of) = (progress.done.as_secs(), progress.of.as_secs());
        if self.is_terminal {
            let full = Self::WIDTH * progress.done.as_millis() / progress.of.as_millis().max(1);
            let full = usize::try_from(full.min(Self::WIDTH)).expect("at most the width");
            let rest = Self::WIDTH as usize - full;
            eprint!(
                "\r{what} {}{} {done} of {of} s ",
                "█".repeat(full),
                "░".repeat(rest)
            );
            // Nobody needs to know that a bar could not be drawn.
            let _ = std::io::stderr().flush();
        } else if self.phase != Some(progress.phase) {
            eprintln!("{what}, up to {of} virtual seconds");
        }
        self.phase = Some(progress.phase);
    }

    fn clear(&self) {
        if self.is_terminal {
            eprint!("\r\x1b[K");
        }
    }
}
