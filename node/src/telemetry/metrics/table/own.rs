//! Metrics of the program and its process.

use super::{Metric, counter, gauge};

pub(super) const METRICS: &[Metric] = &[
    gauge(
        "build_info",
        "Always 1; the label `version` says which program this is.",
    ),
    counter(
        "process_cpu_seconds_total",
        "CPU time spent by this process in all threads, user and system, seconds.",
    ),
    gauge(
        "process_max_fds",
        "The most files that this process may have open; a connection of a client takes one.",
    ),
    gauge(
        "process_open_fds",
        "Files that this process has open, sockets included. Not told by Linux before 6.2.",
    ),
    gauge(
        "process_resident_memory_bytes",
        "Memory of this process that is in RAM, bytes.",
    ),
    gauge(
        "process_start_time_seconds",
        "When this process started, Unix seconds.",
    ),
    gauge(
        "ready",
        "1 while clients are welcome, else 0; /readyz says why not.",
    ),
];
