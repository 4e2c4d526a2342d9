//! The member list: what is learned of whom, told on, kept for the next start and forgotten.
//!
//! A record is told on only when it was news here, so telling ends. What is remembered of a member for
//! ever, as far as there is room, is its highest epoch: a dead life that somebody still passes around
//! does not come back.

use std::collections::{BTreeMap, VecDeque};
use std::hash::Hasher as _;
use std::ops::Bound;
use std::time::Duration;

use siphasher::sip::SipHasher24;

use crate::id::{Epoch, LinkId, NodeId};
use crate::proto::outbox::Outbox;
use crate::proto::output::{KeptMember, Note, Output};
use crate::time::{Instant, Now};

use super::dial::{Attempt, Whom};
use super::message::{MEMBERS_MAX, Message};
use super::peer::{Peer, Since, millis};
use super::record::{Known, Phase, Record};
use super::timers::Timer;
use super::{Event, Membership, State};

/// News of members is gathered for so long before it is told on: a whole mesh that starts at once costs
/// a few frames per pair of nodes.
const GOSSIP_AFTER: Duration = Duration::from_millis(100);

/// To so many peers at a time, since a slice of the news is copied for each.
const GOSSIP_PEERS: usize = 4;

/// And that long between them.
const GOSSIP_STEP: Duration = Duration::from_millis(1);

/// The member list is written down that long after a change.
const KEEP_AFTER: Duration = Duration::from_secs(1);

/// And that often without one: what it says about who lives may be that old after a crash, which has to
/// be little against the ten minutes for which slots wait.
const KEEP_EVERY: Duration = Duration::from_secs(60);

/// A member heard of is probed through others when there is no link to it after so long.
const CHECK_AFTER: Duration = Duration::from_secs(1);

/// Two ends of a link may know different members for so long before a list is sent again: news takes a
/// moment to come round.
const REPAIR_AFTER: Duration = Duration::from_secs(2);

/// And at most that long between two such lists.
const REPAIR_MAX: Duration = Duration::from_secs(60);

/// How many forgotten members are remembered by their epoch; the one forgotten first makes room. At a
/// node replaced every hour this covers half a year.
const MARKS_MAX: usize = 4096;

/// Epochs of members that were forgotten.
#[derive(Debug, Default)]
pub(super) struct Marks {
    epochs: BTreeMap<NodeId, Epoch>,
    /// The same nodes in the order in which they were forgotten.
    order: VecDeque<NodeId>,
}

impl Marks {
    /// How many are remembered.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Remembers; false: another one had to make room.
    fn set(&mut self, node: NodeId, epoch: Epoch) -> bool {
        let known = self.epochs.get(&node).copied().unwrap_or_default();
        if self.epochs.insert(node, known.max(epoch)).is_none() {
            self.order.push_back(node);
        }
        if self.order.len() <= MARKS_MAX {
            return true;
        }
        let oldest = self.order.pop_front();
        oldest.and_then(|oldest| self.epochs.remove(&oldest));
        false
    }
}

/// News that is to be told on: who told it here, and when.
pub(super) type News = BTreeMap<NodeId, (NodeId, Instant)>;

/// When a list is sent again over a link whose ends know different members.
#[derive(Debug)]
pub(super) struct Repair {
    wait: Duration,
    due: Option<Instant>,
}

impl Default for Repair {
    fn default() -> Self {
        Self {
            wait: REPAIR_AFTER,
            due: None,
        }
    }
}

/// What a member adds to the digest of all.
fn mix(record: &Record) -> u64 {
    let mut hasher = SipHasher24::new();
    hasher.write(&record.node.0);
    hasher.write(&record.epoch.0.to_le_bytes());
    hasher.finish()
}

impl Membership {
    /// Members from the data directory: down since they were last known not to be.
    pub(super) fn recall(&mut self, now: Now, kept: Vec<KeptMember>) {
        for member in kept {
            let record = member.record;
            let age = Duration::from_millis(now.unix_ms.saturating_sub(member.seen_unix_ms));
            let node = record.node;
            if !record.is_valid() || node == self.record.node {
                self.stats.records_refused += 1;
            } else if age >= self.config.forget_after {
                self.mark(node, record.epoch);
            } else if self.has_room() {
                let known = Known {
                    record,
                    state: State::Down,
                    phase: Phase::Serving,
                    down_ms: millis(age),
                    seen_at: None,
                };
                self.insert(now, known);
                self.dial_in(now, Whom::Member(node), Duration::ZERO);
            } else {
                self.stats.records_dropped += 1;
            }
        }
    }

