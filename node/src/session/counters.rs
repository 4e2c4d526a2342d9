//! What the client side of the node has done, refused and dropped, as plain numbers.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])+ $count:ident = $name:literal,)+) => {
        /// What is counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Count {
            $($(#[$doc])+ $count,)+
        }

        const NAMES: &[&str] = &[$($name),+];
    };
}

counters! {
    /// Connections that were accepted.
    Accepted = "front_accepted_total",
    /// Accepting failed.
    AcceptFailed = "front_accept_failed_total",
    /// Connections turned away with 503: no descriptor left for them.
    RefusedFull = "front_refused_full_total",
    /// HTTP connections that ended with an error of the client's: junk, or a head not sent in time.
    BadHttp = "front_bad_http_total",
    /// Requests turned away for their `Host`.
    RefusedHost = "front_refused_host_total",
    /// Sessions turned away for their `Origin`.
    RefusedOrigin = "front_refused_origin_total",
    /// Sessions turned away for offering only other subprotocols.
    RefusedSubprotocol = "front_refused_subprotocol_total",
    /// Requests to `/ws` that were no proper upgrade.
    RefusedUpgrade = "front_refused_upgrade_total",
    /// Requests for the operator's pages where they are not answered.
    RefusedAdmin = "front_refused_admin_total",
    /// Sessions turned away because the node stops.
    RefusedStopping = "front_refused_stopping_total",
    /// Sessions closed with 4029: no descriptor left for them.
    ClosedTooMany = "session_closed_too_many_total",
    /// Sessions that were opened.
    Opened = "session_opened_total",
    /// Commands handed to the machine.
    Commands = "session_commands_total",
    /// Lines that could not be read or were refused without asking the machine.
    RefusedLines = "session_refused_lines_total",
    /// Sessions closed with 1003.
    ClosedBinary = "session_closed_binary_total",
    /// Sessions closed with 1009.
    ClosedTooLarge = "session_closed_too_large_total",
    /// Sessions closed for breaking the WebSocket protocol.
    ClosedProtocol = "session_closed_protocol_total",
    /// Sessions closed with 4001 or 4003 by the front: no or bad `hello`.
    ClosedNoHello = "session_closed_no_hello_total",
    /// Sessions closed with 4008.
    ClosedTooSlow = "session_closed_too_slow_total",
    /// Sessions dropped because their client was silent for too long.
    DroppedSilent = "session_dropped_silent_total",
    /// Replies and pushes for sessions that were gone or ending.
    Undelivered = "session_undelivered_total",
    /// Lines above the bound of a node's frame.
    Oversize = "session_oversize_total",
}

/// All counters.
#[derive(Debug, Default)]
pub struct Counters([AtomicU64; NAMES.len()]);

impl Counters {
    /// Counts one.
    pub(crate) fn add(&self, count: Count) {
        self.0[count as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// One of them.
    pub fn get(&self, count: Count) -> u64 {
        self.0[count as usize].load(Ordering::Relaxed)
    }

    /// Name and value of each.
    pub fn all(&self) -> Vec<(&'static str, u64)> {
        let values = self.0.iter().map(|value| value.load(Ordering::Relaxed));
        NAMES.iter().copied().zip(values).collect()
    }
}
