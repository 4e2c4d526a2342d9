//! What each replica shows of each origin, and what the origins announce: invariants 1, 2, 3, 5, 17.

use mesh::id::{Epoch, NodeId, RouteKey};
use mesh::proto::Mesh;
use mesh::proto::routes::Summary;
use mesh::time::Instant;

use super::cause::{Cause, Kind};
use super::history::{Change, Known, LIVES_MAX, Life, Lives};
use super::{Checks, Fault, Invariant};
use crate::world::HostId;

/// What a replica was last seen to show of an origin.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    pub(super) held: Option<Summary>,
    /// The highest (epoch, seq) it has shown in this life of its own.
    pub(super) mark: (Epoch, u64),
    /// This life of the origin and all before it are over for it.
    pub(super) ended: Epoch,
    /// It awaits the batches after this one.
    awaits_after: u64,
}

/// Whose.
fn of(node: NodeId, what: &str) -> String {
    format!("of {node:?}: {what}")
}

impl Checks {
    /// A host's machine begins a life, or goes over to another epoch.
    pub(super) fn begin_life(
        &mut self,
        at: Instant,
        host: HostId,
        mesh: &Mesh,
    ) -> Result<(), Fault> {
        let (node, summary) = (self.host(host).node, mesh.summary());
        let origin = (node, summary.epoch);
        let lives = &mut self.lives[node];
        if lives.contains_key(&summary.epoch) {
            self.contested.insert(origin);
            return Ok(());
        }
        lives.insert(summary.epoch, Life::begin(at, summary, mesh.announced())?);
        self.convergence.on_life(origin, summary.seq);
        while self.lives[node].len() > LIVES_MAX {
            let oldest = self.lives[node].pop_first();
            oldest
                .into_iter()
                .for_each(|(epoch, _)| self.convergence.forget((node, epoch)));
        }
        Ok(())
    }

    /// Whether a machine has made a batch, and whether it says what it did.
    pub(super) fn check_own(
        &mut self,
        at: Instant,
        host: HostId,
        mesh: &Mesh,
    ) -> Result<(), Fault> {
        let summary = mesh.summary();
        let own = self.host_mut(host);
        let before = std::mem::replace(&mut own.summary, summary);
        if before == summary {
            return Ok(());
        }
        let node = own.node;
        if (summary.epoch, summary.seq) <= (before.epoch, before.seq) {
            let what = format!("its own set went from {before:?} to {summary:?}");
            return Err((Invariant::Rises, what));
        }
        if summary.epoch > before.epoch {
            self.convergence.on_over((node, before.epoch));
            return self.begin_life(at, host, mesh);
        }
        if self.contested.contains(&(node, summary.epoch)) {
            return Ok(());
        }
        let Some(life) = self.lives[node].get_mut(&summary.epoch) else {
            return Ok(());
        };
        let mut since = at;
        for &(key, change) in life.advance(at, summary, mesh.announced())? {
            if change == Change::Came {
                let came = self.sessions.on_announced(host, key);
                since = came.map_or(since, |came| since.min(came));
            }
        }
        self.convergence
            .on_batch((node, summary.epoch), summary.seq, since);
        Ok(())
    }

    /// Whether what a replica shows of others has moved, and where to. The origin that the cause names
    /// is looked at first: most often it is the only one.
    pub(super) fn check_moves(
        &mut self,
        at: Instant,
        host: HostId,
        mesh: &Mesh,
        cause: Cause,
    ) -> Result<(), Fault> {
        let changes = mesh.held_changes();
        let own = self.host_mut(host);
        let before = std::mem::replace(&mut own.held_changes, changes);
        if before == changes {
            return Ok(());
        }
        let named = match cause.0 {
            Kind::Frame {
                relayed: Some(from),
                ..
            } => self.numbers.get(&from).copied(),
            Kind::Frame { link, .. } => own.links.get(&link).map(|(peer, _)| *peer),
            Kind::Linked { .. }
            | Kind::Unlinked(_)
            | Kind::Hello(..)
            | Kind::Closed(_)
            | Kind::Stop
            | Kind::Other => None,
        };
        if let Some(origin) = named
            && changes - before == 1
            && self.check_move(at, host, mesh, origin)?
        {
            return Ok(());
        }
        self.check_all_moves(at, host, mesh)
    }

    /// Looks at every origin.
    pub(super) fn check_all_moves(
        &mut self,
        at: Instant,
        host: HostId,
        mesh: &Mesh,
    ) -> Result<(), Fault> {
        (0..self.nodes.len())
            .try_for_each(|origin| self.check_move(at, host, mesh, origin).map(|_moved| ()))
    }

    /// Whether what a replica shows of an origin has moved.
    fn check_move(
        &mut self,
        at: Instant,
        host: HostId,
        mesh: &Mesh,
        origin: usize,
    ) -> Result<bool, Fault> {
        let node = self.nodes[origin];
        let held = mesh.held(node);
        let seen = &mut self.host_mut(host).seen[origin];
        let was = *seen;
        if was.held == held {
            return Ok(false);
        }
        seen.held = held;
        if let Some(now) = held {
            seen.mark = was.mark.max((now.epoch, now.seq));
        }
        self.follow(at, host, origin, was);
        if let Some(now) = held {
            check_rise(node, was, now)?;
            self.check_prefix(mesh, origin, was.held, now)?;
        }
        self.check_gone(mesh, origin, was.held, held)?;
        Ok(true)
    }