    /// A list of members came over a link, or through a helper.
    pub(super) fn on_members(
        &mut self,
        now: Now,
        teller: NodeId,
        link: Option<LinkId>,
        members: Vec<Known>,
        out: &mut Outbox,
    ) {
        let link = link.and_then(|id| self.links.get(&id));
        let far = link.is_none_or(super::link::Link::is_far);
        let over = members.len().saturating_sub(MEMBERS_MAX);
        self.stats.records_refused += over as u64;
        for mut known in members.into_iter().take(MEMBERS_MAX) {
            if !known.is_valid() {
                self.stats.records_refused += 1;
                continue;
            }
            if far {
                known.drop_loopback();
            }
            self.learn(now, known, teller, out);
        }
    }

    /// Somebody, perhaps itself, tells of a member.
    pub(super) fn learn(&mut self, now: Now, known: Known, teller: NodeId, out: &mut Outbox) {
        let (node, epoch) = (known.record.node, known.record.epoch);
        if node == self.record.node {
            return self.check_own_epoch(now, epoch, out);
        }
        match self.peers.get(&node).map(|peer| peer.record.epoch) {
            None => self.learn_member(now, known, teller, out),
            Some(present) if present < epoch => self.learn_life(now, known, teller, out),
            Some(present) if present == epoch => self.learn_more(now, known, teller, out),
            Some(_) => self.stats.records_stale += 1,
        }
    }

    /// Of somebody who is not in the table.
    fn learn_member(&mut self, now: Now, known: Known, teller: NodeId, out: &mut Outbox) {
        let (node, epoch) = (known.record.node, known.record.epoch);
        let mark = self.marks.epochs.get(&node).copied().unwrap_or_default();
        let living = matches!(known.state, State::Alive | State::Suspect);
        let age = Duration::from_millis(known.down_ms);
        let expired = !living && (epoch == mark || age >= self.config.forget_after);
        if epoch < mark || expired {
            self.stats.records_stale += 1;
            return;
        }
        if known.state == State::Left {
            return self.mark(node, epoch);
        }
        // Nobody is forgotten to make room for one who is dead himself.
        let room = self.has_room() || (living && self.make_room(now, node));
        if !room {
            self.stats.records_dropped += 1;
            return;
        }
        out.push(Output::Note(Note::Joined(node)));
        self.insert(now, known);
        self.meet(now, node, teller);
    }

    /// Of a newer life: the old one is dead for ever.
    fn learn_life(&mut self, now: Now, known: Known, teller: NodeId, out: &mut Outbox) {
        let node = known.record.node;
        if known.state == State::Left {
            self.stats.records_stale += 1;
            return;
        }
        self.end_round(node);
        self.timers.cancel(Timer::Suspicion(node));
        self.timers.cancel(Timer::Check(node));
        self.timers.cancel(Timer::Down(node));
        let old = self.peers.get_mut(&node);
        let old = old.map(|peer| (peer.state, std::mem::take(&mut peer.links)));
        self.insert(now, known);
        if let (Some((before, links)), Some(peer)) = (old, self.peers.get_mut(&node)) {
            peer.links = links;
            let (state, after) = (peer.state, None);
            if state != before {
                out.push(Output::Note(Note::Member { node, state, after }));
            }
        }
        // With the new epoch in the table, so that a copy of the node learns of it.
        self.demote(now, node, out);
        self.meet(now, node, teller);
        self.judge_isolation(out);
    }

    /// Of the life that is known.
    fn learn_more(&mut self, now: Now, known: Known, teller: NodeId, out: &mut Outbox) {
        let node = known.record.node;
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        let newer = peer.record.incarnation < known.record.incarnation;
        let accused = peer.record.incarnation == known.record.incarnation
            && (known.state, known.phase) == (State::Down, peer.phase);
        let weight = peer.record.weight;
        if newer {
            peer.record = known.record;
        } else {
            peer.record.add_addresses(&known.record.addresses);
        }
        if known.seen_at.is_some() && (teller == node || peer.seen_at.is_none()) {
            peer.seen_at = known.seen_at;
        }
        let reweighed = weight != peer.record.weight;
        if newer {
            self.refuted(now, node, teller, out);
        } else if accused && teller != node {
            self.on_held_down(now, teller, node, out);
        }
        if reweighed {
            self.generation += 1;
            self.changed(node);
        }
        if !self.has_link(node) {
            self.ensure_dial(now, node);
        }
        match known.phase {
            Phase::Serving => (),
            Phase::Stopping => self.set_stopping(node),
            Phase::Stopped => return self.become_stopped(now, node, out),
        }
        let missed = self.state(node) == Some(State::Down) && known.state == State::Alive;
        if missed && teller != node {
            // Only its own evidence makes a member alive again: it looks for some.
            self.hasten(now, node);
            self.timers
                .set_earlier(Timer::Check(node), now.at + CHECK_AFTER);
        }
    }

