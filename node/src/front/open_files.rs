//! How many connections this process may hold: each takes a file descriptor.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are left for peers (one or two for each of 256), the store and the odds and ends;
/// of a small limit at most a quarter.
const RESERVED: u64 = 600;

/// Raises the limit on open files to what the system allows, and says how many of them clients may
/// take.
pub(super) fn for_clients() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        // Refused: what is allowed now still is.
        Err(_) => limit.current,
    };
    let files = current.unwrap_or(u64::MAX);
    let clients = files - RESERVED.min(files / 4);
    usize::try_from(clients).unwrap_or(usize::MAX)
}
