//! What must hold once faults are over and some time has gone by: invariants 8, 14 and 19.

use mesh::proto::Mesh;
use mesh::proto::membership::State;
use mesh::time::Instant;

use super::Checks;
use super::history::Sum;
use crate::world::HostId;

impl Checks {
    /// Whether all running hosts that reach each other show exactly the union of their sets, have each
    /// other alive and linked, and every set is that of its clients; the first that does not, in words.
    /// `reach`: whether two hosts reach each other both ways.
    ///
    /// It looks at what machines say they show; that it is what their tables hold is for the audit.
    pub fn converged(
        &self,
        running: &[(HostId, &Mesh)],
        reach: impl Fn(HostId, HostId) -> bool,
    ) -> Result<(), String> {
        for (host, mesh) in running {
            self.agrees_with_clients(*host, mesh)?;
            for (other, its) in running {
                if host != other && reach(*host, *other) {
                    agree(*host, mesh, *other, its)?;
                }
            }
        }
        Ok(())
    }

    /// When a session last came or went: [`Checks::converged`] counts from there.
    pub fn sessions_changed_at(&self) -> Instant {
        self.sessions.changed_at
    }

    fn agrees_with_clients(&self, host: HostId, mesh: &Mesh) -> Result<(), String> {
        let keys: Vec<_> = self.sessions.on(host).collect();
        let (truth, own) = (Sum::of(&keys), mesh.summary());
        if truth.is_of(own) {
            return Ok(());
        }
        Err(format!(
            "{host:?} announces {own:?}, its clients add up to {truth:?}"
        ))
    }
}

/// Whether one shows just what the other has.
fn agree(host: HostId, mesh: &Mesh, other: HostId, its: &Mesh) -> Result<(), String> {
    if mesh.id() == its.id() {
        return Err(format!("{host:?} and {other:?} both run {:?}", mesh.id()));
    }
    let life = mesh.life(its.id());
    if life.is_none_or(|life| life.state != State::Alive || life.epoch != its.epoch()) {
        return Err(format!(
            "{host:?} has {other:?} as {life:?}, it is {:?}",
            its.epoch()
        ));
    }
    if !mesh.is_linked(its.id()) {
        return Err(format!("{host:?} has no link to {other:?}"));
    }
    let (held, own) = (mesh.held(its.id()), its.summary());
    if held != Some(own) {
        return Err(format!(
            "{host:?} shows {other:?} as {held:?}, it has {own:?}"
        ));
    }
    Ok(())
}