    /// Puts a record into the table, in the state that was told.
    fn insert(&mut self, now: Now, known: Known) {
        let node = known.record.node;
        let living = matches!(known.state, State::Alive | State::Suspect);
        let stopped = known.phase == Phase::Stopped;
        let age = Duration::from_millis(known.down_ms);
        let down = !living || stopped;
        let old = self.peers.remove(&node);
        self.digest ^= mix(&known.record) ^ old.as_ref().map_or(0, |peer| mix(&peer.record));
        let attempt = old.map(|peer| peer.attempt);
        let peer = Peer {
            record: known.record,
            state: if down { State::Down } else { State::Alive },
            phase: known.phase,
            down: down.then(|| Since::ago(now.at, age)),
            links: Vec::new(),
            helper: None,
            refuted: 0,
            round: None,
            suspicion: None,
            heard: now.at,
            seen_at: known.seen_at,
            attempt: attempt.map_or_else(Attempt::default, Attempt::renewed),
        };
        self.peers.insert(node, peer);
        self.generation += 1;
        self.set_down_timer(now, node);
        self.keep_soon(now);
    }

    /// A member or a life of one is new here: links to it are sought, and others told.
    fn meet(&mut self, now: Now, node: NodeId, teller: NodeId) {
        self.changed(node);
        self.news.insert(node, (teller, now.at));
        self.timers
            .set_earlier(Timer::Gossip, now.at + GOSSIP_AFTER);
        if teller == node {
            return;
        }
        self.hasten(now, node);
        if self.state(node) == Some(State::Alive) {
            self.timers
                .set_earlier(Timer::Check(node), now.at + CHECK_AFTER);
        }
    }

    /// A member said that it is stopping.
    pub(super) fn set_stopping(&mut self, node: NodeId) {
        if let Some(peer) = self.peers.get_mut(&node)
            && peer.phase == Phase::Serving
        {
            peer.phase = Phase::Stopping;
            self.generation += 1;
            self.changed(node);
        }
    }

    /// News is told to whoever was not there when it came, a few peers at a time.
    pub(super) fn on_gossip_timer(&mut self, now: Now, out: &mut Outbox) {
        let fresh = &mut self.news;
        let (news, told) = self
            .telling
            .take()
            .unwrap_or_else(|| (std::mem::take(fresh), None));
        let from = told.map_or(Bound::Unbounded, Bound::Excluded);
        let mut next = self.peers.range((from, Bound::Unbounded));
        let slice: Vec<_> = next
            .by_ref()
            .take(GOSSIP_PEERS)
            .map(|(node, _)| *node)
            .collect();
        let more = next.next().is_some();
        for node in &slice {
            self.tell_news(now, *node, &news, out);
        }
        if more {
            self.telling = Some((news, slice.last().copied()));
            self.timers.set(Timer::Gossip, now.at + GOSSIP_STEP);
        } else if !self.news.is_empty() {
            self.timers.set(Timer::Gossip, now.at + GOSSIP_AFTER);
        }
    }

    fn tell_news(&self, now: Now, node: NodeId, news: &News, out: &mut Outbox) {
        let Some(id) = self.link_to(node) else {
            return;
        };
        let told = self.links.get(&id).map(|link| link.told);
        let unknown = |(about, (teller, learned)): &(&NodeId, &(NodeId, Instant))| {
            **about != node && *teller != node && told.is_some_and(|told| told <= *learned)
        };
        let members: Vec<_> = news
            .iter()
            .filter(unknown)
            .filter_map(|(about, _)| Some(self.peers.get(about)?.known(now)))
            .collect();
        for slice in members.chunks(MEMBERS_MAX) {
            out.send_on(id, Message::Members(slice.to_vec()));
        }
    }

    /// The member list has changed.
    pub(super) fn keep_soon(&mut self, now: Now) {
        self.timers.set_earlier(Timer::Keep, now.at + KEEP_AFTER);
    }

