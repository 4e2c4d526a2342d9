//! What one step gives out, and how much a machine keeps: invariants 16 and 19, and facts for others.

use mesh::command::Reply;
use mesh::id::{LinkId, NodeId};
use mesh::proto::{Loads, Mesh, Note, Output};
use mesh::time::Instant;
use mesh::wire::Frame;

use super::cause::{self, Cause, Kind, Layer};
use super::{Checks, Fault, Invariant};
use crate::world::HostId;

/// Peers that a machine feeds, nodes and epochs that it remembers, snapshots of its set that it keeps:
/// as the layers document them.
const FEEDS_MAX: usize = 1_024;
const ORIGINS_MAX: usize = 4_096;
const MARKS_MAX: usize = 4_096;
/// Snapshots of a node's set that are alive at once, at most.
pub const SNAPSHOTS_MAX: usize = 4;

/// Slots of the table per node that is kept track of: one shown, one built, and some being swept.
const SLOTS_PER_ORIGIN: usize = 8;

/// The worst that was seen in any step or audit.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Worst {
    /// Outputs of one step.
    pub outputs: usize,
    /// Answers and questions about routes to one peer, caused by one frame about routes.
    pub replies: usize,
    /// Operations in a log.
    pub log_ops: usize,
    /// Snapshots of one set alive at once.
    pub snapshots: usize,
    /// Votes against one member.
    pub voters: usize,
    /// News of members to be told on.
    pub news: usize,
    /// Bytes and routes of the table with the most routes, of those with at least 10,000.
    pub table: (u64, u64),
}

impl Worst {
    pub(super) fn see(&mut self, loads: &Loads, table_bytes: u64) {
        self.log_ops = self.log_ops.max(loads.routes.log_ops);
        self.snapshots = self.snapshots.max(loads.routes.snapshots);
        self.voters = self.voters.max(loads.membership.voters);
        self.news = self.news.max(loads.membership.news);
        if loads.routes.table >= self.table.1.max(10_000) {
            self.table = (table_bytes, loads.routes.table);
        }
    }
}

/// To whom a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whom {
    Over(LinkId),
    Through(NodeId),
}

/// What a step sends in answer, by peer: a handful at most.
#[derive(Debug, Default)]
struct Replies(Vec<(Whom, usize)>);

impl Replies {
    /// How many there are to this peer now.
    fn add(&mut self, to: Whom) -> usize {
        if let Some((_, count)) = self.0.iter_mut().find(|(whom, _)| *whom == to) {
            *count += 1;
            return *count;
        }
        self.0.push((to, 1));
        1
    }
}

impl Checks {
    /// Looks at all that a step gave out.
    pub(super) fn check_outputs(
        &mut self,
        at: Instant,
        host: HostId,
        mesh: &Mesh,
        cause: Cause,
        outputs: &[Output],
    ) -> Result<(), Fault> {
        self.worst.outputs = self.worst.outputs.max(outputs.len());
        let about_routes = matches!(
            cause.0,
            Kind::Frame {
                layer: Layer::Routes,
                ..
            }
        );
        // The frame that opens a link is answered, and what opening a link asks for is asked besides.
        let opens = |output: &Output| matches!(output, Output::Note(Note::Linked(_)));
        let counts = about_routes && !outputs.iter().any(opens);
        let mut replies = counts.then(Replies::default);
        let mut halted = false;
        for output in outputs {
            match output {
                Output::Send { link, envelope } => {
                    if halted {
                        let what = format!("sends {:?} after its halt", envelope.frame);
                        return Err((Invariant::OneLife, what));
                    }
                    self.on_sent(*link, &envelope.frame, replies.as_mut())?;
                }
                Output::Note(note) => self.on_note(at, host, note, mesh)?,
                Output::Reply {
                    session,
                    reply: Reply::Welcome { .. },
                    ..
                } => self.sessions.on_welcome(at, host, *session),
                Output::Halt(mesh::proto::Halt::Clone { epoch }) => {
                    halted = true;
                    if *epoch <= mesh.epoch() {
                        let what = format!("halts for {epoch:?}, it has {:?}", mesh.epoch());
                        return Err((Invariant::OneLife, what));
                    }
                }
                Output::Stopped => self.paths.on_stop(host),
                Output::Dial { .. }
                | Output::HangUp { .. }
                | Output::Reply { .. }
                | Output::Push { .. }
                | Output::Close { .. }
                | Output::Append { .. }
                | Output::List { .. }
                | Output::Load { .. }
                | Output::Keep { .. }
                | Output::KeepEpoch(_) => {}
            }
        }
        self.sync_joined(host, mesh, outputs);
        Ok(())
    }

