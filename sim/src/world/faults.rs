//! What goes wrong with hosts and links.

use std::time::Duration;

use mesh::id::Epoch;
use mesh::proto::{Input, Mesh, Start, membership};
use mesh::store::Store as _;

use super::{Backup, Happening, Heard, HostId, ROUTE_KEY, World, sessions_of};
use crate::network::{self, End};
use crate::trace;

impl World {
    /// Starts a host's node from what its disk and data directory hold.
    pub fn start(&mut self, id: HostId) {
        let now = self.clock(id);
        let seed = self.machines.number();
        let host = &mut self.hosts[usize::from(id.0)];
        assert!(host.mesh.is_none(), "host {id:?} runs already");
        host.life += 1;
        host.data.epoch = Epoch(now.unix_ms.max(host.data.epoch.0 + 1));
        (host.is_stopping, host.stopped) = (false, false);
        host.halted = None;
        let me = membership::Record {
            node: host.node,
            epoch: host.data.epoch,
            incarnation: 0,
            addresses: vec![host.address.clone()],
            url: Some(format!("ws://{}/ws", host.address)),
            weight: host.weight,
            version: "sim".to_owned(),
        };
        let membership = membership::Start {
            me,
            kept: host.data.kept.clone(),
            contacts: host.contacts.clone(),
            seed,
        };
        let start = Start {
            membership,
            route_key: ROUTE_KEY,
            newest: host.data.disk.newest(),
            seed,
        };
        let mesh = Mesh::new(host.config.clone(), start, now);
        self.checks.on_start(now.at, id, &host.config, &mesh);
        self.trace.started(now.at, id, host.node, host.data.epoch);
        host.mesh = Some(mesh);
        self.drive(id, Input::Tick);
    }

    /// Kills a host's node at once: connections break, unflushed appends are lost.
    pub fn crash(&mut self, id: HostId) {
        self.trace_fault(id, "crash", None);
        self.end_life(id);
        for end in self.network.close_host(id) {
            self.plan_link_down(end);
        }
    }

    /// Takes the power from a host: as a crash, but nobody is told that connections broke.
    pub fn power_off(&mut self, id: HostId) {
        self.trace_fault(id, "power off", None);
        self.end_life(id);
        self.host_mut(id).data.disk.crash();
        self.network.silence_host(id);
    }

    fn end_life(&mut self, id: HostId) {
        self.set_tick(id, None);
        self.checks.on_crash(self.now, id);
        let host = self.host_mut(id);
        host.mesh = None;
        host.life += 1;
        host.is_paused = false;
        host.busy_until = mesh::time::Instant(0);
        host.backlog.clear();
        for (client, inbox) in self.inboxes.range_mut(sessions_of(id)) {
            if client.host == id && !inbox.last().is_some_and(Heard::is_end) {
                inbox.push(Heard::Lost);
            }
        }
        self.peers.retain(|end, _| end.host != id);
    }

    /// Takes away what a host's node has kept: disk, member list, epoch. Its identity stays.
    pub fn lose_data(&mut self, id: HostId) {
        self.restore(id, Backup::default());
    }

    /// A copy of what a host's node has kept so far.
    pub fn back_up(&self, id: HostId) -> Backup {
        Backup(self.host(id).data.clone())
    }

    /// Puts back what a host's node had kept at an earlier time.
    pub fn restore(&mut self, id: HostId, backup: Backup) {
        self.trace_fault(id, "older or lost data", None);
        let host = self.host_mut(id);
        assert!(host.mesh.is_none(), "host {id:?} runs");
        host.data = backup.0;
    }

    /// A host that runs another life of the same node: its identity is taken from `of`.
    pub fn clone_identity(&mut self, id: HostId, of: HostId) {
        self.host_mut(id).node = self.host(of).node;
    }

    /// Tells a node to stop as SIGTERM does.
    pub fn stop(&mut self, id: HostId) {
        self.trace_fault(id, "stop", None);
        self.host_mut(id).is_stopping = true;
        self.drive(id, Input::Stop);
    }

    /// A host does nothing for a while: what comes waits.
    pub fn pause(&mut self, id: HostId) {
        self.trace_fault(id, "pause", None);
        self.set_tick(id, None);
        self.checks.on_pause(self.now, id);
        self.host_mut(id).is_paused = true;
    }

    /// A paused host goes on with all that has come meanwhile.
    pub fn unpause(&mut self, id: HostId) {
        let host = self.host_mut(id);
        if !std::mem::take(&mut host.is_paused) {
            return;
        }
        let life = host.life;
        self.trace_fault(id, "go on", None);
        self.checks.on_unpause(self.now, id);
        self.work(id, life);
    }

    /// Each step of a host's machine takes so long from now on: what comes meanwhile waits.
    pub fn slow_down(&mut self, id: HostId, step: Duration) {
        let host = self.host_mut(id);
        if host.slow == step {
            return;
        }
        host.slow = step;
        let life = host.life;
        let what = format!("each step takes {step:?}");
        self.trace_fault(id, &what, None);
        for other in self.hosts() {
            self.checks.on_disturbed(self.now, id, other);
        }
        // What waits comes before what it is given at once from here on.
        if step.is_zero() {
            self.work(id, life);
        }
    }

    /// From now on frames from one host to the other fare so; `None`: as all others.
    pub fn set_link(&mut self, from: HostId, to: HostId, config: Option<network::Config>) {
        let what = match config {
            Some(_) => "bad link",
            None => "good link",
        };
        self.trace_fault(from, what, Some(to));
        self.network.set_special(from, to, config);
        self.checks.on_disturbed(self.now, from, to);
    }

    /// Breaks all connections between two hosts: both are told.
    pub fn reset(&mut self, a: HostId, b: HostId) {
        self.trace_fault(a, "reset", Some(b));
        self.checks.on_disturbed(self.now, a, b);
        for end in self.network.reset(a, b) {
            self.plan_link_down(end);
        }
    }

    /// Cuts the network between two hosts, both ways.
    pub fn cut(&mut self, a: HostId, b: HostId) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Frames from one host no longer reach the other.
    pub fn cut_one_way(&mut self, from: HostId, to: HostId) {
        self.trace_fault(from, "cut", Some(to));
        self.checks.on_cut(self.now, from, to);
        self.network.cut_one_way(from, to);
    }

    /// Cuts the network between two groups of hosts.
    pub fn split(&mut self, some: &[HostId], others: &[HostId]) {
        for a in some {
            for b in others {
                self.cut(*a, *b);
            }
        }
    }

    /// Heals what was cut between two hosts.
    pub fn heal(&mut self, a: HostId, b: HostId) {
        if !self.network.passes(a, b) || !self.network.passes(b, a) {
            self.trace_fault(a, "heal", Some(b));
        }
        self.checks.on_heal(self.now, a, b);
        self.checks.on_heal(self.now, b, a);
        for end in self.network.heal(a, b) {
            self.plan_link_down(end);
        }
    }

    /// Heals everything.
    pub fn heal_all(&mut self) {
        for (a, b) in self.network.cuts() {
            self.heal(a, b);
        }
    }

    pub(super) fn plan_link_down(&mut self, end: End) {
        if let Some(peer) = self.peers.remove(&end) {
            let event = || trace::Event::LinkDown { peer };
            self.trace.event(self.now, Some(end.host), event);
        }
        let life = self.host(end.host).life;
        let at = self.now + self.network.latency();
        self.queue.plan(
            at,
            Happening::Input(end.host, life, Box::new(Input::LinkDown { link: end.link })),
        );
    }
}
