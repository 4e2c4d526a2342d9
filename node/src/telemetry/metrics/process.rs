//! What the system knows of this process, under the names that all programs share.
//!
//! Nothing is counted one by one: neither threads nor open files.

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Name and value of what the system tells; what it does not tell is left out.
pub(super) fn samples() -> impl Iterator<Item = (&'static str, f64)> {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let cpu = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    let all = [
        ("process_cpu_seconds_total", Some(cpu)),
        ("process_max_fds", max_fds()),
        ("process_open_fds", open_fds()),
        ("process_resident_memory_bytes", resident_bytes()),
    ];
    all.into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
}

fn max_fds() -> Option<f64> {
    Some(getrlimit(Resource::Nofile).current? as f64)
}

/// The directory's size is the number of its entries since Linux 6.2, and 0 before. To list it would
/// take time in proportion to the connections.
fn open_fds() -> Option<f64> {
    let open = std::fs::metadata("/proc/self/fd").ok()?.len();
    (open > 0).then_some(open as f64)
}

fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some((kib * 1024) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(wanted: &str) -> f64 {
        let found = samples().find(|(name, _)| *name == wanted);
        found.expect("told by this system").1
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_grows_with_what_is_touched() {
        let before = get("process_resident_memory_bytes");
        let held = vec![1_u8; 64 << 20];
        let after = get("process_resident_memory_bytes");
        assert!(after - before > 32e6, "{before} {after}");
        drop(held);
    }

    #[test]
    fn time_spent_is_in_seconds() {
        let spent = get("process_cpu_seconds_total");
        assert!(spent > 0.0 && spent < 3600.0, "{spent}");
    }
}
