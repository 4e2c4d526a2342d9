//! A report as a file gives it: read whole, checked whole, or refused with the place of what is wrong.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{FORMAT, Report};

/// The largest file that is read, bytes: a hundred times what a report takes.
pub const FILE_MAX: u64 = 4 * 1024 * 1024;

/// Why a file is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be opened or read.
    #[error("{path}: {source}; expected a file that `chinwag-sim --json` printed")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is too large.
    #[error("{path}: more than {FILE_MAX} bytes; a report takes far less")]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// It is not JSON; the position is in the source.
    #[error("{path}: not JSON: {source}; a report is what `chinwag-sim --json` prints")]
    NotJson {
        /// Which file.
        path: PathBuf,
        /// What and where.
        source: serde_json::Error,
    },
    /// It is JSON, but has no format number as a report has.
    #[error("{path}: not a report: {source}; a report is what `chinwag-sim --json` prints")]
    NotAReport {
        /// Which file.
        path: PathBuf,
        /// What and where.
        source: serde_json::Error,
    },
    /// Another version wrote it, in a format that this one does not know.
    #[error("{path}: a report of format {got}, this version reads format {FORMAT}")]
    OtherFormat {
        /// Which file.
        path: PathBuf,
        /// Its format.
        got: u64,
    },
    /// A field is missing, unknown or of a wrong type; the position is in the source.
    #[error("{path}: not a report of format {FORMAT}: {source}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What and where.
        source: serde_json::Error,
    },
    /// Its fields do not agree with each other.
    #[error("{path}: not a report of format {FORMAT}: {field}: {what}")]
    Inconsistent {
        /// Which file.
        path: PathBuf,
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// What every format has; the rest is looked at once the format is known.
#[derive(Deserialize)]
#[serde(expecting = "an object with a field `format`")]
struct Head {
    format: u64,
    // A struct with a flattened field is not read from a list.
    #[serde(flatten)]
    _rest: IgnoredAny,
}

impl Report {
    /// Reads a report that [`Report::json`] wrote.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let bytes = read_bounded(path)?;
        let path = || path.to_owned();
        serde_json::from_slice::<IgnoredAny>(&bytes).map_err(|source| ReadError::NotJson {
            path: path(),
            source,
        })?;
        let head: Head =
            serde_json::from_slice(&bytes).map_err(|source| ReadError::NotAReport {
                path: path(),
                source,
            })?;
        if head.format != u64::from(FORMAT) {
            let got = head.format;
            return Err(ReadError::OtherFormat { path: path(), got });
        }
        let report: Self =
            serde_json::from_slice(&bytes).map_err(|source| ReadError::Malformed {
                path: path(),
                source,
            })?;
        match report.fault() {
            None => Ok(report),
            Some((field, what)) => Err(ReadError::Inconsistent {
                path: path(),
                field,
                what,
            }),
        }
    }

    fn fault(&self) -> Option<(&'static str, &'static str)> {
        let durations = [
            ("convergence.all", self.convergence.all.fault()),
            ("convergence.faulty", self.convergence.faulty.fault()),
            ("convergence.healed", self.convergence.healed.fault()),
            ("detection", self.detection.fault()),
        ];
        let faults = durations
            .into_iter()
            .chain([("timeline", self.timeline.fault())]);
        faults
            .filter_map(|(field, fault)| Some((field, fault?)))
            .next()
    }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut bytes))
        .map_err(|source| ReadError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(ReadError::TooLarge {
            path: path.to_owned(),
        });
    }
    Ok(bytes)
}
