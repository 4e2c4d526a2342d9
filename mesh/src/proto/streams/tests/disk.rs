//! A store in memory, after the contract of [`Store`].

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{Event as Fact, SharedEvent};
use crate::id::{EventId, StreamId};
use crate::store::{
    Answer, End, Head, NONCE_REACH_MS, Outcome, Query, Store, StoreError, UNREAD_MAX,
};
use crate::time::Stamp;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) streams: BTreeMap<StreamId, BTreeMap<EventId, SharedEvent>>,
    pub(super) listed: BTreeSet<StreamId>,
    pub(super) full: bool,
}

impl Disk {
    pub(super) fn holds(&self, event: &Fact) -> bool {
        self.ids(event.stream()).contains(&event.id)
    }

    pub(super) fn ids(&self, stream: StreamId) -> Vec<EventId> {
        let events = self.streams.get(&stream).into_iter().flatten();
        events.map(|(&id, _)| id).collect()
    }

    pub(super) fn put(&mut self, event: &SharedEvent) {
        let stream = self.streams.entry(event.stream()).or_default();
        stream.insert(event.id, event.clone());
    }

    fn outcome(&mut self, event: &SharedEvent) -> Outcome {
        let stream = event.stream();
        let unlisted = !self.listed.contains(&stream);
        let events = self.streams.entry(stream).or_default();
        if let Some(known) = events.get(&event.id) {
            return if known == event {
                Outcome::Known { unlisted }
            } else {
                Outcome::Differs
            };
        }
        if self.full {
            return Outcome::Full;
        }
        let twin = events.values().find(|held| held.is_twin_of(event)).cloned();
        match twin {
            Some(twin) if twin.id < event.id => Outcome::Twin(twin),
            Some(twin) => {
                events.insert(event.id, event.clone());
                let larger = twin.id;
                Outcome::Beside { larger, unlisted }
            }
            None => {
                events.insert(event.id, event.clone());
                Outcome::Stored { unlisted }
            }
        }
    }

    fn events(&self, stream: StreamId) -> impl DoubleEndedIterator<Item = &SharedEvent> {
        self.streams
            .get(&stream)
            .into_iter()
            .flat_map(BTreeMap::values)
    }
}

impl Store for Disk {
    fn append(&mut self, events: &[SharedEvent]) -> Result<Vec<Outcome>, StoreError> {
        Ok(events.iter().map(|event| self.outcome(event)).collect())
    }

    fn list(&mut self, stream: StreamId) -> Result<(), StoreError> {
        self.listed.insert(stream);
        Ok(())
    }

    fn load(&mut self, query: &Query) -> Result<Answer, StoreError> {
        Ok(match query {
            Query::Range(range) => {
                let mut events: Vec<_> = self
                    .events(range.stream)
                    .filter(|event| range.after < event.id && event.id < range.before)
                    .cloned()
                    .collect();
                let limit = range.limit as usize;
                let more = events.len() > limit;
                match range.end {
                    End::Oldest => events.truncate(limit),
                    End::Newest => drop(events.drain(..events.len().saturating_sub(limit))),
                }
                Answer::Events { events, more }
            }
            Query::Nonce {
                stream,
                author,
                nonce,
            } => {
                let from = nonce.unix_ms().saturating_sub(NONCE_REACH_MS);
                let named = |event: &&SharedEvent| {
                    event.nonce == Some(*nonce)
                        && event.author == *author
                        && event.id.stamp.unix_ms() >= from
                };
                Answer::Nonce(self.events(*stream).find(named).cloned())
            }
            Query::Heads(asked) => Answer::Heads(
                asked
                    .iter()
                    .map(|asked| {
                        let unread: Vec<_> = self
                            .events(asked.stream)
                            .rev()
                            .filter(|event| event.id > asked.read && event.author != asked.reader)
                            .take(UNREAD_MAX as usize)
                            .collect();
                        Head {
                            last: self.events(asked.stream).next_back().cloned(),
                            unread: u32::try_from(unread.len()).unwrap(),
                            unread_digest: unread.iter().fold(0, |xor, event| xor ^ event.id.mix()),
                        }
                    })
                    .collect(),
            ),
        })
    }

    fn newest(&self) -> Stamp {
        let ids = self
            .streams
            .values()
            .filter_map(|events| events.keys().next_back());
        ids.map(|id| id.stamp).max().unwrap_or_default()
    }
}
