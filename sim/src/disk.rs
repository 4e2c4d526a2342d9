//! A disk in memory: the store of simulated nodes and of tests.
//!
//! It keeps the contract of [`Store`] with plain ordered maps, and can fail as a disk does: what was
//! written and not flushed is gone after [`Disk::crash`], and a full disk refuses. It is never torn
//! and never damaged: what a journal makes of those is the node's own concern.

use std::collections::{BTreeMap, BTreeSet};

use mesh::event::{EventKind, SharedEvent};
use mesh::id::{Conversation, EventId, Nonce, StreamId, UserName};
use mesh::store::{
    Answer, End, Head, HeadQuery, NONCE_REACH_MS, Outcome, Query, Range, Store, StoreError,
    UNREAD_MAX,
};
use mesh::time::Stamp;

/// What an event counts towards the bytes of a range besides its body.
const EVENT_BYTES: usize = 64;

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    streams: BTreeMap<StreamId, Stream>,
    /// What was written since the last flush, in order.
    volatile: Vec<Written>,
    newest: Stamp,
    full: bool,
}

#[derive(Debug, Clone, Default)]
struct Stream {
    events: BTreeMap<EventId, Kept>,
    nonces: BTreeMap<(UserName, Nonce), BTreeSet<EventId>>,
    listed: bool,
}

#[derive(Debug, Clone)]
struct Kept {
    event: SharedEvent,
    durable: bool,
}

#[derive(Debug, Clone, Copy)]
enum Written {
    Event(StreamId, EventId),
    Listed(StreamId),
}

impl Disk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether it refuses new events.
    pub fn set_full(&mut self, full: bool) {
        self.full = full;
    }

    /// Writes events: what each becomes, in order, as soon as [`Disk::flush`] was called. Before
    /// that none may be acknowledged, and none is shown.
    pub fn write(&mut self, events: &[SharedEvent]) -> Vec<Outcome> {
        events.iter().map(|event| self.write_one(event)).collect()
    }

    fn write_one(&mut self, event: &SharedEvent) -> Outcome {
        let id = event.stream();
        let stream = self.streams.entry(id).or_default();
        let unlisted = !stream.listed && matches!(event.conversation, Conversation::Direct(_, _));
        if let Some(known) = stream.events.get(&event.id) {
            return if known.event == *event {
                Outcome::Known { unlisted }
            } else {
                Outcome::Differs
            };
        }
        let twin = event
            .nonce
            .and_then(|nonce| stream.named(&event.author, nonce));
        if let Some(twin) = twin.filter(|twin| twin.event.id < event.id) {
            return Outcome::Twin(twin.event.clone());
        }
        if self.full {
            return Outcome::Full;
        }
        let larger = twin.map(|twin| twin.event.id);
        stream.insert(event);
        self.volatile.push(Written::Event(id, event.id));
        match larger {
            Some(larger) => Outcome::Beside { larger, unlisted },
            None => Outcome::Stored { unlisted },
        }
    }

    /// Makes durable what was written.
    pub fn flush(&mut self) {
        for written in self.volatile.drain(..) {
            if let Written::Event(stream, id) = written
                && let Some(stream) = self.streams.get_mut(&stream)
                && let Some(kept) = stream.events.get_mut(&id)
            {
                kept.durable = true;
                self.newest = self.newest.max(id.stamp);
            }
        }
    }

    /// The power fails: what was written since the last flush is gone.
    pub fn crash(&mut self) {
        for written in self.volatile.drain(..).rev() {
            match written {
                Written::Event(stream, id) => {
                    if let Some(stream) = self.streams.get_mut(&stream) {
                        stream.remove(id);
                    }
                }
                Written::Listed(stream) => {
                    self.streams.entry(stream).or_default().listed = false;
                }
            }
        }
    }

    fn range(&self, range: &Range) -> Answer {
        let mut events = Vec::new();
        let mut bytes = 0;
        let mut more = false;
        let stream = self.streams.get(&range.stream);
        for event in stream.into_iter().flat_map(|stream| stream.between(range)) {
            bytes += size(event);
            let over = bytes > range.bytes as usize && !events.is_empty();
            if over || events.len() >= range.limit as usize {
                more = true;
                break;
            }
            events.push(event.clone());
        }
        if range.end == End::Newest {
            events.reverse();
        }
        Answer::Events { events, more }
    }

    fn head(&self, query: &HeadQuery) -> Head {
        let stream = self.streams.get(&query.stream);
        let messages = || {
            stream
                .into_iter()
                .flat_map(|stream| stream.durable().rev())
                .filter(|event| matches!(event.kind, EventKind::Message { .. }))
        };
        let unread: Vec<&SharedEvent> = messages()
            .take_while(|event| event.id > query.read)
            .filter(|event| event.author != query.reader)
            .take(UNREAD_MAX as usize)
            .collect();
        Head {
            last: messages().next().cloned(),
            unread: u32::try_from(unread.len()).expect("at most UNREAD_MAX"),
            unread_digest: unread
                .iter()
                .fold(0, |digest, event| digest ^ event.id.mix()),
        }
    }
}

