//! The answer to `resume`: what is new, oldest first within a conversation, without gaps.
//!
//! A survey of the user's conversations gives a plan: one part for each conversation in which there
//! is something new, the newest first. The parts are read and pushed one after another, one event at a
//! time, each when the session has room for it. What comes live of a conversation whose part is not
//! over is held back and follows it; what was held and is found in the part is not sent twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::command::{Push, Resumed, Window, limits};
use crate::event::SharedEvent;
use crate::id::{Address, Conversation, EventId, UserName};
use crate::proto::chat::frame::{self, PAGE_BYTES};
use crate::proto::chat::survey::{Survey, Surveyed};
use crate::proto::chat::work::Step;
use crate::store::{Answer, End, Query, Range};
use crate::time::Stamp;

/// How far below `upto` a client without an exact window is sent events, milliseconds: what other
/// nodes stamped before it and this client learned after it.
const OVERLAP_MS: u64 = 120_000;

/// Conversations, besides those named, of which something is sent or listed as left: with those named
/// they fit into one `resumed`. What does not counts as incomplete.
const OTHERS_MAX: usize = 1_000;

/// Events read at once: little is lost where the client goes before it has them all.
const PAGE: u32 = 100;

/// Live events held back for one session. What comes above it is left to the client to page for:
/// `more` says so.
const HELD_MAX: usize = 128;

/// Bytes of live events held back for one session: half of what the front queues for a client, to
/// whom they go at once in the end.
const HELD_BYTES_MAX: usize = 64 * 1024;

/// Conversations of which a live event was too many to be held. Above it the resume is incomplete.
const OVERFLOWED_MAX: usize = 64;

/// A resume under way.
#[derive(Debug)]
pub(super) struct Resume {
    reader: UserName,
    /// What is new begins above this id, in each conversation that the client named.
    named: BTreeMap<Conversation, EventId>,
    /// The same in any other.
    floor: EventId,
    survey: Survey,
    stage: Stage,
    remaining: u32,
    held: Held,
    results: BTreeMap<Address, Resumed>,
    complete: bool,
}

#[derive(Debug)]
enum Stage {
    /// Whatever comes live is held: nobody knows yet what has a part.
    Survey {
        found: Vec<Part>,
        others: BTreeMap<EventId, Part>,
    },
    /// The first part is being sent.
    Parts {
        parts: VecDeque<Part>,
        waiting: BTreeSet<Conversation>,
        /// What was read of it; `None`: it is to be read.
        page: Option<Page>,
    },
    /// `resumed` was pushed.
    Over,
}

/// What is new in one conversation.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    conversation: Conversation,
    /// Everything up to here has been sent or is not new.
    after: EventId,
    last: EventId,
    sent: Vec<EventId>,
}

/// What was read of the first part and is not sent yet.
#[derive(Debug, Default)]
struct Page {
    events: VecDeque<SharedEvent>,
    more: bool,
}

/// A conversation in which nothing is new.
const NOTHING: Resumed = Resumed {
    sent: 0,
    more: false,
    window: None,
};

/// Two minutes below an id.
fn overlapped(upto: EventId) -> EventId {
    EventId {
        stamp: Stamp(upto.stamp.0.saturating_sub(OVERLAP_MS << 16)),
        origin: upto.origin,
    }
}

impl Resume {
    /// From what the client holds. Rooms among it are reported as without anything new.
    pub(super) fn new(reader: UserName, windows: BTreeMap<Address, Window>) -> Self {
        let newest = windows.values().map(|window| window.upto).max();
        let mut results = BTreeMap::new();
        let mut named = BTreeMap::new();
        for (address, window) in windows {
            if let Address::User(user) = &address {
                let conversation = Conversation::direct(reader.clone(), user.clone());
                named.insert(conversation, overlapped(window.upto));
            }
            results.insert(address, NOTHING);
        }
        Self {
            survey: Survey::new(reader.clone(), named.keys().cloned()),
            reader,
            named,
            floor: newest.map_or(EventId::MIN, overlapped),
            stage: Stage::Survey {
                found: Vec::new(),
                others: BTreeMap::new(),
            },
            remaining: limits::RESUME_TOTAL,
            held: Held::default(),
            results,
            complete: true,
        }
    }

    /// The first question.
    pub(super) fn start(&mut self, live: &mut Vec<Push>) -> Step {
        self.survey_on(live)
    }

