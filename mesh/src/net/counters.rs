//! What the driver counts: plain numbers, without a metrics library.

use std::sync::atomic::{AtomicU64, Ordering};

use super::admission::Refusal;
use crate::wire::Lane;

/// One count; only ever rises.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn one(&self) {
        self.add(1);
    }

    fn show(&self, name: &'static str, list: &mut Vec<(&'static str, u64)>) {
        list.push((name, self.0.load(Ordering::Relaxed)));
    }
}

/// One count for each lane, in the order of [`Lane::ALL`].
#[derive(Debug, Default)]
pub(crate) struct PerLane([Count; 3]);

impl PerLane {
    pub(crate) fn of(&self, lane: Lane) -> &Count {
        &self.0[lane as usize]
    }

    fn show(&self, names: [&'static str; 3], list: &mut Vec<(&'static str, u64)>) {
        for (count, name) in self.0.iter().zip(names) {
            count.show(name, list);
        }
    }
}

impl Counters {
    /// Counts a peer that was not admitted.
    pub(crate) fn refused(&self, refusal: &Refusal) {
        match refusal {
            Refusal::MeshName { .. } => self.refused_name.one(),
            Refusal::Key => self.refused_key.one(),
            Refusal::Version { .. }
            | Refusal::Theirs(_)
            | Refusal::Junk
            | Refusal::Late
            | Refusal::Closed => self.refused_other.one(),
        }
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident: $kind:ident = $shown:expr,)*) => {
        /// All counts of the driver.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $($(#[$doc])* pub(crate) $name: $kind,)*
        }

        impl Counters {
            /// Each count and its name.
            pub(crate) fn list(&self) -> Vec<(&'static str, u64)> {
                let mut list = Vec::new();
                $(self.$name.show($shown, &mut list);)*
                list
            }
        }
    };
}

counters! {
    /// Frames put in an outbox.
    sent: PerLane = [
        r#"net_frames_sent_total{lane="control"}"#,
        r#"net_frames_sent_total{lane="data"}"#,
        r#"net_frames_sent_total{lane="bulk"}"#
    ],
    /// Frames that did not fit in an outbox.
    dropped: PerLane = [
        r#"net_frames_dropped_total{lane="control"}"#,
        r#"net_frames_dropped_total{lane="data"}"#,
        r#"net_frames_dropped_total{lane="bulk"}"#
    ],
    /// Frames for a link that is no longer there.
    linkless: Count = "net_frames_without_link_total",
    /// Frames of this node above the longest length: a defect.
    unsendable: Count = "net_frames_unsendable_total",
    /// Frames handed up.
    received: PerLane = [
        r#"net_frames_received_total{lane="control"}"#,
        r#"net_frames_received_total{lane="data"}"#,
        r#"net_frames_received_total{lane="bulk"}"#
    ],
    /// Frames of peers that this version does not know, skipped.
    junk: Count = "net_frames_junk_total",
    /// Frames of peers above the longest length; the link was closed.
    too_long: Count = "net_frames_too_long_total",
    /// Bytes written, all lanes, before encryption.
    bytes_sent: Count = "net_bytes_sent_total",
    /// Bytes read, all lanes, after decryption.
    bytes_received: Count = "net_bytes_received_total",
    /// Writes; frames by writes is how many share one.
    batches: Count = "net_batches_sent_total",
    /// Links that were admitted.
    links_up: Count = "net_links_up_total",
    /// Admitted links that have ended.
    links_down: Count = "net_links_down_total",
    /// Links closed since a write took too long.
    write_timeouts: Count = "net_write_timeouts_total",
    /// Peers of another mesh name.
    refused_name: Count = "net_refused_mesh_name_total",
    /// Peers with another mesh key, as far as that shows here: the one that dials sees it.
    refused_key: Count = "net_refused_mesh_key_total",
    /// Peers that were not admitted for another reason, or not in time.
    refused_other: Count = "net_refused_other_total",
    /// Connections from outside that failed before it was known who they are: strangers, other
    /// mesh keys, other programs.
    incoming_failed: Count = "net_incoming_failed_total",
    /// Connections refused for one of the limits.
    over_limit: Count = "net_connections_over_limit_total",
    /// Streams of peers beyond one for each lane, dropped.
    surplus_streams: Count = "net_streams_surplus_total",
    /// Addresses dialled.
    dials: Count = "net_dials_total",
    /// Addresses dialled without success.
    dials_failed: Count = "net_dials_failed_total",
    /// Dials of the machine that were dropped, since too many wait: it asked for more than it may.
    dials_dropped: Count = "net_dials_dropped_total",
    /// Addresses found on the local network that were dropped, since the machine is behind.
    discoveries_dropped: Count = "net_discoveries_dropped_total",
    /// Errors of the listener, such as too many open files.
    listener_errors: Count = "net_listener_errors_total",
}
