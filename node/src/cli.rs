//! The command line: which command, with which flags.
//!
//! Flags of `run` are not interpreted here: they are one layer of the [configuration](crate::config),
//! made from the same table. Wrong usage and wrong configuration end with exit status 2.

mod flags;
#[cfg(test)]
mod tests;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::chat_client::terminal;
use crate::config::{self, Config, MeshKey};
pub use flags::RunFlags;

/// A chat node: clients in front, a gossip mesh of its kind behind, its own disk beneath.
#[derive(Debug, Parser)]
#[command(
    name = "chinwag",
    version,
    about = "A chat node. Start one pointed at any other and it is ready for clients.",
    after_long_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunFlags,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a node (what a bare `chinwag` does)
    #[command(after_long_help = EXAMPLES)]
    Run(RunFlags),
    /// Chat in the terminal
    #[command(after_long_help = terminal::EXAMPLES)]
    Chat(terminal::Options),
    /// Print a new mesh key
    ///
    /// Write it to a file that only the nodes can read, and give the same file to every node of the
    /// mesh: `chinwag key > mesh.key`, then `chinwag run --mesh-key-file mesh.key …`.
    Key,
    /// Print the configuration in force, and where each value comes from
    ///
    /// Takes the flags of `run` and starts nothing. The output is a valid file for --config; secrets
    /// are hidden.
    Config(RunFlags),
    /// Print a script that completes chinwag's commands and flags in a shell
    Completions {
        /// bash, elvish, fish, powershell or zsh
        shell: Shell,
    },
}

const EXAMPLES: &str = "\
Every flag is also an environment variable (--mesh-listen is CHINWAG_MESH_LISTEN, lists by commas) and \
a key of the TOML file (mesh_listen). A flag beats the environment, which beats the file.

Examples:
  chinwag
      One node on this machine: http://127.0.0.1:8080/ is a chat page.
  chinwag run --listen 127.0.0.1:8081 --mesh-listen 127.0.0.1:8091 --data ./node2 --peer 127.0.0.1:8090
      A second node beside it, joined to the first.
  chinwag key > mesh.key
  chinwag run --mesh-listen 0.0.0.0:8090 --mesh-key-file mesh.key --peer node1.example.org:8090
      A node of a mesh across machines. Clients connect on this machine, through a proxy for instance.
  chinwag chat --as alice
      Chat in the terminal.";

impl Cli {
    /// From the process's arguments. Prints help, or what is wrong, and exits where that is all.
    pub fn from_process() -> Self {
        Self::parse()
    }

    fn definition() -> clap::Command {
        <Self as clap::CommandFactory>::command()
    }

    /// The command; a bare `chinwag` runs a node.
    pub fn command(self) -> Command {
        self.command.unwrap_or(Command::Run(self.run))
    }
}

/// Carries out a command; `run` runs a node and says how it ended.
pub fn dispatch(command: Command, run: impl FnOnce(Config) -> ExitCode) -> ExitCode {
    match command {
        Command::Run(flags) => match config::load(&flags.sources()) {
            Ok(loaded) => run(loaded.config),
            Err(mistakes) => refuse(&mistakes),
        },
        Command::Config(flags) => match config::load(&flags.sources()) {
            Ok(loaded) => print(&config::show(&loaded)),
            Err(mistakes) => refuse(&mistakes),
        },
        Command::Chat(options) => terminal::run(options),
        Command::Key => match MeshKey::generate() {
            Ok(key) => print(&format!("{}\n", key.to_hex())),
            Err(error) => fail(&format!("no random numbers from the system: {error}")),
        },
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::definition(), "chinwag", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
    }
}

/// Wrong usage or configuration.
const USAGE: u8 = 2;

fn print(text: &str) -> ExitCode {
    let written = std::io::stdout().lock().write_all(text.as_bytes());
    // Whoever closed the pipe has read enough.
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(&format!("cannot write to standard output: {error}")),
    }
}

#[expect(
    clippy::print_stderr,
    reason = "what a person who typed a command reads"
)]
fn refuse(mistakes: &config::Mistakes) -> ExitCode {
    eprintln!("chinwag: {mistakes}");
    ExitCode::from(USAGE)
}

#[expect(
    clippy::print_stderr,
    reason = "what a person who typed a command reads"
)]
fn fail(why: &str) -> ExitCode {
    eprintln!("chinwag: {why}");
    ExitCode::FAILURE
}