    fn on_sent(
        &mut self,
        link: LinkId,
        frame: &Frame,
        replies: Option<&mut Replies>,
    ) -> Result<(), Fault> {
        let inner = cause::unpacked(frame);
        let said = inner.as_ref().unwrap_or(frame);
        self.convergence.copies += cause::batches(said);
        let Some(replies) = replies.filter(|_| cause::is_reply(said)) else {
            return Ok(());
        };
        let whom = match frame {
            Frame::Relay(relay) => Whom::Through(relay.to),
            Frame::Membership(_) | Frame::Routes(_) | Frame::Streams(_) | Frame::Chat(_) => {
                Whom::Over(link)
            }
        };
        let count = replies.add(whom);
        self.worst.replies = self.worst.replies.max(count);
        if count > 1 {
            let what = format!("one frame about routes has {count} answers to {whom:?}: {said:?}");
            return Err((Invariant::Bounded, what));
        }
        Ok(())
    }

    fn on_note(
        &mut self,
        at: Instant,
        host: HostId,
        note: &Note,
        mesh: &Mesh,
    ) -> Result<(), Fault> {
        match note {
            Note::Joined(node) => self.on_joined(at, host, *node),
            Note::Member { node, state, .. } => self.on_member(at, host, (*node, *state), mesh),
            Note::Mismatch(node) => {
                let what = format!("the set of {node:?} disagrees with what it says");
                Err((Invariant::Carried, what))
            }
            Note::LinkBroken(_)
            | Note::Linked(_)
            | Note::Dial { .. }
            | Note::Refused { .. }
            | Note::Isolated(_)
            | Note::EventDiffers(_)
            | Note::Ready => Ok(()),
        }
    }

    fn sync_joined(&mut self, host: HostId, mesh: &Mesh, outputs: &[Output]) {
        for output in outputs {
            if let Output::Note(Note::Joined(node)) = output {
                self.after_joined(host, *node, mesh);
            }
        }
    }

    /// Whether a machine keeps no more than it may.
    pub(super) fn check_loads(&mut self, host: HostId, mesh: &Mesh) -> Result<(), Fault> {
        let loads = mesh.loads();
        self.worst.see(&loads, mesh.table_bytes());
        let config = &self.host(host).config;
        let (routes, membership) = (loads.routes, loads.membership);
        let nodes = routes.origins + 2;
        // Own routes are always taken, and so are members that were known before.
        let routes_max = config
            .routes
            .routes_max
            .saturating_add(mesh.summary().count);
        let bounds = [
            (
                "operations in the log",
                routes.log_ops,
                config.routes.log_ops,
            ),
            ("peers fed", routes.feeds, FEEDS_MAX),
            ("snapshots", routes.snapshots, SNAPSHOTS_MAX),
            ("origins", routes.origins, ORIGINS_MAX),
            ("requests", routes.asks, routes.origins),
            ("slots", routes.slots, SLOTS_PER_ORIGIN * nodes),
            (
                "members",
                membership.members + 1,
                config.membership.full_mesh_limit.max(1),
            ),
            (
                "votes against a member",
                membership.voters,
                membership.members + 1,
            ),
            ("probes", membership.rounds, membership.members),
            ("news", membership.news, 2 * membership.members),
            ("marks", membership.marks, MARKS_MAX),
        ];
        for (what, is, most) in bounds {
            if is > most {
                return Err((Invariant::Bounded, format!("{is} {what}, at most {most}")));
            }
        }
        if routes.table.saturating_add(routes.reserved) > routes_max {
            let what = format!("{} routes in the table, at most {routes_max}", routes.table);
            return Err((Invariant::Bounded, what));
        }
        Ok(())
    }
}
