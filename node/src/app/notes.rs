//! The machine's notes, worded for the log.

use mesh::proto::membership::State;
use mesh::proto::{DialFailure, Note, Target};

/// Writes a note to the log.
pub(super) fn log(note: &Note) {
    match note {
        Note::Joined(node) => tracing::info!(%node, "a node belongs to the mesh"),
        Note::Member { node, state, after } => member(&node.to_string(), *state, *after),
        Note::LinkBroken(node) => {
            tracing::warn!(%node, "link down, node alive: its frames go through another node")
        }
        Note::Linked(node) => tracing::info!(%node, "linked"),
        Note::Dial {
            target,
            failure,
            retry,
        } => dial(target, failure, *retry),
        Note::Refused { node, why } => tracing::warn!(%node, "turned away: {why}"),
        Note::Isolated(true) => {
            tracing::warn!("so many members are silent that this node is probably cut off itself")
        }
        Note::Isolated(false) => tracing::info!("no longer cut off"),
        Note::Mismatch(node) => {
            tracing::error!(%node, "its routes did not agree with its fingerprint and are fetched anew: a defect, please report it");
        }
        Note::EventDiffers(event) => {
            tracing::error!(%event, "an event came under a known id with another content and was refused");
        }
        Note::Ready => tracing::info!("ready for clients"),
    }
}

fn member(node: &str, state: State, after: Option<std::time::Duration>) {
    match (state, after) {
        (State::Alive, _) => tracing::info!(node, "alive"),
        (State::Suspect, _) => tracing::warn!(node, "suspected: nobody asked can reach it"),
        (State::Down, Some(after)) => tracing::warn!(node, ?after, "down"),
        (State::Down, None) => tracing::info!(node, "stopped"),
        (State::Left, _) => tracing::info!(node, "left"),
    }
}

fn dial(target: &Target, failure: &DialFailure, retry: std::time::Duration) {
    let peer = match target {
        Target::Contact(contact) => contact.address.to_string(),
        Target::Member { node, .. } => node.to_string(),
    };
    match failure {
        DialFailure::Unreachable(why) => tracing::warn!(peer, ?retry, "cannot connect: {why}"),
        DialFailure::Refused(why) => tracing::warn!(peer, ?retry, "not joined: {why}"),
        DialFailure::Own => tracing::warn!(
            peer,
            ?retry,
            "--peer names this node itself: name another one"
        ),
    }
}

/// Unix milliseconds as people read them: seconds since 1970 are enough to compare with a log.
pub(super) fn unix_time(unix_ms: u64) -> String {
    format!("Unix time {}.{:03}", unix_ms / 1000, unix_ms % 1000)
}
