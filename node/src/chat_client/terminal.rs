//! `chinwag chat`: a line is a message, a line with a slash is a command.
//!
//! On a terminal it has a prompt, colours, history and presence. Piped it is for scripts: lines of
//! standard input are messages, messages become lines of standard output, everything else goes to
//! standard error; at the end of the input it waits until all is kept.

mod input;
mod session;
mod text;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use mesh::id::{Address, UserName};

use super::Endpoint;

/// After the flags in `--help`.
pub const EXAMPLES: &str = "\
Examples:
  chinwag chat --as alice
      Chat on this machine's node. /help lists what can be typed.
  chinwag chat --as alice --url ws://node2.example.org:8080/ws --to bob
  echo 'disk full' | chinwag chat --as monitor --to alice
      Lines of a script are messages; messages to it are lines of its output.";

/// Flags of `chinwag chat`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// As whom: a user name, with or without its @
    #[arg(long = "as", value_name = "USER", value_parser = parse_user)]
    pub user: String,
    /// A node's URL: any node of the mesh does
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:8080/ws")]
    pub url: Endpoint,
    /// Whom to write to at first. Default: on a terminal, the latest conversation
    #[arg(long, value_name = "USER", value_parser = parse_address)]
    pub to: Option<String>,
}

/// How it talks to whoever started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// A person at a terminal.
    Terminal,
    /// A script.
    Piped,
}

/// Chats until the input ends or the node refuses. Exit status 1: refused, or something was not kept.
pub fn run(options: Options) -> ExitCode {
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let mode = if terminal {
        Mode::Terminal
    } else {
        Mode::Piped
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(session::chat(options, mode));
            // The thread that reads lines may wait for one for ever.
            runtime.shutdown_background();
            ended
        }
        Err(error) => Err(format!("cannot start: {error}")),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            text::complain(&why);
            ExitCode::FAILURE
        }
    }
}

/// With or without its `@`.
fn parse_user(typed: &str) -> Result<String, String> {
    let name = format!("@{}", typed.strip_prefix('@').unwrap_or(typed));
    let user = UserName::try_from(name.as_str());
    user.map(String::from).map_err(|error| error.to_string())
}

/// A user, with or without its `@`, or a room.
fn parse_address(typed: &str) -> Result<String, String> {
    if typed.starts_with('#') {
        let room = typed.parse::<Address>();
        return room
            .map(|room| room.to_string())
            .map_err(|error| error.to_string());
    }
    parse_user(typed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_with_and_without_their_sign() {
        assert_eq!(parse_user("alice").as_deref(), Ok("@alice"));
        assert_eq!(parse_user("@alice").as_deref(), Ok("@alice"));
        assert_eq!(parse_address("#general").as_deref(), Ok("#general"));
        for bad in ["", "@", "a b", "@@a", "#a"] {
            assert!(parse_user(bad).is_err(), "{bad}");
        }
        assert!(parse_address("#A").is_err());
    }
}
