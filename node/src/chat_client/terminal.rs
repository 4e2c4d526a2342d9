//! `chinwag chat`.

use std::process::ExitCode;

/// Flags of `chinwag chat`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// As whom: a user name, with or without its @
    #[arg(long = "as", value_name = "USER")]
    pub user: String,
}

/// After the flags in `--help`.
pub const EXAMPLES: &str = "";

/// Chats.
pub fn run(_options: Options) -> ExitCode {
    ExitCode::FAILURE
}
