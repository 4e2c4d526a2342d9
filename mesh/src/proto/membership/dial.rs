//! Whom to dial, when, and how many at once; and whether the node may call itself ready.
//!
//! Contacts are dialled for ever until one of their nodes is linked, members until they have left or
//! are forgotten. Each waits twice as long after every failure, up to a minute, with jitter.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::id::NodeId;
use crate::proto::input::DialFailure;
use crate::proto::outbox::Outbox;
use crate::proto::output::{Contact, DialId, Note, Output, PeerAddress, Target};
use crate::time::Now;

use super::timers::Timer;
use super::{Membership, State};

/// The driver gives up on its own well before that; this only guards against one that does not answer.
const DIAL_TIMEOUT: Duration = Duration::from_secs(60);

/// When the node behind a contact is lost, its member record is dialled first: the contact only after
/// this, in case somebody else answers there by now.
const CONTACT_PAUSE: Duration = Duration::from_secs(5);

/// The smaller node dials that soon after it has heard of the other, the larger one when it
/// is probably linked already.
const HASTE: Duration = Duration::from_millis(20);

/// The most addresses found on the local network that are remembered; further ones are dropped.
const FOUND_MAX: usize = 64;

/// How often somebody found there is dialled; by then about eight seconds have gone by.
const FOUND_TRIES: u32 = 5;

/// The most nodes remembered as answering behind one contact; a name has few addresses.
const CONTACT_NODES_MAX: usize = 64;

/// What is dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whom {
    /// A contact, by its place in the list.
    Contact(usize),
    /// A member.
    Member(NodeId),
}

/// How dialling one of them has gone so far.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    /// Failures in a row.
    failures: u32,
    under_way: Option<DialId>,
    /// Why the last one failed, as it was told.
    failure: Option<DialFailure>,
}

/// A contact and what came of it.
#[derive(Debug)]
pub(super) struct Entry {
    contact: Contact,
    source: Source,
    attempt: Attempt,
    /// Who answered there.
    nodes: BTreeSet<NodeId>,
}

/// Where a contact comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The operator named it: it is dialled for ever.
    Named,
    /// It was found on the local network: a few tries are enough, it will be found again.
    Found,
}

/// All dials under way, and the contacts.
#[derive(Debug, Default)]
pub(super) struct Dialer {
    next: u64,
    under_way: BTreeMap<DialId, Whom>,
    /// Whoever is due while as many as allowed are under way; each once.
    waiting: VecDeque<Whom>,
    contacts: Vec<Entry>,
}

impl Attempt {
    /// For a newer life of the same member.
    pub(super) fn renewed(self) -> Self {
        Self {
            under_way: self.under_way,
            ..Self::default()
        }
    }
}

impl Entry {
    fn new(contact: Contact, source: Source) -> Self {
        Self {
            contact,
            source,
            attempt: Attempt::default(),
            nodes: BTreeSet::new(),
        }
    }

    /// A finding that led nowhere; it may be found again.
    fn is_given_up(&self) -> bool {
        let tried = FOUND_TRIES <= self.attempt.failures && self.attempt.under_way.is_none();
        self.source == Source::Found && self.nodes.is_empty() && tried
    }
}

impl Dialer {
    pub(super) fn new(contacts: Vec<Contact>) -> Self {
        let entry = |contact| Entry::new(contact, Source::Named);
        Self {
            contacts: contacts.into_iter().map(entry).collect(),
            ..Self::default()
        }
    }

    pub(super) fn contacts(&self) -> usize {
        self.contacts.len()
    }
}

impl Membership {
    /// Dials somebody after a while, unless that is under way or due before.
    pub(super) fn dial_in(&mut self, now: Now, whom: Whom, delay: Duration) {
        let idle = self.attempt(whom).is_some_and(|it| it.under_way.is_none());
        if idle && !self.dialer.waiting.contains(&whom) {
            self.timers.set_earlier(Timer::Dial(whom), now.at + delay);
        }
    }

    /// How long before a lost member is dialled. The smaller node begins: the link it dials is the one
    /// that would be kept. Even the larger one comes before the other end would find the link silent.
    pub(super) fn first_delay(&mut self, node: NodeId) -> Duration {
        let base = self.config.dial_backoff;
        let delay = if self.record.node < node {
            base / 2
        } else {
            base
        };
        self.jitter(delay)
    }

    /// Somebody is due.
    pub(super) fn on_dial_timer(&mut self, now: Now, whom: Whom, out: &mut Outbox) {
        let Some(target) = self.target(whom) else {
            return self.next_waiting(now);
        };
        if self.config.dials_max <= self.dialer.under_way.len() {
            self.dialer.waiting.push_back(whom);
            return;
        }
        let dial = DialId(self.dialer.next);
        self.dialer.next += 1;
        self.dialer.under_way.insert(dial, whom);
        if let Some(attempt) = self.attempt_mut(whom) {
            attempt.under_way = Some(dial);
        }
        self.timers
            .set(Timer::DialTimeout(dial), now.at + DIAL_TIMEOUT);
        self.stats.dials += 1;
        out.push(Output::Dial { dial, target });
    }