    /// What was asked last is answered. Pushes into `live` what need not be held any longer.
    pub(super) fn on_answer(
        &mut self,
        answer: Answer,
        complete: bool,
        live: &mut Vec<Push>,
    ) -> Step {
        match &mut self.stage {
            Stage::Survey { .. } => {
                for surveyed in self.survey.on_answer(answer, complete) {
                    self.consider(surveyed);
                }
                self.survey_on(live)
            }
            Stage::Parts { page, .. } => {
                self.complete &= complete;
                *page = Some(match answer {
                    Answer::Events { mut events, more } => {
                        events.retain(|event| frame::is_shown(event));
                        // An empty page has no end from which to go on.
                        let more = more && !events.is_empty();
                        let events = events.into();
                        Page { events, more }
                    }
                    Answer::Nonce(_) | Answer::Heads(_) => {
                        self.complete = false;
                        Page::default()
                    }
                });
                self.send_on(live)
            }
            Stage::Over => Step::Done,
        }
    }

    /// The client has room for the next event.
    pub(super) fn on_drained(&mut self, live: &mut Vec<Push>) -> Step {
        self.send_on(live)
    }

    /// A live event of the user's conversations: true where it is not to be pushed now, being held
    /// or sent already.
    pub(super) fn takes(&mut self, event: &SharedEvent, late: bool) -> bool {
        match &self.stage {
            Stage::Over => return false,
            Stage::Parts { waiting, .. } if !waiting.contains(&event.conversation) => return false,
            Stage::Parts { parts, .. } => {
                let first = parts.front();
                if first.is_some_and(|part| part.sent.binary_search(&event.id).is_ok()) {
                    return true;
                }
            }
            Stage::Survey { .. } => {}
        }
        self.held.hold(event, late);
        true
    }

    /// Conversations left out for want of room.
    pub(super) fn left_out(&self) -> u64 {
        self.survey.left_out()
    }

    fn survey_on(&mut self, live: &mut Vec<Push>) -> Step {
        match self.survey.question() {
            Some(question) => Step::Ask(question),
            None => {
                self.complete &= self.survey.is_complete();
                self.plan(live);
                self.send_on(live)
            }
        }
    }

    /// Takes a conversation into the plan where something in it is new.
    fn consider(&mut self, surveyed: Surveyed) {
        let Stage::Survey { found, others } = &mut self.stage else {
            return;
        };
        let Some(last) = surveyed.head.last.map(|event| event.id) else {
            return;
        };
        let named = self.named.get(&surveyed.conversation).copied();
        let after = named.unwrap_or_else(|| self.floor.max(surveyed.read.unwrap_or(EventId::MIN)));
        if last <= after {
            return;
        }
        let part = Part {
            conversation: surveyed.conversation,
            after,
            last,
            sent: Vec::new(),
        };
        if named.is_some() {
            found.push(part);
            return;
        }
        others.insert(last, part);
        if others.len() > OTHERS_MAX {
            others.pop_first();
            self.complete = false;
        }
    }

    /// Every head is known: what is not part of the resume is live from now on.
    fn plan(&mut self, live: &mut Vec<Push>) {
        let Stage::Survey { found, others } = &mut self.stage else {
            return;
        };
        let mut parts = std::mem::take(found);
        parts.extend(std::mem::take(others).into_values());
        parts.sort_unstable_by_key(|part| std::cmp::Reverse(part.last));
        let waiting: BTreeSet<_> = parts.iter().map(|part| part.conversation.clone()).collect();
        self.held.release(
            |conversation| !waiting.contains(conversation),
            &self.reader,
            live,
        );
        for conversation in std::mem::take(&mut self.held.overflowed) {
            if waiting.contains(&conversation) {
                self.held.overflowed.insert(conversation);
            } else if let Some(address) = conversation.seen_by(&self.reader) {
                self.results.insert(
                    address,
                    Resumed {
                        more: true,
                        ..NOTHING
                    },
                );
            }
        }
        self.stage = Stage::Parts {
            parts: parts.into(),
            waiting,
            page: None,
        };
    }

