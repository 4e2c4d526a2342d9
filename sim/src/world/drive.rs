//! Driving the machines: each is given its inputs, and what it wants is carried out.

use mesh::command::Push;
use mesh::id::{LinkId, SessionId};
use mesh::proto::{CloseCode, Closing, Input, Note, Output};
use mesh::store::Store as _;
use mesh::time::Instant;
use mesh::wire::{self, Envelope};

use super::{BACKLOG_MAX, Client, FLUSH, Happening, Heard, HostId, LATE, LOAD, OUTPUTS_MAX, World};
use crate::network::{End, Fate};
use crate::trace;

impl World {
    pub(super) fn drive_life(&mut self, host: HostId, life: u64, input: Input) {
        if self.host(host).life == life {
            self.drive(host, input);
        }
    }

    /// Gives a machine an input, at once or when it has time.
    pub(super) fn drive(&mut self, id: HostId, input: Input) {
        let now = self.now;
        let host = self.host_mut(id);
        if !host.is_paused && host.slow.is_zero() {
            return self.handle(id, input);
        }
        if host.backlog.len() >= BACKLOG_MAX && matches!(input, Input::Frame { .. }) {
            self.lost += 1;
            return;
        }
        host.backlog.push_back(input);
        self.backlog_max = self
            .backlog_max
            .max(self.hosts[usize::from(id.0)].backlog.len());
        let host = self.host_mut(id);
        if !host.is_paused && host.backlog.len() == 1 {
            let (life, at) = (host.life, host.busy_until.max(now));
            self.queue.plan(at, Happening::Work(id, life));
        }
    }

    /// A slow machine takes all that waits, as one wake-up of a real one does, and is busy for so long.
    pub(super) fn work(&mut self, id: HostId, life: u64) {
        let now = self.now;
        let host = self.host_mut(id);
        if host.life != life || host.is_paused {
            return;
        }
        let inputs = std::mem::take(&mut host.backlog);
        let steps = u32::try_from(inputs.len()).unwrap_or(u32::MAX);
        host.busy_until = now + host.slow.saturating_mul(steps);
        for input in inputs {
            self.handle(id, input);
        }
        self.handle(id, Input::Tick);
    }

    /// One step of a machine: carries out what it wants.
    fn handle(&mut self, id: HostId, input: Input) {
        let now = self.clock(id);
        let mut outputs = std::mem::take(&mut self.outputs);
        let host = &mut self.hosts[usize::from(id.0)];
        let Some(mesh) = &mut host.mesh else { return };
        let cause = self.checks.cause(&input, mesh);
        mesh.handle(now, input);
        outputs.extend(std::iter::from_fn(|| mesh.poll_output()).take(OUTPUTS_MAX));
        assert!(outputs.len() < OUTPUTS_MAX, "a step without end");
        self.checks.after_step(now.at, id, mesh, cause, &outputs);
        let earliest = now.at.max(host.busy_until);
        let tick_at = mesh.poll_deadline().map(|at| at.max(earliest));
        self.set_tick(id, tick_at);
        for output in outputs.drain(..) {
            self.carry_out(id, output);
        }
        self.outputs = outputs;
    }

    pub(super) fn set_tick(&mut self, id: HostId, at: Option<Instant>) {
        let before = std::mem::replace(&mut self.host_mut(id).tick_at, at);
        if before != at {
            before.map(|before| self.ticks.remove(&(before, id)));
            self.ticks.extend(at.map(|at| (at, id)));
        }
    }