    /// Whom to ask the driver for; `None`: there is no need, or no way.
    fn target(&self, whom: Whom) -> Option<Target> {
        if self.is_over() || self.attempt(whom)?.under_way.is_some() {
            return None;
        }
        match whom {
            Whom::Contact(at) => {
                let entry = self.dialer.contacts.get(at)?;
                let linked = entry.nodes.iter().any(|node| self.has_link(*node));
                (!linked).then(|| Target::Contact(entry.contact.clone()))
            }
            Whom::Member(node) => {
                let peer = self.peers.get(&node)?;
                let greeting = |link: &super::link::Link| link.peer == node && link.is_pending();
                let useless = peer.state == State::Left
                    || self.has_link(node)
                    || self.links.values().any(greeting);
                let addresses = peer.addresses();
                let worth = !useless && !addresses.is_empty();
                worth.then_some(Target::Member { node, addresses })
            }
        }
    }

    /// A dial is over: whose it was, and the next one that waits begins.
    pub(super) fn end_dial(&mut self, now: Now, dial: DialId) -> Option<Whom> {
        let whom = self.dialer.under_way.remove(&dial)?;
        self.timers.cancel(Timer::DialTimeout(dial));
        if let Some(attempt) = self.attempt_mut(whom) {
            attempt.under_way = None;
        }
        self.next_waiting(now);
        Some(whom)
    }

    fn next_waiting(&mut self, now: Now) {
        if let Some(next) = self.dialer.waiting.pop_front() {
            self.timers.set_earlier(Timer::Dial(next), now.at);
        }
    }

    /// The driver has not answered.
    pub(super) fn on_dial_timeout(&mut self, now: Now, dial: DialId, out: &mut Outbox) {
        if let Some(whom) = self.end_dial(now, dial) {
            let why = format!("no answer in {} s", DIAL_TIMEOUT.as_secs());
            self.dial_failed(now, whom, DialFailure::Unreachable(why), out);
        }
    }

    /// It led nowhere: said once for each reason, and tried again.
    pub(super) fn dial_failed(
        &mut self,
        now: Now,
        whom: Whom,
        failure: DialFailure,
        out: &mut Outbox,
    ) {
        self.stats.dials_failed += 1;
        let own = failure == DialFailure::Own;
        let Some(attempt) = self.attempt_mut(whom) else {
            return;
        };
        let news = attempt.failure.replace(failure.clone()) != Some(failure.clone());
        if own {
            // It will not become another node soon.
            attempt.failures = u32::MAX;
        }
        let retry = self.retry(now, whom);
        if let Some(target) = self.describe(whom).filter(|_| news) {
            let note = Note::Dial {
                target,
                failure,
                retry,
            };
            out.push(Output::Note(note));
        }
        if let Whom::Member(node) = whom {
            // Perhaps others have a way to it again.
            if self.state(node) == Some(State::Down) {
                self.start_probe(now, node, out);
            }
        }
    }

    /// Again, later than the last time; says when.
    pub(super) fn retry(&mut self, now: Now, whom: Whom) -> Duration {
        let (first, most) = (self.config.dial_backoff, self.config.dial_backoff_max);
        let Some(attempt) = self.attempt_mut(whom) else {
            return most;
        };
        let doubled = 2_u32.checked_pow(attempt.failures).unwrap_or(u32::MAX);
        attempt.failures = attempt.failures.saturating_add(1);
        let backoff = first.saturating_mul(doubled).min(most);
        let delay = self.jitter(backoff).min(most);
        let given_up = match whom {
            Whom::Contact(at) => self.dialer.contacts[at].is_given_up(),
            Whom::Member(_) => false,
        };
        if !given_up {
            self.dial_in(now, whom, delay);
        }
        delay
    }