    /// Measures how soon batches arrive.
    fn follow(&mut self, at: Instant, host: HostId, origin: usize, was: Seen) {
        let held = self.host(host).seen[origin].held;
        let from = was.held.map_or(0, |held| held.seq.max(was.awaits_after));
        let before = was.held.map(|held| held.epoch);
        let now = held.map(|held| held.epoch);
        if let (Some(held), true) = (held, before == now) {
            return self
                .convergence
                .on_move((origin, held.epoch), from, held.seq, at);
        }
        if let Some(epoch) = before {
            self.convergence.on_lost((origin, epoch), from, at);
        }
        if let Some(epoch) = now {
            let head = self.convergence.on_holder((origin, epoch));
            self.host_mut(host).seen[origin].awaits_after = head;
        }
    }

    /// A replica is gone with all that it held.
    pub(super) fn lose_replica(&mut self, at: Instant, host: HostId) {
        for origin in 0..self.nodes.len() {
            let seen = &mut self.host_mut(host).seen[origin];
            let was = std::mem::take(seen);
            self.follow(at, host, origin, was);
        }
    }

    /// Whether a replica shows what the origin had.
    fn check_prefix(
        &mut self,
        mesh: &Mesh,
        origin: usize,
        before: Option<Summary>,
        now: Summary,
    ) -> Result<(), Fault> {
        let node = self.nodes[origin];
        if self.contested.contains(&(origin, now.epoch)) {
            return Ok(());
        }
        let Some(life) = life_of(&self.lives[origin], node, now.epoch)? else {
            self.uncompared += 1;
            return Ok(());
        };
        compare(node, life, now)?;
        let step = before.filter(|before| before.epoch == now.epoch);
        if let Some(changes) = step.and_then(|before| life.between(before.seq, now.seq)) {
            return changes.into_iter().try_for_each(|(key, change)| {
                check_key(mesh, node, now, key, change == Change::Came)
            });
        }
        let Some(keys) = life.keys_at(now.seq) else {
            self.uncompared += 1;
            return Ok(());
        };
        keys.into_iter()
            .try_for_each(|key| check_key(mesh, node, now, key, true))
    }

    /// Whether nothing of the life shown before is shown any more.
    pub(super) fn check_gone(
        &self,
        mesh: &Mesh,
        origin: usize,
        before: Option<Summary>,
        now: Option<Summary>,
    ) -> Result<(), Fault> {
        let over = before.filter(|before| now.is_none_or(|now| now.epoch != before.epoch));
        let life = over.and_then(|before| self.lives[origin].get(&before.epoch));
        let (Some(before), Some(life)) = (over, life) else {
            return Ok(());
        };
        let node = self.nodes[origin];
        let shown = |key: &&RouteKey| {
            mesh.lookup(**key)
                .any(|route| (route.node, route.epoch) == (node, before.epoch))
        };
        match life.keys().iter().find(shown) {
            None => Ok(()),
            Some(key) => {
                let what = format!("{key:?} of {:?} is shown after that life", before.epoch);
                Err((Invariant::Superseded, of(node, &what)))
            }
        }
    }
}

/// The life of an origin that a replica shows; `None`: so old that it is forgotten.
pub(super) fn life_of(lives: &Lives, node: NodeId, epoch: Epoch) -> Result<Option<&Life>, Fault> {
    let oldest = lives.first_key_value().filter(|_| lives.len() >= LIVES_MAX);
    match lives.get(&epoch) {
        Some(life) => Ok(Some(life)),
        None if oldest.is_some_and(|(oldest, _)| epoch < *oldest) => Ok(None),
        None => {
            let what = of(node, &format!("it never had {epoch:?}, which is shown"));
            Err((Invariant::PrefixEquality, what))
        }
    }
}

/// Whether an origin had this set at this `seq`.
pub(super) fn compare(node: NodeId, life: &Life, shown: Summary) -> Result<(), Fault> {
    let what = match life.known(shown.seq) {
        Known::Forgotten => return Ok(()),
        Known::Was(sum) if sum.is_of(shown) => return Ok(()),
        Known::Was(sum) => format!("shown as {shown:?}, it had {sum:?} at that seq"),
        Known::Never => format!("shown as {shown:?}, it has come to seq {}", life.head()),
    };
    Err((Invariant::PrefixEquality, of(node, &what)))
}

fn check_rise(node: NodeId, was: Seen, now: Summary) -> Result<(), Fault> {
    let here = (now.epoch, now.seq);
    // What was purged may come back as it was.
    let forward = here > was.mark || was.held.is_none() && here == was.mark;
    if !forward || now.epoch <= was.ended {
        let what = format!(
            "shown at {here:?} after {:?}, ended {:?}",
            was.mark, was.ended
        );
        return Err((Invariant::Rises, of(node, &what)));
    }
    Ok(())
}

/// Whether a key is looked up as it should be.
fn check_key(
    mesh: &Mesh,
    node: NodeId,
    now: Summary,
    key: RouteKey,
    expected: bool,
) -> Result<(), Fault> {
    let mut routes = mesh.lookup(key).filter(|route| route.node == node);
    let first = routes.next();
    if let Some(route) = first.filter(|route| route.epoch != now.epoch) {
        let what = format!("{key:?} of {:?} is shown at {now:?}", route.epoch);
        return Err((Invariant::Superseded, of(node, &what)));
    }
    if first.is_some() != expected || routes.next().is_some() {
        let found = if first.is_some() { "shown" } else { "missing" };
        let what = format!("{key:?} is {found} at {now:?}");
        return Err((Invariant::PrefixEquality, of(node, &what)));
    }
    Ok(())
}