    /// The next event of the first part, or the next question, or the next part, or the end.
    fn send_on(&mut self, live: &mut Vec<Push>) -> Step {
        loop {
            let Stage::Parts { parts, page, .. } = &mut self.stage else {
                return Step::Done;
            };
            let Some(part) = parts.front_mut() else {
                return self.finish(live);
            };
            let room = part.room().min(self.remaining);
            if let Some(event) = page.as_mut().and_then(|page| page.events.pop_front()) {
                self.remaining = self.remaining.saturating_sub(1);
                part.sent.push(event.id);
                part.after = event.id;
                self.held.drop(event.id);
                if let Some(within) = event.conversation.seen_by(&self.reader) {
                    return Step::Push(Push::Event {
                        event,
                        within,
                        late: false,
                    });
                }
                continue;
            }
            let more = page.take().is_none_or(|page| page.more);
            if more && room > 0 {
                return Step::Ask(part.question(room.min(PAGE)));
            }
            self.end_part(more, live);
        }
    }

    /// The first part is over: what was held of its conversation follows it.
    fn end_part(&mut self, more: bool, live: &mut Vec<Push>) {
        let Stage::Parts { parts, waiting, .. } = &mut self.stage else {
            return;
        };
        let Some(part) = parts.pop_front() else {
            return;
        };
        waiting.remove(&part.conversation);
        let sent = u32::try_from(part.sent.len()).unwrap_or(u32::MAX);
        let more = more || self.held.overflowed.remove(&part.conversation);
        if let Some(address) = part.conversation.seen_by(&self.reader)
            && (sent > 0 || more || self.results.contains_key(&address))
        {
            let resumed = Resumed {
                sent,
                more,
                window: None,
            };
            self.results.insert(address, resumed);
        }
        self.held
            .release(|of| *of == part.conversation, &self.reader, live);
    }

    /// Everything was sent, or is listed as left.
    fn finish(&mut self, live: &mut Vec<Push>) -> Step {
        self.stage = Stage::Over;
        self.held.release(|_| true, &self.reader, live);
        Step::Push(Push::Resumed {
            conversations: std::mem::take(&mut self.results),
            complete: self.complete && !self.held.lost,
        })
    }
}

impl Part {
    /// How many more events of this conversation may be sent.
    fn room(&self) -> u32 {
        let sent = u32::try_from(self.sent.len()).unwrap_or(u32::MAX);
        limits::RESUME_EVENTS.saturating_sub(sent)
    }

    fn question(&self, limit: u32) -> Query {
        Query::Range(Range {
            stream: self.conversation.stream(),
            after: self.after,
            before: EventId::MAX,
            limit,
            bytes: PAGE_BYTES,
            end: End::Oldest,
        })
    }
}

/// Live events that wait for the part of their conversation.
#[derive(Debug, Default)]
struct Held {
    events: VecDeque<(SharedEvent, bool)>,
    bytes: usize,
    /// Conversations of which some are not held for want of room.
    overflowed: BTreeSet<Conversation>,
    /// There were more of those than are kept.
    lost: bool,
}

impl Held {
    fn hold(&mut self, event: &SharedEvent, late: bool) {
        let bytes = held_bytes(event);
        if self.events.len() < HELD_MAX && self.bytes + bytes <= HELD_BYTES_MAX {
            self.bytes += bytes;
            self.events.push_back((event.clone(), late));
        } else if self.overflowed.len() < OVERFLOWED_MAX {
            self.overflowed.insert(event.conversation.clone());
        } else {
            self.lost |= !self.overflowed.contains(&event.conversation);
        }
    }

    fn drop(&mut self, id: EventId) {
        self.take(|event| event.id == id, |_, _| {});
    }

    fn release(
        &mut self,
        which: impl Fn(&Conversation) -> bool,
        reader: &UserName,
        live: &mut Vec<Push>,
    ) {
        self.take(
            |event| which(&event.conversation),
            |event, late| {
                if let Some(within) = event.conversation.seen_by(reader) {
                    live.push(Push::Event {
                        event,
                        within,
                        late,
                    });
                }
            },
        );
    }

    fn take(
        &mut self,
        which: impl Fn(&SharedEvent) -> bool,
        mut taken: impl FnMut(SharedEvent, bool),
    ) {
        if !self.events.iter().any(|(event, _)| which(event)) {
            return;
        }
        for (event, late) in std::mem::take(&mut self.events) {
            if which(&event) {
                self.bytes -= held_bytes(&event);
                taken(event, late);
            } else {
                self.events.push_back((event, late));
            }
        }
    }
}

/// What a held event counts as, bytes.
fn held_bytes(event: &SharedEvent) -> usize {
    event
        .conversation
        .seen_by(&event.author)
        .map_or(0, |within| frame::event(event, &within))
}