    /// A link is open: nobody needs to be dialled for it.
    pub(super) fn dial_succeeded(&mut self, node: NodeId, whom: Option<Whom>) {
        if let Some(Whom::Contact(at)) = whom
            && let Some(entry) = self.dialer.contacts.get_mut(at)
        {
            entry.attempt = Attempt::default();
            if entry.nodes.len() < CONTACT_NODES_MAX {
                entry.nodes.insert(node);
            }
        }
        self.timers.cancel(Timer::Dial(Whom::Member(node)));
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.attempt.failures = 0;
            peer.attempt.failure = None;
        }
    }

    /// The node behind a contact has no link any more.
    pub(super) fn lost_contact(&mut self, now: Now, node: NodeId) {
        let known = self
            .peers
            .get(&node)
            .is_some_and(|peer| !peer.addresses().is_empty());
        for at in 0..self.dialer.contacts.len() {
            if self.dialer.contacts[at].nodes.contains(&node) {
                let delay = if known {
                    CONTACT_PAUSE
                } else {
                    self.config.dial_backoff
                };
                let delay = self.jitter(delay);
                self.dial_in(now, Whom::Contact(at), delay);
            }
        }
    }

    /// Somebody reports that a member lives which this node has no link to: worth a try soon.
    pub(super) fn hasten(&mut self, now: Now, node: NodeId) {
        let delay = if self.record.node < node {
            HASTE
        } else {
            2 * self.config.dial_backoff
        };
        let delay = self.jitter(delay);
        self.dial_in(now, Whom::Member(node), delay);
    }

    /// See [`Membership::on_discovered`].
    pub(super) fn add_found(&mut self, now: Now, address: PeerAddress) {
        let linked = |peer: &super::peer::Peer| !peer.links.is_empty();
        let own = self.record.addresses.contains(&address);
        let mut members = self.peers.values().filter(|peer| linked(peer));
        if own || members.any(|peer| peer.addresses().contains(&address)) {
            return;
        }
        let contacts = &mut self.dialer.contacts;
        let same = contacts
            .iter()
            .position(|entry| entry.contact.address == address);
        if same.is_some_and(|at| !contacts[at].is_given_up()) {
            return;
        }
        let contact = Contact {
            address,
            every: false,
            node: None,
        };
        let entry = Entry::new(contact, Source::Found);
        let found = |entry: &&Entry| entry.source == Source::Found;
        let at = if let Some(at) = same {
            at
        } else if contacts.iter().filter(found).count() < FOUND_MAX {
            contacts.len()
        } else if let Some(at) = contacts.iter().position(Entry::is_given_up) {
            at
        } else {
            self.stats.contacts_dropped += 1;
            return;
        };
        if at < contacts.len() {
            contacts[at] = entry;
        } else {
            contacts.push(entry);
        }
        self.dial_in(now, Whom::Contact(at), Duration::ZERO);
    }

    /// See [`Membership::unready`].
    pub(super) fn not_admitted(&self, now: Now) -> Option<String> {
        if self.settled {
            return None;
        }
        for entry in self
            .dialer
            .contacts
            .iter()
            .filter(|entry| entry.source == Source::Named)
        {
            if let Some(DialFailure::Refused(why)) = &entry.attempt.failure {
                return Some(format!(
                    "{} does not admit this node: {why}",
                    entry.contact.address
                ));
            }
        }
        let others = |entry: &&Entry| entry.attempt.failure != Some(DialFailure::Own);
        let contacts = self.dialer.contacts.iter().filter(others).count();
        let members = self
            .peers
            .values()
            .filter(|peer| peer.state != State::Left)
            .count();
        let waited = now.at.since(self.started);
        if contacts + members == 0 || self.config.ready_after <= waited {
            return None;
        }
        Some(format!(
            "no other node reached yet of {contacts} named or found and {members} known from earlier; \
             after {} s without any this node goes on alone",
            self.config.ready_after.as_secs()
        ))
    }

    /// Half to one and a half times as long, so that nodes that lost each other together do not meet
    /// all at once.
    fn jitter(&mut self, delay: Duration) -> Duration {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        delay / 2 + Duration::from_micros(self.below(micros.max(1)))
    }

    /// Whether something is under way that may lead to a link.
    #[cfg(test)]
    pub(super) fn is_dialled(&self, node: NodeId) -> bool {
        let whom = Whom::Member(node);
        let pending = |link: &super::link::Link| link.peer == node && !link.is_open();
        let attempt = self.attempt(whom);
        self.timers.is_set(Timer::Dial(whom))
            || self.dialer.waiting.contains(&whom)
            || attempt.is_some_and(|attempt| attempt.under_way.is_some())
            || self.links.values().any(pending)
    }

    /// As it is told to people.
    fn describe(&self, whom: Whom) -> Option<Target> {
        match whom {
            Whom::Contact(at) => {
                let entry = self.dialer.contacts.get(at)?;
                Some(Target::Contact(entry.contact.clone()))
            }
            Whom::Member(node) => {
                let addresses = self.peers.get(&node)?.addresses();
                Some(Target::Member { node, addresses })
            }
        }
    }

    fn attempt(&self, whom: Whom) -> Option<&Attempt> {
        match whom {
            Whom::Contact(at) => Some(&self.dialer.contacts.get(at)?.attempt),
            Whom::Member(node) => Some(&self.peers.get(&node)?.attempt),
        }
    }

    fn attempt_mut(&mut self, whom: Whom) -> Option<&mut Attempt> {
        match whom {
            Whom::Contact(at) => Some(&mut self.dialer.contacts.get_mut(at)?.attempt),
            Whom::Member(node) => Some(&mut self.peers.get_mut(&node)?.attempt),
        }
    }
}
