//! What a node says of itself, what others pass on of it, and which of two accounts is newer.

use serde::{Deserialize, Serialize};

use crate::id::{Epoch, NodeId};
use crate::proto::output::PeerAddress;

use super::State;

/// The most addresses that a record may name: a machine has few interfaces, and each address is dialled.
pub const ADDRESSES_MAX: usize = 16;

/// The longest client URL in a record, bytes.
pub const URL_MAX: usize = 512;

/// The longest program version in a record, bytes.
pub const VERSION_MAX: usize = 64;

/// What a node says of itself to every member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Who.
    pub node: NodeId,
    /// Which life of it.
    pub epoch: Epoch,
    /// Raised to refute a suspicion within that life.
    pub incarnation: u64,
    /// Where it listens for peers.
    pub addresses: Vec<PeerAddress>,
    /// The client URL that other nodes put into `bye.try`.
    pub url: Option<String>,
    /// Its share of slots.
    pub weight: u32,
    /// The version of its program.
    pub version: String,
}

impl Record {
    /// Within the bounds, with addresses that can be dialled. Serde checks none of that.
    pub(super) fn is_valid(&self) -> bool {
        self.epoch > Epoch(0)
            && self.addresses.len() <= ADDRESSES_MAX
            && self
                .addresses
                .iter()
                .all(|address| PeerAddress::parse(address.as_str()).is_some())
            && self.url.as_ref().is_none_or(|url| url.len() <= URL_MAX)
            && self.version.len() <= VERSION_MAX
    }

    /// Cut to the bounds, for this node's own record: its peers would refuse it otherwise.
    pub(super) fn cut(mut self) -> Self {
        self.addresses.truncate(ADDRESSES_MAX);
        self.url = self.url.filter(|url| url.len() <= URL_MAX);
        if self.version.len() > VERSION_MAX {
            self.version = self.version.chars().take(VERSION_MAX / 4).collect();
        }
        self.epoch = self.epoch.max(Epoch(1));
        self
    }

    /// Which account of a node this is: of two, the greater holds.
    pub(super) fn rank(&self) -> (Epoch, u64) {
        (self.epoch, self.incarnation)
    }

    /// Takes the addresses out that lead whoever dials them back to his own machine.
    pub(super) fn drop_loopback(&mut self) {
        self.addresses.retain(|address| !address.is_loopback());
    }

    /// Adds addresses that are not there yet, up to the bound.
    pub(super) fn add_addresses(&mut self, others: &[PeerAddress]) {
        for address in others {
            if self.addresses.len() < ADDRESSES_MAX && !self.addresses.contains(address) {
                self.addresses.push(address.clone());
            }
        }
    }
}

/// How far a node has come in ending this life of it, as it says itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    /// It works.
    Serving,
    /// It takes no new sessions or appends, but is still delivered to.
    Stopping,
    /// It is gone and said so.
    Stopped,
}

/// A member as one node tells another of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// What the member says of itself.
    pub record: Record,
    /// Its state in the teller's view: a hint where to look, no verdict.
    pub state: State,
    /// What the member said of its end.
    pub phase: Phase,
    /// For how long it has been down in the teller's view, milliseconds: ages are told, not times,
    /// so that clocks need not agree and no member is remembered for ever by being passed around.
    pub down_ms: u64,
    /// Where the teller saw it, which may be an address that the member itself does not know.
    pub seen_at: Option<PeerAddress>,
}

impl Known {
    /// As [`Record::is_valid`].
    pub(super) fn is_valid(&self) -> bool {
        self.record.is_valid()
            && self
                .seen_at
                .as_ref()
                .is_none_or(|address| PeerAddress::parse(address.as_str()).is_some())
    }

    /// As [`Record::drop_loopback`].
    pub(super) fn drop_loopback(&mut self) {
        self.record.drop_loopback();
        self.seen_at = self.seen_at.take().filter(|address| !address.is_loopback());
    }
}
