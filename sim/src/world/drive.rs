//! Driving the machines: each is given its inputs, and what it wants is carried out.

use mesh::command::Push;
use mesh::id::{LinkId, SessionId};
use mesh::proto::{CloseCode, Closing, Input, Output};
use mesh::store::Store as _;
use mesh::time::Instant;
use mesh::wire::{self, Envelope};

use super::{Client, FLUSH, Happening, Heard, HostId, LOAD, OUTPUTS_MAX, World};
use crate::network::End;

impl World {
    pub(super) fn drive_life(&mut self, host: HostId, life: u64, input: Input) {
        if self.host(host).life == life {
            self.drive(host, input);
        }
    }

    /// Gives a machine an input and carries out what it wants.
    pub(super) fn drive(&mut self, id: HostId, input: Input) {
        let now = self.clock(id);
        let host = &mut self.hosts[usize::from(id.0)];
        if host.is_paused {
            return host.paused.push(input);
        }
        let Some(mesh) = &mut host.mesh else { return };
        let cause = self.checks.cause(&input, mesh);
        mesh.handle(now, input);
        let outputs: Vec<Output> = std::iter::from_fn(|| mesh.poll_output())
            .take(OUTPUTS_MAX)
            .collect();
        assert!(outputs.len() < OUTPUTS_MAX, "a step without end");
        self.checks.after_step(now.at, id, mesh, cause, &outputs);
        let tick_at = mesh.poll_deadline().map(|at| at.max(now.at));
        self.set_tick(id, tick_at);
        for output in outputs {
            self.carry_out(id, output);
        }
    }

    pub(super) fn set_tick(&mut self, id: HostId, at: Option<Instant>) {
        let before = std::mem::replace(&mut self.host_mut(id).tick_at, at);
        before.map(|before| self.ticks.remove(&(before, id)));
        self.ticks.extend(at.map(|at| (at, id)));
    }

    fn carry_out(&mut self, id: HostId, output: Output) {
        let life = self.host(id).life;
        match output {
            Output::Send { link, envelope } => self.send(End { host: id, link }, &envelope),
            Output::Dial { dial, target } => {
                let at = self.now + self.network.latency(&mut self.rng);
                let dialled = Happening::Dial {
                    host: id,
                    life,
                    dial,
                    target,
                };
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
            Output::Keep { members } => self.host_mut(id).kept = members,
            Output::KeepEpoch(epoch) => self.host_mut(id).epoch = epoch,
            Output::Note(note) => {
                let now = self.now;
                self.host_mut(id).notes.push((now, note));
            }
            Output::Halt(halt) => {
                self.host_mut(id).halted = Some(halt);
                self.crash(id);
            }
            Output::Stopped => self.host_mut(id).stopped = true,
        }
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
            .plan(self.now, Happening::Input(id, life, closed));
    }

    fn send(&mut self, from: End, envelope: &Envelope) {
        let mut bytes = Vec::new();
        assert!(
            wire::encode(envelope, &mut bytes),
            "a frame above the limit: {envelope:?}"
        );
        self.traffic.frames += 1;
        self.traffic.bytes += bytes.len() as u64;
        if let Some((to, at)) = self.network.send(from, self.now, &mut self.rng) {
            self.queue.plan(at, Happening::Frame(to, bytes));
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
                Happening::Input(host, life, Input::Drained { session }),
            );
        }
    }
}