    fn carry_out(&mut self, id: HostId, output: Output) {
        let life = self.host(id).life;
        match output {
            Output::Send { link, envelope } => self.send(End { host: id, link }, &envelope),
            Output::Dial { dial, target } => {
                let dialled = Happening::Dial {
                    host: id,
                    life,
                    dial,
                    target,
                };
                let at = self.now + self.network.latency();
                self.queue.plan(at, dialled);
            }
            Output::HangUp { link } => self.hang_up(id, link),
            Output::Reply {
                session,
                request,
                reply,
                bulk,
            } => {
                if let Some(request) = request {
                    self.hear(Client { host: id, session }, Heard::Reply(request, reply));
                }
                self.drained(id, session, bulk);
            }
            Output::Push {
                audience,
                push,
                bulk,
            } => self.push(id, &audience, &push, bulk),
            Output::Close { session, code } => self.close_session(id, session, code),
            Output::Append { ticket, events } => {
                let appended = Happening::Appended {
                    host: id,
                    life,
                    ticket,
                    events,
                };
                self.queue.plan(self.now + FLUSH, appended);
            }
            Output::List { stream } => self
                .host_mut(id)
                .data
                .disk
                .list(stream)
                .expect("a simulated disk"),
            Output::Load { ticket, query } => {
                let loaded = Happening::Loaded {
                    host: id,
                    life,
                    ticket,
                    query,
                };
                self.queue.plan(self.now + LOAD, loaded);
            }
            Output::Keep { members } => self.host_mut(id).data.kept = members,
            Output::KeepEpoch(epoch) => {
                self.trace.raised(id, epoch);
                self.host_mut(id).data.epoch = epoch;
            }
            Output::Note(note) => self.note(id, note),
            Output::Halt(halt) => {
                self.host_mut(id).halted = Some(halt);
                self.crash(id);
            }
            Output::Stopped => self.host_mut(id).stopped = true,
        }
    }

    fn note(&mut self, id: HostId, note: Note) {
        let event = || trace::Event::Note(note.clone());
        self.trace.event(self.now, Some(id), event);
        let noted = (self.now, note);
        self.host_mut(id).notes.push(noted);
    }

    fn push(&mut self, id: HostId, audience: &[SessionId], push: &Push, bulk: bool) {
        for session in audience {
            let client = Client {
                host: id,
                session: *session,
            };
            self.hear(client, Heard::Push(push.clone()));
            self.drained(id, *session, bulk);
        }
    }

    fn close_session(&mut self, id: HostId, session: SessionId, code: CloseCode) {
        self.hear(Client { host: id, session }, Heard::Closed(code));
        let life = self.host(id).life;
        let closing = Closing::Lost;
        let closed = Input::Closed { session, closing };
        self.queue
            .plan(self.now, Happening::Input(id, life, Box::new(closed)));
    }

    fn send(&mut self, from: End, envelope: &Envelope) {
        let mut bytes = self.buffers.pop().unwrap_or_default();
        bytes.clear();
        assert!(
            wire::encode(envelope, &mut bytes),
            "a frame above the limit: {envelope:?}"
        );
        self.traffic.count(&envelope.frame, bytes.len() as u64);
        let lane = envelope.frame.lane();
        let fate = self.network.send(from, lane, bytes.len(), self.now);
        let (to, told) = match fate {
            Fate::Arrives { to, again, .. } if again.is_none() => {
                (Some(to.host), trace::Fate::Sent)
            }
            Fate::Arrives { to, .. } => (Some(to.host), trace::Fate::Doubled),
            Fate::Lost { to } | Fate::Cut { to } => (Some(to.host), trace::Fate::Lost),
            Fate::Gone => (self.peers.get(&from).copied(), trace::Fate::Lost),
        };
        if let Some(to) = to {
            self.trace.frame(self.now, from.host, to, envelope, told);
        }
        match fate {
            Fate::Arrives { to, at, again } => {
                if let Some(again) = again {
                    self.queue.plan(again, Happening::Frame(to, bytes.clone()));
                }
                if LATE < at.since(self.now) {
                    self.checks.on_lost(at, from.host, to.host);
                }
                self.queue.plan(at, Happening::Frame(to, bytes));
            }
            Fate::Lost { to } | Fate::Cut { to } => {
                self.checks.on_lost(self.now, from.host, to.host);
                self.lost += 1;
                self.buffers.push(bytes);
            }
            Fate::Gone => {
                self.lost += 1;
                self.buffers.push(bytes);
            }
        }
    }

    fn hang_up(&mut self, host: HostId, link: LinkId) {
        for end in self.network.close(End { host, link }) {
            self.plan_link_down(end);
        }
    }

    fn hear(&mut self, client: Client, heard: Heard) {
        // A session that is over hears nothing.
        if let Some(inbox) = self
            .inboxes
            .get_mut(&client)
            .filter(|inbox| !inbox.last().is_some_and(Heard::is_end))
        {
            inbox.push(heard);
        }
    }

    fn drained(&mut self, host: HostId, session: SessionId, bulk: bool) {
        if bulk {
            let life = self.host(host).life;
            self.queue.plan(
                self.now,
                Happening::Input(host, life, Box::new(Input::Drained { session })),
            );
        }
    }
}
