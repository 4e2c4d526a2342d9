//! What a node tells its operators: log lines on standard error, and metrics.

pub mod metrics;

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::LogFormat;

/// Logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is none.
    #[error("{0}")]
    Filter(#[from] ParseError),
    /// Somebody else logs already in this process.
    #[error("{0}")]
    Taken(Box<dyn std::error::Error + Send + Sync>),
}

/// Comes before the filter that was asked for, which has the last word on it: one line at each start,
/// without a message.
const QUIET: &str = "libp2p_swarm=warn";

/// Sends what is logged from now on to standard error, in colours where that is a terminal.
pub fn log_to_stderr(filter: &str, format: LogFormat) -> Result<(), LogError> {
    let filter = EnvFilter::builder().parse(format!("{QUIET},{filter}"))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Human => lines
            .with_ansi(wants_colours())
            .with_target(false)
            .try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    }
    .map_err(LogError::Taken)
}

/// On a terminal, unless its owner has asked for none (<https://no-color.org>).
fn wants_colours() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !unwanted
}
