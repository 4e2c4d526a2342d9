//! What the oracles say of a world: they read its machines, and are told of whatever happens.

use std::time::Duration;

use mesh::proto::Mesh;

use super::{HostId, World};
use crate::check::{Broken, Checks, Upon};

/// The oracles compare whole tables that often.
const AUDIT_EVERY: Duration = Duration::from_secs(1);

impl World {
    /// Broken invariants are kept from here on instead of ending in a panic.
    pub fn collect_broken(&mut self) {
        self.checks.upon(Upon::Collect);
    }

    /// Nothing is checked or measured from here on.
    pub fn without_checks(&mut self) {
        self.checks.upon(Upon::Off);
    }

    /// The first invariant that was broken, where they are kept.
    pub fn broken(&self) -> Option<&Broken> {
        self.checks.broken()
    }

    /// The oracles, and what they measured.
    pub fn checks(&self) -> &Checks {
        &self.checks
    }

    #[cfg(test)]
    pub(crate) fn checks_mut(&mut self) -> &mut Checks {
        &mut self.checks
    }

    /// Compares the whole tables of all hosts now; each virtual second some are compared anyway.
    pub fn audit_all(&mut self) {
        let now = self.now;
        self.with_checks(|checks, running| checks.audit_all(now, running));
    }

    /// Whether all running hosts that reach each other agree, see [`Checks::converged`].
    ///
    /// # Errors
    /// The first difference, in words.
    pub fn converged(&self) -> Result<(), String> {
        let reach = |a, b| self.network.passes(a, b) && self.network.passes(b, a);
        self.checks.converged(&self.running(), reach)
    }

    /// The oracles read the machines while they write down what they found.
    fn with_checks(&mut self, look: impl FnOnce(&mut Checks, &[(HostId, &Mesh)])) {
        let mut checks = std::mem::take(&mut self.checks);
        look(&mut checks, &self.running());
        self.checks = checks;
    }

    fn running(&self) -> Vec<(HostId, &Mesh)> {
        let running = self
            .hosts()
            .filter_map(|host| Some((host, self.mesh(host)?)));
        running.collect()
    }

    /// Compares some tables, where it is time to.
    pub(super) fn audit(&mut self) {
        if self.audit_at <= self.now {
            self.audit_at = self.now + AUDIT_EVERY;
            let now = self.now;
            self.with_checks(|checks, running| checks.audit(now, running));
        }
    }
}