    /// The member list is written down, now and again later.
    pub(super) fn on_keep_timer(&mut self, now: Now, out: &mut Outbox) {
        self.keep(now, out);
        self.timers.set(Timer::Keep, now.at + KEEP_EVERY);
    }

    /// The member list is written down.
    pub(super) fn keep(&self, now: Now, out: &mut Outbox) {
        let members = self
            .peers
            .values()
            .filter(|peer| peer.state != State::Left)
            .map(|peer| {
                let mut record = peer.record.clone();
                record.addresses = peer.addresses();
                let age = peer.down_for(now).map_or(0, millis);
                KeptMember {
                    record: record.cut(),
                    seen_unix_ms: now.unix_ms.saturating_sub(age),
                }
            })
            .collect();
        out.push(Output::Keep { members });
    }

    /// A member is gone for good as far as this node is concerned; its epoch stays.
    pub(super) fn forget(&mut self, now: Now, node: NodeId) {
        let Some(peer) = self.peers.remove(&node) else {
            return;
        };
        self.digest ^= mix(&peer.record);
        for link in self.links.values_mut().filter(|link| link.peer == node) {
            link.epoch = None;
        }
        if let Some(round) = peer.round {
            self.rounds.remove(&round);
            self.timers.cancel(Timer::Probe(round));
        }
        self.timers.cancel(Timer::Down(node));
        self.timers.cancel(Timer::Check(node));
        self.timers.cancel(Timer::Suspicion(node));
        self.timers.cancel(Timer::Dial(Whom::Member(node)));
        self.mark(node, peer.record.epoch);
        self.generation += 1;
        self.stats.forgotten += 1;
        self.events.push_back(Event::Forgotten(node));
        self.keep_soon(now);
    }

    fn mark(&mut self, node: NodeId, epoch: Epoch) {
        if !self.marks.set(node, epoch) {
            self.stats.marks_dropped += 1;
        }
    }

    /// The highest epoch known of a node; 0: none.
    pub(super) fn highest(&self, node: NodeId) -> Epoch {
        let mark = self.marks.epochs.get(&node).copied().unwrap_or_default();
        let present = self.peers.get(&node).map(|peer| peer.record.epoch);
        present.unwrap_or_default().max(mark)
    }

    fn has_room(&self) -> bool {
        self.peers.len() + 1 < self.config.full_mesh_limit
    }

    /// Makes room for a node where it is new: whoever has been down the longest goes, but none whose
    /// slots still wait for it.
    pub(super) fn make_room(&mut self, now: Now, node: NodeId) -> bool {
        if self.peers.contains_key(&node) || self.has_room() {
            return true;
        }
        let longest = self
            .peers
            .iter()
            .filter_map(|(node, peer)| Some((peer.down?, *node)))
            .min();
        let Some((since, longest)) = longest else {
            return false;
        };
        if since.age(now.at) < self.config.storing_wait {
            return false;
        }
        self.forget(now, longest);
        true
    }

    /// Of all members and their lives but the two ends of a link, to see whether both know the same.
    pub(super) fn digest(&self, other: NodeId) -> u64 {
        self.digest ^ self.peers.get(&other).map_or(0, |peer| mix(&peer.record))
    }

    /// Of all members and their lives, this node included.
    pub(super) fn own_digest(&self) -> u32 {
        ((self.digest ^ mix(&self.record)) & u64::from(u32::MAX)) as u32
    }

    /// A heartbeat says what its sender knows of members. Where that goes on differing from what is
    /// known here, a list was lost: it is sent again, ever more rarely, since the two may also differ in
    /// whom they remember of the dead.
    pub(super) fn compare_members(&mut self, now: Now, id: LinkId, digest: u32, out: &mut Outbox) {
        let same = digest == self.own_digest();
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        if same {
            link.repair = Repair::default();
            return;
        }
        let due = *link.repair.due.get_or_insert(now.at + link.repair.wait);
        if now.at < due {
            return;
        }
        link.repair.wait = (2 * link.repair.wait).min(REPAIR_MAX);
        link.repair.due = Some(now.at + link.repair.wait);
        let node = link.peer;
        self.stats.lists_repeated += 1;
        self.send_list(now, id, node, out);
    }

    /// This node, as it tells others of itself.
    pub(super) fn own_known(&self) -> Known {
        Known {
            record: self.record.clone(),
            state: State::Alive,
            phase: self.phase,
            down_ms: 0,
            seen_at: None,
        }
    }
}