impl Stream {
    fn insert(&mut self, event: &SharedEvent) {
        if let Some(nonce) = event.nonce {
            let name = (event.author.clone(), nonce);
            self.nonces.entry(name).or_default().insert(event.id);
        }
        let kept = Kept {
            event: event.clone(),
            durable: false,
        };
        self.events.insert(event.id, kept);
    }

    fn remove(&mut self, id: EventId) {
        let Some(kept) = self.events.remove(&id) else {
            return;
        };
        if let Some(nonce) = kept.event.nonce
            && let Some(ids) = self.nonces.get_mut(&(kept.event.author.clone(), nonce))
        {
            ids.remove(&id);
        }
    }

    /// The event with the smallest id that has this name, from two minutes before its time on.
    fn named(&self, author: &UserName, nonce: Nonce) -> Option<&Kept> {
        let from = EventId {
            stamp: Stamp::from_unix_ms(nonce.unix_ms().saturating_sub(NONCE_REACH_MS)),
            origin: 0,
        };
        let ids = self.nonces.get(&(author.clone(), nonce))?;
        ids.range(from..).next().and_then(|id| self.events.get(id))
    }

    fn durable(&self) -> impl DoubleEndedIterator<Item = &SharedEvent> {
        self.events
            .values()
            .filter(|kept| kept.durable)
            .map(|kept| &kept.event)
    }

    /// The durable events of a range, from the end that it keeps.
    fn between(&self, range: &Range) -> Box<dyn Iterator<Item = &SharedEvent> + '_> {
        use std::ops::Bound::Excluded;
        if range.after >= range.before {
            return Box::new(std::iter::empty());
        }
        let ids = (Excluded(range.after), Excluded(range.before));
        let events = self.events.range(ids);
        let durable = events
            .filter(|(_, kept)| kept.durable)
            .map(|(_, kept)| &kept.event);
        match range.end {
            End::Oldest => Box::new(durable),
            End::Newest => Box::new(durable.rev()),
        }
    }
}

fn size(event: &SharedEvent) -> usize {
    let body = match &event.kind {
        EventKind::Message { body, .. } => body.as_str().len(),
        EventKind::Contact { .. } | EventKind::Read { .. } => 0,
    };
    EVENT_BYTES + body
}

impl Store for Disk {
    fn append(&mut self, events: &[SharedEvent]) -> Result<Vec<Outcome>, StoreError> {
        let outcomes = self.write(events);
        self.flush();
        Ok(outcomes)
    }

    fn list(&mut self, stream: StreamId) -> Result<(), StoreError> {
        let kept = self.streams.entry(stream).or_default();
        if !kept.listed {
            kept.listed = true;
            self.volatile.push(Written::Listed(stream));
        }
        Ok(())
    }

    fn load(&mut self, query: &Query) -> Result<Answer, StoreError> {
        Ok(match query {
            Query::Range(range) => self.range(range),
            Query::Nonce {
                stream,
                author,
                nonce,
            } => {
                let named = self
                    .streams
                    .get(stream)
                    .and_then(|stream| stream.named(author, *nonce))
                    .filter(|kept| kept.durable);
                Answer::Nonce(named.map(|kept| kept.event.clone()))
            }
            Query::Heads(heads) => Answer::Heads(heads.iter().map(|q| self.head(q)).collect()),
        })
    }

    fn newest(&self) -> Stamp {
        self.newest
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mesh::event::{Event, Json};

    use super::*;

    fn event(ms: u64) -> SharedEvent {
        let (a, b) = ("@a".parse().unwrap(), "@b".parse::<UserName>().unwrap());
        Arc::new(Event {
            id: EventId {
                stamp: Stamp::from_unix_ms(ms),
                origin: 1,
            },
            conversation: Conversation::direct(a, b.clone()),
            author: b,
            nonce: Some(Nonce::new(ms, u128::from(ms))),
            kind: EventKind::Message {
                body: Json::from_valid("1"),
                reply_to: None,
            },
        })
    }

    fn all(disk: &mut Disk) -> Vec<SharedEvent> {
        let range = Query::Range(Range {
            stream: event(1).stream(),
            after: EventId::MIN,
            before: EventId::MAX,
            limit: u32::MAX,
            bytes: u32::MAX,
            end: End::Oldest,
        });
        let Answer::Events { events, .. } = disk.load(&range).unwrap() else {
            panic!("a range is answered by events");
        };
        events
    }

    #[test]
    fn what_was_not_flushed_is_neither_shown_nor_there_after_a_crash() {
        let mut disk = Disk::new();
        disk.append(&[event(1)]).unwrap();
        assert_eq!(
            disk.write(&[event(2)]),
            [Outcome::Stored { unlisted: true }]
        );
        assert_eq!(all(&mut disk), [event(1)]);
        disk.crash();
        disk.flush();
        assert_eq!(all(&mut disk), [event(1)]);
        assert_eq!(disk.newest(), event(1).id.stamp);
        assert_eq!(
            disk.write(&[event(2)]),
            [Outcome::Stored { unlisted: true }]
        );
    }

    #[test]
    fn a_mark_that_no_append_followed_is_lost_in_a_crash() {
        let mut disk = Disk::new();
        disk.append(&[event(1)]).unwrap();
        disk.list(event(1).stream()).unwrap();
        disk.crash();
        assert_eq!(
            disk.write(&[event(2)]),
            [Outcome::Stored { unlisted: true }]
        );
    }
}
