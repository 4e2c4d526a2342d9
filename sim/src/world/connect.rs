//! Connecting: dials that lead somewhere, or fail as they do in life.

use std::time::Duration;

use mesh::proto::{DialFailure, DialId, Input, Target};

use super::{Happening, HostId, World};
use crate::trace;

/// How long a dial takes to fail where nobody listens.
const REFUSED: Duration = Duration::from_millis(1);

/// How long a dial takes to fail where nothing answers.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

impl World {
    pub(super) fn dial(&mut self, host: HostId, life: u64, dial: DialId, target: &Target) {
        if self.host(host).life != life {
            return;
        }
        let (addresses, expected) = match target {
            Target::Contact(contact) => (std::slice::from_ref(&contact.address), contact.node),
            Target::Member { node, addresses } => (addresses.as_slice(), Some(*node)),
        };
        let found = addresses
            .iter()
            .find_map(|address| self.hosts().find(|h| self.host(*h).address == *address));
        let failure = match found {
            None => Some((REFUSED, DialFailure::Unreachable("no such host".to_owned()))),
            Some(other) if other == host => Some((REFUSED, DialFailure::Own)),
            Some(other)
                if !self.network.passes(host, other) || !self.network.passes(other, host) =>
            {
                Some((
                    DIAL_TIMEOUT,
                    DialFailure::Unreachable("timed out".to_owned()),
                ))
            }
            Some(other) if self.host(other).mesh.is_none() => Some((
                REFUSED,
                DialFailure::Unreachable("connection refused".to_owned()),
            )),
            Some(other) if expected.is_some_and(|node| node != self.host(other).node) => Some((
                REFUSED,
                DialFailure::Refused("another node answers there".to_owned()),
            )),
            Some(_) => None,
        };
        if let Some((after, failure)) = failure {
            let event = || trace::Event::DialFailed {
                peer: found,
                failure: failure.clone(),
            };
            self.trace.event(self.now, Some(host), event);
            let input = Input::DialFailed { dial, failure };
            return self.queue.plan(
                self.now + after,
                Happening::Input(host, life, Box::new(input)),
            );
        }
        let listener = found.expect("no failure");
        self.link_up(host, listener, dial);
    }

    fn link_up(&mut self, dialler: HostId, listener: HostId, dial: DialId) {
        let (near, far) = self.network.connect(dialler, listener);
        let at = self.now + self.network.latency();
        for (end, other, dial) in [(near, far, Some(dial)), (far, near, None)] {
            let remote = self.host(other.host).address.clone();
            let peer = self.host(other.host).node;
            let life = self.host(end.host).life;
            self.peers.insert(end, other.host);
            let event = || trace::Event::LinkUp { peer: other.host };
            self.trace.event(self.now, Some(end.host), event);
            let up = Input::LinkUp {
                link: end.link,
                peer,
                dial,
                remote,
            };
            self.queue
                .plan(at, Happening::Input(end.host, life, Box::new(up)));
        }
    }
}
